//! Where a set is copied from.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use nightlatch_keyset::FileName;
use nightlatch_keyset::note::MAX_NOTE_LEN;
use reqwest::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use reqwest::{Client, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};

use super::SyncError;
use crate::publisher::SetDirectory;
use crate::publisher::directory::{FILES, HEAD};

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long to wait for the next bytes.
const READ: Duration = Duration::from_secs(30);

/// A published set, read only.
#[derive(Debug)]
pub struct Source(Kind);

#[derive(Debug)]
enum Kind {
    Directory(SetDirectory),
    Web { client: Client, base: String, token: Option<SecretString>, seen: Option<HeaderValue> },
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
            return Ok(Self(Kind::Web { client, base, token, seen: None }));
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
            Kind::Web { .. } => None,
        }
    }

    /// The head's text; `None` where it is the one that was read last.
    pub(crate) async fn head(&mut self) -> Result<Option<String>, SyncError> {
        match &mut self.0 {
            Kind::Directory(directory) => {
                let directory = directory.clone();
                let note = super::target::blocking(move || directory.head()).await.map_err(SyncError::Source)?;
                note.map(Some).ok_or_else(|| SyncError::Source("nothing is published there yet".into()))
            }
            Kind::Web { client, base, token, seen } => {
                let mut request = client.get(format!("{base}/{HEAD}"));
                if let Some(seen) = seen {
                    request = request.header(IF_NONE_MATCH, seen.clone());
                }
                let response = send(request, token.as_ref()).await?;
                if response.status() == StatusCode::NOT_MODIFIED {
                    return Ok(None);
                }
                let tag = response.headers().get(ETAG).cloned();
                let bytes = body(response, MAX_NOTE_LEN as u64, &|_| {}).await?;
                *seen = tag;
                // What is not text is no note, and is refused as such.
                Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
            }
        }
    }

    /// Asks for the whole head again next time.
    pub(super) fn forget(&mut self) {
        if let Kind::Web { seen, .. } = &mut self.0 {
            *seen = None;
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
            Kind::Web { client, base, token, .. } => {
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

fn within(bytes: Vec<u8>, limit: u64, name: &FileName) -> Result<Vec<u8>, SyncError> {
    if bytes.len() as u64 > limit {
        return Err(SyncError::Untrusted(format!("the source's {name} is longer than it may be")));
    }
    Ok(bytes)
}

async fn send(request: reqwest::RequestBuilder, token: Option<&SecretString>) -> Result<Response, SyncError> {
    accepted(answer(request, token).await?)
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
                StatusCode::NOT_FOUND => ": is the source the set's address, https://…/v1/sets/set_…?",
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
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    SyncError::Source(text)
}
