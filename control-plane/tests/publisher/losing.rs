//! A backup does not have the audit log's last entries. The recovery says so, and nobody else can.

use std::path::Path;

use nightlatch::publisher::{Publisher, PublisherConfig};
use nightlatch::recover::{Recovery, Report};
use nightlatch::sync_job::Source;
use nightlatch_audit::Fault;
use nightlatch_keyset::{Head, Trust};

use crate::log::{entries, export, proven, rewrite, verify};
use crate::on_both;
use crate::reader::load;
use crate::signers::{another, establish, root};
use crate::world::{Change, World, copy_files};

on_both! {
    /// Guarantees 7 and 9.
    entries_that_a_backup_does_not_have_are_lost_by_name
    a_backup_that_has_all_entries_loses_none
    a_recovery_that_nobody_signed_is_no_excuse
    /// Guarantee 7: one that somebody did sign, for what was signed since.
    a_recovery_is_no_excuse_for_what_was_signed_after_it
    /// Guarantee 7: a recovery from another copy than the own files.
    what_another_copy_lost_is_lost_here_too
    /// Guarantee 7: a recovery from a copy with fewer entries than the own files have.
    what_a_shorter_copy_alone_has_is_lost_by_name
    /// Guarantee 7: with a root here, and with none.
    a_list_of_keys_that_no_root_signed_is_no_excuse
    an_earlier_list_of_keys_that_no_root_signed_is_no_excuse
    a_list_of_keys_of_another_set_is_no_excuse
    without_a_root_here_a_list_of_keys_is_no_excuse_either
}

fn head(world: &World) -> Head {
    load(&world.directory).head
}

async fn recover(world: &World) -> Report {
    recover_from(world, world.directory.path(), world.config()).await
}

async fn recover_from(world: &World, place: &Path, config: PublisherConfig) -> Report {
    let place = place.display().to_string();
    let (store, workspace) = (&world.store, &world.workspace);
    let recovery = Recovery { store, workspace, config, progress: &|_, _, _| {} };
    recovery.run(Source::open(&place, None).unwrap(), false).await.unwrap()
}

async fn entries_that_a_backup_does_not_have_are_lost_by_name(mut world: World) {
    let publisher = world.publisher();
    let key = world.issue(&["a:read"]).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let early = head(&world);
    let kept = early.audit.unwrap().count;
    let backup = world.back_up().await;
    let publisher = world.publisher();
    for how in [Change::Disable, Change::Enable, Change::Revoke] {
        world.change(&key, how).await;
        publisher.flush().await.unwrap();
    }
    publisher.stop().await;
    let late = head(&world);
    assert_eq!(late.audit.unwrap().count, kept + 3);

    world.restore(backup).await;
    recover(&world).await;
    let publisher = world.publisher();
    for _ in 0..6 {
        world.issue(&[]).await;
    }
    publisher.flush().await.unwrap();
    assert!(publisher.status().borrow().audit_broken.is_none());
    publisher.stop().await;
    let now = head(&world);
    assert!(now.audit.unwrap().count > late.audit.unwrap().count);
    // What the backup had is proven, and what comes since; what lies between is missed by name.
    assert_eq!(proven(&world, &[early.clone(), now]).await.unwrap().earlier, 2);
    let lost = proven(&world, &[early, late.clone()]).await.unwrap_err();
    assert_eq!(lost.fault, Fault::Lost { from: kept + 1, to: kept + 3, incarnation: 1 });
    // The log says it, too.
    let lines = export(&world, 0, None).await.unwrap();
    let actions: Vec<_> = entries(&lines).into_iter().map(|entry| entry.action).collect();
    assert!(actions.contains(&"audit.entries_lost".to_owned()) && actions.contains(&"set.recovered".to_owned()));
    // Without the note, or with that of another loss, it is what it looks like.
    world.execute("DELETE FROM audit_gaps").await;
    assert!(matches!(proven(&world, &[late]).await.unwrap_err().fault, Fault::Checkpoint { .. }));
}

async fn a_backup_that_has_all_entries_loses_none(mut world: World) {
    let publisher = world.publisher();
    world.issue(&["a:read"]).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let backup = world.back_up().await;
    // Only heartbeats since.
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let late = head(&world);
    world.restore(backup).await;
    recover(&world).await;
    assert_eq!(world.count("SELECT COUNT(*) FROM audit_gaps").await, 0);
    assert_eq!(proven(&world, &[late, head(&world)]).await.unwrap().earlier, 2);
}

async fn a_recovery_that_nobody_signed_is_no_excuse(mut world: World) {
    let publisher = world.publisher();
    for _ in 0..3 {
        world.issue(&["a:read"]).await;
    }
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let kept = head(&world);
    world.limits.max_versions = 1_000;
    // History is rewritten, and the database made to look like one that was recovered.
    rewrite(&world, 2, "never.done").await;
    let forged = "INSERT INTO audit_gaps (set_id, incarnation, workspace_id, kept, note, created_at) \
                  SELECT id, 1, workspace_id, 1, 'nightlatch.audit/1', 0 FROM sets";
    world.execute(forged).await;
    let state = "UPDATE sets SET head = NULL, incarnation = 1, epoch = epoch + 1, version = version + 100";
    world.execute(state).await;
    let publisher = world.publisher();
    publisher.wait(|status| status.incarnation == 1 && status.issued.is_some()).await.unwrap();
    assert!(publisher.status().borrow().audit_broken.is_some());
    assert_eq!(head(&world).audit, kept.audit);
    publisher.stop().await;
    world.execute("DELETE FROM audit_gaps").await;
    let lines = export(&world, 0, None).await.unwrap();
    assert_eq!(verify(&lines, &[]).unwrap_err().fault, Fault::Root { confirmed: 0 });
}

async fn a_recovery_is_no_excuse_for_what_was_signed_after_it(mut world: World) {
    let publisher = world.publisher();
    let key = world.issue(&["a:read"]).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let backup = world.back_up().await;
    let publisher = world.publisher();
    for _ in 0..8 {
        world.change(&key, Change::Disable).await;
        world.change(&key, Change::Enable).await;
    }
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let lost = head(&world).audit.unwrap().count;
    world.restore(backup).await;
    recover(&world).await;
    let publisher = world.publisher();
    world.issue(&["a:read"]).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let kept = head(&world);
    let last = kept.audit.unwrap().count;
    assert!(kept.incarnation == 1 && last < lost, "{last} of {lost}");

    // The log is not yet as long as what was lost of it. Who can write to the database rewrites the last of them,
    // and takes away the head that vouches for it.
    rewrite(&world, last, "never.done").await;
    world.execute("UPDATE sets SET head = NULL").await;
    let publisher = world.publisher();
    publisher.wait(|status| status.issued.is_some() && status.version > kept.version).await.unwrap();
    let broken = publisher.status().borrow().audit_broken.clone();
    assert!(broken.as_ref().is_some_and(|broken| broken.contains("signed")), "{broken:?}");
    assert_eq!(head(&world).audit, kept.audit);
    publisher.stop().await;
}

async fn what_another_copy_lost_is_lost_here_too(mut world: World) {
    let publisher = world.publisher();
    let key = world.issue(&["a:read"]).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let backup = world.back_up().await;
    // The own files end with one state, and the copy that edges read with a later one; the backup has neither.
    let publisher = world.publisher();
    world.change(&key, Change::Disable).await;
    publisher.flush().await.unwrap();
    let own = world.copy_of_files();
    world.change(&key, Change::Enable).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let bucket = world.copy_of_files();
    let late = head(&world);
    std::fs::remove_dir_all(world.directory.path()).unwrap();
    copy_files(own.path(), world.directory.path());
    assert!(head(&world).audit.unwrap().count < late.audit.unwrap().count);
    world.restore(backup).await;

    recover_from(&world, bucket.path(), world.config()).await;
    let publisher = world.publisher();
    for _ in 0..6 {
        world.issue(&[]).await;
    }
    publisher.flush().await.unwrap();
    assert_eq!(publisher.status().borrow().audit_broken, None);
    publisher.stop().await;
    let now = head(&world);
    assert!(now.audit.unwrap().count > late.audit.unwrap().count);
    assert!(matches!(proven(&world, &[now, late]).await.unwrap_err().fault, Fault::Lost { .. }));
}

async fn what_a_shorter_copy_alone_has_is_lost_by_name(mut world: World) {
    let publisher = world.publisher();
    let key = world.issue(&["a:read"]).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let backup = world.back_up().await;
    let publisher = world.publisher();
    world.change(&key, Change::Disable).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let copy = head(&world);
    world.restore(backup).await;

    // On a machine without those files the database goes on, and has all entries that are published from there: more.
    let elsewhere = || PublisherConfig { holder: "instance-one".into(), ..world.other_config() };
    let publisher = Publisher::spawn(world.store.clone(), elsewhere());
    for _ in 0..6 {
        world.issue(&[]).await;
        publisher.flush().await.unwrap();
    }
    publisher.stop().await;
    let own = load(&world.other_directory()).head;
    let lost = copy.audit.unwrap().count;
    assert!(own.audit.unwrap().count > lost && own.version > copy.version);

    assert!(recover_from(&world, world.directory.path(), elsewhere()).await.forked);
    assert_eq!(world.count("SELECT COUNT(*) FROM audit_gaps").await, 1);
    assert_eq!(proven(&world, std::slice::from_ref(&own)).await.unwrap().earlier, 1);
    let broken = proven(&world, &[own, copy]).await.unwrap_err();
    assert_eq!(broken.fault, Fault::Lost { from: 1, to: lost, incarnation: 1 });
    let publisher = Publisher::spawn(world.store.clone(), elsewhere());
    world.issue(&[]).await;
    publisher.flush().await.unwrap();
    assert_eq!(publisher.status().borrow().audit_broken, None);
    publisher.stop().await;
}

async fn a_list_of_keys_that_no_root_signed_is_no_excuse(world: World) {
    let forged = Trust { version: 2, signers: vec![another(9).verifier()], ..first_list(&world) };
    no_excuse(world, &forged.sign(&root(77)), true).await;
}

/// It says that the key that has signed was listed once, and not that it is.
async fn an_earlier_list_of_keys_that_no_root_signed_is_no_excuse(world: World) {
    let forged = Trust { version: 0, ..first_list(&world) };
    no_excuse(world, &forged.sign(&root(77)), true).await;
}

/// Roots sign the lists of all sets.
async fn a_list_of_keys_of_another_set_is_no_excuse(world: World) {
    let signers = vec![another(9).verifier()];
    let other = Trust { set: "set_other".into(), version: 2, signers, ..first_list(&world) };
    no_excuse(world, &other.sign(&root(8)), true).await;
}

async fn without_a_root_here_a_list_of_keys_is_no_excuse_either(world: World) {
    let forged = Trust { version: 2, signers: vec![another(9).verifier()], ..first_list(&world) };
    no_excuse(world, &forged.sign(&root(77)), false).await;
}

/// What the first note says, or might.
fn first_list(world: &World) -> Trust {
    Trust {
        set: world.set.to_string(),
        version: 1,
        issued: 1,
        floor: [0; 3],
        roots: vec![root(8).verifier()],
        signers: World::verifiers().to_vec(),
    }
}

/// Who can write to the database and nothing else puts a note there by which the key that has signed does not count, and
/// takes the stored head away.
async fn no_excuse(mut world: World, forged: &str, root_here: bool) {
    establish(&world).await;
    let publisher = world.publisher();
    for _ in 0..3 {
        world.issue(&["a:read"]).await;
    }
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let kept = head(&world);
    assert_eq!(kept.trust, Some(1));
    world.limits.max_versions = 1_000;
    if !root_here {
        world.keys_held.lock().unwrap().roots.clear();
    }
    rewrite(&world, 2, "never.done").await;
    world
        .execute(&format!(
            "INSERT INTO trust_notes (set_id, version, note, created_at) SELECT id, 2, '{forged}', 0 FROM sets"
        ))
        .await;
    let state = "UPDATE sets SET head = NULL, incarnation = 1, epoch = epoch + 1, version = version + 100";
    world.execute(state).await;
    let publisher = world.publisher();
    let status = publisher.wait(|status| status.audit_broken.is_some() || status.heads > 0).await.unwrap();
    assert!(status.audit_broken.is_some(), "{status:?}");
    publisher.stop().await;
    let note = world.directory.head().unwrap().unwrap();
    assert_eq!(Head::open(&note, &World::verifiers()).unwrap().audit, kept.audit);
}
