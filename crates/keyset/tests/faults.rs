//! What happens to a replica when files go astray, a process starts anew, or bytes rot.

#[expect(dead_code, reason = "other tests use more of it")]
mod common;

use common::{Key, Publisher, digest, pepper};
use nightlatch_keyset::{Delta, Head, Layout, Malformed, Record, Refused, Replica, Status, Tag, levels};
use proptest::prelude::*;

const LATEST: u64 = 9;

/// Twenty keys, and eight versions of changes and additions after them.
fn published() -> Publisher {
    let mut publisher = Publisher::new((0..20).map(|number| Key::new(number, &["a"])));
    for version in 1..LATEST as u32 {
        let changed = Key { status: Status::Disabled, ..Key::new(version, &["a"]) };
        publisher.publish(&[changed, Key::new(100 + version, &["a", "b"][..version as usize % 2 + 1])]);
    }
    publisher
}

fn load(publisher: &Publisher) -> Replica {
    let (index, parts) = publisher.base_files();
    Replica::load(index, parts, &publisher.head).unwrap()
}

fn delta(publisher: &Publisher, from: u64, to: u64) -> Delta {
    Delta::open(&publisher.files[&publisher.head.delta_name(from, to)], &[publisher.verifier()]).unwrap()
}

fn path(publisher: &Publisher, from: u64) -> Vec<Delta> {
    let base = publisher.head.base_version;
    let steps = levels::path(from - base, publisher.head.version - base);
    steps.map(|(from, to)| delta(publisher, base + from, base + to)).collect()
}

fn rows(replica: &Replica) -> Vec<(Tag, Record)> {
    let mut rows: Vec<_> = replica.iter().map(Result::unwrap).collect();
    rows.sort_by_key(|(tag, _)| *tag);
    rows
}

proptest! {
    /// Guarantee 4. Deltas of any level that are lost, doubled or reordered: whatever does not lead on, step by step, from
    /// the replica's version to the head's is refused, and nothing is changed by it.
    #[test]
    fn only_a_chain_without_a_fault_is_taken(
        mut steps in proptest::collection::vec((0_u64..8, 0_u32..4), 0..6),
        tidy in any::<bool>(),
    ) {
        let publisher = published();
        if tidy {
            // As it should be, so that chains that are taken are tried too.
            steps = levels::path(0, LATEST - 1).map(|(from, to)| (from, (to - from).ilog2())).collect();
        }
        let steps: Vec<_> = steps.into_iter().map(|(at, level)| (at >> level << level, 1_u64 << level)).collect();
        let deltas: Vec<Delta> = steps.iter().map(|(at, len)| delta(&publisher, 1 + at, 1 + at + len)).collect();
        let mut at = 0;
        let leads = steps.iter().all(|(from, len)| {
            let follows = *from == at;
            at = from + len;
            follows
        }) && at == LATEST - 1;
        let mut replica = load(&publisher);
        let before = rows(&replica);
        let outcome = replica.advance(&deltas, &publisher.head);
        prop_assert_eq!(outcome.is_ok(), leads);
        if let Err(error) = outcome {
            prop_assert!(matches!(error, Refused::Gap { .. }), "{error:?}");
            prop_assert_eq!((replica.version(), rows(&replica)), (1, before));
            prop_assert!(!replica.is_corrupt());
            replica.advance(&path(&publisher, 1), &publisher.head).unwrap();
        }
        prop_assert!(rows(&replica) == rows(publisher.author.replica()));
    }
}

/// Guarantee 3. At every version, a process that starts anew from the files says what the one before said.
#[test]
fn a_restart_changes_nothing() {
    let mut publisher = Publisher::new((0..20).map(|number| Key::new(number, &["a"])));
    let mut replica = load(&publisher);
    for version in 1..20_u32 {
        if version.is_multiple_of(7) {
            publisher.rebase(1_577_836_801, &[version]);
            replica.begin_rebase(&publisher.files[&publisher.head.rebase_name()], &publisher.head).unwrap();
            while !replica.rebase_step().unwrap() {}
        } else {
            let from = publisher.head.version;
            publisher
                .publish(&[Key { status: Status::Revoked, ..Key::new(version, &["a"]) }, Key::new(50 + version, &[])]);
            replica.advance(&[delta(&publisher, from, from + 1)], &publisher.head).unwrap();
        }
        let mut restarted = load(&publisher);
        restarted.advance(&path(&publisher, restarted.version()), &publisher.head).unwrap();
        assert_eq!(rows(&restarted), rows(&replica));
        assert_eq!((restarted.commitment(), restarted.len()), (replica.commitment(), publisher.keys.len()));
    }
}

/// Guarantee 5. A process that dies in a rebase has lost nothing: the files of both epochs lead on.
#[test]
fn a_rebase_that_was_cut_short_begins_again() {
    let mut publisher = published();
    let old = publisher.head.clone();
    let replica = publisher.author.replica().clone();
    publisher.rebase(1_577_836_801, &[3, 101]);
    let record = &publisher.files[&publisher.head.rebase_name()];
    for steps in 0..3 {
        let mut dying = replica.clone();
        dying.begin_rebase(record, &publisher.head).unwrap();
        for _ in 0..steps {
            assert!(!dying.rebase_step().unwrap());
        }
        assert_eq!(dying.begin_rebase(record, &publisher.head), Err(Refused::OtherHistory), "one is under way");
        assert_eq!(dying.advance(&[], &old), Err(Refused::OtherSet), "no delta comes between");
        let mut restarted = load(&publisher);
        restarted.advance(&[], &publisher.head).unwrap();
        while !dying.rebase_step().unwrap() {}
        assert_eq!(rows(&dying), rows(&restarted));
    }
}

/// The publisher of some thousand keys in `segments` segments, and a replica of it that has touched none.
fn spread(segments: u32) -> Publisher {
    let keys = (0..2_000).map(|number| Key::new(number, &["a"]));
    let layout = Layout::new(9 + segments.ilog2() as u8, nightlatch_keyset::Columns::ALL).unwrap();
    Publisher::with_layout(keys, layout)
}

fn segment(number: u32, segments: u32) -> u32 {
    u32::from(pepper().tag(&digest(number)).as_bytes()[0]) >> (8 - segments.ilog2())
}

/// S2-15. A rotten segment answers nothing, says so, and the others go on answering; changes that wait for it change nothing of
/// that.
#[test]
fn a_rotten_segment_is_found_when_it_is_first_touched() {
    let mut publisher = spread(4);
    let (index, mut parts) = publisher.base_files();
    *parts[0].last_mut().unwrap() ^= 1;
    let mut replica = Replica::load(index, parts, &publisher.head).unwrap();
    let changed: Vec<Key> = (0..8).map(|n| Key { status: Status::Revoked, ..Key::new(n, &["a"]) }).collect();
    publisher.publish(&changed);
    replica.advance(&path(&publisher, 1), &publisher.head).unwrap();
    assert!(!replica.is_corrupt(), "nobody has looked yet");
    for number in (0..40).filter(|number| segment(*number, 4) != 3) {
        let found = replica.lookup(&pepper().tag(&digest(number))).unwrap().unwrap();
        assert_eq!(found.status == Status::Revoked, number < 8);
    }
    assert!(!replica.is_corrupt());
    for number in (0..40).filter(|number| segment(*number, 4) == 3) {
        let refused = replica.lookup(&pepper().tag(&digest(number)));
        assert_eq!(refused, Err(Malformed::Hash("a segment of the base")), "not a key that is not there");
        assert!(replica.is_corrupt());
    }
    let stranger = (5_000..).find(|number| segment(*number, 4) == 3).unwrap();
    assert!(replica.lookup(&pepper().tag(&digest(stranger))).is_err(), "nor is a stranger told that he is none");
}

/// S2-15. A rebase that comes upon a rotten segment ends there, and the replica answers nothing more.
#[test]
fn a_rotten_segment_ends_a_rebase() {
    let mut publisher = spread(4);
    let first = publisher.head.clone();
    let (index, mut parts) = publisher.base_files();
    parts[0][0] ^= 1;
    let mut replica = Replica::load(index, parts, &first).unwrap();
    publisher.rebase(1_577_836_801, &[]);
    replica.begin_rebase(&publisher.files[&publisher.head.rebase_name()], &publisher.head).unwrap();
    let error = loop {
        match replica.rebase_step() {
            Ok(done) => assert!(!done),
            Err(error) => break error,
        }
    };
    assert_eq!(error, Refused::Malformed(Malformed::Hash("a segment of the base")));
    assert!(replica.is_corrupt());
    assert!((0..40).all(|number| replica.lookup(&pepper().tag(&digest(number))).is_err()));
    assert!(replica.begin_rebase(&publisher.files[&publisher.head.rebase_name()], &publisher.head).is_err());
}

/// Guarantee 3. Segments that are empty, all of them even, before a rebase or after it.
#[test]
fn empty_segments_survive_a_rebase() {
    let layout = Layout::new(11, nightlatch_keyset::Columns::ALL).unwrap();
    let [none, all] = [[false; 4], [true; 4]];
    for empty in [none, all, [true, false, false, true], [false, true, true, false]] {
        for empty_afterwards in [none, all, [true, true, false, true]] {
            let not_in = |empty: [bool; 4]| move |number: &u32| !empty[segment(*number, 4) as usize];
            let keys =
                |numbers: std::ops::Range<u32>, spared| numbers.filter(not_in(spared)).map(|n| Key::new(n, &["a"]));
            let mut publisher = Publisher::with_layout(keys(0..200, empty), layout);
            publisher.publish(&keys(200..300, empty_afterwards).collect::<Vec<_>>());
            let mut replica = load(&publisher);
            replica.advance(&path(&publisher, 1), &publisher.head).unwrap();
            let ended: Vec<u32> = (0..200).filter(|number| !not_in(empty_afterwards)(number)).collect();
            publisher.rebase(1_577_836_801, &ended);
            replica.begin_rebase(&publisher.files[&publisher.head.rebase_name()], &publisher.head).unwrap();
            while !replica.rebase_step().unwrap() {}
            for key in publisher.keys.values() {
                let found = replica.lookup(&pepper().tag(&digest(key.number)));
                assert!(found.is_ok_and(|found| found.is_some()), "lost: {empty:?}, then {empty_afterwards:?}");
            }
            assert_eq!(rows(&replica), rows(&load(&publisher)));
        }
    }
}

/// Keys that a rebase leaves out are gone after it, whether they were in the base or had been added.
#[test]
fn keys_that_have_ended_leave_at_a_rebase() {
    let mut publisher = Publisher::new((0..30).map(|number| Key::new(number, &["a"])));
    let ended = |number| Key { deadline: Some(1_600_000_000), ..Key::new(number, &["gone"]) };
    publisher.publish(&[ended(2), ended(40), Key::new(41, &["a"])]);
    publisher.publish(&[
        Key { status: Status::Revoked, ..Key::new(5, &["a"]) },
        Key { status: Status::Revoked, ..Key::new(41, &["a"]) },
    ]);
    let mut replica = load(&publisher);
    replica.advance(&path(&publisher, 1), &publisher.head).unwrap();
    assert_eq!((replica.len(), replica.profiles().len()), (32, 2));
    publisher.rebase(1_700_000_000, &[5, 41]);
    replica.begin_rebase(&publisher.files[&publisher.head.rebase_name()], &publisher.head).unwrap();
    while !replica.rebase_step().unwrap() {}
    for gone in [2, 5, 40, 41] {
        assert_eq!(replica.lookup(&pepper().tag(&digest(gone))), Ok(None));
    }
    assert_eq!((replica.len(), replica.profiles().len()), (28, 1), "their profile has gone too");
    // Who comes back is a key like any other.
    let from = publisher.head.version;
    publisher.publish(&[Key::new(2, &["back"])]);
    replica.advance(&[delta(&publisher, from, from + 1)], &publisher.head).unwrap();
    assert!(replica.lookup(&pepper().tag(&digest(2))).unwrap().is_some());
}

/// Two heads of one version: the replica stays with the one it has.
#[test]
fn another_head_of_the_same_version_is_refused() {
    let publisher = published();
    let mut replica = load(&publisher);
    replica.advance(&path(&publisher, 1), &publisher.head).unwrap();
    let other = Head { commitment: publisher.head.base_commitment, ..publisher.head.clone() };
    assert_eq!(replica.advance(&[], &other), Err(Refused::OtherHistory));
    assert_eq!(replica.commitment(), &publisher.head.commitment);
}
