//! The sync job's plan.

use std::collections::BTreeSet;

use nightlatch_keyset::{FileName, Head};
use nightlatch_sync::{Outcome, Refusal, implied_files, plan_copy};

use crate::common::{Key, Publisher, START};
use crate::source::{Files, attempt, begin, edge, names, settle, take};

fn base_of(head: &Head) -> Vec<FileName> {
    [head.base_name()].into_iter().chain(head.part_names()).collect()
}

#[test]
fn a_target_gets_what_it_lacks_and_loses_what_two_heads_do_not_need() {
    let mut publisher = Publisher::new([Key::new(1, &[])]);
    let first = publisher.head.clone();
    let plan = plan_copy(&first, None, &BTreeSet::new()).unwrap();
    assert_eq!(plan.copy, [vec![first.policy_name()], base_of(&first)].concat());
    assert!(plan.head && plan.stale.is_empty() && plan.lagging.is_empty());

    let mut present: BTreeSet<_> = implied_files(&first).collect();
    assert!(plan_copy(&first, Some(&first), &present).unwrap().is_empty());

    publisher.publish(&[Key::new(2, &[])]);
    let second = publisher.head.clone();
    let plan = plan_copy(&second, Some(&first), &present).unwrap();
    assert_eq!(plan.copy, [second.delta_name(1, 2)]);
    present.extend(plan.copy);

    publisher.cut();
    let third = publisher.head.clone();
    let plan = plan_copy(&third, Some(&second), &present).unwrap();
    assert_eq!(plan.copy[..base_of(&third).len()], base_of(&third));
    assert!(plan.stale.is_empty(), "readers of the head before still need its files");
    present.extend(plan.copy);
    let plan = plan_copy(&third, Some(&third), &present).unwrap();
    assert_eq!(plan.stale, [base_of(&first), vec![second.delta_name(1, 2)]].concat());
}

/// A target that was behind gets the deltas of all levels since: edges that lag go by other ones than a cold one.
#[test]
fn edges_that_lag_find_their_way_at_a_target() {
    let mut publisher = Publisher::new((0..40).map(|n| Key::new(n, &["a"])));
    let mut target = Files::new();
    let mut held: Option<Head> = None;
    let mut lagging = vec![edge(&publisher)];
    for round in 0..24_u32 {
        for number in 0..=round % 5 {
            publisher.publish(&[Key::new(number, &["b"])]);
        }
        if round % 7 == 6 {
            publisher.rebase(0, &[]);
        }
        let present = target.keys().copied().collect();
        let plan = plan_copy(&publisher.head, held.as_ref(), &present).unwrap();
        for name in plan.copy.iter().chain(&plan.lagging) {
            target.insert(*name, publisher.files[name].clone());
        }
        let current = target.keys().copied().collect();
        assert!(plan_copy(&publisher.head, Some(&publisher.head), &current).unwrap().is_empty());
        held = Some(publisher.head.clone());

        let mut cold = edge(&publisher);
        take(&mut cold, &publisher.note(), &target, START).unwrap();
        // Some of those that lag catch up, each of them without a base where it is not two cuts behind.
        for (index, edge) in
            lagging.iter_mut().enumerate().filter(|(index, _)| (*index as u32 + round).is_multiple_of(4))
        {
            let Some(serving) = edge.loaded() else { continue };
            let epochs = publisher.head.epoch - serving.head().epoch;
            if serving.head() == &publisher.head {
                continue;
            }
            let needs_base = names(&attempt(edge, &publisher.note(), START)).contains(&publisher.head.base_name());
            assert_eq!(needs_base, epochs > 1, "edge {index} in round {round}");
            assert_ne!(begin(edge, &publisher.note(), &target, START), Ok(None));
            settle(edge, START).unwrap();
            let arrived = edge.serving(START).unwrap().replica().version();
            assert_eq!(arrived, publisher.head.version);
        }
        lagging.push(cold);
    }
}

/// What a source has thrown away already is no reason to stop: edges that would go by it take the base.
#[test]
fn what_is_only_for_the_lagging_is_told_apart() {
    let mut publisher = Publisher::new((0..40).map(|n| Key::new(n, &["a"])));
    let mut held = publisher.head.clone();
    let mut edge = edge(&publisher);
    take(&mut edge, &publisher.note(), &publisher.files, START).unwrap();
    publisher.publish(&[Key::new(1, &["b"])]);
    publisher.rebase(0, &[]);
    let mut target: Files = implied_files(&held).map(|name| (name, publisher.files[&name].clone())).collect();
    let present = target.keys().copied().collect();
    let plan = plan_copy(&publisher.head, Some(&held), &present).unwrap();
    assert_eq!(plan.lagging, [held.delta_name(1, 2)]);
    target.extend(plan.copy.iter().map(|name| (*name, publisher.files[name].clone())));
    assert_eq!(begin(&mut edge, &publisher.note(), &target, START), Ok(Some(Outcome::InForce)));

    // Far behind, the plan stays a plan, and no catalogue.
    held.version = 1;
    let far = Head { version: held.version + 1_000_000, ..held.clone() };
    let plan = plan_copy(&far, Some(&held), &BTreeSet::new()).unwrap();
    assert!((4_096..=8_192 + 20).contains(&plan.lagging.len()), "{}", plan.lagging.len());
}

#[test]
fn a_target_never_goes_back() {
    let mut publisher = Publisher::new([Key::new(1, &[])]);
    let first = publisher.head.clone();
    publisher.publish(&[Key::new(2, &[])]);
    let present = BTreeSet::new();
    assert_eq!(plan_copy(&first, Some(&publisher.head), &present), Err(Refusal::Rollback));
    let fork = Publisher::new([Key::new(9, &["z"])]);
    assert_eq!(plan_copy(&fork.head, Some(&first), &present), Err(Refusal::OtherHistory));
}
