//! How each attack is made from a set in order.

use std::collections::BTreeMap;

use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{Head, Status};

use crate::common::{Key, Publisher};
use crate::tamper::{
    BODY_HEADER_LEN, Bits, Places, RECORD_HEADER_LEN, name_base, places, put_number, put_together, rehash, taken_apart,
    text, with_body, with_line,
};

/// What an edge finds, by name. `head` is the head, `before` one that it has been at, `verifier` whom it trusts.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

type Attacks = BTreeMap<String, Files>;

/// What is done to an index and its one part.
type Change<'a> = dyn Fn(&mut Vec<u8>, &mut Vec<u8>, &Places) + 'a;

/// Every attack.
pub(crate) fn all() -> Attacks {
    let mut all = Attacks::new();
    of_heads(&mut all);
    of_heads_in_time(&mut all);
    of_bases(&mut all);
    of_signed_bases(&mut all);
    of_deltas(&mut all);
    of_signed_deltas(&mut all);
    of_records(&mut all);
    all
}

/// Whether it takes a clock to know an attack for one.
pub(crate) fn is_of_time(files: &Files) -> bool {
    files.contains_key("now")
}

/// The sets that they begin with.
pub(crate) fn harmless() -> [Files; 3] {
    [files(&first(), None), files(&second(), None), files(&third(), Some(&second().head))]
}

fn keys() -> Vec<Key> {
    (0..20).map(|number| Key::new(number, &[["a", "b"][number as usize % 2]])).collect()
}

/// Version 1, a base.
fn first() -> Publisher {
    Publisher::new(keys())
}

/// Versions 1 to 4: changes and additions.
fn second() -> Publisher {
    following(first())
}

fn following(mut publisher: Publisher) -> Publisher {
    publisher.publish(&[Key::new(30, &["new"]), Key::new(31, &["a"])]);
    publisher.publish(&[Key { status: Status::Revoked, ..Key::new(1, &["b"]) }]);
    publisher.publish(&[Key { deadline: Some(1_900_000_000), ..Key::new(30, &["new"]) }, Key::new(32, &["b"])]);
    publisher
}

/// Version 5, which folds those into the base of the next epoch.
fn third() -> Publisher {
    let mut publisher = second();
    publisher.rebase(1_577_836_801, &[1, 31]);
    publisher
}

/// Another set of the same name and signer, with another past.
fn sibling() -> Publisher {
    following(Publisher::new((0..20).map(|number| Key::new(number, &["z"]))))
}

fn files(publisher: &Publisher, before: Option<&Head>) -> Files {
    let files = publisher.files.iter().filter(|(name, _)| !name.to_text().starts_with("policy"));
    let mut files: Files = files.map(|(name, bytes)| (name.to_text(), bytes.clone())).collect();
    files.insert("head".into(), publisher.note().into_bytes());
    files.insert("verifier".into(), (publisher.verifier().to_vkey() + "\n").into_bytes());
    if let Some(before) = before {
        files.insert("before".into(), before.sign(&publisher.signer).into_bytes());
    }
    files
}

/// Adds an attack. Files that have to do with nothing in it are left away.
fn put(all: &mut Attacks, name: &str, mut files: Files, leave_away: &[&str]) {
    files.retain(|file, _| !leave_away.iter().any(|prefix| file.starts_with(prefix)));
    assert!(all.insert(name.into(), files).is_none(), "{name} is there twice");
}

fn of_heads(all: &mut Attacks) {
    let publisher = second();
    let note = publisher.note();
    let mut with = |name: &str, note: String| {
        let mut files = files(&publisher, None);
        files.insert("head".into(), note.into_bytes());
        put(all, name, files, &["base", "delta"]);
    };
    let signed = |text: &str| publisher.signer.sign(text);
    with("head-cut", note[..note.len() / 2].into());
    with("head-signature-cut", note[..note.len() - 20].into());
    with("head-bad-signature", note.replacen("version 4", "version 5", 1));
    with("head-wrong-signer", publisher.head.sign(&Signer::new("nightlatch/set_0123456789", &[2; 32]).unwrap()));
    with("head-unknown-version", signed(&text(&note).replacen("head/4", "head/5", 1)));
    with("head-other-note", signed(&text(&note).replacen("nightlatch.head/4", "nightlatch.receipt/1", 1)));
    with("head-number-spelled-otherwise", signed(&with_line(text(&note), "version", "04")));
    with("head-oversized-base", signed(&with_line(text(&note), "base-length", "18446744073709551615")));
    with("head-too-many-parts", signed(&with_line(text(&note), "base-parts", &["1"; 65].join(","))));
    with("head-valid-before-it-was-issued", signed(&with_line(text(&note), "valid-until", "1")));
    with(
        "head-checkpoint-of-nothing",
        signed(&with_line(text(&note), "audit", &format!("0 {}", publisher.head.base_root))),
    );
    with("head-open-before-it-ends", signed(&with_line(text(&note), "open-until", "1")));
    with(
        "head-of-before-with-a-checkpoint",
        signed(
            &with_line(text(&note), "audit", &format!("1 {}", publisher.head.base_root))
                .replacen("head/4", "head/3", 1),
        ),
    );
    with("head-too-long", signed(&format!("{}{}\n", text(&note), "x".repeat(16_384))));

    let mut replayed = files(&publisher, Some(&publisher.head));
    let mut old = first();
    old.publish(&[Key::new(30, &["new"]), Key::new(31, &["a"])]);
    replayed.insert("head".into(), old.note().into_bytes());
    put(all, "head-replay", replayed, &[]);
    let mut elsewhere = files(&publisher, Some(&publisher.head));
    let other = Head { set: "set_other".into(), ..publisher.head.clone() };
    elsewhere.insert("head".into(), other.sign(&publisher.signer).into_bytes());
    put(all, "head-of-another-set", elsewhere, &[]);
}

/// Heads that are what was signed, at the wrong time: `now` is what the edge's clock says. This crate knows none; the crate
/// `nightlatch-sync` refuses them.
fn of_heads_in_time(all: &mut Attacks) {
    let publisher = second();
    let mut with = |name: &str, head: &Head, before: Option<&Head>, now: u64, code: &str| {
        let mut files = files(&publisher, before);
        files.insert("head".into(), head.sign(&publisher.signer).into_bytes());
        files.insert("now".into(), now.to_string().into_bytes());
        files.insert("expected".into(), format!("{code}\n").into_bytes());
        put(all, name, files, &["base", "delta"]);
    };
    let head = &publisher.head;
    with("head-from-the-future", head, None, head.issued - head.skew - 1, "head_from_future");
    with("head-expired", head, None, head.valid_until, "head_expired");
    let older = Head { version: 3, ..head.clone() };
    with("head-older-than-accepted", &older, Some(head), head.issued, "head_rollback");
    let earlier = Head { issued: head.issued - 1, ..head.clone() };
    with("head-issued-before-accepted", &earlier, Some(head), head.issued, "head_rollback");
}

/// Changes of a base's files under the head that signs them as they were.
fn of_bases(all: &mut Attacks) {
    let publisher = first();
    let mut with = |name: &str, change: &dyn Fn(&mut Vec<u8>, &mut Vec<u8>)| {
        let mut files = files(&publisher, None);
        let (mut index, mut parts) = publisher.base_files();
        change(&mut index, &mut parts[0]);
        files.insert("base-0-1".into(), index);
        files.insert("base-0-1-0".into(), parts.remove(0));
        put(all, name, files, &[]);
    };
    let (other, other_parts) = sibling().base_files();
    with("base-index-cut", &|index, _| index.truncate(100));
    with("base-directory-cut", &|index, _| index.truncate(index.len() - 1));
    with("base-index-trailing", &|index, _| index.push(0));
    with("base-part-cut", &|_, part| part.truncate(part.len() - 1));
    with("base-part-trailing", &|_, part| part.push(0));
    with("base-part-of-another-base", &|_, part| part.clone_from(&other_parts[0]));
    with("base-index-of-another-base", &|index, _| index.clone_from(&other));
    with("base-core-changed", &|index, _| index[60] ^= 1);
    let at = places(&publisher.base_files().0);
    with("base-bad-leaf", &|index, _| index[at.leaf] ^= 1);
    with("base-bad-node", &|index, _| index[at.node] ^= 1);
    with("base-bad-directory", &|index, _| index[at.directory + 2] ^= 1);
    with("base-bad-tag", &|_, part| part[0] ^= 1);
    with("base-bad-row", &|_, part| *part.last_mut().unwrap() ^= 1);
    let mut of_other_epoch = files(&publisher, None);
    of_other_epoch
        .insert("head".into(), Head { epoch: 2, ..publisher.head.clone() }.sign(&publisher.signer).into_bytes());
    for (from, to) in [("base-0-1", "base-0-2"), ("base-0-1-0", "base-0-2-0")] {
        let bytes = of_other_epoch.remove(from).unwrap();
        of_other_epoch.insert(to.into(), bytes);
    }
    put(all, "base-of-another-epoch", of_other_epoch, &[]);
}

/// Changes of a base's files that are signed so.
fn of_signed_bases(all: &mut Attacks) {
    let publisher = first();
    let mut with = |name: &str, rehashed: bool, change: &Change<'_>| {
        let mut files = files(&publisher, None);
        let (mut index, mut parts) = publisher.base_files();
        let places = places(&index);
        change(&mut index, &mut parts[0], &places);
        if rehashed {
            rehash(&mut index, &parts[0]);
        }
        let mut head = publisher.head.clone();
        name_base(&mut head, &index, places.leaf);
        files.insert("head".into(), head.sign(&publisher.signer).into_bytes());
        files.insert("base-0-1".into(), index);
        files.insert("base-0-1-0".into(), parts.remove(0));
        put(all, &format!("base-signed-{name}"), files, &[]);
    };
    let row_len = publisher.head.base_parts[0] as usize / 20 - 1;
    with("other-kind", false, &|index, _, _| index[0] = b'X');
    with("unknown-version", false, &|index, _, _| index[6] = 4);
    with("too-many-keys", false, &|index, _, _| put_number(index, 40, u32::MAX));
    with("too-many-profiles", false, &|index, _, _| put_number(index, 44, u32::MAX));
    with("too-few-profiles", false, &|index, _, _| put_number(index, 44, 1));
    with("oversized-profiles", false, &|index, _, _| put_number(index, 48, u32::MAX));
    with("too-many-bucket-bits", false, &|index, _, _| index[52] = 25);
    with("more-buckets-than-there-are", false, &|index, _, _| index[52] = 24);
    with("unknown-column", false, &|index, _, _| index[53] = 4);
    with("nonzero-padding", false, &|index, _, _| index[54] = 1);
    with("nonzero-reserve", false, &|index, _, _| index[191] = 1);
    with("id-padding", false, &|index, _, _| index[95] = b'x');
    with("ranks-descend", false, &|index, _, places| put_number(index, places.ranks, 21));
    with("ranks-end-elsewhere", false, &|index, _, places| put_number(index, places.ranks + 4, 19));
    with("segment-too-large", false, &|index, _, places| {
        put_number(index, 40, 65_536);
        put_number(index, places.ranks + 4, 65_536);
    });
    with("profiles-descend", true, &|index, _, places| {
        let profiles = index[places.profiles.clone()].to_vec();
        let (one, two) = profiles.split_at(profiles.len() / 2);
        index[places.profiles.clone()].copy_from_slice(&[two, one].concat());
    });
    with("profile-of-unknown-kind", false, &|index, _, places| index[places.profiles.start] = 4);
    with("profile-of-unknown-flags", false, &|index, _, places| index[places.profiles.start + 2] = 2);
    with("bad-node", false, &|index, _, places| index[places.node] ^= 1);
    with("directory-begins-late", true, &|index, _, places| index[places.directory] = 1);
    with("directory-ends-early", true, &|index, _, places| index[places.directory + 2] = 19);
    with("directory-ends-late", true, &|index, _, places| index[places.directory + 2] = 21);
    with("unsorted-rows", true, &|_, part, _| {
        part.swap(0, 1);
        let (one, two) = part[20..].split_at_mut(row_len);
        one.swap_with_slice(&mut two[..row_len]);
    });
    with("duplicate-row", true, &|_, part, _| {
        part[1] = part[0];
        part.copy_within(20..20 + row_len, 20 + row_len);
    });
    with("row-of-no-profile", true, &|_, part, _| part[20 + 15 + 2] = 0xff);
}

/// Deltas that are what somebody signed, in the wrong place or cut.
fn of_deltas(all: &mut Attacks) {
    // Version 1 to 2, so that one delta leads there.
    let mut publisher = first();
    publisher.publish(&[Key::new(30, &["new"]), Key::new(31, &["a"])]);
    let original = publisher.files[&publisher.head.delta_name(1, 2)].clone();
    let (note, body) = taken_apart(&original);
    let mut with = |name: &str, bytes: Vec<u8>| {
        let mut files = files(&publisher, None);
        files.insert("delta-0-1-1-2".into(), bytes);
        put(all, &format!("delta-{name}"), files, &[]);
    };
    let signed = |text: &str| put_together(&publisher.signer.sign(text), &body);
    with("cut", original[..original.len() - 1].to_vec());
    with("trailing", [&original[..], &[0]].concat());
    with("note-cut", original[..100].to_vec());
    with("oversized-note", [&u32::MAX.to_le_bytes()[..], &original[4..]].concat());
    with("bad-signature", put_together(&note.replacen("epoch 1", "epoch 2", 1), &body));
    let stranger = Signer::new("nightlatch/set_0123456789", &[2; 32]).unwrap();
    with("wrong-signer", put_together(&stranger.sign(text(&note)), &body));
    with("unknown-version", signed(&text(&note).replacen("delta/3", "delta/4", 1)));
    with("head-instead-of-statement", signed(text(&publisher.note())));
    with("wrong-epoch", signed(&with_line(text(&note), "epoch", "2")));
    with("wrong-incarnation", signed(&with_line(text(&note), "incarnation", "1")));
    with("of-another-set", signed(&with_line(text(&note), "set", "set_other")));
    with("backwards", signed(&with_line(text(&note), "to", "0")));
    with("number-spelled-otherwise", signed(&with_line(text(&note), "from", "+1")));
    with("of-another-history", sibling().files[&publisher.head.delta_name(1, 2)].clone());
    with(
        "other-commitment",
        signed(&with_line(text(&note), "to-commitment", &publisher.head.base_commitment.to_string())),
    );

    let whole = second();
    let mut placed = |name: &str, before: Option<&Head>, to: (u64, u64), from: (u64, u64)| {
        let mut files = files(&whole, before);
        let bytes = whole.files[&whole.head.delta_name(from.0, from.1)].clone();
        files.insert(whole.head.delta_name(to.0, to.1).to_text(), bytes);
        put(all, &format!("delta-{name}"), files, &[]);
    };
    placed("replayed", None, (3, 4), (1, 2));
    placed("level-from-the-wrong-version", None, (3, 4), (1, 3));
    placed("level-to-the-wrong-version", None, (1, 3), (1, 2));
}

/// Bodies that are signed so.
fn of_signed_deltas(all: &mut Attacks) {
    let mut publisher = first();
    publisher.publish(&[Key::new(30, &["new"]), Key::new(31, &["a"])]);
    let original = publisher.files[&publisher.head.delta_name(1, 2)].clone();
    let body = taken_apart(&original).1;
    let header = {
        // No profiles, so that the stream begins right behind it.
        let mut header = body[..BODY_HEADER_LEN].to_vec();
        header[24..36].fill(0);
        header
    };
    let mut with = |name: &str, body: Vec<u8>| {
        let (file, commitment) = with_body(&original, &body, &publisher.head.base_commitment, &publisher.signer);
        let mut files = files(&publisher, None);
        let head = Head { commitment, ..publisher.head.clone() };
        files.insert("head".into(), head.sign(&publisher.signer).into_bytes());
        files.insert("delta-0-1-1-2".into(), file);
        put(all, &format!("delta-signed-{name}"), files, &[]);
    };
    let changed = |at: usize, bytes: &[u8]| {
        let mut body = body.clone();
        body[at..at + bytes.len()].copy_from_slice(bytes);
        body
    };
    let stream = |bits: Bits| [header.clone(), bits.bytes()].concat();
    let tag_rest = |bits: Bits| bits.number(7, 64).number(0, 0);
    with("cut", body[..body.len() - 1].to_vec());
    with("header-cut", body[..20].to_vec());
    with("trailing", [&body[..], &[0]].concat());
    with("other-kind", changed(0, b"X"));
    with("unknown-version", changed(6, &[4]));
    with("other-base", changed(8, &21_u32.to_le_bytes()));
    with("keys-added-that-are-not", changed(12, &1_u32.to_le_bytes()));
    with("more-profiles-than-any-set", changed(16, &u32::MAX.to_le_bytes()));
    with("too-few-tag-bits", changed(20, &[127]));
    with("unknown-column", changed(21, &[4]));
    with("nonzero-padding", changed(22, &[1]));
    with("oversized-profiles", changed(32, &u32::MAX.to_le_bytes()));
    with("too-many-new-profiles", changed(24, &u32::MAX.to_le_bytes()));
    with("profile-replaced-that-is-not", changed(24, &[0, 0, 0, 0, 1, 0, 0, 0]));
    with("too-many-groups", stream(Bits::default().count(1 << 20)));
    with("count-of-no-end", stream(Bits::default().number(0, 200)));
    with("count-of-too-many-bits", stream(Bits::default().number(0, 40).number(u64::MAX, 64)));
    let group = |mask: u64, keys: u64| Bits::default().count(1).number(mask, 4).count(keys);
    with("group-of-no-fields", stream(group(0, 1)));
    with("group-of-no-keys", stream(group(2, 0)));
    with("too-many-keys", stream(group(2, 1 << 20)));
    with("key-beyond-the-base", stream(group(2, 1).number(0, 6).number(0, 20).number(1, 1)));
    with("frame-too-wide", stream(group(2, 1).number(0, 6).number(1, 1).number(0, 32).number(33, 6).number(0, 64)));
    with(
        "profile-beyond-the-last",
        stream(group(4, 1).number(0, 6).number(1, 1).number(2, 21).number(0, 6).count(0).count(0)),
    );
    let twice = Bits::default().count(2).number(2, 4).count(1).number(0, 6).number(1, 1).number(0, 38);
    with("groups-not-ascending", stream(twice.number(2, 4).count(1).number(0, 6).number(1, 1)));
    let none = || Bits::default().count(0).count(0);
    with("too-many-additions", stream(none().count(1 << 20)));
    let two = none().count(2).number(0, 6).number(1, 1);
    with("duplicate-addition", stream(tag_rest(tag_rest(two).number(1, 1)).number(0, 200)));
    let overflowing = none().count(2).number(63, 6).number(0, 1).number(1, 1).number(u64::MAX >> 1, 63);
    with("tag-beyond-the-last", stream(tag_rest(overflowing).number(0, 1).number(1, 1).number(0, 63)));
    with("bits-trailing", stream(none().count(0).number(0, 8)));
    with("bits-nonzero-padding", stream(none().count(0).number(1, 1)));
}

fn of_records(all: &mut Attacks) {
    let publisher = third();
    let before = second().head;
    let original = publisher.files[&publisher.head.rebase_name()].clone();
    let other = {
        let mut other = sibling();
        other.rebase(1_577_836_801, &[1, 31]);
        other
    };
    let mut with = |name: &str, signed: bool, record: Vec<u8>| {
        let mut files = files(&publisher, Some(&before));
        if signed {
            let rebase = Some((nightlatch_keyset::Hash::of(&record), record.len() as u64));
            let head = Head { rebase, ..publisher.head.clone() };
            files.insert("head".into(), head.sign(&publisher.signer).into_bytes());
        }
        files.insert("rebase-0-2".into(), record);
        put(all, &format!("record-{name}"), files, &["base-0-2"]);
    };
    let changed = |at: usize, bytes: &[u8]| {
        let mut record = original.clone();
        record[at..at + bytes.len()].copy_from_slice(bytes);
        record
    };
    let stream = |bits: Bits| [&original[..RECORD_HEADER_LEN], &bits.bytes()].concat();
    with("not-the-one-signed", false, changed(130, &[0xff]));
    with("cut", false, original[..original.len() - 1].to_vec());
    with("signed-cut", true, original[..original.len() - 1].to_vec());
    with("signed-header-cut", true, original[..100].to_vec());
    with("signed-trailing", true, [&original[..], &[0]].concat());
    with("signed-nonzero-padding", true, {
        let mut record = original.clone();
        *record.last_mut().unwrap() |= 0x80;
        record
    });
    with("signed-header-padding", true, changed(90, &[1]));
    with("signed-other-kind", true, changed(0, b"X"));
    with("signed-unknown-version", true, changed(6, &[2]));
    with("of-another-base", true, other.files[&other.head.rebase_name()].clone());
    with("signed-wrong-epoch", true, changed(16, &[3]));
    with("signed-other-commitment", true, changed(40, &[original[40] ^ 1]));
    with("signed-more-profiles-than-any-set", true, changed(80, &u32::MAX.to_le_bytes()));
    with("signed-more-profiles-than-before", true, changed(84, &u32::MAX.to_le_bytes()));
    with("signed-other-layout", true, changed(88, &[1]));
    with("signed-other-cutoff", true, changed(32, &[9]));
    with("signed-too-many-removed", true, stream(Bits::default().count(1 << 20)));
    with("signed-slot-beyond-the-base", true, stream(Bits::default().count(1).number(0, 6).number(0, 20).number(1, 1)));
    with("signed-nothing-removed", true, stream(keeping_all(0)));
    with("signed-profile-of-no-number", true, stream(keeping_all(1)));
    with("signed-profile-dropped-in-use", true, stream(dropping_all()));
}

/// A stream that removes no key. Of three profiles in two bits each, the first gets the number `first` and so on.
fn keeping_all(first: u64) -> Bits {
    let keep = |bits: Bits, number: u64| bits.number(1, 1).number(number, 2);
    keep(keep(keep(Bits::default().count(0).count(0), first), first + 1), first + 2)
}

/// A stream that removes no key and keeps no profile.
fn dropping_all() -> Bits {
    Bits::default().count(0).count(0).number(0, 3)
}
