//! A small origin: what a Worker forwards to in tests and in the demo.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The largest request body the origin reads, in bytes.
const MAX_BODY: usize = 64 << 20;
/// How many requests the origin remembers; older ones make room, so that it can stand under load for hours.
const MAX_RECORDED: usize = 50_000;

/// A request as the origin received it.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// Path and query, as they came over the wire.
    pub target: String,
    /// All header fields.
    pub headers: HeaderMap,
    /// Bytes of the body.
    pub body: Vec<u8>,
}

impl Received {
    /// A header field as text; empty where there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

type Log = Arc<Mutex<Vec<Received>>>;

/// A running origin. Every path answers 200 with a JSON echo of method, path and the `x-nightlatch-*` fields, but
/// `/redirect`, which answers 302. It stops when dropped.
pub struct Origin {
    address: SocketAddr,
    received: Log,
    server: JoinHandle<()>,
}

impl Origin {
    /// Starts an origin on a free loopback port.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> Result<Self> {
        Self::start_at(0).await
    }

    /// Starts an origin on that loopback port; 0 picks a free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start_at(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.context("the origin's port")?;
        let address = listener.local_addr()?;
        let received = Log::default();
        let app = Router::new().fallback(echo).with_state(Arc::clone(&received));
        let server = tokio::spawn(async move {
            // Ends with the task; an accept error is retried inside.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { address, received, server })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it has received so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn echo(State(log): State<Log>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let target = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let identity: Map<String, Value> = parts
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-nightlatch-"))
        .map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap_or_default())))
        .collect();
    let answer = json!({ "method": parts.method.as_str(), "path": target, "headers": identity });
    let redirect = parts.uri.path() == "/redirect";
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    if log.len() == MAX_RECORDED {
        log.drain(..MAX_RECORDED / 2);
    }
    log.push(Received { method: parts.method.to_string(), target, headers: parts.headers, body: body.to_vec() });
    drop(log);
    if redirect {
        return (StatusCode::FOUND, [("location", "/elsewhere")]).into_response();
    }
    axum::Json(answer).into_response()
}
