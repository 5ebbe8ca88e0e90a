//! Where the set is read: a control plane or static origin over HTTP, or a directory.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, ETAG, HeaderValue, IF_NONE_MATCH};
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use nightlatch_keyset::note::MAX_NOTE_LEN;
use nightlatch_sync::Fetch;
use tokio::time::timeout;

use crate::config::{Config, Credential, Place};
use crate::http::{self as web, BodyError, Client};
use crate::store::Note;

/// How long a note, or the beginning of a file, may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes a second at which a file comes at the slowest, beyond [`TIMEOUT`].
const SLOWEST: u64 = 200_000;

/// What a source says of one of its notes.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It is the one of the entity tag.
    Unchanged,
    /// There is none.
    Missing,
    /// Its text, and its entity tag where it has one.
    Note { text: String, etag: Option<HeaderValue> },
}

/// Why something cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("the file does not exist")]
    Missing,
    #[error("the source did not answer in time")]
    Timeout,
    #[error("the source cannot be reached: {0}")]
    Network(String),
    #[error("the source answered {0}{1}")]
    Status(StatusCode, &'static str),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the note is not text")]
    NotText,
    #[error("{0}: {1}")]
    Disk(PathBuf, io::Error),
}

/// A source of one set.
pub(crate) struct Source {
    place: Place,
    credential: Option<Credential>,
    client: Client<Empty<Bytes>>,
}

impl Source {
    /// The source of a configuration.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub(crate) fn new(config: &Config) -> Result<Self, String> {
        Ok(Self { place: config.source.clone(), credential: config.credential.clone(), client: web::client()? })
    }

    /// Whether it can hold a question open.
    pub(crate) fn is_web(&self) -> bool {
        matches!(self.place, Place::Web(_))
    }

    /// Asks for a note, unless it is still the one of `etag`. With `hold`, the source may take that many seconds
    /// to answer where it is; the second value says whether it does such a thing.
    pub(crate) async fn note(
        &self,
        note: Note,
        etag: Option<&HeaderValue>,
        hold: Option<u64>,
    ) -> Result<(Answer, bool), FetchError> {
        match &self.place {
            Place::Directory(directory) => {
                let path = directory.join(note.name());
                let Some(bytes) = read_file(&path, MAX_NOTE_LEN as u64)? else {
                    return Ok((Answer::Missing, false));
                };
                let text = String::from_utf8(bytes).map_err(|_| FetchError::NotText)?;
                Ok((Answer::Note { text, etag: None }, false))
            }
            Place::Web(base) => {
                let mut request = self.get(&format!("{base}/{}", note.name()))?;
                let mut patience = TIMEOUT;
                if let Some(etag) = etag {
                    request.headers_mut().insert(IF_NONE_MATCH, etag.clone());
                    if let Some(seconds) = hold
                        && let Ok(wait) = HeaderValue::try_from(format!("wait={seconds}"))
                    {
                        request.headers_mut().insert("prefer", wait);
                        patience += Duration::from_secs(seconds);
                    }
                }
                let response = self.send(request, patience).await?;
                let held = response
                    .headers()
                    .get("preference-applied")
                    .is_some_and(|value| value.as_bytes().starts_with(b"wait"));
                match response.status() {
                    StatusCode::NOT_MODIFIED if etag.is_some() => return Ok((Answer::Unchanged, held)),
                    StatusCode::NOT_FOUND => return Ok((Answer::Missing, held)),
                    _ => {}
                }
                let response = accepted(response)?;
                let etag = response.headers().get(ETAG).cloned();
                let read = timeout(TIMEOUT, web::read(response, MAX_NOTE_LEN as u64, &[0]));
                let mut pieces = read.await.map_err(|_| FetchError::Timeout)??;
                let text = String::from_utf8(pieces.pop().unwrap_or_default()).map_err(|_| FetchError::NotText)?;
                Ok((Answer::Note { text, etag }, held))
            }
        }
    }

    /// Fetches a file, in pieces of these lengths.
    pub(crate) async fn file(&self, fetch: &Fetch, lens: &[usize]) -> Result<Vec<Vec<u8>>, FetchError> {
        match &self.place {
            Place::Directory(directory) => {
                let path = directory.join("files").join(fetch.name.to_text());
                let bytes = read_file(&path, fetch.max_len)?.ok_or(FetchError::Missing)?;
                Ok(cut(bytes, lens))
            }
            Place::Web(base) => {
                let request = self.get(&format!("{base}/files/{}", fetch.name))?;
                let response = accepted(self.send(request, TIMEOUT).await?)?;
                let patience = TIMEOUT + Duration::from_secs(fetch.max_len / SLOWEST);
                let read = timeout(patience, web::read(response, fetch.max_len, lens));
                Ok(read.await.map_err(|_| FetchError::Timeout)??)
            }
        }
    }

    fn get(&self, url: &str) -> Result<Request<Empty<Bytes>>, FetchError> {
        let mut request =
            Request::get(url).body(Empty::new()).map_err(|error| FetchError::Network(error.to_string()))?;
        // A length that was checked must not grow while it is unpacked.
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(value) = self.credential.as_ref().and_then(Credential::header) {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }

    async fn send(&self, request: Request<Empty<Bytes>>, patience: Duration) -> Result<Response<Incoming>, FetchError> {
        let answer = timeout(patience, self.client.request(request)).await.map_err(|_| FetchError::Timeout)?;
        answer.map_err(|error| FetchError::Network(chain(&error)))
    }
}

/// An error and its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

fn accepted(response: Response<Incoming>) -> Result<Response<Incoming>, FetchError> {
    match response.status() {
        StatusCode::OK => Ok(response),
        StatusCode::NOT_FOUND => Err(FetchError::Missing),
        status => {
            let advice = match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    ": does credential_file hold a credential of this set?"
                }
                _ => "",
            };
            Err(FetchError::Status(status, advice))
        }
    }
}

fn read_file(path: &Path, max_len: u64) -> Result<Option<Vec<u8>>, FetchError> {
    let failed = |error| FetchError::Disk(path.to_owned(), error);
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let len = file.metadata().map_err(failed)?.len();
    if len > max_len {
        return Err(BodyError::TooLong.into());
    }
    let mut bytes = Vec::with_capacity(len as usize);
    file.take(max_len + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max_len { Err(BodyError::TooLong.into()) } else { Ok(Some(bytes)) }
}

/// Cuts bytes into pieces of these lengths; whatever is more goes into the last one.
pub(crate) fn cut(bytes: Vec<u8>, lens: &[usize]) -> Vec<Vec<u8>> {
    if lens.len() < 2 {
        return vec![bytes];
    }
    let mut rest = bytes.as_slice();
    let mut pieces = Vec::with_capacity(lens.len());
    for len in &lens[..lens.len() - 1] {
        let (piece, after) = rest.split_at((*len).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = after;
    }
    pieces.push(rest.to_vec());
    pieces
}
