//! The edge's state against a publisher's history: what it takes, what it refuses, and how long it relies on it.

use std::collections::BTreeMap;

use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{Head, Pepper, Status};
use nightlatch_sync::{Edge, EdgeConfig, Freshness, Mark, Offer, Outcome, Refusal};
use proptest::prelude::*;

use crate::common::{self, Key, POLICY, Publisher, START, digest};
use crate::source::{Policy, attempt, begin, config, decode, edge, fetch, names, take};

#[test]
fn a_cold_edge_loads_follows_and_ages() {
    let mut publisher = Publisher::new((0..9).map(|n| Key::new(n, &["a"])));
    let mut edge = edge(&publisher);
    let now = edge.now(START, None);
    assert_eq!(edge.freshness(now), Freshness::Cold);
    assert!(edge.serving(now).is_none());

    take(&mut edge, &publisher.note(), &publisher.files, now).unwrap();
    assert_eq!(edge.freshness(now), Freshness::Fresh);
    assert_eq!(edge.serving(now).unwrap().policy(), POLICY);

    // Past the poll interval it still serves; a changed set then costs one delta.
    let now = edge.now(START + 1_000, None);
    assert_eq!(edge.freshness(now), Freshness::SoftStale);
    publisher.publish(&[Key { status: Status::Revoked, ..Key::new(3, &["a"]) }]);
    assert_eq!(names(&attempt(&mut edge, &publisher.note(), now)), [publisher.head.delta_name(1, 2)]);
    take(&mut edge, &publisher.note(), &publisher.files, now).unwrap();
    let (record, profile) = edge.serving(now).unwrap().find(&digest(3)).unwrap().unwrap();
    assert_eq!((record.status, profile.has_scope("a")), (Status::Revoked, true));

    // At valid_until to the millisecond it stops.
    let end = publisher.head.valid_until;
    assert_eq!(edge.freshness(end - 1), Freshness::SoftStale);
    assert!(edge.serving(end - 1).is_some());
    assert_eq!(edge.freshness(end), Freshness::HardStale);
    assert!(edge.serving(end).is_none());
}

/// A heartbeat prolongs without a fetch.
#[test]
fn a_heartbeat_costs_no_file() {
    let mut publisher = Publisher::new([Key::new(1, &[])]);
    let mut edge = edge(&publisher);
    take(&mut edge, &publisher.note(), &publisher.files, START).unwrap();
    publisher.tick(30_000);
    let now = START + 30_000;
    let attempt = attempt(&mut edge, &publisher.note(), now);
    assert!(attempt.fetches().is_empty());
    edge.finish(attempt, Vec::new(), now, decode).unwrap();
    assert_eq!(edge.freshness(START + 80_000), Freshness::SoftStale);
    assert!(matches!(edge.offer(&publisher.note(), now).unwrap(), Offer::Known));
}

/// Guarantee 4: what was accepted is a floor, within a run and, where the mark is kept, across runs.
#[test]
fn an_older_head_is_refused() {
    let mut publisher = Publisher::new([Key::new(1, &[])]);
    let old = (publisher.note(), publisher.files.clone());
    publisher.publish(&[Key { status: Status::Revoked, ..Key::new(1, &[]) }]);
    let mut running = edge(&publisher);
    take(&mut running, &publisher.note(), &publisher.files, START).unwrap();
    assert_eq!(take(&mut running, &old.0, &old.1, START), Err(Refusal::Rollback));

    let mut restarted: Edge<Policy> = Edge::new(config(&publisher), running.mark());
    assert_eq!(take(&mut restarted, &old.0, &old.1, START), Err(Refusal::Rollback));
    // The clock starts where the mark left it, so a wall clock set back does not help either.
    assert_eq!(restarted.now(0, None), running.mark().unwrap().issued);

    // An ephemeral edge starting cold may begin at any head that is still valid, and at none that is not.
    let mut ephemeral = edge(&publisher);
    take(&mut ephemeral, &old.0, &old.1, START).unwrap();
    let late = START + 70_000;
    assert!(matches!(take(&mut edge(&publisher), &old.0, &old.1, late), Err(Refusal::Expired { .. })));
}

#[test]
fn heads_of_no_right_are_refused() {
    let publisher = Publisher::new([Key::new(1, &[])]);
    let offer = |head: Head, signer: &Signer| edge(&publisher).offer(&head.sign(signer), START).unwrap_err().code();
    let head = &publisher.head;
    let stranger = Signer::new("nightlatch/set_0123456789", &[2; 32]).unwrap();
    assert_eq!(offer(head.clone(), &stranger), "note_signature");
    assert_eq!(offer(Head { set: "set_other".into(), ..head.clone() }, &publisher.signer), "head_of_other_set");
    assert_eq!(offer(Head { pepper: "p2".into(), ..head.clone() }, &publisher.signer), "pepper_missing");
    let future = Head { issued: START + 5_001, valid_until: START + 65_001, ..head.clone() };
    assert_eq!(offer(future, &publisher.signer), "head_from_future");
    let edge_of_skew = Head { issued: START + 5_000, valid_until: START + 65_000, ..head.clone() };
    edge(&publisher).offer(&edge_of_skew.sign(&publisher.signer), START).unwrap();
    assert_eq!(
        offer(Head { valid_until: START, issued: START - 1, ..head.clone() }, &publisher.signer),
        "head_expired"
    );
}

/// Guarantee 3: a state is served only where its commitment is the head's.
#[test]
fn one_version_has_one_history() {
    let mut publisher = Publisher::new([Key::new(1, &["a"])]);
    let mut edge = edge(&publisher);
    take(&mut edge, &publisher.note(), &publisher.files, START).unwrap();
    publisher.tick(1);
    let mut fork = Publisher::new([Key::new(1, &["b"])]);
    fork.tick(1);
    assert_eq!(take(&mut edge, &fork.note(), &fork.files, START), Err(Refusal::OtherHistory));
}

/// Two refreshes may run at once; whichever comes second finds nothing left to do.
#[test]
fn a_slower_refresh_is_superseded() {
    let mut publisher = Publisher::new([Key::new(1, &["a"])]);
    let mut edge = edge(&publisher);
    let first = publisher.note();
    let slow = attempt(&mut edge, &first, START);
    let slow_files = fetch(&slow, &publisher.files).unwrap();
    publisher.publish(&[Key::new(2, &["b"])]);
    take(&mut edge, &publisher.note(), &publisher.files, START).unwrap();
    assert_eq!(edge.finish(slow, slow_files, START, decode), Ok(Outcome::Superseded));
    assert_eq!(edge.serving(START).unwrap().replica().version(), 2);
}

/// Guarantee 3: an edge that holds another pepper, by id or by its bytes alone, would find no key. It refuses instead.
#[test]
fn a_wrong_or_missing_pepper_is_told() {
    let publisher = Publisher::new([Key::new(1, &["a"])]);
    let wrong = Pepper::new("p1", common::SET, &[6; 32]).unwrap();
    for peppers in [vec![wrong], vec![]] {
        let mut mistaken: Edge<Policy> = Edge::new(EdgeConfig { peppers, ..config(&publisher) }, None);
        assert_eq!(
            take(&mut mistaken, &publisher.note(), &publisher.files, START),
            Err(Refusal::PepperMissing { id: "p1".into() })
        );
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish(u32, bool),
    Cut,
    /// A cut that replicas can build themselves; that key is left out of it if it has ended.
    Rebase(u32),
    Tick(u64),
    /// Offers the n-th last head ever signed, after that much time, with everything ever published but one file in so many.
    Offer(usize, u64, usize),
    /// So many steps of a rebase.
    Work(usize),
    Restart(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u32..20, any::<bool>()).prop_map(|(n, revoke)| Step::Publish(n, revoke)),
        1 => Just(Step::Cut),
        2 => (0u32..20).prop_map(Step::Rebase),
        2 => (1u64..30_000).prop_map(Step::Tick),
        6 => (0usize..6, 0u64..40_000, 2usize..9).prop_map(|(back, wait, lost)| Step::Offer(back, wait, lost)),
        2 => (1usize..4).prop_map(Step::Work),
        1 => any::<bool>().prop_map(Step::Restart),
    ]
}

proptest! {
    /// Guarantees 3 and 4: whatever is offered in whatever order, and whatever is missing, what an edge serves is a state
    /// that was published, no older than any it served before (across restarts, where its mark is kept), and signed to be
    /// valid now.
    #[test]
    fn an_edge_serves_only_what_was_published(steps in proptest::collection::vec(step(), 1..60)) {
        let mut publisher = Publisher::new((0..5).map(|n| Key::new(n, &["a"])));
        let mut notes = vec![publisher.note()];
        let mut states = BTreeMap::from([(publisher.head.version, publisher.keys.clone())]);
        let mut edge = edge(&publisher);
        let mut wall = START;
        let mut floor: Option<Mark> = None;
        let mut served = 0;
        for step in steps {
            match step {
                Step::Publish(number, revoke) => {
                    let status = if revoke { Status::Revoked } else { Status::Active };
                    publisher.publish(&[Key { status, ..Key::new(number, &["a"]) }]);
                }
                Step::Cut => publisher.cut(),
                Step::Rebase(number) => {
                    let ended = publisher.keys.get(&number).is_some_and(|key| key.status == Status::Revoked);
                    publisher.rebase(0, if ended { std::slice::from_ref(&number) } else { &[] });
                }
                Step::Tick(ms) => publisher.tick(ms),
                Step::Offer(back, wait, lost) => {
                    wall += wait;
                    let now = edge.now(wall, None);
                    let note = &notes[notes.len().saturating_sub(back + 1)];
                    let kept = publisher.files.iter().enumerate().filter(|(index, _)| index % 8 != lost);
                    let files = kept.map(|(_, (name, bytes))| (*name, bytes.clone())).collect();
                    let _ = begin(&mut edge, note, &files, now);
                }
                Step::Work(steps) => {
                    let now = edge.now(wall, None);
                    for _ in 0..steps {
                        edge.work(now).unwrap();
                    }
                }
                Step::Restart(durable) => {
                    let mark = edge.mark().filter(|_| durable);
                    edge = Edge::new(config(&publisher), mark);
                    floor = floor.filter(|_| durable);
                    served = 0;
                }
            }
            notes.push(publisher.note());
            states.insert(publisher.head.version, publisher.keys.clone());

            let now = edge.now(wall, None);
            if let Some(serving) = edge.serving(now) {
                let (head, replica) = (serving.head(), serving.replica());
                prop_assert!(now < head.valid_until);
                prop_assert!(floor.is_none_or(|floor| Mark::of(head) >= floor));
                floor = Some(Mark::of(head));
                prop_assert!(replica.version() >= head.version && (edge.is_working() || replica.version() == head.version));
                prop_assert!(replica.version() >= served);
                served = replica.version();
                let keys = &states[&replica.version()];
                prop_assert_eq!(replica.len(), keys.len());
                for key in keys.values() {
                    match serving.find(&digest(key.number)).unwrap() {
                        Some((record, _)) => prop_assert_eq!(record.status, key.status),
                        // A key that has ended may leave as soon as its segment is rebased.
                        None => prop_assert!(edge.is_working() && key.status == Status::Revoked),
                    }
                }
            }
        }
    }
}
