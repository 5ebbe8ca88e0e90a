//! Sets that are to be made anew all at once: one base is in memory beside the sets, and what is urgent does not wait for all.

use std::sync::{Arc, Mutex};

use nightlatch::publisher::{CutReason, Probe, Publisher, PublisherConfig, Step};

use crate::gate::Gate;
use crate::on_both;
use crate::signers::{another, establish, rotate};
use crate::world::World;

on_both! {
    /// S3-10: of several workspaces' bases one is built at a time, and that for another pepper comes next.
    s3_10_one_base_is_built_at_a_time_and_a_stolen_pepper_comes_next
    /// SECURITY.md: the head-signing key is stolen while other bases are built.
    a_stolen_head_signing_key_waits_for_no_build
}

const OTHER_COLUMNS: &str = "UPDATE sets SET accepts_foreign = 0";

async fn published(world: &World) {
    world.issue(&["a:read"]).await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
}

/// A publisher whose base is being built and gets no further.
async fn building(world: &World) -> (Arc<Gate>, Publisher) {
    published(world).await;
    let (gate, config) = Gate::at(Step::PageRead, world.config());
    let publisher = Publisher::spawn(world.store.clone(), config);
    publisher.flush().await.unwrap();
    world.execute(OTHER_COLUMNS).await;
    gate.reached().await;
    (gate, publisher)
}

/// Several turns of a publisher: whatever it begins, it has begun.
async fn turns(publisher: &Publisher) {
    for _ in 0..5 {
        publisher.flush().await.unwrap();
    }
}

async fn s3_10_one_base_is_built_at_a_time_and_a_stolen_pepper_comes_next(first: World) {
    let (gate, building) = building(&first).await;
    let (patient, urgent) = (World::sqlite().await, World::sqlite().await);
    let read = Arc::new(Mutex::new(Vec::new()));
    let mut publishers = Vec::new();
    let wanted = [(&patient, "columns", OTHER_COLUMNS), (&urgent, "pepper", "UPDATE sets SET pepper_id = 'p2'")];
    for (world, name, change) in wanted {
        published(world).await;
        let log = Arc::clone(&read);
        let probe: Probe = Arc::new(move |step| {
            if step == Step::PageRead {
                log.lock().unwrap().push(name);
            }
            true
        });
        let config = PublisherConfig { probe: Some(probe), ..world.config() };
        let publisher = Publisher::spawn(world.store.clone(), config);
        publisher.flush().await.unwrap();
        world.execute(change).await;
        turns(&publisher).await;
        publishers.push(publisher);
    }
    // Heads go on, and no other base is begun.
    for publisher in &publishers {
        turns(publisher).await;
        assert_eq!(publisher.status().borrow().epoch, 1);
    }
    assert_eq!(*read.lock().unwrap(), Vec::<&str>::new());
    gate.open();
    for publisher in publishers.iter().chain([&building]) {
        publisher.wait(|status| status.epoch == 2).await.unwrap();
        publisher.stop().await;
    }
    assert_eq!(*read.lock().unwrap(), ["pepper", "columns"]);
}

async fn a_stolen_head_signing_key_waits_for_no_build(other: World) {
    let (gate, building) = building(&other).await;
    let world = World::sqlite().await;
    establish(&world).await;
    published(&world).await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    world.execute(OTHER_COLUMNS).await;
    turns(&publisher).await;
    rotate(&world, &another(9), true).await;
    let status = publisher.wait(|status| status.epoch == 2).await.unwrap();
    assert_eq!(status.last_cut_reason, Some(CutReason::Signer));
    gate.open();
    publisher.wait(|status| status.last_cut_reason == Some(CutReason::Columns)).await.unwrap();
    publisher.stop().await;
    building.stop().await;
}
