//! Tokens and enrolment.

use std::time::Duration;

use nightlatch_api::{TokenFilter, TokenState};
use nightlatch_tests::wait::eventually;
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::on_both;

on_both!(a_token_works_until_it_is_revoked);
async fn a_token_works_until_it_is_revoked(app: TestApp) {
    let made = app.post("/v1/tokens", json!({ "name": "pipeline", "kind": "management" })).send().await.json();
    let (id, text) = (made["token"]["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    assert!(text.starts_with("nlm_live_"));
    assert!(text.starts_with(made["token"]["prefix"].as_str().unwrap()));
    assert_eq!(made["token"]["scopes"], json!(["*"]));
    assert_eq!(app.get("/v1/keys").token(text).send().await.status, 200);
    let revoked = app.client.revoke_token(id).await.unwrap();
    assert_eq!(revoked.state, TokenState::Revoked);
    app.get("/v1/keys").token(text).send().await.is_problem(401, "token_invalid");
    assert_eq!(app.client.revoke_token(id).await.unwrap().revoked_at, revoked.revoked_at);
    let listed = app.client.list_tokens(&TokenFilter::default()).await.unwrap().items;
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().any(|token| token.id == id && token.state == TokenState::Revoked));
    app.stop().await;
}

on_both!(a_tokens_kind_set_and_scopes_must_fit);
async fn a_tokens_kind_set_and_scopes_must_fit(app: TestApp) {
    let set = &app.set.id;
    let refused = [
        (json!({ "name": "n", "kind": "edge" }), "set"),
        (json!({ "name": "n", "kind": "edge", "set": "set_" }), "set"),
        (json!({ "name": "n", "kind": "management", "set": set }), "set"),
        (json!({ "name": "n", "kind": "management", "scopes": ["keys:reed"] }), "scopes"),
        (json!({ "name": "n", "kind": "edge", "set": set, "scopes": ["keys:read"] }), "scopes"),
        (json!({ "name": "n", "kind": "management", "scopes": [] }), "scopes"),
        (json!({ "name": "", "kind": "management" }), "name"),
    ];
    for (body, field) in refused {
        let problem = app.post("/v1/tokens", body).send().await.is_problem(422, "value_invalid");
        assert_eq!(problem["errors"][0]["field"], field);
    }
    let past = json!({ "name": "n", "kind": "management", "expires_at": "2020-01-01T00:00:00Z" });
    app.post("/v1/tokens", past).send().await.is_problem(422, "expiry_in_past");
    let unknown = json!({ "name": "n", "kind": "edge", "set": "set_000000000000" });
    app.post("/v1/tokens", unknown).send().await.is_problem(404, "not_found");
    let edge =
        json!({ "name": "n", "kind": "edge", "set": set, "scopes": ["*"], "expires_at": "2100-01-01T00:00:00.9Z" });
    let made = app.post("/v1/tokens", edge).send().await.json();
    assert_eq!(made["token"]["expires_at"], "2100-01-01T00:00:00Z");
    assert!(made["secret"].as_str().unwrap().starts_with("nle_live_"));
    app.stop().await;
}

on_both!(the_enrolment_token_is_good_once);
async fn the_enrolment_token_is_good_once(app: TestApp) {
    let file = app.data.path().join("data/enrolment-token");
    assert!(!file.exists(), "the used token's file is gone");
    let used = app.server.enrolment().unwrap().fresh.as_ref().unwrap().expose().to_owned();
    let count = app.number("SELECT COUNT(*) FROM tokens").await;
    for text in [used.as_str(), "", "nlo_live_x", &app.token] {
        let answer = app.post("/v1/enrol", json!({ "token": text })).without_token().send().await;
        answer.is_problem(401, "enrolment_invalid");
    }
    assert_eq!(app.number("SELECT COUNT(*) FROM tokens").await, count);
    let row = app.get("/v1/audit?action=workspace.enrolled").send().await.json();
    assert_eq!(row["items"][0]["actor"]["type"], "enrolment");
    app.stop().await;
}

#[tokio::test]
async fn the_use_of_a_token_is_noted() {
    let app = TestApp::sqlite().await;
    eventually("the use of a token is noted", Duration::from_secs(30), async || {
        let used: Value = app.get("/v1/tokens").send().await.json();
        anyhow::ensure!(used["items"][0]["last_used_at"].is_string(), "{used}");
        Ok(())
    })
    .await
    .unwrap();
    app.stop().await;
}
