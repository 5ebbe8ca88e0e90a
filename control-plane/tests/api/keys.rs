//! A key's life, without rotation.

use std::time::Duration;

use jiff::Timestamp;
use nightlatch_api::{AuditFilter, Code, DisableKey, EnableKey, Environment, IssueKey, KeyState, RevokeKey, UpdateKey};
use serde_json::{Value, json};

use crate::app::{TestApp, now};
use crate::on_both;

fn reason() -> RevokeKey {
    RevokeKey::new("test")
}

on_both!(s0_03_s0_04_create_and_revoke_alone_rotate_a_key);
async fn s0_03_s0_04_create_and_revoke_alone_rotate_a_key(app: TestApp) {
    let old = app.issue("client 2025", &["invoices:read"]).await;
    let new = app.issue("client 2026, replaces client 2025", &["invoices:read"]).await;
    assert!(app.verify(&old.secret).await.allowed, "both are valid in between");
    assert!(app.verify(&new.secret).await.allowed, "both are valid in between");
    app.client.revoke_key(&old.key.id, &reason()).await.unwrap();
    assert!(!app.verify(&old.secret).await.allowed);
    assert!(app.verify(&new.secret).await.allowed);
    app.stop().await;
}

on_both!(s0_06_an_owner_has_any_number_of_active_keys);
async fn s0_06_an_owner_has_any_number_of_active_keys(app: TestApp) {
    for number in 0..12 {
        let owner = Some("ana".to_owned());
        let request = IssueKey { owner, ..IssueKey::new(format!("key {number}"), Environment::Live) };
        app.client.issue_key(&request).await.unwrap();
    }
    let page = app.get("/v1/keys?owner=ana&state=active&limit=200").send().await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 12);
    app.stop().await;
}

on_both!(s0_07_revoking_one_key_leaves_another_of_the_same_scopes);
async fn s0_07_revoking_one_key_leaves_another_of_the_same_scopes(app: TestApp) {
    let a = app.issue("a", &["x"]).await;
    let b = app.issue("b", &["x"]).await;
    let before = app.client.key(&b.key.id).await.unwrap();
    app.client.revoke_key(&a.key.id, &reason()).await.unwrap();
    assert_eq!(app.client.key(&b.key.id).await.unwrap(), before);
    assert!(app.verify(&b.secret).await.allowed);
    app.stop().await;
}

on_both!(s0_08_s2_09_s2_14_a_revoked_key_is_refused_on_the_next_call);
async fn s0_08_s2_09_s2_14_a_revoked_key_is_refused_on_the_next_call(app: TestApp) {
    let issued = app.issue("k", &[]).await;
    let revoked = app.client.revoke_key(&issued.key.id, &reason()).await.unwrap();
    let verdict = app.verify(&issued.secret).await;
    assert!(!verdict.allowed);
    assert_eq!((verdict.status, verdict.code.as_deref()), (401, Some("key_revoked")));
    let bound = Duration::from_millis(app.set.bound_ms);
    let after = revoked.in_force_by.duration_since(revoked.revoked_at);
    assert!(after.unsigned_abs() >= bound && after.unsigned_abs() < bound + Duration::from_secs(5), "{revoked:?}");
    app.stop().await;
}

on_both!(s0_12_s0_18_a_key_is_told_by_prefix_and_label);
async fn s0_12_s0_18_a_key_is_told_by_prefix_and_label(app: TestApp) {
    let name = "exporter, rotated 2026-01-05, replaces nl_live_0aB issued 2025-10-01";
    let issued = app.issue(name, &[]).await;
    let key = app.client.key(&issued.key.id).await.unwrap().value;
    assert_eq!(key.name, name);
    assert!(issued.secret.expose().starts_with(&key.prefix));
    assert_eq!(key.id, format!("key_{}", key.prefix.rsplit('_').next().unwrap()));
    assert_eq!(key.short_prefix, key.id[4..12]);
    app.stop().await;
}

on_both!(s0_15_s1_06_s3_17_the_secret_is_shown_once_and_kept_nowhere);
async fn s0_15_s1_06_s3_17_the_secret_is_shown_once_and_kept_nowhere(app: TestApp) {
    let issued = app.issue("k", &["a"]).await;
    let secret = issued.secret.expose();
    let id = &issued.key.id;
    for path in [format!("/v1/keys/{id}"), "/v1/keys".into(), "/v1/audit".into(), format!("/v1/audit?key={id}")] {
        let answer = app.get(&path).send().await;
        assert_eq!(answer.status, 200);
        // Not the whole text, nor its secret part.
        assert!(!answer.text.contains(&secret[18..]), "{path}");
    }
    assert!(!serde_json::to_string(&issued.key).unwrap().contains(&secret[18..]));
    app.stop().await;
}

on_both!(s1_04_s4_02_a_key_has_a_name_and_the_scopes_asked_for_and_no_more);
async fn s1_04_s4_02_a_key_has_a_name_and_the_scopes_asked_for_and_no_more(app: TestApp) {
    let none = app.issue("nothing", &[]).await;
    assert!(none.key.scopes.is_empty(), "omitted scopes mean none");
    let some = app.issue("some", &["b:write", "a:read", "b:write"]).await;
    assert_eq!(some.key.scopes, ["a:read", "b:write"]);
    let catalogue = app.get("/v1/scopes").send().await.json();
    assert_eq!(catalogue["items"][0]["name"], "a:read");
    assert_eq!(catalogue["items"].as_array().unwrap().len(), 2);
    app.stop().await;
}

on_both!(s1_09_s1_10_s1_11_s1_12_issue_and_revoke_are_in_the_audit_trail);
async fn s1_09_s1_10_s1_11_s1_12_issue_and_revoke_are_in_the_audit_trail(app: TestApp) {
    let issued = app.issue("audited", &["a:read", "b:write"]).await;
    let revoke = app.post(&format!("/v1/keys/{}/revoke", issued.key.id), json!({ "reason": "left the company" }));
    assert_eq!(revoke.header("x-request-id", "the-revoke").send().await.status, 200);
    let filter = AuditFilter { category: Some("user.updated".into()), ..AuditFilter::default() };
    let rows = app.client.list_audit(&filter).await.unwrap().items;
    let actions: Vec<_> = rows.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["key.revoked", "key.issued"]);
    for row in &rows {
        assert_eq!(row.actor.kind, "token");
        assert!(row.actor.id.starts_with("tok_"));
        assert_eq!(row.short_prefix.as_deref(), Some(issued.key.short_prefix.as_str()));
        assert_eq!(row.prefix.as_deref(), Some(issued.key.prefix.as_str()));
        assert_eq!(row.scopes.as_deref(), Some(["a:read".to_owned(), "b:write".to_owned()].as_slice()));
        assert_eq!(row.target.id, issued.key.id);
        assert!(row.source.as_deref().is_some_and(|source| source == "127.0.0.1"));
        assert_eq!(row.sequence.is_some(), row.hash.is_some() && row.previous_hash.is_some());
        assert!(!serde_json::to_string(row).unwrap().contains(&issued.secret.expose()[18..]));
    }
    assert_eq!(rows[0].reason.as_deref(), Some("left the company"));
    assert_eq!(rows[0].request_id, "the-revoke");
    // Guarantee 7: chained by the next head at the latest.
    app.server.publisher().flush().await.unwrap();
    let rows = app.client.list_audit(&filter).await.unwrap().items;
    assert!(rows.iter().all(|row| row.sequence.is_some() && row.hash.is_some()));
    let own = AuditFilter { action: Some("key.revoked".into()), ..AuditFilter::default() };
    assert_eq!(app.client.list_audit(&own).await.unwrap().items.len(), 1);
    app.stop().await;
}

on_both!(s1_15_s1_16_s1_17_an_expiry_can_be_set_later_and_then_holds);
async fn s1_15_s1_16_s1_17_an_expiry_can_be_set_later_and_then_holds(app: TestApp) {
    let issued = app.issue("old", &[]).await;
    assert_eq!(issued.key.expires_at, None);
    let key = app.client.key(&issued.key.id).await.unwrap();
    let in_a_week: Timestamp = now() + Duration::from_millis(7 * 24 * 3_600_000 + 123);
    let change = UpdateKey { expires_at: Some(Some(in_a_week)), ..UpdateKey::default() };
    let updated = app.client.update_key(&issued.key.id, &key.etag, &change).await.unwrap();
    let echoed = updated.value.expires_at.unwrap();
    assert_eq!(echoed.as_second(), in_a_week.as_second());
    assert_eq!(echoed.subsec_nanosecond(), 0, "fractions are dropped, and echoed so");
    assert!(app.verify(&issued.secret).await.allowed, "it works through the window");
    // The week passes.
    app.sql(&format!("UPDATE keys SET expires_at = 1700000000 WHERE id = '{}'", issued.key.id)).await;
    let verdict = app.verify(&issued.secret).await;
    assert_eq!((verdict.status, verdict.code.as_deref()), (401, Some("key_expired")));
    let key = app.client.key(&issued.key.id).await.unwrap();
    assert_eq!(key.value.state, KeyState::Expired);
    // Final, whether or not a job has run.
    let revive = UpdateKey { expires_at: Some(None), ..UpdateKey::default() };
    let refused = app.client.update_key(&issued.key.id, &key.etag, &revive).await.unwrap_err();
    assert!(refused.is(Code::KeyExpired), "{refused}");
    app.stop().await;
}

on_both!(a_change_needs_the_version_it_was_made_for);
async fn a_change_needs_the_version_it_was_made_for(app: TestApp) {
    let id = app.issue("k", &[]).await.key.id;
    let path = format!("/v1/keys/{id}");
    let patch = |body: Value| app.call(reqwest::Method::PATCH, &path).json(&body);
    patch(json!({ "name": "x" })).send().await.is_problem(428, "if_match_missing");
    let first = app.get(&path).send().await;
    let etag = first.header("etag").to_owned();
    let second =
        patch(json!({ "owner": "ana", "labels": { "team": "billing" } })).header("if-match", &etag).send().await;
    assert_eq!(second.status, 200, "{second:?}");
    assert_ne!(second.header("etag"), etag);
    let stale = patch(json!({ "owner": "bo" })).header("if-match", &etag).send().await;
    let problem = stale.is_problem(412, "etag_stale");
    assert_eq!(problem["etag"], second.header("etag"));
    for tag in ["\"x\"", "7", "W/\"1\"", ""] {
        patch(json!({ "owner": "bo" })).header("if-match", tag).send().await.is_problem(412, "etag_stale");
    }
    let key = app.get(&path).send().await.json();
    assert_eq!((&key["owner"], &key["labels"]["team"], &key["name"]), (&json!("ana"), &json!("billing"), &json!("k")));
    let cleared = patch(json!({ "owner": null, "labels": {} })).header("if-match", "*").send().await.json();
    assert_eq!((&cleared["owner"], &cleared["labels"]), (&Value::Null, &json!({})));
    app.stop().await;
}

on_both!(a_disabled_key_is_refused_until_it_is_enabled);
async fn a_disabled_key_is_refused_until_it_is_enabled(app: TestApp) {
    let issued = app.issue("k", &[]).await;
    let id = &issued.key.id;
    let disabled = app.client.disable_key(id, &DisableKey::default()).await.unwrap();
    assert_eq!((disabled.state, disabled.disabled_by), (KeyState::Disabled, vec!["admin".to_owned()]));
    assert_eq!(app.verify(&issued.secret).await.code.as_deref(), Some("key_disabled"));
    // Again changes nothing; no body is needed.
    let again = app.call(reqwest::Method::POST, &format!("/v1/keys/{id}/disable")).send().await;
    assert_eq!(again.status, 200, "{again:?}");
    let enabled = app.client.enable_key(id, &EnableKey { reason: Some("back".into()) }).await.unwrap();
    assert_eq!(enabled.state, KeyState::Active);
    assert!(app.verify(&issued.secret).await.allowed);
    app.stop().await;
}

on_both!(s2_13_s2_16_s2_17_s3_18_a_revoked_key_stays_revoked_and_readable);
async fn s2_13_s2_16_s2_17_s3_18_a_revoked_key_stays_revoked_and_readable(app: TestApp) {
    let issued = app.issue("k", &["a"]).await;
    let id = &issued.key.id;
    let first = app.client.revoke_key(id, &reason()).await.unwrap();
    let audit = app.number("SELECT COUNT(*) FROM audit").await;
    let again = app.client.revoke_key(id, &RevokeKey::new("another")).await.unwrap();
    assert_eq!(again.revoked_at, first.revoked_at, "repeating changes nothing");
    assert_eq!(again.key.revoke_reason.as_deref(), Some("test"));
    assert_eq!(app.number("SELECT COUNT(*) FROM audit").await, audit);
    let key = app.client.key(id).await.unwrap();
    assert_eq!(key.value.state, KeyState::Revoked);
    assert_eq!(key.value.name, "k");
    let refused = app.client.enable_key(id, &EnableKey::default()).await.unwrap_err();
    assert!(refused.is(Code::KeyRevoked), "{refused}");
    let refused = app.client.disable_key(id, &DisableKey::default()).await.unwrap_err();
    assert!(refused.is(Code::KeyRevoked), "{refused}");
    let revive = UpdateKey { expires_at: Some(Some(now() + Duration::from_secs(60))), ..UpdateKey::default() };
    assert!(app.client.update_key(id, &key.etag, &revive).await.unwrap_err().is(Code::KeyRevoked));
    let body = json!({ "overlap_seconds": 3600, "reason": "r" });
    app.post(&format!("/v1/keys/{id}/rotations"), body).send().await.is_problem(409, "key_revoked");
    assert!(!app.verify(&issued.secret).await.allowed);
    app.stop().await;
}

on_both!(s3_19_the_issuer_of_a_key_is_known_and_searchable);
async fn s3_19_the_issuer_of_a_key_is_known_and_searchable(app: TestApp) {
    let other = app.post("/v1/tokens", json!({ "name": "other", "kind": "management" })).send().await.json();
    let (id, text) = (other["token"]["id"].as_str().unwrap(), other["secret"].as_str().unwrap());
    app.issue("mine", &[]).await;
    app.post("/v1/keys", json!({ "name": "theirs", "environment": "test" })).token(text).send().await;
    let page = app.get(&format!("/v1/keys?issued_by={id}")).send().await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    assert_eq!(page["items"][0]["name"], "theirs");
    assert_eq!(page["items"][0]["issued_by"], json!({ "type": "token", "id": id }));
    app.stop().await;
}

#[tokio::test]
async fn a_new_key_is_usable_everywhere_a_bound_after_its_commit() {
    let app = TestApp::sqlite().await;
    let issued = app.issue("k", &[]).await;
    let bound = Duration::from_millis(app.set.bound_ms);
    let after = issued.key.usable_from.duration_since(issued.key.created_at).unsigned_abs();
    assert!(after >= bound && after < bound + Duration::from_secs(2), "{:?}", issued.key);
    let later = app.client.key(&issued.key.id).await.unwrap().value;
    assert!(later.usable_from >= issued.key.usable_from, "what is said later must not be sooner");
    assert_eq!(later.usable_from.subsec_nanosecond(), 0);
    app.stop().await;
}

#[tokio::test]
async fn secrets_are_never_cached() {
    let app = TestApp::sqlite().await;
    let issued = app.post("/v1/keys", json!({ "name": "k", "environment": "live" })).send().await;
    assert_eq!(issued.status, 201);
    assert_eq!(issued.header("cache-control"), "no-store");
    let token = app.post("/v1/tokens", json!({ "name": "t", "kind": "management" })).send().await;
    assert_eq!((token.status.as_u16(), token.header("cache-control")), (201, "no-store"));
    app.stop().await;
}

#[tokio::test]
async fn verify_answers_only_the_holder_of_the_secret() {
    let app = TestApp::sqlite().await;
    let issued = app.issue("k", &["a"]).await;
    app.client.revoke_key(&issued.key.id, &reason()).await.unwrap();
    let mut guess = issued.secret.expose().to_owned();
    guess.replace_range(30..31, if &guess[30..31] == "a" { "b" } else { "a" });
    for text in ["", "junk", &guess, &"x".repeat(5000)] {
        let verdict = app.verify(&text.into()).await;
        assert_eq!(
            (verdict.allowed, verdict.code.as_deref(), &verdict.key),
            (false, Some("key_invalid"), &None),
            "{text}"
        );
    }
    app.stop().await;
}

#[tokio::test]
async fn verify_is_limited_per_token() {
    let app = TestApp::sqlite().await;
    let call = || app.post("/v1/verify", json!({ "key": "x" })).send();
    let answers = futures::future::join_all((0..400).map(|_| call())).await;
    let limited = answers.iter().find(|answer| answer.status == 429).expect("400 calls at once are too many");
    limited.is_problem(429, "rate_limited");
    assert_eq!(limited.header("retry-after"), "1");
    // Others are not held up.
    let other = app.post("/v1/tokens", json!({ "name": "other", "kind": "management" })).send().await.json();
    let answer = app.post("/v1/verify", json!({ "key": "x" })).token(other["secret"].as_str().unwrap()).send().await;
    assert_eq!(answer.status, 200);
    app.stop().await;
}
