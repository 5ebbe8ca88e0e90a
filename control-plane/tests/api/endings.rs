//! Who goes takes everything along: keys, rotations, tokens and sessions, by the call that removes them and by nothing
//! that comes after it.

use serde_json::{Value, json};

use crate::app::TestApp;
use crate::on_both;
use crate::principals::id;
use crate::session::{Browser, join};
use crate::tenants::foreign;

/// Why they go.
const WHY: &str = "left us";

/// Keys in every state a key can be in, all of one holder.
struct Keys {
    all: Vec<Value>,
    /// The one that was revoked by itself before.
    earlier: String,
    rotation: String,
}

impl Keys {
    /// Makes them as whoever holds the token. `more` is what their requests say beside a name.
    async fn make(app: &TestApp, token: &str, more: &Value) -> Self {
        let call = async |path: &str, body: Value| {
            let answer = app.post(path, body).token(token).send().await;
            assert!(answer.status.is_success(), "{path}: {answer:?}");
            answer.json()
        };
        let mut all = Vec::new();
        for name in ["revoked", "disabled", "rotated", "expired", "plain"] {
            let mut body = json!({ "name": name, "environment": "live" });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all.push(call("/v1/keys", body).await);
        }
        let path = |place: usize, what: &str| format!("/v1/keys/{}/{what}", id(&all[place]["key"]));
        call(&path(0, "revoke"), json!({ "reason": "earlier" })).await;
        call(&path(1, "disable"), json!({})).await;
        let started = call(&path(2, "rotations"), json!({ "overlap_seconds": 600, "reason": "quarterly" })).await;
        app.sql(&format!("UPDATE keys SET expires_at = 1 WHERE id = '{}'", id(&all[3]["key"]))).await;
        let (earlier, rotation) = (id(&all[0]["key"]), id(&started["rotation"]));
        all.push(started);
        Self { all, earlier, rotation }
    }

    /// S2-17: each is revoked for good, and said to be so once, wherever it has to be said.
    async fn are_ended(&self, app: &TestApp) {
        for issued in &self.all {
            let key = id(&issued["key"]);
            let of_key = |select: &str| format!("SELECT {select} = '{key}'");
            let state = app.text(&of_key("state || ' ' || COALESCE(revoke_reason, '') FROM keys WHERE id")).await;
            let why = if key == self.earlier { "earlier" } else { WHY };
            assert_eq!(state, format!("revoked {why}"), "{key}");
            let rows = "COUNT(*) FROM audit WHERE action = 'key.revoked' AND target_id";
            assert_eq!(app.number(&of_key(rows)).await, 1, "{key}");
            let reason = app.text(&of_key("MAX(reason) FROM audit WHERE action = 'key.revoked' AND target_id")).await;
            assert_eq!(reason, why, "{key}");
            assert_eq!(app.number(&of_key("COUNT(*) FROM receipts WHERE key_id")).await, 1, "{key}");
            let receipt = app.get(&format!("/v1/keys/{key}/receipt")).send().await;
            assert_eq!(receipt.status, 200, "{receipt:?}");
            assert_eq!(app.refused(&issued["secret"]).await.as_deref(), Some("key_revoked"), "{key}");
        }
        let rotation = app.get(&format!("/v1/rotations/{}", self.rotation)).send().await.json();
        assert_eq!(
            (&rotation["state"], &rotation["outcome"]),
            (&json!("completed"), &json!("predecessor_revoked")),
            "{rotation}"
        );
        let rows = "SELECT COUNT(*) FROM audit WHERE action = 'rotation.completed' AND reason";
        assert_eq!(app.number(&format!("{rows} = '{WHY}'")).await, 1);
    }

    /// They are as they were.
    async fn are_left(&self, app: &TestApp) {
        let ids: Vec<_> = self.all.iter().map(|issued| format!("'{}'", id(&issued["key"]))).collect();
        let sql = format!("SELECT COUNT(*) FROM keys WHERE state <> 'revoked' AND id IN ({})", ids.join(", "));
        assert_eq!(app.number(&sql).await, 5);
        let rotation = app.get(&format!("/v1/rotations/{}", self.rotation)).send().await.json();
        assert_eq!(rotation["state"], "open");
    }
}

/// Somebody who is here, signed in and with two tokens.
struct Person {
    id: String,
    principal: String,
    browser: Browser,
    tokens: Vec<String>,
}

impl Person {
    async fn join(app: &TestApp, email: &str) -> Self {
        join(app, email, "admin").await;
        let found = app.get(&format!("/v1/members?email={email}")).send().await.json()["items"][0].clone();
        let mut browser = Browser::new(app).signed_in(email).await;
        let mut tokens = Vec::new();
        for name in ["one", "two"] {
            let made = browser.post("/v1/tokens", json!({ "name": name, "kind": "management" })).await;
            assert_eq!(made.status, 201, "{made:?}");
            tokens.push(made.json()["secret"].as_str().unwrap().to_owned());
        }
        Self { id: id(&found), principal: found["principal"].as_str().unwrap().to_owned(), browser, tokens }
    }

    fn keys(&self) -> Value {
        json!({ "principal": self.principal })
    }

    async fn may_act(&mut self, app: &TestApp) -> [bool; 3] {
        let mut may = [self.browser.is_signed_in().await, false, false];
        for (may, token) in may[1..].iter_mut().zip(&self.tokens) {
            let answer = app.get("/v1/keys").token(token).send().await;
            *may = answer.status == 200;
            if !*may {
                answer.is_problem(401, "token_invalid");
            }
        }
        may
    }
}

on_both!(
    /// S0-14, S2-17.
    s0_14_what_a_member_had_ends_with_it
);
async fn s0_14_what_a_member_had_ends_with_it(app: TestApp) {
    let (mut goes, mut stays) =
        (Person::join(&app, "ada@example.com").await, Person::join(&app, "bob@example.com").await);
    let (ended, left) = (
        Keys::make(&app, &goes.tokens[0], &goes.keys()).await,
        Keys::make(&app, &stays.tokens[0], &stays.keys()).await,
    );
    assert_eq!((goes.may_act(&app).await, stays.may_act(&app).await), ([true; 3], [true; 3]));
    let path = format!("/v1/members/{}/remove", goes.id);
    let remove = || app.post(&path, json!({ "reason": WHY })).send();
    assert_eq!(remove().await.status, 200);
    ended.are_ended(&app).await;
    left.are_left(&app).await;
    let of = |sql: &str| sql.replace("$1", &format!("'{}'", goes.id));
    for (what, sql) in [
        ("tokens", "SELECT COUNT(*) FROM tokens WHERE member_id = $1 AND revoked_at IS NULL"),
        (
            "keys of tokens",
            "SELECT COUNT(*) FROM tokens t JOIN keys k ON k.id = t.key_id WHERE t.member_id = $1 AND k.state <> 'revoked'",
        ),
        ("sessions", "SELECT COUNT(*) FROM sessions WHERE member_id = $1 AND (digest IS NOT NULL OR ended_at IS NULL)"),
        ("profiles", "SELECT COUNT(*) FROM members WHERE id = $1 AND (state <> 'removed' OR removed_at IS NULL)"),
    ] {
        assert_eq!(app.number(&of(sql)).await, 0, "{what}");
    }
    for (rows, sql) in [
        (
            2,
            "SELECT COUNT(*) FROM audit WHERE action = 'token.revoked' AND target_id IN \
             (SELECT id FROM tokens WHERE member_id = $1)",
        ),
        (
            1,
            "SELECT COUNT(*) FROM audit WHERE action = 'session.ended' AND target_id IN \
             (SELECT id FROM sessions WHERE member_id = $1)",
        ),
        (1, "SELECT COUNT(*) FROM audit WHERE action = 'member.removed' AND target_id = $1"),
    ] {
        assert_eq!(app.number(&of(sql)).await, rows, "{sql}");
    }
    assert_eq!((goes.may_act(&app).await, stays.may_act(&app).await), ([false; 3], [true; 3]));
    let before = app.footprint().await;
    assert_eq!(remove().await.status, 200);
    assert_eq!(app.footprint().await, before, "repeating it changes nothing");
    app.stop().await;
}

on_both!(what_a_service_account_had_ends_with_it);
async fn what_a_service_account_had_ends_with_it(app: TestApp) {
    let make = async |name: &str| {
        let account = id(&app.done("/v1/service-accounts", json!({ "name": name })).await);
        let keys = Keys::make(&app, &app.token, &json!({ "principal": account })).await;
        (account, keys)
    };
    let ((goes, ended), (_, left)) = (make("goes").await, make("stays").await);
    let path = format!("/v1/service-accounts/{goes}/remove");
    app.done(&path, json!({ "reason": WHY })).await;
    ended.are_ended(&app).await;
    left.are_left(&app).await;
    let before = app.footprint().await;
    app.done(&path, json!({ "reason": WHY })).await;
    assert_eq!(app.footprint().await, before, "repeating it changes nothing");
    app.stop().await;
}

on_both!(what_a_partner_had_ends_with_it);
async fn what_a_partner_had_ends_with_it(app: TestApp) {
    let client = foreign(&app).await.token;
    let make = async |name: &str| {
        let partner = id(&app.done("/v1/partners", json!({ "name": name })).await);
        let token = app.member_token("partner_owner", Some(&partner)).await;
        let made = app.post(&format!("/v1/partners/{partner}/links"), json!({ "client_name": "c" })).token(&token);
        let code = made.send().await.json()["code"].clone();
        let accepted = app.post("/v1/links/accept", json!({ "code": code })).token(&client).send().await;
        (partner, token, id(&accepted.json()))
    };
    let (goes, token, link) = make("goes").await;
    let (stays, other_token, other_link) = make("stays").await;
    // A link ends its own keys; one that is bound to none ends with the partner itself.
    let bound = Keys::make(&app, &token, &json!({ "principal": goes, "link": link })).await;
    let free = app.issue_for(&token, &goes, &[]).await.json();
    let left = Keys::make(&app, &other_token, &json!({ "principal": stays, "link": other_link })).await;
    let path = format!("/v1/partners/{goes}/remove");
    app.done(&path, json!({ "reason": WHY })).await;
    bound.are_ended(&app).await;
    left.are_left(&app).await;
    assert_eq!(app.refused(&free["secret"]).await.as_deref(), Some("key_revoked"));
    let seen = async |link: &str| app.get(&format!("/v1/links/{link}")).token(&client).send().await.json();
    let ended = seen(&link).await;
    assert_eq!((&ended["state"], &ended["ended_by"]), (&json!("ended"), &json!("partner")), "{ended}");
    assert_eq!(seen(&other_link).await["state"], "active");
    // Its people have nothing left to act for.
    let issue = app.issue_for(&token, &goes, &[]).await;
    assert!(issue.status.is_client_error(), "{issue:?}");
    let before = app.footprint().await;
    app.done(&path, json!({ "reason": WHY })).await;
    assert_eq!(app.footprint().await, before, "repeating it changes nothing");
    app.stop().await;
}

on_both!(
    /// S0-29.
    s0_29_what_was_bound_to_a_link_ends_with_it
);
async fn s0_29_what_was_bound_to_a_link_ends_with_it(app: TestApp) {
    let client = foreign(&app).await.token;
    let partner = id(&app.done("/v1/partners", json!({ "name": "agency" })).await);
    let token = app.member_token("partner_owner", Some(&partner)).await;
    let made = app.post(&format!("/v1/partners/{partner}/links"), json!({ "client_name": "c" })).token(&token);
    let code = made.send().await.json()["code"].clone();
    let link = id(&app.post("/v1/links/accept", json!({ "code": code })).token(&client).send().await.json());
    let bound = Keys::make(&app, &token, &json!({ "principal": partner, "link": link })).await;
    let free = Keys::make(&app, &token, &json!({ "principal": partner })).await;
    let end = || app.post(&format!("/v1/links/{link}/end"), json!({ "reason": WHY })).token(&client).send();
    assert_eq!(end().await.status, 200);
    bound.are_ended(&app).await;
    free.are_left(&app).await;
    let before = app.footprint().await;
    assert_eq!(end().await.status, 200);
    assert_eq!(app.footprint().await, before, "repeating it changes nothing");
    app.stop().await;
}
