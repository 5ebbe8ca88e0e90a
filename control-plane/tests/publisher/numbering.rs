//! Versions of a bounded size: the order of changes, and what a head says that leaves some out.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nightlatch::publisher::{Limits, Step};
use rand::SeedableRng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::on_both;
use crate::reader::{Witness, assert_equals, load};
use crate::world::{Change, World};

on_both! {
    /// s0.08: within a key, versions follow the order of its changes, however many versions it takes.
    bounded_versions_keep_the_order_of_each_key
    /// s0.07: a head that leaves committed changes out is issued no later than the first of them was written.
    a_head_that_leaves_changes_out_promises_nothing_about_them
    versions_of_fat_profiles_are_cut_short
}

fn bounded() -> Limits {
    Limits { max_changes: 3, pace: Duration::ZERO, ..Limits::default() }
}

async fn bounded_versions_keep_the_order_of_each_key(mut world: World) {
    world.limits = bounded();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut keys = Vec::new();
    for _ in 0..4 {
        keys.push(world.issue(&["a:read"]).await);
    }
    for turn in 0..40 {
        let key = keys.choose(&mut rng).unwrap();
        let how = if turn % 3 == 0 { Change::Disable } else { Change::random(&mut rng) };
        world.try_change(key, how).await;
    }
    let waiting = world.count("SELECT COUNT(*) FROM changes").await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let edge = load(&world.directory);
    assert_eq!(edge.head.version as i64, 1 + (waiting + 2) / 3);
    assert_equals(&edge.replica, &world.pepper("p1"), &world.keys().await);
    assert_eq!(world.count("SELECT MAX(change_count) FROM set_versions").await, 3);
    let disordered = "SELECT COUNT(*) FROM changes a JOIN changes b ON a.key_number = b.key_number AND a.seq < b.seq \
                      WHERE a.version > b.version OR (a.version = b.version AND a.position > b.position)";
    assert_eq!(world.count(disordered).await, 0);
}

async fn a_head_that_leaves_changes_out_promises_nothing_about_them(mut world: World) {
    world.limits = bounded();
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    for _ in 0..10 {
        world.issue(&["a:read"]).await;
    }
    let mut witness = Witness::default();
    // Three, three, three, one: the first start gets to the first, the second to the third.
    for version in [2, 4] {
        // Killed between the second version's transaction and its head.
        let deltas = AtomicU32::new(0);
        let probe = move |step| step != Step::DeltaWritten || deltas.fetch_add(1, Ordering::SeqCst) == 0;
        let publisher = world.probed(probe);
        publisher.wait(|_| false).await.unwrap_err();
        witness.look(&world.directory);
        let head = load(&world.directory).head;
        assert_eq!(head.version, version);
        let left_out = "SELECT MIN(created_at) FROM changes WHERE version IS NULL OR version >";
        let oldest = world.count(&format!("{left_out} {version}")).await;
        assert!(head.issued as i64 <= oldest, "version {version}");
    }
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let edge = load(&world.directory);
    assert_equals(&edge.replica, &world.pepper("p1"), &world.keys().await);
}

async fn versions_of_fat_profiles_are_cut_short(mut world: World) {
    world.limits = Limits { max_changes: 1_000, ..bounded() };
    for _ in 0..5 {
        world.issue(&["a:read"]).await;
    }
    // Half a mebibyte and more of scopes each: what no API call makes, but the database could hold.
    for number in 1..=5 {
        let scopes: Vec<_> = (0..1000).map(|scope| format!("{number}{scope:0>60}")).collect();
        let scopes = scopes.join(" ");
        world.execute(&format!("UPDATE changes SET scopes = '{scopes}' WHERE key_number = {number}")).await;
    }
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    assert_eq!(load(&world.directory).head.keys, 5);
    assert_eq!(world.count("SELECT COUNT(*) FROM changes WHERE version IS NULL").await, 0);
}
