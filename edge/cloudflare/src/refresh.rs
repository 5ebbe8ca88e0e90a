//! One flight: ask for the head, fetch what it implies, put it into force. The state is borrowed between waits, never
//! across one.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use nightlatch_gate::Unfit;
use nightlatch_gate::policy::Policy;
use nightlatch_sync::{Attempt, Offer, Outcome, Refusal};
use web_sys::AbortSignal;
use worker::{Env, console_warn};

use crate::config::Config;
use crate::instance::Instance;
use crate::source::{self, FetchError, HeadAnswer};
use crate::{now, with};

/// Connections a request may have open at a time.
const PARALLEL: usize = 6;

/// What became of a flight, as the number that JavaScript gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landing {
    /// Nothing was had; what was in force stays.
    Failed = 0,
    /// The set is as new as its source.
    Landed = 1,
    /// And the request that flew is to send a report.
    LandedReport = 2,
}

enum Failure {
    Fetch(FetchError),
    Refusal(Refusal),
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error)
    }
}

impl From<Refusal> for Failure {
    fn from(error: Refusal) -> Self {
        Self::Refusal(error)
    }
}

/// Makes the flight of that number.
pub(crate) async fn fly(env: Env, number: u32) -> Landing {
    let result = refresh(&env).await;
    let landing = with(|instance| {
        instance.flights.end(number, result.is_ok());
        match result {
            Ok(()) => landed(instance),
            Err(failure) => {
                failed(instance, &failure);
                Landing::Failed
            }
        }
    });
    landing.unwrap_or(Landing::Failed)
}

fn landed(instance: &mut Instance) -> Landing {
    if std::mem::take(&mut instance.last_failure).is_some() {
        worker::console_log!("nightlatch: the set is up to date again");
    }
    instance.unfit = Unfit::SetStale;
    let now = instance.edge.now(now(), None);
    let report = match instance.edge.mark() {
        Some(mark) if instance.config.report_url.is_some() => instance.sightings.applied(mark, now),
        _ => false,
    };
    if report { Landing::LandedReport } else { Landing::Landed }
}

fn failed(instance: &mut Instance, failure: &Failure) {
    let (code, text) = match failure {
        Failure::Fetch(error) => ("fetch_failed", error.to_string()),
        Failure::Refusal(error) => (error.code(), error.to_string()),
    };
    instance.unfit = match failure {
        Failure::Refusal(Refusal::PepperMissing { .. }) => Unfit::PepperMissing,
        Failure::Refusal(Refusal::Files(_) | Refusal::Policy(_)) => Unfit::SetCorrupt,
        Failure::Refusal(_) | Failure::Fetch(_) => Unfit::SetStale,
    };
    // Once per kind of trouble, not once per poll.
    if instance.last_failure != Some(code) {
        instance.last_failure = Some(code);
        console_warn!("nightlatch: the set cannot be refreshed ({code}): {text}");
    }
}

async fn refresh(env: &Env) -> Result<(), Failure> {
    let start = with(|instance| (instance.config.clone(), instance.etag.clone()));
    let Some((config, etag)) = start else {
        return Err(FetchError::Network.into());
    };
    // No set is larger than memory, nor its timeout longer than 30 s.
    let signal = AbortSignal::timeout_with_u32(config.fetch_timeout_ms as u32);
    let (text, new_etag) = match source::head(&config, env, etag.as_deref(), &signal).await? {
        HeadAnswer::Unchanged => {
            let _ = with(|instance| {
                let now = instance.edge.now(now(), None);
                instance.edge.unchanged(now);
            });
            return Ok(());
        }
        HeadAnswer::Note { text, etag } => (text, etag),
    };
    let offer = with(|instance| {
        let now = instance.edge.now(now(), None);
        instance.edge.offer(&text, now)
    });
    if let Some(Offer::News(attempt)) = offer.transpose()? {
        let files = files(&config, env, &attempt, &signal).await?;
        let outcome = with(|instance| {
            let now = instance.edge.now(now(), None);
            instance.edge.finish(attempt, files, now, Policy::decode)
        });
        if outcome.transpose()? == Some(Outcome::Superseded) {
            return Ok(());
        }
    }
    let _ = with(|instance| instance.etag = new_etag);
    Ok(())
}

/// Fetches what an attempt needs, a few files at a time, in its order.
async fn files(
    config: &Config,
    env: &Env,
    attempt: &Attempt,
    signal: &AbortSignal,
) -> Result<Vec<Vec<u8>>, FetchError> {
    stream::iter(attempt.fetches())
        .map(|fetch| source::file(config, env, fetch.name, fetch.max_len as usize, signal))
        .buffered(PARALLEL)
        .try_collect()
        .await
}
