//! A source that holds the question for its head open, as a control plane does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use nightlatch_keyset::{Hash, Status};
use nightlatch_tests::clock::now_ms;
use nightlatch_tests::published::{Key, PublishedSet};
use nightlatch_tests::wait::eventually;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::stand::{SOON, Stand};

struct Published {
    files: BTreeMap<String, Vec<u8>>,
    note: String,
}

#[derive(Clone)]
struct Holding {
    published: watch::Sender<Arc<Published>>,
    asked: Arc<AtomicU32>,
}

impl Holding {
    fn publish(&self, set: &PublishedSet) {
        self.published.send_replace(Arc::new(published(set)));
    }
}

fn published(set: &PublishedSet) -> Published {
    let files = set.files.iter().map(|(name, bytes)| (name.to_text(), bytes.clone())).collect();
    Published { files, note: set.note() }
}

async fn head(State(source): State<Holding>, headers: HeaderMap) -> Response {
    source.asked.fetch_add(1, Ordering::Relaxed);
    let etag = |published: &Published| format!("\"{}\"", Hash::of(published.note.as_bytes()));
    let known = headers.get("if-none-match").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let wait = headers.get("prefer").and_then(|value| value.to_str().ok()?.strip_prefix("wait=")?.parse().ok());
    let mut now = source.published.subscribe();
    let wait = wait.unwrap_or(0);
    let news = now.wait_for(|published| Some(etag(published)) != known);
    match timeout(Duration::from_secs(wait), news).await {
        Ok(Ok(published)) => {
            let headers = [("etag", etag(&published)), ("preference-applied", format!("wait={wait}"))];
            (headers, published.note.clone()).into_response()
        }
        _ => (StatusCode::NOT_MODIFIED, [("preference-applied", format!("wait={wait}"))]).into_response(),
    }
}

async fn file(State(source): State<Holding>, Path(name): Path<String>) -> Result<Vec<u8>, StatusCode> {
    source.published.borrow().files.get(&name).cloned().ok_or(StatusCode::NOT_FOUND)
}

/// S3-10: what is published arrives without a poll, and nobody asks in vain meanwhile; a request that cannot wait is not
/// held up by a question that is.
#[tokio::test]
async fn s3_10_a_held_question_brings_changes_at_once() -> Result<()> {
    let mut holding = None;
    let prepare = |set: &mut PublishedSet| {
        let (published, _) = watch::channel(Arc::new(published(set)));
        holding = Some(Holding { published, asked: Arc::default() });
        Ok(())
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let configure =
        |config: nightlatch_tests::sidecar::SidecarConfig| config.setting("source", url).number("poll_ms", 3_600_000);
    let mut stand = Stand::start(prepare, configure).await?;
    let holding = holding.context("prepared above")?;
    let app = Router::new().route("/head", get(head)).route("/files/{name}", get(file)).with_state(holding.clone());
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    stand.says(&stand.key, 200, None).await?;

    let asked = holding.asked.load(Ordering::Relaxed);
    for count in 1..=5 {
        let key = stand.set.issue(Key::default());
        stand.set.publish()?;
        holding.publish(&stand.set);
        stand.says(&key, 200, None).await?;
        stand.set.change(&key, |key| key.status = Status::Revoked)?;
        stand.set.publish()?;
        holding.publish(&stand.set);
        stand.says(&key, 401, Some("key_revoked")).await.with_context(|| format!("revocation {count}"))?;
    }
    ensure!(stand.sidecar.metric("nightlatch_sidecar_source_holds").await? == 1.0);
    let questions = holding.asked.load(Ordering::Relaxed) - asked;
    ensure!((10..40).contains(&questions), "{questions} questions for ten versions");

    // A key newer than the set: the source does not know of it yet, so its question would be held for long.
    let unknown = stand.set.mint(now_ms() / 1_000);
    let refused = timeout(SOON, stand.caller.get("/status", unknown.expose())).await??;
    refused.refused("key_invalid")?;

    // Nothing comes any more: closed at `valid_until`, and at once open again.
    stand.set.renew(1_500);
    holding.publish(&stand.set);
    stand.says(&stand.key, 503, Some("set_stale")).await?;
    stand.set.renew(60_000);
    holding.publish(&stand.set);
    eventually("it serves again", SOON, async || stand.caller.get("/status", stand.key.expose()).await?.allowed())
        .await?;
    server.abort();
    Ok(())
}
