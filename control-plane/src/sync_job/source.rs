//! Where a set is copied from.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use nightlatch_keyset::FileName;
use nightlatch_keyset::note::MAX_NOTE_LEN;
use reqwest::header::{ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use reqwest::{Client, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};

use super::SyncError;
use super::note::NoteName;
use crate::publisher::SetDirectory;
use crate::publisher::directory::FILES;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long to wait for the next bytes; longer than an answer is held back for us.
const READ: Duration = Duration::from_secs(40);
/// How long a source is asked to hold its answer back for a new head.
const LONG_POLL: Duration = Duration::from_secs(25);
/// The request's and the answer's field of RFC 7240.
const PREFER: &str = "prefer";
const PREFERENCE_APPLIED: &str = "preference-applied";

/// A published set, read only.
#[derive(Debug)]
pub struct Source(Kind);

#[derive(Debug)]
enum Kind {
    Directory(SetDirectory),
    Web(Web),
}

#[derive(Debug)]
struct Web {
    client: Client,
    base: String,
    token: Option<SecretString>,
    /// The tags of the notes that were read last.
    seen: Mutex<BTreeMap<NoteName, HeaderValue>>,
    /// Whether it has said that it holds its answers back; nothing until it was asked.
    holds: Mutex<Option<bool>>,
}

/// What a source says of one of its notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is the one that was read last.
    Unchanged,
    /// There is none.
    Missing,
    /// Its text.
    Text(String),
}

impl Source {
    /// A control plane's or another web server's `https://…`, or a directory. The token is sent to web servers only.
    ///
    /// # Errors
    /// [`SyncError::Usage`] for what is neither.
    pub fn open(place: &str, token: Option<SecretString>) -> Result<Self, SyncError> {
        if place.starts_with("http://") || place.starts_with("https://") {
            let client = Client::builder()
                .connect_timeout(CONNECT)
                .read_timeout(READ)
                .user_agent(concat!("nightlatch/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|error| SyncError::Usage(error.to_string()))?;
            let base = place.trim_end_matches('/').to_owned();
            let (seen, holds) = (Mutex::default(), Mutex::default());
            return Ok(Self(Kind::Web(Web { client, base, token, seen, holds })));
        }
        if place.contains("://") {
            return Err(SyncError::Usage(format!(
                "the source is https://… or a directory; {place} is neither (other sources come later)"
            )));
        }
        Ok(Self(Kind::Directory(SetDirectory::new(Path::new(place)))))
    }

    /// The directory it is, if it is one.
    pub(super) fn directory(&self) -> Option<&Path> {
        match &self.0 {
            Kind::Directory(directory) => Some(directory.path()),
            Kind::Web(_) => None,
        }
    }

    /// The head's text; `None` where it is the one that was read last.
    pub(crate) async fn head(&self) -> Result<Option<String>, SyncError> {
        self.next_head(false).await
    }

    /// As [`Self::head`]; with `hold` a source that can is asked not to answer before there is another head, for a while.
    pub(super) async fn next_head(&self, hold: bool) -> Result<Option<String>, SyncError> {
        match self.note(NoteName::Head, hold).await? {
            Answer::Text(text) => Ok(Some(text)),
            Answer::Unchanged => Ok(None),
            Answer::Missing => Err(SyncError::Source(match &self.0 {
                Kind::Directory(_) => "nothing is published there yet".into(),
                Kind::Web(web) => format!(
                    "{}/{} answered 404 Not Found: is the source the set's address, https://…/v1/sets/set_…?",
                    web.base,
                    NoteName::Head.as_str()
                ),
            })),
        }
    }

    /// Whether requests for the head are held back; nothing where that has not been found out.
    pub(super) fn holds(&self) -> Option<bool> {
        match &self.0 {
            Kind::Directory(_) => Some(false),
            Kind::Web(web) => *web.holds.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Whether the next request for the head can be held back: there is one at hand to be held against.
    pub(super) fn can_hold(&self) -> bool {
        matches!(&self.0, Kind::Web(web) if web.seen().contains_key(&NoteName::Head))
    }

    /// A note beside the files.
    pub(crate) async fn note(&self, name: NoteName, hold: bool) -> Result<Answer, SyncError> {
        match &self.0 {
            Kind::Directory(directory) => {
                let directory = directory.clone();
                let read = super::target::blocking(move || directory.note(name.as_str())).await;
                Ok(read.map_err(SyncError::Source)?.map_or(Answer::Missing, Answer::Text))
            }
            Kind::Web(web) => web.note(name, hold).await,
        }
    }

    /// Asks for whole notes again next time.
    pub(super) fn forget(&self) {
        if let Kind::Web(web) = &self.0 {
            web.seen().clear();
        }
    }

    /// Asks for this note whole next time.
    pub(super) fn forget_note(&self, name: NoteName) {
        if let Kind::Web(web) = &self.0 {
            web.seen().remove(&name);
        }
    }

    /// A file's bytes, at most `limit`; `None` where it is not there. `progress` hears of every part.
    pub(crate) async fn file(
        &self,
        name: &FileName,
        limit: u64,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Option<Vec<u8>>, SyncError> {
        let bytes = match &self.0 {
            Kind::Directory(directory) => {
                let (directory, file) = (directory.clone(), *name);
                let read = super::target::blocking(move || directory.file(&file, limit)).await;
                let bytes = read.map_err(SyncError::Source)?;
                progress(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64));
                bytes
            }
            Kind::Web(Web { client, base, token, .. }) => {
                let request = client.get(format!("{base}/{FILES}/{name}"));
                match answer(request, token.as_ref()).await? {
                    response if response.status() == StatusCode::NOT_FOUND => None,
                    response => Some(body(accepted(response)?, limit, progress).await?),
                }
            }
        };
        bytes.map(|bytes| within(bytes, limit, name)).transpose()
    }
}

impl Web {
    async fn note(&self, name: NoteName, hold: bool) -> Result<Answer, SyncError> {
        let mut request = self.client.get(format!("{}/{}", self.base, name.as_str()));
        let seen = self.seen().get(&name).cloned();
        // Without a head at hand there is nothing to wait for.
        let hold = hold && seen.is_some();
        if let Some(seen) = seen {
            request = request.header(IF_NONE_MATCH, seen);
        }
        if hold {
            request = request.header(PREFER, format!("wait={}", LONG_POLL.as_secs()));
        }
        let response = answer(request, self.token.as_ref()).await?;
        // An answer with another head needs no waiting, and may say nothing of it.
        let waited = has_waited(response.headers());
        if hold && (waited || response.status() == StatusCode::NOT_MODIFIED) {
            *self.holds.lock().unwrap_or_else(PoisonError::into_inner) = Some(waited);
        }
        // Some object stores say so of what is not there; whether we may read, the head tells.
        let may_lack = name != NoteName::Head && response.status() == StatusCode::FORBIDDEN;
        if response.status() == StatusCode::NOT_FOUND || may_lack {
            self.seen().remove(&name);
            return Ok(Answer::Missing);
        }
        let response = accepted(response)?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(Answer::Unchanged);
        }
        let tag = response.headers().get(ETAG).cloned();
        let bytes = body(response, MAX_NOTE_LEN as u64, &|_| {}).await?;
        match tag {
            Some(tag) => self.seen().insert(name, tag),
            None => self.seen().remove(&name),
        };
        // What is not text is no note, and is refused as such.
        Ok(Answer::Text(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<NoteName, HeaderValue>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has_waited(headers: &HeaderMap) -> bool {
    let applied = headers.get_all(PREFERENCE_APPLIED).iter().filter_map(|value| value.to_str().ok());
    applied.flat_map(|list| list.split(',')).any(|one| one.trim().to_ascii_lowercase().starts_with("wait"))
}

fn within(bytes: Vec<u8>, limit: u64, name: &FileName) -> Result<Vec<u8>, SyncError> {
    if bytes.len() as u64 > limit {
        return Err(SyncError::Untrusted(format!("the source's {name} is longer than it may be")));
    }
    Ok(bytes)
}

async fn answer(request: reqwest::RequestBuilder, token: Option<&SecretString>) -> Result<Response, SyncError> {
    let request = match token {
        Some(token) => request.bearer_auth(token.expose_secret()),
        None => request,
    };
    request.send().await.map_err(|error| broken(&error))
}

fn accepted(response: Response) -> Result<Response, SyncError> {
    match response.status() {
        StatusCode::OK | StatusCode::NOT_MODIFIED => Ok(response),
        status => {
            let advice = match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ": is NIGHTLATCH_TOKEN a token of this set?",
                _ => "",
            };
            Err(SyncError::Source(format!("{} answered {status}{advice}", response.url())))
        }
    }
}

/// Reads at most one byte more than allowed.
async fn body(response: Response, limit: u64, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<u8>, SyncError> {
    let mut bytes = Vec::new();
    let mut parts = response.bytes_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| broken(&error))?;
        progress(part.len() as u64);
        let room = (limit + 1).saturating_sub(bytes.len() as u64);
        let taken = part.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        bytes.extend_from_slice(&part[..taken]);
        if taken < part.len() {
            break;
        }
    }
    Ok(bytes)
}

fn broken(error: &reqwest::Error) -> SyncError {
    SyncError::Source(chain(error))
}

/// An error and its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
