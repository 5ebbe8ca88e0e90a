//! Into the next epoch without fetching its base.

use nightlatch_keyset::{FileName, Status};
use nightlatch_sync::{Edge, EdgeConfig, Freshness, Offer, Outcome, Refusal, Work};

use crate::common::{Key, Publisher, START, digest};
use crate::source::{Policy, attempt, begin, config, decode, edge, fetch, names, settle, take};

fn revoked(number: u32) -> Key {
    Key { status: Status::Revoked, ..Key::new(number, &["a"]) }
}

fn status(edge: &Edge<Policy>, number: u32) -> Status {
    edge.serving(START).unwrap().find(&digest(number)).unwrap().unwrap().0.status
}

/// Versions 1 to 4, a cut at 5, and up to 7; an edge at version 2.
fn behind_a_cut() -> (Publisher, Edge<Policy>) {
    let mut publisher = Publisher::new((0..40).map(|n| Key::new(n, &["a"])));
    let mut edge = edge(&publisher);
    publisher.publish(&[revoked(1)]);
    take(&mut edge, &publisher.note(), &publisher.files, START).unwrap();
    publisher.publish(&[revoked(2)]);
    publisher.publish(&[revoked(3)]);
    publisher.rebase(0, &[]);
    publisher.publish(&[revoked(4)]);
    publisher.publish(&[revoked(5)]);
    assert_eq!((publisher.head.base_version, publisher.head.version), (5, 7));
    (publisher, edge)
}

/// Guarantee 3: in between, the state is one that was published, and the head that allows it is the one before.
#[test]
fn a_live_edge_rebases_and_serves_on() {
    let (publisher, mut edge) = behind_a_cut();
    let before = edge.serving(START).unwrap().head().clone();
    let attempt = attempt(&mut edge, &publisher.note(), START);
    let old = |from, to| FileName::Delta { incarnation: 0, epoch: 1, from, to };
    let record = FileName::Rebase { incarnation: 0, epoch: 2 };
    assert_eq!(names(&attempt), [old(2, 3), old(3, 4), record, publisher.head.delta_name(5, 7)]);

    let files = fetch(&attempt, &publisher.files).unwrap();
    assert_eq!(edge.finish(attempt, files, START, decode), Ok(Outcome::Working));
    assert!(edge.is_working() && edge.freshness(START) == Freshness::SoftStale);
    let serving = edge.serving(START).unwrap();
    assert_eq!((serving.head(), serving.replica().version()), (&before, 4));
    assert_eq!((status(&edge, 3), status(&edge, 4)), (Status::Revoked, Status::Active));
    // Other heads have to wait, whatever they say.
    assert!(matches!(edge.offer(&publisher.note(), START), Ok(Offer::Working)));

    settle(&mut edge, START).unwrap();
    assert!(!edge.is_working());
    assert_eq!(edge.freshness(START), Freshness::Fresh);
    let serving = edge.serving(START).unwrap();
    assert_eq!((serving.head(), serving.replica().version()), (&publisher.head, 7));
    assert_eq!((status(&edge, 5), status(&edge, 6)), (Status::Revoked, Status::Active));
    assert_eq!(edge.work(START), Ok(Work::Done));
}

/// What was served in between is a floor, too.
#[test]
fn nothing_takes_the_work_back() {
    let (mut publisher, mut edge) = behind_a_cut();
    let mut other = Publisher::new((0..40).map(|n| Key::new(n, &["a"])));
    for number in 1..3 {
        other.publish(&[revoked(number)]);
    }
    let third = other.note();
    begin(&mut edge, &publisher.note(), &publisher.files, START).unwrap();
    assert_eq!(edge.offer(&third, START).unwrap_err(), Refusal::Rollback);
    // A base that was asked for before comes first after all; the work is not needed any more.
    publisher.publish(&[revoked(6)]);
    let mut cold = crate::source::edge(&publisher);
    let by_base = attempt(&mut cold, &publisher.note(), START);
    let files = fetch(&by_base, &publisher.files).unwrap();
    let taken = edge.finish(by_base, files, START, decode);
    // The cold edge's attempt names the policy, which this one holds.
    assert_eq!(taken, Ok(Outcome::Superseded));
    settle(&mut edge, START).unwrap();
    assert_eq!(status(&edge, 5), Status::Revoked);
}

/// Two flights at once: one rebases, the other has fetched the base meanwhile.
#[test]
fn a_base_ends_the_work_that_leads_to_it() {
    let (publisher, mut edge) = behind_a_cut();
    let rebase = attempt(&mut edge, &publisher.note(), START);
    let record = publisher.head.rebase_name();
    let by_base = edge.by_base(rebase.clone(), &record).unwrap().expect("the base needs no record");
    let (files, base_files) = (fetch(&rebase, &publisher.files).unwrap(), fetch(&by_base, &publisher.files).unwrap());
    assert_eq!(edge.finish(rebase.clone(), files.clone(), START, decode), Ok(Outcome::Working));
    assert_eq!(edge.finish(rebase, files, START, decode), Ok(Outcome::Superseded));
    edge.work(START).unwrap();
    assert_eq!(edge.finish(by_base, base_files, START, decode), Ok(Outcome::InForce));
    assert!(!edge.is_working());
    assert_eq!(edge.work(START), Ok(Work::Done));
    assert_eq!(edge.serving(START).unwrap().head(), &publisher.head);
    assert_eq!(status(&edge, 5), Status::Revoked);
}

#[test]
fn a_record_that_is_missing_or_broken_leads_to_the_base() {
    let record = FileName::Rebase { incarnation: 0, epoch: 2 };
    let (publisher, mut edge) = behind_a_cut();
    let mut files = publisher.files.clone();
    files.remove(&record);
    assert_eq!(begin(&mut edge, &publisher.note(), &files, START), Ok(Some(Outcome::InForce)));
    assert_eq!(status(&edge, 5), Status::Revoked);

    for place in [8, 60, 100, 127] {
        let (publisher, mut edge) = behind_a_cut();
        let mut files = publisher.files.clone();
        files.get_mut(&record).unwrap()[place] ^= 1;
        let refused = match begin(&mut edge, &publisher.note(), &files, START) {
            Ok(outcome) => {
                assert_eq!(outcome, Some(Outcome::Working));
                settle(&mut edge, START).unwrap_err()
            }
            Err(refused) => refused,
        };
        assert!(matches!(refused, Refusal::Files(_)), "{refused}");
        // Still serving, and no further than was published.
        assert!(!edge.is_working() && edge.serving(START).unwrap().replica().version() <= 4);
        assert_eq!(begin(&mut edge, &publisher.note(), &files, START), Ok(Some(Outcome::InForce)));
        assert_eq!(status(&edge, 5), Status::Revoked);
    }
}

/// Guarantee 2: while the work goes on, the head before keeps its own end.
#[test]
fn work_does_not_prolong() {
    let (publisher, mut edge) = behind_a_cut();
    let end = edge.serving(START).unwrap().head().valid_until;
    begin(&mut edge, &publisher.note(), &publisher.files, START).unwrap();
    assert_eq!(edge.freshness(end), Freshness::HardStale);
    assert!(edge.serving(end).is_none());
    settle(&mut edge, end).unwrap();
    assert!(edge.serving(end).is_some_and(|serving| serving.head() == &publisher.head));
}

#[test]
fn small_bases_and_far_lags_are_fetched() {
    let (publisher, _) = behind_a_cut();
    let base = publisher.head.base_bytes();
    for (rebase_from, expected) in [(base, true), (base + 1, false)] {
        let (publisher, _) = behind_a_cut();
        let (first, _) = (Publisher::new((0..40).map(|n| Key::new(n, &["a"]))), ());
        let mut edge = Edge::new(EdgeConfig { rebase_from, ..config(&publisher) }, None);
        take(&mut edge, &first.note(), &first.files, START).unwrap();
        let names = names(&attempt(&mut edge, &publisher.note(), START));
        assert_eq!(names.contains(&FileName::Rebase { incarnation: 0, epoch: 2 }), expected);
        assert_eq!(names.contains(&publisher.head.base_name()), !expected);
    }
    // Two epochs behind.
    let (mut publisher, mut edge) = behind_a_cut();
    publisher.rebase(0, &[]);
    assert!(names(&attempt(&mut edge, &publisher.note(), START)).contains(&publisher.head.base_name()));
}
