//! From one epoch to the next: the leader in memory, replicas by the record, a rebuild from the database. All alike.

use std::fs;
use std::time::Duration;

use nightlatch::publisher::{Limits, Publisher, rebuild};
use nightlatch_keyset::{FileName, Head};
use nightlatch_sync::implied_files;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::on_both;
use crate::reader::{Witness, assert_equals, base, load, path};
use crate::world::World;

on_both! {
    /// s0.05: a live replica that rebases by the record has the very base that is published.
    replicas_follow_into_the_next_epoch
    /// s0.09: a base folded in memory and the same base built from the database are the same bytes.
    what_is_folded_is_what_the_database_gives
}

async fn replicas_follow_into_the_next_epoch(world: World) {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut publisher = world.publisher();
    publisher.flush().await.unwrap();
    let mut followed = 0;
    while followed < 4 {
        // A replica of the current epoch, somewhere on its way.
        publisher.stop().await;
        let old = load(&world.directory);
        publisher = world.publisher();
        while publisher.status().borrow().epoch <= old.head.epoch {
            world.mutate(&mut rng).await;
            publisher.flush().await.unwrap();
        }
        publisher.stop().await;
        let new = load(&world.directory);
        publisher = world.publisher();
        let Some((_, len)) = new.head.rebase.filter(|_| new.head.epoch == old.head.epoch + 1) else { continue };

        let (mut replica, last) = (old.replica, new.head.base_version - 1);
        let deltas = path(&world.directory, &old.head, old.head.version, last);
        let end = deltas.last().map_or(old.head.commitment, |delta| *delta.to_commitment());
        replica.advance_to(&deltas, last, &end).unwrap();
        let record = world.directory.file(&new.head.rebase_name(), len).unwrap().unwrap();
        replica.begin_rebase(&record, &new.head).unwrap();
        while !replica.rebase_step().unwrap() {}
        let deltas = path(&world.directory, &new.head, new.head.base_version, new.head.version);
        replica.advance(&deltas, &new.head).unwrap();
        assert_equals(&replica, &world.pepper("p1"), &world.keys().await);
        followed += 1;
    }
    publisher.stop().await;
}

fn base_files(head: &Head) -> Vec<FileName> {
    let of_base = |name: &FileName| !matches!(name, FileName::Delta { .. } | FileName::Policy(_));
    implied_files(head).filter(of_base).collect()
}

async fn what_is_folded_is_what_the_database_gives(mut world: World) {
    let mut witness = Witness::default();
    let (mut folded, mut built, mut shrunk) = (0, 0, false);
    for seed in 0..24 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Keys end sooner and later: what has left once must not come back.
        world.limits = Limits {
            retention: Duration::from_secs(rng.random_range(1..900) * 24 * 3600),
            max_changes: rng.random_range(1..12),
            ..world.limits
        };
        for _ in 0..rng.random_range(1..6) {
            world.mutate(&mut rng).await;
        }
        // Some of it happened long ago, and some deadlines have long passed.
        let days = rng.random_range(1..900_i64);
        let ms = days * 24 * 3600 * 1000;
        let third = seed % 3;
        world
            .execute(&format!(
                "UPDATE changes SET created_at = created_at - {ms} WHERE version IS NULL AND key_number % 3 = {third}"
            ))
            .await;
        world
            .execute(&format!(
                "UPDATE changes SET deadline = created_at / 1000 - 100000 \
                 WHERE version IS NULL AND key_number % 7 = {third} AND status <> 3"
            ))
            .await;
        let publisher = world.publisher();
        unless_refused(&publisher, publisher.flush()).await.unwrap();
        if rng.random_bool(0.3) {
            let other = if load(&world.directory).head.pepper == "p1" { "p2" } else { "p1" };
            world.execute(&format!("UPDATE sets SET pepper_id = '{other}'")).await;
            let switched = publisher.wait(|_| load(&world.directory).head.pepper == other);
            unless_refused(&publisher, switched).await.unwrap();
        }
        publisher.stop().await;
        witness.look(&world.directory);

        let head = load(&world.directory).head;
        if head.rebase.is_some() {
            folded += 1;
        } else {
            built += 1;
        }
        shrunk |= (base(&world.directory, &head).len() as i64)
            < world.count("SELECT COUNT(DISTINCT key_number) FROM changes").await;
        for name in base_files(&head) {
            fs::remove_file(world.directory.file_path(&name)).unwrap();
        }
        let mut mended = rebuild(&world.store, &world.config()).await.unwrap().files;
        mended.sort();
        let mut expected: Vec<_> = base_files(&head).iter().map(FileName::to_text).collect();
        expected.sort();
        assert_eq!(mended, expected);
        witness.look(&world.directory);
    }
    assert!(folded > 3 && built > 3 && shrunk, "{folded} folded, {built} built");
}

/// Waits for something that a publisher that refuses to sign would never come to.
async fn unless_refused<T>(publisher: &Publisher, wait: impl Future<Output = T>) -> T {
    tokio::select! {
        done = wait => done,
        refused = publisher.wait(|status| status.refused) => panic!("{:?}", refused.unwrap().error),
    }
}
