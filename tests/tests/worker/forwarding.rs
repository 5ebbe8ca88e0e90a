//! What the origin receives, and what comes back from it.

use anyhow::{Context as _, Result};
use nightlatch_gate::headers::Identity;
use nightlatch_gate::headers::signature::{OriginKey, verify_signature};
use nightlatch_key::KeyText;
use nightlatch_keyset::Status;
use nightlatch_tests::caller::Caller;
use nightlatch_tests::clock::now_ms;
use nightlatch_tests::origin::Received;
use nightlatch_tests::published::{Key, PublishedSet};
use nightlatch_tests::workerd::WorkerConfig;
use reqwest::{Method, RequestBuilder};

use crate::stand::{ORIGIN_KEY, Stand};

async fn start(configure: impl FnOnce(WorkerConfig) -> WorkerConfig) -> Result<(Stand, KeyText)> {
    let mut key = None;
    let prepare = |set: &mut PublishedSet| {
        key = Some(set.issue(Key::with_scopes(&["invoices:read", "invoices:write"])));
        set.publish()
    };
    let stand = Stand::start(prepare, configure).await?;
    Ok((stand, key.context("prepared above")?))
}

impl Stand {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let policy = reqwest::redirect::Policy::none();
        let http = reqwest::Client::builder().redirect(policy).build().unwrap_or_default();
        http.request(method, format!("{}{path}", self.worker.url()))
    }

    fn last_received(&self) -> Result<Received> {
        self.origin.received().pop().context("the origin received nothing")
    }
}

/// Checks the signature as an origin does.
fn verify(received: &Received) -> Result<()> {
    let key = OriginKey::new(ORIGIN_KEY.as_bytes()).context("a key")?;
    let identity = Identity {
        key_id: received.header("x-nightlatch-key-id").to_owned(),
        principal: received.header("x-nightlatch-principal").to_owned(),
        workspace: received.header("x-nightlatch-workspace").to_owned(),
        scopes: received.header("x-nightlatch-scopes").to_owned(),
    };
    let value = received.header("x-nightlatch-signature");
    verify_signature(&key, value, now_ms() / 1_000, &received.method, &received.target, &identity)
        .with_context(|| format!("{value}, {received:?}"))
}

#[tokio::test]
async fn the_origin_learns_who_calls_and_can_check_it() -> Result<()> {
    let (stand, key) = start(|config| config).await?;
    let secret = key.expose();

    stand.request(Method::GET, "/invoices?page=2").bearer_auth(secret).send().await?.error_for_status()?;
    let received = stand.last_received()?;
    assert_eq!(received.header("x-nightlatch-key-id"), format!("key_{}", key.parts().id()));
    assert_eq!(received.header("x-nightlatch-principal"), "prn_1");
    assert_eq!(received.header("x-nightlatch-workspace"), "ws_0123456789");
    assert_eq!(received.header("x-nightlatch-scopes"), "invoices:read invoices:write");
    assert_eq!((received.method.as_str(), received.target.as_str()), ("GET", "/invoices?page=2"));
    verify(&received)?;

    // What a client writes into these fields goes no further, in whatever spelling; nor does the key.
    let forged = stand
        .request(Method::GET, "/any/thing")
        .header("x-api-key", secret)
        .header("authorization", format!("Bearer {secret}"))
        .header("X-Nightlatch-Key-Id", "key_forged")
        .header("X_Nightlatch_Principal", "prn_0")
        .header("x-nightlatch-more", "x")
        .header("x_api_key", secret)
        .header("connection", "x-hop, keep-alive")
        .header("x-hop", "for the Worker only")
        .header("x-kept", "yes");
    forged.send().await?.error_for_status()?;
    let received = stand.last_received()?;
    assert_eq!(received.header("x-nightlatch-key-id"), format!("key_{}", key.parts().id()));
    for name in ["authorization", "x-api-key", "x_api_key", "x_nightlatch_principal", "x-nightlatch-more", "x-hop"] {
        assert_eq!(received.header(name), "", "{name}");
    }
    assert_eq!(received.header("x-kept"), "yes");
    assert!(!format!("{received:?}").contains(secret), "the key reached the origin");
    verify(&received)?;

    // Other schemes of Authorization are the origin's.
    let basic = stand.request(Method::GET, "/status").header("x-api-key", secret).header("authorization", "Basic eDp5");
    basic.send().await?.error_for_status()?;
    assert_eq!(stand.last_received()?.header("authorization"), "Basic eDp5");

    // The canonical path is what is matched, signed and sent; a key in the query is taken out.
    stand.request(Method::GET, "/%71uery?a='%27\"&api_key=&b=%2f..//").bearer_auth(secret).send().await?;
    let received = stand.last_received()?;
    assert_eq!(received.target, "/query?a=%27%27%22&b=%2f..//");
    verify(&received)?;
    stand.request(Method::GET, &format!("/query?api_key={secret}&c")).send().await?.error_for_status()?;
    let received = stand.last_received()?;
    assert_eq!(received.target, "/query?c");
    verify(&received)
}

#[tokio::test]
async fn bodies_and_answers_pass_untouched() -> Result<()> {
    let (stand, key) = start(|config| config).await?;
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let post = stand.request(Method::POST, "/invoices").bearer_auth(key.expose()).body(body.clone());
    let answer: serde_json::Value = post.send().await?.error_for_status()?.json().await?;
    assert_eq!(answer["method"], "POST");
    let received = stand.last_received()?;
    assert!(received.body == body, "{} bytes of {}", received.body.len(), body.len());
    verify(&received)?;

    let redirect = stand.request(Method::GET, "/redirect").bearer_auth(key.expose()).send().await?;
    assert_eq!((redirect.status().as_u16(), &redirect.headers()["location"]), (302, &"/elsewhere".parse()?));
    assert_eq!(stand.origin.received().len(), 2);

    let head = stand.request(Method::HEAD, "/status").bearer_auth(key.expose()).send().await?;
    assert_eq!(head.status(), 200);
    let head = stand.request(Method::HEAD, "/status").send().await?;
    assert_eq!((head.status().as_u16(), head.text().await?.len()), (401, 0));
    Ok(())
}

#[tokio::test]
async fn requests_the_gate_does_not_understand_go_no_further() -> Result<()> {
    let (stand, key) = start(|config| config).await?;
    let secret = key.expose();
    let code = async |request: RequestBuilder| -> Result<(u16, String)> {
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let problem: serde_json::Value = answer.json().await?;
        Ok((status, problem["code"].as_str().unwrap_or_default().to_owned()))
    };
    let conflict = stand.request(Method::GET, "/status").bearer_auth(secret).header("x-api-key", "another");
    assert_eq!(code(conflict).await?, (401, "key_conflict".into()));
    let twice = stand.request(Method::GET, "/status").bearer_auth(secret).bearer_auth(secret);
    assert_eq!(code(twice).await?, (401, "key_invalid".into()));
    let long = stand.request(Method::GET, "/status").header("x-api-key", "x".repeat(5_000));
    assert_eq!(code(long).await?, (431, "credential_too_large".into()));
    let upgrade = stand
        .request(Method::GET, "/status")
        .bearer_auth(secret)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(code(upgrade).await?, (501, "upgrade_unsupported".into()));
    assert!(stand.origin.received().is_empty());
    Ok(())
}

#[tokio::test]
async fn preflights_pass_as_nobody_where_the_route_says() -> Result<()> {
    let (stand, _) = start(|config| config).await?;
    let preflight = |path: &str| {
        let request = stand.request(Method::OPTIONS, path).header("origin", "https://example.com");
        request.header("access-control-request-method", "POST").header("x-nightlatch-principal", "prn_9")
    };
    assert_eq!(preflight("/browser").send().await?.status(), 200);
    let received = stand.last_received()?;
    assert_eq!((received.method.as_str(), received.header("x-nightlatch-principal")), ("OPTIONS", ""));
    assert_eq!(preflight("/invoices").send().await?.status(), 404);
    assert_eq!(stand.origin.received().len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_origin_that_does_not_answer_is_502() -> Result<()> {
    let (stand, key) = start(|config| config.variable("NIGHTLATCH_ORIGIN", "http://127.0.0.1:1")).await?;
    let refused = stand.caller.get("/status", key.expose()).await?.expect(502, Some("origin_unreachable"))?;
    assert_eq!(refused.header("cache-control"), "no-store");
    stand.caller.get("/status", "nl_live_x").await?.refused("key_invalid")?;
    Ok(())
}

#[tokio::test]
async fn services_are_origins_too() -> Result<()> {
    let mut address = None;
    let (stand, key) = {
        let elsewhere = nightlatch_tests::origin::Origin::start().await?;
        let configure = |config: WorkerConfig| {
            config.service("BACKEND", elsewhere.address()).variable("NIGHTLATCH_ORIGIN", "service:BACKEND")
        };
        let started = start(configure).await?;
        address = address.or(Some(elsewhere));
        started
    };
    let elsewhere = address.context("started above")?;
    stand.caller.get("/status?x", key.expose()).await?.allowed()?;
    let received = elsewhere.received().pop().context("the service received nothing")?;
    assert_eq!(received.target, "/status?x");
    // A service sees the URL the client wrote.
    assert_eq!(format!("http://{}", received.header("host")), stand.worker.url());
    verify(&received)
}

#[tokio::test]
async fn a_verdict_alone_is_204_with_the_identity() -> Result<()> {
    let mut retiring = None;
    let now = now_ms() / 1_000;
    let prepare = |set: &mut PublishedSet| {
        retiring = Some(set.issue(Key::default().status(Status::Retiring).deadline(now + 60)));
        set.head.accepts_foreign = true;
        set.import("an old key of another system", Key::default());
        set.publish()
    };
    let stand = Stand::start(prepare, |config| config.variable("NIGHTLATCH_ORIGIN", "verdict")).await?;
    let key = retiring.context("prepared above")?;
    let answer = stand.caller.get("/status", key.expose()).await?.expect(204, None)?;
    assert_eq!(answer.header("x-nightlatch-key-id"), format!("key_{}", key.parts().id()));
    assert_eq!(answer.header("deprecation"), format!("@{}", now + 60));
    assert!(answer.header("x-nightlatch-signature").starts_with("t="));
    let answer = stand.caller.get("/status", "an old key of another system").await?.expect(204, None)?;
    assert_eq!(answer.header("x-nightlatch-key-id"), "kn_2");
    assert!(stand.origin.received().is_empty());
    Caller::new(stand.worker.url())?.get("/status", "nl_live_x").await?.refused("key_invalid")?;
    Ok(())
}
