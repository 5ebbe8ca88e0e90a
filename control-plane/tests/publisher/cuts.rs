//! Epochs: when they end, what stays, what goes.

use std::time::Duration;

use nightlatch::publisher::Limits;
use nightlatch_key::Digest;
use nightlatch_keyset::{FileName, Status};

use crate::on_both;
use crate::reader::{Witness, assert_equals, load};
use crate::world::{Change, World};

on_both! {
    a_large_batch_begins_an_epoch
    many_deltas_begin_an_epoch
    a_new_pepper_begins_an_epoch
    keys_that_ended_long_ago_leave
    what_two_epochs_have_superseded_is_deleted
    an_import_of_thousands_is_published
}

async fn a_large_batch_begins_an_epoch(world: World) {
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    for _ in 0..9 {
        world.issue(&["a:read"]).await;
    }
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    let edge = load(&world.directory);
    assert_eq!((edge.head.epoch, edge.head.version, edge.head.base_version, edge.head.keys), (2, 2, 2, 9));
    assert_equals(&edge.replica, &world.pepper("p1"), &world.keys().await);
    publisher.stop().await;
}

async fn many_deltas_begin_an_epoch(world: World) {
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    let key = world.issue(&[]).await;
    publisher.flush().await.unwrap();
    for (turn, epoch) in [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2)] {
        world.change(&key, if turn % 2 == 0 { Change::Disable } else { Change::Enable }).await;
        publisher.flush().await.unwrap();
        let edge = load(&world.directory);
        assert_eq!((edge.head.version, edge.head.epoch), (3 + turn, epoch));
        assert_equals(&edge.replica, &world.pepper("p1"), &world.keys().await);
    }
    publisher.stop().await;
}

async fn a_new_pepper_begins_an_epoch(world: World) {
    world.issue(&[]).await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    world.execute("UPDATE sets SET pepper_id = 'p2'").await;
    publisher.flush().await.unwrap();
    let edge = load(&world.directory);
    assert_eq!((edge.head.epoch, edge.head.pepper.as_str()), (2, "p2"));
    assert_equals(&edge.replica, &world.pepper("p2"), &world.keys().await);

    // A pepper that this process does not hold: nothing is signed.
    world.execute("UPDATE sets SET pepper_id = 'p3'").await;
    let status = publisher.wait(|status| status.refused).await.unwrap();
    assert!(status.error.unwrap().contains("p3"));
    publisher.stop().await;
}

async fn keys_that_ended_long_ago_leave(world: World) {
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
    world.limits = Limits { grace: Duration::ZERO, ..world.limits };
    // Heads that run out at once, so that old files need not be waited for.
    world.execute("UPDATE sets SET validity_ms = 1, largest_validity_ms = 1, skew_ms = 0").await;
    let publisher = world.publisher();
    let key = world.issue(&[]).await;
    let other = world.issue(&[]).await;
    let mut witness = Witness::default();
    for turn in 0..24 {
        world.change(&key, if turn % 2 == 0 { Change::Disable } else { Change::Enable }).await;
        publisher.flush().await.unwrap();
        witness.look(&world.directory);
        assert_equals(&load(&world.directory).replica, &world.pepper("p1"), &world.keys().await);
    }
    let head = load(&world.directory).head;
    assert!(head.epoch >= 4, "{}", head.epoch);

    // Chores are done a piece at a time between heads.
    let previous = format!("SELECT version FROM set_epochs WHERE epoch = {}", head.epoch - 1);
    let previous = world.count(&previous).await;
    let superseded = format!(
        "SELECT COUNT(*) FROM changes o JOIN changes n ON n.key_number = o.key_number AND n.version > o.version \
         WHERE n.version <= {previous}"
    );
    let forgotten = format!("SELECT COUNT(*) FROM set_versions WHERE version < {previous}");
    let old = |name: &FileName| match *name {
        FileName::Base { epoch, .. } | FileName::Delta { epoch, .. } => epoch < head.epoch - 1,
        FileName::Policy(_) => false,
    };
    let mut left = (1, 1, 1, 1);
    for _ in 0..200 {
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
    std::fs::remove_dir_all(world.directory.path()).unwrap();
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    witness.look(&world.directory);
    assert_equals(&load(&world.directory).replica, &world.pepper("p1"), &world.keys().await);
    publisher.stop().await;
}

async fn an_import_of_thousands_is_published(mut world: World) {
    world.limits = Limits::default();
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    for part in 0..3 {
        world.import(part * 4000, 4000).await;
        publisher.flush().await.unwrap();
        let edge = load(&world.directory);
        assert_eq!(edge.head.keys, u64::from(part + 1) * 4000);
    }
    let edge = load(&world.directory);
    // 4,000 and 8,000 keys fit beside the base, 12,000 do not.
    assert_eq!((edge.head.version, edge.head.epoch), (4, 2));
    for number in [0, 5_000, 11_999] {
        let digest = Digest::of(format!("import-{number}").as_bytes());
        assert!(edge.replica.lookup(&world.pepper("p1").tag(&digest)).unwrap().unwrap().foreign);
    }
    publisher.stop().await;
}
