//! Members and roles: the way from an invitation to a removal, owners, addresses, and what may be granted.

use nightlatch::domain::Role;
use nightlatch::store::{Error, members};
use nightlatch_key::Digest;
use nightlatch_tests::seed;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, TestApp};
use crate::on_both;
use crate::people::People;
use crate::token_rights::legacy;

/// A change of a member, whatever its version.
async fn patch(app: &TestApp, by: &str, id: &str, change: Value) -> Answer {
    let call = app.call(Method::PATCH, &format!("/v1/members/{id}")).header("if-match", "*");
    call.json(&change).token(by).send().await
}

/// One of the calls that move a member.
async fn go(app: &TestApp, by: &str, id: &str, how: &str) -> Answer {
    app.post(&format!("/v1/members/{id}/{how}"), json!({})).token(by).send().await
}

async fn invite(app: &TestApp, by: &str, body: Value) -> Answer {
    app.post("/v1/members", body).token(by).send().await
}

/// Lets somebody in by the code of their invitation.
async fn accept(people: &People, code: &str) -> Result<(), Error> {
    let code = Digest::of(code.as_bytes());
    let accept = people.store.write::<_, Error, _>(move |tx| {
        Box::pin(async move { members::accept(tx, &code, "acc_test", None, "test", None).await })
    });
    accept.await.map(drop)
}

/// What the test thinks of a member.
#[derive(Clone, Debug)]
struct Expected {
    id: String,
    email: String,
    role: &'static str,
    state: &'static str,
    joined: bool,
    codes: Vec<String>,
}

const ROLES: [&str; 4] = ["owner", "admin", "operator", "viewer"];

on_both!(members_go_from_state_to_state_as_a_small_model_says);
async fn members_go_from_state_to_state_as_a_small_model_says(app: TestApp) {
    let people = People::of(&app).await;
    let seed = seed::seed().unwrap();
    println!("repeat with {}={seed}", seed::SEED);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // The owner who acts is never touched: every other may go.
    let mut known: Vec<Expected> = Vec::new();
    for step in 0..250 {
        let place = if known.is_empty() { 0 } else { rng.random_range(0..known.len()) };
        let what =
            *["invite", "reinvite", "accept", "suspend", "resume", "remove", "role", "name"].choose(&mut rng).unwrap();
        let at = format!("seed {seed}, step {step}: {what} {:?}", known.get(place));
        if what == "invite" || known.is_empty() {
            let (role, email) = (*ROLES.choose(&mut rng).unwrap(), format!("m{}@example.com", rng.random_range(0..6)));
            let taken = known.iter().any(|known| known.email == email && known.state != "removed");
            let answer = invite(&app, &app.token, json!({ "email": email, "role": role })).await;
            if taken {
                answer.is_problem(409, "member_exists");
                continue;
            }
            assert_eq!(answer.status, 201, "{at}: {answer:?}");
            let body = answer.json();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let (id, codes) = (text(&body["member"]["id"]), vec![text(&body["code"])]);
            known.push(Expected { id, email, role, state: "invited", joined: false, codes });
            continue;
        }
        let member = &mut known[place];
        let expect = |answer: Answer, refusal: Option<(u16, &str)>| match refusal {
            Some((status, code)) => drop(answer.is_problem(status, code)),
            None => assert!(answer.status.is_success(), "{at}: {answer:?}"),
        };
        let removed = (member.state == "removed").then_some((409, "principal_removed"));
        match what {
            "reinvite" => {
                let answer = go(&app, &app.token, &member.id, "invite").await;
                if member.state == "invited" {
                    member.codes.push(answer.json()["code"].as_str().unwrap().to_owned());
                } else {
                    answer.is_problem(409, "invite_accepted");
                }
            }
            "accept" => {
                // Of all codes there ever were, the last is good, once, while the member is invited.
                let which = rng.random_range(0..member.codes.len());
                let good = which + 1 == member.codes.len() && member.state == "invited";
                assert_eq!(accept(&people, &member.codes[which]).await.is_ok(), good, "{at}");
                if good {
                    (member.state, member.joined) = ("active", true);
                }
            }
            "suspend" => {
                expect(go(&app, &app.token, &member.id, "suspend").await, removed);
                if removed.is_none() {
                    member.state = "suspended";
                }
            }
            "resume" => {
                expect(go(&app, &app.token, &member.id, "resume").await, removed);
                if member.state == "suspended" {
                    member.state = if member.joined { "active" } else { "invited" };
                }
            }
            "remove" => {
                expect(go(&app, &app.token, &member.id, "remove").await, None);
                member.state = "removed";
            }
            "role" => {
                let role = *ROLES.choose(&mut rng).unwrap();
                let same = removed.filter(|_| role != member.role);
                expect(patch(&app, &app.token, &member.id, json!({ "role": role })).await, same);
                if removed.is_none() {
                    member.role = role;
                }
            }
            _ => expect(patch(&app, &app.token, &member.id, json!({ "name": format!("n{step}") })).await, removed),
        }
        let seen = app.get(&format!("/v1/members/{}", member.id)).send().await.json();
        assert_eq!(
            (seen["state"].as_str(), seen["role"].as_str()),
            (Some(member.state), Some(member.role)),
            "{at}: {seen}"
        );
        assert_eq!(seen["joined_at"].is_string(), member.joined, "{at}: {seen}");
        assert_eq!(seen["removed_at"].is_string(), member.state == "removed", "{at}: {seen}");
        // Who was suspended when it was removed still shows when that was.
        let suspended = seen["suspended_at"].is_string();
        assert!(suspended == (member.state == "suspended") || member.state == "removed", "{at}: {seen}");
        let open = ["invited", "suspended"].contains(&member.state) && !member.joined;
        assert_eq!(seen["invite_expires_at"].is_string(), open, "{at}: {seen}");
    }
    let listed = app.get("/v1/members?limit=200").send().await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), known.len() + 1);
    app.stop().await;
}

on_both!(an_invitation_ends_with_its_time_and_with_the_next);
async fn an_invitation_ends_with_its_time_and_with_the_next(app: TestApp) {
    let people = People::of(&app).await;
    let body = json!({ "email": "late@example.com", "role": "viewer" });
    let invited = invite(&app, &app.token, body).await.json();
    let (id, first) = (invited["member"]["id"].as_str().unwrap(), invited["code"].as_str().unwrap());
    let again = go(&app, &app.token, id, "invite").await.json();
    assert!(accept(&people, first).await.is_err(), "the code before works no longer");
    app.sql(&format!("UPDATE members SET invite_expires_at = 1 WHERE id = '{id}'")).await;
    assert!(accept(&people, again["code"].as_str().unwrap()).await.is_err(), "expired");
    let last = go(&app, &app.token, id, "invite").await.json();
    accept(&people, last["code"].as_str().unwrap()).await.unwrap();
    assert!(accept(&people, last["code"].as_str().unwrap()).await.is_err(), "once");
    // Sent again, an invitation is the same one.
    let once = || {
        let body = json!({ "email": "once@example.com", "role": "viewer" });
        app.post("/v1/members", body).header("idempotency-key", "once")
    };
    assert_eq!(once().send().await.json(), once().send().await.json());
    app.stop().await;
}

on_both!(the_last_owner_cannot_go);
async fn the_last_owner_cannot_go(app: TestApp) {
    let people = People::of(&app).await;
    let owners = app.get("/v1/members?role=owner").send().await.json();
    let first = owners["items"][0]["id"].as_str().unwrap();
    // Who is not here, or may do nothing, does not count.
    people.invite(Role::Owner, None, "not-here@example.com").await;
    let suspended = people.member(Role::Owner, None, "suspended@example.com").await;
    assert_eq!(go(&app, &app.token, suspended.id.as_str(), "suspend").await.status, 200);
    let before = app.footprint().await;
    for how in ["suspend", "remove"] {
        go(&app, &app.token, first, how).await.is_problem(409, "last_owner");
    }
    patch(&app, &app.token, first, json!({ "role": "admin" })).await.is_problem(409, "last_owner");
    assert_eq!(app.footprint().await, before);
    assert_eq!(patch(&app, &app.token, first, json!({ "name": "Still here" })).await.status, 200);
    people.member(Role::Owner, None, "second@example.com").await;
    assert_eq!(go(&app, &app.token, first, "remove").await.status, 200);
    assert_eq!(app.get("/v1/members").send().await.status, 401, "its token went with it");
    app.stop().await;
}

/// On several threads and connections: each of the two counts on the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_owners_that_go_at_once_one_stays() {
    for app in [TestApp::sqlite().await, TestApp::postgres().await] {
        let people = People::of(&app).await;
        // Somebody who is no member at all does it.
        let founder = legacy(&app, &people, "tok_1111111111111111", false).await;
        let owners = app.get("/v1/members?role=owner").send().await.json();
        let mut stays = owners["items"][0]["id"].as_str().unwrap().to_owned();
        for round in 0..12 {
            let other = people.member(Role::Owner, None, &format!("owner{round}@example.com")).await.id.to_string();
            let leave = async |id: &str| match round % 3 {
                0 => go(&app, &founder, id, "remove").await,
                1 => go(&app, &founder, id, "suspend").await,
                _ => patch(&app, &founder, id, json!({ "role": "viewer" })).await,
            };
            let (one, two) = tokio::join!(leave(&stays), leave(&other));
            let (gone, refused) = if one.status == 200 { (one, two) } else { (two, one) };
            assert_eq!(gone.status, 200, "{gone:?}");
            refused.is_problem(409, "last_owner");
            if gone.json()["id"] == stays.as_str() {
                stays = other;
            }
        }
        app.stop().await;
    }
}

on_both!(owners_are_made_changed_and_ended_by_owners);
async fn owners_are_made_changed_and_ended_by_owners(app: TestApp) {
    let people = People::of(&app).await;
    let admin = people.person(Role::Admin, None, "admin@example.com").await.text;
    let owner = people.member(Role::Owner, None, "other@example.com").await.id.to_string();
    let invited = people.invite(Role::Owner, None, "invited@example.com").await.id.to_string();
    let viewer = people.member(Role::Viewer, None, "viewer@example.com").await.id.to_string();
    let own = people.member(Role::Admin, None, "climber@example.com").await;
    let (_, climber) = people.token(&own).await;
    let before = app.footprint().await;
    let only = |answer: Answer| assert_eq!(answer.is_problem(403, "forbidden")["action"], "members:owner");
    only(invite(&app, &admin, json!({ "email": "x@example.com", "role": "owner" })).await);
    only(patch(&app, &admin, &viewer, json!({ "role": "owner" })).await);
    only(patch(&app, &climber, own.id.as_str(), json!({ "role": "owner" })).await);
    only(patch(&app, &admin, &owner, json!({ "role": "viewer" })).await);
    only(patch(&app, &admin, &owner, json!({ "name": "Somebody" })).await);
    only(go(&app, &admin, &invited, "invite").await);
    for how in ["suspend", "resume", "remove"] {
        only(go(&app, &admin, &owner, how).await);
    }
    let role = app.call(Method::PUT, "/v1/roles/owner").json(&json!({ "scopes": [] }));
    only(role.token(&admin).send().await);
    assert_eq!(app.footprint().await, before, "something was changed");
    // Partner roles are given at the organisation.
    for role in ["partner_owner", "partner_staff"] {
        let body = json!({ "email": "x@example.com", "role": role });
        invite(&app, &app.token, body).await.is_problem(422, "role_unfit");
        patch(&app, &app.token, &viewer, json!({ "role": role })).await.is_problem(422, "role_unfit");
        let role = app.call(Method::PUT, &format!("/v1/roles/{role}")).json(&json!({ "scopes": ["a:read"] }));
        role.send().await.is_problem(422, "role_unfit");
    }
    assert_eq!(app.footprint().await, before, "something was changed");
    assert_eq!(patch(&app, &app.token, &viewer, json!({ "role": "owner" })).await.status, 200);
    assert_eq!(go(&app, &app.token, &owner, "remove").await.status, 200);
    app.stop().await;
}

on_both!(a_change_is_made_to_what_was_read);
async fn a_change_is_made_to_what_was_read(app: TestApp) {
    let people = People::of(&app).await;
    let path = format!("/v1/members/{}", people.member(Role::Viewer, None, "v@example.com").await.id);
    let read = app.get(&path).send().await;
    let change = |tag: Option<&str>, name: &str| {
        let call = app.call(Method::PATCH, &path).json(&json!({ "name": name }));
        match tag {
            Some(tag) => call.header("if-match", tag),
            None => call,
        }
    };
    change(None, "a").send().await.is_problem(428, "if_match_missing");
    let changed = change(Some(read.header("etag")), "a").send().await;
    assert_eq!(changed.status, 200);
    let stale = change(Some(read.header("etag")), "b").send().await.is_problem(412, "etag_stale");
    assert_eq!(format!("\"{}\"", stale["etag"].as_str().unwrap().trim_matches('"')), changed.header("etag"));
    let again = change(Some(changed.header("etag")), "a").send().await;
    assert_eq!(again.header("etag"), changed.header("etag"), "nothing to change is no change");
    app.stop().await;
}

on_both!(an_address_belongs_to_one_member);
async fn an_address_belongs_to_one_member(app: TestApp) {
    let body = |email: &str| json!({ "email": email, "role": "viewer" });
    let made = invite(&app, &app.token, body(" Bo@Example.COM ")).await.json();
    assert_eq!(made["member"]["email"], "bo@example.com");
    let id = made["member"]["id"].as_str().unwrap();
    for same in ["bo@example.com", "BO@EXAMPLE.com", "\tbo@example.com"] {
        invite(&app, &app.token, body(same)).await.is_problem(409, "member_exists");
    }
    let found = app.get("/v1/members?email=BO%40example.com").send().await.json();
    assert_eq!((found["items"].as_array().unwrap().len(), &found["items"][0]["id"]), (1, &json!(id)));
    for bad in
        ["", "bo", "@example.com", "bo@", "b o@example.com", "bo\u{0}@example.com", &format!("{}@x", "b".repeat(254))]
    {
        invite(&app, &app.token, body(bad)).await.is_problem(422, "value_invalid");
    }
    assert_eq!(go(&app, &app.token, id, "remove").await.status, 200);
    let again = invite(&app, &app.token, body("bo@example.com")).await;
    assert_eq!(again.status, 201, "{again:?}");
    assert_ne!(again.json()["member"]["id"], id, "somebody who was removed does not come back");
    // Of many at once, one.
    let all = futures::future::join_all((0..8).map(|_| invite(&app, &app.token, body("at.once@example.com")))).await;
    let (made, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(|answer| answer.status == 201);
    assert_eq!(made.len(), 1, "{refused:?}");
    refused.iter().for_each(|answer| drop(answer.is_problem(409, "member_exists")));
    app.stop().await;
}

on_both!(nobody_grants_beyond_their_own_scopes);
async fn nobody_grants_beyond_their_own_scopes(app: TestApp) {
    let people = People::of(&app).await;
    let set = async |by: &str, role: &str, scopes: Value| {
        app.call(Method::PUT, &format!("/v1/roles/{role}")).json(&json!({ "scopes": scopes })).token(by).send().await
    };
    let admin = people.person(Role::Admin, None, "admin@example.com").await;
    let viewer = people.member(Role::Viewer, None, "viewer@example.com").await.id.to_string();
    assert_eq!(set(&admin.text, "viewer", json!(["v:read"])).await.status, 200, "admins may grant everything at first");
    assert_eq!(set(&app.token, "viewer", json!([])).await.status, 200);
    assert_eq!(set(&app.token, "admin", json!(["a:read"])).await.json()["scopes"], json!(["a:read"]));
    assert_eq!(set(&app.token, "operator", json!(["a:read", "o:write"])).await.status, 200);
    let own = json!({ "scopes": ["b:read"] });
    assert_eq!(patch(&app, &app.token, admin.member.id.as_str(), own).await.status, 200);
    let by = admin.text.as_str();
    // Both the role's and its own.
    let body = json!({ "email": "x@example.com", "role": "viewer", "scopes": ["a:read", "b:read"] });
    assert_eq!(invite(&app, by, body).await.status, 201);
    assert_eq!(patch(&app, by, &viewer, json!({ "scopes": ["b:read"] })).await.status, 200);
    let before = app.footprint().await;
    let beyond = |answer: Answer, scopes: Value| {
        assert_eq!(answer.is_problem(403, "beyond_own_scopes")["scopes"], scopes, "{answer:?}");
    };
    let body = json!({ "email": "y@example.com", "role": "viewer", "scopes": ["a:read", "c:read"] });
    beyond(invite(&app, by, body).await, json!(["c:read"]));
    beyond(patch(&app, by, &viewer, json!({ "scopes": ["c:read"] })).await, json!(["c:read"]));
    beyond(patch(&app, by, admin.member.id.as_str(), json!({ "scopes": ["c:read"] })).await, json!(["c:read"]));
    beyond(set(by, "viewer", json!(["c:read"])).await, json!(["c:read"]));
    beyond(set(by, "admin", json!(["a:read", "*"])).await, json!([]));
    let key = json!({ "name": "k", "environment": "live", "scopes": ["c:read"] });
    beyond(app.post("/v1/keys", key).token(by).send().await, json!(["c:read"]));
    // A role is a grant of what it brings.
    let body = json!({ "email": "z@example.com", "role": "operator" });
    beyond(invite(&app, by, body).await, json!(["o:write"]));
    beyond(patch(&app, by, &viewer, json!({ "role": "operator" })).await, json!(["o:write"]));
    beyond(patch(&app, by, admin.member.id.as_str(), json!({ "role": "operator" })).await, json!(["o:write"]));
    assert_eq!(app.footprint().await, before, "something was changed");
    let issued = app.issue("wide", &["c:read"]).await;
    let before = app.footprint().await;
    let successor = json!({ "overlap_seconds": 86_400, "reason": "test" });
    let start = app.post(&format!("/v1/keys/{}/rotations", issued.key.id), successor).token(by);
    beyond(start.send().await, json!(["c:read"]));
    let line = json!({ "name": "k", "environment": "live", "scopes": ["c:read"], "digest": "ab".repeat(32), "entropy_bits": 256 });
    let import = app.call(Method::POST, "/v1/keys/import").body("application/x-ndjson", line.to_string()).token(by);
    assert_eq!(import.send().await.json()["errors"][0]["code"], "beyond_own_scopes");
    assert_eq!(app.footprint().await, before, "only the key that the owner made");
    app.client.revoke_key(&issued.key.id, &nightlatch_api::RevokeKey::new("done")).await.unwrap();
    assert_eq!(app.number("SELECT COUNT(*) FROM members WHERE email IN ('y@example.com', 'z@example.com')").await, 0);
    // What changes for the role holds at once.
    assert_eq!(set(&app.token, "admin", json!(["*"])).await.status, 200);
    let body = json!({ "email": "z@example.com", "role": "operator", "scopes": ["c:read"] });
    assert_eq!(invite(&app, by, body).await.status, 201);
    app.stop().await;
}
