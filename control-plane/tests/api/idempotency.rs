//! `Idempotency-Key` (guarantee 5).

use nightlatch::store::{Error, idempotency};
use serde_json::json;

use crate::app::{Answer, Call, TestApp};
use crate::on_both;

fn issue(app: &TestApp, name: &str) -> Call {
    app.post("/v1/keys", json!({ "name": name, "environment": "live" })).header("idempotency-key", "once")
}

fn secret(answer: &Answer) -> String {
    answer.json()["secret"].as_str().unwrap().to_owned()
}

on_both!(a_create_sent_again_is_done_once_and_answered_alike);
async fn a_create_sent_again_is_done_once_and_answered_alike(app: TestApp) {
    let first = issue(&app, "k").send().await;
    let second = issue(&app, "k").send().await;
    assert_eq!((first.status, second.status), (reqwest::StatusCode::CREATED, reqwest::StatusCode::CREATED));
    assert_eq!(secret(&first), secret(&second), "the same secret");
    assert_eq!(first.json()["key"]["id"], second.json()["key"]["id"]);
    assert_eq!((first.header("idempotency-replayed"), second.header("idempotency-replayed")), ("", "true"));
    assert_eq!(second.header("cache-control"), "no-store");
    assert_eq!(app.number("SELECT COUNT(*) FROM keys WHERE workspace_id <> 'ws_management'").await, 1);
    issue(&app, "another").send().await.is_problem(422, "idempotency_mismatch");
    // Another token's key of the same text is another key.
    let other = app.post("/v1/tokens", json!({ "name": "t", "kind": "management" })).send().await;
    assert_ne!(secret(&issue(&app, "k").token(secret(&other)).send().await), secret(&first));
    app.stop().await;
}

on_both!(rotations_and_tokens_are_answered_again_too);
async fn rotations_and_tokens_are_answered_again_too(app: TestApp) {
    let key = app.issue("k", &[]).await.key.id;
    let other = app.issue("other", &[]).await.key.id;
    let rotate = |key: &str| {
        let body = json!({ "overlap_seconds": 3600, "reason": "r" });
        app.post(&format!("/v1/keys/{key}/rotations"), body).header("idempotency-key", "once").send()
    };
    assert_eq!(secret(&rotate(&key).await), secret(&rotate(&key).await));
    rotate(&other).await.is_problem(422, "idempotency_mismatch");
    let token = || {
        app.post("/v1/tokens", json!({ "name": "t", "kind": "management" })).header("idempotency-key", "once").send()
    };
    assert_eq!(secret(&token().await), secret(&token().await));
    assert_eq!(app.number("SELECT COUNT(*) FROM rotations").await, 1);
    app.stop().await;
}

on_both!(after_fifteen_minutes_the_secret_is_gone);
async fn after_fifteen_minutes_the_secret_is_gone(app: TestApp) {
    let first = issue(&app, "k").send().await;
    assert_eq!(app.number("SELECT COUNT(*) FROM idempotency WHERE sealed_secret IS NOT NULL").await, 1);
    app.sql("UPDATE idempotency SET created_at = created_at - 15 * 60 * 1000 - 1").await;
    let problem = issue(&app, "k").send().await.is_problem(409, "secret_no_longer_available");
    assert_eq!(problem["id"], first.json()["key"]["id"]);
    let store = app.store().await;
    store.write::<_, Error, _>(|tx| Box::pin(idempotency::sweep(tx))).await.unwrap();
    assert_eq!(app.number("SELECT COUNT(*) FROM idempotency WHERE sealed_secret IS NOT NULL").await, 0);
    issue(&app, "k").send().await.is_problem(409, "secret_no_longer_available");
    issue(&app, "another").send().await.is_problem(422, "idempotency_mismatch");
    app.stop().await;
}

on_both!(a_refused_create_may_be_tried_again);
async fn a_refused_create_may_be_tried_again(app: TestApp) {
    let call = |name: &str| app.post("/v1/keys", json!({ "name": name, "environment": "live", "principal": "prn_9" }));
    call("k").header("idempotency-key", "once").send().await.is_problem(422, "principal_unknown");
    app.sql(
        "INSERT INTO principals (workspace_id, subject, kind, name, created_at)
         SELECT id, 9, 'service_account', 'p', 0 FROM workspaces",
    )
    .await;
    assert_eq!(call("k").header("idempotency-key", "once").send().await.status, 201);
    app.stop().await;
}

/// Held up by another writer, one request is still being worked on when the other arrives.
#[tokio::test]
async fn the_same_create_at_the_same_time_is_told_to_wait() {
    use secrecy::ExposeSecret as _;
    use sqlx::{Connection as _, Executor as _};
    let app = TestApp::sqlite().await;
    let mut writer = sqlx::SqliteConnection::connect(app.config.store_url().expose_secret()).await.unwrap();
    writer.execute("BEGIN IMMEDIATE").await.unwrap();
    let (one, other) = (Box::pin(issue(&app, "k").send()), Box::pin(issue(&app, "k").send()));
    let (told_to_wait, worked_on) = match futures::future::select(one, other).await {
        futures::future::Either::Left(both) | futures::future::Either::Right(both) => both,
    };
    told_to_wait.is_problem(409, "idempotency_in_progress");
    assert_eq!(told_to_wait.header("retry-after"), "1");
    writer.execute("ROLLBACK").await.unwrap();
    assert_eq!(worked_on.await.status, 201);
    assert_eq!(app.number("SELECT COUNT(*) FROM keys WHERE workspace_id <> 'ws_management'").await, 1);
    app.stop().await;
}

#[tokio::test]
async fn a_key_that_is_no_key_is_refused() {
    let app = TestApp::sqlite().await;
    let call = || app.post("/v1/keys", json!({ "name": "k", "environment": "live" }));
    for bad in ["", &"k".repeat(256), "ä"] {
        let answer = call().header("idempotency-key", bad).send().await;
        assert_eq!(answer.is_problem(400, "invalid_request")["errors"][0]["field"], "Idempotency-Key");
    }
    let twice = call().header("idempotency-key", "a").header("idempotency-key", "b").send().await;
    twice.is_problem(400, "invalid_request");
    assert_eq!(call().header("idempotency-key", &"k".repeat(255)).send().await.status, 201);
    app.stop().await;
}
