//! A web server in front of a set's directory, as a control plane is one.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use nightlatch::sync_job::{Source, SyncError, SyncJob};
use nightlatch_sync::implied_files;

use crate::world::{World, assert_holds, options, to_directory};

pub(crate) const TOKEN: &str = "nle_live_token";

/// Hands out a directory to whoever has the token.
pub(crate) struct Origin {
    pub(crate) url: String,
    heads: Arc<AtomicUsize>,
    /// Requests for the head that are held back now.
    pub(crate) held: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    directory: PathBuf,
    /// Files may be fetched as long as there are permits.
    files: Arc<Semaphore>,
    heads: Arc<AtomicUsize>,
    held: Arc<AtomicUsize>,
    /// Answers to who has the head are held back until there is another, as a control plane does.
    holds: bool,
}

impl Origin {
    pub(crate) async fn serve(directory: PathBuf, permits: usize) -> Self {
        Self::serve_as(directory, permits, false).await
    }

    /// As a control plane that holds its answers back.
    pub(crate) async fn holding(directory: PathBuf) -> Self {
        Self::serve_as(directory, 1000, true).await
    }

    async fn serve_as(directory: PathBuf, permits: usize, holds: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/v1/sets/set_x", listener.local_addr().unwrap());
        let heads = Arc::new(AtomicUsize::new(0));
        let held = Arc::new(AtomicUsize::new(0));
        let files = Arc::new(Semaphore::new(permits));
        let shared = Shared { directory, files, heads: heads.clone(), held: held.clone(), holds };
        let app = Router::new()
            .route("/v1/sets/set_x/head", get(head))
            .route("/v1/sets/set_x/trust", get(trust))
            .route("/v1/sets/set_x/deny", get(deny))
            .route("/v1/sets/set_x/files/{name}", get(file))
            .with_state(shared);
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, heads, held, server }
    }

    pub(crate) fn source(&self) -> Source {
        Source::open(&self.url, Some(SecretString::from(TOKEN))).unwrap()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn allowed(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value == format!("Bearer {TOKEN}").as_str())
}

async fn head(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    if !allowed(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let read = || {
        let note = std::fs::read(shared.directory.join("head")).unwrap();
        (format!("\"{}\"", nightlatch_keyset::Hash::of(&note)), note)
    };
    let seen = headers.get("if-none-match");
    let (mut tag, mut note) = read();
    let wait = headers.get("prefer").is_some_and(|prefer| prefer == "wait=25");
    if shared.holds && wait && seen.is_some_and(|seen| *seen == tag) {
        let _held = Held::new(&shared.held);
        while seen.is_some_and(|seen| *seen == tag) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            (tag, note) = read();
        }
        shared.heads.fetch_add(1, Ordering::SeqCst);
        return ([("etag", tag), ("preference-applied", "wait=25".to_owned())], note).into_response();
    }
    if seen.is_some_and(|seen| *seen == tag) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    shared.heads.fetch_add(1, Ordering::SeqCst);
    ([("etag", tag)], note).into_response()
}

/// Counts a request for as long as it is held back.
struct Held(Arc<AtomicUsize>);

impl Held {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn trust(State(shared): State<Shared>) -> Result<Bytes, StatusCode> {
    beside(&shared, "trust")
}

async fn deny(State(shared): State<Shared>) -> Result<Bytes, StatusCode> {
    beside(&shared, "deny")
}

fn beside(shared: &Shared, name: &str) -> Result<Bytes, StatusCode> {
    std::fs::read(shared.directory.join(name)).map(Bytes::from).map_err(|_| StatusCode::NOT_FOUND)
}

async fn file(State(shared): State<Shared>, headers: HeaderMap, Path(name): Path<String>) -> Result<Bytes, StatusCode> {
    if !allowed(&headers) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    shared.files.acquire().await.unwrap().forget();
    let bytes = std::fs::read(shared.directory.join("files").join(name)).map_err(|_| StatusCode::NOT_FOUND)?;
    Ok(bytes.into())
}

#[tokio::test]
async fn a_set_is_copied_over_http() {
    let world = World::new().await;
    let head = world.publish(2).await;
    let origin = Origin::serve(world.path().to_owned(), 1000).await;
    let target = world.scratch("target");
    let mut job = SyncJob::new(origin.source(), to_directory(&target), options());
    assert_eq!(job.pass().await.unwrap().copied.len(), implied_files(&head).count());
    assert_holds(&target, &head);
    // An unchanged head is not even sent again.
    for _ in 0..3 {
        assert!(job.pass().await.unwrap().is_empty());
    }
    assert_eq!(origin.heads.load(Ordering::SeqCst), 1);
    let next = world.publish(1).await;
    assert_eq!(job.pass().await.unwrap().copied.len(), 1);
    assert_holds(&target, &next);

    let stranger = Source::open(&origin.url, None).unwrap();
    let error = SyncJob::new(stranger, to_directory(&world.scratch("other")), options()).pass().await.unwrap_err();
    assert!(
        matches!(&error, SyncError::Source(text) if text.contains("401") && text.contains("NIGHTLATCH_TOKEN")),
        "{error}"
    );
}

#[tokio::test]
async fn killed_while_copying_it_goes_on_where_it_was() {
    let world = World::new().await;
    let head = world.publish(3).await;
    let all = implied_files(&head).count();
    let target = world.scratch("target");
    // Killed after every single file; a later start fetches only what is lacking.
    for copied in 0..all - 1 {
        let origin = Origin::serve(world.path().to_owned(), 1).await;
        let job = SyncJob::new(origin.source(), to_directory(&target), options());
        let pass = tokio::spawn(async move {
            let mut job = job;
            job.pass().await
        });
        let files = target.join("files");
        let count = || {
            std::fs::read_dir(&files)
                .unwrap()
                .filter(|e| !e.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'))
                .count()
        };
        while count() <= copied {
            tokio::task::yield_now().await;
        }
        pass.abort();
        assert!(pass.await.unwrap_err().is_cancelled());
        assert!(!target.join("head").exists());
    }
    let origin = Origin::serve(world.path().to_owned(), all).await;
    let report = SyncJob::new(origin.source(), to_directory(&target), options()).pass().await.unwrap();
    assert_eq!(report.copied.len(), 1);
    assert_holds(&target, &head);
}
