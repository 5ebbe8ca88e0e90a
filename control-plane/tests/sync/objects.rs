//! To an S3-compatible store.

use nightlatch::publisher::SetDirectory;
use nightlatch::sync_job::{S3Options, SyncError, SyncJob, SyncOptions, Target};
use nightlatch_keyset::Head;
use nightlatch_sync::{Refusal, implied_files};
use nightlatch_tests::moto::{ACCESS_KEY, Moto};
use secrecy::SecretString;

use crate::origin::Origin;
use crate::world::{World, assert_holds, names_of, options};

const BUCKET: &str = "keys";

async fn store() -> Moto {
    let moto = Moto::start().await.unwrap();
    moto.create_bucket(BUCKET).await.unwrap();
    moto
}

fn to_store(moto: &Moto) -> Target {
    let (id, secret) = ACCESS_KEY;
    let s3 = S3Options {
        endpoint: Some(moto.url().to_owned()),
        access_key_id: Some(id.to_owned()),
        secret_access_key: Some(SecretString::from(secret)),
        ..S3Options::default()
    };
    Target::open("s3://keys/edge/live", &s3, true).unwrap()
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
    let error = Target::open("s3://keys/edge", &S3Options::default(), true).unwrap_err();
    assert!(error.to_string().contains("AWS_SECRET_ACCESS_KEY"));
    assert_eq!(error.exit_code(), 2);
}
