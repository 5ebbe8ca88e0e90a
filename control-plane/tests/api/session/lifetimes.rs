//! When sessions and step-ups end, by the database clock, which may step.

use serde_json::json;

use super::{Browser, PASSWORD, join};
use crate::app::TestApp;
use crate::on_both;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Moves a session as if the database clock stepped by so many seconds.
async fn step(app: &TestApp, seconds: i64) {
    let ms = seconds * 1000;
    app.sql(&format!(
        "UPDATE sessions SET signed_in_at = signed_in_at - {ms}, last_seen_at = last_seen_at - {ms}, \
         elevated_until = elevated_until - {ms}"
    ))
    .await;
}

on_both!(a_session_ends_when_nobody_uses_it);
async fn a_session_ends_when_nobody_uses_it(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    let mut browser = Browser::new(&app).signed_in("ada@example.com").await;
    step(&app, 12 * HOUR - 60).await;
    assert!(browser.is_signed_in().await);
    // That was a use: the twelve hours begin anew, once it is noted.
    for _ in 0..1000 {
        if app.number("SELECT MAX(last_seen_at - signed_in_at) FROM sessions").await > 11 * HOUR * 1000 {
            break;
        }
        tokio::task::yield_now().await;
    }
    step(&app, 12 * HOUR - 60).await;
    assert!(browser.is_signed_in().await);
    app.sql("UPDATE sessions SET last_seen_at = last_seen_at - 43200000").await;
    assert!(!browser.is_signed_in().await);
    app.stop().await;
}

on_both!(a_session_ends_after_a_week_however_it_is_used);
async fn a_session_ends_after_a_week_however_it_is_used(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    let mut browser = Browser::new(&app).signed_in("ada@example.com").await;
    let age = async |seconds: i64| {
        app.sql(&format!("UPDATE sessions SET signed_in_at = last_seen_at - {}", seconds * 1000)).await;
    };
    age(7 * DAY - 60).await;
    assert!(browser.is_signed_in().await);
    // Neither a step-up nor another workspace makes it younger.
    let answer = browser.post("/v1/session/step-up", json!({ "password": PASSWORD })).await;
    let seconds: i64 =
        answer.header("set-cookie").split("Max-Age=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
    assert!(seconds <= 60, "{answer:?}");
    age(7 * DAY).await;
    assert!(!browser.is_signed_in().await);
    app.stop().await;
}

on_both!(a_clock_that_is_set_back_makes_nothing_live_longer);
async fn a_clock_that_is_set_back_makes_nothing_live_longer(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    let mut browser = Browser::new(&app).signed_in("ada@example.com").await;
    step(&app, -60).await;
    assert!(browser.is_signed_in().await, "clocks are corrected by a little");
    browser.post("/v1/session/totp", json!({})).await.is_problem(403, "step_up_required");
    step(&app, -DAY).await;
    assert!(!browser.is_signed_in().await);
    step(&app, DAY).await;
    assert!(browser.is_signed_in().await);
    step(&app, 30 * DAY).await;
    assert!(!browser.is_signed_in().await);
    app.stop().await;
}

on_both!(a_step_up_counts_for_ten_minutes);
async fn a_step_up_counts_for_ten_minutes(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    let mut browser = Browser::new(&app).signed_in("ada@example.com").await;
    assert_eq!(browser.post("/v1/session/totp", json!({})).await.status, 200, "signing in counts as one");
    step(&app, 600).await;
    browser.post("/v1/session/totp", json!({})).await.is_problem(403, "step_up_required");
    assert_eq!(browser.get("/v1/session").await.json()["needs"], json!(["step_up"]));
    for (body, status, code) in [
        (json!({}), 422, "value_invalid"),
        (json!({ "password": PASSWORD, "totp": "000000" }), 422, "value_invalid"),
        (json!({ "password": "wrong wrong wrong" }), 401, "sign_in_failed"),
        (json!({ "totp": "000000" }), 401, "sign_in_failed"),
    ] {
        browser.post("/v1/session/step-up", body).await.is_problem(status, code);
    }
    assert_eq!(browser.post("/v1/session/step-up", json!({ "password": PASSWORD })).await.status, 200);
    assert_eq!(browser.post("/v1/session/totp", json!({})).await.status, 200);
    // Whoever has the cookie does not get to guess either.
    for _ in 0..5 {
        browser.post("/v1/session/step-up", json!({ "password": "wrong wrong wrong" })).await;
    }
    super::at_once(&app).await;
    let closed = browser.post("/v1/session/step-up", json!({ "password": PASSWORD })).await;
    closed.is_problem(429, "rate_limited");
    app.stop().await;
}

on_both!(a_session_ends_with_its_member);
async fn a_session_ends_with_its_member(app: TestApp) {
    join(&app, "ada@example.com", "admin").await;
    let found = app.get("/v1/members?email=ada@example.com").send().await.json();
    let path = |call: &str| format!("/v1/members/{}/{call}", found["items"][0]["id"].as_str().unwrap());
    for call in ["suspend", "remove"] {
        let mut browser = Browser::new(&app).signed_in("ada@example.com").await;
        assert_eq!(app.post(&path(call), json!({})).send().await.status, 200);
        assert!(!browser.is_signed_in().await, "{call}");
        if call == "suspend" {
            assert_eq!(app.post(&path("resume"), json!({})).send().await.status, 200);
            assert!(!browser.is_signed_in().await, "what has ended does not come back");
        }
    }
    let rows = app.get("/v1/audit?action=session.ended").send().await.json();
    let reasons: Vec<_> = rows["items"].as_array().unwrap().iter().map(|row| row["reason"].clone()).collect();
    assert_eq!(reasons, ["the member was removed", "the member was suspended"]);
    app.stop().await;
}

on_both!(a_session_has_the_role_of_the_moment);
async fn a_session_has_the_role_of_the_moment(app: TestApp) {
    join(&app, "ada@example.com", "viewer").await;
    let mut browser = Browser::new(&app).signed_in("ada@example.com").await;
    let invitation = |name: &str| json!({ "email": format!("{name}@example.com"), "role": "viewer" });
    browser.post("/v1/members", invitation("a")).await.is_problem(403, "forbidden");
    assert_eq!(browser.get("/v1/keys").await.status, 200);
    let found = app.get("/v1/members?email=ada@example.com").send().await;
    let id = found.json()["items"][0]["id"].as_str().unwrap().to_owned();
    let role = async |role: &str| {
        let path = format!("/v1/members/{id}");
        let tag = app.get(&path).send().await.header("etag").to_owned();
        let patch = app.call(reqwest::Method::PATCH, &path).json(&json!({ "role": role })).header("if-match", &tag);
        assert_eq!(patch.send().await.status, 200);
    };
    role("admin").await;
    let invited = browser.post("/v1/members", invitation("b")).await;
    assert_eq!(invited.status, 201, "{invited:?}");
    assert_eq!(browser.get("/v1/session").await.json()["member"]["role"], "admin");
    let rows = app.get("/v1/audit?action=member.invited").send().await.json();
    assert_eq!((&rows["items"][0]["actor"]["type"], &rows["items"][0]["actor"]["id"]), (&json!("member"), &json!(id)));
    // Administration needs a step-up, reading does not.
    step(&app, 600).await;
    browser.post("/v1/members", invitation("c")).await.is_problem(403, "step_up_required");
    let key = json!({ "name": "k", "environment": "live" });
    browser.post("/v1/keys", key.clone()).await.is_problem(403, "step_up_required");
    assert_eq!(browser.get("/v1/members").await.status, 200);
    assert_eq!(browser.post("/v1/session/step-up", json!({ "password": PASSWORD })).await.status, 200);
    assert_eq!(browser.post("/v1/keys", key).await.status, 201);
    role("viewer").await;
    browser.post("/v1/members", invitation("c")).await.is_problem(403, "forbidden");
    app.stop().await;
}
