//! Sources and targets that are not what they should be, and jobs that are cut short.

use std::fs;
use std::path::Path;

use nightlatch::sync_job::{SyncError, SyncJob, SyncOptions};
use nightlatch_keyset::note::Signer;
use nightlatch_sync::Refusal;

use crate::world::{World, assert_holds, options, to_directory};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_target_never_goes_back() {
    let world = World::new().await;
    world.publish(1).await;
    let backup = world.scratch("backup");
    copy(world.path(), &backup);
    let head = world.publish(2).await;
    let target = world.scratch("target");
    world.job(&target).pass().await.unwrap();

    let old = nightlatch::sync_job::Source::open(backup.to_str().unwrap(), None).unwrap();
    let error = SyncJob::new(old, to_directory(&target), options()).pass().await.unwrap_err();
    assert!(matches!(error, SyncError::Refused { refusal: Refusal::Rollback, .. }), "{error}");
    assert_eq!(error.exit_code(), 3);
    assert_holds(&target, &head);

    // The same version with another history.
    let mut forged = head.clone();
    forged.commitment = forged.commitment.then(&forged.base_root);
    let signer = Signer::new("nightlatch/tests", &[7; 32]).unwrap();
    fs::write(backup.join("head"), forged.sign(&signer)).unwrap();
    let old = nightlatch::sync_job::Source::open(backup.to_str().unwrap(), None).unwrap();
    let error = SyncJob::new(old, to_directory(&target), options()).pass().await.unwrap_err();
    assert!(matches!(error, SyncError::Refused { refusal: Refusal::OtherHistory, .. }), "{error}");
    assert_holds(&target, &head);
}

#[tokio::test]
async fn a_set_does_not_overwrite_another() {
    let (one, two) = (World::new().await, World::new().await);
    let head = one.publish(1).await;
    two.publish(3).await;
    let target = one.scratch("target");
    one.job(&target).pass().await.unwrap();
    let error = two.job(&target).pass().await.unwrap_err();
    assert!(matches!(error, SyncError::Refused { refusal: Refusal::OtherSet, .. }), "{error}");
    // Nor one that somebody else signs.
    let stranger = Signer::new("nightlatch/others", &[9; 32]).unwrap();
    fs::write(target.join("head"), head.sign(&stranger)).unwrap();
    let error = one.job(&target).pass().await.unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
}

#[tokio::test]
async fn a_tampered_source_is_refused_before_its_head_arrives() {
    let world = World::new().await;
    let first = world.publish(1).await;
    let target = world.scratch("target");
    world.job(&target).pass().await.unwrap();
    // An epoch with a base that has a part, and a rebase record.
    let head = world.publish(6).await;
    assert_eq!((head.base_version, head.version, head.base_parts.len()), (7, 9, 1));
    let files = world.path().join("files");
    let fresh = |name: String| (world.scratch(&format!("target-{name}")), name);

    // The head itself.
    let note = fs::read_to_string(world.directory.head_path()).unwrap();
    let stranger = Signer::new("nightlatch/tests", &[9; 32]).unwrap();
    for bad in [note.replace("version 9", "version 10"), head.sign(&stranger), "head".into(), String::new()] {
        fs::write(world.directory.head_path(), bad).unwrap();
        let error = world.job(&target).pass().await.unwrap_err();
        assert!(matches!(error, SyncError::Untrusted(_)), "{error}");
        assert_holds(&target, &first);
    }
    fs::write(world.directory.head_path(), &note).unwrap();

    // Every file, in every way: changed, cut, grown, another's.
    for name in nightlatch_sync::implied_files(&head) {
        let path = files.join(name.to_text());
        let good = fs::read(&path).unwrap();
        let mut changed = good.clone();
        changed[good.len() / 2] ^= 1;
        let grown = [&good[..], b"x"].concat();
        let other = fs::read(files.join(head.delta_name(7, 8).to_text())).unwrap();
        for (kind, bad) in
            [("changed", changed), ("cut", good[..good.len() - 1].to_vec()), ("grown", grown), ("other", other)]
        {
            if bad == good {
                continue;
            }
            fs::write(&path, bad).unwrap();
            let (target, name) = fresh(format!("{name}-{kind}"));
            let error = world.job(&target).pass().await.unwrap_err();
            assert!(matches!(error, SyncError::Untrusted(_)), "{name}: {error}");
            assert_eq!(error.exit_code(), 3);
            assert!(!target.join("head").exists());
        }
        fs::write(&path, good).unwrap();
    }
    world.job(&target).pass().await.unwrap();
    assert_holds(&target, &head);
}

#[tokio::test]
async fn a_missing_file_leaves_the_head_and_is_taken_up_later() {
    let world = World::new().await;
    let head = world.publish(3).await;
    let target = world.scratch("target");
    let missing = world.path().join("files").join(head.delta_name(1, 3).to_text());
    let aside = world.scratch("aside");
    fs::rename(&missing, &aside).unwrap();
    let error = world.job(&target).pass().await.unwrap_err();
    assert_eq!(error.exit_code(), 1, "{error}");
    assert!(!target.join("head").exists());
    let half = fs::read_dir(target.join("files")).unwrap().count();
    assert!(half >= 2, "{half}");

    fs::rename(&aside, &missing).unwrap();
    let report = world.job(&target).pass().await.unwrap();
    assert_eq!(report.copied.len() + half, nightlatch_sync::implied_files(&head).count());
    assert_holds(&target, &head);
}

#[tokio::test]
async fn a_head_that_has_run_out_is_copied_and_complained_about() {
    let world = World::new().await;
    let head = world.publish(1).await;
    let target = world.scratch("target");
    let late = SyncOptions { now: || u64::MAX / 2, ..options() };
    let mut job = SyncJob::new(world.source(), to_directory(&target), late);
    let error = job.pass().await.unwrap_err();
    assert!(matches!(error, SyncError::RanOut { .. }), "{error}");
    assert_eq!(error.exit_code(), 1);
    assert_holds(&target, &head);
    // Also where there is nothing left to copy.
    assert!(matches!(job.pass().await, Err(SyncError::RanOut { .. })));
}

#[tokio::test]
async fn nothing_published_yet_is_a_failure() {
    let world = World::new().await;
    let error = world.job(&world.scratch("target")).pass().await.unwrap_err();
    assert_eq!(error.exit_code(), 1, "{error}");
}
