//! A fake of Cloudflare's REST API for Workers KV, with its limits: keys of 512 bytes, values of 25 MiB, one write a second
//! to a key, 10,000 pairs and 100 MB in a bulk call, and a token that is looked at.
//!
//! Values are kept in memory, or in a namespace of Miniflare, from which a Worker reads them.

mod values;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use base64ct::{Base64, Encoding as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

pub use values::{Memory, MiniflareNamespace, Values};

/// The account and the namespace it has.
pub const PLACE: (&str, &str) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
/// The token it takes.
pub const TOKEN: &str = "kv-api-token-of-the-tests";

const MAX_KEY: usize = 512;
const MAX_VALUE: usize = 25 << 20;
const MAX_PAIRS: usize = 10_000;
const MAX_BULK: usize = 100_000_000;
const BETWEEN_WRITES: Duration = Duration::from_secs(1);

/// What it has seen, and what it is to do wrong.
#[derive(Default)]
pub struct KvState {
    /// Statuses to answer the next requests with, in place of doing anything. A 429 asks to wait for no time at all.
    pub failures: VecDeque<u16>,
    /// Keys of bulk calls that are to be left undone, once each.
    pub undone: Vec<String>,
    /// Refuses every write of a key with this ending for being one too many.
    pub refused: Option<&'static str>,
    /// Writes that were refused for being too many for their key.
    pub too_many: u32,
    /// Keys in the order in which they were written.
    pub written: Vec<String>,
    /// Values of heads, in the order in which they were written.
    pub heads: Vec<String>,
    /// Requests, as method and the path's part after the namespace.
    pub requests: Vec<String>,
    /// The most names on a page of a listing; 1,000 where it is not set.
    pub page: Option<usize>,
    last_write: BTreeMap<String, Instant>,
    metadata: BTreeMap<String, Value>,
}

#[derive(Clone)]
struct Shared {
    state: Arc<Mutex<KvState>>,
    values: Arc<dyn Values>,
    /// One is taken for each value that is written.
    permits: Arc<Semaphore>,
}

/// A running fake. It stops when dropped.
pub struct FakeKvApi {
    url: String,
    shared: Shared,
    server: JoinHandle<()>,
}

impl FakeKvApi {
    /// Starts one that keeps its values in memory.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> Result<Self> {
        Self::over(Memory::default()).await
    }

    /// Starts one that keeps its values there.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn over(values: impl Values) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}/client/v4", listener.local_addr()?);
        let permits = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let shared = Shared { state: Arc::default(), values: Arc::new(values), permits };
        let (account, namespace) = PLACE;
        let routes = Router::new()
            .route("/keys", get(list))
            .route("/values/{key}", get(read).put(write))
            .route("/bulk", put(write_many))
            .route("/bulk/delete", post(delete_many))
            .layer(from_fn_with_state(shared.clone(), admit))
            .layer(DefaultBodyLimit::max(MAX_BULK))
            .with_state(shared.clone());
        let app = Router::new()
            .nest(&format!("/client/v4/accounts/{account}/storage/kv/namespaces/{namespace}"), routes)
            .fallback(async || refused(StatusCode::NOT_FOUND, 10013, "namespace not found"));
        let server = tokio::spawn(async move {
            // Ends with the task; an accept error is retried inside.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { url, shared, server })
    }

    /// Its address, as `--kv-api-url` takes it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The target with this prefix.
    #[must_use]
    pub fn target(&self, prefix: &str) -> String {
        format!("kv:{}/{}/{prefix}", PLACE.0, PLACE.1)
    }

    /// What it has seen and is to do; to be held for a moment only.
    pub fn state(&self) -> MutexGuard<'_, KvState> {
        lock(&self.shared.state)
    }

    /// From now on, only so many values are written; requests for more get no answer.
    pub fn allow_writes(&self, count: usize) {
        self.shared.permits.forget_permits(Semaphore::MAX_PERMITS);
        self.shared.permits.add_permits(count);
    }

    /// A value; `None` where there is none.
    ///
    /// # Errors
    /// When where values are kept cannot be reached.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.shared.values.get(key).await
    }

    /// Writes a value behind the API's back.
    ///
    /// # Errors
    /// When where values are kept cannot be reached.
    pub async fn put(&self, key: &str, value: Vec<u8>) -> Result<()> {
        self.shared.values.put(key, value).await
    }

    /// All keys, in order.
    ///
    /// # Errors
    /// When where values are kept cannot be reached.
    pub async fn keys(&self) -> Result<Vec<String>> {
        self.shared.values.list("").await
    }
}

impl Drop for FakeKvApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(state: &Mutex<KvState>) -> MutexGuard<'_, KvState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at the token, and fails where it was told to.
async fn admit(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if token != Some(&format!("Bearer {TOKEN}")) {
        return refused(StatusCode::FORBIDDEN, 10000, "Authentication error");
    }
    let failure = {
        let mut state = lock(&shared.state);
        state.requests.push(format!("{} {}", request.method(), request.uri().path()));
        state.failures.pop_front()
    };
    match failure.map(StatusCode::from_u16) {
        Some(Ok(StatusCode::TOO_MANY_REQUESTS)) => too_many(),
        Some(Ok(status)) => refused(status, 10001, "service failure"),
        _ => next.run(request).await,
    }
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    prefix: String,
    limit: usize,
    cursor: Option<String>,
}

async fn list(State(shared): State<Shared>, Query(query): Query<ListQuery>) -> Response {
    if !(10..=1000).contains(&query.limit) {
        return refused(StatusCode::BAD_REQUEST, 10014, "limit must be from 10 to 1000");
    }
    let Ok(names) = shared.values.list(&query.prefix).await else { return broken() };
    let state = lock(&shared.state);
    let limit = query.limit.min(state.page.unwrap_or(1000));
    let after = |name: &String| query.cursor.as_ref().is_none_or(|cursor| name > cursor);
    let mut names: Vec<_> = names.into_iter().filter(after).collect();
    let cursor = if names.len() > limit { names[limit - 1].clone() } else { String::new() };
    names.truncate(limit);
    let one = |name: &String| match state.metadata.get(name) {
        Some(metadata) => json!({ "name": name, "metadata": metadata }),
        None => json!({ "name": name }),
    };
    let (result, count) = (names.iter().map(one).collect::<Vec<_>>(), names.len());
    let info = json!({ "count": count, "cursor": cursor });
    Json(json!({ "success": true, "errors": [], "messages": [], "result": result, "result_info": info }))
        .into_response()
}

async fn read(State(shared): State<Shared>, Path(key): Path<String>) -> Response {
    match shared.values.get(&key).await {
        Ok(Some(value)) => value.into_response(),
        Ok(None) => refused(StatusCode::NOT_FOUND, 10009, "get: 'key not found'"),
        Err(_) => broken(),
    }
}

async fn write(State(shared): State<Shared>, Path(key): Path<String>, value: Bytes) -> Response {
    if key.len() > MAX_KEY || value.len() > MAX_VALUE {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, 10047, "key or value too large");
    }
    match store(&shared, &key, value.to_vec(), None).await {
        Ok(true) => done(&json!({})),
        Ok(false) => too_many(),
        Err(_) => broken(),
    }
}

#[derive(Deserialize)]
struct Pair {
    key: String,
    value: String,
    #[serde(default)]
    base64: bool,
    metadata: Option<Value>,
}

async fn write_many(State(shared): State<Shared>, body: Bytes) -> Response {
    let Ok(pairs) = serde_json::from_slice::<Vec<Pair>>(&body) else {
        return refused(StatusCode::BAD_REQUEST, 10012, "could not parse the body");
    };
    if pairs.len() > MAX_PAIRS {
        return refused(StatusCode::BAD_REQUEST, 10029, "more than 10000 pairs");
    }
    let mut unsuccessful = Vec::new();
    for Pair { key, value, base64, metadata } in &pairs {
        let value = if *base64 { Base64::decode_vec(value).ok() } else { Some(value.clone().into_bytes()) };
        let Some(value) = value.filter(|value| key.len() <= MAX_KEY && value.len() <= MAX_VALUE) else {
            return refused(StatusCode::BAD_REQUEST, 10033, "a key or value is too large, or no base64");
        };
        if is_undone(&shared, key) || !matches!(store(&shared, key, value, metadata.clone()).await, Ok(true)) {
            unsuccessful.push(key);
        }
    }
    done(&json!({ "successful_key_count": pairs.len() - unsuccessful.len(), "unsuccessful_keys": unsuccessful }))
}

async fn delete_many(State(shared): State<Shared>, Json(keys): Json<Vec<String>>) -> Response {
    if keys.len() > MAX_PAIRS {
        return refused(StatusCode::BAD_REQUEST, 10029, "more than 10000 keys");
    }
    let mut unsuccessful = Vec::new();
    for key in &keys {
        if is_undone(&shared, key) || shared.values.delete(key).await.is_err() {
            unsuccessful.push(key);
            continue;
        }
        lock(&shared.state).metadata.remove(key);
    }
    done(&json!({ "successful_key_count": keys.len() - unsuccessful.len(), "unsuccessful_keys": unsuccessful }))
}

/// Writes a value; false where it is one too many for its key.
async fn store(shared: &Shared, key: &str, value: Vec<u8>, metadata: Option<Value>) -> Result<bool> {
    shared.permits.acquire().await?.forget();
    {
        let mut state = lock(&shared.state);
        let too_soon = state.last_write.get(key).is_some_and(|last| last.elapsed() < BETWEEN_WRITES);
        if too_soon || state.refused.is_some_and(|ending| key.ends_with(ending)) {
            state.too_many += 1;
            return Ok(false);
        }
        state.last_write.insert(key.to_owned(), Instant::now());
    }
    shared.values.put(key, value.clone()).await?;
    let mut state = lock(&shared.state);
    state.written.push(key.to_owned());
    if key.rsplit('/').next() == Some("head") {
        state.heads.push(String::from_utf8_lossy(&value).into_owned());
    }
    match metadata {
        Some(metadata) => state.metadata.insert(key.to_owned(), metadata),
        None => state.metadata.remove(key),
    };
    Ok(true)
}

fn is_undone(shared: &Shared, key: &str) -> bool {
    let mut state = lock(&shared.state);
    let at = state.undone.iter().position(|undone| undone == key);
    at.map(|at| state.undone.remove(at)).is_some()
}

fn done(result: &Value) -> Response {
    Json(json!({ "success": true, "errors": [], "messages": [], "result": result })).into_response()
}

fn refused(status: StatusCode, code: u32, message: &str) -> Response {
    let errors = json!([{ "code": code, "message": message }]);
    (status, Json(json!({ "success": false, "errors": errors, "messages": [], "result": null }))).into_response()
}

fn too_many() -> Response {
    let answer = refused(StatusCode::TOO_MANY_REQUESTS, 10048, "too many requests");
    ([(header::RETRY_AFTER, "0")], answer).into_response()
}

fn broken() -> Response {
    refused(StatusCode::INTERNAL_SERVER_ERROR, 10001, "service failure")
}
