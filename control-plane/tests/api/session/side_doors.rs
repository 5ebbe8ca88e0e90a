//! Guessing at passwords and codes beside the front door: whatever asks for one counts.

use serde_json::{Value, json};

use super::browser::invite_as;
use super::guessing::{at_once, later};
use super::{Browser, PASSWORD, invite, join};
use crate::app::{Answer, TestApp};
use crate::on_both;

/// Guesses that are let through before an account is closed.
const FREE: usize = 5;

async fn accept(app: &TestApp, body: Value) -> Answer {
    app.post("/v1/invites/accept", body).without_token().send().await
}

/// Guesses as often as nobody is kept from it, and then once with what is right.
async fn guessed(app: &TestApp, wrong: impl AsyncFn() -> Answer, right: impl AsyncFn() -> Answer) {
    for number in 0..FREE {
        let answer = wrong().await;
        assert!([401, 422].contains(&answer.status.as_u16()), "guess {number}: {answer:?}");
    }
    at_once(app).await;
    let answer = right().await;
    answer.is_problem(429, "rate_limited");
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{answer:?}");
    // Nobody is kept out for good.
    later(app, 24 * 3600).await;
    let answer = right().await;
    assert!(answer.status.is_success(), "{answer:?}");
}

on_both!(an_invitation_is_no_place_to_guess_at_a_password);
async fn an_invitation_is_no_place_to_guess_at_a_password(app: TestApp) {
    let foreign = crate::tenants::foreign(&app).await;
    join(&app, "ada@example.com", "owner").await;
    let code = invite_as(&app, &foreign.token, "ada@example.com", "viewer").await;
    let with = async |password: &str| accept(&app, json!({ "code": code, "password": password })).await;
    guessed(&app, async || with("wrong wrong wrong").await, async || with(PASSWORD).await).await;
    // What was guessed here counts where people sign in: it is one account.
    let code = invite(&app, "bob@example.com", "viewer").await;
    assert_eq!(accept(&app, json!({ "code": code, "password": PASSWORD })).await.status, 201);
    let code = invite_as(&app, &foreign.token, "bob@example.com", "viewer").await;
    for _ in 0..FREE {
        accept(&app, json!({ "code": code, "password": "wrong wrong wrong" })).await.is_problem(401, "sign_in_failed");
    }
    at_once(&app).await;
    let mut browser = Browser::from_address(&app.server.url(), [127, 0, 0, 9]);
    browser.sign_in("bob@example.com", PASSWORD).await.is_problem(429, "rate_limited");
    app.stop().await;
}

on_both!(a_change_of_password_is_no_place_to_guess_at_it);
async fn a_change_of_password_is_no_place_to_guess_at_it(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    let browser = Browser::new(&app).signed_in("ada@example.com").await;
    let with = async |current: &str| {
        let body = json!({ "current": current, "new": "another good password" });
        browser.copy().post("/v1/session/password", body).await
    };
    guessed(&app, async || with("wrong wrong wrong").await, async || with(PASSWORD).await).await;
    app.stop().await;
}

on_both!(an_authenticator_is_not_confirmed_by_guessing);
async fn an_authenticator_is_not_confirmed_by_guessing(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    let browser = Browser::new(&app).signed_in("ada@example.com").await;
    let offered = browser.copy().post("/v1/session/totp", json!({})).await.json();
    let bytes = super::base32(offered["secret"].as_str().unwrap());
    let authenticator = nightlatch::signin::totp::TotpSecret::from_bytes(&bytes).unwrap();
    let with = async |code: &str| browser.copy().post("/v1/session/totp/confirm", json!({ "code": code })).await;
    let right = async || {
        let now = app.store().await.now().await.unwrap() / 1000;
        with(&authenticator.show(now)).await
    };
    guessed(&app, async || with("12345").await, right).await;
    app.stop().await;
}
