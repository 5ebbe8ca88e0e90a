//! One leader at a time, and nothing signed by one that is no longer it.

use std::time::Duration;

use nightlatch::publisher::{Publisher, Role, Step};

use crate::gate::Gate;
use crate::on_both;
use crate::reader::{Witness, assert_equals, load};
use crate::world::{Change, World};

on_both! {
    a_second_process_stands_by_until_the_first_stops
    the_same_instance_need_not_wait_for_its_own_lease
    a_deposed_leader_cannot_sign
    a_deposed_leader_cannot_finish_a_cut
}

async fn a_second_process_stands_by_until_the_first_stops(mut world: World) {
    world.limits.lease = Duration::from_millis(400);
    let first = world.publisher();
    first.flush().await.unwrap();
    let second = Publisher::spawn(world.store.clone(), world.other_config());
    let standby = second.wait(|status| status.role != Role::Starting).await.unwrap();
    assert_eq!(standby.role, Role::Standby);
    assert!(standby.readiness(0).is_ok());
    // Over several lifetimes of the lease, the first keeps it.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.issue(&[]).await;
        first.flush().await.unwrap();
    }
    assert_eq!(second.status().borrow().role, Role::Standby);
    assert_eq!(world.other_directory().head().unwrap(), None);

    first.stop().await;
    let leading = second.wait(|status| status.role == Role::Leading(2)).await.unwrap();
    assert_eq!(leading.role, Role::Leading(2));
    world.issue(&[]).await;
    second.flush().await.unwrap();
    // The second made all files itself, from the database.
    assert_equals(&load(&world.other_directory()).replica, &world.pepper("p1"), &world.keys().await);
    second.stop().await;
}

async fn the_same_instance_need_not_wait_for_its_own_lease(mut world: World) {
    world.limits.lease = Duration::from_secs(3600);
    let publisher = world.probed(|step| step != Step::HeadWritten);
    assert!(publisher.reached(2).await.is_err());
    let publisher = world.publisher();
    let status = publisher.reached(1).await.unwrap();
    assert_eq!(status.role, Role::Leading(2));
    publisher.stop().await;
}

async fn a_deposed_leader_cannot_sign(mut world: World) {
    // Long enough for the second to keep it on a machine that has other things to do.
    world.limits.lease = Duration::from_secs(2);
    let key = world.issue(&[]).await;
    let (gate, config) = Gate::at(Step::HeadWritten, world.config());
    let first = Publisher::spawn(world.store.clone(), config);
    gate.reached().await;
    // The first stands still after its first head, long enough to lose the lease.
    let second = Publisher::spawn(world.store.clone(), world.other_config());
    second.wait(|status| status.role == Role::Leading(2)).await.unwrap();
    world.change(&key, Change::Disable).await;
    second.flush().await.unwrap();
    let signed = load(&world.other_directory()).head;
    let stale = load(&world.directory).head;
    assert!(signed.version > stale.version);

    gate.open();
    first.wait(|status| status.role == Role::Standby).await.unwrap();
    world.change(&key, Change::Enable).await;
    second.flush().await.unwrap();
    // It has signed nothing more: its directory is as it was.
    assert_eq!(load(&world.directory).head, stale);
    assert_eq!(first.status().borrow().role, Role::Standby);
    assert_equals(&load(&world.other_directory()).replica, &world.pepper("p1"), &world.keys().await);

    // When the second goes, the first finds the state again and goes on from it.
    second.stop().await;
    first.wait(|status| status.role == Role::Leading(3)).await.unwrap();
    world.change(&key, Change::Disable).await;
    first.flush().await.unwrap();
    let edge = load(&world.directory);
    assert!(edge.head.version > signed.version);
    assert_equals(&edge.replica, &world.pepper("p1"), &world.keys().await);
    first.stop().await;
}

async fn a_deposed_leader_cannot_finish_a_cut(mut world: World) {
    world.limits.lease = Duration::from_millis(300);
    for _ in 0..5 {
        world.issue(&["a:read"]).await;
    }
    let (gate, config) = Gate::at(Step::BaseBuilt, world.config());
    let first = Publisher::spawn(world.store.clone(), config);
    gate.reached().await;
    // The second takes over in the middle of the cut, and finishes it.
    let second = Publisher::spawn(world.store.clone(), world.other_config());
    second.flush().await.unwrap();
    let edge = load(&world.other_directory());
    assert_eq!((edge.head.epoch, edge.head.version, edge.head.keys), (1, 2, 5));

    gate.open();
    first.wait(|status| status.role == Role::Standby).await.unwrap();
    assert_eq!(world.directory.head().unwrap(), None);
    assert!(world.directory.list().unwrap().is_empty());

    // The files of the first, once it leads again, are the very same.
    second.stop().await;
    first.flush().await.unwrap();
    first.stop().await;
    let mut witness = Witness::default();
    witness.look(&world.other_directory());
    witness.look(&world.directory);
}
