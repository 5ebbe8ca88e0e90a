//! Owners who came with an enrolment token have no account at first, and get one by a code.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{Browser, PASSWORD, join};
use crate::app::{Answer, TestApp};
use crate::on_both;

/// Another workspace and its first owner.
struct Founder {
    token: String,
    member: String,
    code: Value,
}

async fn found(app: &TestApp, brand: &str, email: Option<&str>) -> Founder {
    let made = app.post("/v1/workspaces", json!({ "name": brand, "brand": brand })).send().await;
    assert_eq!(made.status, 201, "{made:?}");
    let body = json!({ "token": made.json()["enrolment_token"], "email": email });
    let enrolled = app.post("/v1/enrol", body).without_token().send().await;
    assert_eq!(enrolled.status, 201, "{enrolled:?}");
    let enrolled = enrolled.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Founder {
        token: text(&enrolled["secret"]),
        member: text(&enrolled["member"]["id"]),
        code: enrolled["code"].clone(),
    }
}

async fn accept(app: &TestApp, code: &Value, password: &str) -> Answer {
    app.post("/v1/invites/accept", json!({ "code": code, "password": password })).without_token().send().await
}

impl Founder {
    async fn reinvite(&self, app: &TestApp, token: &str, body: Value) -> Answer {
        app.post(&format!("/v1/members/{}/invite", self.member), body).token(token).send().await
    }
}

on_both!(a_founder_makes_an_account_by_their_code);
async fn a_founder_makes_an_account_by_their_code(app: TestApp) {
    let founder = found(&app, "one", Some("Ana@Example.com")).await;
    assert!(founder.code.as_str().unwrap().starts_with("nli_live_"), "{}", founder.code);
    // Once, whoever is first.
    let answers = join_all((0..4).map(|_| accept(&app, &founder.code, PASSWORD))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "{answers:?}");
    let again = accept(&app, &founder.code, PASSWORD).await;
    assert!([401, 422].contains(&again.status.as_u16()), "{again:?}");
    let mut ana = Browser::new(&app).signed_in("ana@example.com").await;
    let session = ana.get("/v1/session").await.json();
    assert_eq!((&session["member"]["id"], &session["member"]["role"]), (&json!(founder.member), &json!("owner")));
    // The token goes on; and nobody makes a code for who has an account, that could move it.
    assert_eq!(app.get("/v1/members").token(&founder.token).send().await.status, 200);
    for body in [json!({}), json!({ "email": "ana@example.com" }), json!({ "email": "eve@example.com" })] {
        founder.reinvite(&app, &founder.token, body).await.is_problem(409, "invite_accepted");
    }
    let log = app.get("/v1/audit?action=member.account_made").token(&founder.token).send().await.json();
    assert_eq!(log["items"][0]["target"]["id"], founder.member, "{log}");
    app.stop().await;
}

on_both!(a_founder_without_an_address_is_given_one_once);
async fn a_founder_without_an_address_is_given_one_once(app: TestApp) {
    let founder = found(&app, "one", None).await;
    assert!(founder.code.is_null());
    founder.reinvite(&app, &founder.token, json!({})).await.is_problem(422, "value_invalid");
    founder.reinvite(&app, &founder.token, json!({ "email": "no address" })).await.is_problem(422, "value_invalid");
    let taken = json!({ "email": "bo@example.com", "role": "viewer" });
    assert_eq!(app.post("/v1/members", taken).token(&founder.token).send().await.status, 201);
    let bo = json!({ "email": "BO@example.com" });
    founder.reinvite(&app, &founder.token, bo).await.is_problem(409, "member_exists");
    let given = founder.reinvite(&app, &founder.token, json!({ "email": "Ana@example.com" })).await;
    assert_eq!(
        (given.status.as_u16(), &given.json()["member"]["email"]),
        (201, &json!("ana@example.com")),
        "{given:?}"
    );
    // From then on it stays; another code ends the one before.
    let other = json!({ "email": "eve@example.com" });
    founder.reinvite(&app, &founder.token, other).await.is_problem(422, "value_invalid");
    let again = founder.reinvite(&app, &founder.token, json!({})).await.json();
    accept(&app, &given.json()["code"], PASSWORD).await.is_problem(401, "invitation_invalid");
    assert_eq!(accept(&app, &again["code"], PASSWORD).await.status, 201);
    Browser::new(&app).signed_in("ana@example.com").await;
    app.stop().await;
}

on_both!(nobody_takes_an_owner_over_by_a_code);
async fn nobody_takes_an_owner_over_by_a_code(app: TestApp) {
    let founder = found(&app, "one", None).await;
    // An admin makes no owner's way in, be it for an address of their own.
    let admin = json!({ "email": "eve@example.com", "role": "admin" });
    let code = app.post("/v1/members", admin).token(&founder.token).send().await.json()["code"].clone();
    assert_eq!(accept(&app, &code, PASSWORD).await.status, 201);
    let mut eve = Browser::new(&app).signed_in("eve@example.com").await;
    let path = format!("/v1/members/{}/invite", founder.member);
    for body in [json!({}), json!({ "email": "eve2@example.com" })] {
        eve.post(&path, body).await.is_problem(403, "forbidden");
    }
    // One of another workspace knows nothing of them.
    founder.reinvite(&app, &app.token, json!({ "email": "eve@example.org" })).await.is_problem(404, "not_found");
    // Codes that ran out, and of members who are stopped or gone.
    let code =
        founder.reinvite(&app, &founder.token, json!({ "email": "ana@example.com" })).await.json()["code"].clone();
    let is = async |what: &str| {
        app.sql(&format!("UPDATE members SET {what} WHERE id = '{}'", founder.member)).await;
        accept(&app, &code, PASSWORD).await
    };
    is("state = 'suspended'").await.is_problem(401, "invitation_invalid");
    is("state = 'removed'").await.is_problem(401, "invitation_invalid");
    is("state = 'active', invite_expires_at = 1").await.is_problem(401, "invitation_invalid");
    let far = i64::MAX / 2;
    assert_eq!(is(&format!("invite_expires_at = {far}")).await.status, 201);
    app.stop().await;
}

on_both!(a_founders_address_opens_nobody_elses_account);
async fn a_founders_address_opens_nobody_elses_account(app: TestApp) {
    join(&app, "ada@example.com", "viewer").await;
    // Somebody founds a workspace and says that they are Ada.
    let mallory = found(&app, "one", Some("ada@example.com")).await;
    accept(&app, &mallory.code, "another long password").await.is_problem(401, "sign_in_failed");
    let body = json!({ "email": "ada@example.com", "password": "another long password" });
    app.post("/v1/session", body).without_token().send().await.is_problem(401, "sign_in_failed");
    // Ada herself may take it up.
    assert_eq!(accept(&app, &mallory.code, PASSWORD).await.status, 201);
    assert_eq!(app.number("SELECT COUNT(*) FROM accounts").await, 1);
    app.stop().await;
}
