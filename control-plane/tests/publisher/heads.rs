//! Heads, versions and policies as they follow what is committed.

use std::time::Duration;

use nightlatch::publisher::{Role, empty_policy};
use nightlatch::store::routes;
use nightlatch_gate::policy::{Draft, Policy, RouteDraft};
use nightlatch_keyset::Hash;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::on_both;
use crate::reader::{Witness, assert_equals, load};
use crate::world::{Change, SKEW_MS, VALIDITY_MS, World};

on_both! {
    the_first_head_is_of_an_empty_set
    a_change_is_published_as_it_is_committed
    a_heartbeat_signs_the_same_state_anew
    routes_are_published_with_the_set
    random_mutations_give_the_database
    changes_of_one_key_keep_their_order
    other_processes_commits_are_found
}

async fn the_first_head_is_of_an_empty_set(world: World) {
    let publisher = world.publisher();
    let status = publisher.reached(1).await.unwrap();
    assert_eq!((status.role, status.epoch, status.version, status.keys), (Role::Leading(1), 1, 1, 0));
    let edge = load(&world.directory);
    assert_eq!((edge.head.incarnation, edge.head.epoch, edge.head.version), (0, 1, 1));
    assert_eq!(edge.head.valid_until - edge.head.issued, VALIDITY_MS as u64);
    assert_eq!(edge.head.skew, SKEW_MS as u64);
    assert_eq!(edge.head.brand.as_str(), "nl");
    assert!(edge.head.accepts_foreign);
    assert_eq!(edge.policy, Policy::decode(&empty_policy()).unwrap());
    assert!(edge.policy.routes().is_empty());
    publisher.stop().await;
}

async fn a_change_is_published_as_it_is_committed(world: World) {
    let publisher = world.publisher();
    publisher.reached(1).await.unwrap();
    let before = world.store.now().await.unwrap();
    let key = world.issue(&["invoices:read"]).await;
    let version = publisher.published(key.number).await.unwrap();
    assert!(version > 1);
    let edge = load(&world.directory);
    // The head says no more than it knows: it was issued after the change was, and not after now.
    let now = world.store.now().await.unwrap();
    assert!((before..=now).contains(&(edge.head.issued as i64)));
    assert_equals(&edge.replica, &world.pepper("p1"), &world.keys().await);

    world.change(&key, Change::Revoke).await;
    assert!(publisher.published(key.number).await.unwrap() > version);
    assert_equals(&load(&world.directory).replica, &world.pepper("p1"), &world.keys().await);
    assert_eq!(publisher.published(12345).await.unwrap(), 0);
    publisher.stop().await;
}

async fn a_heartbeat_signs_the_same_state_anew(mut world: World) {
    world.limits.poll = Duration::from_millis(20);
    world.execute("UPDATE sets SET heartbeat_ms = 50").await;
    let publisher = world.publisher();
    let first = publisher.reached(1).await.unwrap();
    let later = publisher.wait(|status| status.heads >= first.heads + 3).await.unwrap();
    assert_eq!((later.version, later.epoch), (1, 1));
    assert!(later.issued > first.issued);
    publisher.stop().await;
}

async fn routes_are_published_with_the_set(world: World) {
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    let mut witness = Witness::default();
    for (revision, path) in ["/status", "/invoices"].into_iter().enumerate() {
        let policy = Policy::new(Draft::new("tests").route(RouteDraft::new("GET", path))).unwrap();
        let (bytes, context, set) = (policy.encode(), world.context(), world.set.clone());
        let hash = Hash::of(&bytes).0;
        let replaced = world.store.write(move |tx| {
            Box::pin(async move { routes::replace(tx, &context, &set, revision as i64, "{}", &bytes, hash).await })
        });
        replaced.await.unwrap();
        // A new policy is no new version of the set; the commit alone wakes the publisher.
        publisher.wait(|_| load(&world.directory).policy == policy).await.unwrap();
        assert_eq!(load(&world.directory).head.version, 1);
        witness.look(&world.directory);
    }
    publisher.stop().await;
}

async fn random_mutations_give_the_database(world: World) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let publisher = world.publisher();
    let mut witness = Witness::default();
    for _ in 0..40 {
        world.mutate(&mut rng).await;
        publisher.flush().await.unwrap();
        assert_equals(&load(&world.directory).replica, &world.pepper("p1"), &world.keys().await);
        witness.look(&world.directory);
    }
    assert!(load(&world.directory).head.epoch > 3);
    publisher.stop().await;
}

async fn changes_of_one_key_keep_their_order(world: World) {
    let key = world.issue(&[]).await;
    // Many changes of one key in one version: the last one counts.
    for how in [Change::Disable, Change::Enable, Change::Tier("gold"), Change::Disable, Change::Tier("silver")] {
        world.change(&key, how).await;
    }
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    assert_equals(&load(&world.directory).replica, &world.pepper("p1"), &world.keys().await);
    for how in [Change::Enable, Change::Disable, Change::Enable] {
        world.change(&key, how).await;
    }
    publisher.flush().await.unwrap();
    assert_equals(&load(&world.directory).replica, &world.pepper("p1"), &world.keys().await);
    publisher.stop().await;
}

async fn other_processes_commits_are_found(world: World) {
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    // Another process's store: this publisher is not woken by its commits.
    let other = World { store: nightlatch::store::Store::connect(&world.url).await.unwrap(), ..world };
    let key = other.issue(&[]).await;
    assert!(publisher.published(key.number).await.unwrap() > 1);
    publisher.stop().await;
}
