//! From a password to a session, and out again.

use reqwest::Method;
use serde_json::json;

use super::{Browser, PASSWORD, join};
use crate::app::TestApp;
use crate::on_both;

on_both!(a_member_signs_in_and_out);
async fn a_member_signs_in_and_out(app: TestApp) {
    join(&app, "ada@example.com", "admin").await;
    let mut browser = Browser::new(&app);
    assert!(!browser.is_signed_in().await);
    let answer = browser.sign_in(" Ada@Example.com", PASSWORD).await;
    let cookie = answer.header("set-cookie").to_owned();
    for part in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
        assert!(cookie.split("; ").any(|one| one == part), "{cookie}");
    }
    let age: i64 = cookie.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
    assert!((600_000..=604_800).contains(&age), "{cookie}");
    assert!(cookie.starts_with("__Host-nightlatch=") && !cookie.contains("Domain"), "{cookie}");
    let body = answer.json();
    assert_eq!((body["member"]["name"].as_str(), body["member"]["role"].as_str()), (Some("Ada"), Some("admin")));
    assert_eq!(body["needs"], json!([]));
    assert!(body["elevated_until"].is_string(), "a fresh password is as good as a step-up");
    let shown = browser.get("/v1/session").await.json();
    assert_eq!(shown, body, "and the page that is loaded later reads the same");
    let value = browser.cookie.clone().unwrap();
    let stored = app.number("SELECT COUNT(*) FROM sessions WHERE digest IS NOT NULL").await;
    assert_eq!(stored, 1);
    // Out: the cookie goes, and what somebody copied of it opens nothing.
    let csrf = browser.csrf.clone().unwrap();
    let out = browser.request(Method::DELETE, "/v1/session").header("x-nightlatch-csrf", csrf);
    assert_eq!(browser.send(out).await.status, 204);
    assert_eq!(browser.cookie, None);
    browser.cookie = Some(value);
    assert!(!browser.is_signed_in().await);
    let rows = app.get("/v1/audit?actor_type=member").send().await.json();
    let actions: Vec<_> = rows["items"].as_array().unwrap().iter().map(|row| row["action"].clone()).collect();
    for action in ["session.started", "session.ended"] {
        assert_eq!(actions.iter().filter(|one| **one == action).count(), 1, "{actions:?}");
    }
    app.stop().await;
}

on_both!(nobody_learns_who_has_an_account);
async fn nobody_learns_who_has_an_account(app: TestApp) {
    for email in ["ada@example.com", "suspended@example.com", "removed@example.com"] {
        join(&app, email, "viewer").await;
    }
    for state in ["suspended", "removed"] {
        app.sql(&format!("UPDATE members SET state = '{state}' WHERE email = '{state}@example.com'")).await;
    }
    // One that signs in through an identity provider only.
    app.sql("INSERT INTO accounts (id, email, totp_last_step, created_at) VALUES ('acc_x', 'oidc@example.com', 0, 0)")
        .await;
    let verified = async || {
        let metrics = app.get("/metrics").without_token().send().await.text;
        let line = metrics.lines().find(|line| line.starts_with("nightlatch_password_verifications_total "));
        line.unwrap().rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()
    };
    let mut seen = Vec::new();
    for (email, password) in [
        ("ada@example.com", "another password"),
        ("nobody@example.com", PASSWORD),
        ("suspended@example.com", PASSWORD),
        ("removed@example.com", PASSWORD),
        ("oidc@example.com", PASSWORD),
    ] {
        let before = verified().await;
        let body = json!({ "email": email, "password": password });
        let call = app.post("/v1/session", body).without_token().header("x-request-id", "same");
        let answer = call.send().await;
        answer.is_problem(401, "sign_in_failed");
        let mut headers: Vec<_> = answer.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        headers.retain(|(name, _)| name != "date");
        seen.push((answer.status, headers, answer.text, verified().await - before));
    }
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:#?}");
    assert_eq!(seen[0].3, 1, "a password is verified, whose ever it is");
    // An address that has no account fills as many buckets.
    assert_eq!(app.number("SELECT COUNT(*) FROM sign_in_guesses").await, 6, "five accounts and an address");
    app.stop().await;
}

on_both!(a_session_somebody_else_knew_is_worth_nothing);
async fn a_session_somebody_else_knew_is_worth_nothing(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    // Planted before: never taken over.
    let planted = format!("__Host-nightlatch={}", "A".repeat(43));
    let mut browser = Browser::new(&app);
    browser.cookie = Some(planted.clone());
    let mut browser = browser.signed_in("ada@example.com").await;
    assert_ne!(browser.cookie, Some(planted.clone()));
    let mut attacker = Browser::new(&app);
    attacker.cookie = Some(planted);
    assert!(!attacker.is_signed_in().await);
    // Known before a step-up: worth nothing after it.
    let mut attacker = browser.copy();
    assert!(attacker.is_signed_in().await);
    let stepped = browser.post("/v1/session/step-up", json!({ "password": PASSWORD })).await;
    assert_eq!(stepped.status, 200, "{stepped:?}");
    assert!(browser.is_signed_in().await && !attacker.is_signed_in().await);
    // Known before signing in again: ended by that.
    let mut attacker = browser.copy();
    let mut browser = browser.signed_in("ada@example.com").await;
    assert!(browser.is_signed_in().await && !attacker.is_signed_in().await);
    assert_eq!(app.number("SELECT COUNT(*) FROM sessions WHERE digest IS NOT NULL").await, 1);
    app.stop().await;
}

on_both!(members_of_several_workspaces_choose);
async fn members_of_several_workspaces_choose(app: TestApp) {
    let foreign = crate::tenants::foreign(&app).await;
    join(&app, "ada@example.com", "owner").await;
    let code = super::browser::invite_as(&app, &foreign.token, "ada@example.com", "viewer").await;
    let body = json!({ "code": code, "password": PASSWORD });
    assert_eq!(app.post("/v1/invites/accept", body).without_token().send().await.status, 201);
    let mut browser = Browser::new(&app);
    let answer = browser.sign_in("ada@example.com", PASSWORD).await.json();
    assert_eq!((&answer["needs"], answer["csrf"].is_null()), (&json!(["workspace"]), true));
    assert_eq!(browser.cookie, None);
    assert_eq!(answer["workspaces"].as_array().unwrap().len(), 2);
    let own = answer["workspaces"].as_array().unwrap().iter().find(|one| one["id"] != foreign.workspace).unwrap()["id"]
        .clone();
    let body = json!({ "email": "ada@example.com", "password": PASSWORD, "workspace": own });
    assert_eq!(browser.post("/v1/session", body).await.json()["member"]["role"], "owner");
    // Elsewhere: another cookie, another role, and the old one gone.
    let mut before = browser.copy();
    let there = browser.post("/v1/session/workspace", json!({ "workspace": foreign.workspace })).await.json();
    assert_eq!(
        (there["workspace"]["id"].as_str(), there["member"]["role"].as_str()),
        (Some(foreign.workspace.as_str()), Some("viewer"))
    );
    assert!(browser.is_signed_in().await && !before.is_signed_in().await);
    // Ended from here by a new password: the other workspace's log tells its own member's doing, and not from where.
    let body = json!({ "email": "ada@example.com", "password": PASSWORD, "workspace": own });
    assert_eq!(Browser::new(&app).post("/v1/session", body).await.status, 200);
    let body = json!({ "current": PASSWORD, "new": PASSWORD });
    assert_eq!(browser.post("/v1/session/password", body).await.status, 200);
    let here = browser.get("/v1/session").await.json()["member"]["id"].clone();
    let ended = app.get("/v1/audit?action=session.ended").send().await.json();
    let (last, text) = (&ended["items"][0], ended.to_string());
    assert!(last["actor"]["type"] == "member" && last["source"].is_null(), "{text}");
    assert!(!text.contains(here.as_str().unwrap()), "{text}");
    // One where the partner organisation does not work: the good session is not given for a dead one.
    app.sql("UPDATE members SET partner = 4242 WHERE role = 'owner'").await;
    browser.post("/v1/session/workspace", json!({ "workspace": own })).await.is_problem(404, "not_found");
    assert!(browser.is_signed_in().await);
    // One where the account is nothing, and one that does not exist.
    app.sql("UPDATE members SET state = 'suspended' WHERE role = 'owner'").await;
    let answers = [own.as_str().unwrap(), "ws_0000000000000000"].map(|id| json!({ "workspace": id }));
    for body in answers {
        browser.post("/v1/session/workspace", body).await.is_problem(404, "not_found");
    }
    let body = json!({ "email": "ada@example.com", "password": PASSWORD, "workspace": own });
    browser.post("/v1/session", body).await.is_problem(401, "sign_in_failed");
    app.stop().await;
}
