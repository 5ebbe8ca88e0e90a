//! Management tokens: no more than their scopes, no more than their member, no longer than either.

use futures::future::join_all;
use nightlatch::domain::Role;
use nightlatch::store::tokens::TokenKind;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, TestApp};
use crate::on_both;
use crate::people::People;

/// What made a token: its id and its text.
fn made(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 201, "{answer:?}");
    let body = answer.json();
    (body["token"]["id"].as_str().unwrap().to_owned(), body["secret"].as_str().unwrap().to_owned())
}

/// Makes a token with these scopes.
async fn make(app: &TestApp, by: &str, scopes: Value) -> Answer {
    let body = json!({ "name": "scoped", "kind": "management", "scopes": scopes });
    app.post("/v1/tokens", body).token(by).send().await
}

/// Replaces a token.
async fn rotate(app: &TestApp, by: &str, id: &str, seconds: u32) -> Answer {
    let body = json!({ "overlap_seconds": seconds, "reason": "test" });
    app.post(&format!("/v1/tokens/{id}/rotations"), body).token(by).send().await
}

/// Whether a token opens anything at all: the status of a call that every role may make.
async fn opens(app: &TestApp, text: &str) -> u16 {
    app.get("/v1/tokens").token(text).send().await.status.as_u16()
}

/// A token as it was made before tokens were keys and had members.
pub(crate) async fn legacy(app: &TestApp, people: &People, id: &str, revoked: bool) -> String {
    let text = nightlatch::api::mint_token(TokenKind::Management, 0);
    let digest: String = text.digest().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let digest =
        if app.config.database_url.is_some() { format!("'\\x{digest}'::bytea") } else { format!("x'{digest}'") };
    let revoked = if revoked { "1" } else { "NULL" };
    app.sql(&format!(
        "INSERT INTO tokens (id, workspace_id, kind, name, digest, prefix, scopes, created_by_type, created_by_id, \
         created_at, revoked_at) VALUES ('{id}', '{}', 'management', 'legacy', {digest}, '{}', '*', 'system', 'test', 0, \
         {revoked})",
        people.workspace.as_str(),
        text.parts().prefix(),
    ))
    .await;
    text.expose().to_owned()
}

on_both!(a_scoped_token_does_its_scopes_and_makes_none_with_more);
async fn a_scoped_token_does_its_scopes_and_makes_none_with_more(app: TestApp) {
    let (id, text) = made(&make(&app, &app.token, json!(["keys:read", "tokens:manage"])).await);
    assert_eq!(app.get("/v1/keys").token(&text).send().await.status, 200);
    let before = app.footprint().await;
    for (method, path, action) in [
        (Method::POST, "/v1/keys", "keys:issue"),
        (Method::GET, "/v1/tokens", "tokens:read"),
        (Method::GET, "/v1/audit", "audit:read"),
        (Method::POST, "/v1/members", "members:manage"),
        (Method::PUT, "/v1/roles/viewer", "members:manage"),
    ] {
        let answer = app.call(method.clone(), path).json(&json!({})).token(&text).send().await;
        assert_eq!(answer.is_problem(403, "forbidden")["action"], action, "{method} {path}");
    }
    for more in [json!(["keys:issue"]), json!(["keys:read", "audit:read"]), json!(["*"]), Value::Null] {
        make(&app, &text, more).await.is_problem(403, "forbidden");
    }
    // One for everything is more than its own, whosever it is.
    let own = app.get("/v1/tokens").send().await.json();
    let everything = own["items"].as_array().unwrap().iter().find(|token| token["scopes"] == json!(["*"])).unwrap();
    rotate(&app, &text, everything["id"].as_str().unwrap(), 3600).await.is_problem(403, "forbidden");
    let edge = json!({ "name": "n", "kind": "edge", "set": app.set.id });
    app.post("/v1/tokens", edge).token(&text).send().await.is_problem(403, "forbidden");
    assert_eq!(app.footprint().await, before, "something was changed");
    // As much as it has itself, and the same anew, is no more.
    let (_, less) = made(&make(&app, &text, json!(["keys:read"])).await);
    assert_eq!(app.get("/v1/keys").token(&less).send().await.status, 200);
    make(&app, &less, json!(["keys:read"])).await.is_problem(403, "forbidden");
    let (next, again) = made(&rotate(&app, &text, &id, 3600).await);
    assert_eq!(app.get("/v1/keys").token(&again).send().await.status, 200);
    make(&app, &again, json!(["keys:issue"])).await.is_problem(403, "forbidden");
    let listed = app.get("/v1/tokens").send().await.json();
    let next = listed["items"].as_array().unwrap().iter().find(|token| token["id"] == next.as_str()).unwrap();
    assert_eq!(next["scopes"], json!(["keys:read", "tokens:manage"]));
    app.stop().await;
}

on_both!(nobody_comes_by_the_text_of_somebody_elses_token);
async fn nobody_comes_by_the_text_of_somebody_elses_token(app: TestApp) {
    let people = People::of(&app).await;
    let owner = people.person(Role::Owner, None, "owner@example.com").await;
    let admin = people.person(Role::Admin, None, "admin@example.com").await;
    let operator = people.person(Role::Operator, None, "operator@example.com").await;
    let founder = legacy(&app, &people, "tok_1111111111111111", false).await;
    let before = app.footprint().await;
    // Whoever has the text of an owner's token is an owner.
    for (by, of, status, code) in
        [(&admin, &owner, 403, "forbidden"), (&owner, &admin, 403, "forbidden"), (&operator, &owner, 404, "not_found")]
    {
        rotate(&app, &by.text, of.token.id.as_str(), 3600).await.is_problem(status, code);
    }
    rotate(&app, &admin.text, "tok_1111111111111111", 3600).await.is_problem(403, "forbidden");
    assert_eq!(app.footprint().await, before, "something was changed");
    // One that has no member is an owner's: owners replace it.
    let (_, anew) = made(&rotate(&app, &owner.text, "tok_1111111111111111", 3600).await);
    assert_eq!((opens(&app, &founder).await, opens(&app, &anew).await), (200, 200));
    for person in [&owner, &admin, &operator] {
        made(&rotate(&app, &person.text, person.token.id.as_str(), 3600).await);
    }
    app.stop().await;
}

on_both!(a_token_is_what_its_member_is_at_that_moment);
async fn a_token_is_what_its_member_is_at_that_moment(app: TestApp) {
    let people = People::of(&app).await;
    let person = people.person(Role::Operator, None, "moving@example.com").await;
    let (member, text) = (person.member.id.as_str(), person.text.as_str());
    let become_role = async |role: &str| {
        let patch = app.call(Method::PATCH, &format!("/v1/members/{member}")).header("if-match", "*");
        assert_eq!(patch.json(&json!({ "role": role })).send().await.status, 200);
    };
    let moved = async |how: &str| app.post(&format!("/v1/members/{member}/{how}"), json!({})).send().await.status;
    let add_edge =
        async || app.post("/v1/edges", json!({ "name": "e", "class": "durable" })).token(text).send().await.status;
    assert_eq!(add_edge().await, 403);
    become_role("admin").await;
    assert_eq!(add_edge().await, 201);
    become_role("viewer").await;
    assert_eq!((add_edge().await.as_u16(), opens(&app, text).await), (403, 200));
    assert_eq!(app.get("/v1/audit").token(text).send().await.status, 403);
    assert_eq!(moved("suspend").await, 200);
    app.get("/v1/tokens").token(text).send().await.is_problem(401, "token_invalid");
    assert_eq!(moved("resume").await, 200);
    assert_eq!(opens(&app, text).await, 200);
    assert_eq!(moved("remove").await, 200);
    app.get("/v1/tokens").token(text).send().await.is_problem(401, "token_invalid");
    let listed = app.get("/v1/tokens").send().await.json();
    let of_member = |token: &&Value| token["member"] == member;
    assert_eq!(listed["items"].as_array().unwrap().iter().find(of_member).unwrap()["state"], "revoked");
    // Who is suspended while invited, or not here yet, has no authority either.
    let invited = people.invite(Role::Owner, None, "later@example.com").await;
    let (_, early) = people.token(&invited).await;
    assert_eq!(opens(&app, &early).await, 401);
    app.stop().await;
}

on_both!(a_token_expires_and_what_is_revoked_stays_so);
async fn a_token_expires_and_what_is_revoked_stays_so(app: TestApp) {
    let body = json!({ "name": "n", "kind": "management", "expires_at": "2100-01-01T00:00:00Z" });
    let (id, text) = made(&app.post("/v1/tokens", body).send().await);
    assert_eq!(opens(&app, &text).await, 200);
    // Its row and its key say it both; either is enough.
    app.sql(&format!("UPDATE keys SET expires_at = 1 WHERE id = (SELECT key_id FROM tokens WHERE id = '{id}')")).await;
    assert_eq!(opens(&app, &text).await, 401);
    app.sql(&format!("UPDATE keys SET expires_at = NULL WHERE id = (SELECT key_id FROM tokens WHERE id = '{id}')"))
        .await;
    assert_eq!(opens(&app, &text).await, 200);
    app.sql(&format!("UPDATE tokens SET expires_at = 1 WHERE id = '{id}'")).await;
    assert_eq!(opens(&app, &text).await, 401);
    app.sql(&format!("UPDATE tokens SET expires_at = NULL WHERE id = '{id}'")).await;
    for _ in 0..2 {
        let revoked = app.post(&format!("/v1/tokens/{id}/revoke"), json!({})).send().await.json();
        assert_eq!(revoked["state"], "revoked");
        assert_eq!(opens(&app, &text).await, 401);
    }
    app.sql(&format!("UPDATE tokens SET revoked_at = NULL WHERE id = '{id}'")).await;
    assert_eq!(opens(&app, &text).await, 401, "its key is revoked as well");
    rotate(&app, &app.token, &id, 60).await.is_problem(409, "key_revoked");
    app.stop().await;
}

on_both!(a_rotated_token_works_until_its_time_and_the_new_one_beside_it);
async fn a_rotated_token_works_until_its_time_and_the_new_one_beside_it(app: TestApp) {
    let (id, old) = made(&make(&app, &app.token, json!(["*"])).await);
    for bad in [0, 31_536_001] {
        rotate(&app, &app.token, &id, bad).await.is_problem(422, "value_invalid");
    }
    let (_, new) = made(&rotate(&app, &app.token, &id, 2).await);
    rotate(&app, &app.token, &id, 2).await.is_problem(409, "rotation_open");
    assert_eq!((opens(&app, &old).await, opens(&app, &new).await), (200, 200), "both work in the overlap");
    let mut tries = 0;
    while opens(&app, &old).await == 200 {
        tries += 1;
        assert!(tries < 1_000, "the old token never ends");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    app.get("/v1/tokens").token(&old).send().await.is_problem(401, "token_invalid");
    assert_eq!(opens(&app, &new).await, 200);
    // Revoked before its time, the old one ends at once and the new one goes on.
    let (second, text) = made(&make(&app, &app.token, json!(["*"])).await);
    let (third, successor) = made(&rotate(&app, &app.token, &second, 86_400).await);
    app.post(&format!("/v1/tokens/{second}/revoke"), json!({})).send().await;
    assert_eq!((opens(&app, &text).await, opens(&app, &successor).await), (401, 200));
    // An idempotency key belongs to the token it was used for.
    let again = |id: &str| {
        let body = json!({ "overlap_seconds": 60, "reason": "test" });
        app.post(&format!("/v1/tokens/{id}/rotations"), body).header("idempotency-key", "once")
    };
    let first = again(&third).send().await;
    assert_eq!(made(&first), made(&again(&third).send().await));
    let (other, _) = made(&make(&app, &app.token, json!(["*"])).await);
    again(&other).send().await.is_problem(422, "idempotency_mismatch");
    app.stop().await;
}

/// On several threads, so that both find it without a key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_from_before_becomes_a_key_when_it_is_used_also_by_two_at_once() {
    for app in [TestApp::sqlite().await, TestApp::postgres().await] {
        let people = People::of(&app).await;
        let text = legacy(&app, &people, "tok_1111111111111111", false).await;
        let ended = legacy(&app, &people, "tok_2222222222222222", true).await;
        let keys = app.number("SELECT COUNT(*) FROM keys").await;
        let statuses = join_all((0..10).map(|_| opens(&app, &text))).await;
        assert_eq!(statuses, [200; 10]);
        assert_eq!(app.number("SELECT COUNT(*) FROM keys").await, keys + 1, "one key");
        let bound = "SELECT COUNT(*) FROM tokens t JOIN keys k ON k.id = t.key_id AND k.digest = t.digest \
                     WHERE t.id = 'tok_1111111111111111' AND k.workspace_id = 'ws_management'";
        assert_eq!(app.number(bound).await, 1);
        assert_eq!(app.get("/v1/members").token(&text).send().await.status, 200, "an owner's authority");
        assert_eq!(opens(&app, &ended).await, 401);
        assert_eq!(app.number("SELECT COUNT(*) FROM keys").await, keys + 1, "what is revoked becomes none");
        let revoked = app.post("/v1/tokens/tok_1111111111111111/revoke", json!({})).send().await.json();
        assert_eq!((revoked["state"].as_str(), opens(&app, &text).await), (Some("revoked"), 401));
        app.stop().await;
    }
}

on_both!(who_does_not_administer_sees_their_own_tokens);
async fn who_does_not_administer_sees_their_own_tokens(app: TestApp) {
    let people = People::of(&app).await;
    let organisation = people.principal(&app, nightlatch::domain::PrincipalKind::Partner, "partner").await;
    let mut everybody = Vec::new();
    for role in Role::ALL {
        let partner = role.is_partner().then_some(organisation);
        everybody.push(people.person(role, partner, &format!("{role}@example.com")).await);
    }
    for person in &everybody {
        let listed = app.get("/v1/tokens").token(&person.text).send().await.json();
        let members: Vec<_> =
            listed["items"].as_array().unwrap().iter().map(|token| token["member"].as_str().unwrap_or("")).collect();
        if matches!(person.member.role, Role::Owner | Role::Admin) {
            assert_eq!(members.len(), 8, "{listed}");
            continue;
        }
        assert_eq!(members, [person.member.id.as_str()]);
        // Others' are as those that do not exist.
        for other in everybody.iter().filter(|other| other.member.id != person.member.id) {
            let before = app.footprint().await;
            for (how, body) in
                [("revoke", json!({})), ("rotations", json!({ "overlap_seconds": 60, "reason": "test" }))]
            {
                let call = async |id: &str| {
                    let call = app.post(&format!("/v1/tokens/{id}/{how}"), body.clone()).token(&person.text);
                    call.header("x-request-id", "the-same").send().await
                };
                let (theirs, nobodys) = (call(other.token.id.as_str()).await, call("tok_0000000000000000").await);
                theirs.is_problem(404, "not_found");
                assert_eq!(theirs.text, nobodys.text);
            }
            assert_eq!(app.footprint().await, before);
        }
        // Its own it ends itself.
        let own = format!("/v1/tokens/{}/revoke", person.token.id);
        assert_eq!(app.post(&own, json!({})).token(&person.text).send().await.status, 200);
        assert_eq!(opens(&app, &person.text).await, 401);
    }
    app.stop().await;
}
