//! Files of an epoch that are removed while it goes on, and those that are not.

use std::time::Duration;

use nightlatch::publisher::Limits;
use nightlatch_keyset::FileName;

use crate::on_both;
use crate::reader::{Witness, assert_equals, base, load, path};
use crate::world::{Change, World};

on_both! {
    /// s0.05: whoever is no further behind than stated finds the deltas that lead on; beyond, a handful stays.
    deltas_that_nobody_can_need_are_removed
}

async fn deltas_that_nobody_can_need_are_removed(mut world: World) {
    world.limits = Limits { pace: Duration::ZERO, ..Limits::default() };
    let publisher = world.publisher();
    let key = world.issue(&[]).await;
    publisher.flush().await.unwrap();
    for turn in 0..21 {
        world.change(&key, if turn % 2 == 0 { Change::Disable } else { Change::Enable }).await;
        publisher.published(key.number).await.unwrap();
    }
    publisher.stop().await;
    let head = load(&world.directory).head;
    assert_eq!((head.base_version, head.version), (1, 23));
    // The last five versions are young, all before are old.
    world.execute("UPDATE set_versions SET issued = issued - 200000000 WHERE version <= 18").await;
    let deltas = |name: &FileName| matches!(name, FileName::Delta { .. });
    let before = world.directory.list().unwrap().iter().filter(|name| deltas(name)).count();
    assert_eq!(before, 22 + 11 + 5 + 2 + 1);

    let publisher = world.publisher();
    // (0, 16) and (16, 17) lead to the floor; after it end five of level 0, and of the higher levels three, one, none.
    let kept = 2 + 5 + 3 + 1;
    let mut left = before;
    for _ in 0..200 {
        publisher.flush().await.unwrap();
        left = world.directory.list().unwrap().iter().filter(|name| deltas(name)).count();
        if left <= kept {
            break;
        }
    }
    publisher.flush().await.unwrap();
    publisher.stop().await;
    assert_eq!(left, kept);
    let mut witness = Witness::default();
    witness.look(&world.directory);
    let edge = load(&world.directory);
    assert_equals(&edge.replica, &world.pepper("p1"), &world.keys().await);
    for version in 18..=23 {
        // To there from the base, and from there to the head.
        let mut replica = base(&world.directory, &edge.head);
        let deltas = path(&world.directory, &edge.head, 1, version);
        let end = *deltas.last().unwrap().to_commitment();
        replica.advance_to(&deltas, version, &end).unwrap();
        replica.advance(&path(&world.directory, &edge.head, version, 23), &edge.head).unwrap();
    }
}
