//! Whoever begins a call and holds its last byte back finishes it with the authority of that moment, not of when they began.

use futures::future::join_all;
use nightlatch::domain::Role;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::app::TestApp;
use crate::on_both;
use crate::people::{People, Person, SERVICE_ACCOUNT};

/// A call whose last bytes are still to be sent.
struct Held {
    stream: TcpStream,
    rest: Vec<u8>,
}

/// The parts of a call whose body can be held back.
#[derive(Clone, Debug)]
struct Slow {
    path: String,
    kind: Option<&'static str>,
    body: String,
}

impl Slow {
    /// Sends all of it but the last byte, and returns when the server has begun to read the body: it says so to whoever
    /// expects it.
    async fn begin(&self, app: &TestApp, token: &str) -> Held {
        let url = app.server.url();
        let address = url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let kind = self.kind.map(|kind| format!("content-type: {kind}\r\n")).unwrap_or_default();
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n{kind}expect: 100-continue\r\n\
             connection: close\r\ntransfer-encoding: chunked\r\n\r\n",
            self.path
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut told = Vec::new();
        while !told.ends_with(b"\r\n\r\n") {
            told.push(stream.read_u8().await.unwrap());
        }
        let told = String::from_utf8(told).unwrap();
        assert!(told.starts_with("HTTP/1.1 100 "), "{self:?}: {told}");
        let mut bytes = match self.body.len() {
            0 => Vec::new(),
            length => format!("{length:x}\r\n{}\r\n", self.body).into_bytes(),
        };
        bytes.extend(b"0\r\n\r\n");
        let rest = bytes.split_off(bytes.len() - 1);
        stream.write_all(&bytes).await.unwrap();
        Held { stream, rest }
    }
}

impl Held {
    /// Sends what was held back, and returns status and body of the answer.
    async fn finish(mut self) -> (u16, String) {
        self.stream.write_all(&self.rest).await.unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }
}

/// Calls whose bodies are read in different ways: one that must be there, one of lines, and one that may be left out.
async fn calls(people: &People, subject: u32) -> [Slow; 3] {
    let (key, _) = people.key(subject).await;
    let digest: String = (0..8).map(|_| format!("{:08x}", rand::random::<u32>())).collect();
    let line = json!({ "name": "k", "environment": "live", "digest": digest, "entropy_bits": 256 });
    [
        Slow {
            path: "/v1/keys".to_owned(),
            kind: Some("application/json"),
            body: json!({ "name": "k", "environment": "live" }).to_string(),
        },
        Slow {
            path: "/v1/keys/import".to_owned(),
            kind: Some("application/x-ndjson"),
            // More than a body that is read from anybody.
            body: format!("{line}\n{}", " ".repeat(2 << 20)),
        },
        Slow { path: format!("/v1/keys/{}/disable", key.id), kind: None, body: String::new() },
    ]
}

on_both!(a_call_is_judged_when_all_of_it_is_here);
async fn a_call_is_judged_when_all_of_it_is_here(app: TestApp) {
    let people = People::of(&app).await;
    let ends = [
        ("the member is removed", 401, "token_invalid"),
        ("the member is suspended", 401, "token_invalid"),
        ("the token is revoked", 401, "token_invalid"),
        ("the member is a viewer now", 403, "forbidden"),
    ];
    for (number, (end, status, code)) in ends.into_iter().enumerate() {
        let admin = people.person(Role::Admin, None, &format!("admin{number}@example.com")).await;
        // Of nobody who is touched: a removed member's keys end with them.
        let calls = calls(&people, SERVICE_ACCOUNT).await;
        let mut held = Vec::new();
        for call in &calls {
            held.push(call.begin(&app, &admin.text).await);
        }
        put_an_end(&app, &admin, end).await;
        let before = app.footprint().await;
        for (call, held) in calls.iter().zip(held) {
            let (got, answer) = held.finish().await;
            assert!(got == status && answer.contains(code), "{end}: {}: {answer}", call.path);
        }
        assert_eq!(app.footprint().await, before, "{end}: something was changed");
    }
    // Nobody has put an end to this one, so what was asked is done.
    let admin = people.person(Role::Admin, None, "admin@example.com").await;
    for call in calls(&people, SERVICE_ACCOUNT).await {
        let (status, answer) = call.begin(&app, &admin.text).await.finish().await;
        assert!([200, 201].contains(&status), "{}: {answer}", call.path);
    }
    app.stop().await;
}

on_both!(a_role_that_changes_in_the_middle_of_calls_is_obeyed_from_then_on);
async fn a_role_that_changes_in_the_middle_of_calls_is_obeyed_from_then_on(app: TestApp) {
    let people = People::of(&app).await;
    let admin = people.person(Role::Admin, None, "busy@example.com").await;
    // Many calls, each some of the way; half of them end before the change, and half after it.
    let mut held = Vec::new();
    for _ in 0..6 {
        for call in calls(&people, SERVICE_ACCOUNT).await {
            held.push(call.begin(&app, &admin.text).await);
        }
    }
    let after = held.split_off(held.len() / 2);
    for answer in join_all(held.into_iter().map(Held::finish)).await {
        assert!([200, 201].contains(&answer.0), "{answer:?}");
    }
    put_an_end(&app, &admin, "the member is a viewer now").await;
    let before = app.footprint().await;
    for answer in join_all(after.into_iter().map(Held::finish)).await {
        assert_eq!(answer.0, 403, "{answer:?}");
    }
    assert_eq!(app.footprint().await, before, "something was changed");
    app.stop().await;
}

async fn put_an_end(app: &TestApp, admin: &Person, end: &str) {
    let (member, token) = (&admin.member.id, &admin.token.id);
    let answer = match end {
        "the member is removed" => app.post(&format!("/v1/members/{member}/remove"), json!({})).send().await,
        "the member is suspended" => app.post(&format!("/v1/members/{member}/suspend"), json!({})).send().await,
        "the token is revoked" => app.post(&format!("/v1/tokens/{token}/revoke"), json!({})).send().await,
        "the member is a viewer now" => {
            let call = app.call(reqwest::Method::PATCH, &format!("/v1/members/{member}")).header("if-match", "*");
            call.json(&json!({ "role": "viewer" })).send().await
        }
        _ => panic!("{end}"),
    };
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Of an import, no stranger gets more read than of anything else.
#[tokio::test]
async fn a_large_body_is_read_from_somebody_known() {
    let app = TestApp::sqlite().await;
    let body = vec![b' '; 2 << 20];
    let import = || app.call(reqwest::Method::POST, "/v1/keys/import").body("application/x-ndjson", body.clone());
    import().without_token().send().await.is_problem(401, "token_missing");
    assert_eq!(import().send().await.status, 200);
    app.stop().await;
}
