//! Building a base from the database while the epoch goes on.

use nightlatch::publisher::{CutReason, Phase, Publisher, Step};
use nightlatch_key::Digest;

use crate::gate::Gate;
use crate::on_both;
use crate::reader::{Witness, assert_equals, load};
use crate::world::{Change, World};

on_both! {
    a_new_pepper_begins_an_epoch
    /// s0.07: heads and deltas go on while a base is built from the database.
    publishing_goes_on_during_a_build
    a_build_for_a_pepper_that_is_no_longer_wanted_is_given_up
    imported_keys_are_held_until_rows_have_numbers
    numbers_are_dropped_only_where_nobody_needs_them
}

async fn a_new_pepper_begins_an_epoch(world: World) {
    world.issue(&[]).await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    world.execute("UPDATE sets SET pepper_id = 'p2'").await;
    let status = publisher.wait(|status| status.epoch == 2).await.unwrap();
    assert_eq!((status.last_cut_reason, status.build), (Some(CutReason::Pepper), None));
    let edge = load(&world.directory);
    assert_eq!((edge.head.epoch, edge.head.pepper.as_str(), edge.head.rebase), (2, "p2", None));
    assert_equals(&edge.replica, &world.pepper("p2"), &world.keys().await);

    // A pepper that this process does not hold: nothing is signed.
    world.execute("UPDATE sets SET pepper_id = 'p3'").await;
    let status = publisher.wait(|status| status.refused).await.unwrap();
    assert!(status.error.unwrap().contains("p3"));
    publisher.stop().await;
}

async fn publishing_goes_on_during_a_build(world: World) {
    let key = world.issue(&["a:read"]).await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let (gate, config) = Gate::at(Step::PageRead, world.config());
    let publisher = Publisher::spawn(world.store.clone(), config);
    publisher.flush().await.unwrap();
    world.execute("UPDATE sets SET pepper_id = 'p2'").await;
    gate.reached().await;
    let building = publisher.wait(|status| status.build.is_some()).await.unwrap().build.unwrap();
    assert_eq!((building.phase, building.expected), (Phase::Reading, 1));

    // Changes and heads, also beyond what would end the epoch otherwise.
    let mut witness = Witness::default();
    for turn in 0..8 {
        let issued = publisher.status().borrow().issued;
        world.change(&key, if turn % 2 == 0 { Change::Disable } else { Change::Enable }).await;
        world.issue(&["b:read"]).await;
        publisher.flush().await.unwrap();
        assert!(publisher.status().borrow().issued > issued);
        let edge = load(&world.directory);
        assert_eq!((edge.head.epoch, edge.head.pepper.as_str()), (1, "p1"));
        assert_equals(&edge.replica, &world.pepper("p1"), &world.keys().await);
        witness.look(&world.directory);
    }
    gate.open();
    publisher.wait(|status| status.epoch == 2).await.unwrap();
    publisher.stop().await;
    let edge = load(&world.directory);
    witness.look(&world.directory);
    assert_eq!((edge.head.pepper.as_str(), edge.head.keys), ("p2", 9));
    assert_equals(&edge.replica, &world.pepper("p2"), &world.keys().await);
    // The database gives the same base.
    for name in [edge.head.base_name(), edge.head.part_names().next().unwrap()] {
        std::fs::remove_file(world.directory.file_path(&name)).unwrap();
    }
    assert_eq!(nightlatch::publisher::rebuild(&world.store, &world.config()).await.unwrap().files.len(), 2);
    witness.look(&world.directory);
}

async fn a_build_for_a_pepper_that_is_no_longer_wanted_is_given_up(world: World) {
    world.issue(&["a:read"]).await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let (gate, config) = Gate::at(Step::PageRead, world.config());
    let publisher = Publisher::spawn(world.store.clone(), config);
    publisher.flush().await.unwrap();
    world.execute("UPDATE sets SET pepper_id = 'p2'").await;
    gate.reached().await;
    world.execute("UPDATE sets SET pepper_id = 'p1'").await;
    publisher.flush().await.unwrap();
    gate.open();
    world.issue(&["b:read"]).await;
    publisher.flush().await.unwrap();
    let head = load(&world.directory).head;
    assert_eq!((head.epoch, head.pepper.as_str()), (1, "p1"));
    publisher.stop().await;
}

async fn imported_keys_are_held_until_rows_have_numbers(world: World) {
    world.execute("UPDATE sets SET accepts_foreign = 0").await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    assert!(!load(&world.directory).replica.layout().columns().number);
    // Imports by digest need no set that accepts foreign texts.
    world.import(0, 5).await;
    let key = world.issue(&["a:read"]).await;
    publisher.published(key.number).await.unwrap();
    publisher.flush().await.unwrap();
    let edge = load(&world.directory);
    assert!(edge.replica.layout().columns().number && !edge.head.accepts_foreign);
    let digest = Digest::of(b"import-4");
    assert!(edge.replica.lookup(&world.pepper("p1").tag(&digest)).unwrap().unwrap().foreign);
    assert_equals(&edge.replica, &world.pepper("p1"), &world.keys().await);
    assert_eq!(publisher.status().borrow().last_cut_reason, Some(CutReason::Columns));
    publisher.stop().await;
}

async fn numbers_are_dropped_only_where_nobody_needs_them(world: World) {
    let publisher = world.publisher();
    world.issue(&["a:read"]).await;
    publisher.flush().await.unwrap();
    assert!(load(&world.directory).head.accepts_foreign);
    world.execute("UPDATE sets SET accepts_foreign = 0").await;
    publisher.wait(|status| status.last_cut_reason == Some(CutReason::Columns)).await.unwrap();
    assert!(!load(&world.directory).replica.layout().columns().number);
    // Before rows have numbers no head says that foreign texts can be keys.
    world.execute("UPDATE sets SET accepts_foreign = 1").await;
    publisher.wait(|_| load(&world.directory).head.accepts_foreign).await.unwrap();
    assert!(load(&world.directory).replica.layout().columns().number);

    world.import(0, 2).await;
    publisher.flush().await.unwrap();
    let epoch = load(&world.directory).head.epoch;
    world.execute("UPDATE sets SET accepts_foreign = 0").await;
    publisher.wait(|_| !load(&world.directory).head.accepts_foreign).await.unwrap();
    world.issue(&["a:read"]).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let edge = load(&world.directory);
    assert_eq!(edge.head.epoch, epoch);
    assert_equals(&edge.replica, &world.pepper("p1"), &world.keys().await);
}
