//! The route document, and `/v1/verify` against it.

use nightlatch_api::{Environment, IssueKey, RouteDocument, RouteRule, VerifyKey};
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::on_both;

fn document() -> RouteDocument {
    RouteDocument {
        routes: vec![
            RouteRule::new("GET", "/status"),
            RouteRule::new("GET", "/invoices/{id}").scopes(["invoices:read"]),
            RouteRule::new("POST", "/invoices").scopes(["invoices:write"]),
        ],
        ..RouteDocument::default()
    }
}

on_both!(routes_are_replaced_whole_by_whoever_has_read_them);
async fn routes_are_replaced_whole_by_whoever_has_read_them(app: TestApp) {
    let first = app.client.routes(None).await.unwrap();
    assert_eq!((first.value.revision, first.etag.as_str()), (0, "\"0\""));
    assert!(first.value.document.routes.is_empty() && first.value.policy_hash.is_none());
    let put = app.client.put_routes(None, &first.etag, &document()).await.unwrap();
    assert_eq!(put.value.revision, 1);
    assert_eq!(app.client.routes(Some(&app.set.id)).await.unwrap(), put);
    let stale =
        app.call(Method::PUT, "/v1/routes").json(&json!(document())).header("if-match", &first.etag).send().await;
    stale.is_problem(412, "etag_stale");
    app.call(Method::PUT, "/v1/routes").json(&json!(document())).send().await.is_problem(428, "if_match_missing");
    let any = app.call(Method::PUT, "/v1/routes").json(&json!({ "routes": [] })).header("if-match", "*").send().await;
    assert_eq!((any.status.as_u16(), any.header("etag")), (200, "\"2\""));
    app.get("/v1/routes?set=set_000000000000").send().await.is_problem(404, "not_found");
    app.get("/v1/routes?sets=x").send().await.is_problem(400, "invalid_request");
    app.stop().await;
}

on_both!(the_published_head_carries_the_policys_hash);
async fn the_published_head_carries_the_policys_hash(app: TestApp) {
    let put = app.client.put_routes(None, "\"0\"", &document()).await.unwrap().value;
    app.server.publisher().flush().await.unwrap();
    let hash = put.policy_hash.unwrap();
    let head = app.client.head(&app.set.id, None).await.unwrap().unwrap();
    assert!(String::from_utf8(head.value).unwrap().contains(&hash));
    let policy = app.client.file(&app.set.id, &format!("policy-{hash}")).await.unwrap();
    assert_eq!(nightlatch_keyset::Hash::of(&policy).to_hex(), hash);
    app.stop().await;
}

#[tokio::test]
async fn contradictory_routes_are_refused_with_their_place() {
    let app = TestApp::sqlite().await;
    let route = |extra: Value| {
        let mut route = json!({ "method": "GET", "path": "/a" });
        route.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({ "routes": [{ "method": "GET", "path": "/ok" }, route] })
    };
    let cases = [
        (route(json!({ "path": "a" })), "routes[1].path"),
        (route(json!({ "path": "/ok" })), "routes[1].path"),
        (route(json!({ "path": "/a/{*rest}/b" })), "routes[1].path"),
        (route(json!({ "method": "get" })), "routes[1].method"),
        (route(json!({ "environments": [] })), "routes[1].environments"),
        (route(json!({ "scopes": ["a b"] })), "routes[1].scopes"),
        (route(json!({ "credentials": ["cookie"] })), "routes[1].credentials"),
        (route(json!({ "credentials": [] })), "routes[1].credentials"),
        (route(json!({ "max_connection_age": 0 })), "routes[1].max_connection_age"),
        (route(json!({ "max_connection_age": 86_401 })), "routes[1].max_connection_age"),
        (json!({ "routes": [], "realm": "a\"b" }), "realm"),
        (json!({ "routes": [], "developer_url": "javascript:x" }), "developer_url"),
    ];
    for (body, field) in cases {
        let answer = app.call(Method::PUT, "/v1/routes").json(&body).header("if-match", "*").send().await;
        let problem = answer.is_problem(422, "routes_invalid");
        assert_eq!(problem["errors"][0]["field"], field, "{body}");
    }
    assert_eq!(app.client.routes(None).await.unwrap().value.revision, 0);
    app.stop().await;
}

on_both!(s1_05_verify_judges_a_request_as_an_edge_would);
async fn s1_05_verify_judges_a_request_as_an_edge_would(app: TestApp) {
    app.client.put_routes(None, "\"0\"", &document()).await.unwrap();
    let live = app.issue("reader", &["invoices:read"]).await.secret;
    let trial = app.client.issue_key(&IssueKey::new("trial", Environment::Test)).await.unwrap().secret;
    let cases = [
        (&live, "GET", "/status", 200, None),
        (&live, "HEAD", "/status", 200, None),
        (&live, "GET", "/invoices/7?x=1", 200, None),
        (&live, "POST", "/invoices", 403, Some("scope_insufficient")),
        (&live, "DELETE", "/invoices/7", 404, Some("route_not_found")),
        (&live, "GET", "/Status", 404, Some("route_not_found")),
        (&live, "GET", "/invoices//7", 400, Some("path_ambiguous")),
        (&live, "GET", "/invoices/../status", 400, Some("path_ambiguous")),
        (&trial, "GET", "/status", 401, Some("key_env_mismatch")),
    ];
    for (key, method, path, status, code) in cases {
        let request = VerifyKey { key: key.clone(), method: Some(method.into()), path: Some(path.into()), set: None };
        let verdict = app.client.verify_key(&request).await.unwrap();
        assert_eq!((verdict.status, verdict.code.as_deref()), (status, code), "{method} {path} {verdict:?}");
        assert_eq!(verdict.allowed, status == 200);
    }
    let half = json!({ "key": "x", "path": "/status" });
    app.post("/v1/verify", half).send().await.is_problem(400, "invalid_request");
    app.stop().await;
}
