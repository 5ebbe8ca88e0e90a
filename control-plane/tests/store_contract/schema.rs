//! The two schemas.

use std::collections::BTreeMap;

use sqlx::Connection as _;

use crate::arena::{Arena, bootstrap, on_both};
use nightlatch::domain::PrincipalKind;
use nightlatch::store::{Store, os_random, workspaces};

on_both! {
    a_restart_finds_the_workspace_it_left,
}

/// Columns by table.
type Tables = BTreeMap<String, Vec<String>>;

#[tokio::test]
async fn both_schemas_have_the_same_tables_and_columns() {
    let (sqlite, postgres) = (Arena::sqlite().await, Arena::postgres().await);
    let mut conn = sqlx::SqliteConnection::connect(&sqlite.url).await.unwrap();
    let sql = "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c \
               WHERE m.type = 'table' AND m.name NOT LIKE '\\_%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%' \
               ORDER BY m.name, c.cid";
    let rows: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut conn).await.unwrap();
    let left = tables(rows);
    let mut conn = sqlx::PgConnection::connect(&postgres.url).await.unwrap();
    let sql = "SELECT table_name::text, column_name::text FROM information_schema.columns \
               WHERE table_schema = 'public' AND table_name NOT LIKE '\\_%' ORDER BY table_name, ordinal_position";
    let rows: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut conn).await.unwrap();
    let right = tables(rows);
    assert!(left.len() > 15);
    assert_eq!(left, right);
}

fn tables(rows: Vec<(String, String)>) -> Tables {
    let mut tables = Tables::new();
    for (table, column) in rows {
        tables.entry(table).or_default().push(column);
    }
    tables
}

async fn a_restart_finds_the_workspace_it_left(arena: Arena) {
    let again = Store::connect(&arena.url).await.unwrap();
    let mut wanted = bootstrap();
    wanted.name = "Another".to_owned();
    let (workspace, set) = again
        .write(move |tx| Box::pin(async move { workspaces::bootstrap(tx, &wanted, &mut os_random).await }))
        .await
        .unwrap();
    assert_eq!((workspace.id, set.id), (arena.workspace.clone(), arena.set.clone()));
    assert_eq!(workspace.name, "Acme");
    assert_eq!(set.largest_validity_ms, 60_000);
    let mut read = again.read().await.unwrap();
    let principal = workspaces::principal(&mut read, &arena.workspace, 1).await.unwrap().unwrap();
    assert_eq!((principal.kind, principal.name.as_str()), (PrincipalKind::ServiceAccount, "default"));
    assert_eq!(workspaces::all_sets(&mut read).await.unwrap().len(), 1);
}
