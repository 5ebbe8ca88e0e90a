//! A database restored from a backup, on both: nothing is signed from it until it has taken over what was published.

use nightlatch::domain::Refusal;
use nightlatch::publisher::{CutReason, Publisher, PublisherConfig, Step};
use nightlatch::recover::{Error, Recovery, Report, Why};
use nightlatch::sync_job::Source;
use nightlatch_key::Digest;
use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Deny, Status};

use nightlatch_tests::follower::Follower;
use nightlatch_tests::static_files::StaticFiles;

use crate::on_both;
use crate::world::{Change, World};

on_both! {
    /// Guarantees 6 and 9. SECURITY.md: the database restored from a backup.
    a_restored_database_takes_over_what_was_published
    a_recovery_that_is_cut_short_is_finished_by_the_next_start
    nothing_is_recovered_beside_a_leader_or_without_need
    /// SECURITY.md: the machine is lost, and what edges read is left.
    the_notes_beside_what_edges_read_are_taken_over_too
    /// Guarantees 6 and 9: numbers do not tell whose history it is.
    what_was_published_is_taken_over_by_a_database_that_has_gone_on_without_it
    /// Guarantees 6 and 9: a key that was ended and lost with the database stays ended.
    what_was_ended_and_lost_is_not_taken_in_again
    secrets_that_are_lost_are_named_before_anything_is_changed
    /// Guarantee 6: what was revoked since an old copy was made does not work again.
    a_copy_that_is_older_than_the_own_files_is_refused
}

async fn recover(world: &World, config: PublisherConfig, dry_run: bool) -> Result<Report, Error> {
    recover_from(world, &world.directory.path().display().to_string(), config, dry_run).await
}

async fn recover_from(world: &World, place: &str, config: PublisherConfig, dry_run: bool) -> Result<Report, Error> {
    let recovery = Recovery { store: &world.store, workspace: &world.workspace, config, progress: &|_, _, _| {} };
    recovery.run(Source::open(place, None).unwrap(), dry_run).await
}

fn follower(world: &World) -> Follower {
    let verifiers: Vec<Verifier> = World::verifiers().to_vec();
    Follower::new(world.set.as_str(), Vec::new(), verifiers, vec![world.pepper("p1")])
}

async fn a_restored_database_takes_over_what_was_published(mut world: World) {
    let publisher = world.publisher();
    let [kept, revoked, disabled] = [world.issue(&["a:read"]).await, world.issue(&[]).await, world.issue(&[]).await];
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let backup = world.back_up().await;

    // Life goes on after the backup, over several epochs, and an edge follows.
    let publisher = world.publisher();
    let mut edge = follower(&world);
    let lost = world.issue(&[]).await;
    world.change(&revoked, Change::Revoke).await;
    world.change(&disabled, Change::Disable).await;
    for _ in 0..6 {
        world.change(&kept, Change::Disable).await;
        publisher.flush().await.unwrap();
        world.change(&kept, Change::Enable).await;
        publisher.flush().await.unwrap();
        edge.poll(world.directory.path()).unwrap();
    }
    publisher.stop().await;
    let published = world.directory.head().unwrap();

    // The restored database does not know of it, and nothing is signed.
    world.restore(backup).await;
    let publisher = world.publisher();
    let status = publisher.wait(|status| status.refused).await.unwrap();
    assert!(status.error.unwrap().contains("nightlatch recover"));
    publisher.stop().await;
    assert_eq!(world.directory.head().unwrap(), published);

    let planned = recover(&world, world.config(), true).await.unwrap();
    assert!(planned.ahead && planned.now.is_none());
    let found: Vec<_> = planned.findings.revoked.iter().map(|found| (found.key.clone(), found.why)).collect();
    assert_eq!(found, [(revoked.id.to_string(), Why::Revoked)]);
    assert_eq!(planned.findings.disabled, [disabled.id.to_string()]);
    assert_eq!(planned.findings.unknown.len(), 1);
    assert_eq!(world.directory.head().unwrap(), published);
    assert!(world.keys().await.iter().all(|key| key.edge_image().status == Status::Active));

    let done = recover(&world, world.config(), false).await.unwrap();
    let (before, now) = (done.published, done.now.unwrap());
    assert_eq!(now.incarnation, before.incarnation + 1);
    assert!(now.epoch > before.epoch && now.version > before.version);
    // What was published as final is final; who was issued since is gone.
    edge.poll(world.directory.path()).unwrap();
    assert_eq!(edge.edge.mark().unwrap().state(), (now.incarnation, now.epoch, now.version));
    assert_eq!(edge.status(&kept.digest), Some(Status::Active));
    assert_eq!(edge.status(&revoked.digest), Some(Status::Revoked));
    assert_eq!(edge.status(&disabled.digest), Some(Status::Disabled));
    assert_eq!(edge.status(&lost.digest), None);
    let audited = "SELECT COUNT(*) FROM audit WHERE request_id = 'recover' AND actor_type = 'system'";
    // Revoked, disabled, recovered; and what of the log is lost.
    assert_eq!(world.count(audited).await, 4);

    // And the set goes on from there.
    let publisher = world.publisher();
    let fresh = world.issue(&["b:read"]).await;
    assert!(fresh.number > lost.number, "a lost key's number is not given again");
    world.change(&kept, Change::Revoke).await;
    publisher.flush().await.unwrap();
    edge.poll(world.directory.path()).unwrap();
    assert_eq!(edge.status(&fresh.digest), Some(Status::Active));
    assert_eq!(edge.status(&kept.digest), Some(Status::Revoked));
    assert_eq!(edge.status(&revoked.digest), Some(Status::Revoked));
    publisher.stop().await;
    let mut cold = follower(&world);
    cold.poll(world.directory.path()).unwrap();
    assert_eq!(cold.status(&revoked.digest), Some(Status::Revoked));
    // A second recovery finds nothing to do.
    assert!(!recover(&world, world.config(), false).await.unwrap().ahead);
}

async fn a_recovery_that_is_cut_short_is_finished_by_the_next_start(mut world: World) {
    for step in [Step::BaseBuilt, Step::CutConcluded, Step::IndexWritten] {
        let publisher = world.publisher();
        let key = world.issue(&[]).await;
        publisher.flush().await.unwrap();
        publisher.stop().await;
        let backup = world.back_up().await;
        let publisher = world.publisher();
        world.change(&key, Change::Revoke).await;
        publisher.flush().await.unwrap();
        publisher.stop().await;
        world.restore(backup).await;

        let probe: nightlatch::publisher::Probe = std::sync::Arc::new(move |at| at != step);
        let cut = recover(&world, PublisherConfig { probe: Some(probe), ..world.config() }, false).await;
        assert!(cut.is_err(), "{step:?}");
        let publisher = world.publisher();
        publisher.flush().await.unwrap();
        let mut edge = follower(&world);
        edge.poll(world.directory.path()).unwrap();
        assert_eq!(edge.status(&key.digest), Some(Status::Revoked), "{step:?}");
        publisher.stop().await;
    }
}

async fn nothing_is_recovered_beside_a_leader_or_without_need(world: World) {
    let publisher = Publisher::spawn(world.store.clone(), world.other_config());
    world.issue(&[]).await;
    publisher.flush().await.unwrap();
    assert!(matches!(recover(&world, world.config(), false).await, Err(Error::Led)));
    publisher.stop().await;
    assert!(matches!(recover(&world, world.config(), false).await, Err(Error::Source(_))));
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let head = world.directory.head().unwrap();
    let report = recover(&world, world.config(), false).await.unwrap();
    assert!(!report.ahead && report.now.is_none());
    assert_eq!(world.directory.head().unwrap(), head);
}

async fn the_notes_beside_what_edges_read_are_taken_over_too(mut world: World) {
    crate::signers::establish(&world).await;
    let publisher = world.publisher();
    let [kept, denied, denied_here] = [world.issue(&[]).await, world.issue(&[]).await, world.issue(&[]).await];
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let backup = world.back_up().await;

    // After the backup a stolen key is left out, and a key is denied in the bucket alone, another on this machine alone.
    let publisher = world.publisher();
    let signer = crate::signers::another(9);
    crate::signers::rotate(&world, &signer, true).await;
    publisher.wait(|status| status.last_cut_reason == Some(CutReason::Signer)).await.unwrap();
    publisher.stop().await;
    let bucket = world.temp.path().join("bucket");
    std::fs::create_dir_all(bucket.join("set")).unwrap();
    std::fs::rename(world.directory.path(), bucket.join("set/a")).unwrap();
    let note = |number, digest| {
        Deny { set: world.set.to_string(), number, issued: 1, digests: vec![digest] }.sign(&crate::signers::root(8))
    };
    std::fs::write(bucket.join("set/a/deny"), note(1, denied.digest)).unwrap();
    world.directory.create().unwrap();
    world.directory.put_note("deny", &note(2, denied_here.digest)).unwrap();
    world.restore(backup).await;

    let web = StaticFiles::serve(bucket).await.unwrap();
    let place = format!("{}/set/a", web.url());
    let done = recover_from(&world, &place, world.config(), false).await.unwrap();
    let mut found: Vec<_> = done.findings.revoked.iter().map(|found| (found.key.clone(), found.why)).collect();
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut wanted = [(denied.id.to_string(), Why::Denied), (denied_here.id.to_string(), Why::Denied)];
    wanted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found, wanted);
    let mut edge = crate::signers::follower(&world);
    edge.poll(world.directory.path()).unwrap();
    assert_eq!(edge.edge.trust().unwrap().signers, [signer.verifier()]);
    assert_eq!(edge.status(&denied.digest), Some(Status::Revoked));
    assert_eq!(edge.status(&denied_here.digest), Some(Status::Revoked));
    assert_eq!(edge.status(&kept.digest), Some(Status::Active));
}

async fn what_was_published_is_taken_over_by_a_database_that_has_gone_on_without_it(mut world: World) {
    let publisher = world.publisher();
    let [kept, revoked] = [world.issue(&[]).await, world.issue(&[]).await];
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let backup = world.back_up().await;

    let publisher = world.publisher();
    let mut edge = follower(&world);
    let lost = world.issue(&[]).await;
    world.change(&revoked, Change::Revoke).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    edge.poll(world.directory.path()).unwrap();
    let published = world.directory.path().display().to_string();

    // Restored on a machine without the published files, it publishes at once, and passes what was published.
    world.restore(backup).await;
    let elsewhere = || PublisherConfig { holder: "instance-one".into(), ..world.other_config() };
    let publisher = Publisher::spawn(world.store.clone(), elsewhere());
    let anew = world.issue(&[]).await;
    assert_eq!(anew.number, lost.number, "the number of a key that the database does not know");
    for _ in 0..3 {
        world.change(&kept, Change::Disable).await;
        publisher.flush().await.unwrap();
        world.change(&kept, Change::Enable).await;
        publisher.flush().await.unwrap();
    }
    publisher.stop().await;

    let done = recover_from(&world, &published, elsewhere(), false).await.unwrap();
    assert!(done.database.version > done.published.version);
    assert!(done.ahead && done.forked);
    let found: Vec<_> = done.findings.revoked.iter().map(|found| (found.key.clone(), found.why)).collect();
    assert_eq!(found, [(revoked.id.to_string(), Why::Revoked)]);
    // An edge that has followed what was published goes on with the database's.
    edge.poll(world.other_directory().path()).unwrap();
    assert_eq!(edge.edge.mark().unwrap().incarnation, done.published.incarnation + 1);
    assert_eq!(edge.status(&revoked.digest), Some(Status::Revoked));
    assert_eq!(edge.status(&anew.digest), Some(Status::Active));
    assert_eq!(edge.status(&kept.digest), Some(Status::Active));
    assert_eq!(edge.status(&lost.digest), None);
    // It is done once, from whatever copy.
    assert!(!recover_from(&world, &published, elsewhere(), false).await.unwrap().ahead);
    let here = world.other_directory().path().display().to_string();
    let again = recover_from(&world, &here, elsewhere(), false).await.unwrap();
    assert!(!again.ahead && !again.forked);
}

async fn what_was_ended_and_lost_is_not_taken_in_again(mut world: World) {
    let publisher = world.publisher();
    world.issue(&[]).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let backup = world.back_up().await;

    // Imported after the backup: one stays usable, one is revoked, one has an end that has passed when it is looked at.
    let publisher = world.publisher();
    world.import(1, 3).await;
    let imported = world.keys().await;
    let with = |text: &str| imported.iter().find(|key| key.digest == Digest::of(text.as_bytes())).unwrap().clone();
    world.change(&with("import-2"), Change::Revoke).await;
    world.change(&with("import-3"), Change::Expiry(4_000_000_000)).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    world.restore(backup).await;
    let denied = Deny { set: world.set.to_string(), number: 1, issued: 1, digests: vec![Digest::of(b"import-4")] };
    world.directory.put_note("deny", &denied.sign(&World::signer())).unwrap();

    let done = recover(&world, world.config(), false).await.unwrap();
    assert_eq!((done.findings.unknown.len(), done.findings.unknown_ended), (3, 2));
    world.execute("UPDATE ended_tags SET ends_at = 1 WHERE ends_at > 0").await;
    let again = world.try_import(1, 4).await;
    let refused = |line| (line, Refusal::KeyRevoked);
    assert_eq!((again.created, again.errors), (1, vec![refused(2), refused(3), refused(4)]));
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let mut edge = follower(&world);
    edge.poll(world.directory.path()).unwrap();
    assert_eq!(edge.status(&Digest::of(b"import-1")), Some(Status::Active));
    assert_eq!(edge.status(&Digest::of(b"import-2")), None);
}

async fn a_copy_that_is_older_than_the_own_files_is_refused(mut world: World) {
    let publisher = world.publisher();
    let key = world.issue(&[]).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let backup = world.back_up().await;

    // What edges read is a copy that is made now and then; the key is revoked after the last.
    let publisher = world.publisher();
    world.issue(&[]).await;
    publisher.flush().await.unwrap();
    let copy = world.copy_of_files();
    world.change(&key, Change::Revoke).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    world.restore(backup).await;

    let place = copy.path().display().to_string();
    let published = world.directory.head().unwrap();
    for dry_run in [true, false] {
        let refused = recover_from(&world, &place, world.config(), dry_run).await.unwrap_err();
        assert!(matches!(refused, Error::Older(_)) && refused.to_string().contains("without --from"), "{refused}");
    }
    assert_eq!(world.directory.head().unwrap(), published);
    assert_eq!(world.count("SELECT COUNT(*) FROM sets WHERE incarnation = 0").await, 1);
    let done = recover(&world, world.config(), false).await.unwrap();
    assert_eq!(done.findings.revoked.len(), 1);
    // Now the own files are the database's, and an old copy is in nobody's way.
    assert!(!recover_from(&world, &place, world.config(), false).await.unwrap().ahead);
}

async fn secrets_that_are_lost_are_named_before_anything_is_changed(mut world: World) {
    crate::signers::establish(&world).await;
    let publisher = world.publisher();
    let key = world.issue(&[]).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let backup = world.back_up().await;
    let publisher = world.publisher();
    world.change(&key, Change::Revoke).await;
    let signer = crate::signers::another(9);
    crate::signers::rotate(&world, &signer, true).await;
    publisher.wait(|status| status.last_cut_reason == Some(CutReason::Signer)).await.unwrap();
    publisher.stop().await;
    world.restore(backup).await;

    let mut lacking = world.config();
    lacking.keys.peppers.retain(|pepper| pepper.id() != "p1");
    let refused = recover(&world, lacking, false).await.unwrap_err();
    assert!(matches!(refused, Error::Pepper(_)) && refused.to_string().contains("secrets/pepper-p1"), "{refused}");
    for dry_run in [true, false] {
        let mut lacking = world.config();
        lacking.keys.signers.truncate(1);
        let refused = recover(&world, lacking, dry_run).await.unwrap_err();
        assert!(matches!(refused, Error::Signer(_)), "{refused}");
        assert!(refused.to_string().contains(&signer.verifier().to_vkey()), "{refused}");
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM keys WHERE state = 'revoked'").await, 0);
    assert!(recover(&world, world.config(), false).await.unwrap().now.is_some());
}
