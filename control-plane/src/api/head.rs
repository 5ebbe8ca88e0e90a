//! `/v1/sets/{set}/head`: the head, at once or as soon as it is another.
//!
//! Waiting costs next to nothing: the head's text is in memory, and thousands of callers share it. While this process
//! publishes the set, its publisher wakes them when a head is in place. Elsewhere they look together, four times a second,
//! at the directory, and where another process keeps that, at the database's row.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use nightlatch_api::{Code, Problem};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::App;
use super::caller::Caller;
use super::params::Id;
use super::refused::Refused;
use super::sets::{note_in, readable};
use crate::domain::SetId;
use crate::domain::receipt::HELD_MS;
use crate::publisher::directory::HEAD;
use crate::publisher::{Published, Role};
use crate::store::workspaces;

/// The longest wait.
const MAX_WAIT: Duration = Duration::from_millis(HELD_MS.unsigned_abs());
/// How old a head may be that is answered while another process publishes.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// By how much the row has to be ahead of the directory before it is believed instead: files come before heads.
const FILES_LATE_MS: i64 = 2_000;

const PREFER: &str = "prefer";
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Reads the head of a set: a small signed note that says which files are current. With `Prefer: wait=N` and the tag of
/// the head at hand, it is answered as soon as there is another, or after N seconds, at most 30.
#[utoipa::path(
    get, path = "/v1/sets/{set}/head", tag = "sets", operation_id = "readHead",
    params(
        ("set" = String, Path, description = "`set_…`"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the head at hand."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: while the head is the one at hand, wait for another, at most N seconds (RFC 7240)."),
    ),
    responses(
        (status = 200, description = "The head.", body = String, content_type = "text/plain", headers(("ETag" = String, description = "The head's version."), ("Preference-Applied" = Option<String>, description = "`wait=N`, where that was asked for."))),
        (status = 304, description = "The head at hand is current."),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Nothing is published yet.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn head(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SetId>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    readable(&app, &caller, &id).await?;
    let wait = wait(&headers);
    let until = Instant::now() + wait.unwrap_or_default();
    let current = loop {
        let published = app.publishers().of(&id);
        // Before the look: what changes after it wakes.
        let mut status = published.as_ref().map(Published::watch);
        let current = app.heads().current(&app, &id).await?;
        if !knows(&headers, &current.tag) || Instant::now() >= until || app.stopping().is_cancelled() {
            break current;
        }
        // The publisher's state says when a head is in place; where another process publishes, nobody says so.
        let leads = published.as_ref().is_some_and(Published::leads);
        let look = if leads { until } else { until.min(Instant::now() + LOOK_EVERY) };
        let changed = async {
            match &mut status {
                Some(status) => status.changed().await.is_ok(),
                None => false,
            }
        };
        tokio::select! {
            () = tokio::time::sleep_until(look) => {}
            true = changed => {}
            () = app.stopping().cancelled() => {}
        }
    };
    let common = [(ETAG, current.tag.clone()), (CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    let mut response = if knows(&headers, &current.tag) {
        (StatusCode::NOT_MODIFIED, common).into_response()
    } else {
        (common, [(CONTENT_TYPE, "text/plain; charset=utf-8")], current.text.clone()).into_response()
    };
    if let Some(wait) = wait {
        let applied = HeaderValue::from_str(&format!("wait={}", wait.as_secs())).expect("digits can be sent");
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

/// How long the caller prefers to wait, at most [`MAX_WAIT`]; `None` where it does not say. What is not `wait=` and digits
/// is a preference that is not known here, and is ignored as the standard wants it.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut waits = preferences.flat_map(|list| list.split(',')).filter_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let digits = value.trim().trim_matches('"');
        let digits = (name.trim().eq_ignore_ascii_case("wait") && digits.bytes().all(|b| b.is_ascii_digit()))
            .then_some(digits)?;
        // More seconds than fit are more than the most.
        (!digits.is_empty()).then(|| digits.parse().map_or(MAX_WAIT, Duration::from_secs).min(MAX_WAIT))
    });
    waits.next()
}

/// Whether the caller has the head of this tag.
pub(super) fn knows(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known
        .flat_map(|list| list.split(','))
        .any(|known| known.trim().trim_start_matches("W/").as_bytes() == tag.as_bytes())
}

/// A head's text and its tag.
#[derive(Debug)]
pub(super) struct Current {
    text: Bytes,
    tag: HeaderValue,
    /// The state of the publisher before it was read, where that is this process.
    state: Option<(u64, Option<u64>)>,
    read_at: Instant,
}

/// The heads that have been asked for, in memory.
#[derive(Debug, Default)]
pub(super) struct Heads(Mutex<HashMap<SetId, Slot>>);

/// A set's head; whoever holds the lock reads it anew, for all.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Current>>>>;

impl Heads {
    /// The head of a set that exists.
    async fn current(&self, app: &App, set: &SetId) -> Result<Arc<Current>, Refused> {
        let slot = {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(set.clone()).or_default())
        };
        let mut held = slot.lock().await;
        // While this process leads, its publisher's state says whether the head in memory is the one in place.
        let state = app.publishers().of(set).and_then(|published| {
            let status = published.watch();
            let status = status.borrow();
            matches!(status.role, Role::Leading(_)).then_some((status.heads, status.issued))
        });
        if let Some(current) = held.as_ref()
            && (state.is_some() && current.state == state
                || state.is_none() && current.state.is_none() && current.read_at.elapsed() < LOOK_EVERY)
        {
            return Ok(Arc::clone(current));
        }
        let text = read(app, set, state.is_some()).await?;
        let tag = HeaderValue::from_str(&tag(&text)).expect("hex and quotes can be sent");
        let current = Arc::new(Current { text: text.into(), tag, state, read_at: Instant::now() });
        *held = Some(Arc::clone(&current));
        Ok(current)
    }
}

/// The tag of a note's text.
pub(super) fn tag(text: &[u8]) -> String {
    let hash = Sha256::digest(text);
    format!("\"{}\"", hash[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// The head in the directory: a head counts once its files are in place. The row stands in where the directory is another
/// machine's.
async fn read(app: &App, set: &SetId, publishes: bool) -> Result<Vec<u8>, Refused> {
    let file = note_in(app, set, HEAD).await?.map(String::into_bytes);
    if let (Some(text), true) = (&file, publishes) {
        return Ok(text.clone());
    }
    let row = workspaces::any_set(&mut app.store().read().await?, set).await?;
    let (note, issued) = (row.head, row.head_issued);
    match (file, note, issued) {
        (Some(text), Some(note), Some(issued)) => {
            let late = issued_of(&text).is_none_or(|of_file| issued > of_file.saturating_add(FILES_LATE_MS));
            Ok(if late { note.into_bytes() } else { text })
        }
        (Some(text), _, _) => Ok(text),
        // A head whose files this machine may not have: still the truth about how far the set is.
        (None, Some(note), _) if !publishes => Ok(note.into_bytes()),
        (None, _, _) => Err(Code::NotPublished.into()),
    }
}

fn issued_of(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.lines().find_map(|line| line.strip_prefix("issued "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_wait_is_found_among_other_preferences() {
        let seconds = |values: &[&str]| wait(&headers(values)).map(|wait| wait.as_secs());
        assert_eq!(seconds(&["wait=10"]), Some(10));
        assert_eq!(seconds(&["respond-async, WAIT = 7; foo=1"]), Some(7));
        assert_eq!(seconds(&["handling=lenient", "wait=\"3\""]), Some(3));
        assert_eq!(seconds(&["wait=31"]), Some(30));
        assert_eq!(seconds(&["wait=99999999999999999999999"]), Some(30));
        for none in ["", "wait", "wait=", "wait=-1", "wait=1.5", "await=3"] {
            assert_eq!(seconds(&[none]), None, "{none}");
        }
    }
}
