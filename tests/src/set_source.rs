//! A place where edges read a set and send their reports to, with every misbehaviour a test may want.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use nightlatch_keyset::{FileName, Hash};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::published::PublishedSet;

/// What the source hands out, and what it has seen.
#[derive(Default)]
pub struct SourceState {
    /// The head; without one it answers 404.
    pub head: Option<String>,
    /// The trust note; without one it answers 404.
    pub trust: Option<String>,
    /// The deny note; without one it answers 404.
    pub deny: Option<String>,
    /// Files by name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Answers this status to everything.
    pub failing: Option<u16>,
    /// Waits before it answers.
    pub delay: Duration,
    /// The token it asks for.
    pub token: Option<String>,
    /// Times it was asked for the head.
    pub heads_asked: u32,
    /// Times it could say that the head had not changed.
    pub heads_unchanged: u32,
    /// Times it was asked for the trust note.
    pub trusts_asked: u32,
    /// Files it was asked for.
    pub files_asked: Vec<String>,
    /// Reports that arrived.
    pub reports: Vec<Value>,
}

impl SourceState {
    /// How often the index of a base was asked for, with which loading one begins.
    #[must_use]
    pub fn bases_asked(&self) -> usize {
        self.files_asked.iter().filter(|name| matches!(FileName::parse(name), Ok(FileName::Base { .. }))).count()
    }
}

type Shared = Arc<Mutex<SourceState>>;

/// A running source. It stops when dropped.
pub struct SetSource {
    url: String,
    state: Shared,
    server: JoinHandle<()>,
}

impl SetSource {
    /// Serves a set on a free loopback port.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn serve(set: &PublishedSet) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = Shared::default();
        let app = Router::new()
            .route("/sets/a/head", get(head))
            .route("/sets/a/trust", get(trust))
            .route("/sets/a/deny", get(deny))
            .route("/sets/a/files/{name}", get(file))
            .route("/reports", post(report))
            .with_state(Arc::clone(&state));
        let server = tokio::spawn(async move {
            // Ends with the task; an accept error is retried inside.
            let _ = axum::serve(listener, app).await;
        });
        let source = Self { url, state, server };
        source.take(set);
        Ok(source)
    }

    /// What `NIGHTLATCH_SOURCE` is for this source.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/sets/a", self.url)
    }

    /// What `NIGHTLATCH_REPORT_URL` is for this source.
    #[must_use]
    pub fn report_url(&self) -> String {
        format!("{}/reports", self.url)
    }

    /// Hands out the set as it is now.
    pub fn take(&self, set: &PublishedSet) {
        let mut state = self.state();
        state.head = Some(set.note());
        state.files.extend(set.files.iter().map(|(name, bytes)| (name.to_text(), bytes.clone())));
    }

    /// What it hands out and has seen; to be held for a moment only.
    pub fn state(&self) -> MutexGuard<'_, SourceState> {
        lock(&self.state)
    }
}

impl Drop for SetSource {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(state: &Shared) -> MutexGuard<'_, SourceState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits as long as it was told to, and refuses where it was told to.
async fn admit(shared: &Shared, headers: &HeaderMap) -> Result<(), StatusCode> {
    let delay = lock(shared).delay;
    tokio::time::sleep(delay).await;
    let state = lock(shared);
    if let Some(status) = state.failing {
        return Err(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    }
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match &state.token {
        Some(token) if given != Some(format!("Bearer {token}").as_str()) => Err(StatusCode::UNAUTHORIZED),
        _ => Ok(()),
    }
}

async fn head(State(shared): State<Shared>, headers: HeaderMap) -> Result<Response, StatusCode> {
    lock(&shared).heads_asked += 1;
    admit(&shared, &headers).await?;
    let mut state = lock(&shared);
    let note = state.head.clone().ok_or(StatusCode::NOT_FOUND)?;
    let etag = format!("\"{}\"", Hash::of(note.as_bytes()));
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        state.heads_unchanged += 1;
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    Ok(([(header::ETAG, etag)], note).into_response())
}

async fn trust(State(shared): State<Shared>, headers: HeaderMap) -> Result<String, StatusCode> {
    lock(&shared).trusts_asked += 1;
    admit(&shared, &headers).await?;
    lock(&shared).trust.clone().ok_or(StatusCode::NOT_FOUND)
}

async fn deny(State(shared): State<Shared>, headers: HeaderMap) -> Result<String, StatusCode> {
    admit(&shared, &headers).await?;
    lock(&shared).deny.clone().ok_or(StatusCode::NOT_FOUND)
}

async fn file(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Vec<u8>, StatusCode> {
    lock(&shared).files_asked.push(name.clone());
    admit(&shared, &headers).await?;
    lock(&shared).files.get(&name).cloned().ok_or(StatusCode::NOT_FOUND)
}

async fn report(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Result<&'static str, StatusCode> {
    admit(&shared, &headers).await?;
    let report = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    lock(&shared).reports.push(report);
    Ok(r#"{"accepted":true}"#)
}
