//! Base, delta and replica against a plain map, and against whoever wants them to be something else.

#[path = "../common/mod.rs"]
mod common;
mod formats;

use std::collections::BTreeMap;

use common::{Key, Publisher, build, digest, pepper};
use nightlatch_keyset::{
    AuditCheckpoint, Base, Columns, Delta, FileName, Hash, Head, Index, Layout, Malformed, Profile, Refused, Replica,
    Status, levels,
};
use proptest::prelude::*;

fn load(publisher: &Publisher) -> Replica {
    let (index, parts) = publisher.base_files();
    Replica::load(index, parts, &publisher.head).unwrap()
}

fn delta(publisher: &Publisher, from: u64) -> Delta {
    level(publisher, from, from + 1)
}

fn level(publisher: &Publisher, from: u64, to: u64) -> Delta {
    Delta::open(&publisher.files[&publisher.head.delta_name(from, to)], &[publisher.verifier()]).unwrap()
}

/// The deltas from a version of the head's epoch to the head's, by the greatest levels.
fn path(publisher: &Publisher, from: u64) -> Vec<Delta> {
    let (base, to) = (publisher.head.base_version, publisher.head.version);
    levels::path(from - base, to - base).map(|(from, to)| level(publisher, base + from, base + to)).collect()
}

/// Rebases a replica that is at the last version of the epoch before, answering all the while.
fn rebase(replica: &mut Replica, publisher: &Publisher, before: &BTreeMap<u32, Key>) {
    replica.begin_rebase(&publisher.files[&publisher.head.rebase_name()], &publisher.head).unwrap();
    loop {
        for key in publisher.keys.values().take(5) {
            assert_eq!(found(replica, key.number), before.get(&key.number).cloned());
        }
        if replica.rebase_step().unwrap() {
            return;
        }
    }
}

fn found(replica: &Replica, number: u32) -> Option<Key> {
    let record = replica.lookup(&pepper().tag(&digest(number))).unwrap()?;
    Some(Key {
        status: record.status,
        foreign: record.foreign,
        deadline: record.deadline,
        profile: replica.profile(record.profile).unwrap().clone(),
        subject: record.subject,
        number: record.number,
    })
}

/// A replica equals the model at its version: every key with all it says, and no key beside them.
fn assert_equals_model(replica: &Replica, publisher: &Publisher) {
    assert_eq!(replica.len(), publisher.keys.len());
    assert_eq!(replica.commitment(), &publisher.head.commitment);
    for key in publisher.keys.values() {
        assert_eq!(found(replica, key.number).as_ref(), Some(key));
    }
    for stranger in 1_000_000..1_000_100 {
        assert_eq!(replica.lookup(&pepper().tag(&digest(stranger))), Ok(None));
    }
}

fn key() -> impl Strategy<Value = Key> {
    let status =
        prop_oneof![Just(Status::Active), Just(Status::Retiring), Just(Status::Disabled), Just(Status::Revoked)];
    let scopes = proptest::sample::subsequence(vec!["a:read", "a:write", "b:read", "READ_CASH"], 0..4);
    let live = proptest::option::weighted(0.2, 0u32..4);
    (0u32..60, status, proptest::option::of(1_577_836_801u64..3_000_000_000), scopes, live).prop_map(
        |(number, status, deadline, scopes, live)| {
            let mut key = Key::new(number, &scopes);
            key.profile.live = live;
            // Whether a key was imported is so for ever.
            Key { status, foreign: number % 3 == 0, deadline, ..key }
        },
    )
}

/// What happens to a set.
#[derive(Clone, Debug)]
enum Event {
    Publish(Vec<Key>),
    Live(u32, Vec<&'static str>, bool),
    Cut,
    Rebase { cutoff: u64, ended: Vec<u32> },
}

fn event() -> impl Strategy<Value = Event> {
    let scopes = proptest::sample::subsequence(vec!["a:read", "b:read"], 0..3);
    prop_oneof![
        10 => proptest::collection::vec(key(), 0..8).prop_map(Event::Publish),
        2 => (0_u32..4, scopes, any::<bool>()).prop_map(|(subject, scopes, refused)| Event::Live(subject, scopes, refused)),
        1 => Just(Event::Cut),
        2 => (1_577_836_801_u64..2_000_000_000, proptest::collection::vec(0_u32..60, 0..4))
            .prop_map(|(cutoff, ended)| Event::Rebase { cutoff, ended }),
    ]
}

proptest! {
    /// Guarantee 3. Random histories: at every version a replica that follows, one that starts anew, and one that skips
    /// versions and comes back by levels are the model; a rebase done here has the root that was signed.
    #[test]
    fn a_replica_equals_the_database_at_its_version(
        first in proptest::collection::vec(key(), 0..40),
        history in proptest::collection::vec(event(), 0..24),
        skip in 1_u64..5,
    ) {
        let mut publisher = Publisher::new(first);
        let (mut replica, mut lazy) = (load(&publisher), load(&publisher));
        assert_equals_model(&replica, &publisher);
        for event in history {
            let (from, before) = (publisher.head.version, publisher.keys.clone());
            match event {
                Event::Publish(changed) => publisher.publish(&changed),
                Event::Live(subject, scopes, refused) => {
                    let scopes = scopes.into_iter().map(String::from).collect();
                    let profile = Profile { live: Some(subject), scopes, refused, ..Key::new(0, &[]).profile };
                    publisher.publish_with(&[], &[profile]);
                }
                Event::Cut => {
                    publisher.cut();
                    (replica, lazy) = (load(&publisher), load(&publisher));
                    continue;
                }
                Event::Rebase { cutoff, ended } => {
                    let old = publisher.head.clone();
                    let base = old.base_version;
                    let verifiers = [publisher.verifier()];
                    let open = |publisher: &Publisher, (a, b): (u64, u64)| {
                        Delta::open(&publisher.files[&old.delta_name(base + a, base + b)], &verifiers).unwrap()
                    };
                    let steps = levels::path(lazy.version() - base, old.version - base);
                    let deltas: Vec<Delta> = steps.map(|step| open(&publisher, step)).collect();
                    lazy.advance(&deltas, &old).unwrap();
                    publisher.rebase(cutoff, &ended);
                    rebase(&mut replica, &publisher, &before);
                    rebase(&mut lazy, &publisher, &before);
                    assert_equals_model(&replica, &publisher);
                    assert_equals_model(&lazy, &publisher);
                    // Built from the model, the same base comes out.
                    let anew = build(&Head { issued: cutoff * 1000, ..old }, &publisher.keys, Columns::ALL);
                    if replica.layout() == Layout::for_keys(publisher.head.keys, Columns::ALL) {
                        prop_assert_eq!(anew.root, publisher.head.base_root);
                        prop_assert!((anew.index, anew.parts) == publisher.base_files());
                    }
                    continue;
                }
            }
            replica.advance(&[delta(&publisher, from)], &publisher.head).unwrap();
            assert_equals_model(&replica, &publisher);
            let mut cold = load(&publisher);
            cold.advance(&path(&publisher, cold.version()), &publisher.head).unwrap();
            assert_equals_model(&cold, &publisher);
            if publisher.head.version - lazy.version() >= skip {
                lazy.advance(&path(&publisher, lazy.version()), &publisher.head).unwrap();
                assert_equals_model(&lazy, &publisher);
            }
        }
    }

    #[test]
    fn no_bytes_upset_the_readers(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Base::load(bytes.clone(), vec![], &Hash::of(&bytes));
        let _ = Index::open(bytes.clone(), &Hash::of(&bytes));
        let _ = Delta::open(&bytes, &[]);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = Head::open(text, &[]);
            let _ = FileName::parse(text);
        }
    }

    /// A base with any byte changed answers nothing from what was changed: its index is refused, or its segment.
    #[test]
    fn a_changed_base_is_refused(at in any::<proptest::sample::Index>(), to in any::<u8>()) {
        let publisher = Publisher::new((0..20).map(|n| Key::new(n, &["a"])));
        let (mut index, mut parts) = publisher.base_files();
        let at = at.index(index.len() + parts[0].len());
        let byte = if at < index.len() { &mut index[at] } else { &mut parts[0][at - index.len()] };
        prop_assume!(*byte != to);
        *byte = to;
        if let Ok(base) = Base::load(index, parts, &publisher.head.base_root) {
            prop_assert!(matches!(base.check(), Err(Malformed::Hash(_))));
            for number in 0..20 {
                prop_assert!(base.lookup(&pepper().tag(&digest(number))).is_err());
            }
        }
    }

    #[test]
    fn a_changed_delta_is_refused(at in any::<proptest::sample::Index>(), to in any::<u8>()) {
        let mut publisher = Publisher::new([Key::new(1, &["a"])]);
        publisher.publish(&[Key::new(2, &["b"]), Key { status: Status::Revoked, ..Key::new(1, &["a"]) }]);
        let mut bytes = publisher.files[&publisher.head.delta_name(1, 2)].clone();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        prop_assert!(Delta::open(&bytes, &[publisher.verifier()]).is_err());
    }
}

/// Guarantee 9: the same version always encodes to the same bytes, in whatever order its keys come.
#[test]
fn encoding_is_canonical() {
    let keys: Vec<Key> = (0..50).map(|n| Key::new(n, &[["a", "b", "c"][n as usize % 3]])).collect();
    let forward = Publisher::new(keys.clone());
    let backward = Publisher::new(keys.into_iter().rev());
    assert_eq!(forward.files, backward.files);
    assert_eq!(forward.note(), backward.note());
}

#[test]
fn a_head_comes_back_and_only_as_it_was_signed() {
    let publisher = Publisher::new([Key::new(1, &[])]);
    let verifiers = [publisher.verifier()];
    let note = publisher.note();
    assert_eq!(Head::open(&note, &verifiers).unwrap(), publisher.head);
    let audited = Head { audit: Some(AuditCheckpoint { count: 7, root: Hash::of(b"root") }), ..publisher.head.clone() };
    assert_eq!(Head::open(&audited.sign(&publisher.signer), &verifiers).unwrap(), audited);
    let root = Hash::of(b"root").to_string();
    for (line, wrong) in [
        ("version 1", "version 01"),
        ("version 1", "version +1"),
        ("accepts-foreign no", "accepts-foreign maybe"),
        ("open-until -", "open-until 5"),
        ("trust -", "trust none"),
        ("nightlatch.head/4", "nightlatch.head/5"),
        ("nightlatch.head/4", "nightlatch.head/2"),
        ("nightlatch.head/4", "nightlatch.delta/3"),
        ("rebase -", "rebase 00"),
        ("rebase-length 0", "rebase-length 1"),
        ("base-parts 3", "base-parts ,3"),
        ("base-parts 3", "base-parts 03"),
        ("set set", "tes set"),
        ("epoch 1\n", ""),
        ("audit -\n", "audit -\nmore -\n"),
        ("audit -", "audit 1"),
        ("audit -", &format!("audit 0 {root}")),
        ("audit -", &format!("audit 01 {root}")),
        ("audit -", &format!("audit 1 {root} ")),
        ("audit -", &format!("audit 1  {root}")),
        ("audit -", &format!("audit 1 {}", root.to_uppercase())),
    ] {
        let (text, _) = note.split_once("\n\n").unwrap();
        let text = format!("{text}\n").replacen(line, wrong, 1);
        assert!(Head::open(&publisher.signer.sign(&text), &verifiers).is_err(), "{wrong}");
    }
}

/// Guarantee 4: deltas apply in their order, from the replica's own version, all of them or none.
#[test]
fn deltas_out_of_place_change_nothing() {
    let mut publisher = Publisher::new((0..5).map(|n| Key::new(n, &["a"])));
    let start = load(&publisher);
    for number in 5..8 {
        publisher.publish(&[Key::new(number, &["b"])]);
    }
    let deltas: Vec<Delta> = (1..4).map(|from| delta(&publisher, from)).collect();
    let refuse = |deltas: &[Delta], head: &Head| {
        let mut replica = start.clone();
        let error = replica.advance(deltas, head).unwrap_err();
        assert_eq!((replica.version(), replica.len()), (1, 5), "a refusal leaves the replica as it was");
        error
    };
    let [one, two, three] = [&deltas[0], &deltas[1], &deltas[2]].map(Clone::clone);
    assert_eq!(refuse(&[two.clone(), one.clone(), three.clone()], &publisher.head), Refused::Gap { at: 1, offered: 2 });
    assert_eq!(refuse(&[one.clone(), three.clone()], &publisher.head), Refused::Gap { at: 2, offered: 3 });
    assert_eq!(refuse(&[one.clone(), one.clone()], &publisher.head), Refused::Gap { at: 2, offered: 1 });
    assert_eq!(refuse(&[one.clone(), two.clone()], &publisher.head), Refused::Gap { at: 3, offered: 4 });
    let other = Head { commitment: publisher.head.base_commitment, ..publisher.head.clone() };
    assert_eq!(refuse(&[one.clone(), two.clone(), three.clone()], &other), Refused::OtherHistory);
    let other = Head { epoch: 2, ..publisher.head.clone() };
    assert_eq!(refuse(&[one, two.clone(), three.clone()], &other), Refused::OtherSet);

    // A sibling publisher with the same signer and another past: same numbers, other history.
    let mut sibling = Publisher::new((0..5).map(|n| Key::new(n, &["z"])));
    sibling.publish(&[Key::new(5, &["b"])]);
    let foreign = delta(&sibling, 1);
    assert_eq!(refuse(&[foreign, two, three], &publisher.head), Refused::OtherHistory);

    let mut replica = start.clone();
    replica.advance(&deltas, &publisher.head).unwrap();
    assert_equals_model(&replica, &publisher);
}

/// An empty delta is in order and changes nothing.
#[test]
fn an_empty_delta_changes_nothing() {
    let mut publisher = Publisher::new([Key::new(1, &["a"])]);
    let mut replica = load(&publisher);
    publisher.publish(&[]);
    replica.advance(&[delta(&publisher, 1)], &publisher.head).unwrap();
    assert_equals_model(&replica, &publisher);
}

#[test]
fn two_keys_of_one_tag_are_no_base() {
    use nightlatch_keyset::{BaseBuilder, BaseInfo, Change};
    let info = BaseInfo {
        set: common::SET.into(),
        workspace: common::WORKSPACE.into(),
        pepper: "p1".into(),
        incarnation: 0,
        epoch: 1,
        version: 1,
        cutoff: 0,
    };
    let mut builder = BaseBuilder::new(info, Layout::for_keys(2, Columns::ALL), 2).unwrap();
    let key = Key::new(1, &["a"]);
    for _ in 0..2 {
        let change = Change {
            tag: pepper().tag(&digest(1)),
            status: key.status,
            foreign: false,
            deadline: None,
            profile: &key.profile,
            subject: 1,
            number: 1,
        };
        builder.push(&change).unwrap();
    }
    assert_eq!(builder.finish().unwrap_err(), Malformed::Order("rows"));
}

/// A part in pieces is the part: where the index says it can be cut, and nowhere else.
#[test]
fn a_part_may_come_in_pieces() {
    let mut publisher = Publisher::new((0..15_000).map(|number| Key::new(number, &["a"])));
    let (index, parts) = publisher.base_files();
    let lens = Index::open(index.clone(), &publisher.head.base_root).unwrap().piece_lens(0, 1);
    assert!(lens.len() > 1, "one piece for each segment");
    let cut = |lens: &[usize]| -> Vec<Vec<u8>> {
        let mut rest = parts[0].as_slice();
        let mut pieces: Vec<Vec<u8>> = lens.iter().map(|len| rest.split_off(..*len).unwrap().to_vec()).collect();
        pieces.extend((!rest.is_empty()).then(|| rest.to_vec()));
        pieces
    };
    let mut replica = Replica::load(index.clone(), cut(&lens), &publisher.head).unwrap();
    assert_equals_model(&replica, &publisher);
    let wrong = Replica::load(index.clone(), cut(&[lens[0] - 1]), &publisher.head).err();
    assert_eq!(wrong, Some(Refused::Malformed(Malformed::Truncated("part"))));
    let less = Replica::load(index.clone(), cut(&lens)[1..].to_vec(), &publisher.head).err();
    assert!(matches!(less, Some(Refused::Malformed(_))));
    let more: Vec<Vec<u8>> = [cut(&lens), vec![vec![0]]].concat();
    assert_eq!(Replica::load(index, more, &publisher.head).err(), Some(Refused::Malformed(Malformed::Trailing)));

    let before = publisher.keys.clone();
    let changed: Vec<Key> = (14_990..15_500).map(|number| Key::new(number, &["b"])).collect();
    publisher.publish(&changed);
    replica.advance(&[delta(&publisher, 1)], &publisher.head).unwrap();
    let before = before.into_iter().chain(changed.into_iter().map(|key| (key.number, key))).collect();
    publisher.rebase(0, &[]);
    rebase(&mut replica, &publisher, &before);
    assert_equals_model(&replica, &publisher);
}
