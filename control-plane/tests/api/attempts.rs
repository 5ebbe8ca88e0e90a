//! What identified callers are refused is in the audit log, too; and never more of it than an id.

use futures::TryStreamExt as _;
use nightlatch_api::{AuditEntry, AuditFilter};
use serde_json::json;

use crate::app::TestApp;
use crate::on_both;

async fn attempts(app: &TestApp) -> Vec<AuditEntry> {
    let filter = AuditFilter { action: Some("request.refused".into()), ..AuditFilter::default() };
    app.client.audit(filter).try_collect().await.unwrap()
}

on_both!(s1_03_s1_09_refused_attempts_are_in_the_audit_trail);
async fn s1_03_s1_09_refused_attempts_are_in_the_audit_trail(app: TestApp) {
    let key = app.issue("kept", &[]).await.key;
    let body = json!({ "name": "reader", "kind": "management", "scopes": ["keys:read"] });
    let made = app.post("/v1/tokens", body).send().await.json();
    let (id, secret) = (made["token"]["id"].as_str().unwrap(), made["secret"].as_str().unwrap());

    let revoke = || app.post(&format!("/v1/keys/{}/revoke", key.id), json!({ "reason": "r" })).token(secret);
    revoke().header("x-request-id", "the-attempt").send().await.is_problem(403, "forbidden");
    let noted = attempts(&app).await;
    assert_eq!(noted.len(), 1);
    assert_eq!((noted[0].actor.kind.as_str(), noted[0].actor.id.as_str()), ("token", id));
    assert_eq!((noted[0].target.kind.as_str(), noted[0].target.id.as_str()), ("key", key.id.as_str()));
    assert_eq!(noted[0].request_id, "the-attempt");
    let after = noted[0].after.as_ref().unwrap();
    assert_eq!(after["route"], "POST /v1/keys/{id}/revoke");
    assert_eq!((&after["code"], &after["status"]), (&json!("forbidden"), &json!(403)));

    // A token that is revoked says where it is still in use.
    app.post(&format!("/v1/tokens/{id}/revoke"), json!({})).send().await;
    revoke().send().await.is_problem(401, "token_invalid");
    let noted = attempts(&app).await;
    assert_eq!((noted.len(), noted[0].after.as_ref().unwrap()["code"].clone()), (2, json!("token_invalid")));

    // What is badly written, or only asked for, is no attempt; what somebody mistook for an id is not repeated.
    app.post("/v1/keys", json!({ "nam": "n" })).send().await.is_problem(400, "invalid_request");
    app.get("/v1/keys/key_0000000000").send().await.is_problem(404, "not_found");
    assert_eq!(attempts(&app).await.len(), 2);
    let strange = app.post("/v1/keys/nl_live_0123456789secretsecret/revoke", json!({ "reason": "r" }));
    strange.send().await.is_problem(404, "not_found");
    let noted = attempts(&app).await;
    assert_eq!((noted[0].target.kind.as_str(), noted.len()), ("route", 3));
    assert!(!format!("{noted:?}").contains("secretsecret"));
    app.stop().await;
}

on_both!(nobody_fills_the_audit_trail_with_refusals);
async fn nobody_fills_the_audit_trail_with_refusals(app: TestApp) {
    for _ in 0..70 {
        let revoke = app.post("/v1/keys/key_0000000000/revoke", json!({ "reason": "r" }));
        revoke.send().await.is_problem(404, "not_found");
    }
    let noted = attempts(&app).await.len();
    assert!((60..70).contains(&noted), "{noted}");
    let metrics = app.get("/metrics").send().await.text;
    let line = metrics.lines().find(|line| line.starts_with("nightlatch_refused_attempts_not_noted_total"));
    assert_eq!(line.and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok()), Some(70 - noted));
    app.stop().await;
}
