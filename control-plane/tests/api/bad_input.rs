//! Every operation of the document × everything that can be wrong with a request: a problem with a stable code, and
//! nothing changed. A new operation is covered by being in the document; where it takes a body, its example is added
//! here.

use nightlatch::store::tokens::TokenKind;
use nightlatch_api::RevokeKey;
use reqwest::Method;
use serde_json::json;

use crate::app::{Answer, Call, TestApp};
use crate::on_both;
use crate::operation::{Operation, Things};
use crate::tenants::{foreign, ours, unknown};

/// The call, with a thing of the caller's in every place.
fn call(operation: &Operation, app: &TestApp, own: &Own) -> Call {
    let call = operation.call(app, &own.things);
    if operation.id == "reportEdge" { call.token(&own.edge) } else { call }
}

/// Things of the caller's.
struct Own {
    things: Things,
    /// The token of an edge.
    edge: String,
}

impl Own {
    async fn make(app: &TestApp) -> Self {
        let ours = ours(app).await;
        Self { things: ours.things(), edge: app.edge_token().await }
    }
}

/// Fails with the operation's name where an answer is not the problem expected.
#[track_caller]
fn expect(operation: &Operation, case: &str, answer: &Answer, status: u16, code: &str) {
    let told = format!("{} {case}: {answer:?}", operation.id);
    assert_eq!(answer.status.as_u16(), status, "{told}");
    assert_eq!(answer.json()["code"], code, "{told}");
    answer.is_problem(status, code);
}

on_both!(every_operation_refuses_a_bad_token);
async fn every_operation_refuses_a_bad_token(app: TestApp) {
    let own = Own::make(&app).await;
    let revoked = app.post("/v1/tokens", json!({ "name": "revoked", "kind": "management" })).send().await.json();
    let revoked_id = revoked["token"]["id"].as_str().unwrap();
    app.post(&format!("/v1/tokens/{revoked_id}/revoke"), json!({})).send().await;
    let expired = app.post("/v1/tokens", json!({ "name": "expired", "kind": "management" })).send().await.json();
    let expired_id = expired["token"]["id"].as_str().unwrap();
    app.sql(&format!("UPDATE tokens SET expires_at = 1 WHERE id = '{expired_id}'")).await;
    let api_key = app.issue("not a token", &[]).await.secret.expose().to_owned();
    let before = app.footprint().await;
    let bad = [
        ("garbled", "nlm_live_garbled".to_owned()),
        ("not ascii", "nlm_live_ä".to_owned()),
        ("changed in one place", {
            let mut text = app.token.clone().into_bytes();
            text[20] = if text[20] == b'a' { b'b' } else { b'a' };
            String::from_utf8(text).unwrap()
        }),
        ("of nobody", nightlatch::api::mint_token(TokenKind::Management, 0).expose().to_owned()),
        ("an API key", api_key),
        ("revoked", revoked["secret"].as_str().unwrap().to_owned()),
        ("expired", expired["secret"].as_str().unwrap().to_owned()),
    ];
    for operation in Operation::all().iter().filter(|operation| !operation.is_open()) {
        let answer = call(operation, &app, &own).without_token().send().await;
        expect(operation, "without a token", &answer, 401, "token_missing");
        assert!(!answer.header("www-authenticate").contains("error"), "RFC 6750 §3.1");
        let answer = call(operation, &app, &own).without_token().header("authorization", "Basic eDp5").send().await;
        expect(operation, "with another scheme", &answer, 401, "token_missing");
        for (case, token) in &bad {
            let answer = call(operation, &app, &own).token(token).send().await;
            expect(operation, case, &answer, 401, "token_invalid");
        }
    }
    assert_eq!(app.footprint().await, before, "a refused call changed something");
    app.stop().await;
}

on_both!(every_operation_refuses_the_wrong_kind_of_token);
async fn every_operation_refuses_the_wrong_kind_of_token(app: TestApp) {
    let own = Own::make(&app).await;
    let before = app.footprint().await;
    for operation in Operation::all().iter().filter(|operation| !operation.is_open()) {
        let edge_may =
            ["readSet", "readHead", "readTrust", "readDeny", "readFile", "reportEdge"].contains(&operation.id.as_str());
        if !edge_may {
            let answer = call(operation, &app, &own).token(&own.edge).send().await;
            expect(operation, "with an edge token", &answer, 403, "forbidden");
        }
        if operation.id == "reportEdge" {
            let answer = call(operation, &app, &own).token(&app.token).send().await;
            expect(operation, "with a management token", &answer, 403, "forbidden");
        }
    }
    assert_eq!(app.footprint().await, before, "a refused call changed something");
    app.stop().await;
}

on_both!(every_operation_refuses_a_bad_body);
async fn every_operation_refuses_a_bad_body(app: TestApp) {
    let own = Own::make(&app).await;
    let before = app.footprint().await;
    let huge = vec![b' '; (1 << 20) + 1];
    for operation in Operation::all().iter().filter(|operation| operation.has_json) {
        let json = "application/json";
        let call = || call(operation, &app, &own);
        let mut unknown = operation.body(&own.things);
        unknown["surprise"] = json!(1);
        let cases: [(&str, &str, Vec<u8>); 7] = [
            ("broken JSON", json, b"{".to_vec()),
            ("trailing text", json, b"{} {}".to_vec()),
            ("not UTF-8", json, b"{\"\xff\":1}".to_vec()),
            ("another type", json, b"[]".to_vec()),
            ("a number", json, b"7".to_vec()),
            ("an unknown field", json, unknown.to_string().into_bytes()),
            ("deep nesting", json, "[".repeat(100_000).into_bytes()),
        ];
        for (case, kind, body) in cases {
            let answer = call().body(kind, body).send().await;
            expect(operation, case, &answer, 400, "invalid_request");
            assert!(!answer.json()["errors"].as_array().unwrap().is_empty(), "{answer:?}");
        }
        let good = operation.body(&own.things).to_string();
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
            let answer = call().body(kind, good.clone()).send().await;
            expect(operation, &format!("of type {kind:?}"), &answer, 415, "unsupported_media_type");
        }
        let answer = call().body(json, huge.clone()).send().await;
        expect(operation, "too large", &answer, 413, "body_too_large");
        if !operation.body_optional {
            let answer = call().body(json, "").send().await;
            expect(operation, "an empty body", &answer, 400, "invalid_request");
        }
    }
    assert_eq!(app.footprint().await, before, "a refused call changed something");
    app.stop().await;
}

on_both!(every_operation_answers_404_for_what_is_not_the_callers);
async fn every_operation_answers_404_for_what_is_not_the_callers(app: TestApp) {
    let own = Own::make(&app).await;
    let theirs = foreign(&app).await.things();
    let before = app.footprint().await;
    let like = |number: &str, tail: &str| {
        let other = |id: &str| {
            let (kind, _) = id.split_once('_').unwrap();
            if kind == "prn" { format!("prn_{number}") } else { format!("{kind}_{tail}") }
        };
        own.things.map(other)
    };
    let strangers = [
        ("unknown", own.things.map(unknown).with("key", "key_0000000000")),
        ("no number", like("", "").with("key", "kn_4000000000")),
        ("garbled", like("%00", "a%2fb").with("rotation", "%00").with("token", "%ff").with("workspace", "..%2f..")),
        ("negative", like("-1", "%00").with("partner", "prn_01").with("set", "..%2f..")),
        ("foreign", theirs),
    ];
    for operation in Operation::all().iter().filter(|operation| !operation.named().is_empty()) {
        let mut answers = Vec::new();
        for (case, stranger) in &strangers {
            // The founding workspace's see that others exist.
            if *case == "foreign" && operation.id == "readWorkspace" {
                continue;
            }
            let call = operation.call(&app, stranger);
            let call = if operation.changes() { operation.with(call, &operation.body(&own.things)) } else { call };
            let answer = call.header("x-request-id", "same").send().await;
            expect(operation, case, &answer, 404, "not_found");
            answers.push(answer.text);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "foreign differs from unknown: {answers:?}");
    }
    assert_eq!(app.footprint().await, before, "a refused call changed something");
    app.stop().await;
}

on_both!(every_place_of_a_path_may_hold_what_is_no_text);
async fn every_place_of_a_path_may_hold_what_is_no_text(app: TestApp) {
    let own = Own::make(&app).await;
    let things = own.things.with("session", "ses_0123456789");
    let before = app.footprint().await;
    for operation in Operation::whole_document() {
        for (place, kind) in operation.places() {
            for strange in ["%ff", "a%ff", "%c3%28"] {
                let call = operation.call(&app, &things.with(kind, strange));
                let with_body = operation.changes() && !operation.is_of_sessions();
                let call = if with_body { operation.with(call, &operation.body(&things)) } else { call };
                let answer = call.send().await;
                let case = format!("with {strange} for {place}");
                if operation.is_of_sessions() {
                    // A token has none: who asks is found out first.
                    assert_eq!(answer.header("content-type"), "application/problem+json", "{case} {answer:?}");
                    assert!(answer.status.is_client_error(), "{case} {answer:?}");
                } else {
                    expect(&operation, &case, &answer, 404, "not_found");
                }
            }
        }
    }
    assert_eq!(app.footprint().await, before, "a refused call changed something");
    app.stop().await;
}

#[tokio::test]
async fn every_list_refuses_bad_parameters() {
    let app = TestApp::sqlite().await;
    for path in ["/v1/keys", "/v1/rotations", "/v1/tokens", "/v1/edges", "/v1/audit"] {
        for query in
            ["limit=0", "limit=201", "limit=-1", "limit=x", "cursor=x", "cursor=", "surprise=1", "limit=1&limit=2"]
        {
            let answer = app.get(&format!("{path}?{query}")).send().await;
            assert!(answer.status == 400, "{path}?{query}: {answer:?}");
            answer.is_problem(400, "invalid_request");
        }
    }
    for query in ["state=gone", "environment=prod", "expires_before=soon", "scope=%20", "last_used_before=2026"] {
        app.get(&format!("/v1/keys?{query}")).send().await.is_problem(400, "invalid_request");
    }
    app.stop().await;
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let app = TestApp::sqlite().await;
    app.get("/").send().await.is_problem(404, "not_found");
    app.get("/v1/keys/").without_token().send().await.is_problem(404, "not_found");
    app.get("/v2/keys").send().await.is_problem(404, "not_found");
    let answer = app.call(Method::DELETE, "/v1/keys").send().await;
    answer.is_problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), "POST, GET, HEAD");
    app.stop().await;
}

#[tokio::test]
async fn a_mistake_is_told_with_its_field() {
    let app = TestApp::sqlite().await;
    let fields = [
        (json!({ "name": "n", "environment": "live", "scopes": ["ok", 7] }), 400, "scopes[1]"),
        (json!({ "name": "n", "environment": "prod" }), 400, "environment"),
        (json!({ "name": "", "environment": "live" }), 422, "name"),
        (json!({ "name": " n", "environment": "live" }), 422, "name"),
        (json!({ "name": "n\n", "environment": "live" }), 422, "name"),
        (json!({ "name": "n".repeat(201), "environment": "live" }), 422, "name"),
        (json!({ "name": "n", "environment": "live", "scopes": ["a b"] }), 422, "scopes"),
        (json!({ "name": "n", "environment": "live", "tier": "" }), 422, "tier"),
        (json!({ "name": "n", "environment": "live", "owner": "" }), 422, "owner"),
        (json!({ "name": "n", "environment": "live", "labels": { "": "x" } }), 422, "labels"),
        (json!({ "name": "n", "environment": "live", "principal": "prn_999" }), 422, "principal"),
        (json!({ "name": "n", "environment": "live", "principal": "me" }), 422, "principal"),
        (json!({ "name": "n", "environment": "live", "expires_at": "2020-01-01T00:00:00Z" }), 422, "expires_at"),
        (json!({ "name": "n", "environment": "live", "expires_at": 5 }), 400, "expires_at"),
    ];
    for (body, status, field) in fields {
        let answer = app.post("/v1/keys", body.clone()).send().await;
        assert_eq!(answer.status.as_u16(), status, "{body} {answer:?}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{body} {answer:?}");
    }
    let revoke = RevokeKey::new("r".repeat(201));
    let key = app.issue("n", &[]).await.key.id;
    app.post(&format!("/v1/keys/{key}/revoke"), json!(revoke)).send().await.is_problem(422, "value_invalid");
    app.stop().await;
}
