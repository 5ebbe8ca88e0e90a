//! Epochs: when and why they end, what stays, what goes.

use std::time::Duration;

use nightlatch::publisher::{CutReason, Limits, Publisher, PublisherStatus};
use nightlatch_key::Digest;
use nightlatch_keyset::{FileName, Status};

use crate::on_both;
use crate::reader::{Witness, assert_equals, load};
use crate::world::{Change, World};

on_both! {
    the_first_epoch_has_no_keys
    many_new_keys_end_an_epoch
    many_versions_end_an_epoch
    long_deltas_end_an_epoch
    an_old_epoch_ends_if_it_has_changes
    keys_that_ended_long_ago_leave
    what_two_epochs_have_superseded_is_deleted
    an_import_of_thousands_is_published
}

/// Waits for an epoch to begin.
async fn begun(publisher: &Publisher, epoch: u64) -> PublisherStatus {
    publisher.wait(|status| status.epoch >= epoch).await.unwrap()
}

/// Limits that end no epoch.
fn generous() -> Limits {
    Limits { pace: Duration::ZERO, ..Limits::default() }
}

async fn the_first_epoch_has_no_keys(world: World) {
    for _ in 0..3 {
        world.issue(&[]).await;
    }
    let publisher = world.publisher();
    let status = publisher.reached(1).await.unwrap();
    assert_eq!(status.last_cut_reason, Some(CutReason::First));
    publisher.flush().await.unwrap();
    let edge = load(&world.directory);
    assert_eq!((edge.head.epoch, edge.head.base_version, edge.head.version, edge.head.keys), (1, 1, 2, 3));
    assert_eq!(edge.head.rebase, None);
    assert_equals(&edge.replica, &world.pepper("p1"), &world.keys().await);
    publisher.stop().await;
}

async fn many_new_keys_end_an_epoch(world: World) {
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    for _ in 0..9 {
        world.issue(&["a:read"]).await;
    }
    let publisher = world.publisher();
    let status = begun(&publisher, 2).await;
    assert_eq!((status.last_cut_reason, status.overlay, status.delta_bytes), (Some(CutReason::Overlay), 0, 0));
    let edge = load(&world.directory);
    // The keys are version 2; the base that holds them is a version of its own.
    assert_eq!((edge.head.epoch, edge.head.version, edge.head.base_version, edge.head.keys), (2, 3, 3, 9));
    assert_equals(&edge.replica, &world.pepper("p1"), &world.keys().await);
    assert_eq!(world.count("SELECT COUNT(*) FROM set_epochs WHERE epoch = 2 AND reason = 'overlay'").await, 1);
    assert_eq!(world.count("SELECT change_count FROM set_versions WHERE version = 3").await, 0);
    publisher.stop().await;
}

async fn many_versions_end_an_epoch(world: World) {
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    let key = world.issue(&[]).await;
    publisher.flush().await.unwrap();
    // The fifth version beside the base is one too many.
    for (turn, version) in [3, 4, 5, 6, 8].into_iter().enumerate() {
        world.change(&key, if turn % 2 == 0 { Change::Disable } else { Change::Enable }).await;
        assert_eq!(publisher.published(key.number).await.unwrap(), version);
        if version == 6 {
            assert_eq!(begun(&publisher, 2).await.last_cut_reason, Some(CutReason::Versions));
            assert_eq!(load(&world.directory).head.base_version, 7);
        }
        assert_equals(&load(&world.directory).replica, &world.pepper("p1"), &world.keys().await);
    }
    publisher.stop().await;
}

async fn long_deltas_end_an_epoch(mut world: World) {
    world.limits = Limits { min_delta_bytes: 4_000, ..generous() };
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    let key = world.issue(&[]).await;
    let mut turn = 0;
    while publisher.status().borrow().epoch == 1 {
        world.change(&key, if turn % 2 == 0 { Change::Disable } else { Change::Enable }).await;
        publisher.published(key.number).await.unwrap();
        turn += 1;
        assert!(turn < 20);
    }
    assert_eq!(publisher.status().borrow().last_cut_reason, Some(CutReason::DeltaBytes));
    assert!(turn > 2);
    publisher.stop().await;
}

async fn an_old_epoch_ends_if_it_has_changes(mut world: World) {
    world.limits = Limits { max_age: Duration::ZERO, ..generous() };
    let publisher = world.publisher();
    // However old it gets: as long as there are no changes it goes on.
    for _ in 0..3 {
        publisher.flush().await.unwrap();
    }
    assert_eq!(publisher.status().borrow().epoch, 1);
    world.issue(&[]).await;
    assert_eq!(begun(&publisher, 2).await.last_cut_reason, Some(CutReason::Age));
    publisher.stop().await;
}

async fn keys_that_ended_long_ago_leave(mut world: World) {
    world.limits = generous();
    let [revoked, lately, expired, kept] =
        [world.issue(&[]).await, world.issue(&[]).await, world.issue(&[]).await, world.issue(&[]).await];
    world.change(&revoked, Change::Revoke).await;
    world.change(&lately, Change::Revoke).await;
    // 401 and 399 days ago.
    let now = world.store.now().await.unwrap();
    let day = 24 * 3600 * 1000;
    for (key, at) in [(&revoked, now - 401 * day), (&lately, now - 399 * day)] {
        world.execute(&format!("UPDATE changes SET created_at = {at} WHERE key_number = {}", key.number)).await;
    }
    let deadline = (now - 401 * day) / 1000;
    world.execute(&format!("UPDATE changes SET deadline = {deadline} WHERE key_number = {}", expired.number)).await;

    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    assert_eq!(load(&world.directory).head.keys, 4);
    world.limits.max_age = Duration::ZERO;
    let publisher = world.publisher();
    begun(&publisher, 2).await;
    let edge = load(&world.directory);
    let find = |digest: &Digest| edge.replica.lookup(&world.pepper("p1").tag(digest)).unwrap();
    assert_eq!(edge.head.keys, 2);
    assert!(find(&revoked.digest).is_none());
    assert!(find(&expired.digest).is_none());
    assert_eq!(find(&lately.digest).unwrap().status, Status::Revoked);
    assert_eq!(find(&kept.digest).unwrap().status, Status::Active);
    publisher.stop().await;
}

async fn what_two_epochs_have_superseded_is_deleted(mut world: World) {
    world.limits = Limits { grace: Duration::ZERO, lag: Duration::ZERO, ..world.limits };
    // Heads that run out at once, so that old files need not be waited for.
    world.execute("UPDATE sets SET validity_ms = 1, largest_validity_ms = 1, skew_ms = 0").await;
    let publisher = world.publisher();
    let key = world.issue(&[]).await;
    let other = world.issue(&[]).await;
    for turn in 0..24 {
        world.change(&key, if turn % 2 == 0 { Change::Disable } else { Change::Enable }).await;
        publisher.published(key.number).await.unwrap();
    }
    publisher.wait(|status| status.epoch >= 4).await.unwrap();
    publisher.flush().await.unwrap();
    let head = load(&world.directory).head;

    // Chores are done a piece at a time between heads.
    let previous = format!("SELECT version FROM set_epochs WHERE epoch = {}", head.epoch - 1);
    let previous = world.count(&previous).await;
    let superseded = format!(
        "SELECT COUNT(*) FROM changes o JOIN changes n ON n.key_number = o.key_number AND n.version > o.version \
         WHERE n.version <= {previous}"
    );
    let forgotten = format!("SELECT COUNT(*) FROM set_versions WHERE version < {previous}");
    let old = |name: &FileName| match *name {
        FileName::Base { epoch, .. }
        | FileName::BasePart { epoch, .. }
        | FileName::Rebase { epoch, .. }
        | FileName::Delta { epoch, .. } => epoch < head.epoch - 1,
        FileName::Policy(_) => false,
    };
    let mut left = (1, 1, 1, 1);
    for _ in 0..400 {
        publisher.flush().await.unwrap();
        let files = world.directory.list().unwrap().iter().filter(|name| old(name)).count();
        let epochs = world.count("SELECT COUNT(*) - 2 FROM set_epochs").await;
        left = (world.count(&superseded).await, world.count(&forgotten).await, epochs, files);
        if left == (0, 0, 0, 0) {
            break;
        }
    }
    assert_eq!(left, (0, 0, 0, 0));
    // Of the key that never changed, its only row.
    assert_eq!(world.count(&format!("SELECT COUNT(*) FROM changes WHERE key_number = {}", other.number)).await, 1);
    publisher.stop().await;

    // And what is left is enough.
    let mut witness = Witness::default();
    witness.look(&world.directory);
    std::fs::remove_dir_all(world.directory.path()).unwrap();
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    witness.look(&world.directory);
    assert_equals(&load(&world.directory).replica, &world.pepper("p1"), &world.keys().await);
    publisher.stop().await;
}

async fn an_import_of_thousands_is_published(mut world: World) {
    world.limits = Limits { max_changes: 1_500, min_overlay: 5_000, ..generous() };
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    for part in 0..3 {
        world.import(part * 4000, 4000).await;
        publisher.flush().await.unwrap();
        let edge = load(&world.directory);
        assert_eq!(edge.head.keys, u64::from(part + 1) * 4000);
    }
    // 4,000 keys fit beside the empty base, 8,000 do not.
    begun(&publisher, 2).await;
    publisher.flush().await.unwrap();
    let edge = load(&world.directory);
    assert_eq!(edge.head.keys, 12_000);
    assert!(edge.replica.layout().bucket_bits() >= 8);
    for number in [0, 5_000, 11_999] {
        let digest = Digest::of(format!("import-{number}").as_bytes());
        assert!(edge.replica.lookup(&world.pepper("p1").tag(&digest)).unwrap().unwrap().foreign);
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM set_versions WHERE change_count > 1500").await, 0);
    publisher.stop().await;
}
