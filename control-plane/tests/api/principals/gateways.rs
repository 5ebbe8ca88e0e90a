//! Gateways: pairing, pairing again, unpairing, and that nothing else moves their keys.

use reqwest::Method;
use serde_json::{Value, json};

use super::id;
use crate::app::{Answer, TestApp};
use crate::on_both;

async fn gateway(app: &TestApp) -> (String, Value) {
    let body = json!({ "name": "gate, Ulm", "environment": "live", "scopes": ["telemetry:write"] });
    let made = app.done("/v1/gateways", body).await;
    (id(&made["gateway"]), made["code"].clone())
}

async fn pair(app: &TestApp, code: &Value) -> Answer {
    // The device has no token: the code is the proof.
    app.post("/v1/gateways/pair", json!({ "code": code })).without_token().send().await
}

on_both!(a_gateway_gets_its_key_by_pairing);
async fn a_gateway_gets_its_key_by_pairing(app: TestApp) {
    let (gate, code) = gateway(&app).await;
    assert!(code.as_str().unwrap().starts_with("nlp_live_"));
    let read = app.get(&format!("/v1/gateways/{gate}")).send().await;
    assert_eq!((&read.json()["state"], &read.json()["key"]), (&json!("waiting"), &json!(null)));
    let paired = pair(&app, &code).await;
    assert_eq!(paired.status, 201, "{paired:?}");
    let paired = paired.json();
    let key = &paired["key"];
    assert_eq!((&key["kind"], &key["principal"]), (&json!("gateway"), &json!(gate)));
    assert_eq!((&key["scopes"], &key["environment"]), (&json!(["telemetry:write"]), &json!("live")));
    assert_eq!(key["issued_by"], json!({ "type": "gateway", "id": gate }));
    assert_eq!(paired["gateway"]["state"], "paired");
    assert_eq!(app.refused(&paired["secret"]).await, None);
    for text in [
        app.get(&format!("/v1/gateways/{gate}")).send().await.text,
        app.get("/v1/gateways").send().await.text,
        app.get("/v1/audit?limit=200").send().await.text,
    ] {
        assert!(!text.contains(code.as_str().unwrap()) && !text.contains(paired["secret"].as_str().unwrap()));
    }
    assert_eq!((app.told("gateway.created").await, app.told("gateway.paired").await), (1, 1));
    app.stop().await;
}

on_both!(a_pairing_code_is_good_once_and_all_bad_ones_are_alike);
async fn a_pairing_code_is_good_once_and_all_bad_ones_are_alike(app: TestApp) {
    let (_, used) = gateway(&app).await;
    assert_eq!(pair(&app, &used).await.status, 201);
    let (late, expired) = gateway(&app).await;
    let subject = late.strip_prefix("prn_").unwrap();
    app.sql(&format!("UPDATE gateways SET code_expires_at = 1 WHERE subject = {subject}")).await;
    assert_eq!(app.get(&format!("/v1/gateways/{late}")).send().await.json()["state"], "unpaired");
    let (replaced, overtaken) = gateway(&app).await;
    app.done(&format!("/v1/gateways/{replaced}/pairing-code"), json!({})).await;
    let (ended, taken_back) = gateway(&app).await;
    app.done(&format!("/v1/gateways/{ended}/unpair"), json!({ "reason": "lost" })).await;
    let before = app.footprint().await;
    let token = json!(app.token);
    let mut answers = Vec::new();
    for code in [&used, &expired, &overtaken, &taken_back, &token, &json!("nlp_live_x"), &json!("")] {
        let call = app.post("/v1/gateways/pair", json!({ "code": code })).without_token();
        let answer = call.header("x-request-id", "same").send().await;
        answer.is_problem(401, "pairing_code_invalid");
        answers.push(answer.text);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(app.footprint().await, before, "a refused call changed something");
    app.stop().await;
}

on_both!(of_many_that_use_one_code_at_once_one_gets_a_key);
async fn of_many_that_use_one_code_at_once_one_gets_a_key(app: TestApp) {
    let (gate, code) = gateway(&app).await;
    let answers = futures::future::join_all((0..12).map(|_| pair(&app, &code))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.is_problem(401, "pairing_code_invalid");
    }
    let subject = gate.strip_prefix("prn_").unwrap();
    assert_eq!(
        app.number(&format!("SELECT COUNT(*) FROM keys WHERE kind = 'gateway' AND subject = {subject}")).await,
        1
    );
    app.stop().await;
}

on_both!(
    /// S1-18: the key of a gateway is changed by pairing again.
    s1_18_pairing_again_replaces_the_key
);
async fn s1_18_pairing_again_replaces_the_key(app: TestApp) {
    let (gate, code) = gateway(&app).await;
    let path = format!("/v1/gateways/{gate}/pairing-code");
    let first = pair(&app, &code).await.json();
    // Until the code is used nothing changes.
    let offered = app.done(&path, json!({})).await;
    assert_eq!(
        (&offered["gateway"]["state"], &offered["gateway"]["code_order"]),
        (&json!("paired"), &json!("issue_first"))
    );
    assert_eq!(app.refused(&first["secret"]).await, None);
    let second = pair(&app, &offered["code"]).await.json();
    assert_eq!(second["key"]["predecessor"], first["key"]["id"]);
    let until: jiff::Timestamp = second["old_ends_by"].as_str().unwrap().parse().unwrap();
    let usable: jiff::Timestamp = second["key"]["usable_from"].as_str().unwrap().parse().unwrap();
    assert!(
        until.duration_since(usable).abs() < jiff::SignedDuration::from_secs(5),
        "{until} is a bound from now: {usable}"
    );
    assert_eq!(app.refused(&first["secret"]).await, None, "both work until every edge knows the new one");
    assert_eq!(app.refused(&second["secret"]).await, None);
    let offered = app.done(&path, json!({ "order": "revoke_first" })).await;
    assert_eq!(app.refused(&second["secret"]).await, None);
    let third = pair(&app, &offered["code"]).await.json();
    assert_eq!(
        (app.refused(&second["secret"]).await.as_deref(), &third["old_ends_by"]),
        (Some("key_revoked"), &json!(null))
    );
    assert_eq!(app.refused(&third["secret"]).await, None);
    let unpaired = app.done(&format!("/v1/gateways/{gate}/unpair"), json!({ "reason": "moved" })).await;
    assert_eq!(
        (&unpaired["keys"], &unpaired["gateway"]["state"]),
        (&json!(2), &json!("unpaired")),
        "the retiring one too"
    );
    for secret in [&first["secret"], &second["secret"], &third["secret"]] {
        assert_eq!(app.refused(secret).await.as_deref(), Some("key_revoked"));
    }
    let key = app.get(&format!("/v1/keys/{}", id(&third["key"]))).send().await.json();
    assert_eq!(key["revoke_reason"], "moved");
    let again = app.done(&format!("/v1/gateways/{gate}/unpair"), json!({ "reason": "again" })).await;
    assert_eq!((&again["keys"], &again["gateway"]["unpaired_at"]), (&json!(0), &unpaired["gateway"]["unpaired_at"]));
    assert_eq!(app.told("gateway.unpaired").await, 1);
    // It can be paired again: it begins anew.
    let offered = app.done(&path, json!({})).await;
    let fourth = pair(&app, &offered["code"]).await.json();
    assert_eq!(fourth["key"]["predecessor"], json!(null));
    app.stop().await;
}

on_both!(
    /// S1-18, S1-19: through the keys' own calls a gateway's key is neither made, changed nor ended; the answer names the
    /// call that works.
    s1_19_keys_of_gateways_are_not_managed_as_keys
);
async fn s1_19_keys_of_gateways_are_not_managed_as_keys(app: TestApp) {
    let (gate, code) = gateway(&app).await;
    let paired = pair(&app, &code).await.json();
    let offered = app.done(&format!("/v1/gateways/{gate}/pairing-code"), json!({})).await;
    let second = pair(&app, &offered["code"]).await.json();
    let rotation = {
        let listed = app.get(&format!("/v1/rotations?key={}", id(&paired["key"]))).send().await.json();
        id(&listed["items"][0])
    };
    let key = format!("/v1/keys/{}", id(&second["key"]));
    let before = app.number("SELECT COUNT(*) FROM changes").await;
    let (offer, unpair) =
        (format!("POST /v1/gateways/{gate}/pairing-code"), format!("POST /v1/gateways/{gate}/unpair"));
    let calls = [
        ("/v1/keys".to_owned(), json!({ "name": "k", "environment": "live", "principal": gate }), &offer),
        (format!("{key}/rotations"), json!({ "overlap_seconds": 600, "reason": "r" }), &offer),
        (format!("{key}/rotations"), json!({ "order": "revoke_first", "reason": "r" }), &offer),
        (format!("/v1/rotations/{rotation}/extend"), json!({ "overlap_seconds": 6000 }), &offer),
        (format!("/v1/rotations/{rotation}/cancel"), json!({ "successor": "keep" }), &offer),
        (format!("/v1/rotations/{rotation}/complete"), json!({}), &offer),
        (format!("{key}/revoke"), json!({ "reason": "r" }), &unpair),
        (format!("{key}/disable"), json!({}), &unpair),
        (format!("{key}/enable"), json!({}), &unpair),
    ];
    for (path, body, call) in calls {
        let answer = app.post(&path, body).send().await;
        assert_eq!(answer.is_problem(409, "not_revocable_here")["call"], call.as_str(), "{path}");
    }
    let patch = app.call(Method::PATCH, &key).header("if-match", "*");
    let answer = patch.json(&json!({ "expires_at": "2100-01-01T00:00:00Z" })).send().await;
    assert_eq!(answer.is_problem(409, "not_revocable_here")["call"], unpair.as_str());
    let line = json!({ "digest": "ab".repeat(32), "name": "old", "environment": "live", "entropy_bits": 256, "principal": gate });
    let import = app.call(Method::POST, "/v1/keys/import").body("application/x-ndjson", line.to_string());
    assert_eq!(import.send().await.json()["errors"][0]["code"], "not_revocable_here");
    assert_eq!(app.number("SELECT COUNT(*) FROM changes").await, before, "nothing was changed");
    let operator = app.member_token("operator", None).await;
    app.post(&format!("{key}/revoke"), json!({ "reason": "r" }))
        .token(&operator)
        .send()
        .await
        .is_problem(403, "forbidden");
    app.post(&format!("/v1/gateways/{gate}/unpair"), json!({ "reason": "r" }))
        .token(&operator)
        .send()
        .await
        .is_problem(403, "forbidden");
    assert_eq!(app.get(&key).token(&operator).send().await.status, 200, "seen as any key");
    app.stop().await;
}

on_both!(a_gateway_whose_key_was_denied_is_paired_again);
async fn a_gateway_whose_key_was_denied_is_paired_again(app: TestApp) {
    let (gate, code) = gateway(&app).await;
    let first = pair(&app, &code).await.json();
    let end = format!("UPDATE keys SET state = 'revoked', revoked_at = 1 WHERE id = '{}'", id(&first["key"]));
    app.sql(&end).await;
    let offered = app.done(&format!("/v1/gateways/{gate}/pairing-code"), json!({})).await;
    let second = pair(&app, &offered["code"]).await;
    assert_eq!(second.status, 201, "{second:?}");
    assert_eq!(second.json()["key"]["predecessor"], first["key"]["id"]);
    app.stop().await;
}

#[tokio::test]
async fn a_code_made_again_is_answered_again() {
    let app = TestApp::sqlite().await;
    let body = json!({ "name": "gate", "environment": "test" });
    let make = || app.post("/v1/gateways", body.clone()).header("idempotency-key", "one").send();
    let (first, second) = (make().await.json(), make().await.json());
    assert_eq!(first, second);
    assert_eq!(app.number("SELECT COUNT(*) FROM gateways").await, 1);
    let paired = pair(&app, &first["code"]).await.json();
    assert_eq!(paired["key"]["environment"], "test");
    app.stop().await;
}

on_both!(
    /// S3-14: whoever made the code could have kept it.
    s3_14_a_code_of_somebody_who_left_pairs_nothing
);
async fn s3_14_a_code_of_somebody_who_left_pairs_nothing(app: TestApp) {
    let (gate, first) = gateway(&app).await;
    let paired = pair(&app, &first).await.json();
    let bo = crate::joining::join(&app, "bo", "admin").await;
    let offered =
        app.post(&format!("/v1/gateways/{gate}/pairing-code"), json!({ "order": "revoke_first" })).token(&bo.token);
    let code = offered.send().await.json()["code"].clone();
    app.done(&format!("/v1/members/{}/suspend", bo.id), json!({})).await;
    pair(&app, &code).await.is_problem(401, "pairing_code_invalid");
    assert_eq!(app.refused(&paired["secret"]).await, None, "the device's key works");
    app.done(&format!("/v1/members/{}/resume", bo.id), json!({})).await;
    // Nor does one of somebody who may not make it any more.
    let role = |role: &str| {
        let path = format!("/v1/members/{}", bo.id);
        app.call(Method::PATCH, &path).header("if-match", "*").json(&json!({ "role": role })).send()
    };
    assert_eq!(role("viewer").await.status, 200);
    pair(&app, &code).await.is_problem(401, "pairing_code_invalid");
    assert_eq!(role("admin").await.status, 200);
    assert_eq!(pair(&app, &code).await.status, 201);
    app.stop().await;
}

on_both!(
    /// S1-14, S3-14: a code is as good as the token that made it, and the account whose that was.
    s1_14_a_code_of_a_service_account_ends_with_it_and_with_its_token
);
async fn s1_14_a_code_of_a_service_account_ends_with_it_and_with_its_token(app: TestApp) {
    let account = id(&app.done("/v1/service-accounts", json!({ "name": "provisioner" })).await);
    let token = async || {
        let scopes = json!(["gateways:pair", "edges:manage"]);
        let body = json!({ "name": "t", "kind": "management", "service_account": account, "scopes": scopes });
        let made = app.done("/v1/tokens", body).await;
        (id(&made["token"]), made["secret"].as_str().unwrap().to_owned())
    };
    let codes = async |token: &str| {
        let gate = json!({ "name": "gate", "environment": "live", "scopes": [] });
        let gate = app.post("/v1/gateways", gate).token(token).send().await;
        let edge = app.post("/v1/edges", json!({ "name": "edge", "class": "durable" })).token(token).send().await;
        assert_eq!((gate.status.as_u16(), edge.status.as_u16()), (201, 201), "{gate:?} {edge:?}");
        (gate.json()["code"].clone(), edge.json()["code"].clone())
    };
    let enrol = async |code: &Value| {
        let body = json!({ "code": code, "runtime": "sidecar", "version": "1" });
        app.post("/v1/edges/enrol", body).without_token().send().await
    };
    let (first, second) = (token().await, token().await);
    let (of_first, of_second) = (codes(&first.1).await, codes(&second.1).await);
    app.done(&format!("/v1/tokens/{}/revoke", first.0), json!({})).await;
    pair(&app, &of_first.0).await.is_problem(401, "pairing_code_invalid");
    enrol(&of_first.1).await.is_problem(401, "edge_code_invalid");
    app.done(&format!("/v1/service-accounts/{account}/suspend"), json!({})).await;
    pair(&app, &of_second.0).await.is_problem(401, "pairing_code_invalid");
    enrol(&of_second.1).await.is_problem(401, "edge_code_invalid");
    app.done(&format!("/v1/service-accounts/{account}/resume"), json!({})).await;
    assert_eq!((pair(&app, &of_second.0).await.status.as_u16(), enrol(&of_second.1).await.status.as_u16()), (201, 201));
    app.stop().await;
}
