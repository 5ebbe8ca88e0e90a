//! Every operation of the document × everything that can be wrong with a request: a problem with a stable code, and
//! nothing changed. A new operation is covered by being in the document; where it takes a body, its example is added
//! here.

use nightlatch::store::tokens::TokenKind;
use nightlatch_api::RevokeKey;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, Call, TestApp};
use crate::on_both;

/// One operation of the document.
struct Operation {
    method: Method,
    path: String,
    id: String,
    has_json: bool,
    body_optional: bool,
}

impl Operation {
    fn all() -> Vec<Self> {
        let document: Value = serde_json::from_str(&nightlatch::api::openapi_document()).unwrap();
        let mut all = Vec::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            // Sessions are not asked for by tokens, and have tests of their own.
            if path.starts_with("/v1/session") {
                continue;
            }
            for (method, operation) in operations.as_object().unwrap() {
                let body = &operation["requestBody"];
                all.push(Self {
                    method: method.to_uppercase().parse().unwrap(),
                    path: path.clone(),
                    id: operation["operationId"].as_str().unwrap().to_owned(),
                    has_json: body["content"].get("application/json").is_some(),
                    body_optional: body.is_object() && body["required"] != true,
                });
            }
        }
        assert!(all.len() > 30, "the document has lost its operations");
        all
    }

    fn is_open(&self) -> bool {
        !self.path.starts_with("/v1/")
            || ["enrol", "enrolEdge", "pairGateway", "acceptInvitation"].contains(&self.id.as_str())
    }

    /// The path with things of the caller's in it.
    fn with_own(&self, own: &Own) -> String {
        let id = if self.path.starts_with("/v1/rotations") {
            &own.rotation
        } else if self.path.starts_with("/v1/tokens") {
            &own.token_id
        } else if self.path.starts_with("/v1/edges") {
            &own.edge_id
        } else if self.path.starts_with("/v1/members") {
            &own.member
        } else if self.path.starts_with("/v1/workspaces") {
            &own.workspace
        } else if self.path.starts_with("/v1/service-accounts") {
            &own.service_account
        } else if self.path.starts_with("/v1/partners") {
            &own.partner
        } else if self.path.starts_with("/v1/links") {
            &own.link
        } else if self.path.starts_with("/v1/gateways") {
            &own.gateway
        } else {
            &own.key
        };
        self.path
            .replace("{id}", id)
            .replace("{set}", &own.set)
            .replace("{link}", &own.link)
            .replace("{member}", &own.member)
            .replace("{name}", "base-0-1")
            .replace("{role}", "viewer")
    }

    /// A body that would do.
    fn body(&self, own: &Own) -> Value {
        match self.id.as_str() {
            "enrol" => json!({ "token": "nlo_live_x" }),
            "issueKey" => json!({ "name": "n", "environment": "live" }),
            "updateKey" => json!({ "name": "n" }),
            "revokeKey" => json!({ "reason": "r" }),
            "startRotation" => json!({ "overlap_seconds": 3600, "reason": "r" }),
            "extendRotation" => json!({ "overlap_seconds": 3600 }),
            "cancelRotation" => json!({ "successor": "keep" }),
            "completeRotation" | "disableKey" | "enableKey" => json!({}),
            "verifyKey" => json!({ "key": "k" }),
            "replaceRoutes" => json!({ "routes": [] }),
            "inviteMember" => json!({ "email": "a@example.org", "role": "viewer" }),
            "updateMember" => json!({ "name": "n" }),
            "suspendMember" | "resumeMember" | "removeMember" | "reinviteMember" => json!({}),
            "replaceRole" => json!({ "scopes": [] }),
            "rotateToken" => json!({ "overlap_seconds": 60, "reason": "r" }),
            "createServiceAccount" | "createPartner" => json!({ "name": "n" }),
            "updateServiceAccount" | "updatePartner" | "updateStaff" => json!({ "name": "n" }),
            "suspendServiceAccount" | "resumeServiceAccount" | "suspendPartner" | "resumePartner" => json!({}),
            "removeServiceAccount" | "removePartner" | "endPartnerLink" | "endLink" => json!({ "reason": "r" }),
            "inviteStaff" => json!({ "email": "b@example.org", "role": "partner_staff" }),
            "removeStaff" | "offerPairing" => json!({}),
            "createPartnerLink" => json!({ "client_name": "n" }),
            "acceptLink" => json!({ "code": "nll_live_x" }),
            "updateLink" => json!({ "permissions": [] }),
            "createGateway" => json!({ "name": "n", "environment": "live" }),
            "pairGateway" => json!({ "code": "nlp_live_x" }),
            "unpairGateway" => json!({ "reason": "r" }),
            "acceptInvitation" => json!({ "code": "nli_live_x", "password": "a long enough one" }),
            "putScope" => json!({ "sensitive": true }),
            "revokeManyKeys" => json!({ "filter": { "owner": "nobody" }, "reason": "r" }),
            "eraseAudit" => json!({ "about": "mem_1" }),
            "createToken" => json!({ "name": "n", "kind": "management" }),
            "createEdge" => json!({ "name": "n", "class": "durable" }),
            "enrolEdge" => json!({ "code": "nlc_live_x", "runtime": "r", "version": "v" }),
            "rotateEdgeCredential" | "removeEdge" => json!({}),
            "createWorkspace" => json!({ "name": "n", "brand": "another" }),
            "updateWorkspace" => json!({ "name": "n" }),
            "reportEdge" => json!({
                "set": own.set, "instance": "i", "sequence": 1, "runtime": "r", "version": "v", "applied": null,
            }),
            other => panic!("{other} takes a body: add an example"),
        }
    }

    fn call(&self, app: &TestApp, own: &Own) -> Call {
        let call = app.call(self.method.clone(), &self.with_own(own));
        let call = if self.id == "reportEdge" { call.token(&own.edge) } else { call };
        if self.method == Method::PATCH || self.id == "replaceRoutes" { call.header("if-match", "*") } else { call }
    }
}

/// Things of the caller's.
struct Own {
    key: String,
    rotation: String,
    token_id: String,
    edge: String,
    edge_id: String,
    member: String,
    service_account: String,
    partner: String,
    link: String,
    gateway: String,
    set: String,
    workspace: String,
}

impl Own {
    async fn make(app: &TestApp) -> Self {
        let key = app.issue("predecessor", &[]).await.key.id;
        let body = json!({ "overlap_seconds": 86_400, "reason": "test" });
        let started = app.post(&format!("/v1/keys/{key}/rotations"), body).send().await.json();
        let token = app.post("/v1/tokens", json!({ "name": "other", "kind": "management" })).send().await.json();
        let edge = app.post("/v1/edges", json!({ "name": "n", "class": "durable" })).send().await.json();
        let crate::principals::Whole { service_account, partner, link, gateway } =
            crate::principals::Whole::make(app, &app.token).await;
        Self {
            key,
            service_account,
            partner,
            link,
            gateway,
            edge_id: edge["edge"]["id"].as_str().unwrap().to_owned(),
            rotation: started["rotation"]["id"].as_str().unwrap().to_owned(),
            token_id: token["token"]["id"].as_str().unwrap().to_owned(),
            edge: app.edge_token().await,
            member: {
                let body = json!({ "email": "own@example.org", "role": "viewer" });
                let invited = app.post("/v1/members", body).send().await.json();
                invited["member"]["id"].as_str().unwrap().to_owned()
            },
            set: app.set.id.clone(),
            workspace: app.set.workspace.clone(),
        }
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
    let before = app.census().await;
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
        let answer = operation.call(&app, &own).without_token().send().await;
        expect(operation, "without a token", &answer, 401, "token_missing");
        assert!(!answer.header("www-authenticate").contains("error"), "RFC 6750 §3.1");
        let answer = operation.call(&app, &own).without_token().header("authorization", "Basic eDp5").send().await;
        expect(operation, "with another scheme", &answer, 401, "token_missing");
        for (case, token) in &bad {
            let answer = operation.call(&app, &own).token(token).send().await;
            expect(operation, case, &answer, 401, "token_invalid");
        }
    }
    assert_eq!(app.census().await, before, "a refused call changed something");
    app.stop().await;
}

on_both!(every_operation_refuses_the_wrong_kind_of_token);
async fn every_operation_refuses_the_wrong_kind_of_token(app: TestApp) {
    let own = Own::make(&app).await;
    let before = app.census().await;
    for operation in Operation::all().iter().filter(|operation| !operation.is_open()) {
        let edge_may =
            ["readSet", "readHead", "readTrust", "readDeny", "readFile", "reportEdge"].contains(&operation.id.as_str());
        if !edge_may {
            let answer = operation.call(&app, &own).token(&own.edge).send().await;
            expect(operation, "with an edge token", &answer, 403, "forbidden");
        }
        if operation.id == "reportEdge" {
            let answer = operation.call(&app, &own).token(&app.token).send().await;
            expect(operation, "with a management token", &answer, 403, "forbidden");
        }
    }
    assert_eq!(app.census().await, before, "a refused call changed something");
    app.stop().await;
}

on_both!(every_operation_refuses_a_bad_body);
async fn every_operation_refuses_a_bad_body(app: TestApp) {
    let own = Own::make(&app).await;
    let before = app.census().await;
    let huge = vec![b' '; (1 << 20) + 1];
    for operation in Operation::all().iter().filter(|operation| operation.has_json) {
        let json = "application/json";
        let call = || operation.call(&app, &own);
        let mut unknown = operation.body(&own);
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
        let good = operation.body(&own).to_string();
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
    assert_eq!(app.census().await, before, "a refused call changed something");
    app.stop().await;
}

on_both!(every_operation_answers_404_for_what_is_not_the_callers);
async fn every_operation_answers_404_for_what_is_not_the_callers(app: TestApp) {
    let own = Own::make(&app).await;
    let foreign = crate::tenants::foreign(&app).await;
    let before = app.census().await;
    let strangers = [
        (
            "unknown",
            Own {
                key: "key_0000000000".into(),
                rotation: "rot_0000000000000000".into(),
                token_id: "tok_0000000000000000".into(),
                edge_id: "edge_0000000000000000".into(),
                member: "mem_0000000000000000".into(),
                service_account: "prn_4000000000".into(),
                partner: "prn_4000000000".into(),
                link: "lnk_0000000000000000".into(),
                gateway: "prn_4000000000".into(),
                set: "set_000000000000".into(),
                workspace: "ws_000000000000".into(),
                edge: own.edge.clone(),
            },
        ),
        (
            "no number",
            Own {
                key: "kn_4000000000".into(),
                rotation: "rot_".into(),
                token_id: "tok_".into(),
                edge_id: "edge_".into(),
                member: "mem_".into(),
                service_account: "prn_".into(),
                partner: "prn_".into(),
                link: "lnk_".into(),
                gateway: "prn_".into(),
                set: "set_".into(),
                workspace: "ws_".into(),
                edge: own.edge.clone(),
            },
        ),
        (
            "garbled",
            Own {
                key: "key_a%2fb".into(),
                rotation: "%00".into(),
                token_id: "%ff".into(),
                edge_id: "edge_%2f".into(),
                member: "mem_%00".into(),
                service_account: "prn_01".into(),
                partner: "prn_%00".into(),
                link: "lnk_%2f".into(),
                gateway: "prn_-1".into(),
                set: "..%2f..".into(),
                workspace: "..%2f..".into(),
                edge: own.edge.clone(),
            },
        ),
        (
            "foreign",
            Own {
                key: foreign.key,
                rotation: foreign.rotation,
                token_id: foreign.token_id,
                edge_id: foreign.edge,
                member: foreign.member,
                service_account: foreign.whole.service_account,
                partner: foreign.whole.partner,
                link: foreign.whole.link,
                gateway: foreign.whole.gateway,
                set: foreign.set,
                workspace: foreign.workspace,
                edge: own.edge.clone(),
            },
        ),
    ];
    for operation in Operation::all().iter().filter(|operation| {
        operation.path.contains('{') && !operation.path.contains("{role}") && !operation.path.starts_with("/v1/scopes/")
    }) {
        let mut answers = Vec::new();
        for (case, stranger) in &strangers {
            // The founding workspace's see that others exist.
            if *case == "foreign" && operation.id == "readWorkspace" {
                continue;
            }
            let call = operation.call(&app, stranger);
            let call = if operation.has_json { call.json(&operation.body(&own)) } else { call };
            let answer = call.header("x-request-id", "same").send().await;
            expect(operation, case, &answer, 404, "not_found");
            answers.push(answer.text);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "foreign differs from unknown: {answers:?}");
    }
    assert_eq!(app.census().await, before, "a refused call changed something");
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
