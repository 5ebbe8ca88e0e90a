//! Calls that other sites' pages cause.

use reqwest::Method;
use serde_json::json;

use super::{Browser, PASSWORD, join};
use crate::app::TestApp;
use crate::on_both;

on_both!(a_call_that_changes_something_proves_where_it_comes_from);
async fn a_call_that_changes_something_proves_where_it_comes_from(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    join(&app, "bob@example.com", "owner").await;
    let mut browser = Browser::new(&app).signed_in("ada@example.com").await;
    let other = Browser::new(&app).signed_in("bob@example.com").await;
    let csrf = browser.csrf.clone().unwrap();
    let call = |headers: &[(&'static str, String)]| {
        let mut request = browser.request(Method::POST, "/v1/session/step-up").json(&json!({ "password": PASSWORD }));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request
    };
    let token = |value: &str| ("x-nightlatch-csrf", value.to_owned());
    let wrong = format!("{}{}", &csrf[..csrf.len() - 1], if csrf.ends_with('A') { 'B' } else { 'A' });
    let refused = [
        call(&[]),
        call(&[token("")]),
        call(&[token(&wrong)]),
        call(&[token(&csrf[1..])]),
        call(&[token(&other.csrf.clone().unwrap())]),
        call(&[token(&csrf), token(&csrf)]),
        call(&[token(&csrf), ("origin", "https://evil.example".into())]),
        call(&[token(&csrf), ("origin", "null".into())]),
        call(&[token(&csrf), ("sec-fetch-site", "cross-site".into())]),
        call(&[token(&csrf), ("sec-fetch-site", "same-site".into())]),
    ];
    let own = app.server.url();
    let good = call(&[token(&csrf), ("origin", own)]);
    for request in refused {
        browser.copy().send(request).await.is_problem(403, "csrf_invalid");
    }
    assert!(browser.is_signed_in().await, "nothing of it was done");
    let noted = app.get("/v1/audit?action=request.refused").send().await.json();
    let noted = noted["items"].as_array().unwrap().clone();
    assert_eq!(noted.len(), 10, "{noted:?}");
    assert!(noted.iter().all(|row| row["actor"]["type"] == "member" && row["source"] == "127.0.0.1"), "{noted:?}");
    assert_eq!(browser.send(good).await.status, 200);
    // The token of a session that was renewed is another.
    assert_ne!(browser.csrf.clone().unwrap(), csrf);
    app.stop().await;
}

on_both!(another_site_signs_nobody_in);
async fn another_site_signs_nobody_in(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    let body = json!({ "email": "ada@example.com", "password": PASSWORD });
    for (name, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        let answer = app.post("/v1/session", body.clone()).without_token().header(name, value).send().await;
        answer.is_problem(403, "csrf_invalid");
        let code = json!({ "code": "x", "password": PASSWORD });
        let answer = app.post("/v1/invites/accept", code).without_token().header(name, value).send().await;
        answer.is_problem(403, "csrf_invalid");
    }
    // A form can send neither of this type, nor ask whether it may.
    let form = app.call(Method::POST, "/v1/session").without_token().body("text/plain", body.to_string());
    form.send().await.is_problem(415, "unsupported_media_type");
    let preflight = app.call(Method::OPTIONS, "/v1/session").without_token().header("origin", "https://evil.example");
    let preflight = preflight.header("access-control-request-method", "POST").send().await;
    assert!(preflight.headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "{preflight:?}");
    app.stop().await;
}

on_both!(reading_changes_nothing);
async fn reading_changes_nothing(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    let mut browser = Browser::new(&app).signed_in("ada@example.com").await;
    let id = browser.get("/v1/session").await.json()["session"].as_str().unwrap().to_owned();
    let census = "SELECT (SELECT COUNT(*) FROM audit) * 1000 + (SELECT COUNT(*) FROM sessions WHERE digest IS NOT NULL) * 100 \
                  + (SELECT COUNT(*) FROM sign_in_guesses)";
    let before = app.number(census).await;
    for path in [
        "/v1/session",
        "/v1/sessions",
        "/v1/session/step-up",
        "/v1/session/workspace",
        "/v1/session/password",
        "/v1/session/totp",
        "/v1/session/totp/confirm",
        "/v1/session/totp/remove",
        "/v1/invites/accept",
        &format!("/v1/sessions/{id}/end"),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let request = browser.request(method.clone(), path).header("sec-fetch-site", "cross-site");
            let status = browser.send(request).await.status.as_u16();
            let reads = matches!(path, "/v1/session" | "/v1/sessions");
            assert_eq!(status, if reads { 200 } else { 405 }, "{method} {path}");
        }
    }
    assert_eq!(app.number(census).await, before);
    app.stop().await;
}

on_both!(a_token_and_a_session_at_once_are_nobody);
async fn a_token_and_a_session_at_once_are_nobody(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    let mut browser = Browser::new(&app).signed_in("ada@example.com").await;
    // Administration too.
    let invite =
        browser.request(Method::POST, "/v1/members").json(&json!({ "email": "x@example.com", "role": "viewer" }));
    browser.send(invite).await.is_problem(403, "csrf_invalid");
    for path in ["/v1/session", "/v1/keys"] {
        let both = browser.request(Method::GET, path).bearer_auth(&app.token);
        browser.send(both).await.is_problem(400, "invalid_request");
    }
    // A token alone is no session.
    app.get("/v1/session").send().await.is_problem(401, "session_invalid");
    // Two cookies of the name: no browser has them.
    let twice = browser.request(Method::GET, "/v1/session").header("cookie", "__Host-nightlatch=x");
    browser.send(twice).await.is_problem(400, "invalid_request");
    app.stop().await;
}
