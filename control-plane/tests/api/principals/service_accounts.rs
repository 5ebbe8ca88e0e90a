//! Service accounts: their record, and what happens to their keys with them.

use reqwest::Method;
use serde_json::json;

use super::id;
use crate::app::TestApp;
use crate::on_both;

on_both!(
    /// S1-01, S1-04, S1-06: keys belong to service accounts; a key has a name and scopes, and is shown once.
    s1_01_keys_belong_to_a_service_account
);
async fn s1_01_keys_belong_to_a_service_account(app: TestApp) {
    let body = json!({ "name": "exporter", "description": "nightly export", "scopes": ["metrics:read", "logs:read"] });
    let made = app.post("/v1/service-accounts", body).header("idempotency-key", "one").send().await;
    assert_eq!(made.status, 201);
    assert_eq!(made.header("etag"), "\"1\"");
    let account = id(&made.json());
    assert!(account.starts_with("prn_"));
    assert_eq!(made.json()["scopes"], json!(["logs:read", "metrics:read"]));
    let issued = app.issue_for(&app.token, &account, &["metrics:read"]).await;
    assert_eq!(issued.status, 201, "{issued:?}");
    let (key, secret) = (issued.json()["key"].clone(), issued.json()["secret"].clone());
    assert_eq!((key["kind"].as_str(), key["principal"].as_str()), (Some("service_account"), Some(account.as_str())));
    assert_eq!(app.refused(&secret).await, None);
    let read = app.get(&format!("/v1/service-accounts/{account}")).send().await.json();
    assert_eq!((&read["usable_keys"], &read["state"]), (&json!(1), &json!("active")));
    let text = secret.as_str().unwrap();
    assert!(!app.get(&format!("/v1/keys/{}", id(&key))).send().await.text.contains(text));
    assert!(!app.get("/v1/audit?limit=200").send().await.text.contains(text));
    let beyond = app.issue_for(&app.token, &account, &["metrics:read", "metrics:write"]).await;
    assert_eq!(beyond.is_problem(422, "beyond_ceiling")["scopes"], json!(["metrics:write"]));
    app.stop().await;
}

on_both!(
    /// S1-02, S1-03: only owners and admins issue or revoke; an operator gets 403.
    s1_02_only_owners_and_admins_manage_keys_of_service_accounts
);
async fn s1_02_only_owners_and_admins_manage_keys_of_service_accounts(app: TestApp) {
    let account = id(&app.done("/v1/service-accounts", json!({ "name": "bridge" })).await);
    let kept = app.issue_for(&app.token, &account, &[]).await.json()["key"].clone();
    for role in ["operator", "viewer"] {
        let token = app.member_token(role, None).await;
        let before = app.number("SELECT COUNT(*) FROM keys").await;
        app.issue_for(&token, &account, &[]).await.is_problem(403, "forbidden");
        let key = format!("/v1/keys/{}", id(&kept));
        for (path, body) in [
            (format!("{key}/revoke"), json!({ "reason": "r" })),
            (format!("{key}/disable"), json!({})),
            (format!("{key}/rotations"), json!({ "overlap_seconds": 600, "reason": "r" })),
            ("/v1/service-accounts".to_owned(), json!({ "name": "n" })),
            (format!("/v1/service-accounts/{account}/suspend"), json!({})),
            (format!("/v1/service-accounts/{account}/remove"), json!({ "reason": "r" })),
        ] {
            app.post(&path, body).token(&token).send().await.is_problem(403, "forbidden");
        }
        assert_eq!(app.get(&key).token(&token).send().await.status, 200, "{role} sees");
        assert_eq!(app.get(&format!("/v1/service-accounts/{account}")).token(&token).send().await.status, 200);
        assert_eq!(app.number("SELECT COUNT(*) FROM keys").await, before);
    }
    let admin = app.member_token("admin", None).await;
    let issued = app.issue_for(&admin, &account, &[]).await;
    assert_eq!(issued.status, 201, "{issued:?}");
    let path = format!("/v1/keys/{}/revoke", id(&issued.json()["key"]));
    assert_eq!(app.post(&path, json!({ "reason": "r" })).token(&admin).send().await.status, 200);
    app.stop().await;
}

on_both!(
    /// S1-05: a narrower successor is 403 where the old key could reach, and the rotation says so before.
    s1_05_a_narrower_successor_is_refused_where_the_old_key_was_not
);
async fn s1_05_a_narrower_successor_is_refused_where_the_old_key_was_not(app: TestApp) {
    let account = id(&app.done("/v1/service-accounts", json!({ "name": "alerts" })).await);
    let routes = json!({ "routes": [{ "method": "GET", "path": "/logs", "scopes": ["logs:read"] }] });
    app.call(Method::PUT, "/v1/routes").header("if-match", "*").json(&routes).send().await;
    let old = app.issue_for(&app.token, &account, &["logs:read", "metrics:read"]).await.json();
    let body = json!({ "overlap_seconds": 600, "reason": "scheduled", "scopes": ["metrics:read"] });
    let started = app.done(&format!("/v1/keys/{}/rotations", id(&old["key"])), body).await;
    assert_eq!(started["warnings"][0]["code"], "scopes_lost", "{started}");
    let verdict = async |secret: &serde_json::Value| {
        let body = json!({ "key": secret, "method": "GET", "path": "/logs" });
        app.post("/v1/verify", body).send().await.json()["code"].clone()
    };
    assert_eq!(verdict(&started["secret"]).await, "scope_insufficient");
    assert_ne!(verdict(&old["secret"]).await, "scope_insufficient");
    app.stop().await;
}

on_both!(
    /// S1-13: the emergency: a new key, and the old one revoked before the consumer has it. No grace.
    s1_13_in_an_emergency_the_old_key_goes_first
);
async fn s1_13_in_an_emergency_the_old_key_goes_first(app: TestApp) {
    let account = id(&app.done("/v1/service-accounts", json!({ "name": "bridge" })).await);
    let old = app.issue_for(&app.token, &account, &[]).await.json();
    let path = format!("/v1/keys/{}/rotations", id(&old["key"]));
    let started = app.done(&path, json!({ "order": "revoke_first", "reason": "leaked" })).await;
    assert_eq!(app.refused(&old["secret"]).await.as_deref(), Some("key_revoked"));
    assert_eq!(app.refused(&started["secret"]).await, None);
    app.stop().await;
}

on_both!(
    /// S1-15, S1-16, S1-17: the expiry of a key is editable; the key works until then, and not after.
    s1_15_an_expiry_can_be_set_and_is_kept
);
async fn s1_15_an_expiry_can_be_set_and_is_kept(app: TestApp) {
    let account = id(&app.done("/v1/service-accounts", json!({ "name": "bridge" })).await);
    let old = app.issue_for(&app.token, &account, &[]).await.json();
    let key = id(&old["key"]);
    let in_a_week = crate::app::now() + jiff::SignedDuration::from_hours(7 * 24);
    let patch = app.call(Method::PATCH, &format!("/v1/keys/{key}")).header("if-match", "*");
    assert_eq!(patch.json(&json!({ "expires_at": in_a_week })).send().await.status, 200);
    assert_eq!(app.refused(&old["secret"]).await, None, "through the window");
    app.sql(&format!("UPDATE keys SET expires_at = 1 WHERE id = '{key}'")).await;
    assert_eq!(app.refused(&old["secret"]).await.as_deref(), Some("key_expired"));
    let read = app.get(&format!("/v1/service-accounts/{account}")).send().await.json();
    assert_eq!(read["usable_keys"], 0);
    app.stop().await;
}

on_both!(suspending_disables_every_key_and_resuming_lifts_that_alone);
async fn suspending_disables_every_key_and_resuming_lifts_that_alone(app: TestApp) {
    let account = id(&app.done("/v1/service-accounts", json!({ "name": "exporter" })).await);
    let path = format!("/v1/service-accounts/{account}");
    let plain = app.issue_for(&app.token, &account, &[]).await.json();
    let stopped = app.issue_for(&app.token, &account, &[]).await.json();
    let gone = app.issue_for(&app.token, &account, &[]).await.json();
    let other = app.issue("of another", &[]).await;
    app.done(&format!("/v1/keys/{}/disable", id(&stopped["key"])), json!({})).await;
    app.done(&format!("/v1/keys/{}/revoke", id(&gone["key"])), json!({ "reason": "r" })).await;
    let suspended = app.done(&format!("{path}/suspend"), json!({ "reason": "audit" })).await;
    assert_eq!((&suspended["keys"], &suspended["principal"]["state"]), (&json!(2), &json!("suspended")));
    assert_eq!(suspended["principal"]["usable_keys"], 0);
    assert_eq!(app.refused(&plain["secret"]).await.as_deref(), Some("key_disabled"));
    assert!(app.verify(&other.secret).await.allowed, "another principal's key");
    let read = app.get(&format!("/v1/keys/{}", id(&stopped["key"]))).send().await.json();
    assert_eq!(read["disabled_by"], json!(["admin", "principal_suspended"]));
    app.issue_for(&app.token, &account, &[]).await.is_problem(409, "principal_suspended");
    let rotate = json!({ "order": "revoke_first", "reason": "r" });
    let refused = app.post(&format!("/v1/keys/{}/rotations", id(&plain["key"])), rotate).send().await;
    refused.is_problem(409, "principal_suspended");
    app.done(&format!("/v1/keys/{}/enable", id(&plain["key"])), json!({})).await;
    assert_eq!(
        app.refused(&plain["secret"]).await.as_deref(),
        Some("key_disabled"),
        "enabling lifts only its own cause"
    );
    let again = app.done(&format!("{path}/suspend"), json!({})).await;
    assert_eq!(again["keys"], 0);
    let resumed = app.done(&format!("{path}/resume"), json!({})).await;
    assert_eq!((&resumed["keys"], &resumed["principal"]["usable_keys"]), (&json!(2), &json!(1)));
    assert_eq!(app.refused(&plain["secret"]).await, None);
    assert_eq!(app.refused(&stopped["secret"]).await.as_deref(), Some("key_disabled"), "somebody else stopped it");
    assert_eq!(app.refused(&gone["secret"]).await.as_deref(), Some("key_revoked"));
    for (action, times) in
        [("service_account.created", 1), ("service_account.suspended", 1), ("service_account.resumed", 1)]
    {
        assert_eq!(app.told(action).await, times, "{action}");
    }
    app.stop().await;
}

on_both!(removing_revokes_every_key_and_ends_its_rotations);
async fn removing_revokes_every_key_and_ends_its_rotations(app: TestApp) {
    let account = id(&app.done("/v1/service-accounts", json!({ "name": "exporter" })).await);
    let path = format!("/v1/service-accounts/{account}");
    let old = app.issue_for(&app.token, &account, &[]).await.json();
    let rotate = json!({ "overlap_seconds": 600, "reason": "scheduled" });
    let started = app.done(&format!("/v1/keys/{}/rotations", id(&old["key"])), rotate).await;
    app.post(&format!("{path}/remove"), json!({})).send().await.is_problem(400, "invalid_request");
    let removed = app.done(&format!("{path}/remove"), json!({ "reason": "gone" })).await;
    assert_eq!((&removed["keys"], &removed["principal"]["state"]), (&json!(2), &json!("removed")));
    for secret in [&old["secret"], &started["secret"]] {
        assert_eq!(app.refused(secret).await.as_deref(), Some("key_revoked"));
    }
    let rotation = app.get(&format!("/v1/rotations/{}", id(&started["rotation"]))).send().await.json();
    assert_eq!((&rotation["state"], &rotation["outcome"]), (&json!("completed"), &json!("predecessor_revoked")));
    for key in [id(&old["key"]), id(&started["key"])] {
        let read = app.get(&format!("/v1/keys/{key}")).send().await.json();
        assert_eq!(read["revoke_reason"], "gone");
        assert_eq!(app.get(&format!("/v1/keys/{key}/receipt")).send().await.status, 200, "as any revocation");
    }
    let again = app.done(&format!("{path}/remove"), json!({ "reason": "again" })).await;
    assert_eq!(again["keys"], 0);
    assert_eq!(again["principal"]["removed_at"], removed["principal"]["removed_at"]);
    assert_eq!(app.told("service_account.removed").await, 1);
    app.post(&format!("{path}/resume"), json!({})).send().await.is_problem(409, "principal_removed");
    app.issue_for(&app.token, &account, &[]).await.is_problem(409, "principal_removed");
    let line = json!({ "digest": "ab".repeat(32), "name": "old", "environment": "live", "entropy_bits": 256, "principal": account });
    let import = app.call(Method::POST, "/v1/keys/import").body("application/x-ndjson", line.to_string());
    let report = import.send().await.json();
    assert_eq!(
        (&report["created"], &report["errors"][0]["code"]),
        (&json!(0), &json!("principal_removed")),
        "{report}"
    );
    app.stop().await;
}

on_both!(of_keys_issued_while_their_account_is_removed_none_works);
async fn of_keys_issued_while_their_account_is_removed_none_works(app: TestApp) {
    let account = id(&app.done("/v1/service-accounts", json!({ "name": "exporter" })).await);
    let first = app.issue_for(&app.token, &account, &[]).await.json();
    let rotations = format!("/v1/keys/{}/rotations", id(&first["key"]));
    let issue = async |number: usize| {
        if number % 4 == 3 {
            let rotate = json!({ "overlap_seconds": 600, "reason": "r" });
            app.post(&rotations, rotate).send().await
        } else {
            app.issue_for(&app.token, &account, &[]).await
        }
    };
    let issued = futures::future::join_all((0..24).map(issue));
    let path = format!("/v1/service-accounts/{account}/remove");
    let removed = app.post(&path, json!({ "reason": "gone" })).send();
    let (issued, removed) = futures::future::join(issued, removed).await;
    assert_eq!(removed.status, 200, "{removed:?}");
    for answer in issued.iter().filter(|answer| answer.status == 201) {
        assert_eq!(app.refused(&answer.json()["secret"]).await.as_deref(), Some("key_revoked"));
    }
    for answer in issued.iter().filter(|answer| answer.status != 201) {
        assert_eq!(answer.status, 409, "{answer:?}");
    }
    let subject = account.strip_prefix("prn_").unwrap();
    let open = "SELECT COUNT(*) FROM rotations WHERE state = 'open'";
    let live = format!(
        "SELECT COUNT(*) FROM keys WHERE kind = 'service_account' AND subject = {subject} AND state <> 'revoked'"
    );
    assert_eq!((app.number(open).await, app.number(&live).await), (0, 0));
    app.stop().await;
}

on_both!(the_default_principal_can_be_suspended_and_not_removed);
async fn the_default_principal_can_be_suspended_and_not_removed(app: TestApp) {
    let key = app.issue("k", &[]).await;
    app.post("/v1/service-accounts/prn_1/remove", json!({ "reason": "r" }))
        .send()
        .await
        .is_problem(409, "default_principal");
    assert!(app.verify(&key.secret).await.allowed);
    app.done("/v1/service-accounts/prn_1/suspend", json!({})).await;
    assert!(!app.verify(&key.secret).await.allowed);
    app.done("/v1/service-accounts/prn_1/resume", json!({})).await;
    assert!(app.verify(&key.secret).await.allowed);
    app.stop().await;
}

on_both!(service_accounts_are_listed_by_state_a_page_at_a_time);
async fn service_accounts_are_listed_by_state_a_page_at_a_time(app: TestApp) {
    let mut made = vec!["prn_1".to_owned()];
    for number in 0..4 {
        made.push(id(&app.done("/v1/service-accounts", json!({ "name": format!("account {number}") })).await));
    }
    let partner = id(&app.done("/v1/partners", json!({ "name": "no service account" })).await);
    app.done(&format!("/v1/service-accounts/{}/suspend", made[2]), json!({})).await;
    app.done(&format!("/v1/service-accounts/{}/remove", made[3]), json!({ "reason": "r" })).await;
    let listed = async |query: &str| {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = app.get(&format!("/v1/service-accounts?limit=2{query}{cursor}")).send().await.json();
            found.extend(page["items"].as_array().unwrap().iter().map(id));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    };
    made.reverse();
    assert_eq!(listed("").await, made);
    assert_eq!(listed("&state=suspended").await, [made[2].clone()]);
    assert_eq!(listed("&state=removed").await, [made[1].clone()]);
    assert_eq!(listed("&state=active").await, [made[0].clone(), made[3].clone(), made[4].clone()]);
    app.get(&format!("/v1/service-accounts/{partner}")).send().await.is_problem(404, "not_found");
    app.post(&format!("/v1/service-accounts/{partner}/remove"), json!({ "reason": "r" }))
        .send()
        .await
        .is_problem(404, "not_found");
    app.stop().await;
}

on_both!(a_service_account_is_changed_as_it_was_read);
async fn a_service_account_is_changed_as_it_was_read(app: TestApp) {
    let account = id(&app.done("/v1/service-accounts", json!({ "name": "exporter", "scopes": ["a"] })).await);
    let path = format!("/v1/service-accounts/{account}");
    let key = app.issue_for(&app.token, &account, &["a"]).await.json();
    let patch = |tag: &str, body| app.call(Method::PATCH, &path).header("if-match", tag).json(&body).send();
    let changed = patch("\"1\"", json!({ "name": "exporter v2", "description": "d", "scopes": ["b"] })).await;
    assert_eq!((changed.status.as_u16(), changed.header("etag")), (200, "\"2\""), "{changed:?}");
    patch("\"1\"", json!({ "name": "late" })).await.is_problem(412, "etag_stale");
    assert_eq!(app.refused(&key["secret"]).await, None, "a key keeps what it has");
    app.issue_for(&app.token, &account, &["a"]).await.is_problem(422, "beyond_ceiling");
    let rotate = json!({ "overlap_seconds": 600, "reason": "r" });
    let rotations = format!("/v1/keys/{}/rotations", id(&key["key"]));
    app.post(&rotations, rotate.clone()).send().await.is_problem(422, "beyond_ceiling");
    let dry = json!({ "overlap_seconds": 600, "reason": "r", "dry_run": true });
    app.post(&rotations, dry).send().await.is_problem(422, "beyond_ceiling");
    assert_eq!(patch("*", json!({ "scopes": null, "description": null })).await.json()["scopes"], json!(null));
    assert_eq!(app.post(&rotations, rotate).send().await.status, 201);
    app.stop().await;
}
