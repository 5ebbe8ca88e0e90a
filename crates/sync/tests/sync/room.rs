//! What an edge has no room for.

use nightlatch_sync::{Edge, EdgeConfig, Freshness, OVERHEAD, Outcome, Refusal};

use crate::common::{Key, Publisher, START};
use crate::source::{Policy, attempt, config, decode, fetch, names, take};

fn publisher() -> Publisher {
    Publisher::new((0..40).map(|n| Key::new(n, &["a"])))
}

fn edge(publisher: &Publisher, room: u64) -> Edge<Policy> {
    // Too small for a rebase, whatever comes.
    Edge::new(EdgeConfig { room, rebase_from: u64::MAX, ..config(publisher) }, None)
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_fetched() {
    let publisher = publisher();
    let needed = publisher.head.base_bytes() + OVERHEAD;
    edge(&publisher, needed).offer(&publisher.note(), START).unwrap();
    let refused = edge(&publisher, needed - 1).offer(&publisher.note(), START).unwrap_err();
    assert_eq!(refused.code(), "set_too_large");
    let Refusal::TooLarge { needed: said, allowed, .. } = refused else { panic!("{refused}") };
    assert_eq!((said, allowed), (needed, needed - 1));
    let text = refused.to_string();
    assert!(text.contains(&needed.to_string()) && text.contains(&allowed.to_string()), "{text}");
}

#[test]
fn the_old_base_stays_until_the_new_one_is_there_if_both_fit() {
    let mut publisher = publisher();
    let mut edge = edge(&publisher, 1 << 30);
    take(&mut edge, &publisher.note(), &publisher.files, START).unwrap();
    publisher.cut();
    let attempt = attempt(&mut edge, &publisher.note(), START);
    assert!(!edge.make_room(&attempt));
    assert_eq!(edge.freshness(START), Freshness::Fresh);
    let files = fetch(&attempt, &publisher.files).unwrap();
    assert_eq!(edge.finish(attempt, files, START, decode), Ok(Outcome::InForce));
}

/// Guarantee 4: without room for both the edge is cold for a moment, and still takes nothing older.
#[test]
fn the_old_base_goes_before_the_new_one_comes_if_both_do_not_fit() {
    let mut publisher = publisher();
    let older = (publisher.note(), publisher.files.clone());
    publisher.publish(&[Key::new(1, &["b"])]);
    let mut edge = edge(&publisher, publisher.head.base_bytes() + OVERHEAD + 64);
    take(&mut edge, &publisher.note(), &publisher.files, START).unwrap();
    publisher.cut();
    let attempt = attempt(&mut edge, &publisher.note(), START);
    // The policy goes with what is loaded.
    assert_eq!(names(&attempt)[0], publisher.head.policy_name());
    assert_eq!(edge.freshness(START), Freshness::Fresh);
    assert!(edge.make_room(&attempt));
    assert_eq!(edge.freshness(START), Freshness::Cold);
    assert_eq!(take(&mut edge, &older.0, &older.1, START), Err(Refusal::Rollback));
    let files = fetch(&attempt, &publisher.files).unwrap();
    assert_eq!(edge.finish(attempt, files, START, decode), Ok(Outcome::InForce));
    assert_eq!(edge.serving(START).unwrap().head(), &publisher.head);
}
