//! Commits that come in another order than their rows were written: nothing is lost, nothing is numbered twice.
//!
//! PostgreSQL only: SQLite has one writer, whose transactions cannot overlap.

use std::collections::BTreeMap;

use nightlatch::domain::{Key, KeyRef};
use nightlatch::publisher::Publisher;
use nightlatch::store::Error;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::reader::{Witness, assert_equals, load};
use crate::world::{Change, World};

/// A mutation whose rows are written and whose transaction is still open.
struct Open {
    decide: oneshot::Sender<bool>,
    task: JoinHandle<Result<Key, Error>>,
}

impl Open {
    /// Writes the change, and leaves its transaction open.
    async fn begin(world: &World, key: &Key, how: Change) -> Self {
        let (decide, decision) = oneshot::channel();
        let (written, ready) = oneshot::channel();
        let (store, context, key) = (world.store.clone(), world.context(), KeyRef::Id(key.id.clone()));
        let task = tokio::spawn(async move {
            let work = store.write(move |tx| {
                Box::pin(async move {
                    let changed = how.apply(tx, &context, &key).await?;
                    written.send(()).unwrap();
                    if decision.await.unwrap() { Ok(changed) } else { Err(Error::Closed) }
                })
            });
            work.await
        });
        ready.await.unwrap();
        Self { decide, task }
    }

    /// Ends it; the key as committed, or nothing.
    async fn end(self, commit: bool) -> Option<Key> {
        self.decide.send(commit).unwrap();
        self.task.await.unwrap().ok()
    }
}

async fn assert_published(world: &World, publisher: &Publisher, committed: &BTreeMap<u32, Key>) {
    publisher.flush().await.unwrap();
    let keys: Vec<_> = committed.values().cloned().collect();
    assert_equals(&load(&world.directory).replica, &world.pepper("p1"), &keys);
}

/// Every numbered change has one version, and the versions' counts say the same.
async fn assert_numbered_once(world: &World) {
    assert_eq!(world.count("SELECT COUNT(*) FROM changes WHERE version IS NULL").await, 0);
    let differing = world.count(
        "SELECT COUNT(*) FROM set_versions v \
         WHERE v.change_count <> (SELECT COUNT(*) FROM changes c WHERE c.set_id = v.set_id AND c.version = v.version)",
    );
    assert_eq!(differing.await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_commits_after_later_rows_were_published_is_not_lost() {
    let world = World::postgres().await;
    let (early, late) = (world.issue(&["a:read"]).await, world.issue(&["b:read"]).await);
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    let mut committed = BTreeMap::from([(early.number, early.clone()), (late.number, late.clone())]);

    // The lower seq is written first and stays open while the higher one is committed, numbered and published.
    let open = Open::begin(&world, &early, Change::Disable).await;
    let key = Open::begin(&world, &late, Change::Disable).await.end(true).await.unwrap();
    committed.insert(key.number, key);
    assert_published(&world, &publisher, &committed).await;
    let published = load(&world.directory).head.version;

    let key = open.end(true).await.unwrap();
    committed.insert(key.number, key);
    assert_published(&world, &publisher, &committed).await;
    assert_eq!(load(&world.directory).head.version, published + 1);
    assert_numbered_once(&world).await;
    publisher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_interleavings_lose_nothing_and_number_nothing_twice() {
    let mut world = World::postgres().await;
    // Nothing is pruned here, so that the count of every version can be checked at the end.
    world.limits.max_versions = 10_000;
    world.limits.min_overlay = 10_000;
    let mut keys = Vec::new();
    for _ in 0..12 {
        keys.push(world.issue(&["a:read"]).await);
    }
    // Entering a tier's name for the first time would make the next transaction that does so wait.
    world.change(&keys[0], Change::Tier("gold")).await;
    let publisher = world.publisher();
    let mut witness = Witness::default();
    let mut committed: BTreeMap<u32, Key> = world.keys().await.into_iter().map(|key| (key.number, key)).collect();
    for seed in 0..30 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut open: BTreeMap<u32, Open> = BTreeMap::new();
        for _ in 0..12 {
            let idle: Vec<_> = keys.iter().filter(|key| !open.contains_key(&key.number)).collect();
            let ready: Vec<u32> = open.keys().copied().collect();
            match (rng.random_range(0..10), idle.choose(&mut rng), ready.choose(&mut rng)) {
                (0..4, Some(key), _) if open.len() < 6 => {
                    let how = [
                        Change::Disable,
                        Change::Enable,
                        Change::Tier("gold"),
                        Change::Expiry(4_100_000_000 + seed as i64),
                    ];
                    let how = how.choose(&mut rng).unwrap().clone();
                    open.insert(key.number, Open::begin(&world, key, how).await);
                }
                (4..8, _, Some(number)) => {
                    let ended = open.remove(number).unwrap().end(rng.random_bool(0.8)).await;
                    if let Some(key) = ended {
                        committed.insert(key.number, key);
                    }
                }
                _ => assert_published(&world, &publisher, &committed).await,
            }
        }
        for (_, open) in open {
            if let Some(key) = open.end(rng.random_bool(0.8)).await {
                committed.insert(key.number, key);
            }
        }
        assert_published(&world, &publisher, &committed).await;
        witness.look(&world.directory);
    }
    assert_numbered_once(&world).await;
    publisher.stop().await;
}
