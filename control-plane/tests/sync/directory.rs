//! Directory to directory.

use std::fs;
use std::time::Duration;

use nightlatch::publisher::SetDirectory;
use nightlatch::store::os_random;
use nightlatch::sync_job::{Report, SyncError, SyncJob, SyncOptions, Target};
use nightlatch_keyset::{FileName, levels};
use nightlatch_sync::implied_files;
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
    assert_eq!(names(&report), [head.delta_name(3, 4).to_text()]);
    assert_holds(&target, &next);

    // Another process goes on from what the target has.
    drop(job);
    let later = world.publish(1).await;
    let report = world.job(&target).pass().await.unwrap();
    // What leads on from where edges may be, beside what the head implies.
    let lagging = [(1, 5), (3, 5), (4, 5)].map(|(from, to)| later.delta_name(from, to).to_text());
    assert_eq!(names(&report), lagging);
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
            let mut done = |outcome: Result<&Report, &SyncError>| say.send(outcome.unwrap().issued).unwrap();
            job.run(&stop, &mut os_random, &mut done).await;
        }
    });
    assert_eq!(heard.recv().await, Some(world.head().issued));
    let head = world.publish(3).await;
    while heard.recv().await.unwrap() < head.issued {}
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
    let old = |name: &FileName| match *name {
        FileName::Base { epoch, .. } | FileName::BasePart { epoch, .. } | FileName::Delta { epoch, .. } => epoch == 1,
        FileName::Rebase { .. } | FileName::Policy(_) => false,
    };
    let there = SetDirectory::new(&target).list().unwrap();
    let expected: Vec<_> = there.iter().filter(|name| old(name)).map(FileName::to_text).collect();
    let report = SyncJob::new(world.source(), to_directory(&target), now).pass().await.unwrap();
    assert_eq!(report.removed, expected);
    assert!(report.removed.contains(&first.delta_name(1, 3).to_text()));
    assert_holds(&target, &third);
}

#[tokio::test]
async fn what_edges_that_lag_go_by_is_copied_into_the_next_epoch() {
    let world = World::new().await;
    let target = world.scratch("target");
    let first = world.publish(2).await;
    let mut job = world.job(&target);
    job.pass().await.unwrap();
    let second = world.publish(4).await;
    assert_eq!((first.version, second.base_version, second.epoch), (3, 7, 2));
    job.pass().await.unwrap();
    // From where the target was to the end of that epoch, the record, and on from there.
    let there = SetDirectory::new(&target).list().unwrap();
    for (from, to) in levels::path(first.version - first.base_version, 6 - first.base_version) {
        assert!(there.contains(&first.delta_name(1 + from, 1 + to)), "{from} to {to}");
    }
    assert!(there.contains(&second.rebase_name()));
    // A source that has removed some of it is no failure: such edges take the base.
    let third = world.publish(2).await;
    assert_eq!((third.epoch, third.version), (2, 10));
    let lost = third.delta_name(8, 9);
    let implied: Vec<_> = implied_files(&third).collect();
    for name in world.directory.list().unwrap() {
        if !implied.contains(&name) {
            world.directory.remove(&name).unwrap();
        }
    }
    job.pass().await.unwrap();
    assert!(!SetDirectory::new(&target).list().unwrap().contains(&lost));
    assert_holds(&target, &third);
}

#[tokio::test]
async fn a_damaged_target_is_mended() {
    let world = World::new().await;
    let head = world.publish(6).await;
    assert!(head.rebase.is_some() && head.base_parts.len() == 1);
    let target = world.scratch("target");
    world.job(&target).pass().await.unwrap();

    // A base of the wrong length shows in the listing.
    for name in [head.base_name(), head.part_names().next().unwrap()] {
        fs::write(target.join("files").join(name.to_text()), b"short").unwrap();
        assert_eq!(names(&world.job(&target).pass().await.unwrap()), [name.to_text()]);
    }
    // Damage inside shows only to whoever looks.
    let check = SyncOptions { check: true, ..options() };
    for name in implied_files(&head) {
        let path = target.join("files").join(name.to_text());
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(world.job(&target).pass().await.unwrap().is_empty());
        let report = SyncJob::new(world.source(), to_directory(&target), check.clone()).pass().await.unwrap();
        // Without its index nothing is known of a part.
        let parts = head.part_names().filter(|_| name == head.base_name());
        let mut expected: Vec<_> = parts.chain([name]).map(|name| name.to_text()).collect();
        expected.sort();
        assert_eq!(names(&report), expected);
        assert_holds(&target, &head);
    }
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
