//! Killed anywhere, started again: files and database agree, and no version ever has two contents.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nightlatch::publisher::{Limits, Step};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::on_both;
use crate::reader::{Witness, assert_equals, load};
use crate::world::World;

on_both! {
    killed_at_any_step_it_goes_on_where_it_was
    a_cut_is_finished_by_the_next_start
}

async fn killed_at_any_step_it_goes_on_where_it_was(mut world: World) {
    world.limits = Limits { grace: Duration::ZERO, ..world.limits };
    world.execute("UPDATE sets SET validity_ms = 1, largest_validity_ms = 1, skew_ms = 0").await;
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut witness = Witness::default();
    let killed_at = Arc::new(Mutex::new(BTreeSet::new()));
    let mut rounds = 0;
    while killed_at.lock().unwrap().len() < Step::ALL.len() {
        rounds += 1;
        assert!(rounds < 600, "never killed at all steps, only at {:?}", killed_at.lock().unwrap());
        let left = AtomicU32::new(rng.random_range(0..16));
        let log = killed_at.clone();
        let publisher = world.probed(move |step| {
            let alive = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
            if !alive {
                log.lock().unwrap().insert(step);
            }
            alive
        });
        // Until it is killed, which shows as a closed publisher.
        let mut alive = true;
        while alive {
            world.mutate(&mut rng).await;
            alive = publisher.flush().await.is_ok();
            witness.look(&world.directory);
        }
        if rounds % 4 == 0 {
            // A start that is left alone catches up with everything.
            let publisher = world.publisher();
            publisher.flush().await.unwrap();
            witness.look(&world.directory);
            assert_equals(&load(&world.directory).replica, &world.pepper("p1"), &world.keys().await);
            publisher.stop().await;
        }
    }
}

async fn a_cut_is_finished_by_the_next_start(world: World) {
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    for step in [Step::CutBegun, Step::BaseBuilt, Step::CutConcluded, Step::BaseWritten] {
        for _ in 0..9 {
            world.issue(&["a:read"]).await;
        }
        let before = load(&world.directory).head;
        let publisher = world.probed(move |at| at != step);
        assert!(publisher.flush().await.is_err());
        // What is published is still the whole of an earlier state.
        assert_eq!(load(&world.directory).head.version, before.version);
        // More changes, which belong to a later version.
        let late = world.issue(&["late:read"]).await;
        let publisher = world.publisher();
        let version = publisher.published(late.number).await.unwrap();
        let edge = load(&world.directory);
        assert_eq!((edge.head.epoch, edge.head.base_version), (before.epoch + 1, before.version + 1));
        assert_eq!((edge.head.version, version), (before.version + 2, before.version + 2));
        assert_equals(&edge.replica, &world.pepper("p1"), &world.keys().await);
        publisher.stop().await;
    }
}
