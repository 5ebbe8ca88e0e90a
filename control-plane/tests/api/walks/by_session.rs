//! Every call in a browser: with its cookie alone, from another site, with an old proof of who somebody is, and as it
//! should be.

use super::ready::{About, By, ready};
use super::{Session, walk};
use crate::app::{Answer, TestApp};
use crate::on_both;
use crate::session::{Browser, join};

/// Whether an answer is the problem of that code; else what is wrong.
fn expect(operation: &str, case: &str, answer: &Answer, code: &str) -> Option<String> {
    let right = answer.status == 403 && answer.json()["code"] == code;
    (!right).then(|| format!("{operation}, {case}: {answer:?}"))
}

on_both!(every_call_in_a_browser_needs_what_is_written_down);
async fn every_call_in_a_browser_needs_what_is_written_down(app: TestApp) {
    join(&app, "owner@example.com", "owner").await;
    let mut owner = Browser::new(&app).signed_in("owner@example.com").await;
    let made = owner.post("/v1/tokens", serde_json::json!({ "name": "own", "kind": "management" })).await;
    let about = About { holder: made.json()["secret"].as_str().map(str::to_owned), ..About::default() };
    assert!(about.holder.is_some(), "{made:?}");
    let mut wrong = Vec::new();
    for (operation, line) in walk() {
        if line.session == Session::Open {
            assert!(operation.is_open(), "{}", operation.id);
            continue;
        }
        assert!(!operation.is_open(), "{}", operation.id);
        let mut ready = ready(&app, &operation, &about).await;
        let mut browser = match std::mem::replace(&mut ready.by, By::Nobody) {
            By::Session(browser) => *browser,
            _ => owner.copy(),
        };
        let csrf = browser.csrf.clone().unwrap();
        let before = app.footprint().await;
        let id = operation.id.as_str();
        if operation.changes() {
            // A cookie is sent by whatever page makes the call.
            let answer = ready.send_in(&mut browser.copy(), None).await;
            wrong.extend(expect(id, "without a CSRF token", &answer, "csrf_invalid"));
            let answer = ready.send_in(&mut browser.copy(), Some("another")).await;
            wrong.extend(expect(id, "with a wrong CSRF token", &answer, "csrf_invalid"));
            let request = ready.in_browser(&browser, Some(&csrf), "cross-site");
            let answer = browser.copy().send(request).await;
            wrong.extend(expect(id, "from another site", &answer, "csrf_invalid"));
        }
        if line.session == Session::NotForPeople {
            let answer = ready.send_in(&mut browser, Some(&csrf)).await;
            wrong.extend(expect(id, "in a browser", &answer, "forbidden"));
        }
        if line.session == Session::StepUp {
            app.sql("UPDATE sessions SET elevated_until = elevated_until - 600000").await;
            let answer = ready.send_in(&mut browser.copy(), Some(&csrf)).await;
            wrong.extend(expect(id, "with an old proof", &answer, "step_up_required"));
            app.sql("UPDATE sessions SET elevated_until = elevated_until + 600000").await;
        }
        let after = app.footprint().await;
        if after != before {
            wrong.push(format!("{id}: refused, and something was changed: {}", before.difference(&after)));
        }
        if line.session == Session::NotForPeople {
            continue;
        }
        if line.session == Session::Live {
            app.sql("UPDATE sessions SET elevated_until = elevated_until - 600000").await;
        }
        let answer = ready.send_in(&mut browser, Some(&csrf)).await;
        if line.session == Session::Live {
            app.sql("UPDATE sessions SET elevated_until = elevated_until + 600000 WHERE elevated_until IS NOT NULL")
                .await;
        }
        if answer.status.as_u16() != line.status {
            wrong.push(format!("{id}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    app.stop().await;
}
