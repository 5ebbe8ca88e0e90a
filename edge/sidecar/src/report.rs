//! Reports to the control plane: which keys were seen, what is in force here and on the disk, and how it goes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::Full;
use nightlatch_gate::KeyId;
use nightlatch_keyset::{BASE_FORMAT, DELTA_FORMAT, HEAD_FIRST_LINE, HEAD_FIRST_LINE_BEFORE, REBASE_FORMAT};
use nightlatch_sync::Mark;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::wall_ms;
use crate::config::Credential;
use crate::http::{self as web, Client};
use crate::shared::Shared;
use crate::source::chain;

/// Between two reports when there is nothing new.
const INTERVAL: Duration = Duration::from_secs(10);
/// Between two reports at the least; what comes meanwhile goes into one.
const GATHER: Duration = Duration::from_millis(250);
/// Between two reports at the least while none arrives.
const PAUSE: Duration = Duration::from_secs(2);
/// How long a report may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Sightings in one report.
const MAX_SEEN: usize = 1_000;
/// Sightings that wait while no report arrives.
const MAX_WAITING: usize = 100_000;
/// The longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;

/// What a report says; the control plane's `EdgeReport`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    set: &'a str,
    instance: &'a str,
    sequence: u64,
    runtime: &'static str,
    version: &'static str,
    applied: Option<Applied>,
    seen: Vec<Sighting>,
    formats: Vec<String>,
    data_age_ms: Option<u64>,
    sent_at: u64,
    peppers: Vec<String>,
    trust: Option<u64>,
    failure: Option<String>,
    clock_refused: bool,
}

/// The state that is on the disk: what is confirmed.
#[derive(Debug, Serialize)]
struct Applied {
    incarnation: u64,
    epoch: u64,
    version: u64,
    issued: u64,
}

#[derive(Debug, Serialize)]
struct Sighting {
    key: String,
    at: u64,
}

/// Sends reports for as long as the process lives, and a last one when it ends.
pub(crate) struct Reporter {
    shared: Arc<Shared>,
    client: Client<Full<Bytes>>,
    sequence: u64,
    waiting: Vec<(KeyId, u64)>,
    failing: bool,
}

impl Reporter {
    /// A reporter that has sent nothing.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Self, String> {
        Ok(Self { shared, client: web::client()?, sequence: 0, waiting: Vec::new(), failing: false })
    }

    /// Reports whenever there is news, and every ten seconds.
    pub(crate) async fn run(&mut self) {
        loop {
            let earliest = Instant::now() + if self.failing { PAUSE } else { GATHER };
            self.send().await;
            let shared = Arc::clone(&self.shared);
            let _ = timeout(INTERVAL, shared.news.notified()).await;
            sleep(earliest.saturating_duration_since(Instant::now())).await;
        }
    }

    /// Sends what there is to tell. Sightings that do not arrive go with the next report.
    pub(crate) async fn send(&mut self) {
        let (url, credential) = {
            let config = Arc::clone(&self.shared.gate().config);
            let Some(url) = config.report_url.clone() else { return };
            (url, config.credential.clone())
        };
        for worker in &self.shared.workers {
            self.waiting.extend(worker.take_sightings());
        }
        self.waiting.truncate(MAX_WAITING);
        loop {
            let seen: Vec<_> = self.waiting.iter().take(MAX_SEEN).copied().collect();
            self.sequence += 1;
            let body = self.report(&seen);
            let sent = post(&self.client, url.clone(), credential.as_ref(), body).await;
            let mut status = self.shared.status();
            match sent {
                Ok(()) => {
                    status.reports.0 += 1;
                    self.waiting.drain(..seen.len());
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("reports arrive again");
                    }
                }
                Err(error) => {
                    status.reports.1 += 1;
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!("a report did not arrive: {error}");
                    }
                    return;
                }
            }
            if self.waiting.is_empty() {
                return;
            }
        }
    }

    fn report(&self, seen: &[(KeyId, u64)]) -> Vec<u8> {
        let reading = self.shared.clock.read();
        let status = self.shared.status().clone();
        let gate = self.shared.gate();
        let loaded = gate.edge.loaded().map(nightlatch_sync::Serving::head);
        let applied = status.persisted.filter(|_| loaded.is_some());
        let failure = if status.not_persisted.is_some() { Some("state_not_kept") } else { status.failure };
        let report = Report {
            set: &gate.config.edge.set,
            instance: &self.shared.instance,
            sequence: self.sequence,
            runtime: "sidecar",
            version: env!("CARGO_PKG_VERSION"),
            applied: applied.map(|Mark { incarnation, epoch, version, issued }| Applied {
                incarnation,
                epoch,
                version,
                issued,
            }),
            seen: seen.iter().map(|(key, at)| Sighting { key: key.to_string(), at: *at }).collect(),
            formats: formats(),
            data_age_ms: loaded.map(|head| reading.now.saturating_sub(head.issued)),
            sent_at: wall_ms(),
            peppers: gate.config.edge.peppers.iter().map(|pepper| pepper.id().to_owned()).collect(),
            trust: gate.edge.trust().map(|trust| trust.version),
            failure: failure.map(str::to_owned),
            clock_refused: status.from_future || loaded.is_some_and(|head| reading.behind > head.skew),
        };
        // Nothing in it can fail to be written.
        serde_json::to_vec(&report).unwrap_or_default()
    }
}

/// The formats this edge reads, newest first.
fn formats() -> Vec<String> {
    // Of heads, bases and deltas the version before is read, too.
    let heads = [HEAD_FIRST_LINE, HEAD_FIRST_LINE_BEFORE];
    let heads = heads.into_iter().map(|line| line.trim_start_matches("nightlatch.").to_owned());
    let both = |name: &str, format: u16| [format!("{name}/{format}"), format!("{name}/{}", format - 1)];
    let files = both("base", BASE_FORMAT).into_iter().chain(both("delta", DELTA_FORMAT));
    heads.chain(files).chain([format!("rebase/{REBASE_FORMAT}")]).collect()
}

async fn post(
    client: &Client<Full<Bytes>>,
    url: http::Uri,
    credential: Option<&Credential>,
    body: Vec<u8>,
) -> Result<(), String> {
    let mut request = Request::post(url)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .body(Full::from(body))
        .map_err(|error| error.to_string())?;
    if let Some(value) = credential.and_then(Credential::header) {
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let exchange = async {
        let response = client.request(request).await.map_err(|error| chain(&error))?;
        let status = response.status();
        // Read to its end, so that the connection serves the next one too.
        let _ = web::read(response, MAX_ANSWER, &[]).await;
        match status {
            StatusCode::OK => Ok(()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(format!("the control plane answered {status}: does credential_file hold this edge's credential?"))
            }
            status => Err(format!("the control plane answered {status}")),
        }
    };
    timeout(TIMEOUT, exchange).await.unwrap_or_else(|_| Err("the control plane did not answer in time".into()))
}
