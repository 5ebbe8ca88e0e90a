//! Bodies and upgraded connections: they stream, and end at their route's age, whatever has become of the set.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::stand::{AGE, SOON, Stand};

/// An origin that never comes to an end by itself: `/…/down` streams, `/…/flood` does so as fast as it can, `/…/up`
/// listens, `/…/socket` echoes.
struct Endless {
    url: String,
    /// Bytes of bodies, as they come or go.
    moved: mpsc::UnboundedReceiver<usize>,
    server: JoinHandle<()>,
}

impl Endless {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (sender, moved) = mpsc::unbounded_channel();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, sender.clone()));
            }
        });
        Ok(Self { url, moved, server })
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Serves one connection until it breaks, which every one does.
async fn serve(mut stream: TcpStream, moved: mpsc::UnboundedSender<usize>) -> Result<()> {
    let head = read_head(&mut stream).await?;
    if head.contains("/down") {
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
        loop {
            stream.write_all(b"4\r\ntick\r\n").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    if head.contains("/flood") {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        loop {
            stream.write_all(&[0; 65_536]).await?;
            let _ = moved.send(65_536);
        }
    }
    if head.contains("/socket") {
        ensure!(head.to_lowercase().contains("\r\nupgrade: websocket"), "{head}");
        let switching = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(switching).await?;
    }
    let mut bytes = [0; 65_536];
    loop {
        let count = stream.read(&mut bytes).await?;
        ensure!(count > 0, "the other side has ended");
        let _ = moved.send(count);
        if head.contains("/socket") {
            stream.write_all(&bytes[..count]).await?;
        }
    }
}

async fn read_head(stream: &mut TcpStream) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.context("no head")?);
    }
    Ok(String::from_utf8(head)?)
}

/// A sidecar before an endless origin, its source out of reach.
async fn partitioned() -> Result<(Stand, Endless)> {
    let origin = Endless::start().await?;
    let url = origin.url.clone();
    let stand = Stand::start(|_| Ok(()), |config| config.setting("origin", url)).await?;
    stand.kept().await?;
    stand.source.state().failing = Some(503);
    Ok((stand, origin))
}

async fn send(stand: &Stand, head: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(stand.sidecar.address()).await?;
    let head = format!("{head}\r\nhost: api\r\nauthorization: Bearer {}\r\n\r\n", stand.key.expose());
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

/// Reads until the connection is ended, and says what came and how long it took.
async fn until_ended(stream: &mut TcpStream, since: Instant) -> Result<(Vec<u8>, Duration)> {
    let mut all = Vec::new();
    let mut bytes = [0; 65_536];
    timeout(SOON, async {
        // Reset or closed: both are an end.
        while let Ok(count) = stream.read(&mut bytes).await
            && count > 0
        {
            all.extend_from_slice(&bytes[..count]);
        }
    })
    .await
    .context("the connection goes on")?;
    Ok((all, since.elapsed()))
}

fn age() -> Duration {
    Duration::from_secs(AGE.into())
}

#[tokio::test]
async fn a_streamed_answer_ends_at_its_routes_age() -> Result<()> {
    let (stand, _origin) = partitioned().await?;
    let start = Instant::now();
    let mut stream = send(&stand, "GET /aged/down HTTP/1.1").await?;
    let (body, took) = until_ended(&mut stream, start).await?;
    let text = String::from_utf8(body)?;
    ensure!(text.starts_with("HTTP/1.1 200") && text.matches("tick").count() > 5, "{text}");
    // Cut off, not ended: the client must not take it for the whole.
    ensure!(!text.ends_with("0\r\n\r\n") && took >= age(), "{took:?}");
    stand.sidecar.logged("was ended by its route's max_connection_age").await?;
    ensure!(stand.sidecar.metric("nightlatch_sidecar_connections_ended_by_age_total").await? == 1.0);
    Ok(())
}

#[tokio::test]
async fn an_answer_without_an_age_goes_on() -> Result<()> {
    let (stand, _origin) = partitioned().await?;
    let mut stream = send(&stand, "GET /any/down HTTP/1.1").await?;
    let mut bytes = [0; 4_096];
    let start = Instant::now();
    while start.elapsed() < 2 * age() {
        ensure!(timeout(SOON, stream.read(&mut bytes)).await?? > 0, "it was ended");
    }
    Ok(())
}

#[tokio::test]
async fn a_request_body_ends_at_its_routes_age() -> Result<()> {
    let (stand, mut origin) = partitioned().await?;
    let start = Instant::now();
    let mut stream = send(&stand, "POST /aged/up HTTP/1.1\r\ntransfer-encoding: chunked").await?;
    stream.write_all(b"5\r\nfirst\r\n").await?;
    // It streams: the origin has the first part while the client still sends.
    timeout(SOON, origin.moved.recv()).await?.context("the origin receives")?;
    let (mut reading, mut writing) = stream.into_split();
    let sending = tokio::spawn(async move {
        while writing.write_all(b"4\r\nmore\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut bytes = Vec::new();
    let _ = timeout(SOON, reading.read_to_end(&mut bytes)).await.context("the connection goes on")?;
    ensure!(start.elapsed() >= age() && bytes.is_empty(), "{:?}", String::from_utf8(bytes));
    timeout(SOON, sending).await.context("the client can still send")??;
    Ok(())
}

#[tokio::test]
async fn an_upgraded_connection_ends_at_its_routes_age() -> Result<()> {
    let (stand, _origin) = partitioned().await?;
    let start = Instant::now();
    let mut stream = send(&stand, "GET /aged/socket HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket").await?;
    let head = timeout(SOON, read_head(&mut stream)).await??;
    ensure!(head.starts_with("HTTP/1.1 101") && head.to_lowercase().contains("upgrade: websocket"), "{head}");
    stream.write_all(b"hello").await?;
    let mut echo = [0; 5];
    timeout(SOON, stream.read_exact(&mut echo)).await??;
    ensure!(&echo == b"hello");
    let (_, took) = until_ended(&mut stream, start).await?;
    ensure!(took >= age(), "{took:?}");
    stand.sidecar.logged("was ended by its route's max_connection_age").await
}

#[tokio::test]
async fn routes_without_an_age_let_nothing_be_upgraded() -> Result<()> {
    let (stand, _origin) = partitioned().await?;
    let mut stream = send(&stand, "GET /any/socket HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket").await?;
    let head = timeout(SOON, read_head(&mut stream)).await??;
    ensure!(head.starts_with("HTTP/1.1 501"), "{head}");
    Ok(())
}

/// Through any other protocol, a caller could speak to the origin without being judged: as whom, and of which path, it
/// likes.
#[tokio::test]
async fn nothing_but_a_websocket_is_tunnelled() -> Result<()> {
    let (stand, _origin) = partitioned().await?;
    for (method, upgrade) in [
        ("GET", "upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__"),
        ("GET", "upgrade: echo"),
        ("GET", "upgrade: websocket, h2c"),
        ("GET", "upgrade: websocket\r\nupgrade: h2c"),
        ("POST", "upgrade: websocket"),
    ] {
        let mut stream =
            send(&stand, &format!("{method} /aged/socket HTTP/1.1\r\nconnection: upgrade\r\n{upgrade}")).await?;
        let head = timeout(SOON, read_head(&mut stream)).await??;
        ensure!(head.starts_with("HTTP/1.1 501"), "{method} {upgrade}: {head}");
    }
    Ok(())
}

/// Trailers are fields too: a caller's say nothing to the origin, about who calls least of all.
#[tokio::test]
async fn trailers_stay_behind() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let stand = Stand::start(|_| Ok(()), |config| config.setting("origin", url)).await?;
    stand.kept().await?;
    let head = "POST /any/thing HTTP/1.1\r\ntransfer-encoding: chunked\r\ntrailer: x-nightlatch-principal, x-kept";
    let mut client = send(&stand, head).await?;
    client.write_all(b"4\r\nbody\r\n0\r\nx-nightlatch-principal: prn_0\r\nx-kept: 1\r\n\r\n").await?;
    let (mut origin, _) = timeout(SOON, listener.accept()).await??;
    let mut received = read_head(&mut origin).await?.to_lowercase();
    ensure!(!received.contains("trailer"), "{received}");
    let mut body = Vec::new();
    while !body.ends_with(b"0\r\n\r\n") {
        body.push(
            timeout(SOON, origin.read_u8()).await?.with_context(|| format!("{:?}", String::from_utf8_lossy(&body)))?,
        );
        ensure!(!body.windows(7).any(|bytes| bytes == b"x-kept:"), "{:?}", String::from_utf8_lossy(&body));
    }
    received.push_str(&String::from_utf8(body)?);
    ensure!(received.contains("body") && !received.contains("prn_0"), "{received}");
    let answer =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-late\r\n\r\n2\r\nok\r\n0\r\nx-late: 1\r\n\r\n";
    origin.write_all(answer).await?;
    let mut received = Vec::new();
    while !received.ends_with(b"0\r\n\r\n") {
        received.push(timeout(SOON, client.read_u8()).await??);
    }
    ensure!(!String::from_utf8(received)?.contains("late"));
    Ok(())
}

/// A client that does not read holds the origin back; nothing is piled up in between.
#[tokio::test]
async fn a_slow_side_holds_the_other_back() -> Result<()> {
    let (stand, mut origin) = partitioned().await?;
    let mut stream = send(&stand, "GET /any/flood HTTP/1.1").await?;
    let mut sent = 0;
    while let Ok(Some(count)) = timeout(Duration::from_secs(2), origin.moved.recv()).await {
        sent += count;
        ensure!(sent < 64 << 20, "{sent} bytes lie somewhere in between");
    }
    // It reads on, and so does the origin send.
    let mut bytes = vec![0; sent];
    timeout(SOON, stream.read_exact(&mut bytes)).await??;
    timeout(SOON, origin.moved.recv()).await?.context("the origin sends on")?;
    Ok(())
}
