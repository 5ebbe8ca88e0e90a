//! Following a control plane that holds its answers back until there is another head.

use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::ensure;
use nightlatch::store::os_random;
use nightlatch::sync_job::{Report, SyncError, SyncJob, SyncOptions};
use nightlatch_tests::wait::eventually;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::notes::{deny, holds};
use crate::origin::{Origin, TOKEN};
use crate::world::{SOON, World, assert_holds, options, to_directory};

/// Nothing of a test that passes waits for this.
const NEVER: Duration = Duration::from_secs(3600);

struct Running {
    stop: CancellationToken,
    reports: UnboundedReceiver<Report>,
    job: JoinHandle<()>,
}

fn run(mut job: SyncJob) -> Running {
    let stop = CancellationToken::new();
    let (say, reports) = unbounded_channel();
    let stopped = stop.clone();
    let job = tokio::spawn(async move {
        let mut done = |outcome: Result<&Report, &SyncError>| say.send(outcome.unwrap().clone()).unwrap();
        job.run(&stopped, &mut os_random, &mut done).await;
    });
    Running { stop, reports, job }
}

async fn is_held(origin: &Origin) {
    eventually("the head is waited for", SOON, async || {
        ensure!(origin.held.load(Ordering::SeqCst) == 1);
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_source_that_holds_back_is_followed_and_left_at_once() {
    let world = World::new().await;
    world.publish(1).await;
    let origin = Origin::holding(world.path().to_owned()).await;
    let target = world.scratch("target");
    let mut running = run(SyncJob::new(origin.source(), to_directory(&target), options()));
    assert!(running.reports.recv().await.unwrap().head);
    for _ in 0..3 {
        is_held(&origin).await;
        let head = world.publish(1).await;
        while running.reports.recv().await.unwrap().issued < head.issued {}
        assert_holds(&target, &world.head());
    }
    is_held(&origin).await;
    running.stop.cancel();
    running.job.await.unwrap();
}

/// With the interval, every one of these heads would take an hour.
#[tokio::test]
async fn the_interval_is_for_sources_that_do_not_hold_back() {
    let world = World::new().await;
    world.publish(1).await;
    let origin = Origin::holding(world.path().to_owned()).await;
    let target = world.scratch("target");
    let mut running =
        run(SyncJob::new(origin.source(), to_directory(&target), SyncOptions { poll: NEVER, ..options() }));
    for _ in 0..3 {
        is_held(&origin).await;
        let head = world.publish(1).await;
        while running.reports.recv().await.unwrap().issued < head.issued {}
    }
    running.stop.cancel();
    running.job.await.unwrap();
    assert_holds(&target, &world.head());
}

/// A key must die while no head can be signed: the deny note does not wait for one.
#[tokio::test]
async fn a_deny_note_arrives_while_a_head_is_waited_for() {
    let world = World::new().await;
    let head = world.publish(1).await;
    let origin = Origin::holding(world.path().to_owned()).await;
    let target = world.scratch("target");
    let mut running = run(SyncJob::new(origin.source(), to_directory(&target), options()));
    assert!(running.reports.recv().await.unwrap().head);
    is_held(&origin).await;
    let note = deny(&head.set, 1);
    world.directory.put_note("deny", &note).unwrap();
    let report = running.reports.recv().await.unwrap();
    assert_eq!((report.notes.as_slice(), report.head), (["deny"].as_slice(), false));
    assert!(holds(&target, "deny", &note));
    running.stop.cancel();
    running.job.await.unwrap();
}

/// The program itself ends at once when it is told to, also while an answer is held back.
#[tokio::test]
async fn the_program_ends_when_told_to() {
    let world = World::new().await;
    let head = world.publish(1).await;
    let origin = Origin::holding(world.path().to_owned()).await;
    let target = world.scratch("target");
    let mut program = Command::new(env!("CARGO_BIN_EXE_nightlatch"))
        .args(["sync", "--source", &origin.url, "--verifier", &World::verifier().to_vkey()])
        .args(["--poll-seconds", "0.1", "--target"])
        .arg(&target)
        .env("NIGHTLATCH_TOKEN", TOKEN)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    is_held(&origin).await;
    let killed = Command::new("kill").args(["-TERM", &program.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let status = tokio::task::spawn_blocking(move || program.wait().unwrap()).await.unwrap();
    assert!(status.success(), "{status}");
    assert_holds(&target, &head);
}
