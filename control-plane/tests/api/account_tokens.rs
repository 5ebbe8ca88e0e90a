//! Management tokens of service accounts: with them the account acts itself, and may exactly what they name. And keys that
//! are shown in place of a token.

use std::time::Duration;

use nightlatch::domain::Role;
use nightlatch_api::{AuditEntry, AuditFilter};
use nightlatch_tests::wait::eventually;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, TestApp, now};
use crate::on_both;
use crate::people::People;

/// A service account whose keys may carry this.
async fn account(app: &TestApp, scopes: Value) -> String {
    let made = app.post("/v1/service-accounts", json!({ "name": "program", "scopes": scopes })).send().await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["id"].as_str().unwrap().to_owned()
}

async fn make(app: &TestApp, by: &str, account: &str, scopes: Value) -> Answer {
    let body = json!({ "name": "t", "kind": "management", "service_account": account, "scopes": scopes });
    app.post("/v1/tokens", body).token(by).send().await
}

/// The id and the text of a token that was made.
fn made(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 201, "{answer:?}");
    let body = answer.json();
    (body["token"]["id"].as_str().unwrap().to_owned(), body["secret"].as_str().unwrap().to_owned())
}

async fn entries(app: &TestApp, filter: AuditFilter) -> Vec<AuditEntry> {
    app.client.list_audit(&filter).await.unwrap().items
}

fn of_accounts() -> AuditFilter {
    AuditFilter { actor_type: Some("service_account".into()), ..AuditFilter::default() }
}

async fn issue(app: &TestApp, by: &str, account: &str, scopes: &[&str]) -> Answer {
    app.issue_for(by, account, scopes).await
}

on_both!(
    /// S1-12, S1-14: everything that a service account did in a span of time, and what it tried.
    s1_14_what_a_service_account_does_is_done_by_itself
);
async fn s1_14_what_a_service_account_does_is_done_by_itself(app: TestApp) {
    let account = account(&app, json!(["logs:read"])).await;
    let before = now();
    let answer = make(&app, &app.token, &account, json!(["keys:issue", "tokens:read"])).await;
    let (id, text) = made(&answer);
    assert_eq!(answer.json()["token"]["service_account"], account.as_str());
    assert_eq!(
        (&answer.json()["token"]["member"], &answer.json()["token"]["scopes"]),
        (&Value::Null, &json!(["keys:issue", "tokens:read"]))
    );
    let issued = issue(&app, &text, &account, &["logs:read"]).await;
    assert_eq!(issued.status, 201, "{issued:?}");
    let key = issued.json()["key"].clone();
    assert_eq!(key["issued_by"], json!({ "type": "service_account", "id": account }));
    // Exactly what it names, and of tokens its own.
    for (method, path, action) in [
        (Method::GET, "/v1/keys", "keys:read"),
        (Method::POST, "/v1/tokens", "tokens:manage"),
        (Method::POST, "/v1/members", "members:manage"),
        (Method::GET, "/v1/service-accounts", "service_accounts:read"),
    ] {
        let refused = app.call(method, path).json(&json!({})).token(&text).send().await;
        assert_eq!(refused.is_problem(403, "forbidden")["action"], action);
    }
    let listed = app.get("/v1/tokens").token(&text).send().await.json();
    let ids: Vec<_> = listed["items"].as_array().unwrap().iter().map(|token| token["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [id.as_str()]);
    let span = AuditFilter { from: Some(before), to: Some(now()), ..of_accounts() };
    let found = entries(&app, span).await;
    assert!(found.iter().all(|entry| entry.actor.id == account && entry.on_behalf_of.is_none()));
    let actions: Vec<_> = found.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions.iter().filter(|action| **action == "key.issued").count(), 1);
    assert_eq!(actions.iter().filter(|action| **action == "request.refused").count(), 4);
    let filter =
        AuditFilter { actor: Some(account.clone()), action: Some("key.issued".into()), ..AuditFilter::default() };
    assert_eq!(entries(&app, filter).await[0].target.id, key["id"].as_str().unwrap());
    let issued_by = app.get(&format!("/v1/keys?issued_by={account}")).send().await.json();
    assert_eq!(issued_by["items"][0]["id"], key["id"]);
    app.stop().await;
}

on_both!(
    /// S1-14, guarantee "nobody grants beyond their own": neither who makes such a token, nor who has it.
    s1_14_nobody_makes_a_service_account_more_than_itself
);
async fn s1_14_nobody_makes_a_service_account_more_than_itself(app: TestApp) {
    let people = People::of(&app).await;
    let (one, other) =
        (account(&app, json!(["logs:read"])).await, account(&app, json!(["logs:read", "logs:write"])).await);
    let admin = people.person(Role::Admin, None, "admin@example.com").await;
    let operator = people.person(Role::Operator, None, "operator@example.com").await;
    let partner = app.post("/v1/partners", json!({ "name": "agency" })).send().await.json();
    let before = app.footprint().await;
    for who in [&operator.text] {
        make(&app, who, &one, json!(["keys:read"])).await.is_problem(403, "forbidden");
        // Also of what is not there: nobody learns which accounts there are.
        make(&app, who, "prn_999", json!(["keys:read"])).await.is_problem(403, "forbidden");
    }
    for unknown in ["prn_999", "prn_x", "mem_1", "", partner["id"].as_str().unwrap()] {
        make(&app, &app.token, unknown, json!(["keys:read"])).await.is_problem(404, "not_found");
    }
    for scopes in [Value::Null, json!(["*"]), json!(["members:manage"]), json!(["keys:read", "audit:erase"])] {
        let problem = make(&app, &app.token, &one, scopes).await.is_problem(422, "value_invalid");
        assert_eq!(problem["errors"][0]["field"], "scopes");
    }
    let edge = json!({ "name": "n", "kind": "edge", "set": app.set.id, "service_account": one });
    let problem = app.post("/v1/tokens", edge).send().await.is_problem(422, "value_invalid");
    assert_eq!(problem["errors"][0]["field"], "service_account");
    assert_eq!(app.footprint().await, before, "something was changed");
    // A narrow token makes none that may more, whoever's it is.
    let narrow = json!({ "name": "n", "kind": "management", "scopes": ["tokens:manage", "service_accounts:manage"] });
    let (_, narrow) = made(&app.post("/v1/tokens", narrow).token(&admin.text).send().await);
    make(&app, &narrow, &one, json!(["keys:issue"])).await.is_problem(403, "forbidden");
    made(&make(&app, &narrow, &one, json!(["tokens:manage"])).await);
    // Who may not grant a scope makes no token of an account that may.
    let role = app.call(Method::PUT, "/v1/roles/admin").header("if-match", "*");
    let answer = role.json(&json!({ "scopes": ["logs:read"] })).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let (_, text) = made(&make(&app, &admin.text, &one, json!(["keys:issue", "tokens:manage"])).await);
    make(&app, &admin.text, &other, json!(["keys:issue"])).await.is_problem(403, "beyond_own_scopes");
    make(&app, &admin.text, "prn_1", json!(["keys:issue"])).await.is_problem(403, "beyond_own_scopes");
    // What the account makes is its own, and no more than it is.
    issue(&app, &text, &other, &["logs:write"]).await.is_problem(403, "beyond_own_scopes");
    make(&app, &text, &other, json!(["keys:issue"])).await.is_problem(403, "forbidden");
    make(&app, &text, &one, json!(["keys:issue", "keys:read"])).await.is_problem(403, "forbidden");
    let unnamed = json!({ "name": "n", "kind": "management" });
    app.post("/v1/tokens", unnamed).token(&text).send().await.is_problem(403, "forbidden");
    let unnamed = json!({ "name": "n", "kind": "management", "scopes": ["keys:issue"] });
    let child = app.post("/v1/tokens", unnamed).token(&text).send().await;
    assert_eq!(
        (child.json()["token"]["service_account"].as_str(), child.json()["token"]["member"].as_str()),
        (Some(one.as_str()), None)
    );
    let (_, child) = made(&child);
    app.post("/v1/workspaces", json!({ "name": "w", "brand": "ww" }))
        .token(&child)
        .send()
        .await
        .is_problem(403, "forbidden");
    // Whatever its row says, everything is nothing.
    let (id, text) = made(&make(&app, &app.token, &one, json!(["keys:read"])).await);
    app.sql(&format!("UPDATE tokens SET scopes = '*' WHERE id = '{id}'")).await;
    app.sql(&format!("UPDATE keys SET scopes = 'all' WHERE id = (SELECT key_id FROM tokens WHERE id = '{id}')")).await;
    app.get("/v1/keys").token(&text).send().await.is_problem(403, "forbidden");
    app.stop().await;
}

on_both!(
    /// S1-14, S1-04: its tokens rest with the account, and end with it in the same transaction.
    s1_14_tokens_are_suspended_and_removed_with_their_service_account
);
async fn s1_14_tokens_are_suspended_and_removed_with_their_service_account(app: TestApp) {
    let account = account(&app, json!([])).await;
    let (id, text) = made(&make(&app, &app.token, &account, json!(["keys:read"])).await);
    let opens = async || app.get("/v1/keys").token(&text).send().await.status.as_u16();
    let turn = async |how: &str| {
        let path = format!("/v1/service-accounts/{account}/{how}");
        assert_eq!(app.post(&path, json!({ "reason": "r" })).send().await.status, 200, "{how}");
    };
    assert_eq!(opens().await, 200);
    turn("suspend").await;
    app.get("/v1/keys").token(&text).send().await.is_problem(401, "token_invalid");
    let tried = entries(&app, of_accounts()).await.remove(0);
    assert_eq!((tried.action.as_str(), tried.actor.id.as_str()), ("request.refused", account.as_str()));
    make(&app, &app.token, &account, json!(["keys:read"])).await.is_problem(409, "principal_suspended");
    turn("resume").await;
    assert_eq!(opens().await, 200);
    turn("remove").await;
    assert_eq!(opens().await, 401);
    let listed = app.get("/v1/tokens").send().await.json();
    let token = listed["items"].as_array().unwrap().iter().find(|token| token["id"] == id.as_str()).unwrap().clone();
    assert_eq!(token["state"], "revoked");
    let ended = app.get(&format!("/v1/audit?action=token.revoked&target={id}")).send().await.json();
    let removed = app.get(&format!("/v1/audit?action=service_account.removed&target={account}")).send().await.json();
    assert_eq!(ended["items"][0]["request_id"], removed["items"][0]["request_id"]);
    make(&app, &app.token, &account, json!(["keys:read"])).await.is_problem(409, "principal_removed");
    app.stop().await;
}

on_both!(
    /// S1-14: rotated by itself and by who manages it, and by nobody else.
    s1_14_a_service_accounts_token_is_rotated_by_itself_and_its_managers
);
async fn s1_14_a_service_accounts_token_is_rotated_by_itself_and_its_managers(app: TestApp) {
    let people = People::of(&app).await;
    let operator = people.person(Role::Operator, None, "operator@example.com").await;
    let admin = people.person(Role::Admin, None, "admin@example.com").await;
    let (one, other) = (account(&app, json!([])).await, account(&app, json!([])).await);
    let (id, text) = made(&make(&app, &app.token, &one, json!(["keys:read", "tokens:manage"])).await);
    let (_, stranger) = made(&make(&app, &app.token, &other, json!(["keys:read", "tokens:manage"])).await);
    let rotate = async |by: &str, id: &str| {
        let body = json!({ "overlap_seconds": 3600, "reason": "scheduled" });
        app.post(&format!("/v1/tokens/{id}/rotations"), body).token(by).send().await
    };
    for who in [&operator.text, &stranger] {
        rotate(who, &id).await.is_problem(404, "not_found");
        app.post(&format!("/v1/tokens/{id}/revoke"), json!({})).token(who).send().await.is_problem(404, "not_found");
    }
    let own = rotate(&text, &id).await;
    assert_eq!(own.json()["token"]["service_account"], one.as_str());
    let (next, text) = made(&own);
    let (_, last) = made(&rotate(&admin.text, &next).await);
    assert_eq!(app.get("/v1/keys").token(&last).send().await.status, 200);
    assert_eq!(app.post(&format!("/v1/tokens/{next}/revoke"), json!({})).token(&text).send().await.status, 200);
    app.get("/v1/keys").token(&text).send().await.is_problem(401, "token_invalid");
    let found = entries(
        &app,
        AuditFilter { actor: Some(one.clone()), action: Some("token.created".into()), ..AuditFilter::default() },
    )
    .await;
    assert_eq!(found.len(), 1);
    app.stop().await;
}

on_both!(
    /// S1-12, S1-14: a leaked key that is tried at this API is what one looks for in an incident.
    s1_14_a_key_that_is_shown_in_place_of_a_token_is_noted
);
async fn s1_14_a_key_that_is_shown_in_place_of_a_token_is_noted(app: TestApp) {
    let account = account(&app, json!([])).await;
    let issued = issue(&app, &app.token, &account, &[]).await.json();
    let (key, text) = (issued["key"].clone(), issued["secret"].as_str().unwrap().to_owned());
    let brand = nightlatch_key::Brand::new("nl").unwrap();
    let unknown = nightlatch_key::mint(&brand, nightlatch_key::Environment::Live, 0, &mut nightlatch::store::os_random);
    // Known or not, the answer is the same.
    let [known, unknown] = [text.as_str(), unknown.expose()].map(|text| app.get("/v1/keys").token(text).send());
    let mut problems = [known.await.is_problem(401, "token_invalid"), unknown.await.is_problem(401, "token_invalid")];
    for problem in &mut problems {
        problem["request_id"] = Value::Null;
    }
    assert_eq!(problems[0], problems[1]);
    eventually("the attempt is noted", Duration::from_secs(30), async || {
        let found = entries(&app, of_accounts()).await;
        anyhow::ensure!(found.len() == 1, "{found:?}");
        let entry = &found[0];
        assert_eq!((entry.action.as_str(), entry.actor.id.as_str()), ("request.refused", account.as_str()));
        assert_eq!(
            (entry.target.id.as_str(), entry.prefix.as_deref()),
            (key["id"].as_str().unwrap(), key["prefix"].as_str())
        );
        assert!(entry.source.is_some());
        Ok(())
    })
    .await
    .unwrap();
    let refused = AuditFilter { action: Some("request.refused".into()), ..AuditFilter::default() };
    assert_eq!(entries(&app, refused).await.len(), 1, "of the unknown key nothing is noted");
    assert!(!app.get("/v1/audit?limit=200").send().await.text.contains(&text));
    app.stop().await;
}

on_both!(
    /// S1-14, S3-14: whose secret a service account's token is, too, when its maker leaves, also where a token made it.
    s3_14_who_leaves_knows_tokens_of_service_accounts
);
async fn s3_14_who_leaves_knows_tokens_of_service_accounts(app: TestApp) {
    let people = People::of(&app).await;
    let bo = people.person(Role::Admin, None, "bo@example.com").await;
    let account = account(&app, json!(["logs:read"])).await;
    let (first, text) = made(&make(&app, &bo.text, &account, json!(["keys:issue", "tokens:manage"])).await);
    let unnamed = json!({ "name": "n", "kind": "management", "scopes": ["keys:issue"] });
    let (second, _) = made(&app.post("/v1/tokens", unnamed).token(&text).send().await);
    made(&make(&app, &app.token, &account, json!(["keys:read"])).await);
    let known = app.get(&format!("/v1/tokens?maker={}", bo.member.id)).send().await.json();
    let ids: Vec<_> = known["items"].as_array().unwrap().iter().map(|token| token["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [second.as_str(), first.as_str()]);
    assert!(known["items"].as_array().unwrap().iter().all(|token| token["maker"] == bo.member.id.as_str()));
    let told = entries(&app, AuditFilter { action: Some("token.created".into()), ..of_accounts() }).await;
    assert_eq!(told[0].after.as_ref().unwrap()["maker"], bo.member.id.as_str());
    app.get("/v1/tokens?maker=tok_1").send().await.is_problem(422, "value_invalid");
    app.stop().await;
}
