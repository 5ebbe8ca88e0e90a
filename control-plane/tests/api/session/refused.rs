//! Who does not get in is in the log, with what they failed by: whoever knows a password and not the code above all.

use std::time::Duration;

use serde_json::{Value, json};

use super::browser::invite_as;
use super::{Browser, PASSWORD, second_factor};
use crate::app::TestApp;
use crate::on_both;

/// The entries about refused sign-ins, oldest first, once there are so many: they are written beside the answers.
async fn refused(app: &TestApp, many: usize) -> Vec<Value> {
    noted(app, "session.refused", many).await
}

async fn noted(app: &TestApp, action: &str, many: usize) -> Vec<Value> {
    for _ in 0..600 {
        let page = app.get(&format!("/v1/audit?action={action}&limit=100")).send().await.json();
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
    let mut tell = async |browser: &mut Browser, more: Value| {
        let mut body = json!({ "email": "ada@example.com", "password": PASSWORD });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(browser.post("/v1/session", body).await.status.as_u16(), 401, "{more}");
        count += 1;
        refused(&app, count).await
    };
    // Nobody's address leaves nothing; it is answered before the next is asked.
    browser.sign_in("nobody@example.com", PASSWORD).await.is_problem(401, "sign_in_failed");
    // A form asks for one after the other. That somebody knows the password is in the log all the same.
    assert_eq!(browser.sign_in("ada@example.com", PASSWORD).await.status, 200);
    tell(&mut browser, json!({ "password": "wrong wrong wrong" })).await;
    tell(&mut browser, json!({ "totp": "000000" })).await;
    tell(&mut browser, json!({ "recovery_code": "0000-0000-0000-0000" })).await;
    tell(&mut browser, json!({ "recovery_code": "no code" })).await;
    let mut items =
        tell(&mut browser, json!({ "recovery_code": ada.recovery[0], "workspace": "ws_0000000000000000" })).await;
    assert_eq!(failed(&items), ["password", "second_factor", "second_factor", "second_factor", "workspace"]);
    items.extend(noted(&app, "session.challenged", 1).await);
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
    noted(&app, "session.challenged", 1).await;
    assert_eq!(app.number("SELECT MAX(failures) FROM sign_in_guesses").await, failures, "the password was right");
    accept(json!({ "totp": "000000" })).await.is_problem(401, "sign_in_failed");
    let items = refused(&app, 2).await;
    assert_eq!(failed(&items), ["password", "second_factor"]);
    // Where the account is nothing yet, nobody learns of it.
    let there = app.get("/v1/audit?action=session.refused").token(&foreign.token).send().await.json();
    assert_eq!(there["items"], json!([]));
    drop(ada);
    app.stop().await;
}

on_both!(a_right_password_tells_other_workspaces_nothing_of_where_it_came_from);
async fn a_right_password_tells_other_workspaces_nothing_of_where_it_came_from(app: TestApp) {
    let foreign = crate::tenants::foreign(&app).await;
    let ada = second_factor::person(&app).await;
    let here = app.text("SELECT workspace_id FROM members WHERE email = 'ada@example.com'").await;
    let code = invite_as(&app, &foreign.token, "ada@example.com", "viewer").await;
    second_factor::forget_steps(&app).await;
    let totp = second_factor::code(&app, &ada, 0).await;
    let body = json!({ "code": code, "password": PASSWORD, "totp": totp });
    assert_eq!(app.post("/v1/invites/accept", body).without_token().send().await.status, 201);
    let mut browser = Browser::from_address(&app.server.url(), [127, 0, 0, 9]);
    let mut enter = async |more: Value| {
        let mut body = json!({ "email": "ada@example.com", "password": PASSWORD });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        browser.post("/v1/session", body).await
    };
    let there = async |action: &str| {
        let page = app.get(&format!("/v1/audit?action={action}")).token(&foreign.token).send().await.json();
        page["items"].as_array().unwrap().clone()
    };
    // Where she says which of the two she enters, the other learns nothing.
    enter(json!({ "workspace": here })).await;
    enter(json!({ "workspace": here, "totp": "000000" })).await.is_problem(401, "sign_in_failed");
    noted(&app, "session.challenged", 1).await;
    assert_eq!(noted(&app, "session.refused", 1).await[0]["source"], "127.0.0.9");
    // Where she does not, neither learns where she is; that somebody guesses, and from where, both do.
    enter(json!({})).await;
    enter(json!({ "totp": "000000" })).await.is_problem(401, "sign_in_failed");
    enter(json!({ "password": "wrong wrong wrong" })).await.is_problem(401, "sign_in_failed");
    let items = noted(&app, "session.refused", 3).await;
    assert_eq!(failed(&items), ["second_factor", "second_factor", "password"]);
    let sources: Vec<_> = items.iter().map(|item| item["source"].as_str()).collect();
    assert_eq!(sources, [Some("127.0.0.9"), None, Some("127.0.0.9")]);
    let others = there("session.refused").await;
    assert_eq!(others.len(), 2, "{others:?}");
    assert!(
        others.iter().all(|item| item["source"].is_null() == (item["after"]["failed"] != "password")),
        "{others:?}"
    );
    assert_eq!(noted(&app, "session.challenged", 1).await.len(), 1);
    assert_eq!(there("session.challenged").await, [] as [Value; 0]);
    app.stop().await;
}
