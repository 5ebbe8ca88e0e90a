//! Push: news of a head at once; and what becomes of the Worker when whoever pushes lies, or is gone.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{SinkExt as _, StreamExt as _};
use nightlatch_key::KeyText;
use nightlatch_keyset::Status;
use nightlatch_keyset::note::Signer;
use nightlatch_tests::published::{Key, PublishedSet};
use nightlatch_tests::wait::eventually;
use nightlatch_tests::workerd::WorkerConfig;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::stand::Stand;

const SOON: Duration = Duration::from_secs(20);
const PUSH_TOKEN: &str = "a token of some length";

/// A Worker that polls every ten minutes and hears of heads by push.
async fn start(configure: impl FnOnce(WorkerConfig) -> WorkerConfig) -> Result<(Stand, KeyText)> {
    let mut key = None;
    let prepare = |set: &mut PublishedSet| {
        key = Some(set.issue(Key::default()));
        set.publish()
    };
    let stand =
        Stand::start(prepare, |config| configure(config.heads().variable("NIGHTLATCH_PUSH_TOKEN", PUSH_TOKEN))).await?;
    let key = key.context("prepared above")?;
    stand.caller.get("/status", key.expose()).await?.allowed()?;
    Ok((stand, key))
}

fn path(stand: &Stand) -> String {
    format!("/.well-known/nightlatch/push/{}", stand.set.head.set)
}

/// Posts a head and gives status and answer.
async fn post(stand: &Stand, token: &str, head: &str) -> Result<(u16, Value)> {
    let request = reqwest::Client::new().post(format!("{}{}", stand.worker.url(), path(stand)));
    let answer = request.bearer_auth(token).body(head.to_owned()).send().await?;
    Ok((answer.status().as_u16(), answer.json().await?))
}

fn revoke(stand: &mut Stand, key: &KeyText) -> Result<()> {
    stand.set.change(key, |key| key.status = Status::Revoked)?;
    stand.set.publish()?;
    stand.source.take(&stand.set);
    Ok(())
}

async fn refused_soon(stand: &Stand, key: &KeyText) -> Result<()> {
    eventually("the revoked key is refused", SOON, async || {
        stand.caller.get("/status", key.expose()).await?.refused("key_revoked")
    })
    .await
    .map(drop)
}

/// Within seconds, and without a poll: the next one is ten minutes away.
#[tokio::test]
async fn s0_08_s3_10_a_pushed_revocation_is_in_force_without_a_poll() -> Result<()> {
    let (mut stand, key) = start(|config| config.isolates(2)).await?;
    let elsewhere = nightlatch_tests::caller::Caller::new(&stand.worker.urls()[1])?;
    elsewhere.get("/status", key.expose()).await?.allowed()?;
    let asked = stand.source.state().heads_asked;
    revoke(&mut stand, &key)?;
    let (status, answer) = post(&stand, PUSH_TOKEN, &stand.set.note()).await?;
    assert_eq!((status, &answer["ok"]), (200, &Value::Bool(true)));
    refused_soon(&stand, &key).await?;
    eventually("it is refused elsewhere, too", SOON, async || {
        elsewhere.get("/status", key.expose()).await?.refused("key_revoked")
    })
    .await?;
    assert_eq!(stand.source.state().heads_asked, asked, "nobody asked for a head");
    Ok(())
}

/// The way the sync job does it: one connection, a text for each head.
#[tokio::test]
async fn heads_are_pushed_over_a_web_socket() -> Result<()> {
    let (mut stand, first) = start(|config| config).await?;
    let second = stand.set.issue(Key::default());
    let address = stand.worker.url().trim_start_matches("http://").to_owned();
    let mut request = format!("ws://{address}{}", path(&stand)).into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {PUSH_TOKEN}").parse()?);
    let (mut socket, _) = tokio_tungstenite::client_async(request, TcpStream::connect(&address).await?).await?;
    let asked = stand.source.state().heads_asked;
    for key in [&first, &second] {
        revoke(&mut stand, key)?;
        socket.send(Message::text(stand.set.note())).await?;
        let answer: Value = serde_json::from_str(socket.next().await.context("no answer")??.to_text()?)?;
        assert_eq!(answer, serde_json::json!({ "ok": true, "news": true }));
        refused_soon(&stand, key).await?;
    }
    for (sent, answered) in [("ping", "pong"), ("not a head", r#"{"ok":false,"error":"not_a_head"}"#)] {
        socket.send(Message::text(sent)).await?;
        assert_eq!(socket.next().await.context("no answer")??.to_text()?, answered);
    }
    socket.send(Message::text(stand.set.note())).await?;
    assert_eq!(socket.next().await.context("no answer")??.to_text()?, r#"{"ok":true,"news":false}"#);
    assert_eq!(stand.source.state().heads_asked, asked, "nobody asked for a head");
    socket.close(None).await?;
    Ok(())
}

/// Whoever has the push token can keep news away, and nothing else: what is not signed, old, or of others is not taken, and
/// polls go on as if there were no push.
#[tokio::test]
async fn s2_14_a_liar_who_pushes_changes_nothing() -> Result<()> {
    let (mut stand, key) = start(|config| config.variable("NIGHTLATCH_POLL_SECONDS", "1")).await?;
    let other = stand.set.issue(Key::default());
    stand.set.renew(300_000);
    let older = stand.set.note();
    revoke(&mut stand, &key)?;
    refused_soon(&stand, &key).await?;

    // A valid head of before the revocation, one with the numbers of a later one, one that a stranger has signed.
    let ahead = older.replace(&format!("\nversion {}\n", stand.set.head.version - 1), "\nversion 900000\n");
    let mut foreign = stand.set.head.clone();
    foreign.incarnation = 9;
    let stranger = Signer::new("nightlatch/set_0123456789", &[77; 32])?;
    let mut of_another_set = stand.set.head.clone();
    of_another_set.set = "set_9876543210".into();
    for (head, status) in [
        (older, 200),
        (ahead, 200),
        (foreign.sign(&stranger), 200),
        (of_another_set.sign(&PublishedSet::signer(1)?), 400),
        ("nightlatch.head/4\nnonsense".into(), 400),
        (String::new(), 400),
    ] {
        assert_eq!(post(&stand, PUSH_TOKEN, &head).await?.0, status, "{head}");
        for _ in 0..20 {
            stand.caller.get("/status", key.expose()).await?.refused("key_revoked")?;
            stand.caller.get("/status", other.expose()).await?.allowed()?;
        }
    }
    eventually("the Worker hears a lie", SOON, async || {
        stand.caller.get("/status", key.expose()).await?.refused("key_revoked")?;
        ensure!(stand.worker.log().contains("a pushed head came to nothing"), "not yet");
        Ok(())
    })
    .await?;
    assert_eq!(post(&stand, PUSH_TOKEN, &"x".repeat(20_000)).await?.0, 413);

    // The object holds on to the lie for a while; polls do not care.
    revoke(&mut stand, &other)?;
    refused_soon(&stand, &other).await
}

#[tokio::test]
async fn without_the_object_polls_go_on() -> Result<()> {
    // Bound to what is no Durable Object at all.
    let nowhere = "127.0.0.1:1".parse()?;
    let mut key = None;
    let prepare = |set: &mut PublishedSet| {
        key = Some(set.issue(Key::default()));
        set.publish()
    };
    let mut stand = Stand::start(prepare, |config| {
        let config = config.variable("NIGHTLATCH_PUSH_TOKEN", PUSH_TOKEN);
        config.service("NIGHTLATCH_HEADS", nowhere).variable("NIGHTLATCH_POLL_SECONDS", "1")
    })
    .await?;
    let key = key.context("prepared above")?;
    stand.caller.get("/status", key.expose()).await?.allowed()?;
    revoke(&mut stand, &key)?;
    let (status, problem) = post(&stand, PUSH_TOKEN, &stand.set.note()).await?;
    assert_eq!((status, problem["code"].as_str()), (503, Some("push_unavailable")));
    refused_soon(&stand, &key).await
}

#[tokio::test]
async fn nobody_pushes_without_the_token() -> Result<()> {
    let (stand, key) = start(|config| config).await?;
    for token in ["", "another token of some length", "a token of some lengt"] {
        let (status, problem) = post(&stand, token, &stand.set.note()).await?;
        assert_eq!((status, problem["code"].as_str()), (401, Some("token_invalid")));
    }
    let get = reqwest::Client::new().get(format!("{}{}", stand.worker.url(), path(&stand))).bearer_auth(PUSH_TOKEN);
    assert_eq!(get.send().await?.status(), 405);
    // No set but the Worker's own; and what merely looks alike is judged as ever.
    let url = format!("{}/.well-known/nightlatch/push/set_other", stand.worker.url());
    assert_eq!(reqwest::Client::new().post(url).bearer_auth(PUSH_TOKEN).send().await?.status(), 404);
    let alike = "/status?/.well-known/nightlatch/push/";
    stand.caller.get(alike, key.expose()).await?.allowed()?;
    stand.caller.get(alike, PUSH_TOKEN).await?.refused("key_invalid")?;
    Ok(())
}
