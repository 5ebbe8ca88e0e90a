//! The database's clock steps by a day, forwards and back: what is good once stays so, what has an end ends by the clock,
//! and nothing that has ended comes back. Sessions and second factors have tests of their own.

use serde_json::{Value, json};

use crate::app::{Answer, TestApp};
use crate::on_both;
use crate::principals::id;

const DAY: i64 = 24 * 3600;

/// Moves everything that has an end as if the database's clock stepped by so many seconds.
async fn step(app: &TestApp, seconds: i64) {
    for (table, column, unit) in [
        ("members", "invite_expires_at", 1_000),
        ("enrolments", "expires_at", 1_000),
        ("partner_links", "code_expires_at", 1_000),
        ("gateways", "code_expires_at", 1_000),
        ("edges", "code_expires_at", 1_000),
        ("tokens", "expires_at", 1),
        ("tokens", "revoked_at", 1_000),
        ("keys", "expires_at", 1),
        ("keys", "deadline", 1),
        ("keys", "revoked_at", 1_000),
        ("idempotency", "created_at", 1_000),
    ] {
        app.sql(&format!("UPDATE {table} SET {column} = {column} - {}", seconds * unit)).await;
    }
}

/// A one-time code of each kind, and how it is used.
struct Codes {
    /// What it is, how many seconds it works, and the call that uses it.
    all: Vec<(&'static str, i64, &'static str, Value)>,
}

impl Codes {
    async fn make(app: &TestApp, round: &str) -> Self {
        let email = format!("{round}@example.com");
        let invited = app.done("/v1/members", json!({ "email": email, "role": "viewer" })).await;
        let partner = id(&app.done("/v1/partners", json!({ "name": round })).await);
        let link = app.done(&format!("/v1/partners/{partner}/links"), json!({ "client_name": "c" })).await;
        let gateway = app.done("/v1/gateways", json!({ "name": round, "environment": "live" })).await;
        let edge = app.done("/v1/edges", json!({ "name": round, "class": "durable" })).await;
        let brand = format!("b{round}");
        let workspace = app.done("/v1/workspaces", json!({ "name": round, "brand": brand })).await;
        let password = "correct horse battery";
        let all = vec![
            (
                "invitation",
                7 * DAY,
                "/v1/invites/accept",
                json!({ "code": invited["code"], "password": password, "name": "Ada" }),
            ),
            ("link", 7 * DAY, "/v1/links/accept", json!({ "code": link["code"], "permissions": [] })),
            ("pairing", 3600, "/v1/gateways/pair", json!({ "code": gateway["code"] })),
            (
                "edge",
                3600,
                "/v1/edges/enrol",
                json!({ "code": edge["code"], "runtime": "sidecar", "version": "1.2.3" }),
            ),
            ("enrolment", 3600, "/v1/enrol", json!({ "token": workspace["enrolment_token"] })),
        ];
        Self { all }
    }

    /// Uses all of them, and says which succeed.
    async fn used(&self, app: &TestApp) -> Vec<&'static str> {
        let mut good = Vec::new();
        for (name, _, path, body) in &self.all {
            let call = app.post(path, body.clone());
            // A link's client is somebody; all others prove themselves by the code.
            let call = if *name == "link" { call } else { call.without_token() };
            let answer = call.send().await;
            if answer.status.is_success() {
                good.push(*name);
            } else {
                assert!([401, 404, 422].contains(&answer.status.as_u16()), "{name}: {answer:?}");
            }
        }
        good
    }

    fn longer_than(&self, seconds: i64) -> Vec<&'static str> {
        self.all.iter().filter(|(_, lifetime, ..)| *lifetime > seconds).map(|(name, ..)| *name).collect()
    }
}

on_both!(one_time_codes_end_by_the_clock_however_it_steps);
async fn one_time_codes_end_by_the_clock_however_it_steps(app: TestApp) {
    // Each is good where the clock stands still, and once.
    let codes = Codes::make(&app, "now").await;
    assert_eq!(codes.used(&app).await, codes.longer_than(0));
    assert!(codes.used(&app).await.is_empty());
    // Set back, the clock does not make a used one good again; those that are open stay so, and work once.
    let open = Codes::make(&app, "back").await;
    step(&app, -DAY).await;
    assert!(codes.used(&app).await.is_empty());
    assert_eq!(open.used(&app).await, open.longer_than(0));
    assert!(open.used(&app).await.is_empty());
    // A day on, what lives for an hour has ended, and what lives for a week has not.
    step(&app, DAY).await;
    let late = Codes::make(&app, "on").await;
    step(&app, DAY).await;
    assert_eq!(late.used(&app).await, late.longer_than(DAY));
    let later = Codes::make(&app, "week").await;
    step(&app, 7 * DAY).await;
    assert!(later.used(&app).await.is_empty());
    // What has ended works again where the clock is put right: it ended by a clock that was wrong.
    step(&app, -7 * DAY).await;
    assert_eq!(later.used(&app).await, later.longer_than(0));
    assert!(codes.used(&app).await.is_empty() && late.used(&app).await.is_empty());
    step(&app, -DAY).await;
    assert_eq!(late.used(&app).await, ["pairing", "edge", "enrolment"]);
    app.stop().await;
}

async fn read(app: &TestApp, token: &str) -> Answer {
    app.get("/v1/keys?limit=1").token(token).send().await
}

on_both!(tokens_and_keys_end_by_the_clock_and_what_was_revoked_stays_so);
async fn tokens_and_keys_end_by_the_clock_and_what_was_revoked_stays_so(app: TestApp) {
    let soon = crate::app::now() + jiff::SignedDuration::from_hours(1);
    let token = async |more: Value| {
        let mut body = json!({ "name": "t", "kind": "management" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = app.done("/v1/tokens", body).await;
        (id(&made["token"]), made["secret"].as_str().unwrap().to_owned())
    };
    let (brief, lasting, revoked) =
        (token(json!({ "expires_at": soon })).await, token(json!({})).await, token(json!({})).await);
    app.done(&format!("/v1/tokens/{}/revoke", revoked.0), json!({})).await;
    let key = async |more: Value| {
        let mut body = json!({ "name": "k", "environment": "live" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        app.done("/v1/keys", body).await
    };
    let (ends, stays, dead) = (key(json!({ "expires_at": soon })).await, key(json!({})).await, key(json!({})).await);
    app.done(&format!("/v1/keys/{}/revoke", id(&dead["key"])), json!({ "reason": "r" })).await;
    let replaced = key(json!({})).await;
    let rotate = json!({ "overlap_seconds": 3_600, "reason": "quarterly" });
    app.done(&format!("/v1/keys/{}/rotations", id(&replaced["key"])), rotate).await;

    for (by, ended) in [(0, false), (-DAY, false), (2 * DAY, true), (-DAY, false)] {
        step(&app, by).await;
        assert_eq!(read(&app, &brief.1).await.status == 200, !ended, "{by}");
        assert_eq!(read(&app, &lasting.1).await.status, 200, "{by}");
        read(&app, &revoked.1).await.is_problem(401, "token_invalid");
        assert_eq!(app.refused(&ends["secret"]).await.as_deref(), ended.then_some("key_expired"), "{by}");
        assert_eq!(app.refused(&stays["secret"]).await, None, "{by}");
        assert_eq!(app.refused(&dead["secret"]).await.as_deref(), Some("key_revoked"), "{by}");
        let over = app.refused(&replaced["secret"]).await;
        assert_eq!(over.as_deref(), ended.then_some("key_retired_grace_over"), "{by}");
    }
    app.stop().await;
}

on_both!(a_repeated_create_is_none_however_the_clock_steps_within_a_day);
async fn a_repeated_create_is_none_however_the_clock_steps_within_a_day(app: TestApp) {
    let create = || {
        let body = json!({ "name": "once", "environment": "live" });
        app.post("/v1/keys", body).header("idempotency-key", "one").send()
    };
    let first = create().await;
    assert_eq!(first.status, 201);
    let count = async || app.number("SELECT COUNT(*) FROM keys WHERE name = 'once'").await;
    // Its secret is shown for a quarter of an hour by any clock, and the key is made once.
    for by in [-DAY, DAY - 60, 60] {
        step(&app, by).await;
        let again = create().await;
        assert_eq!(again.status.is_success().then(|| id(&again.json()["key"])), Some(id(&first.json()["key"])), "{by}");
        assert_eq!(count().await, 1, "{by}");
    }
    app.stop().await;
}
