//! Links: two workspaces, one partner, and how little they learn of each other.

use reqwest::Method;
use serde_json::{Value, json};

use super::id;
use crate::app::TestApp;
use crate::on_both;
use crate::tenants::foreign;

/// A partner with a link to the other workspace of the database.
struct Linked {
    partner: String,
    /// A token of one of the partner's owners.
    token: String,
    link: String,
    /// The token of the client's owner.
    client: String,
}

async fn linked(app: &TestApp, permissions: &[&str]) -> Linked {
    let client = foreign(app).await.token;
    let partner = id(&app.done("/v1/partners", json!({ "name": "agency", "scopes": ["orders:read"] })).await);
    let token = app.member_token("partner_owner", Some(&partner)).await;
    let path = format!("/v1/partners/{partner}/links");
    let made = app.post(&path, json!({ "client_name": "our best" })).token(&token).send().await;
    assert_eq!(made.status, 201, "{made:?}");
    let body = json!({ "code": made.json()["code"], "permissions": permissions });
    let accepted = app.post("/v1/links/accept", body).token(&client).send().await;
    assert_eq!(accepted.status, 200, "{accepted:?}");
    Linked { partner, token, link: id(&accepted.json()), client }
}

on_both!(a_client_accepts_a_link_and_says_what_is_earned);
async fn a_client_accepts_a_link_and_says_what_is_earned(app: TestApp) {
    let Linked { partner, token, link, client } = linked(&app, &["orders:place"]).await;
    let client_id = app.get("/v1/sets").token(&client).send().await.json()["items"][0]["workspace"].clone();
    let seen = app.get(&format!("/v1/links/{link}")).token(&client).send().await;
    assert_eq!(seen.json()["permissions"], json!(["orders:place"]));
    assert_eq!(seen.json()["partner_name"], "agency");
    assert!(!seen.text.contains("our best"), "the partner's own name for the client is the partner's");
    let path = format!("/v1/partners/{partner}/links");
    let theirs = app.get(&path).token(&token).send().await.json();
    assert_eq!(
        (&theirs["items"][0]["permissions"], &theirs["items"][0]["state"]),
        (&json!(["orders:place"]), &json!("active"))
    );
    assert_eq!(theirs["items"][0]["client_workspace"], "foreign");
    let patch = |tag: &str| {
        let call = app.call(Method::PATCH, &format!("/v1/links/{link}")).header("if-match", tag).token(&client);
        call.json(&json!({ "permissions": ["orders:see"] })).send()
    };
    patch("\"9\"").await.is_problem(412, "etag_stale");
    assert_eq!(patch(seen.header("etag")).await.json()["permissions"], json!(["orders:see"]));
    let theirs = app.get(&path).token(&token).send().await.json();
    assert_eq!(theirs["items"][0]["permissions"], json!(["orders:see"]));
    // Both logs were told, and neither of the other's people.
    for (token, side) in [(&app.token, "partner"), (&client, "client")] {
        for action in ["partner_link.accepted", "partner_link.updated"] {
            let page = app.get(&format!("/v1/audit?action={action}")).token(token).send().await.json();
            // The client has principals of its own under the partner's numbers.
            assert_eq!(page.to_string().contains(&format!("\"{partner}\"")), side == "partner", "{page}");
            let ours: Vec<_> =
                page["items"].as_array().unwrap().iter().filter(|row| row["target"]["id"] == link).collect();
            assert_eq!(ours.len(), 1, "{side}: {page}");
            if side == "partner" {
                assert_eq!(ours[0]["actor"], json!({ "type": "client", "id": client_id }));
                assert_eq!(ours[0]["source"], Value::Null);
            }
        }
    }
    app.stop().await;
}

on_both!(a_link_code_is_good_once_and_says_nothing);
async fn a_link_code_is_good_once_and_says_nothing(app: TestApp) {
    let client = foreign(&app).await.token;
    let partner = id(&app.done("/v1/partners", json!({ "name": "agency" })).await);
    let path = format!("/v1/partners/{partner}/links");
    let make = async || app.done(&path, json!({ "client_name": "c" })).await;
    let (used, expired, ended, second) = (make().await, make().await, make().await, make().await);
    let accept = |code: Value| {
        let call = app.post("/v1/links/accept", json!({ "code": code })).token(&client);
        call.header("x-request-id", "same").send()
    };
    assert_eq!(accept(used["code"].clone()).await.status, 200);
    app.sql(&format!("UPDATE partner_links SET code_expires_at = 1 WHERE id = '{}'", id(&expired["link"]))).await;
    app.done(&format!("{path}/{}/end", id(&ended["link"])), json!({ "reason": "mistake" })).await;
    let before = app.footprint().await;
    let mut answers = Vec::new();
    let unknown = json!(nightlatch::api::mint_token(nightlatch::store::tokens::TokenKind::Edge, 0).expose());
    for code in
        [&used["code"], &expired["code"], &ended["code"], &unknown, &json!("nll_live_x"), &json!(""), &json!(partner)]
    {
        let answer = accept((*code).clone()).await;
        answer.is_problem(422, "link_code_invalid");
        answers.push(answer.text);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    accept(second["code"].clone()).await.is_problem(409, "link_exists");
    assert_eq!(app.footprint().await, before, "a refused call changed something");
    // Before it is accepted the client knows of nothing.
    let listed = app.get("/v1/links").token(&client).send().await.json();
    assert_eq!(
        listed["items"].as_array().unwrap().iter().filter(|link| link["partner_workspace"] != "foreign").count(),
        1
    );
    let pending = format!("/v1/links/{}", id(&second["link"]));
    app.get(&pending).token(&client).send().await.is_problem(404, "not_found");
    let viewer = app.member_token("operator", None).await;
    app.post("/v1/links/accept", json!({ "code": second["code"] }))
        .token(&viewer)
        .send()
        .await
        .is_problem(403, "forbidden");
    app.stop().await;
}

on_both!(of_two_clients_that_use_one_code_at_once_one_is_linked);
async fn of_two_clients_that_use_one_code_at_once_one_is_linked(app: TestApp) {
    let client = foreign(&app).await.token;
    let partner = id(&app.done("/v1/partners", json!({ "name": "agency" })).await);
    let made = app.done(&format!("/v1/partners/{partner}/links"), json!({ "client_name": "c" })).await;
    let accept = |token: &str| app.post("/v1/links/accept", json!({ "code": made["code"] })).token(token).send();
    let answers =
        futures::future::join_all((0..8).map(|n| accept(if n % 2 == 0 { &client } else { &app.token }))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.is_problem(422, "link_code_invalid");
    }
    app.stop().await;
}

on_both!(
    /// S0-29: who a partner is and what it may do at a client are two things: its keys come and go beside the link.
    s0_29_rotating_a_key_leaves_the_link_untouched
);
async fn s0_29_rotating_a_key_leaves_the_link_untouched(app: TestApp) {
    let Linked { partner, token, link, client } = linked(&app, &["orders:place"]).await;
    let before = app.get(&format!("/v1/links/{link}")).token(&client).send().await.text;
    let body = json!({ "name": "k", "environment": "live", "principal": partner, "link": link });
    let issued = app.post("/v1/keys", body).token(&token).send().await;
    assert_eq!((issued.status.as_u16(), &issued.json()["key"]["link"]), (201, &json!(link)), "{issued:?}");
    let path = format!("/v1/keys/{}/rotations", id(&issued.json()["key"]));
    let rotate = json!({ "overlap_seconds": 600, "reason": "quarterly" });
    let started = app.post(&path, rotate).token(&token).send().await.json();
    assert_eq!(started["key"]["link"], link.as_str(), "the successor is bound as its predecessor is");
    let revoke = format!("/v1/keys/{}/revoke", id(&started["key"]));
    app.post(&revoke, json!({ "reason": "r" })).token(&token).send().await;
    assert_eq!(app.get(&format!("/v1/links/{link}")).token(&client).send().await.text, before);
    app.stop().await;
}

on_both!(ending_a_link_revokes_the_keys_bound_to_it_and_no_other);
async fn ending_a_link_revokes_the_keys_bound_to_it_and_no_other(app: TestApp) {
    let Linked { partner, token, link, client } = linked(&app, &[]).await;
    let issue = |link: Option<&str>| {
        let mut body = json!({ "name": "k", "environment": "live", "principal": partner });
        if let Some(link) = link {
            body["link"] = json!(link);
        }
        app.post("/v1/keys", body).token(&token).send()
    };
    let (bound, free) = (issue(Some(&link)).await.json(), issue(None).await.json());
    let rotate = json!({ "overlap_seconds": 600, "reason": "quarterly" });
    let path = format!("/v1/keys/{}/rotations", id(&bound["key"]));
    let successor = app.post(&path, rotate).token(&token).send().await.json();
    let end = |token: &str| app.post(&format!("/v1/links/{link}/end"), json!({ "reason": "over" })).token(token).send();
    end(&app.token).await.is_problem(404, "not_found");
    let ended = end(&client).await;
    assert_eq!((&ended.json()["state"], &ended.json()["ended_by"]), (&json!("ended"), &json!("client")), "{ended:?}");
    for secret in [&bound["secret"], &successor["secret"]] {
        assert_eq!(app.refused(secret).await.as_deref(), Some("key_revoked"));
    }
    assert_eq!(app.refused(&free["secret"]).await, None);
    let rotation = app.get(&format!("/v1/rotations/{}", id(&successor["rotation"]))).send().await.json();
    assert_eq!(rotation["outcome"], "predecessor_revoked");
    issue(Some(&link)).await.is_problem(409, "link_not_active");
    for dry_run in [true, false] {
        let emergency = json!({ "order": "revoke_first", "reason": "r", "dry_run": dry_run });
        app.post(&path, emergency).token(&token).send().await.is_problem(409, "link_not_active");
    }
    assert_eq!(end(&client).await.json()["ended_at"], ended.json()["ended_at"], "repeating it changes nothing");
    let patch = app.call(Method::PATCH, &format!("/v1/links/{link}")).header("if-match", "*").token(&client);
    patch.json(&json!({ "permissions": ["a"] })).send().await.is_problem(409, "link_not_active");
    // A client may link again, with another code.
    let made = app.done(&format!("/v1/partners/{partner}/links"), json!({ "client_name": "again" })).await;
    let accepted = app.post("/v1/links/accept", json!({ "code": made["code"] })).token(&client).send().await;
    assert_eq!(accepted.status, 200, "{accepted:?}");
    app.stop().await;
}

on_both!(a_key_is_bound_to_a_link_of_its_own_partner_only);
async fn a_key_is_bound_to_a_link_of_its_own_partner_only(app: TestApp) {
    let Linked { partner, token, link, .. } = linked(&app, &[]).await;
    let other = id(&app.done("/v1/partners", json!({ "name": "other" })).await);
    let other_token = app.member_token("partner_owner", Some(&other)).await;
    let pending = app.done(&format!("/v1/partners/{partner}/links"), json!({ "client_name": "c" })).await;
    let body = |principal: &str, link: &str| json!({ "name": "k", "environment": "live", "principal": principal, "link": link });
    for link in [link.as_str(), "lnk_0000000000000000", "lnk_", "x"] {
        let answer = app.post("/v1/keys", body(&other, link)).token(&other_token).send().await;
        answer.is_problem(404, "not_found");
    }
    app.post("/v1/keys", body("prn_1", &link)).send().await.is_problem(404, "not_found");
    let not_yet = app.post("/v1/keys", body(&partner, &id(&pending["link"]))).token(&token).send().await;
    not_yet.is_problem(409, "link_not_active");
    app.stop().await;
}
