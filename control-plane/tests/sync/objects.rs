//! To an S3-compatible store.

use anyhow::{Context as _, ensure};
use nightlatch::publisher::SetDirectory;
use nightlatch::store::os_random;
use nightlatch::sync_job::{Report, S3Options, SyncError, SyncJob, SyncOptions, Target, TargetOptions};
use nightlatch_keyset::Head;
use nightlatch_sync::{Mark, Refusal, implied_files};
use nightlatch_tests::moto::{ACCESS_KEY, Moto};
use nightlatch_tests::wait::eventually;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::origin::Origin;
use crate::world::{SOON, World, assert_holds, names_of, options};

const BUCKET: &str = "keys";

async fn store() -> Moto {
    let moto = Moto::start().await.unwrap();
    moto.create_bucket(BUCKET).await.unwrap();
    moto
}

fn to_store(moto: &Moto) -> Target {
    to_store_of(moto, false)
}

/// As a store, too, that does not know `If-Match`.
fn to_store_of(moto: &Moto, unconditional: bool) -> Target {
    let (id, secret) = ACCESS_KEY;
    let s3 = S3Options {
        endpoint: Some(moto.url().to_owned()),
        access_key_id: Some(id.to_owned()),
        secret_access_key: Some(SecretString::from(secret)),
        unconditional,
        ..S3Options::default()
    };
    Target::open("s3://keys/edge/live", &TargetOptions { s3, ..TargetOptions::default() }, true).unwrap()
}

/// Fetches everything into a directory and reads it as an edge would.
async fn assert_store_holds(world: &World, moto: &Moto, head: &Head) {
    let directory = SetDirectory::new(tempfile::tempdir_in(world.temp.path()).unwrap().keep());
    directory.create().unwrap();
    for name in implied_files(head) {
        let bytes = moto.get(BUCKET, &format!("edge/live/files/{name}")).await.unwrap().expect("the file is there");
        directory.put(&name, &bytes).unwrap();
    }
    let note = moto.get(BUCKET, "edge/live/head").await.unwrap().expect("the head is there");
    directory.put_head(std::str::from_utf8(&note).unwrap()).unwrap();
    assert_holds(directory.path(), head);
}

#[tokio::test]
async fn a_set_is_copied_to_a_store_and_kept_up() {
    let world = World::new().await;
    let moto = store().await;
    let head = world.publish(2).await;
    let mut job = SyncJob::new(world.source(), to_store(&moto), options());
    assert_eq!(job.pass().await.unwrap().copied.len(), implied_files(&head).count());
    assert_store_holds(&world, &moto, &head).await;
    let mut expected: Vec<_> = names_of(&head).iter().map(|name| format!("edge/live/files/{name}")).collect();
    expected.push("edge/live/head".into());
    assert_eq!(moto.keys(BUCKET).await.unwrap(), expected);
    assert!(job.pass().await.unwrap().is_empty());
    for _ in 0..3 {
        let head = world.publish(2).await;
        job.pass().await.unwrap();
        assert_store_holds(&world, &moto, &head).await;
    }

    // Older epochs go, once they are long enough unneeded; listed times have whole seconds here.
    let now = SyncOptions { grace: Some(std::time::Duration::ZERO), ..options() };
    let mut job = SyncJob::new(world.source(), to_store(&moto), now);
    let oldest = "edge/live/files/base-0-1";
    while moto.get(BUCKET, oldest).await.unwrap().is_some() {
        world.publish(0).await;
        job.pass().await.unwrap();
    }
    let head = world.head();
    assert_store_holds(&world, &moto, &head).await;
    assert!(moto.keys(BUCKET).await.unwrap().iter().all(|key| !key.contains("delta-0-1-")));
}

#[tokio::test]
async fn a_store_is_not_taken_back_nor_by_two_writers() {
    let world = World::new().await;
    let moto = store().await;
    world.publish(1).await;
    let old = moto_backup(&world).await;
    let head = world.publish(1).await;
    let mut first = SyncJob::new(world.source(), to_store(&moto), options());
    first.pass().await.unwrap();
    let error = SyncJob::new(old, to_store(&moto), options()).pass().await.unwrap_err();
    assert!(matches!(error, SyncError::Refused { refusal: Refusal::Rollback, .. }), "{error}");

    // Another job replaces the head behind the first one's back: the first notices, looks again, and goes on.
    world.publish(1).await;
    SyncJob::new(world.source(), to_store(&moto), options()).pass().await.unwrap();
    let head = world.publish(1).await.max_by_issued(head);
    let error = first.pass().await.unwrap_err();
    assert!(matches!(error, SyncError::Raced), "{error}");
    first.pass().await.unwrap();
    assert_store_holds(&world, &moto, &head).await;
}

/// Keeps what is published now, as a source.
async fn moto_backup(world: &World) -> nightlatch::sync_job::Source {
    let backup = SetDirectory::new(world.scratch("backup"));
    backup.create().unwrap();
    for name in world.directory.list().unwrap() {
        backup.put(&name, &world.directory.file(&name, 1 << 20).unwrap().unwrap()).unwrap();
    }
    backup.put_head(&world.directory.head().unwrap().unwrap()).unwrap();
    nightlatch::sync_job::Source::open(backup.path().to_str().unwrap(), None).unwrap()
}

trait Later {
    fn max_by_issued(self, other: Self) -> Self;
}

impl Later for Head {
    fn max_by_issued(self, other: Self) -> Self {
        if self.issued >= other.issued { self } else { other }
    }
}

/// Two jobs for one target, as after a failover that was none. The target's head never goes back, and both go on.
#[tokio::test]
async fn two_jobs_that_race_never_take_a_store_back() {
    let world = World::new().await;
    let moto = store().await;
    world.publish(1).await;
    let stop = CancellationToken::new();
    let follow = || {
        let (mut job, stop) = (SyncJob::new(world.source(), to_store(&moto), options()), stop.clone());
        tokio::spawn(async move {
            let mut done = |outcome: Result<&Report, &SyncError>| match outcome {
                Ok(_) | Err(SyncError::Raced) => {}
                Err(error) => panic!("{error}"),
            };
            job.run(&stop, &mut os_random, &mut done).await;
        })
    };
    let jobs = [follow(), follow()];
    let mut seen: Option<Head> = None;
    for _ in 0..10 {
        let head = world.publish(1).await;
        eventually("the head arrives", SOON, async || {
            let note = moto.get(BUCKET, "edge/live/head").await?.context("there is a head")?;
            let there = Head::open(std::str::from_utf8(&note)?, &[World::verifier()])?;
            assert!(seen.as_ref().is_none_or(|seen| Mark::of(&there) >= Mark::of(seen)), "{seen:?} {there:?}");
            let arrived = there.issued >= head.issued;
            seen = Some(there);
            ensure!(arrived);
            Ok(())
        })
        .await
        .unwrap();
    }
    stop.cancel();
    for job in jobs {
        job.await.unwrap();
    }
    assert_store_holds(&world, &moto, &world.head()).await;
}

/// Where the store cannot compare, whoever writes looks first.
#[tokio::test]
async fn a_store_without_conditional_writes_is_looked_at_first() {
    let world = World::new().await;
    let moto = store().await;
    let plain = || to_store_of(&moto, true);
    // One job goes by a mirror that lags.
    world.publish(1).await;
    let mirror = SetDirectory::new(world.scratch("mirror"));
    let update = || {
        mirror.create().unwrap();
        for name in world.directory.list().unwrap() {
            mirror.put(&name, &world.directory.file(&name, 1 << 20).unwrap().unwrap()).unwrap();
        }
        mirror.put_head(&world.directory.head().unwrap().unwrap()).unwrap();
    };
    update();
    let source = || nightlatch::sync_job::Source::open(mirror.path().to_str().unwrap(), None).unwrap();
    let mut behind = SyncJob::new(source(), plain(), options());
    behind.pass().await.unwrap();
    world.publish(1).await;
    update();
    let head = world.publish(1).await;
    SyncJob::new(world.source(), plain(), options()).pass().await.unwrap();
    assert_store_holds(&world, &moto, &head).await;
    // It believes that the target is where it left it, and has news for that.
    let error = behind.pass().await.unwrap_err();
    assert!(matches!(error, SyncError::Raced), "{error}");
    let error = behind.pass().await.unwrap_err();
    assert!(matches!(error, SyncError::Refused { refusal: Refusal::Rollback, .. }), "{error}");
    assert_store_holds(&world, &moto, &head).await;
    // Once the mirror has caught up, both may write.
    let head = world.publish(1).await;
    update();
    assert!(behind.pass().await.unwrap().head);
    assert_store_holds(&world, &moto, &head).await;
}

#[tokio::test]
async fn trust_and_deny_go_to_a_store_too() {
    let world = World::new().await;
    let moto = store().await;
    let head = world.publish(1).await;
    let note = crate::notes::deny(&head.set, 2);
    world.directory.put_note("deny", &note).unwrap();
    let there = async || moto.get(BUCKET, "edge/live/deny").await.unwrap();
    for target in [to_store(&moto), to_store_of(&moto, true)] {
        let mut job = SyncJob::new(world.source(), target, options());
        job.pass().await.unwrap();
        assert_eq!(there().await.as_deref(), Some(note.as_bytes()));
        // An earlier one does not take its place.
        world.directory.put_note("deny", &crate::notes::deny(&head.set, 1)).unwrap();
        drop(job.pass().await);
        let mut another = SyncJob::new(world.source(), to_store(&moto), options());
        assert!(another.pass().await.unwrap().notes.is_empty());
        assert_eq!(there().await.as_deref(), Some(note.as_bytes()));
        moto.put(BUCKET, "edge/live/deny", b"junk".to_vec()).await.unwrap();
        world.directory.put_note("deny", &note).unwrap();
    }
}

#[tokio::test]
async fn killed_while_copying_to_a_store_it_goes_on_where_it_was() {
    let world = World::new().await;
    let moto = store().await;
    let head = world.publish(3).await;
    let all = implied_files(&head).count();
    for have in 1..all {
        let origin = Origin::serve(world.path().to_owned(), 1).await;
        let mut job = SyncJob::new(origin.source(), to_store(&moto), options());
        let pass = tokio::spawn(async move { job.pass().await });
        while moto.keys(BUCKET).await.unwrap().len() < have {}
        pass.abort();
        drop(pass.await);
        assert_eq!(moto.get(BUCKET, "edge/live/head").await.unwrap(), None);
    }
    let origin = Origin::serve(world.path().to_owned(), all).await;
    let report = SyncJob::new(origin.source(), to_store(&moto), options()).pass().await.unwrap();
    assert_eq!(report.copied.len(), 1);
    assert_store_holds(&world, &moto, &head).await;
}

#[tokio::test]
async fn a_wrong_object_in_the_way_is_replaced() {
    let world = World::new().await;
    let moto = store().await;
    let head = world.publish(1).await;
    moto.put(BUCKET, &format!("edge/live/files/{}", head.base_name()), b"junk".to_vec()).await.unwrap();
    moto.put(BUCKET, "edge/live/head", b"junk".to_vec()).await.unwrap();
    moto.put(BUCKET, "edge/live/files/README", b"mine".to_vec()).await.unwrap();
    SyncJob::new(world.source(), to_store(&moto), options()).pass().await.unwrap();
    assert_store_holds(&world, &moto, &head).await;
    assert!(moto.get(BUCKET, "edge/live/files/README").await.unwrap().is_some());
}

#[tokio::test]
async fn a_store_that_cannot_be_used_says_so() {
    let world = World::new().await;
    world.publish(0).await;
    let moto = Moto::start().await.unwrap();
    // No bucket.
    let error = SyncJob::new(world.source(), to_store(&moto), options()).pass().await.unwrap_err();
    assert_eq!(error.exit_code(), 1, "{error}");
    // No credentials.
    let error = Target::open("s3://keys/edge", &TargetOptions::default(), true).unwrap_err();
    assert!(error.to_string().contains("AWS_SECRET_ACCESS_KEY"));
    assert_eq!(error.exit_code(), 2);
}
