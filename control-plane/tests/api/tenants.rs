//! A second workspace in the same database, and that neither learns of the other.

use nightlatch::store::tokens::TokenKind;
use serde_json::json;

use crate::app::TestApp;
use crate::on_both;

/// Things of another workspace.
pub(crate) struct Foreign {
    pub(crate) token: String,
    pub(crate) key: String,
    pub(crate) rotation: String,
    pub(crate) token_id: String,
    pub(crate) set: String,
    pub(crate) edge: String,
    pub(crate) member: String,
}

/// Makes another workspace with a key, a rotation, a token and a set.
pub(crate) async fn foreign(app: &TestApp) -> Foreign {
    let (workspace, set, token_id) = ("ws_foreign", "set_foreign", "tok_foreign");
    let text = nightlatch::api::mint_token(TokenKind::Management, 0);
    let digest: String = text.digest().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let blob = |hex: &str| {
        if app.config.database_url.is_some() { format!("'\\x{hex}'::bytea") } else { format!("x'{hex}'") }
    };
    app.sql(&format!(
        "INSERT INTO workspaces (id, name, brand, next_key_number, next_subject, created_at)
         VALUES ('{workspace}', 'foreign', 'nl', 1, 2, 0)"
    ))
    .await;
    app.sql(&format!(
        "INSERT INTO principals (workspace_id, subject, kind, name, created_at)
         VALUES ('{workspace}', 1, 'service_account', 'default', 0)"
    ))
    .await;
    app.sql(&format!(
        "INSERT INTO sets (id, workspace_id, name, heartbeat_ms, validity_ms, skew_ms, largest_validity_ms, pepper_id,
         accepts_foreign, incarnation, epoch, version, commitment, key_count, routes_revision, created_at)
         VALUES ('{set}', '{workspace}', 'default', 5000, 60000, 5000, 60000, 'p1', 1, 0, 0, 0, {}, 0, 0, 0)",
        blob(&"00".repeat(32))
    ))
    .await;
    app.sql(&format!(
        "INSERT INTO tokens (id, workspace_id, kind, name, digest, prefix, scopes, created_by_type, created_by_id, created_at)
         VALUES ('{token_id}', '{workspace}', 'management', 'foreign', {}, 'nlm_live_x', '*', 'system', 'test', 0)",
        blob(&digest)
    ))
    .await;
    let token = text.expose().to_owned();
    let issued = app.post("/v1/keys", json!({ "name": "foreign", "environment": "live" })).token(&token).send().await;
    let key = issued.json()["key"]["id"].as_str().unwrap().to_owned();
    let body = json!({ "overlap_seconds": 86_400, "reason": "test" });
    let started = app.post(&format!("/v1/keys/{key}/rotations"), body).token(&token).send().await.json();
    let edge =
        app.post("/v1/edges", json!({ "name": "foreign", "class": "durable" })).token(&token).send().await.json();
    let body = json!({ "email": "foreign@example.org", "role": "viewer" });
    let invited = app.post("/v1/members", body).token(&token).send().await.json();
    Foreign {
        member: invited["member"]["id"].as_str().unwrap().to_owned(),
        edge: edge["edge"]["id"].as_str().unwrap().to_owned(),
        token,
        key,
        rotation: started["rotation"]["id"].as_str().unwrap().to_owned(),
        token_id: token_id.to_owned(),
        set: set.to_owned(),
    }
}

on_both!(workspaces_do_not_see_each_other);
async fn workspaces_do_not_see_each_other(app: TestApp) {
    let own = app.issue("own", &["own:scope"]).await;
    let foreign = foreign(&app).await;
    for path in ["/v1/keys", "/v1/rotations", "/v1/tokens", "/v1/audit", "/v1/scopes", "/v1/sets", "/v1/edges"] {
        let ours = app.get(path).send().await.text;
        let theirs = app.get(path).token(&foreign.token).send().await.text;
        for theirs_only in [&foreign.key, &foreign.rotation, &foreign.token_id, &foreign.set, &foreign.edge] {
            assert!(!ours.contains(theirs_only.as_str()), "{path}: {ours}");
        }
        for ours_only in [&own.key.id, "own:scope", &app.set.id] {
            assert!(!theirs.contains(ours_only), "{path}: {theirs}");
        }
    }
    // Numbers count in each workspace; the same number is another key there.
    let theirs = app.get("/v1/keys/kn_1").token(&foreign.token).send().await.json();
    assert_eq!(theirs["id"], foreign.key.as_str());
    assert_eq!(app.get("/v1/keys/kn_1").send().await.json()["id"], own.key.id.as_str());
    app.stop().await;
}

on_both!(a_key_verifies_in_its_own_workspace_only);
async fn a_key_verifies_in_its_own_workspace_only(app: TestApp) {
    let own = app.issue("own", &[]).await;
    let foreign = foreign(&app).await;
    let body = json!({ "key": own.secret.expose() });
    let verdict = app.post("/v1/verify", body).token(&foreign.token).send().await.json();
    assert_eq!(verdict["allowed"], false);
    assert_eq!(verdict["code"], "key_invalid");
    assert!(verdict["key"].is_null());
    app.stop().await;
}

on_both!(a_cursor_of_one_workspace_is_none_of_the_other);
async fn a_cursor_of_one_workspace_is_none_of_the_other(app: TestApp) {
    app.issue("one", &[]).await;
    app.issue("two", &[]).await;
    let foreign = foreign(&app).await;
    let page = app.get("/v1/keys?limit=1").send().await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let path = format!("/v1/keys?limit=1&cursor={cursor}");
    assert_eq!(app.get(&path).send().await.status, 200);
    app.get(&path).token(&foreign.token).send().await.is_problem(400, "invalid_request");
    app.stop().await;
}
