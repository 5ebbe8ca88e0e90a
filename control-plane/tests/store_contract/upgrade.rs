//! The schema while control planes are upgraded one after the other (issue "rolling upgrade"): a newer program widens it
//! beside an older one, and nobody narrows it while somebody runs who would break.

use nightlatch::store::replicas::{self, ALIVE_MS};
use nightlatch::store::schema::{self, Narrowing};
use nightlatch::store::{Error, Store};
use nightlatch_tests::schema::with_later;
use sqlx::migrate::Migrator;
use tempfile::TempDir;

use crate::arena::{Arena, on_both, request};

on_both! {
    an_older_program_goes_on_and_starts_beside_a_newer_schema,
    nobody_is_cut_off_from_the_schema_that_it_needs,
    one_that_was_silent_while_the_schema_was_narrowed_finds_out,
    of_those_that_start_at_once_one_widens,
}

const WIDER: &str = "9001_wider.sql";
const NARROWER: &str = "9002_contract_narrower.sql";

/// The migrations of a later version: one that adds, and one that takes something away.
async fn later(arena: &Arena) -> (Migrator, TempDir) {
    let kind = if arena.url.starts_with("sqlite:") { "sqlite" } else { "postgres" };
    let wider = "ALTER TABLE keys ADD COLUMN of_later BIGINT NOT NULL DEFAULT 7; CREATE TABLE of_later (id BIGINT);";
    let directory = with_later(kind, &[(WIDER, wider), (NARROWER, "ALTER TABLE keys DROP COLUMN of_later;")]);
    (Migrator::new(directory.path()).await.unwrap(), directory)
}

async fn announce(store: &Store, id: &'static str) -> Result<(), Error> {
    let known = store.schema();
    store.write(move |tx| Box::pin(async move { replicas::announce(tx, id, known).await })).await
}

async fn narrow(arena: &Arena, migrations: &Migrator, dry_run: bool) -> Narrowing {
    schema::narrow(&arena.url, migrations, dry_run).await.unwrap()
}

const COLUMN: &str = "SELECT COUNT(*) FROM keys WHERE of_later = 7";

async fn an_older_program_goes_on_and_starts_beside_a_newer_schema(arena: Arena) {
    let (migrations, _directory) = later(&arena).await;
    // The older one serves mutations before, while and after the newer one widens the schema.
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writing = async {
        let mut written = 0;
        while !*stopped.borrow() || written < 40 {
            arena.issue(request("by the older")).await.unwrap();
            written += 1;
        }
        written
    };
    let upgrading = async {
        let newer = Store::connect_with(&arena.url, &migrations).await.unwrap();
        let count = arena.number(COLUMN).await;
        stop.send(true).unwrap();
        (newer, count)
    };
    let (written, (newer, _)) = tokio::join!(writing, upgrading);
    assert!(newer.schema() > arena.store.schema());
    let context = arena.context.clone();
    let key = request("by the newer");
    newer
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                nightlatch::store::keys::issue(tx, &context, key, &mut nightlatch::store::os_random).await.map(drop)
            })
        })
        .await
        .unwrap();
    assert_eq!(arena.number(COLUMN).await, written + 1, "what takes something away waits");
    // And an older one may be started again.
    let again = Store::connect(&arena.url).await.unwrap();
    announce(&again, "cp_older").await.unwrap();
    arena.issue(request("by the older")).await.unwrap();
    again.close().await;
}

async fn nobody_is_cut_off_from_the_schema_that_it_needs(arena: Arena) {
    let (migrations, _directory) = later(&arena).await;
    announce(&arena.store, "cp_older").await.unwrap();
    let newer = Store::connect_with(&arena.url, &migrations).await.unwrap();
    announce(&newer, "cp_newer").await.unwrap();
    let pending = vec![(9002, "contract narrower".to_owned())];
    for dry_run in [true, false] {
        let found = narrow(&arena, &migrations, dry_run).await;
        assert_eq!((found.pending.clone(), found.done), (pending.clone(), false));
        let names: Vec<_> = found.in_the_way.iter().map(|one| (one.id.as_str(), one.schema)).collect();
        assert_eq!(names, [("cp_older", arena.store.schema())]);
        arena.issue(request("by the older")).await.unwrap();
    }
    // It ends; a dry run still changes nothing.
    arena.store.write::<_, Error, _>(|tx| Box::pin(replicas::ends(tx, "cp_older"))).await.unwrap();
    let found = narrow(&arena, &migrations, true).await;
    assert_eq!((found.pending, found.in_the_way, found.done), (pending, vec![], false));
    assert_eq!(arena.number(COLUMN).await, 2);
    assert!(narrow(&arena, &migrations, false).await.done);
    let found = narrow(&arena, &migrations, false).await;
    assert_eq!((found.pending, found.done), (vec![], false), "once");
    assert_eq!(schema::floor(&mut newer.read().await.unwrap()).await.unwrap(), 9002);
    // The older one is told by name what to do, whether it starts or has just started.
    let refused = Store::connect(&arena.url).await.unwrap_err();
    assert!(matches!(refused, Error::SchemaTooNew { floor: 9002, .. }), "{refused}");
    assert!(refused.to_string().contains("nightlatch schema status"), "{refused}");
    assert!(matches!(announce(&arena.store, "cp_older").await, Err(Error::SchemaTooNew { .. })));
    Store::connect_with(&arena.url, &migrations).await.unwrap().close().await;
    newer.close().await;
}

async fn one_that_was_silent_while_the_schema_was_narrowed_finds_out(arena: Arena) {
    let (migrations, _directory) = later(&arena).await;
    announce(&arena.store, "cp_older").await.unwrap();
    Store::connect_with(&arena.url, &migrations).await.unwrap().close().await;
    // As long ago as that a killed one was last seen.
    arena.execute(format!("UPDATE replicas SET seen_at = seen_at - {ALIVE_MS} - 1")).await;
    assert!(narrow(&arena, &migrations, false).await.done);
    let known = arena.store.schema();
    let said = arena.store.write(move |tx| Box::pin(replicas::still_runs(tx, "cp_older", known))).await;
    assert!(matches!(said, Err(Error::SchemaTooNew { .. })), "{said:?}");
    // Before it does, nothing of it is written; what it reads is as it was.
    let refused = arena.issue(request("by the older")).await.unwrap_err();
    assert!(matches!(refused, Error::SchemaTooNew { floor: 9002, .. }), "{refused}");
    assert!(matches!(arena.store.fits().await, Err(Error::SchemaTooNew { .. })));
    assert_eq!(arena.number("SELECT COUNT(*) FROM keys").await, 0);
    // A leader of a version that does not announce itself counts too, where it leads.
    let (other, _directory) = later(&arena).await;
    arena.execute("DELETE FROM _sqlx_migrations WHERE version = 9002").await;
    arena
        .execute(format!(
            "INSERT INTO leases (set_id, term, holder, expires_at) VALUES ('{}', 1, 'cp_silent', 9000000000000)",
            arena.set
        ))
        .await;
    let found = narrow(&arena, &other, true).await;
    assert!(found.in_the_way.iter().any(|one| one.id == "cp_silent" && one.schema == 0), "{found:?}");
}

async fn of_those_that_start_at_once_one_widens(arena: Arena) {
    let (migrations, _directory) = later(&arena).await;
    let stores =
        futures::future::join_all((0..6).map(|_| async { Store::connect_with(&arena.url, &migrations).await })).await;
    for store in stores {
        store.unwrap().close().await;
    }
    assert_eq!(arena.number("SELECT COUNT(*) FROM _sqlx_migrations WHERE version = 9001").await, 1);
    assert_eq!(arena.number("SELECT COUNT(*) FROM _sqlx_migrations WHERE version = 9002").await, 0);
}
