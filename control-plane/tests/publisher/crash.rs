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
        if rounds % 5 == 0 {
            // The set is to be made anew from the database, while it goes on.
            world.execute("UPDATE sets SET pepper_id = CASE WHEN pepper_id = 'p1' THEN 'p2' ELSE 'p1' END").await;
        }
        assert!(rounds < 600, "never killed at all steps, only at {:?}", killed_at.lock().unwrap());
        let left = AtomicU32::new(rng.random_range(0..20));
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
            let edge = load(&world.directory);
            assert_equals(&edge.replica, &world.pepper(&edge.head.pepper), &world.keys().await);
            publisher.stop().await;
        }
    }
}

async fn a_cut_is_finished_by_the_next_start(mut world: World) {
    world.limits.max_versions = 1_000;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let steps = [Step::BaseBuilt, Step::CutConcluded, Step::IndexWritten, Step::PartsWritten, Step::RecordWritten];
    for (round, step) in steps.into_iter().enumerate() {
        for _ in 0..9 {
            world.issue(&["a:read"]).await;
        }
        let before = load(&world.directory).head;
        let publisher = world.probed(move |at| at != step);
        publisher.wait(|_| false).await.unwrap_err();
        // What is published is still the whole of an earlier state.
        let head = load(&world.directory).head;
        assert_eq!((head.epoch, head.version), (before.epoch, before.version + 1));
        // More changes, which belong to a later version.
        let late = world.issue(&["late:read"]).await;
        let publisher = world.publisher();
        publisher.published(late.number).await.unwrap();
        let epoch = before.epoch + 1;
        publisher.wait(|status| status.epoch == epoch).await.unwrap();
        publisher.stop().await;
        let edge = load(&world.directory);
        assert_eq!(edge.head.epoch, epoch, "{round}");
        assert_equals(&edge.replica, &world.pepper("p1"), &world.keys().await);
    }
}
