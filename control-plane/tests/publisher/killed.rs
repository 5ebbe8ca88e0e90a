//! Leaders that are killed while they chain the audit log, with another beside them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use nightlatch::publisher::{Publisher, Step};
use nightlatch_keyset::Head;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::log::{entry_alone, proven};
use crate::on_both;
use crate::reader::load;
use crate::world::World;

on_both! {
    /// Guarantees 7 and 9: two processes, one of them killed mid-write, again and again.
    leaders_that_are_killed_leave_neither_gaps_nor_doubles
}

const STEPS: [Step; 5] = [Step::Numbered, Step::Chained, Step::Signed, Step::CutConcluded, Step::HeadWritten];
/// How often one may come too late: another leads before it has got that far.
const TRIES: usize = 20;

async fn leaders_that_are_killed_leave_neither_gaps_nor_doubles(mut world: World) {
    world.limits.lease = Duration::from_millis(200);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut heads: Vec<Head> = Vec::new();
    let mut killed: BTreeMap<String, u32> = BTreeMap::new();
    for round in 0..3 * STEPS.len() {
        let step = STEPS[round % STEPS.len()];
        for attempt in 0.. {
            assert!(attempt < TRIES, "round {round}: nobody is killed at {step:?}");
            if is_killed_at(&world, step, &mut rng).await {
                break;
            }
        }
        *killed.entry(format!("{step:?}")).or_default() += 1;
        let publisher = world.publisher();
        publisher.flush().await.unwrap();
        publisher.stop().await;
        heads.push(load(&world.directory).head);
        let whole = proven(&world, &heads).await.unwrap_or_else(|broken| panic!("round {round}, {step:?}: {broken}"));
        assert_eq!((whole.unchained, whole.earlier), (0, heads.len() as u64));
    }
    assert!(killed.len() == STEPS.len() && killed.values().all(|times| *times == 3), "{killed:?}");
}

/// Works until one of two is killed at that step, or the other leads. Whether it was killed there.
async fn is_killed_at(world: &World, step: Step, rng: &mut ChaCha8Rng) -> bool {
    let left = AtomicI32::new(rng.random_range(0..3));
    let fired = Arc::new(AtomicU32::new(0));
    let fires = Arc::clone(&fired);
    let killed = world.probed(move |at| {
        let goes_on = at != step || left.fetch_sub(1, Ordering::SeqCst) > 0;
        fires.fetch_add(u32::from(!goes_on), Ordering::SeqCst);
        goes_on
    });
    let standby = Publisher::spawn(world.store.clone(), world.other_config_in_place());
    let mut alive = true;
    while alive {
        world.mutate(rng).await;
        entry_alone(world, "mem_1").await;
        tokio::select! {
            done = killed.flush() => alive = done.is_ok(),
            done = standby.flush() => alive = done.is_ok(),
        }
        if standby.status().borrow().heads > 2 {
            alive = false;
        }
    }
    killed.stop().await;
    standby.stop().await;
    fired.load(Ordering::SeqCst) > 0
}
