//! A second workspace in the same database, and that neither learns of the other.

use serde_json::{Value, json};

use crate::app::TestApp;
use crate::on_both;
use crate::operation::Things;
use crate::principals::Whole;

/// Things of another workspace.
pub(crate) struct Foreign {
    pub(crate) workspace: String,
    pub(crate) token: String,
    pub(crate) key: String,
    pub(crate) rotation: String,
    pub(crate) token_id: String,
    pub(crate) set: String,
    pub(crate) edge: String,
    pub(crate) member: String,
    pub(crate) whole: Whole,
}

/// Makes another workspace with a key, a rotation, a token and a set.
pub(crate) async fn foreign(app: &TestApp) -> Foreign {
    let made = app.post("/v1/workspaces", json!({ "name": "foreign", "brand": "stranger" })).send().await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    // Other numbers than the own workspace's, so that a foreign principal's is none of its own.
    let id = made["workspace"]["id"].as_str().unwrap();
    app.sql(&format!("UPDATE workspaces SET next_subject = 1000 WHERE id = '{id}'")).await;
    let enrolled = app.post("/v1/enrol", json!({ "token": made["enrolment_token"] })).without_token().send().await;
    assert_eq!(enrolled.status, 201, "{enrolled:?}");
    let token = enrolled.json()["secret"].as_str().unwrap().to_owned();
    let issued = app.post("/v1/keys", json!({ "name": "foreign", "environment": "live" })).token(&token).send().await;
    let key = issued.json()["key"]["id"].as_str().unwrap().to_owned();
    let body = json!({ "overlap_seconds": 86_400, "reason": "test" });
    let started = app.post(&format!("/v1/keys/{key}/rotations"), body).token(&token).send().await.json();
    let edge =
        app.post("/v1/edges", json!({ "name": "foreign", "class": "durable" })).token(&token).send().await.json();
    let body = json!({ "email": "foreign@example.org", "role": "viewer" });
    let invited = app.post("/v1/members", body).token(&token).send().await.json();
    let whole = Whole::make(app, &token).await;
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    Foreign {
        whole,
        workspace: text(&made["workspace"]["id"]),
        member: text(&invited["member"]["id"]),
        edge: text(&edge["edge"]["id"]),
        token,
        key,
        rotation: text(&started["rotation"]["id"]),
        token_id: text(&enrolled.json()["token"]["id"]),
        set: text(&made["set"]),
    }
}

/// What our own workspace has, as strangers see it.
pub(crate) async fn ours(app: &TestApp) -> Foreign {
    let key = app.issue("ours", &[]).await.key.id;
    let body = json!({ "overlap_seconds": 86_400, "reason": "test" });
    let rotation = app.post(&format!("/v1/keys/{key}/rotations"), body).send().await.json();
    let edge = app.post("/v1/edges", json!({ "name": "ours", "class": "durable" })).send().await.json();
    let body = json!({ "email": "ours@example.org", "role": "viewer" });
    let invited = app.post("/v1/members", body).send().await.json();
    let token = app.post("/v1/tokens", json!({ "name": "other", "kind": "management" })).send().await.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Foreign {
        whole: Whole::make(app, &app.token).await,
        member: text(&invited["member"]["id"]),
        workspace: app.set.workspace.clone(),
        token: app.token.clone(),
        key,
        rotation: text(&rotation["rotation"]["id"]),
        token_id: text(&token["token"]["id"]),
        set: app.set.id.clone(),
        edge: text(&edge["edge"]["id"]),
    }
}

impl Foreign {
    /// All of it, by kind.
    pub(crate) fn things(&self) -> Things {
        Things::new([
            ("key", &self.key),
            ("rotation", &self.rotation),
            ("token", &self.token_id),
            ("set", &self.set),
            ("edge", &self.edge),
            ("member", &self.member),
            ("workspace", &self.workspace),
            ("service_account", &self.whole.service_account),
            ("partner", &self.whole.partner),
            ("staff", &self.whole.staff),
            ("link", &self.whole.link),
            ("gateway", &self.whole.gateway),
        ])
    }
}

/// An id of the same shape that nobody has.
pub(crate) fn unknown(id: &str) -> String {
    let (kind, tail) = id.split_once('_').unwrap();
    match kind {
        "kn" | "prn" => format!("{kind}_4000000000"),
        _ => format!("{kind}_{}", "0".repeat(tail.len())),
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
