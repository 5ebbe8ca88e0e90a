//! The catalogue of scopes: what is said of names and groups, and what that asks of who grants them.

use nightlatch_api::{ImportOptions, PutScope, RevokeKey, RouteDocument, RouteRule};
use nightlatch_tests::import;
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::joining::join;
use crate::on_both;

async fn scope(app: &TestApp, name: &str) -> Value {
    let page = app.get("/v1/scopes").send().await.json();
    let found = page["items"].as_array().unwrap().iter().find(|scope| scope["name"] == name);
    found.cloned().unwrap_or_default()
}

async fn mark(app: &TestApp, name: &str, sensitive: Option<bool>) {
    app.client.put_scope(name, &PutScope { description: None, sensitive }).await.unwrap();
}

on_both!(s0_25_s0_26_scopes_are_described_grouped_and_marked);
async fn s0_25_s0_26_scopes_are_described_grouped_and_marked(app: TestApp) {
    let key = app.issue("reader", &["READ_CASH", "READ_STATUS"]).await.key;
    assert_eq!(scope(&app, "READ_CASH").await["usable_keys"], 1);
    assert_eq!(scope(&app, "READ_CASH").await["sensitive"], false);

    let group = app.put("/v1/scopes/READ_*", json!({ "description": "sees", "sensitive": true })).send().await.json();
    assert_eq!(
        (&group["group"], &group["sensitive"], &group["usable_keys"]),
        (&json!(true), &json!(true), &Value::Null)
    );
    let name = scope(&app, "READ_CASH").await;
    assert_eq!((&name["sensitive"], &name["marked_sensitive"]), (&json!(true), &Value::Null));
    assert_eq!(name["groups"], json!(["READ_*"]));
    // A name's own mark wins.
    mark(&app, "READ_STATUS", Some(false)).await;
    assert_eq!(scope(&app, "READ_STATUS").await["sensitive"], false);
    // What is said before any key carries it is there when one does.
    mark(&app, "pay:out", Some(true)).await;
    assert_eq!(scope(&app, "pay:out").await["first_used_at"], Value::Null);

    app.client.remove_scope("READ_*").await.unwrap();
    assert_eq!(scope(&app, "READ_CASH").await["sensitive"], false);
    app.call(reqwest::Method::DELETE, "/v1/scopes/READ_CASH").send().await.is_problem(409, "scope_in_use");
    app.client.revoke_key(&key.id, &RevokeKey::new("r")).await.unwrap();
    assert_eq!(scope(&app, "READ_CASH").await["usable_keys"], 0);
    app.client.remove_scope("READ_CASH").await.unwrap();
    assert_eq!(scope(&app, "READ_CASH").await, Value::Null);
    // It enters again on its next use.
    app.issue("again", &["READ_CASH"]).await;
    assert_eq!(scope(&app, "READ_CASH").await["usable_keys"], 1);
    for action in ["scope.updated", "scope.removed"] {
        let page = app.get(&format!("/v1/audit?action={action}")).send().await.json();
        assert!(!page["items"].as_array().unwrap().is_empty(), "{action}");
    }
    app.stop().await;
}

on_both!(s0_26_sensitive_scopes_are_granted_only_knowingly);
async fn s0_26_sensitive_scopes_are_granted_only_knowingly(app: TestApp) {
    mark(&app, "READ_*", Some(true)).await;
    let asked = json!({ "name": "k", "environment": "live", "scopes": ["READ_SENSITIVE", "status"] });
    let before = app.footprint().await;
    let problem = app.post("/v1/keys", asked.clone()).send().await.is_problem(422, "sensitive_unacknowledged");
    assert_eq!(problem["scopes"], json!(["READ_SENSITIVE"]));
    assert_eq!(problem["errors"][0]["field"], "acknowledge_sensitive");
    assert_eq!(app.footprint().await, before, "nothing was changed");
    let mut knowingly = asked;
    knowingly["acknowledge_sensitive"] = json!(true);
    let issued = app.post("/v1/keys", knowingly).send().await;
    assert_eq!(issued.status, 201, "{issued:?}");
    let key = issued.json()["key"]["id"].as_str().unwrap().to_owned();
    let entry = app.get(&format!("/v1/audit?action=key.issued&key={key}")).send().await.json();
    assert_eq!(entry["items"][0]["after"]["acknowledged_sensitive"], json!(["READ_SENSITIVE"]));

    // A successor may keep what its predecessor has, and gets nothing more unknowingly.
    let path = format!("/v1/keys/{key}/rotations");
    let rotation = json!({ "overlap_seconds": 86_400, "reason": "scheduled", "dry_run": true });
    assert_eq!(app.post(&path, rotation.clone()).send().await.status, 200);
    let mut wider = rotation;
    wider["scopes"] = json!(["READ_SENSITIVE", "READ_MORE"]);
    for dry_run in [true, false] {
        wider["dry_run"] = json!(dry_run);
        let problem = app.post(&path, wider.clone()).send().await.is_problem(422, "sensitive_unacknowledged");
        assert_eq!(problem["scopes"], json!(["READ_MORE"]));
    }
    wider["acknowledge_sensitive"] = json!(true);
    assert_eq!(app.post(&path, wider).send().await.status, 201);

    // A key that has ended has nothing to keep.
    assert_eq!(app.post(&format!("/v1/keys/{key}/revoke"), json!({ "reason": "leaked" })).send().await.status, 200);
    let mut emergency = json!({ "order": "revoke_first", "reason": "leaked" });
    for dry_run in [true, false] {
        emergency["dry_run"] = json!(dry_run);
        let problem = app.post(&path, emergency.clone()).send().await.is_problem(422, "sensitive_unacknowledged");
        assert_eq!(problem["scopes"], json!(["READ_SENSITIVE"]));
    }
    emergency["acknowledge_sensitive"] = json!(true);
    assert_eq!(app.post(&path, emergency).send().await.status, 201);

    // An import too, unless its keys are there already.
    let mut line = import::by_digest("imported", "some text");
    line.scopes = vec!["READ_LEDGER".into()];
    let lines = import::lines(&[line]).unwrap();
    let refused = app.client.import_keys(ImportOptions::default(), lines.clone()).await.unwrap_err();
    assert_eq!(refused.problem().unwrap().code, "sensitive_unacknowledged");
    let options = ImportOptions { acknowledge_sensitive: true, ..ImportOptions::default() };
    assert_eq!(app.client.import_keys(options, lines.clone()).await.unwrap().created, 1);
    assert_eq!(app.client.import_keys(ImportOptions::default(), lines).await.unwrap().existing, 1);

    // And so with members and roles.
    let member = json!({ "email": "ana@example.com", "role": "operator", "scopes": ["READ_ALL"] });
    app.post("/v1/members", member.clone()).send().await.is_problem(422, "sensitive_unacknowledged");
    let mut knowingly = member;
    knowingly["acknowledge_sensitive"] = json!(true);
    let invited = app.post("/v1/members", knowingly).send().await.json();
    let path = format!("/v1/members/{}", invited["member"]["id"].as_str().unwrap());
    let patch = |body: &Value| app.call(reqwest::Method::PATCH, &path).header("if-match", "*").json(body);
    let body = json!({ "scopes": ["READ_ALL", "READ_B"] });
    let problem = patch(&body).send().await.is_problem(422, "sensitive_unacknowledged");
    assert_eq!(problem["scopes"], json!(["READ_B"]));
    let body = json!({ "scopes": ["READ_ALL", "READ_B"], "acknowledge_sensitive": true });
    assert_eq!(patch(&body).send().await.status, 200);
    let role = json!({ "scopes": ["READ_ROLE"] });
    app.put("/v1/roles/viewer", role).send().await.is_problem(422, "sensitive_unacknowledged");
    let role = json!({ "scopes": ["READ_ROLE"], "acknowledge_sensitive": true });
    assert_eq!(app.put("/v1/roles/viewer", role).send().await.status, 200);
    let entry = app.get("/v1/audit?action=role.updated").send().await.json();
    assert_eq!(entry["items"][0]["after"]["acknowledged_sensitive"], json!(["READ_ROLE"]));
    app.stop().await;
}

on_both!(s1_05_s1_21_a_narrower_successor_is_told_its_lost_scopes_and_routes);
async fn s1_05_s1_21_a_narrower_successor_is_told_its_lost_scopes_and_routes(app: TestApp) {
    let route = |method: &str, path: &str, scopes: &[&str]| RouteRule {
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        ..RouteRule::new(method, path)
    };
    let document = RouteDocument {
        routes: vec![
            route("GET", "/invoices", &["invoices:read"]),
            route("POST", "/invoices", &["invoices:write"]),
            route("DELETE", "/invoices/{id}", &["invoices:read", "invoices:write"]),
            route("GET", "/status", &[]),
        ],
        ..RouteDocument::default()
    };
    let etag = app.get("/v1/routes").send().await.header("etag").to_owned();
    let body = serde_json::to_value(document).unwrap();
    assert_eq!(app.put("/v1/routes", body).header("if-match", &etag).send().await.status, 200);
    let key = app.issue("billing", &["invoices:read", "invoices:write"]).await.key;
    let mut body = json!({ "overlap_seconds": 86_400, "reason": "least privilege", "scopes": ["invoices:read"] });
    for dry_run in [true, false] {
        body["dry_run"] = json!(dry_run);
        let answer = app.post(&format!("/v1/keys/{}/rotations", key.id), body.clone()).send().await.json();
        let lost = answer["warnings"].as_array().unwrap().iter().find(|warning| warning["code"] == "scopes_lost");
        let lost = lost.unwrap_or_else(|| panic!("{answer}"));
        assert_eq!(lost["scopes"], json!(["invoices:write"]));
        let routes = json!([
            { "method": "POST", "pattern": "/invoices" },
            { "method": "DELETE", "pattern": "/invoices/{id}" },
        ]);
        assert_eq!(lost["routes"], routes);
        assert!(lost["detail"].as_str().unwrap().contains("POST /invoices, DELETE /invoices/{id}"), "{lost}");
    }
    app.stop().await;
}

on_both!(bad_entries_are_refused);
async fn bad_entries_are_refused(app: TestApp) {
    for name in ["*", "RE*D", "READ_**", "1st", "a%20b", "%00", &"a".repeat(65)] {
        app.put(&format!("/v1/scopes/{name}"), json!({})).send().await.is_problem(422, "value_invalid");
        app.call(reqwest::Method::DELETE, &format!("/v1/scopes/{name}")).send().await.is_problem(404, "not_found");
    }
    app.put("/v1/scopes/READ", json!({ "sensitiv": true })).send().await.is_problem(400, "invalid_request");
    app.put("/v1/scopes/READ", json!({ "description": "a\nb" })).send().await.is_problem(422, "value_invalid");
    app.call(reqwest::Method::DELETE, "/v1/scopes/NEVER").send().await.is_problem(404, "not_found");
    // Its pages.
    app.issue("many", &["a", "b", "c"]).await;
    let first = app.get("/v1/scopes?limit=2").send().await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = app.get(&format!("/v1/scopes?limit=2&cursor={cursor}")).send().await.json();
    assert_eq!(first["items"][1]["name"], "b");
    assert_eq!((&second["items"][0]["name"], &second["next_cursor"]), (&json!("c"), &Value::Null));
    app.stop().await;
}

on_both!(
    /// S0-25: a member's key carries what the member and its role have.
    s0_25_keys_of_members_are_counted_by_what_their_members_have
);
async fn s0_25_keys_of_members_are_counted_by_what_their_members_have(app: TestApp) {
    let (ana, bo) = (join(&app, "ana", "operator").await, join(&app, "bo", "operator").await);
    app.issue("own", &["logs:read"]).await;
    let mut keys = Vec::new();
    for member in [&ana, &ana, &bo] {
        let body = json!({ "name": "k", "environment": "live", "principal": member.principal });
        let issued = app.post("/v1/keys", body).token(&member.token).send().await;
        assert_eq!(issued.status, 201, "{issued:?}");
        keys.push(issued.json()["key"]["id"].as_str().unwrap().to_owned());
    }
    let usable = async || scope(&app, "logs:read").await["usable_keys"].clone();
    assert_eq!(usable().await, 1);
    let set = async |scopes: Value| {
        let role = app.call(reqwest::Method::PUT, "/v1/roles/operator").header("if-match", "*");
        assert_eq!(role.json(&json!({ "scopes": scopes })).send().await.status, 200);
    };
    set(json!(["logs:read"])).await;
    assert_eq!(usable().await, 4);
    app.client.revoke_key(&keys[0], &RevokeKey::new("r")).await.unwrap();
    assert_eq!(usable().await, 3);
    app.done(&format!("/v1/members/{}/suspend", bo.id), json!({})).await;
    assert_eq!(usable().await, 2);
    set(json!([])).await;
    assert_eq!(usable().await, 1);
    let patch = app.call(reqwest::Method::PATCH, &format!("/v1/members/{}", ana.id)).header("if-match", "*");
    assert_eq!(patch.json(&json!({ "scopes": ["logs:read"] })).send().await.status, 200);
    assert_eq!((usable().await, scope(&app, "logs:read").await["more_keys"].clone()), (json!(2), json!(false)));
    app.stop().await;
}

on_both!(
    /// S0-26: a scope that a key may have again keeps its mark.
    s0_26_what_a_disabled_key_has_stays_in_the_catalogue
);
async fn s0_26_what_a_disabled_key_has_stays_in_the_catalogue(app: TestApp) {
    mark(&app, "pay:out", Some(true)).await;
    let body = json!({ "name": "k", "environment": "live", "scopes": ["pay:out"], "acknowledge_sensitive": true });
    let key = app.post("/v1/keys", body).send().await.json()["key"]["id"].as_str().unwrap().to_owned();
    let disabled = app.post(&format!("/v1/keys/{key}/disable"), json!({ "reason": "looked at" })).send().await;
    assert_eq!(disabled.status, 200, "{disabled:?}");
    let remove = || app.call(reqwest::Method::DELETE, "/v1/scopes/pay:out").send();
    remove().await.is_problem(409, "scope_in_use");
    assert_eq!(app.post(&format!("/v1/keys/{key}/revoke"), json!({ "reason": "over" })).send().await.status, 200);
    assert_eq!(remove().await.status, 204);
    app.stop().await;
}
