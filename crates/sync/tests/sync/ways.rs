//! Which files an edge goes by, how many, and what it does where one of them fails.

use nightlatch_keyset::{FileName, Status};
use nightlatch_sync::{Edge, MAX_FILES, Outcome, Refusal};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::common::{Key, Publisher, START, digest};
use crate::source::{Files, Policy, attempt, begin, decode, edge, fetch, names, take};

/// A publisher of one epoch, with the note of every version.
fn history(versions: u32) -> (Publisher, Vec<String>) {
    let mut publisher = Publisher::new((0..5).map(|n| Key::new(n, &["a"])));
    let mut notes = vec![publisher.note()];
    for version in 1..versions {
        publisher.publish(&[Key::new(version % 40, if version % 3 == 0 { &["a"] } else { &["b"] })]);
        notes.push(publisher.note());
    }
    (publisher, notes)
}

/// An edge at one of those versions.
fn edge_at(publisher: &Publisher, note: &str) -> Edge<Policy> {
    let mut edge = edge(publisher);
    take(&mut edge, note, &publisher.files, START).unwrap();
    edge
}

fn is_base(name: &FileName) -> bool {
    matches!(name, FileName::Base { .. } | FileName::BasePart { .. })
}

/// Guarantee 3: whatever the lag, a handful of files closes it, and they lead to the head's state.
#[test]
fn any_lag_is_closed_by_a_few_files() {
    let (publisher, notes) = history(300);
    let mut runner = TestRunner::new(Config::with_cases(150));
    let lags = (0..notes.len() - 1).prop_flat_map(|from| (Just(from), from + 1..300));
    runner
        .run(&lags, |(from, to)| {
            let mut edge = edge_at(&publisher, &notes[from]);
            let attempt = attempt(&mut edge, &notes[to], START);
            let bound = 2.0 * ((to - from) as f64).log2() + 2.0;
            prop_assert!(attempt.fetches().len() as f64 <= bound, "{:?}", names(&attempt));
            prop_assert!(!names(&attempt).iter().any(is_base));
            let files = fetch(&attempt, &publisher.files).unwrap();
            prop_assert_eq!(edge.finish(attempt, files, START, decode), Ok(Outcome::InForce));
            prop_assert_eq!(edge.serving(START).unwrap().replica().version(), to as u64 + 1);
            Ok(())
        })
        .unwrap();
}

/// A cold edge asks for the small files first: what is missing is known before memory fills.
#[test]
fn parts_come_last() {
    let (publisher, notes) = history(12);
    let mut edge = edge(&publisher);
    let attempt = attempt(&mut edge, &notes[11], START);
    let head = &publisher.head;
    assert_eq!(attempt.small()[0].name, head.policy_name());
    assert_eq!(attempt.small().last().map(|fetch| fetch.name), Some(head.base_name()));
    assert_eq!(attempt.parts().iter().map(|fetch| fetch.max_len).collect::<Vec<_>>(), head.base_parts);
    assert_eq!(names(&attempt)[1..3], [head.delta_name(1, 9), head.delta_name(9, 11)]);
    for fetch in attempt.fetches().iter().filter(|fetch| fetch.is_exact()) {
        assert_eq!(fetch.max_len, publisher.files[&fetch.name].len() as u64, "{}", fetch.name);
    }
}

#[test]
fn a_missing_delta_leads_to_the_base() {
    let (publisher, notes) = history(12);
    let mut files = publisher.files.clone();
    // An edge at version 4 goes by 4–5 and 5–9; one that begins with the base does not.
    assert!(files.remove(&publisher.head.delta_name(4, 5)).is_some());
    let mut edge = edge_at(&publisher, &notes[3]);
    assert!(names(&attempt(&mut edge, &notes[11], START)).contains(&publisher.head.delta_name(4, 5)));
    assert_eq!(begin(&mut edge, &notes[11], &files, START), Ok(Some(Outcome::InForce)));
    assert_eq!(edge.serving(START).unwrap().replica().version(), 12);
    // The last step is missing on every way: then a base would be no help, and none is fetched.
    let mut edge = edge_at(&publisher, &notes[9]);
    assert!(files.remove(&publisher.head.delta_name(11, 12)).is_some());
    assert_eq!(begin(&mut edge, &notes[11], &files, START), Ok(None));
    assert_eq!(edge.serving(START).unwrap().replica().version(), 10);
}

#[test]
fn a_chain_that_is_refused_leads_to_the_base_next() {
    let (publisher, notes) = history(12);
    let mut broken = publisher.files.clone();
    broken.get_mut(&publisher.head.delta_name(4, 5)).unwrap().pop();
    let mut edge = edge_at(&publisher, &notes[3]);
    assert!(matches!(begin(&mut edge, &notes[11], &broken, START), Err(Refusal::Files(_))));
    // As it was, and still serving.
    assert_eq!(edge.serving(START).unwrap().replica().version(), 4);
    let next = attempt(&mut edge, &notes[11], START);
    assert!(names(&next).contains(&publisher.head.base_name()));
    assert_eq!(begin(&mut edge, &notes[11], &broken, START), Ok(Some(Outcome::InForce)));
    assert_eq!(edge.serving(START).unwrap().replica().version(), 12);
}

/// A base that is broken as well is not fetched every time.
#[test]
fn ways_that_fail_take_turns() {
    let (publisher, notes) = history(12);
    let mut broken = publisher.files.clone();
    broken.get_mut(&publisher.head.delta_name(4, 5)).unwrap().pop();
    broken.get_mut(&publisher.head.base_name()).unwrap().pop();
    let mut edge = edge_at(&publisher, &notes[3]);
    for by_base in [false, true, false, true] {
        assert_eq!(names(&attempt(&mut edge, &notes[11], START)).iter().any(is_base), by_base);
        assert!(matches!(begin(&mut edge, &notes[11], &broken, START), Err(Refusal::Files(_))));
        assert_eq!(edge.serving(START).unwrap().replica().version(), 4);
    }
    begin(&mut edge, &notes[11], &publisher.files, START).unwrap();
    assert_eq!(edge.serving(START).unwrap().replica().version(), 12);
}

/// Guarantee 3: files that come twice, late, in another order, or as each other are never taken for what they are not.
#[test]
fn answers_may_be_mixed_up() {
    let (publisher, notes) = history(40);
    let mut runner = TestRunner::new(Config::with_cases(100));
    let cases = (0..38usize, 1..4usize, any::<prop::sample::Index>(), any::<prop::sample::Index>());
    runner
        .run(&cases, |(from, lag, one, other)| {
            let to = (from + lag + 4).min(39);
            let mut edge = edge_at(&publisher, &notes[from]);
            let early = attempt(&mut edge, &notes[(from + 1).min(to)], START);
            let late = attempt(&mut edge, &notes[to], START);
            let early_files = fetch(&early, &publisher.files).unwrap();
            let late_files = fetch(&late, &publisher.files).unwrap();

            let mut mixed = late_files.clone();
            mixed.swap(one.index(late_files.len()), other.index(late_files.len()));
            let same = mixed == late_files;
            let result = edge.finish(late.clone(), mixed, START, decode);
            if !same {
                prop_assert!(matches!(result, Err(Refusal::Files(_) | Refusal::TooLarge { .. })), "{:?}", result);
                prop_assert_eq!(edge.serving(START).unwrap().replica().version(), from as u64 + 1);
                take(&mut edge, &notes[to], &publisher.files, START).unwrap();
            }
            // A second answer to the same question, and one to an older question.
            prop_assert_eq!(edge.finish(late, late_files, START, decode), Ok(Outcome::Superseded));
            if early.head() != edge.serving(START).unwrap().head() {
                prop_assert_eq!(edge.finish(early, early_files, START, decode), Ok(Outcome::Superseded));
            }
            prop_assert_eq!(edge.serving(START).unwrap().replica().version(), to as u64 + 1);
            Ok(())
        })
        .unwrap();
}

/// Whoever slept through everything takes the base, however long the way of deltas would be.
#[test]
fn far_behind_is_no_special_case() {
    let mut publisher = Publisher::new((0..5).map(|n| Key::new(n, &["a"])));
    let mut sleeper = edge_at(&publisher, &publisher.note());
    for _ in 0..3 {
        publisher.publish(&[Key { status: Status::Revoked, ..Key::new(1, &["a"]) }]);
        publisher.cut();
    }
    let plan = attempt(&mut sleeper, &publisher.note(), START);
    assert!(names(&plan).contains(&publisher.head.base_name()) && plan.small().len() <= MAX_FILES);
    take(&mut sleeper, &publisher.note(), &publisher.files, START).unwrap();
    let (record, _) = sleeper.serving(START).unwrap().find(&digest(1)).unwrap().unwrap();
    assert_eq!(record.status, Status::Revoked);
}

/// A part that is damaged shows when it is first touched: what is asked of it is not answered, and the base is fetched
/// again, although the head is known.
#[test]
fn a_damaged_replica_is_fetched_again() {
    let (publisher, notes) = history(1);
    let mut broken: Files = publisher.files.clone();
    let part = publisher.head.part_names().next().unwrap();
    let bytes = broken.get_mut(&part).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let mut edge = edge(&publisher);
    assert_eq!(begin(&mut edge, &notes[0], &broken, START), Ok(Some(Outcome::InForce)));
    assert_eq!(edge.freshness(START), nightlatch_sync::Freshness::Fresh);
    assert!(edge.serving(START).unwrap().find(&digest(1)).is_err());
    assert!(edge.is_damaged());
    assert_eq!(edge.freshness(START), nightlatch_sync::Freshness::SoftStale);

    let again = attempt(&mut edge, &notes[0], START);
    assert!(names(&again).contains(&part));
    take(&mut edge, &notes[0], &publisher.files, START).unwrap();
    assert!(!edge.is_damaged() && edge.serving(START).unwrap().find(&digest(1)).unwrap().is_some());
    assert!(matches!(edge.offer(&notes[0], START), Ok(nightlatch_sync::Offer::Known)));
}
