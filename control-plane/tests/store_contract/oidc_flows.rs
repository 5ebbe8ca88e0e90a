//! Sign-ins that are at the identity provider: how many are kept.

use nightlatch::store::oidc_flows;
use nightlatch_key::Digest;

use crate::arena::{Arena, on_both};

on_both! {
    flows_that_nobody_finishes_do_not_fill_the_database,
    a_flow_is_taken_once_and_in_time,
}

async fn open(arena: &Arena, state: &[u8]) {
    let state = Digest::of(state);
    arena.write(move |tx, _| Box::pin(async move { oidc_flows::open(tx, &state, b"sealed").await })).await.unwrap();
}

async fn take(arena: &Arena, state: &[u8]) -> bool {
    let state = Digest::of(state);
    let taken = arena.write(move |tx, _| Box::pin(async move { oidc_flows::take(tx, &state).await })).await;
    taken.unwrap().is_some()
}

async fn flows_that_nobody_finishes_do_not_fill_the_database(arena: Arena) {
    open(&arena, b"one").await;
    open(&arena, b"two").await;
    // As many as are kept, one of them older than all others.
    let bytes = if arena.url.starts_with("sqlite:") { "CAST(i AS BLOB)" } else { "convert_to(i::text, 'UTF8')" };
    arena
        .execute(&format!(
            "INSERT INTO oidc_flows (state, sealed, created_at) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL \
             SELECT i + 1 FROM n WHERE i < 9998) SELECT {bytes}, {bytes}, (SELECT MIN(created_at) FROM oidc_flows) FROM n"
        ))
        .await;
    let oldest = if arena.url.starts_with("sqlite:") { "CAST(7 AS BLOB)" } else { "convert_to('7', 'UTF8')" };
    arena.execute(&format!("UPDATE oidc_flows SET created_at = created_at - 1 WHERE state = {oldest}")).await;
    assert_eq!(arena.number("SELECT COUNT(*) FROM oidc_flows").await, 10_000);
    open(&arena, b"new").await;
    assert_eq!(arena.number("SELECT COUNT(*) FROM oidc_flows").await, 10_000);
    assert_eq!(arena.number(&format!("SELECT COUNT(*) FROM oidc_flows WHERE state = {oldest}")).await, 0);
    assert!(take(&arena, b"new").await, "who begins now is in time");
}

async fn a_flow_is_taken_once_and_in_time(arena: Arena) {
    open(&arena, b"one").await;
    open(&arena, b"late").await;
    assert!(take(&arena, b"one").await && !take(&arena, b"one").await && !take(&arena, b"unknown").await);
    arena.execute("UPDATE oidc_flows SET created_at = created_at - 600000").await;
    assert!(!take(&arena, b"late").await);
}
