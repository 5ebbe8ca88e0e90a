//! One flight: ask for the head, fetch what it implies, put it into force. The state is borrowed between waits, never
//! across one.

use std::collections::VecDeque;

use nightlatch_gate::Unfit;
use nightlatch_gate::policy::Policy;
use nightlatch_keyset::{FileName, Index};
use nightlatch_sync::{Attempt, Fetch, Offer, Outcome, Refusal, Work};
use wasm_bindgen::JsValue;
use web_sys::AbortSignal;

use crate::config::Config;
use crate::instance::Instance;
use crate::source::{self, FetchError, HeadAnswer};
use crate::{log, now, with};

/// Files asked for at a time. A request may have six connections open, and one of them goes to its origin.
const PARALLEL: usize = 5;
/// A base's parts are kept in pieces of about so many bytes, which a rebase gives back one by one.
const PIECE: usize = 1 << 20;
/// Bytes per millisecond at which a base is loaded at the slowest; beyond what a small file may take.
const SLOWEST: u64 = 4_000;
/// The most milliseconds that loading a base may take: the runtime ends what outlives its request by 30 s.
const LONGEST_LOAD_MS: u64 = 25_000;

/// What became of a flight, as the number that JavaScript gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landing {
    /// Nothing was had; what was in force stays.
    Failed = 0,
    /// The set is as new as its source.
    Landed = 1,
    /// And the request that flew is to send a report.
    LandedReport = 2,
    /// A rebase has to be brought to its end with [`work`]; then the flight goes on.
    Working = 3,
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

/// Makes the flight of that number, or goes on with it.
pub(crate) async fn fly(env: JsValue, number: u32) -> Landing {
    let result = refresh(&env, number).await;
    let landing = with(|instance| {
        if matches!(result, Ok(true)) {
            return Landing::Working;
        }
        instance.flights.end(number, result.is_ok());
        match result {
            Ok(_) => landed(instance),
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
        log::info("nightlatch: the set is up to date again");
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
        log::warn(&format!("nightlatch: the set cannot be refreshed ({code}): {text}"));
    }
}

/// Asks for the head and does what it takes to have it in force; true where work is left first.
async fn refresh(env: &JsValue, number: u32) -> Result<bool, Failure> {
    let start = with(|instance| (instance.config.clone(), instance.known_etag(), instance.edge.is_working()));
    let Some((config, etag, working)) = start else {
        return Err(FetchError::Network.into());
    };
    if working {
        return Ok(true);
    }
    // No timeout is longer than 30 s.
    let signal = AbortSignal::timeout_with_u32(config.fetch_timeout_ms as u32);
    let (text, new_etag) = match source::head(&config, env, etag.as_deref(), &signal).await? {
        HeadAnswer::Unchanged => {
            let _ = with(|instance| {
                let now = instance.edge.now(now(), None);
                instance.edge.unchanged(now);
            });
            return Ok(false);
        }
        HeadAnswer::Note { text, etag } => (text, etag),
    };
    let offer = with(|instance| {
        let now = instance.edge.now(now(), None);
        instance.edge.offer(&text, now)
    });
    match offer.transpose()? {
        Some(Offer::News(attempt)) => {
            let Some((attempt, files)) = fetch(&config, env, attempt, number, &signal).await? else {
                return Ok(false);
            };
            let outcome = with(|instance| {
                let now = instance.edge.now(now(), None);
                instance.edge.finish(attempt, files, now, Policy::decode)
            });
            match outcome.transpose()? {
                Some(Outcome::Working) => return Ok(true),
                Some(Outcome::Superseded) => return Ok(false),
                Some(Outcome::InForce) | None => {}
            }
        }
        Some(Offer::Working) => return Ok(true),
        Some(Offer::NeedsTrust) => return Err(Refusal::TrustMissing.into()),
        Some(Offer::Known) | None => {}
    }
    let _ = with(|instance| instance.etag = new_etag);
    Ok(false)
}

/// Goes on with a rebase by one step; true where more are left.
pub(crate) fn work(instance: &mut Instance) -> bool {
    let now = instance.edge.now(now(), None);
    match instance.edge.work(now) {
        Ok(work) => work == Work::Left,
        Err(refusal) => {
            failed(instance, &refusal.into());
            false
        }
    }
}

/// Fetches what an attempt needs; by the base, where its source lacks what only a shorter way needs. Nothing where another
/// flight is loading a base.
async fn fetch(
    config: &Config,
    env: &JsValue,
    mut attempt: Attempt,
    number: u32,
    signal: &AbortSignal,
) -> Result<Option<(Attempt, Vec<Vec<u8>>)>, Failure> {
    let mut files = Vec::new();
    while let Err((error, name)) = append(config, env, attempt.small(), None, signal, &mut files).await {
        let other = match error {
            FetchError::Missing => with(|instance| instance.edge.by_base(attempt, &name)).transpose()?.flatten(),
            _ => None,
        };
        attempt = other.ok_or(error)?;
        files.clear();
    }
    let parts = attempt.parts();
    if !parts.is_empty() {
        let bytes: u64 = parts.iter().map(|part| part.max_len).sum();
        let ms = (config.fetch_timeout_ms + bytes / SLOWEST).min(LONGEST_LOAD_MS);
        let granted = with(|instance| {
            let now = instance.edge.now(now(), None);
            let granted = instance.flights.begin_load(number, now, ms);
            if granted {
                instance.edge.make_room(&attempt);
            }
            granted
        });
        if granted != Some(true) {
            return Ok(None);
        }
        let signal = AbortSignal::timeout_with_u32(ms as u32);
        // The index comes before the parts and says where they can be cut; a bad one is refused with them.
        let index = files.last().cloned().and_then(|bytes| Index::open(bytes, &attempt.head().base_root).ok());
        append(config, env, parts, index.as_ref(), &signal, &mut files).await.map_err(|(error, _)| error)?;
    }
    Ok(Some((attempt, files)))
}

/// Fetches files in order, parts of a base in pieces where its index is given. A few are asked for ahead and wait for their turn, so that a distance is paid for once.
async fn append(
    config: &Config,
    env: &JsValue,
    fetches: &[Fetch],
    index: Option<&Index>,
    signal: &AbortSignal,
    files: &mut Vec<Vec<u8>>,
) -> Result<(), (FetchError, FileName)> {
    let mut asked = VecDeque::new();
    let mut ahead = fetches.iter();
    for fetch in fetches {
        let failed = |error| (error, fetch.name);
        while asked.len() < PARALLEL
            && let Some(next) = ahead.next()
        {
            asked.push_back(source::ask_file(config, env, next, signal).map_err(failed)?);
        }
        let Some(answer) = asked.pop_front() else {
            break;
        };
        let mut lens = match (fetch.name, index) {
            (FileName::BasePart { part, .. }, Some(index)) => index.piece_lens(part as usize, PIECE),
            _ => Vec::new(),
        };
        if lens.is_empty() {
            lens.push(if fetch.is_exact() { fetch.max_len as usize } else { 0 });
        }
        source::file(answer, fetch, &lens, files).await.map_err(failed)?;
    }
    Ok(())
}
