//! Behind a real nginx, configured by the sidecar's own example: clients see the gate's own answers.

use anyhow::{Context as _, Result, ensure};
use nightlatch_keyset::Status;
use nightlatch_tests::caller::Caller;
use nightlatch_tests::clock::now_ms;
use nightlatch_tests::nginx::Nginx;
use nightlatch_tests::port::Port;
use nightlatch_tests::published::Key;
use nightlatch_tests::wait::eventually;
use nightlatch_tests::workerd::repository_root;
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::forwarding::verify;
use crate::stand::{SOON, Stand};

async fn start() -> Result<(Stand, Nginx, Caller)> {
    let configure = |config: nightlatch_tests::sidecar::SidecarConfig| {
        config.setting("mode", "auth_request").number("wait_ms", 300)
    };
    let stand = Stand::start(|_| Ok(()), configure).await?;
    let nginx = Nginx::start(&stand.sidecar.address(), &stand.origin.address().to_string()).await?;
    let caller = Caller::new(&nginx.url())?;
    eventually("nginx lets the key through", SOON, async || {
        caller.get("/status", stand.key.expose()).await?.allowed().with_context(|| nginx.log())
    })
    .await?;
    Ok((stand, nginx, caller))
}

/// Sends a target byte for byte, and gives the status.
async fn raw(nginx: &Nginx, target: &str, secret: &str) -> Result<u16> {
    let mut stream = TcpStream::connect(nginx.url().trim_start_matches("http://")).await?;
    let head =
        format!("GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    answer.split(' ').nth(1).context("no status")?.parse().context("a status is a number")
}

#[tokio::test]
async fn what_passes_reaches_the_origin_with_its_identity() -> Result<()> {
    let (stand, nginx, caller) = start().await?;
    let secret = stand.key.expose();
    let http = reqwest::Client::new();
    let request = http
        .post(format!("{}/any/%74hing?a='1'", nginx.url()))
        .bearer_auth(secret)
        .header("x-nightlatch-principal", "prn_0")
        .header("x_nightlatch_key_id", "key_forged")
        .header("x-original-uri", "/status")
        .header("x-nightlatch-explain", "1")
        .body("a body");
    request.send().await?.error_for_status()?;
    let received = stand.origin.received().pop().context("the origin received nothing")?;
    ensure!((received.method.as_str(), received.target.as_str()) == ("POST", "/any/thing?a=%271%27"), "{received:?}");
    ensure!(received.body == b"a body");
    ensure!(received.header("x-nightlatch-key-id") == format!("key_{}", stand.key.parts().id()));
    ensure!(!format!("{:?}", received.headers).contains(secret), "{:?}", received.headers);
    verify(&received)?;

    // An authorization that is no key of ours is the origin's, where the key comes by the query.
    let request = http.get(format!("{}/query?api_key={secret}&b=2", nginx.url())).header("authorization", "Basic eDp5");
    request.send().await?.error_for_status()?;
    let received = stand.origin.received().pop().context("the origin received nothing")?;
    ensure!(received.header("authorization") == "Basic eDp5" && received.target == "/query?b=2", "{received:?}");

    let head = caller.send(Method::HEAD, "/status", Some(secret)).await?;
    ensure!(head.status == 200);
    Ok(())
}

/// The example's log tells who asked for what, and keeps to itself with what.
#[tokio::test]
async fn the_examples_log_has_no_keys() -> Result<()> {
    let (stand, _nginx, _caller) = start().await?;
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("access.log");
    let port = Port::reserve()?;
    let servers = std::fs::read_to_string(repository_root().join("edge/sidecar/examples/nginx.conf"))?
        .replace("127.0.0.1:8088", &stand.sidecar.address())
        .replace("127.0.0.1:3000", &stand.origin.address().to_string())
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", port.number()))
        .replace("syslog:server=unix:/dev/log", &log.display().to_string());
    let nginx = Nginx::start_with(&servers, port, &[]).await?;
    let secret = stand.key.expose();
    for path in ["/query", "/nowhere"] {
        let asked = reqwest::Client::new().get(format!("{}{path}?api_key={secret}", nginx.url()));
        asked.header("referer", format!("https://app.example/?api_key={secret}")).send().await?;
    }
    let text = eventually("both are logged", SOON, async || {
        let text = std::fs::read_to_string(&log)?;
        ensure!(text.lines().count() == 2, "{text}");
        Ok(text)
    })
    .await?;
    ensure!(text.contains("GET /query 200") && text.contains("GET /nowhere 404"), "{text}");
    ensure!(text.contains("route_not_found") && text.contains(&format!("key_{}", stand.key.parts().id())), "{text}");
    ensure!(!text.contains(secret) && !text.contains("api_key"), "{text}");
    Ok(())
}

/// nginx itself knows yes, 401, 403 and 500. Clients see what the gate says.
#[tokio::test]
async fn refusals_keep_status_challenge_and_problem() -> Result<()> {
    let (mut stand, nginx, caller) = start().await?;
    let revoked = stand.set.issue(Key::default().status(Status::Revoked));
    stand.publish()?;
    eventually("the revocation arrives", SOON, async || {
        caller.get("/status", revoked.expose()).await?.refused("key_revoked")
    })
    .await?;
    let before = stand.origin.received().len();
    let secret = stand.key.expose();

    let answer = caller.send(Method::GET, "/status", None).await?.refused("key_missing")?;
    ensure!(answer.header("www-authenticate") == "Bearer realm=\"test\"", "{:?}", answer.headers);
    ensure!(answer.header("content-type") == "application/problem+json", "{:?}", answer.headers);
    ensure!(answer.header("cache-control") == "no-store");
    let answer = caller.get("/status", revoked.expose()).await?.refused("key_revoked")?;
    ensure!(answer.header("www-authenticate").contains("error=\"invalid_token\""));
    let answer = caller.get("/admin", secret).await?.expect(403, Some("scope_insufficient"))?;
    ensure!(answer.header("www-authenticate").contains("scope=\"admin:all\""), "{:?}", answer.headers);
    caller.get("/nowhere", secret).await?.expect(404, Some("route_not_found"))?;
    caller.get("/any//twice", secret).await?.expect(400, Some("path_ambiguous"))?;
    caller.get("/status", &"x".repeat(5_000)).await?.expect(431, Some("credential_too_large"))?;
    caller.send(Method::POST, "/status", Some(secret)).await?.expect(404, Some("route_not_found"))?;
    // As no client library would send them.
    for target in ["/any/%2e%2e/status", "/any/../status", "/any/%2Fstatus", "/any/%c0%af", "/any/a%0d%0ab"] {
        let status = raw(&nginx, target, secret).await?;
        ensure!(status == 400, "{status} for {target}");
    }
    let answer = caller.send(Method::HEAD, "/nowhere", Some(secret)).await?;
    ensure!(answer.status == 404 && answer.body.is_empty());
    // What nginx could not end in time does not come about, whatever the route says.
    let upgrade = reqwest::Client::new()
        .get(format!("{}/aged/socket", nginx.url()))
        .bearer_auth(secret)
        .header("connection", "upgrade")
        .header("upgrade", "echo");
    ensure!(upgrade.send().await?.status() == 501);
    // A large body that is not wanted is not read by anybody.
    let body = reqwest::Client::new().post(format!("{}/invoices", nginx.url())).body(vec![0; 500_000]).send().await?;
    ensure!(body.status() == 401);
    ensure!(stand.origin.received().len() == before, "{:?}", stand.origin.received().last());
    Ok(())
}

/// A set that ran out is 503 with `Retry-After`, never a 401; a sidecar that is away lets nothing pass.
#[tokio::test]
async fn without_data_it_is_closed() -> Result<()> {
    let (mut stand, _nginx, caller) = start().await?;
    stand.set.renew(1_500);
    stand.source.take(&stand.set);
    stand.kept().await?;
    stand.source.state().failing = Some(503);
    let end = stand.set.head.valid_until;
    eventually("the set has run out", SOON, async || {
        ensure!(now_ms() > end);
        Ok(())
    })
    .await?;
    let answer = caller.get("/status", stand.key.expose()).await?.expect(503, Some("set_stale"))?;
    ensure!(answer.header("retry-after") == "2", "{:?}", answer.headers);
    stand.source.state().failing = None;
    stand.set.renew(60_000);
    stand.source.take(&stand.set);
    eventually("it serves again", SOON, async || caller.get("/status", stand.key.expose()).await?.allowed()).await?;

    stand.sidecar.kill()?;
    let before = stand.origin.received().len();
    let answer = caller.get("/status", stand.key.expose()).await?;
    ensure!(answer.status == 502, "{answer:?}");
    ensure!(stand.origin.received().len() == before);
    stand.sidecar.restart().await?;
    eventually("it serves again", SOON, async || caller.get("/status", stand.key.expose()).await?.allowed()).await?;
    Ok(())
}

#[tokio::test]
async fn a_retiring_key_is_announced() -> Result<()> {
    let (mut stand, _nginx, caller) = start().await?;
    let key = stand.key.clone();
    let deadline = now_ms() / 1_000 + 600;
    stand.set.change(&key, |key| (key.status, key.deadline) = (Status::Retiring, Some(deadline)))?;
    stand.publish()?;
    eventually("callers learn it in band", SOON, async || {
        let answer = caller.get("/status", key.expose()).await?.allowed()?;
        ensure!(answer.header("deprecation") == format!("@{deadline}"), "{:?}", answer.headers);
        ensure!(!answer.header("sunset").is_empty() && answer.header("link").contains("example.com/rotate"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_preflight_passes_as_nobody() -> Result<()> {
    let (stand, nginx, _caller) = start().await?;
    let preflight = reqwest::Client::new()
        .request(Method::OPTIONS, format!("{}/browser", nginx.url()))
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST");
    preflight.send().await?.error_for_status()?;
    let received = stand.origin.received().pop().context("the origin received nothing")?;
    ensure!(received.method == "OPTIONS" && received.header("x-nightlatch-key-id").is_empty(), "{received:?}");
    Ok(())
}

/// Without the two headers the sidecar cannot know what is asked for, and says so.
#[tokio::test]
async fn a_proxy_that_tells_nothing_is_told_so() -> Result<()> {
    let (stand, _nginx, _caller) = start().await?;
    let answer = stand.caller.get("/status", stand.key.expose()).await?;
    ensure!(answer.status == 500 && answer.body.contains("X-Original-URI"), "{answer:?}");
    Ok(())
}
