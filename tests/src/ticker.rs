//! An origin whose answers have no end: what a connection that outlives its key is made of.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Between two pieces of an answer.
const PACE: Duration = Duration::from_millis(50);

/// A running origin. It answers GET with a body that goes on for ever, POST when the request's body has ended, and a
/// WebSocket with what it is sent. It stops when dropped.
pub struct Ticker {
    url: String,
    open: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Ticker {
    /// Starts one on a free loopback port.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let open = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&open);
        let server = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    count.fetch_add(1, Ordering::Relaxed);
                    // However it ends, it has ended.
                    let _ = answer(connection).await;
                    count.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Ok(Self { url, open, server })
    }

    /// Its base URL, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(mut connection: TcpStream) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    if let Some(key) = key {
        return echo(connection, key).await;
    }
    if head.starts_with("POST") {
        let mut last = [0; 5];
        while last != *b"0\r\n\r\n" {
            last.rotate_left(1);
            last[4] = connection.read_u8().await.context("the body has no end")?;
        }
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
        return Ok(());
    }
    connection.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
    loop {
        connection.write_all(b"5\r\ntick\n\r\n").await?;
        sleep(PACE).await;
    }
}

async fn echo(mut connection: TcpStream, key: &str) -> Result<()> {
    let accept = derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).await?;
    let mut socket = WebSocketStream::from_raw_socket(connection, Role::Server, None).await;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}
