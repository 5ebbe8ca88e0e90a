//! The walk: issue, pass, rotate under traffic, revoke, be refused.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nightlatch_api::{Environment, IssueKey, RevokeKey, RotationOrder, StartRotation};
use reqwest::{Client, Method, Response};
use serde_json::Value;
use tokio::time::sleep;

use super::stack::Stack;
use super::traffic::{PACE, Traffic};
use super::{now, say, tell};

/// How long anything in the walk may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the walk looks.
const LOOK: Duration = Duration::from_millis(10);

/// Walks through what the product is for, saying what happens and how long it takes.
///
/// # Errors
/// The first step that did not go as it should.
pub(super) async fn walk(stack: &Stack) -> Result<()> {
    let http = Client::builder().timeout(PATIENCE).build()?;
    let status = format!("{}/status", stack.edge());
    let invoices = format!("{}/invoices", stack.edge());

    say("No key, and a key that nobody issued");
    let answer = http.get(&status).send().await?;
    report("GET /status without a key", answer, 401, "key_missing").await?;
    let answer = http.get(&status).bearer_auth("nl_live_not_a_key").send().await?;
    report("GET /status with nonsense", answer, 401, "key_invalid").await?;

    say("Issuing a key with the scope invoices:read");
    let request = IssueKey { scopes: vec!["invoices:read".into()], ..IssueKey::new("billing", Environment::Live) };
    let first = stack.client().issue_key(&request).await?;
    tell(&format!("{} (the secret is shown once; only its digest is kept)", first.key.prefix));
    let took = wait_for(&http, &status, first.secret.expose(), 200).await?;
    tell(&format!("the edge accepts it {} ms after the answer", took.as_millis()));
    let answer = http.get(&invoices).bearer_auth(first.secret.expose()).send().await?;
    report("GET /invoices", answer, 200, "").await?;
    let answer = http.request(Method::POST, &invoices).bearer_auth(first.secret.expose()).send().await?;
    report("POST /invoices", answer, 403, "scope_insufficient").await?;

    say(&format!("Rotating it while a client sends {PACE} requests a second"));
    let traffic = Traffic::start(invoices.clone(), first.secret.expose());
    let request = StartRotation {
        overlap_seconds: Some(60),
        reason: "scheduled".into(),
        name: None,
        scopes: None,
        order: RotationOrder::IssueFirst,
        dry_run: false,
        acknowledge_sensitive: false,
        expires_at: None,
    };
    let rotation = stack.client().start_rotation(&first.key.id, &request).await?;
    let deadline = rotation.rotation.deadline.map_or_else(|| "now".to_owned(), |deadline| deadline.to_string());
    tell(&format!("successor {}, both work until {deadline}", rotation.key.prefix));
    let until_usable = Duration::try_from(rotation.key.usable_from.duration_since(now())).unwrap_or_default();
    tell(&format!("it is sure to work everywhere in {:.1} s; the client waits for that", until_usable.as_secs_f64()));
    sleep(until_usable).await;
    traffic.switch(rotation.secret.expose());
    tell("the client has switched to the successor");
    sleep(Duration::from_secs(1)).await;

    say("Revoking the predecessor");
    let revoked = stack.client().revoke_key(&first.key.id, &RevokeKey::new("rotated")).await?;
    let took = wait_for(&http, &status, first.secret.expose(), 401).await?;
    tell(&format!(
        "refused at the edge {} ms after the answer, which promised {}",
        took.as_millis(),
        revoked.in_force_by
    ));
    let answer = http.get(&status).bearer_auth(first.secret.expose()).send().await?;
    report("GET /status with the predecessor", answer, 401, "key_revoked").await?;
    let count = traffic.stop().await?;
    tell(&format!("the client's requests: {} passed, {} failed", count.passed, count.failed));
    ensure!(count.failed == 0, "{} requests failed during a planned rotation", count.failed);

    say("A leak: revoking the successor, with nothing to replace it");
    let revoked = stack.client().revoke_key(&rotation.key.id, &RevokeKey::new("leaked")).await?;
    let took = wait_for(&http, &status, rotation.secret.expose(), 401).await?;
    tell(&format!(
        "refused at the edge {} ms after the answer, which promised {}",
        took.as_millis(),
        revoked.in_force_by
    ));
    Ok(())
}

/// Calls until the edge answers with `wanted`, and says how long that took.
async fn wait_for(http: &Client, url: &str, secret: &str, wanted: u16) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let status = http.get(url).bearer_auth(secret).send().await?.status();
        if status == wanted {
            return Ok(start.elapsed());
        }
        if start.elapsed() > PATIENCE {
            bail!("the edge still answers {status} instead of {wanted}");
        }
        sleep(LOOK).await;
    }
}

/// Says how a request was answered, and checks it.
async fn report(what: &str, answer: Response, status: u16, code: &str) -> Result<()> {
    let got = answer.status();
    let problem: Value = answer.json().await.unwrap_or_default();
    let found = problem["code"].as_str().unwrap_or_default();
    tell(&format!("{what} → {got} {found}"));
    ensure!(got == status && found == code, "{what}: expected {status} {code}");
    Ok(())
}
