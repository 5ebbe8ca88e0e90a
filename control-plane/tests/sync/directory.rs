//! Directory to directory.

use std::fs;
use std::time::Duration;

use nightlatch::store::os_random;
use nightlatch::sync_job::{Report, SyncError, SyncJob, SyncOptions, Target};
use nightlatch_keyset::FileName;
use tokio_util::sync::CancellationToken;

use crate::world::{World, assert_holds, names_of, options, to_directory};

fn names(report: &Report) -> Vec<String> {
    let mut names: Vec<_> = report.copied.iter().map(|file| file.name.clone()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn only_what_is_lacking_is_copied() {
    let world = World::new().await;
    let head = world.publish(2).await;
    let target = world.scratch("target");
    let mut job = world.job(&target);
    let report = job.pass().await.unwrap();
    assert_eq!(names(&report), names_of(&head));
    assert!(report.head);
    assert_holds(&target, &head);
    assert!(job.pass().await.unwrap().is_empty());

    let next = world.publish(1).await;
    let report = job.pass().await.unwrap();
    assert_eq!(names(&report), [head.delta_name(head.version).to_text()]);
    assert_holds(&target, &next);

    // Another process goes on from what the target has.
    drop(job);
    let later = world.publish(1).await;
    let report = world.job(&target).pass().await.unwrap();
    assert_eq!(names(&report), [next.delta_name(next.version).to_text()]);
    assert_holds(&target, &later);
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_says_what_it_would() {
    let world = World::new().await;
    let head = world.publish(1).await;
    let target = world.scratch("target");
    let dry = SyncOptions { dry_run: true, ..options() };
    let open = Target::open(target.to_str().unwrap(), &Default::default(), false).unwrap();
    let report = SyncJob::new(world.source(), open, dry).pass().await.unwrap();
    assert_eq!(names(&report), names_of(&head));
    assert!(report.head && report.dry_run);
    let text = report.to_string();
    assert!(text.contains("copy    base-0-1") && text.contains("replace head") && text.contains("nothing was written"));
    assert_eq!(serde_json::to_value(&report).unwrap()["version"], 2);
    assert!(!target.exists());
}

#[tokio::test]
async fn a_running_job_follows_until_it_is_stopped() {
    let world = World::new().await;
    world.publish(0).await;
    let target = world.scratch("target");
    let mut job = world.job(&target);
    let stop = CancellationToken::new();
    let (say, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move {
            let mut done = |outcome: Result<&Report, &SyncError>| say.send(outcome.unwrap().version).unwrap();
            job.run(&stop, &mut os_random, &mut done).await;
        }
    });
    assert_eq!(heard.recv().await, Some(1));
    let head = world.publish(3).await;
    while heard.recv().await.unwrap() < head.version {}
    stop.cancel();
    running.await.unwrap();
    assert_holds(&target, &world.head());
}

#[tokio::test]
async fn files_of_older_epochs_go_after_a_grace() {
    let world = World::new().await;
    let target = world.scratch("target");
    let first = world.publish(2).await;
    world.job(&target).pass().await.unwrap();
    let second = world.publish(4).await;
    assert_eq!(second.epoch, 2);
    let report = world.job(&target).pass().await.unwrap();
    // Named by the head that was just replaced.
    assert!(report.removed.is_empty());
    world.publish(1).await;
    // Named by no head any more, but edges may still be at it.
    let report = world.job(&target).pass().await.unwrap();
    assert!(report.removed.is_empty());
    let third = world.publish(1).await;
    let now = SyncOptions { grace: Some(Duration::ZERO), ..options() };
    let report = SyncJob::new(world.source(), to_directory(&target), now).pass().await.unwrap();
    let mut expected: Vec<_> = [FileName::Base { incarnation: 0, epoch: 1 }, first.delta_name(1), first.delta_name(2)]
        .iter()
        .map(FileName::to_text)
        .collect();
    // The second epoch began with version 6: what the target has never had need not be removed.
    expected.retain(|name| target.join("files").join(name).exists() || report.removed.contains(name));
    assert_eq!(report.removed, expected);
    assert!(!report.removed.is_empty());
    assert_holds(&target, &third);
}

#[tokio::test]
async fn a_damaged_target_is_mended() {
    let world = World::new().await;
    let head = world.publish(2).await;
    let target = world.scratch("target");
    world.job(&target).pass().await.unwrap();
    let base = target.join("files").join(head.base_name().to_text());
    let delta = target.join("files").join(head.delta_name(head.base_version).to_text());

    // A base of the wrong length shows in the listing.
    fs::write(&base, b"short").unwrap();
    assert_eq!(names(&world.job(&target).pass().await.unwrap()), [head.base_name().to_text()]);
    // Damage inside shows only to whoever looks.
    let mut bytes = fs::read(&delta).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&delta, bytes).unwrap();
    assert!(world.job(&target).pass().await.unwrap().is_empty());
    let check = SyncOptions { check: true, ..options() };
    let report = SyncJob::new(world.source(), to_directory(&target), check).pass().await.unwrap();
    assert_eq!(names(&report), [head.delta_name(head.base_version).to_text()]);
    // And a damaged head is no head to go by.
    fs::write(target.join("head"), b"garbage").unwrap();
    assert!(world.job(&target).pass().await.unwrap().head);
    assert_holds(&target, &head);
}

#[tokio::test]
async fn two_jobs_do_not_share_a_directory() {
    let world = World::new().await;
    world.publish(0).await;
    let target = world.scratch("target");
    let _first = world.job(&target);
    let second = Target::open(target.to_str().unwrap(), &Default::default(), true);
    assert!(matches!(second, Err(SyncError::Target(text)) if text.contains("another sync job")));
}

#[tokio::test]
async fn nonsense_is_wrong_usage() {
    let world = World::new().await;
    world.publish(0).await;
    for place in ["kv:KEYS", "gs://bucket/keys", "s3://"] {
        let error = Target::open(place, &Default::default(), true).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
    }
    assert_eq!(nightlatch::sync_job::Source::open("ftp://x/y", None).unwrap_err().exit_code(), 2);
    let error = world.job(world.path()).pass().await.unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
}
