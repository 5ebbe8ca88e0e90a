//! A rolling upgrade that leaves somebody behind: a newer program has taken away what an older one needs.

use std::time::Duration;

use nightlatch::publisher::{Publisher, Role};
use nightlatch::store::{Error, Store, replicas, schema};
use nightlatch_tests::schema::with_later;
use sqlx::migrate::Migrator;

use crate::on_both;
use crate::reader::{assert_equals, load};
use crate::world::World;

on_both! {
    /// Guarantee 9: an older program that was silent meanwhile neither signs nor writes.
    s3_10_a_program_that_the_database_has_left_behind_leads_no_more
}

const NARROWER: (&str, &str) = ("9002_contract_narrower.sql", "DROP TABLE of_later;");

async fn s3_10_a_program_that_the_database_has_left_behind_leads_no_more(mut world: World) {
    world.limits.lease = Duration::from_secs(2);
    let (name, known) = (world.config().holder, world.store.schema());
    let announced =
        world.store.write::<_, Error, _>(move |tx| Box::pin(async move { replicas::announce(tx, &name, known).await }));
    announced.await.unwrap();
    let older = world.publisher();
    world.issue(&["a:read"]).await;
    older.flush().await.unwrap();

    // A newer program widens the schema and stands by.
    let kind = if world.url.starts_with("sqlite:") { "sqlite" } else { "postgres" };
    let directory = with_later(kind, &[("9001_wider.sql", "CREATE TABLE of_later (id BIGINT);"), NARROWER]);
    let migrations = Migrator::new(directory.path()).await.unwrap();
    let store = Store::connect_with(&world.url, &migrations).await.unwrap();
    let newer = Publisher::spawn(store.clone(), world.other_config());
    newer.wait(|status| status.role == Role::Standby).await.unwrap();
    world.issue(&["b:read"]).await;
    older.flush().await.unwrap();
    assert!(!schema::narrow(&world.url, &migrations, false).await.unwrap().done, "the older one runs");

    // The older one was not heard of for as long as that it counts as gone, and is there all the same.
    world.execute("UPDATE replicas SET seen_at = 0").await;
    assert!(schema::narrow(&world.url, &migrations, false).await.unwrap().done);
    let status = older.wait(|status| status.refused).await.unwrap();
    assert_eq!(status.role, Role::Standby);
    assert!(status.error.unwrap().contains("nightlatch schema status"));
    let last = world.directory.head().unwrap();
    let refused = world.store.write::<_, Error, _>(|_| Box::pin(async { Ok(()) })).await.unwrap_err();
    assert!(matches!(refused, Error::SchemaTooNew { floor: 9002, .. }), "{refused}");
    let keys = world.keys().await;
    assert_eq!(keys.len(), 2, "it reads on");

    newer.wait(|status| status.role == Role::Leading(2)).await.unwrap();
    world.store = store;
    world.issue(&["c:read"]).await;
    newer.flush().await.unwrap();
    assert_equals(&load(&world.other_directory()).replica, &world.pepper("p1"), &world.keys().await);
    assert_eq!(world.directory.head().unwrap(), last);
    assert_eq!(older.status().borrow().role, Role::Standby);
    older.stop().await;
    newer.stop().await;
}
