//! Partners: their staff, and who manages their keys.

use reqwest::Method;
use serde_json::json;

use super::id;
use crate::app::TestApp;
use crate::on_both;

on_both!(
    /// S0-13, S0-27, S0-28, S0-36: owners and admins of a partner issue, rotate and revoke its keys, with scopes picked
    /// within its ceiling; its staff see them, and nothing else.
    s0_27_only_owners_and_admins_of_a_partner_manage_its_keys
);
async fn s0_27_only_owners_and_admins_of_a_partner_manage_its_keys(app: TestApp) {
    let body = json!({ "name": "agency", "scopes": ["orders:read", "orders:write"] });
    let partner = id(&app.done("/v1/partners", body).await);
    app.issue("the workspace's own", &[]).await;
    let staff = app.member_token("partner_staff", Some(&partner)).await;
    for role in ["partner_owner", "partner_admin"] {
        let token = app.member_token(role, Some(&partner)).await;
        let issued = app.issue_for(&token, &partner, &["orders:read"]).await;
        assert_eq!(issued.status, 201, "{issued:?}");
        let key = issued.json()["key"].clone();
        assert_eq!((&key["kind"], &key["scopes"]), (&json!("partner"), &json!(["orders:read"])));
        // S0-13: the successor has the same scopes.
        let path = format!("/v1/keys/{}", id(&key));
        let rotate = json!({ "overlap_seconds": 600, "reason": "quarterly" });
        app.post(&format!("{path}/rotations"), rotate.clone()).token(&staff).send().await.is_problem(403, "forbidden");
        let started = app.post(&format!("{path}/rotations"), rotate).token(&token).send().await;
        assert_eq!(started.json()["key"]["scopes"], json!(["orders:read"]), "{started:?}");
        let beyond = app.issue_for(&token, &partner, &["orders:read", "invoices:read"]).await;
        assert_eq!(beyond.status, 403, "nobody grants beyond their own scopes, which end at the ceiling: {beyond:?}");
        // S0-28: staff see the list, read-only.
        assert_eq!(app.get(&path).token(&staff).send().await.status, 200);
        app.issue_for(&staff, &partner, &[]).await.is_problem(403, "forbidden");
        for (verb, body) in [("revoke", json!({ "reason": "r" })), ("disable", json!({})), ("enable", json!({}))] {
            app.post(&format!("{path}/{verb}"), body).token(&staff).send().await.is_problem(403, "forbidden");
        }
        let patch = app.call(Method::PATCH, &path).header("if-match", "*").json(&json!({ "name": "n" }));
        patch.token(&staff).send().await.is_problem(403, "forbidden");
        let revoked = app.post(&format!("{path}/revoke"), json!({ "reason": "r" })).token(&token).send().await;
        assert_eq!(revoked.status, 200, "{revoked:?}");
        let listed = app.get("/v1/keys").token(&staff).send().await.json();
        assert!(listed["items"].as_array().unwrap().iter().all(|key| key["principal"] == partner), "{listed}");
    }
    // The workspace's own people have the brake, not the keys.
    app.issue_for(&app.token, &partner, &["orders:read"]).await.is_problem(403, "forbidden");
    app.stop().await;
}

on_both!(people_of_one_partner_know_nothing_of_another);
async fn people_of_one_partner_know_nothing_of_another(app: TestApp) {
    let ours = id(&app.done("/v1/partners", json!({ "name": "ours", "scopes": ["a"] })).await);
    let theirs = id(&app.done("/v1/partners", json!({ "name": "theirs", "scopes": ["a"] })).await);
    let account = id(&app.done("/v1/service-accounts", json!({ "name": "exporter" })).await);
    let token = app.member_token("partner_owner", Some(&ours)).await;
    let (owner, their_token) = app.member("partner_owner", Some(&theirs)).await;
    let key = id(&app.issue_for(&their_token, &theirs, &["a"]).await.json()["key"]);
    let path = format!("/v1/partners/{theirs}/links");
    let link = app.post(&path, json!({ "client_name": "c" })).token(&their_token).send().await.json();
    let link = id(&link["link"]);
    let before = app.footprint().await;
    // What is another's is answered as what is not there, word for word.
    let pairs = [
        (Method::GET, format!("/v1/keys/{key}"), "/v1/keys/key_0000000000".to_owned(), json!(null)),
        (
            Method::POST,
            format!("/v1/keys/{key}/revoke"),
            "/v1/keys/key_0000000000/revoke".into(),
            json!({ "reason": "r" }),
        ),
        (
            Method::POST,
            format!("/v1/keys/{key}/rotations"),
            "/v1/keys/key_0000000000/rotations".into(),
            json!({ "order": "revoke_first", "reason": "r" }),
        ),
        (Method::GET, format!("/v1/partners/{theirs}"), "/v1/partners/prn_4000".into(), json!(null)),
        (Method::GET, format!("/v1/partners/{theirs}/staff"), "/v1/partners/prn_4000/staff".into(), json!(null)),
        (
            Method::POST,
            format!("/v1/partners/{theirs}/staff"),
            "/v1/partners/prn_4000/staff".into(),
            json!({ "email": "x@example.org", "role": "partner_staff" }),
        ),
        (
            Method::POST,
            format!("/v1/partners/{theirs}/staff/{owner}/remove"),
            "/v1/partners/prn_4000/staff/mem_0000000000000000/remove".into(),
            json!({}),
        ),
        (
            Method::POST,
            format!("/v1/partners/{ours}/staff/{owner}/remove"),
            format!("/v1/partners/{ours}/staff/mem_0000000000000000/remove"),
            json!({}),
        ),
        (Method::GET, format!("/v1/partners/{theirs}/links"), "/v1/partners/prn_4000/links".into(), json!(null)),
        (
            Method::POST,
            format!("/v1/partners/{theirs}/links"),
            "/v1/partners/prn_4000/links".into(),
            json!({ "client_name": "c" }),
        ),
        (
            Method::POST,
            format!("/v1/partners/{theirs}/links/{link}/end"),
            format!("/v1/partners/prn_4000/links/{link}/end"),
            json!({ "reason": "r" }),
        ),
        (
            Method::POST,
            format!("/v1/partners/{ours}/links/{link}/end"),
            format!("/v1/partners/{ours}/links/lnk_0000000000000000/end"),
            json!({ "reason": "r" }),
        ),
    ];
    for (method, foreign, unknown, body) in pairs {
        let mut answers = Vec::new();
        for path in [foreign, unknown] {
            let call = app.call(method.clone(), &path).token(&token).header("x-request-id", "same");
            let call = if body.is_null() { call } else { call.json(&body) };
            let answer = call.send().await;
            answer.is_problem(404, "not_found");
            answers.push(answer.text);
        }
        assert_eq!(answers[0], answers[1]);
    }
    for principal in [theirs.as_str(), &account, "prn_4000"] {
        app.issue_for(&token, principal, &[]).await.is_problem(422, "principal_unknown");
    }
    assert_eq!(app.footprint().await, before, "a refused call changed something");
    let listed = app.get("/v1/partners").token(&token).send().await.json();
    assert_eq!(listed["items"].as_array().unwrap().iter().map(id).collect::<Vec<_>>(), std::slice::from_ref(&ours));
    for path in ["/v1/service-accounts", "/v1/gateways", "/v1/links", "/v1/members", "/v1/audit"] {
        app.get(path).token(&token).send().await.is_problem(403, "forbidden");
    }
    for (path, body) in [
        ("/v1/partners".to_owned(), json!({ "name": "n" })),
        ("/v1/gateways".to_owned(), json!({ "name": "n", "environment": "live" })),
        ("/v1/links/accept".to_owned(), json!({ "code": "nll_live_x" })),
        (format!("/v1/partners/{ours}/remove"), json!({ "reason": "r" })),
        (format!("/v1/partners/{ours}/suspend"), json!({})),
    ] {
        app.post(&path, body).token(&token).send().await.is_problem(403, "forbidden");
    }
    app.stop().await;
}

on_both!(the_last_owner_of_a_partner_stays_while_the_partner_does);
async fn the_last_owner_of_a_partner_stays_while_the_partner_does(app: TestApp) {
    let partner = id(&app.done("/v1/partners", json!({ "name": "agency" })).await);
    let (first, token) = app.member("partner_owner", Some(&partner)).await;
    let staff = format!("/v1/partners/{partner}/staff");
    app.post(&format!("{staff}/{first}/remove"), json!({})).send().await.is_problem(409, "last_owner");
    let demote = |member: &str| {
        let call = app.call(Method::PATCH, &format!("{staff}/{member}")).header("if-match", "*");
        call.json(&json!({ "role": "partner_staff" })).token(&token).send()
    };
    demote(&first).await.is_problem(409, "last_owner");
    let (admin, admin_token) = app.member("partner_admin", Some(&partner)).await;
    let promote = app.call(Method::PATCH, &format!("{staff}/{admin}")).header("if-match", "*");
    let promoted = promote.json(&json!({ "role": "partner_owner" })).token(&admin_token).send().await;
    promoted.is_problem(403, "forbidden");
    let call = app.call(Method::PATCH, &format!("{staff}/{admin}")).header("if-match", "*");
    let promoted = call.json(&json!({ "role": "partner_owner" })).token(&token).send().await;
    assert_eq!((promoted.status.as_u16(), &promoted.json()["role"]), (200, &json!("partner_owner")), "{promoted:?}");
    let call = app.call(Method::PATCH, &format!("{staff}/{admin}")).header("if-match", "*");
    call.json(&json!({ "role": "admin" })).token(&token).send().await.is_problem(403, "forbidden");
    let removed = app.post(&format!("{staff}/{first}/remove"), json!({})).token(&admin_token).send().await;
    assert_eq!((removed.status.as_u16(), &removed.json()["state"]), (200, &json!("removed")), "{removed:?}");
    app.get(&staff).token(&token).send().await.is_problem(401, "token_invalid");
    let listed = app.get(&staff).token(&admin_token).send().await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    app.done(&format!("/v1/partners/{partner}/remove"), json!({ "reason": "over" })).await;
    app.get(&staff).token(&admin_token).send().await.is_problem(401, "token_invalid");
    assert_eq!(app.post(&format!("{staff}/{admin}/remove"), json!({})).send().await.status, 200);
    app.stop().await;
}

on_both!(a_suspended_partner_stands_still_and_a_removed_one_is_over);
async fn a_suspended_partner_stands_still_and_a_removed_one_is_over(app: TestApp) {
    let partner = id(&app.done("/v1/partners", json!({ "name": "agency", "scopes": ["a"] })).await);
    let token = app.member_token("partner_owner", Some(&partner)).await;
    let key = app.issue_for(&token, &partner, &["a"]).await.json();
    let link = app.done(&format!("/v1/partners/{partner}/links"), json!({ "client_name": "c" })).await;
    app.done(&format!("/v1/partners/{partner}/suspend"), json!({ "reason": "unpaid" })).await;
    assert_eq!(app.refused(&key["secret"]).await.as_deref(), Some("key_disabled"));
    app.get("/v1/keys").token(&token).send().await.is_problem(401, "token_invalid");
    let accept = json!({ "code": link["code"] });
    app.post("/v1/links/accept", accept.clone()).send().await.is_problem(422, "link_code_invalid");
    let body = json!({ "client_name": "c" });
    let path = format!("/v1/partners/{partner}/links");
    app.post(&path, body).send().await.is_problem(409, "principal_suspended");
    app.done(&format!("/v1/partners/{partner}/resume"), json!({})).await;
    assert_eq!(app.refused(&key["secret"]).await, None);
    assert_eq!(app.get("/v1/keys").token(&token).send().await.status, 200);
    app.done("/v1/links/accept", accept).await;
    let removed = app.done(&format!("/v1/partners/{partner}/remove"), json!({ "reason": "over" })).await;
    assert_eq!(removed["keys"], 1);
    assert_eq!(app.refused(&key["secret"]).await.as_deref(), Some("key_revoked"));
    let links = app.get(&path).send().await.json();
    assert_eq!((&links["items"][0]["state"], &links["items"][0]["ended_by"]), (&json!("ended"), &json!("partner")));
    let client = app.get("/v1/links").send().await.json();
    assert_eq!(client["items"][0]["end_reason"], "over");
    app.stop().await;
}

on_both!(staff_stop_with_their_organisation);
async fn staff_stop_with_their_organisation(app: TestApp) {
    let partner = id(&app.done("/v1/partners", json!({ "name": "agency" })).await);
    let invite = json!({ "email": "staff@example.com", "role": "partner_owner" });
    let code = app.done(&format!("/v1/partners/{partner}/staff"), invite).await["code"].clone();
    let accept = json!({ "code": code, "password": crate::session::PASSWORD });
    assert_eq!(app.post("/v1/invites/accept", accept).without_token().send().await.status, 201);
    let token = app.member_token("partner_admin", Some(&partner)).await;
    let browser = async || crate::session::Browser::new(&app).signed_in("staff@example.com").await;
    let mut staff = browser().await;
    let path = format!("/v1/partners/{partner}");
    assert_eq!(staff.get(&path).await.status, 200);
    app.done(&format!("{path}/suspend"), json!({ "reason": "unpaid" })).await;
    staff.get(&path).await.is_problem(401, "session_invalid");
    staff
        .post("/v1/session/step-up", json!({ "password": crate::session::PASSWORD }))
        .await
        .is_problem(401, "session_invalid");
    app.get(&path).token(&token).send().await.is_problem(401, "token_invalid");
    let refused = crate::session::Browser::new(&app).sign_in("staff@example.com", crate::session::PASSWORD).await;
    refused.is_problem(401, "sign_in_failed");
    // What they had works again with it.
    app.done(&format!("{path}/resume"), json!({})).await;
    assert_eq!(staff.get(&path).await.status, 200);
    assert_eq!(app.get(&path).token(&token).send().await.status, 200);
    drop(browser().await);
    app.done(&format!("{path}/remove"), json!({ "reason": "over" })).await;
    staff.get(&path).await.is_problem(401, "session_invalid");
    app.get(&path).token(&token).send().await.is_problem(401, "token_invalid");
    app.stop().await;
}

#[tokio::test]
async fn a_partner_always_has_a_ceiling() {
    let app = TestApp::sqlite().await;
    let made = app.done("/v1/partners", json!({ "name": "agency" })).await;
    assert_eq!(made["scopes"], json!([]));
    let token = app.member_token("partner_owner", Some(&id(&made))).await;
    assert_eq!(app.issue_for(&token, &id(&made), &["a"]).await.status, 403);
    assert_eq!(app.issue_for(&token, &id(&made), &[]).await.status, 201);
    let call = app.call(Method::PATCH, &format!("/v1/partners/{}", id(&made))).header("if-match", "*");
    call.json(&json!({ "scopes": null })).send().await.is_problem(422, "value_invalid");
    app.stop().await;
}
