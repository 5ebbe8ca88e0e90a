//! Secrets are in no log line, audit row, problem, metric or database (guarantee 5).

use std::fs;
use std::io;
use std::sync::{Arc, Mutex};

use nightlatch_api::{ImportOptions, StartRotation};
use serde_json::json;

use crate::app::TestApp;

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything that is logged at the finest level by all of this process, through everything that handles secrets.
#[tokio::test]
async fn s0_15_s1_11_no_secret_leaves_but_in_its_answer() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).json().with_writer(move || writer.clone()).init();
    let app = TestApp::sqlite().await;
    let enrolment = app.server.enrolment().unwrap().fresh.as_ref().unwrap().expose().to_owned();

    let issued = app.issue("k", &["a"]).await;
    let key = issued.secret.expose().to_owned();
    let rotation: StartRotation = serde_json::from_value(json!({ "overlap_seconds": 3600, "reason": "r" })).unwrap();
    let client = app.client.with_idempotency_key("raw-idempotency-key");
    let successor = client.start_rotation(&issued.key.id, &rotation).await.unwrap().secret.expose().to_owned();
    client.start_rotation(&issued.key.id, &rotation).await.unwrap();
    let edge = app.edge_token().await;
    app.verify(&issued.secret).await;
    let imported = "an-imported-foreign-key";
    let line = json!({ "key": imported, "name": "i", "environment": "live", "entropy_bits": 128 });
    app.client.import_keys(ImportOptions::default(), line.to_string().into_bytes()).await.unwrap();

    // Signing in: everything a person proves themselves with.
    let invitation = crate::session::invite(&app, "ada@example.com", "owner").await;
    let password = "an unlikely passphrase";
    let accepted = app.post("/v1/invites/accept", json!({ "code": invitation, "password": password }));
    assert_eq!(accepted.without_token().send().await.status, 201);
    let mut browser = crate::session::Browser::new(&app);
    assert_eq!(browser.sign_in("ada@example.com", password).await.status, 200);
    let first_cookie = browser.cookie.clone().unwrap().split_once('=').unwrap().1.to_owned();
    let offered = browser.post("/v1/session/totp", json!({})).await.json();
    let totp = offered["secret"].as_str().unwrap().to_owned();
    let step_up = browser.post("/v1/session/step-up", json!({ "password": password })).await;
    assert_eq!(step_up.status, 200, "{step_up:?}");
    let cookie = browser.cookie.clone().unwrap().split_once('=').unwrap().1.to_owned();
    let csrf = browser.csrf.clone().unwrap();
    let wrong = "another unlikely passphrase";
    let sign_in = |password: &str| json!({ "email": "ada@example.com", "password": password });

    // Mistakes with a secret in the wrong place.
    let mut answers = vec![
        app.post("/v1/keys", json!({ "name": "k", "environment": key })).send().await.text,
        app.post("/v1/keys", json!({ "name": "k", "environment": "live", "expires_at": key })).send().await.text,
        app.post("/v1/keys", json!({ "name": "k", "environment": "live", "scopes": key })).send().await.text,
        app.post("/v1/verify", json!({ "key": [key] })).send().await.text,
        app.post("/v1/enrol", json!({ "token": edge })).without_token().send().await.text,
        app.get("/v1/keys").token(&key).send().await.text,
        app.get(&format!("/v1/keys/{key}")).send().await.text,
        app.get(&format!("/v1/keys?state={key}")).send().await.text,
        app.get("/v1/audit?limit=200").send().await.text,
        app.get("/v1/tokens").send().await.text,
        app.post("/v1/session", sign_in(wrong)).without_token().send().await.text,
        app.post("/v1/session", json!({ "email": password, "password": [password] })).without_token().send().await.text,
        app.post("/v1/session", json!({ "email": "x", "password": password, "totp": password })).send().await.text,
        app.post("/v1/invites/accept", json!({ "code": wrong, "password": 7 })).without_token().send().await.text,
        browser.post("/v1/session/totp/confirm", json!({ "code": password })).await.text,
        browser.get("/v1/sessions").await.text,
        browser.get(&format!("/v1/session/oidc/callback?code={password}&state={cookie}")).await.text,
        app.get("/metrics").send().await.text,
    ];
    let bad_line = json!({ "key": key, "name": "i", "environment": key });
    answers.push(format!("{:?}", app.client.import_keys(ImportOptions::default(), bad_line.to_string().into()).await));
    let token = app.token.clone();
    let directory = app.data.path().join("data");
    app.server.publisher().flush().await.unwrap();
    let mut files = Vec::new();
    collect(&directory, &mut files);
    app.server.stop(std::time::Duration::from_secs(5)).await;
    collect(&directory, &mut files);

    let log = log.0.lock().unwrap().clone();
    assert!(log.len() > 10_000, "the log was captured");
    for (name, secret) in [
        ("the enrolment token", &enrolment),
        ("a management token", &token),
        ("a key", &key),
        ("a successor", &successor),
        ("an edge token", &edge),
        ("an invitation", &invitation),
        ("a password", &password.to_owned()),
        ("a wrong password", &wrong.to_owned()),
        ("a session", &first_cookie),
        ("a session that stepped up", &cookie),
        ("a CSRF token", &csrf),
        ("an authenticator", &totp),
        ("an imported key", &imported.to_owned()),
        ("an idempotency key", &"raw-idempotency-key".to_owned()),
    ] {
        // The public prefix may appear; what follows must not.
        let hidden =
            if secret.len() == 51 || secret.len() == 52 { &secret[secret.len() - 33..] } else { secret.as_str() };
        assert!(!contains(&log, hidden), "{name} is in the log");
        for answer in &answers {
            assert!(!answer.contains(hidden), "{name} is in {answer}");
        }
        for (path, bytes) in &files {
            assert!(!contains(bytes, hidden), "{name} is in {path}");
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Every file of the data directory but the secrets' own.
fn collect(directory: &std::path::Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("secrets") {
            collect(&path, files);
        } else if path.is_file() {
            files.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
}
