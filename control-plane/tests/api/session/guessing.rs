//! Guessing passwords takes longer and longer, whichever replica is asked; and nobody is locked out for good.

use futures::future::join_all;

use super::{Browser, PASSWORD, join};
use crate::app::TestApp;
use crate::on_both;

/// Moves all guesses into the past.
pub(super) async fn later(app: &TestApp, seconds: i64) {
    app.sql(&format!("UPDATE sign_in_guesses SET last_at = last_at - {}", seconds * 1000)).await;
}

/// Makes what follows happen at once, however long this machine takes for it.
pub(super) async fn at_once(app: &TestApp) {
    later(app, -AHEAD).await;
}

/// Goes on after that.
async fn after(app: &TestApp, seconds: i64) {
    later(app, AHEAD + seconds).await;
}

/// How far [`at_once`] moves the last guesses ahead, seconds.
const AHEAD: i64 = 3600;

fn elsewhere(app: &TestApp, last: u8) -> Browser {
    Browser::from_address(&app.server.url(), [127, 0, 0, last])
}

on_both!(an_account_is_guessed_at_more_and_more_slowly);
async fn an_account_is_guessed_at_more_and_more_slowly(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    let mut guesser = elsewhere(&app, 2);
    for _ in 0..5 {
        guesser.sign_in("ada@example.com", "wrong wrong wrong").await.is_problem(401, "sign_in_failed");
    }
    at_once(&app).await;
    // From wherever it is guessed at, the account is closed, and also for the right password.
    for (mut browser, password) in [(guesser, "wrong wrong wrong"), (elsewhere(&app, 3), PASSWORD)] {
        let answer = browser.sign_in("ADA@example.com", password).await;
        let problem = answer.is_problem(429, "rate_limited");
        assert_eq!((answer.header("retry-after"), &problem["retry_after_seconds"]), ("1", &1.into()));
    }
    // The waits grow.
    let mut waits = Vec::new();
    for _ in 0..4 {
        after(&app, waits.last().copied().unwrap_or(1)).await;
        elsewhere(&app, 2).sign_in("ada@example.com", "wrong wrong wrong").await.is_problem(401, "sign_in_failed");
        at_once(&app).await;
        let answer = elsewhere(&app, 2).sign_in("ada@example.com", PASSWORD).await;
        answer.is_problem(429, "rate_limited");
        waits.push(answer.header("retry-after").parse::<i64>().unwrap());
    }
    assert_eq!(waits, [2, 4, 8, 16]);
    // However much was guessed: a quarter of an hour later it is open.
    app.sql("UPDATE sign_in_guesses SET failures = 1000000").await;
    elsewhere(&app, 3).sign_in("ada@example.com", PASSWORD).await.is_problem(429, "rate_limited");
    after(&app, 15 * 60).await;
    assert_eq!(elsewhere(&app, 3).sign_in("ada@example.com", PASSWORD).await.status, 200);
    app.stop().await;
}

on_both!(a_stranger_keeps_nobody_out_where_they_sign_in_from);
async fn a_stranger_keeps_nobody_out_where_they_sign_in_from(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    elsewhere(&app, 4).signed_in("ada@example.com").await;
    for _ in 0..6 {
        elsewhere(&app, 2).sign_in("ada@example.com", "wrong wrong wrong").await;
    }
    at_once(&app).await;
    elsewhere(&app, 2).sign_in("ada@example.com", PASSWORD).await.is_problem(429, "rate_limited");
    assert_eq!(elsewhere(&app, 4).sign_in("ada@example.com", PASSWORD).await.status, 200);
    // Guesses from there are counted all the same.
    for _ in 0..5 {
        elsewhere(&app, 4).sign_in("ada@example.com", "wrong wrong wrong").await.is_problem(401, "sign_in_failed");
    }
    at_once(&app).await;
    elsewhere(&app, 4).sign_in("ada@example.com", PASSWORD).await.is_problem(429, "rate_limited");
    app.stop().await;
}

on_both!(an_address_guesses_at_few_accounts);
async fn an_address_guesses_at_few_accounts(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    for number in 0..20 {
        let email = format!("nobody{number}@example.com");
        elsewhere(&app, 2).sign_in(&email, PASSWORD).await.is_problem(401, "sign_in_failed");
    }
    at_once(&app).await;
    elsewhere(&app, 2).sign_in("ada@example.com", PASSWORD).await.is_problem(429, "rate_limited");
    assert_eq!(elsewhere(&app, 3).sign_in("ada@example.com", PASSWORD).await.status, 200);
    // A right password of one's own does not buy guesses at others'.
    after(&app, 1).await;
    assert_eq!(elsewhere(&app, 2).sign_in("ada@example.com", PASSWORD).await.status, 200);
    at_once(&app).await;
    elsewhere(&app, 2).sign_in("nobody@example.com", PASSWORD).await.is_problem(429, "rate_limited");
    app.stop().await;
}

on_both!(a_right_password_that_needs_more_is_no_guess);
async fn a_right_password_that_needs_more_is_no_guess(app: TestApp) {
    let foreign = crate::tenants::foreign(&app).await;
    join(&app, "ada@example.com", "owner").await;
    let code = super::browser::invite_as(&app, &foreign.token, "ada@example.com", "viewer").await;
    let body = serde_json::json!({ "code": code, "password": PASSWORD });
    assert_eq!(app.post("/v1/invites/accept", body).without_token().send().await.status, 201);
    elsewhere(&app, 2).sign_in("ada@example.com", "wrong wrong wrong").await.is_problem(401, "sign_in_failed");
    for _ in 0..8 {
        let answer = elsewhere(&app, 2).sign_in("ada@example.com", PASSWORD).await;
        assert_eq!(answer.json()["needs"], serde_json::json!(["workspace"]));
    }
    app.sql("UPDATE accounts SET totp_sealed = (SELECT bucket FROM sign_in_guesses LIMIT 1)").await;
    for _ in 0..8 {
        let answer = elsewhere(&app, 2).sign_in("ada@example.com", PASSWORD).await;
        assert_eq!(answer.json()["needs"], serde_json::json!(["totp"]));
    }
    // Nor is the right one with which a weak one is to be set.
    app.sql("UPDATE accounts SET totp_sealed = NULL").await;
    let body = serde_json::json!({ "email": "ada@example.com", "password": PASSWORD, "workspace": foreign.workspace });
    let mut browser = elsewhere(&app, 3);
    assert_eq!(browser.post("/v1/session", body).await.json()["needs"], serde_json::json!([]));
    for _ in 0..8 {
        let weak = serde_json::json!({ "current": PASSWORD, "new": "short" });
        browser.post("/v1/session/password", weak).await.is_problem(422, "value_invalid");
    }
    // The wrong one stays counted: a password alone buys no guesses at codes.
    assert_eq!(app.number("SELECT MIN(failures) FROM sign_in_guesses WHERE failures > 0").await, 1);
    assert_eq!(app.number("SELECT MAX(failures) FROM sign_in_guesses").await, 1);
    app.stop().await;
}

on_both!(right_sign_ins_close_no_address_and_let_its_failures_age);
async fn right_sign_ins_close_no_address_and_let_its_failures_age(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    // An office behind one address, where many have mistyped.
    for number in 0..20 {
        elsewhere(&app, 2).sign_in(&format!("nobody{number}@example.com"), PASSWORD).await;
    }
    app.sql("UPDATE sign_in_guesses SET failures = 30 WHERE failures = 20").await;
    later(&app, 15 * 60).await;
    // Once the address is open, everybody who knows their password comes in, one after the other, and steps up.
    let mut ada = elsewhere(&app, 2).signed_in("ada@example.com").await;
    for _ in 0..3 {
        let raised = ada.post("/v1/session/step-up", serde_json::json!({ "password": PASSWORD })).await;
        assert_eq!(raised.status, 200, "{raised:?}");
        elsewhere(&app, 2).signed_in("ada@example.com").await;
    }
    assert_eq!(app.number("SELECT MAX(failures) FROM sign_in_guesses").await, 30);
    // They count as long as if nobody had signed in since, and a wrong one closes as it did.
    later(&app, 24 * 3600 - 15 * 60).await;
    elsewhere(&app, 2).signed_in("ada@example.com").await;
    elsewhere(&app, 2).sign_in("nobody@example.com", PASSWORD).await.is_problem(401, "sign_in_failed");
    assert_eq!(app.number("SELECT MAX(failures) FROM sign_in_guesses").await, 1, "a day of peace empties it");
    app.sql("UPDATE sign_in_guesses SET failures = 30 WHERE failures = 1").await;
    at_once(&app).await;
    elsewhere(&app, 2).sign_in("ada@example.com", PASSWORD).await.is_problem(429, "rate_limited");
    app.stop().await;
}

on_both!(the_code_may_follow_the_password_at_once);
async fn the_code_may_follow_the_password_at_once(app: TestApp) {
    let ada = super::second_factor::person(&app).await;
    let sign_in = |more: serde_json::Value| {
        let mut body = serde_json::json!({ "email": "ada@example.com", "password": PASSWORD });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for _ in 0..5 {
        let answer = elsewhere(&app, 3).sign_in("ada@example.com", "wrong wrong wrong").await;
        answer.is_problem(401, "sign_in_failed");
    }
    // As far as failures can be from closing for no time at all.
    app.sql("UPDATE sign_in_guesses SET failures = 1000 WHERE failures = 5").await;
    later(&app, 15 * 60).await;
    let first = elsewhere(&app, 3).post("/v1/session", sign_in(serde_json::json!({}))).await;
    assert_eq!(first.json()["needs"], serde_json::json!(["totp"]), "{first:?}");
    let second =
        elsewhere(&app, 3).post("/v1/session", sign_in(serde_json::json!({ "recovery_code": ada.recovery[0] }))).await;
    assert_eq!(second.json()["needs"], serde_json::json!([]), "{second:?}");
    app.stop().await;
}

on_both!(many_guesses_at_once_are_as_many);
async fn many_guesses_at_once_are_as_many(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    let guesses = (0..16).map(|number| {
        let mut browser = elsewhere(&app, 10 + number);
        async move { browser.sign_in("ada@example.com", "wrong wrong wrong").await.status.as_u16() }
    });
    let statuses = join_all(guesses).await;
    // Five, and on a slow machine those that the seconds since have let through: each was counted before it was tried.
    let tried = statuses.iter().filter(|status| **status == 401).count();
    assert!((5..10).contains(&tried) && statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
    assert_eq!(app.number("SELECT MAX(failures) FROM sign_in_guesses").await, tried as i64);
    app.stop().await;
}

/// Two processes on one database count together, and a session of one is a session of the other.
#[tokio::test]
async fn replicas_count_together() {
    let app = TestApp::shared().await;
    let replica = app.replica().await;
    join(&app, "ada@example.com", "owner").await;
    let urls = [app.server.url(), replica.url()];
    let at = |number: usize| Browser::from_address(&urls[number % 2], [127, 0, 0, 2]);
    for number in 0..5 {
        at(number).sign_in("ada@example.com", "wrong wrong wrong").await.is_problem(401, "sign_in_failed");
    }
    at_once(&app).await;
    for number in 0..2 {
        at(number).sign_in("ada@example.com", PASSWORD).await.is_problem(429, "rate_limited");
    }
    after(&app, 2).await;
    let here = at(0).signed_in("ada@example.com").await;
    let mut there = at(1);
    (there.cookie, there.csrf) = (here.cookie.clone(), here.csrf.clone());
    assert_eq!(there.post("/v1/session/step-up", serde_json::json!({ "password": PASSWORD })).await.status, 200);
    replica.stop(std::time::Duration::from_secs(5)).await;
    app.stop().await;
}
