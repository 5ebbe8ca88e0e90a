//! The authenticator and its recovery codes.

use futures::future::join_all;
use nightlatch::signin::totp::TotpSecret;
use serde_json::{Value, json};

use super::{Browser, PASSWORD, join};
use crate::app::{Answer, TestApp};
use crate::on_both;

/// Somebody with an authenticator.
pub(super) struct Person {
    pub(super) browser: Browser,
    authenticator: TotpSecret,
    pub(super) recovery: Vec<String>,
}

/// The bytes that an authenticator is given as text.
pub(crate) fn base32(text: &str) -> Vec<u8> {
    let (mut bits, mut count, mut bytes) = (0_u64, 0, Vec::new());
    for c in text.bytes() {
        let value = if c.is_ascii_digit() { c - b'2' + 26 } else { c - b'A' };
        (bits, count) = (bits << 5 | u64::from(value), count + 5);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 255) as u8);
        }
    }
    bytes
}

async fn seconds(app: &TestApp) -> i64 {
    app.store().await.now().await.unwrap() / 1000
}

/// The code at an offset of so many seconds from now.
pub(super) async fn code(app: &TestApp, person: &Person, offset: i64) -> String {
    person.authenticator.show(seconds(app).await + offset)
}

/// Forgets which codes were taken, as if time had passed.
pub(super) async fn forget_steps(app: &TestApp) {
    app.sql("UPDATE accounts SET totp_last_step = 0").await;
}

/// Makes Ada an owner with an authenticator.
pub(super) async fn person(app: &TestApp) -> Person {
    join(app, "ada@example.com", "owner").await;
    let mut browser = Browser::new(app).signed_in("ada@example.com").await;
    let offered = browser.post("/v1/session/totp", json!({})).await.json();
    let secret = offered["secret"].as_str().unwrap();
    assert!(offered["uri"].as_str().unwrap().contains(&format!("secret={secret}&")));
    let authenticator = TotpSecret::from_bytes(&base32(secret)).unwrap();
    // Before it is confirmed, nobody needs it.
    Browser::new(app).signed_in("ada@example.com").await;
    let wrong = browser.post("/v1/session/totp/confirm", json!({ "code": "12345" })).await;
    wrong.is_problem(422, "value_invalid");
    let code = authenticator.show(seconds(app).await);
    let confirmed = browser.post("/v1/session/totp/confirm", json!({ "code": code })).await;
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    let codes = confirmed.json()["recovery_codes"].as_array().unwrap().clone();
    let recovery: Vec<_> = codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect();
    assert_eq!(recovery.len(), 10);
    Person { browser, authenticator, recovery }
}

async fn sign_in(app: &TestApp, more: Value) -> Answer {
    let mut body = json!({ "email": "ada@example.com", "password": PASSWORD });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Browser::new(app).post("/v1/session", body).await
}

on_both!(a_code_is_needed_counts_once_and_a_step_early_or_late);
async fn a_code_is_needed_counts_once_and_a_step_early_or_late(app: TestApp) {
    let mut person = person(&app).await;
    let answer = Browser::new(&app).sign_in("ada@example.com", PASSWORD).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["needs"]), (200, &json!(["totp"])));
    assert!(!answer.headers.contains_key("set-cookie"), "half a proof is no session");
    // The code that confirmed it is taken.
    forget_steps(&app).await;
    let now = code(&app, &person, 0).await;
    assert_eq!(sign_in(&app, json!({ "totp": now })).await.status, 200);
    sign_in(&app, json!({ "totp": now })).await.is_problem(401, "sign_in_failed");
    person.browser.post("/v1/session/step-up", json!({ "totp": now })).await.is_problem(401, "sign_in_failed");
    for (offset, status) in [(-30, 200), (30, 200), (-90, 401), (90, 401)] {
        // Again where the clock went on to the next step meanwhile.
        loop {
            forget_steps(&app).await;
            app.sql("DELETE FROM sign_in_guesses").await;
            let step = seconds(&app).await / 30;
            let drifted = person.authenticator.show(step * 30 + offset);
            let answered = sign_in(&app, json!({ "totp": drifted })).await.status;
            if seconds(&app).await / 30 == step {
                assert_eq!(answered, status, "{offset}");
                break;
            }
        }
    }
    // After a later code an earlier one is worth nothing.
    forget_steps(&app).await;
    let (early, late) = (code(&app, &person, 0).await, code(&app, &person, 30).await);
    assert_eq!(sign_in(&app, json!({ "totp": late })).await.status, 200);
    sign_in(&app, json!({ "totp": early })).await.is_problem(401, "sign_in_failed");
    // It steps up too.
    forget_steps(&app).await;
    let now = code(&app, &person, 0).await;
    assert_eq!(person.browser.post("/v1/session/step-up", json!({ "totp": now })).await.status, 200);
    app.stop().await;
}

on_both!(a_code_counts_once_when_the_clock_is_set_back_or_on);
async fn a_code_counts_once_when_the_clock_is_set_back_or_on(app: TestApp) {
    const STEPS_OF_A_DAY: i64 = 24 * 3600 / 30;
    let person = person(&app).await;
    // Set back by a day: the last code was one of tomorrow. No code is taken until then, and a recovery code is.
    app.sql(&format!("UPDATE accounts SET totp_last_step = totp_last_step + {STEPS_OF_A_DAY}")).await;
    let now = code(&app, &person, 0).await;
    sign_in(&app, json!({ "totp": now })).await.is_problem(401, "sign_in_failed");
    app.sql("DELETE FROM sign_in_guesses").await;
    assert_eq!(sign_in(&app, json!({ "recovery_code": person.recovery[0] })).await.status, 200);
    sign_in(&app, json!({ "recovery_code": person.recovery[0] })).await.is_problem(401, "sign_in_failed");
    app.sql("DELETE FROM sign_in_guesses").await;
    // Set on by a day: what was taken is long past, and the code of the moment counts once.
    app.sql(&format!("UPDATE accounts SET totp_last_step = totp_last_step - {}", 2 * STEPS_OF_A_DAY)).await;
    let now = code(&app, &person, 0).await;
    assert_eq!(sign_in(&app, json!({ "totp": now })).await.status, 200);
    sign_in(&app, json!({ "totp": now })).await.is_problem(401, "sign_in_failed");
    app.stop().await;
}

on_both!(of_two_with_the_same_code_one_gets_in);
async fn of_two_with_the_same_code_one_gets_in(app: TestApp) {
    let person = person(&app).await;
    forget_steps(&app).await;
    let now = code(&app, &person, 0).await;
    let answers = join_all((0..4).map(|_| sign_in(&app, json!({ "totp": now })))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
    app.sql("DELETE FROM sign_in_guesses").await;
    let body = json!({ "recovery_code": person.recovery[0] });
    let answers = join_all((0..4).map(|_| sign_in(&app, body.clone()))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
    app.stop().await;
}

on_both!(a_recovery_code_counts_once);
async fn a_recovery_code_counts_once(app: TestApp) {
    let mut person = person(&app).await;
    let first = json!({ "recovery_code": person.recovery[0].to_uppercase().replace('-', "") });
    assert_eq!(sign_in(&app, first.clone()).await.status, 200);
    sign_in(&app, first).await.is_problem(401, "sign_in_failed");
    sign_in(&app, json!({ "recovery_code": "0000-0000-0000-0000" })).await.is_problem(401, "sign_in_failed");
    let both = json!({ "recovery_code": person.recovery[1], "totp": "000000" });
    sign_in(&app, both).await.is_problem(422, "value_invalid");
    // A wrong password does not use one up.
    let body =
        json!({ "email": "ada@example.com", "password": "wrong wrong wrong", "recovery_code": person.recovery[1] });
    Browser::new(&app).post("/v1/session", body).await.is_problem(401, "sign_in_failed");
    assert_eq!(sign_in(&app, json!({ "recovery_code": person.recovery[1] })).await.status, 200);
    // Another authenticator, other codes.
    let offered = person.browser.post("/v1/session/totp", json!({})).await.json();
    let next = TotpSecret::from_bytes(&base32(offered["secret"].as_str().unwrap())).unwrap();
    let body = json!({ "code": next.show(seconds(&app).await) });
    assert_eq!(person.browser.post("/v1/session/totp/confirm", body).await.status, 200);
    sign_in(&app, json!({ "recovery_code": person.recovery[2] })).await.is_problem(401, "sign_in_failed");
    app.stop().await;
}

on_both!(codes_are_guessed_at_as_slowly_as_passwords);
async fn codes_are_guessed_at_as_slowly_as_passwords(app: TestApp) {
    let person = person(&app).await;
    forget_steps(&app).await;
    app.sql("DELETE FROM sign_in_guesses").await;
    // Whoever has the password alone: it is no guess, and gives none of those at codes back.
    let mut statuses = Vec::new();
    for more in [json!({}), json!({ "totp": "000000" })].iter().cycle().take(10) {
        statuses.push(sign_in(&app, more.clone()).await.status.as_u16());
    }
    assert_eq!(statuses, [200, 401].repeat(5));
    super::at_once(&app).await;
    sign_in(&app, json!({ "totp": "000000" })).await.is_problem(429, "rate_limited");
    sign_in(&app, json!({})).await.is_problem(429, "rate_limited");
    drop(person);
    app.stop().await;
}

on_both!(removing_the_authenticator_needs_a_step_up);
async fn removing_the_authenticator_needs_a_step_up(app: TestApp) {
    let mut person = person(&app).await;
    app.sql("UPDATE sessions SET elevated_until = elevated_until - 600000").await;
    person.browser.post("/v1/session/totp/remove", json!({})).await.is_problem(403, "step_up_required");
    let body = json!({ "code": "000000" });
    person.browser.post("/v1/session/totp/confirm", body).await.is_problem(403, "step_up_required");
    assert_eq!(person.browser.post("/v1/session/step-up", json!({ "password": PASSWORD })).await.status, 200);
    assert_eq!(person.browser.post("/v1/session/totp/remove", json!({})).await.status, 204);
    person.browser.post("/v1/session/totp/remove", json!({})).await.is_problem(409, "totp_missing");
    Browser::new(&app).signed_in("ada@example.com").await;
    assert_eq!(app.number("SELECT COUNT(*) FROM recovery_codes").await, 0);
    let rows = app.get("/v1/audit").send().await.text;
    assert!(rows.contains("account.totp_confirmed") && rows.contains("account.totp_removed"));
    app.stop().await;
}
