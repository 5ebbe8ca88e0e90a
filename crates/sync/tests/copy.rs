//! The sync job's plan.

#[path = "../../keyset/tests/common/mod.rs"]
#[expect(dead_code, reason = "each test file uses its own part")]
mod common;

use std::collections::BTreeSet;

use common::{Key, Publisher};
use nightlatch_sync::{Refusal, implied_files, plan_copy};

#[test]
fn a_target_gets_what_it_lacks_and_loses_what_two_heads_do_not_need() {
    let mut publisher = Publisher::new([Key::new(1, &[])]);
    let first = publisher.head.clone();
    let plan = plan_copy(&first, None, &BTreeSet::new()).unwrap();
    assert_eq!(plan.copy, [first.policy_name(), first.base_name()]);
    assert!(plan.head && plan.stale.is_empty());

    let mut present: BTreeSet<_> = implied_files(&first).collect();
    assert!(plan_copy(&first, Some(&first), &present).unwrap().is_empty());

    publisher.publish(&[Key::new(2, &[])]);
    let second = publisher.head.clone();
    let plan = plan_copy(&second, Some(&first), &present).unwrap();
    assert_eq!(plan.copy, [second.delta_name(1)]);
    present.extend(plan.copy);

    publisher.cut();
    let third = publisher.head.clone();
    let plan = plan_copy(&third, Some(&second), &present).unwrap();
    assert_eq!(plan.copy, [third.base_name()]);
    assert!(plan.stale.is_empty(), "readers of the head before still need its files");
    present.extend(plan.copy);
    let plan = plan_copy(&third, Some(&third), &present).unwrap();
    assert_eq!(plan.stale, [first.base_name(), second.delta_name(1)]);
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
