//! What the origin receives, and what comes back from it.

use anyhow::{Context as _, Result, ensure};
use nightlatch_gate::headers::Identity;
use nightlatch_gate::headers::signature::{OriginKey, verify_signature};
use nightlatch_keyset::Status;
use nightlatch_tests::clock::now_ms;
use nightlatch_tests::origin::Received;
use reqwest::{Method, RequestBuilder, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::stand::{ORIGIN_KEY, Stand};

fn request(stand: &Stand, method: Method, path: &str) -> RequestBuilder {
    let policy = reqwest::redirect::Policy::none();
    let http = reqwest::Client::builder().redirect(policy).build().unwrap_or_default();
    http.request(method, format!("{}{path}", stand.sidecar.url()))
}

fn last(stand: &Stand) -> Result<Received> {
    stand.origin.received().pop().context("the origin received nothing")
}

/// Checks the signature as an origin does.
pub(crate) fn verify(received: &Received) -> Result<()> {
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
    let stand = Stand::plain().await?;
    let secret = stand.key.expose();
    request(&stand, Method::GET, "/invoices?page='2'").bearer_auth(secret).send().await?.error_for_status()?;
    let received = last(&stand)?;
    ensure!(received.header("x-nightlatch-key-id") == format!("key_{}", stand.key.parts().id()));
    ensure!(received.header("x-nightlatch-scopes") == "invoices:read invoices:write");
    ensure!(received.header("authorization").is_empty() && received.header("x-forwarded-for") == "127.0.0.1");
    verify(&received)?;

    // What a client writes into these fields goes no further, in whatever spelling; nor does the key.
    let forged = request(&stand, Method::POST, "/any/thing")
        .header("x-api-key", secret)
        .header("authorization", format!("Bearer {secret}"))
        .header("X-Nightlatch-Key-Id", "key_forged")
        .header("X_Nightlatch_Principal", "prn_0")
        .header("x_api_key", secret)
        .header("connection", "x-hop, keep-alive")
        .header("x-hop", "for the sidecar only")
        .header("x-kept", "yes")
        .body("a body");
    forged.send().await?.error_for_status()?;
    let received = last(&stand)?;
    ensure!(received.body == b"a body" && received.header("x-kept") == "yes" && received.header("x-hop").is_empty());
    ensure!(!format!("{:?}", received.headers).contains(secret), "{:?}", received.headers);
    verify(&received)?;

    // A key in the query is cut out, where a route reads it there; what is no key stays.
    let path = format!("/query?a=1&api_key={secret}&b=2");
    request(&stand, Method::GET, &path).header("authorization", "Basic eDp5").send().await?.error_for_status()?;
    let received = last(&stand)?;
    ensure!(received.target == "/query?a=1&b=2", "{}", received.target);
    verify(&received)?;

    // Escapes that mean nothing are gone before anybody decides.
    request(&stand, Method::GET, "/%73tatus").bearer_auth(secret).send().await?.error_for_status()?;
    ensure!(last(&stand)?.target == "/status");
    request(&stand, Method::GET, "/a/%2e%2e/status").bearer_auth(secret).send().await?;
    ensure!(last(&stand)?.target == "/status");
    Ok(())
}

#[tokio::test]
async fn answers_come_back_as_they_are() -> Result<()> {
    let mut stand = Stand::plain().await?;
    let answer = stand.caller.get("/any/redirect", stand.key.expose()).await?.allowed()?;
    ensure!(answer.header("deprecation").is_empty());
    let key = stand.key.clone();
    let deadline = now_ms() / 1_000 + 600;
    stand.set.change(&key, |key| (key.status, key.deadline) = (Status::Retiring, Some(deadline)))?;
    stand.publish()?;
    nightlatch_tests::wait::eventually("the key is retiring", crate::stand::SOON, async || {
        let answer = stand.caller.get("/status", key.expose()).await?.allowed()?;
        ensure!(answer.header("deprecation") == format!("@{deadline}"), "{:?}", answer.headers);
        ensure!(answer.header("link").contains("successor-version"));
        Ok(())
    })
    .await
}

/// The version of HTTP that an origin speaks goes no further: the client's connection is another.
#[tokio::test]
async fn an_old_origin_is_answered_for_in_the_version_of_today() -> Result<()> {
    let origin = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", origin.local_addr()?);
    let answering = tokio::spawn(async move {
        let (mut connection, _) = origin.accept().await?;
        let mut head = vec![0; 4096];
        let _ = connection.read(&mut head).await?;
        // Its body ends with its connection.
        connection.write_all(b"HTTP/1.0 200 OK\r\n\r\nfrom of old").await
    });
    let stand = Stand::start(|_| Ok(()), |config| config.setting("origin", url)).await?;
    let answer = request(&stand, Method::GET, "/status").bearer_auth(stand.key.expose()).send().await?;
    ensure!(answer.version() == Version::HTTP_11 && answer.status() == 200, "{answer:?}");
    ensure!(answer.text().await? == "from of old");
    answering.await??;
    Ok(())
}

#[tokio::test]
async fn an_origin_that_is_away_is_502() -> Result<()> {
    let stand = Stand::start(|_| Ok(()), |config| config.setting("origin", "http://127.0.0.1:9")).await?;
    let answer = stand.caller.get("/status", stand.key.expose()).await?;
    answer.expect(502, Some("origin_unreachable"))?;
    Ok(())
}

#[tokio::test]
async fn a_preflight_passes_as_nobody() -> Result<()> {
    let stand = Stand::plain().await?;
    let preflight = |path| {
        request(&stand, Method::OPTIONS, path)
            .header("origin", "https://app.example")
            .header("access-control-request-method", "POST")
            .header("x-nightlatch-principal", "prn_0")
    };
    preflight("/browser").send().await?.error_for_status()?;
    ensure!(last(&stand)?.header("x-nightlatch-principal").is_empty());
    ensure!(preflight("/invoices").send().await?.status() == 404);
    Ok(())
}
