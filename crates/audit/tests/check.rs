//! Exports of random logs: whole and true ones are proven, and no other one is.

mod log;

use log::{Deed, Log, WORKSPACE, lines, signer};
use nightlatch_audit::{Break, Check, Earlier, Entry, Fault, Footer, Header, Hex, Personal, Proven, embedded};
use nightlatch_keyset::{AuditCheckpoint, AuditGap, Hash, Head};
use proptest::prelude::*;

/// As a reader does it who knows the signer.
fn check(lines: &[String], earlier: &[Earlier]) -> Result<Proven, Break> {
    check_with(lines, earlier, Vec::new())
}

fn check_with(lines: &[String], earlier: &[Earlier], gaps: Vec<AuditGap>) -> Result<Proven, Break> {
    check_as(lines, earlier, gaps, |check| check)
}

/// As who believes what is said of erasures that are not signed yet.
fn check_trusting(lines: &[String], earlier: &[Earlier]) -> Result<Proven, Break> {
    check_as(lines, earlier, Vec::new(), Check::allow_unaccounted)
}

fn check_as(
    lines: &[String],
    earlier: &[Earlier],
    gaps: Vec<AuditGap>,
    with: impl FnOnce(Check) -> Check,
) -> Result<Proven, Break> {
    let header = Header::parse(&lines[0])?;
    let head = header.head.as_deref().map(|note| Head::open(note, &[signer().verifier()]).unwrap());
    let mut check = with(Check::new(header, head.as_ref(), gaps, earlier.to_vec())?);
    for line in &lines[1..] {
        check.line(line)?;
    }
    check.finish()
}

/// The same export, with erasures of so many values behind the checkpoint.
fn later(mut lines: Vec<String>, erased_later: u64) -> Vec<String> {
    let footer = Footer::parse(&lines.pop().unwrap()).unwrap();
    lines.push(serde_json::to_string(&Footer { erased_later, ..footer }).unwrap());
    lines
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,8}", Just("\u{1F511} \"\\\n,".to_owned()), Just("{".to_owned())]
}

/// Objects as the control plane writes them, and texts that are none.
fn values() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        Just(None),
        Just(Some(r#"{"name":"b","a":1.50,"n":null}"#.to_owned())),
        Just(Some("{ \"b\" : [1,2] }".to_owned())),
        Just(Some("{}\n".to_owned())),
        text().prop_map(Some),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    let personal = prop::collection::vec((prop_oneof![Just("source"), Just("email")], text()), 0..3);
    let who = (any::<i64>(), text(), prop::option::of(text()), text(), text());
    let what = (prop::option::of(text()), prop::option::of(text()), values(), values(), prop::option::of(text()));
    (who, what, personal).prop_map(|((at, actor, on_behalf_of, action, target), what, personal)| {
        let (prefix, scopes, before, after, reason) = what;
        let personal = personal.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
        Deed { at, actor, on_behalf_of, action, target, prefix, scopes, before, after, reason, personal }
    })
}

fn log(len: std::ops::Range<usize>) -> impl Strategy<Value = Log> {
    prop::collection::vec(deed(), len).prop_map(|deeds| Log::new(&deeds))
}

fn simple(len: usize) -> Log {
    let deed = |number: usize| Deed { action: format!("a{number}"), ..Deed::default() };
    Log::new(&(0..len).map(deed).collect::<Vec<_>>())
}

/// Changes one column of an entry, whichever.
fn tampered(entry: &Entry, column: usize) -> Option<Entry> {
    let mut other = entry.clone();
    let flip = |text: &mut Option<String>| {
        *text = match text.take() {
            None => Some(String::new()),
            Some(text) if text.is_empty() => None,
            Some(_) => Some(String::new()),
        };
    };
    match column {
        0 => other.id ^= 1,
        1 => other.at ^= 1,
        2 => other.actor_type.push('x'),
        3 => other.actor_id.push('x'),
        4 => flip(&mut other.on_behalf_of),
        5 => other.action.push('x'),
        6 => other.category.push('x'),
        7 => other.target_type.push('x'),
        8 => other.target_id.push('x'),
        9 => flip(&mut other.prefix),
        10 => flip(&mut other.short_prefix),
        11 => flip(&mut other.scopes),
        12 => other.before = Some(embedded("{\"never\":1}")),
        13 => other.after = other.after.is_none().then(|| embedded("")),
        14 => flip(&mut other.reason),
        15 => other.request_id.push('x'),
        16 => flip(&mut other.commitments),
        17 => other.previous_hash.0.0[5] ^= 1,
        18 => other.hash.0.0[5] ^= 1,
        19 => other.personal.first_mut()?.value.push('x'),
        20 => {
            let salt = &mut other.personal.first_mut()?.salt;
            *salt = salt.chars().map(|digit| if digit == '0' { 'f' } else { '0' }).collect();
        }
        21 => other.personal.first_mut()?.field = "name".into(),
        22 => other.personal.push(Personal { field: "name".into(), salt: "00".repeat(16), value: "x".into() }),
        _ => other.seq ^= 1,
    }
    Some(other)
}

const COLUMNS: usize = 24;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Guarantee 7: what is true is proven, whole, from anywhere, or in part, and at every earlier checkpoint.
    #[test]
    fn every_export_of_a_true_log_is_proven(log in log(1..40), at in any::<prop::sample::Index>(), erase in any::<bool>()) {
        let mut log = log;
        let count = log.entries.len();
        let after = at.index(count);
        let mut erased = 0;
        if erase {
            // Values and salts go, the chain stays.
            erased = log.entries[after].personal.len() as u64;
            log.entries[after].personal.clear();
        }
        let all: Vec<_> = (1..=count).map(|count| log.first(count).earlier()).collect();
        let proven = check_trusting(&later(log.span(0), erased), &all).unwrap();
        prop_assert_eq!((proven.entries, proven.count, proven.root), (count as u64, count as u64, log.tree.root()));
        prop_assert_eq!((proven.earlier, proven.erased, proven.filtered, proven.unchained), (count as u64, erased, false, 2));
        prop_assert_eq!(proven.workspace, WORKSPACE);
        let proven = check_trusting(&later(log.span(after), erased), &all[after..]).unwrap();
        prop_assert_eq!((proven.after, proven.entries), (after as u64, (count - after) as u64));
        let proven = check(&log.choice(|entry| entry.seq % 3 == 1), &all[count - 1..]).unwrap();
        prop_assert!(proven.filtered);
    }

    /// Guarantee 7: any one column of any one entry.
    #[test]
    fn a_changed_column_is_named(log in log(1..12), at in any::<prop::sample::Index>(), column in 0..COLUMNS) {
        let at = at.index(log.entries.len());
        let Some(other) = tampered(&log.entries[at], column) else { return Ok(()) };
        let mut whole = log.clone();
        whole.entries[at] = other.clone();
        let seq = at as u64 + 1;
        // A place that is wrong is named as it stands.
        let named = if column == COLUMNS - 1 { Some(other.seq) } else { Some(seq) };
        prop_assert_eq!(check(&whole.span(0), &[]).unwrap_err().seq, named);
        let mut chosen = log.proven(&log.entries[at]);
        let proof = chosen.proof.take();
        chosen = Entry { proof, ..other };
        let lines = lines(&log.header(0, Some(Default::default())), &[chosen]);
        prop_assert!(check(&lines, &[]).is_err());
    }

    /// Guarantee 7: deleted, twice there, two moved, the end cut off.
    #[test]
    fn other_orders_are_named(log in log(3..20), at in any::<prop::sample::Index>()) {
        let at = at.index(log.entries.len() - 1);
        let seq = at as u64 + 1;
        let broken = |change: &dyn Fn(&mut Vec<String>)| {
            let mut lines = log.span(0);
            change(&mut lines);
            check(&lines, &[]).unwrap_err()
        };
        let place = |found, expected| Break { seq: Some(found), fault: Fault::Place { expected } };
        prop_assert_eq!(broken(&|lines| drop(lines.remove(at + 1))), place(seq + 1, seq));
        prop_assert_eq!(broken(&|lines| lines.insert(at + 1, lines[at + 1].clone())), place(seq, seq + 1));
        prop_assert_eq!(broken(&|lines| lines.swap(at + 1, at + 2)), place(seq + 1, seq));
        prop_assert_eq!(broken(&|lines| lines.truncate(at + 2)).fault, Fault::Cut);
        let end = log.entries.len();
        let counted = Fault::Count { said: end as u64, found: end as u64 - 1 };
        prop_assert_eq!(broken(&|lines| drop(lines.remove(end))).fault, counted);
        prop_assert_eq!(broken(&|lines| lines.push("{}".into())).fault, Fault::Trailing);
        prop_assert!(matches!(broken(&|lines| lines[at + 1].push('x')).fault, Fault::Line(_)));
        // With the footer mended as well.
        let less = lines(&log.header(0, None), &log.entries[..end - 1]);
        prop_assert_eq!(check(&less, &[]).unwrap_err(), place(end as u64, end as u64));
    }

    /// Guarantee 7: whoever computes the whole chain anew does not have the signature.
    #[test]
    fn a_rewritten_history_is_not_the_signed_one(log in log(2..20), at in any::<prop::sample::Index>(), deed in deed()) {
        let at = at.index(log.entries.len());
        let mut other = log.first(at);
        other.write(&Deed { action: "never.done".into(), ..deed });
        for entry in &log.entries[at + 1..] {
            let mut entry = Entry { previous_hash: other.entries.last().unwrap().hash, ..entry.clone() };
            entry.hash = Hex(entry.content_hash(WORKSPACE).unwrap());
            other.tree.push(&entry.hash.0, |_, _, _| {});
            other.entries.push(entry);
        }
        // Under the head that was signed.
        let lines = lines(&log.header(0, None), &other.entries);
        let mark = log.first(at);
        prop_assert_eq!(check(&lines, &[]).unwrap_err().fault, Fault::Root { confirmed: 0 });
        if at > 0 {
            prop_assert_eq!(check(&lines, &[mark.earlier()]).unwrap_err().fault, Fault::Root { confirmed: at as u64 });
        }
        // Under one that the thief of a signing key has made: an earlier head tells.
        let fault = Fault::Checkpoint { count: at as u64 + 1, confirmed: 0 };
        prop_assert_eq!(check(&other.span(0), &[log.first(at + 1).earlier()]).unwrap_err().fault, fault);
        // A tail that was cut off, under a head from before that.
        let less = log.first(at);
        if at > 0 {
            let fault = Fault::Shorter { count: log.entries.len() as u64 };
            prop_assert_eq!(check(&less.span(0), &[log.earlier()]).unwrap_err().fault, fault);
        }
    }
}

/// A choice of entries: neither another place nor another proof.
#[test]
fn a_choice_is_proven_entry_by_entry() {
    let log = simple(9);
    let chosen: Vec<Entry> = [1, 4, 8].map(|at: usize| log.proven(&log.entries[at])).into();
    let header = log.header(0, Some(Default::default()));
    assert_eq!(check(&lines(&header, &chosen), &[log.earlier()]).unwrap().entries, 3);
    let mut moved = chosen.clone();
    moved.swap(0, 1);
    assert_eq!(check(&lines(&header, &moved), &[]).unwrap_err().fault, Fault::Place { expected: 6 });
    for proof in [None, Some(Vec::new()), chosen[1].proof.clone()] {
        let mut other = chosen.clone();
        other[0].proof = proof;
        assert_eq!(check(&lines(&header, &other), &[]).unwrap_err(), Break { seq: Some(2), fault: Fault::Proof });
    }
    let less = log.first(5).earlier();
    assert!(matches!(
        check(&lines(&header, &chosen), &[less]).unwrap_err().fault,
        Fault::Incomparable { count: 5, .. }
    ));
}

#[test]
fn a_header_has_to_be_the_heads() {
    let log = simple(5);
    let broken = |change: &dyn Fn(&mut Header)| {
        let mut header = log.header(2, None);
        change(&mut header);
        check(&lines(&header, &log.entries[2..]), &[]).unwrap_err().fault
    };
    assert!(matches!(broken(&|header| header.format = "nightlatch.audit-export/2".into()), Fault::Version(_)));
    assert!(matches!(broken(&|header| header.workspace = "ws_other".into()), Fault::Header(_)));
    assert!(matches!(broken(&|header| header.count = 4), Fault::Header(_)));
    assert!(matches!(broken(&|header| header.root = Hex(Hash::of(b""))), Fault::Header(_)));
    assert!(matches!(broken(&|header| header.head = None), Fault::Header(_)));
    assert!(matches!(broken(&|header| header.after = 6), Fault::Header(_)));
    assert!(matches!(broken(&|header| header.peaks.push(Hex(Hash::of(b"")))), Fault::Header(_)));
    assert_eq!(broken(&|header| header.peaks = vec![Hex(Hash::of(b""))]), Fault::Root { confirmed: 0 });
    assert_eq!(broken(&|header| header.previous_hash = Hex(Hash::of(b""))), Fault::Previous);
    assert!(matches!(check(&log.span(2), &[log.first(1).earlier()]).unwrap_err().fault, Fault::Incomparable { .. }));
}

/// S4-24, guarantee 9: entries that a backup did not have are missed by name.
#[test]
fn what_a_recovery_lost_is_named() {
    let before = simple(8);
    let mut after = before.first(5);
    after.write(&Deed { action: "set.recovered".into(), ..Deed::default() });
    for _ in 0..6 {
        after.write(&Deed { action: "later".into(), ..Deed::default() });
    }
    let gap =
        AuditGap { set: "set_0123456789".into(), incarnation: 1, issued: 7, published: before.checkpoint(), kept: 5 };
    let gaps = || vec![gap.clone()];
    assert_eq!(check_with(&after.span(0), &[before.first(5).earlier()], gaps()).unwrap().earlier, 1);
    let lost = check_with(&after.span(0), &[before.earlier()], gaps()).unwrap_err();
    assert_eq!(lost.fault, Fault::Lost { from: 6, to: 8, incarnation: 1 });
    // Without the note it is what it looks like; and a note of one loss explains no other.
    assert!(matches!(check(&after.span(0), &[before.earlier()]).unwrap_err().fault, Fault::Checkpoint { .. }));
    let newer = Earlier { incarnation: 1, ..before.earlier() };
    assert!(matches!(check_with(&after.span(0), &[newer], gaps()).unwrap_err().fault, Fault::Checkpoint { .. }));
    let more = AuditCheckpoint { count: 9, root: Hash::of(b"") };
    let more = Earlier { checkpoint: more, incarnation: 0 };
    assert!(matches!(check_with(&after.span(0), &[more], gaps()).unwrap_err().fault, Fault::Checkpoint { .. }));
}

/// The format's golden file, byte for byte.
#[test]
fn golden_export() {
    let deeds = [
        Deed {
            at: 1_800_000_000_000,
            actor: "mem_1".into(),
            action: "key.issued".into(),
            target: "key_1hTq3e9fKz".into(),
            prefix: Some("nl_live_1hTq3e9fKz".into()),
            scopes: Some("a:read b:write".into()),
            after: Some(r#"{"name":"billing","state":"active"}"#.into()),
            personal: vec![("source".into(), "192.0.2.1".into())],
            ..Deed::default()
        },
        Deed {
            at: 1_800_000_000_001,
            actor: "tok_2".into(),
            on_behalf_of: Some("mem_1".into()),
            action: "member.changed".into(),
            target: "mem_2".into(),
            before: Some("not an object".into()),
            after: Some(r#"{"role":"viewer"}"#.into()),
            reason: Some("left \u{2192} other team".into()),
            personal: vec![("email".into(), "ada@example.org".into()), ("source".into(), "2001:db8::1".into())],
            ..Deed::default()
        },
        Deed { action: "audit.erased".into(), after: Some(r#"{"erased":2}"#.into()), ..Deed::default() },
    ];
    let mut log = Log::new(&deeds);
    log.entries[1].personal.clear();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let files = [
        ("whole.ndjson", log.span(0)),
        ("span.ndjson", log.span(2)),
        ("choice.ndjson", log.choice(|entry| entry.seq == 2)),
    ];
    for (name, lines) in files {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        check(&lines, &[]).unwrap();
        if std::env::var_os("NIGHTLATCH_WRITE_GOLDEN").is_some() {
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join(name), &text).unwrap();
        }
        let stored = std::fs::read_to_string(path.join(name)).unwrap();
        assert!(stored == text, "{name} is no longer the format it was");
    }
}

/// Guarantee 7: without a head nothing is proven, whatever the export says.
#[test]
fn an_export_that_nobody_signed_is_named() {
    for head in [None, Some(log::head(None).sign(&signer()))] {
        let log = Log::default();
        let lines = lines(&Header { head: head.clone(), ..log.header(0, None) }, &[]);
        assert_eq!(check(&lines, &[]).unwrap_err(), Fault::Unsigned.into(), "{head:?}");
        let header = Header { head: None, ..log.header(0, None) };
        let mut allowed = Check::new(header, None, Vec::new(), Vec::new()).unwrap().allow_unsigned();
        allowed.line(&lines[1]).unwrap();
        assert!(!allowed.finish().unwrap().signed);
    }
}

/// Guarantee 7: values that are gone are those that erasures tell of, there or behind the checkpoint.
#[test]
fn destroyed_values_are_not_taken_for_erased_ones() {
    let personal = vec![("email".into(), "ada@example.org".into()), ("source".into(), "2001:db8::1".into())];
    let erased = |count: u64| Deed {
        action: "audit.erased".into(),
        after: Some(format!("{{\"erased\":{count}}}")),
        ..Deed::default()
    };
    let mut log = Log::new(&[Deed { personal, ..Deed::default() }, erased(1)]);
    check(&log.span(0), &[]).unwrap();
    log.entries[0].personal.pop();
    assert_eq!(check(&log.span(0), &[]).unwrap().accounted, 1);
    log.entries[0].personal.pop();
    let unaccounted = Fault::ErasedUnaccounted { found: 2, accounted: 1 };
    assert_eq!(check(&log.span(0), &[]).unwrap_err(), unaccounted.into());
    // Of a part nothing is known.
    let choice = check(&log.choice(|entry| entry.seq == 1), &[]).unwrap();
    assert_eq!((choice.erased, choice.accounted), (2, 0));
    check(&log.span(1), &[]).unwrap();
    // The other erasure is not signed yet: whoever hands the export over may say so, and is not believed unasked.
    let said = later(log.span(0), 1);
    let fault = Fault::ErasedLater { found: 2, accounted: 1 };
    assert_eq!(check(&said, &[]).unwrap_err(), fault.into());
    let proven = check_trusting(&said, &[]).unwrap();
    assert_eq!((proven.erased, proven.accounted), (2, 1));
}
