//! Who does not get in is in the log, with what they failed by: whoever knows a password and not the code above all.

use std::time::Duration;

use serde_json::{Value, json};

use super::browser::invite_as;
use super::{Browser, PASSWORD, second_factor};
use crate::app::TestApp;
use crate::on_both;

/// The entries about refused sign-ins, oldest first, once there are so many: they are written beside the answers.
async fn refused(app: &TestApp, many: usize) -> Vec<Value> {
    for _ in 0..600 {
        let page = app.get("/v1/audit?action=session.refused&limit=100").send().await.json();
        let mut items = page["items"].as_array().unwrap().clone();
        if items.len() >= many {
            items.reverse();
            return items;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the refusals were not noted");
}

fn failed(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["after"]["failed"].as_str().unwrap()).collect()
}

on_both!(s3_14_refused_sign_ins_are_in_the_log);
async fn s3_14_refused_sign_ins_are_in_the_log(app: TestApp) {
    let ada = second_factor::person(&app).await;
    let member = app.text("SELECT id FROM members WHERE email = 'ada@example.com'").await;
    let mut browser = Browser::from_address(&app.server.url(), [127, 0, 0, 9]);
    let mut count = 0;
    let mut tell = async |browser: &mut Browser, more: Value, status: u16| {
        let mut body = json!({ "email": "ada@example.com", "password": PASSWORD });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(browser.post("/v1/session", body).await.status.as_u16(), status, "{more}");
        count += 1;
        refused(&app, count).await
    };
    // Nobody's address leaves nothing; it is answered before the next is asked.
    browser.sign_in("nobody@example.com", PASSWORD).await.is_problem(401, "sign_in_failed");
    tell(&mut browser, json!({ "password": "wrong wrong wrong" }), 401).await;
    tell(&mut browser, json!({}), 200).await;
    tell(&mut browser, json!({ "totp": "000000" }), 401).await;
    tell(&mut browser, json!({ "recovery_code": "0000-0000-0000-0000" }), 401).await;
    tell(&mut browser, json!({ "recovery_code": "no code" }), 401).await;
    let items =
        tell(&mut browser, json!({ "recovery_code": ada.recovery[0], "workspace": "ws_0000000000000000" }), 401).await;
    let wanted = ["password", "second_factor_missing", "second_factor", "second_factor", "second_factor", "workspace"];
    assert_eq!(failed(&items), wanted);
    for item in &items {
        assert_eq!((&item["target"]["id"], &item["source"]), (&json!(member), &json!("127.0.0.9")), "{item}");
        assert_eq!(item["actor"]["type"], "system", "nobody has shown who they are: {item}");
        let text = item.to_string();
        assert!(!text.contains(PASSWORD) && !text.contains("000000") && !text.contains(&ada.recovery[0]), "{text}");
    }
    app.stop().await;
}

on_both!(joining_an_account_by_its_password_is_signing_in);
async fn joining_an_account_by_its_password_is_signing_in(app: TestApp) {
    let foreign = crate::tenants::foreign(&app).await;
    let ada = second_factor::person(&app).await;
    let code = invite_as(&app, &foreign.token, "ada@example.com", "viewer").await;
    let accept = async |more: Value| {
        let mut body = json!({ "code": code, "password": PASSWORD });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        app.post("/v1/invites/accept", body).without_token().send().await
    };
    accept(json!({ "password": "wrong wrong wrong" })).await.is_problem(401, "sign_in_failed");
    refused(&app, 1).await;
    let failures = app.number("SELECT MAX(failures) FROM sign_in_guesses").await;
    accept(json!({})).await.is_problem(422, "value_invalid");
    refused(&app, 2).await;
    assert_eq!(app.number("SELECT MAX(failures) FROM sign_in_guesses").await, failures, "the password was right");
    accept(json!({ "totp": "000000" })).await.is_problem(401, "sign_in_failed");
    let items = refused(&app, 3).await;
    assert_eq!(failed(&items), ["password", "second_factor_missing", "second_factor"]);
    // Where the account is nothing yet, nobody learns of it.
    let there = app.get("/v1/audit?action=session.refused").token(&foreign.token).send().await.json();
    assert_eq!(there["items"], json!([]));
    drop(ada);
    app.stop().await;
}
