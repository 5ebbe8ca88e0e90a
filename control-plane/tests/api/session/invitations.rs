//! From an invitation to a member.

use futures::future::join_all;
use serde_json::{Value, json};

use super::browser::invite_as;
use super::{Browser, PASSWORD, invite, join};
use crate::app::{Answer, TestApp};
use crate::on_both;

async fn accept(app: &TestApp, body: Value) -> Answer {
    app.post("/v1/invites/accept", body).without_token().header("x-request-id", "same").send().await
}

/// The id of whoever has the address.
async fn member(app: &TestApp, email: &str) -> String {
    let found = app.get(&format!("/v1/members?email={email}")).send().await.json();
    found["items"][0]["id"].as_str().unwrap().to_owned()
}

on_both!(codes_that_are_good_for_nothing_are_answered_alike);
async fn codes_that_are_good_for_nothing_are_answered_alike(app: TestApp) {
    let used = invite(&app, "used@example.com", "viewer").await;
    assert_eq!(accept(&app, json!({ "code": used, "password": PASSWORD })).await.status, 201);
    let expired = invite(&app, "expired@example.com", "viewer").await;
    app.sql("UPDATE members SET invite_expires_at = 1 WHERE email = 'expired@example.com'").await;
    let withdrawn = invite(&app, "withdrawn@example.com", "viewer").await;
    let id = member(&app, "withdrawn@example.com").await;
    assert_eq!(app.post(&format!("/v1/members/{id}/remove"), json!({})).send().await.status, 200);
    let mut answers = Vec::new();
    for code in [used.as_str(), &expired, &withdrawn, "unknown", "", &app.token] {
        let answer = accept(&app, json!({ "code": code, "password": PASSWORD })).await;
        answer.is_problem(401, "invitation_invalid");
        answers.push(answer.text);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(app.number("SELECT COUNT(*) FROM accounts").await, 1);
    app.stop().await;
}

on_both!(an_invitation_is_taken_up_once);
async fn an_invitation_is_taken_up_once(app: TestApp) {
    let code = invite(&app, "ada@example.com", "viewer").await;
    // What is refused does not use it up.
    for (password, status) in [("too short", 422), ("Ada@example.com", 422)] {
        assert_eq!(accept(&app, json!({ "code": code, "password": password })).await.status, status);
    }
    accept(&app, json!({ "code": code })).await.is_problem(422, "value_invalid");
    let answers = join_all((0..8).map(|_| accept(&app, json!({ "code": code, "password": PASSWORD })))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "{answers:?}");
    // Who came too late is told so.
    assert!(answers.iter().all(|answer| [201, 401, 422, 429].contains(&answer.status.as_u16())), "{answers:?}");
    assert_eq!(app.number("SELECT COUNT(*) FROM accounts").await, 1);
    Browser::new(&app).signed_in("ada@example.com").await;
    app.stop().await;
}

on_both!(two_invitations_of_a_new_address_make_one_account);
async fn two_invitations_of_a_new_address_make_one_account(app: TestApp) {
    let foreign = crate::tenants::foreign(&app).await;
    for round in 0..6 {
        let email = format!("ada{round}@example.com");
        let codes = [invite(&app, &email, "viewer").await, invite_as(&app, &foreign.token, &email, "viewer").await];
        let both = codes.each_ref().map(|code| accept(&app, json!({ "code": code, "password": PASSWORD })));
        let answers = join_all(both).await;
        assert_ne!(answers.iter().filter(|answer| answer.status == 201).count(), 0, "{answers:?}");
        // Whoever was second is told that there is an account now; with its password they join.
        for (code, answer) in codes.iter().zip(&answers).filter(|(_, answer)| answer.status != 201) {
            answer.is_problem(422, "value_invalid");
            assert_eq!(accept(&app, json!({ "code": code, "password": PASSWORD })).await.status, 201);
        }
        assert_eq!(app.number(&format!("SELECT COUNT(*) FROM accounts WHERE email = '{email}'")).await, 1);
    }
    app.stop().await;
}

on_both!(joining_an_account_needs_that_account);
async fn joining_an_account_needs_that_account(app: TestApp) {
    let foreign = crate::tenants::foreign(&app).await;
    join(&app, "ada@example.com", "owner").await;
    join(&app, "bob@example.com", "owner").await;
    let code = invite_as(&app, &foreign.token, "ada@example.com", "viewer").await;
    // Whoever reads Ada's mail does not get Ada's account.
    accept(&app, json!({ "code": code, "password": "another password" })).await.is_problem(401, "sign_in_failed");
    accept(&app, json!({ "code": code })).await.is_problem(422, "value_invalid");
    let mut bob = Browser::new(&app).signed_in("bob@example.com").await;
    bob.post("/v1/invites/accept", json!({ "code": code })).await.is_problem(422, "value_invalid");
    let mut ada = Browser::new(&app).signed_in("ada@example.com").await;
    ada.csrf = bob.csrf.clone();
    ada.post("/v1/invites/accept", json!({ "code": code })).await.is_problem(403, "csrf_invalid");
    ada.get("/v1/session").await;
    let joined = ada.post("/v1/invites/accept", json!({ "code": code })).await;
    assert_eq!((joined.status.as_u16(), &joined.json()["workspace"]["id"]), (201, &json!(foreign.workspace)));
    assert_eq!(app.number("SELECT COUNT(*) FROM accounts").await, 2);
    app.stop().await;
}

on_both!(
    /// S3-14, S1-03: whoever made the code could have kept it.
    s3_14_a_code_of_somebody_who_left_makes_nobody_a_member
);
async fn s3_14_a_code_of_somebody_who_left_makes_nobody_a_member(app: TestApp) {
    let bo = crate::joining::join(&app, "bo", "admin").await;
    let body = json!({ "email": "x@example.com", "role": "admin" });
    let invited = app.post("/v1/members", body).token(&bo.token).send().await.json();
    let edge = json!({ "name": "gate", "class": "durable" });
    let edge = app.post("/v1/edges", edge).token(&bo.token).send().await.json()["code"].clone();
    assert_eq!(app.post(&format!("/v1/members/{}/remove", bo.id), json!({})).send().await.status, 200);
    let taken = accept(&app, json!({ "code": invited["code"], "password": PASSWORD })).await;
    taken.is_problem(401, "invitation_invalid");
    let enrol = json!({ "code": edge, "runtime": "sidecar", "version": "1" });
    let enrolled = app.post("/v1/edges/enrol", enrol).without_token().send().await;
    assert!(enrolled.status.is_client_error(), "{enrolled:?}");
    // Somebody who is here makes another.
    let path = format!("/v1/members/{}/invite", invited["member"]["id"].as_str().unwrap());
    let again = app.post(&path, json!({})).send().await.json();
    assert_eq!(accept(&app, json!({ "code": again["code"], "password": PASSWORD })).await.status, 201);
    app.stop().await;
}
