//! Requests to Cloudflare's REST API for Workers KV: what is tried again, and what its refusals mean to people.

use std::time::Duration;

use futures::StreamExt as _;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::SyncError;
use crate::store::os_random;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long to wait for the next bytes of an answer.
const READ: Duration = Duration::from_secs(60);
/// How often a request is made before the pass fails.
const ATTEMPTS: u32 = 6;
/// The wait after the first failure; it doubles with every further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait that an answer may ask for: Cloudflare counts requests in windows of five minutes.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The wait where a refusal for too many writes does not say how long.
const UNSAID_WAIT: Duration = Duration::from_secs(1);
/// The largest JSON answer that is read, in bytes: a page of a listing has at most 1,000 names with their metadata.
const MAX_ANSWER: u64 = 8 << 20;

/// Why a request has come to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// Too many writes; it may be made again after this long.
    TooMany(Duration),
    /// Anything else, or too many for too long.
    Error(SyncError),
}

impl From<Failure> for SyncError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TooMany(wait) => Self::Target(format!(
                "Workers KV refuses for too many requests (429) and asks to wait {} s: other programs may use up the \
                 account's limit of 1,200 requests in five minutes",
                wait.as_secs().max(1)
            )),
            Failure::Error(error) => error,
        }
    }
}

/// Whether a request that was refused for being one of too many is made again here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenTooMany {
    /// After the wait that the answer asks for.
    Wait,
    /// By the caller, who may have something newer to write by then.
    Tell,
}

/// One namespace of one account.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    url: String,
    account: String,
    token: SecretString,
}

/// What every JSON answer looks like.
#[derive(Debug, Deserialize)]
struct Envelope<T> {
    result: Option<T>,
    #[serde(default)]
    result_info: Option<ResultInfo>,
}

#[derive(Debug, Default, Deserialize)]
struct ResultInfo {
    #[serde(default)]
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Refused {
    #[serde(default)]
    errors: Vec<ApiError>,
}

#[derive(Debug, Deserialize)]
struct ApiError {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

/// A request's body.
#[derive(Clone)]
pub(super) enum Body {
    None,
    Raw(bytes::Bytes),
    Json(bytes::Bytes),
}

impl Api {
    pub(super) fn new(api_url: &str, account: &str, namespace: &str, token: SecretString) -> Result<Self, SyncError> {
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(READ)
            .user_agent(concat!("nightlatch/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| SyncError::Usage(error.to_string()))?;
        let base = api_url.trim_end_matches('/');
        let url = format!("{base}/accounts/{account}/storage/kv/namespaces/{namespace}");
        Ok(Self { client, url, account: account.to_owned(), token })
    }

    /// A value's bytes, at most `limit` and one more; `None` where there is none.
    pub(super) async fn value(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, SyncError> {
        let path = format!("/values/{}", in_path(key));
        let response = self.send(Method::GET, &path, Body::None, WhenTooMany::Wait).await?;
        match response.status() {
            // A namespace that is not there would have shown in the listing that every job begins with.
            StatusCode::NOT_FOUND => Ok(None),
            _ => Ok(Some(read(response, limit).await?)),
        }
    }

    /// Writes one value as it is.
    pub(super) async fn put(&self, key: &str, value: bytes::Bytes, when: WhenTooMany) -> Result<(), Failure> {
        let path = format!("/values/{}", in_path(key));
        let response = self.send(Method::PUT, &path, Body::Raw(value), when).await?;
        self.found(response).await.map(drop).map_err(Failure::Error)
    }

    /// Makes a call that answers with JSON. Returns the result, and the cursor of what follows.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<(T, Option<String>), SyncError> {
        let response = self.send(method, path, body, WhenTooMany::Wait).await?;
        let response = self.found(response).await?;
        let answer = read(response, MAX_ANSWER).await?;
        let answer: Envelope<T> = serde_json::from_slice(&answer)
            .map_err(|error| SyncError::Target(format!("Workers KV answered what is not its API's: {error}")))?;
        let result = answer.result.ok_or_else(|| SyncError::Target("Workers KV answered without a result".into()))?;
        let cursor = answer.result_info.and_then(|info| info.cursor).filter(|cursor| !cursor.is_empty());
        Ok((result, cursor))
    }

    /// Sends until there is an answer that is final: a success, or a 404, which only some callers take for an error.
    async fn send(&self, method: Method, path: &str, body: Body, when: WhenTooMany) -> Result<Response, Failure> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let last = attempt == ATTEMPTS;
            let wait = match self.request(method.clone(), path, body.clone()).send().await {
                Ok(response) if response.status().is_success() || response.status() == StatusCode::NOT_FOUND => {
                    return Ok(response);
                }
                Ok(response) if response.status() == StatusCode::TOO_MANY_REQUESTS => {
                    let wait = asked_to_wait(&response).unwrap_or(UNSAID_WAIT);
                    if last || when == WhenTooMany::Tell || wait > LONGEST_WAIT {
                        return Err(Failure::TooMany(wait));
                    }
                    wait
                }
                Ok(response) if response.status().is_server_error() && !last => {
                    asked_to_wait(&response).filter(|wait| *wait <= LONGEST_WAIT).unwrap_or_default()
                }
                Ok(response) => return Err(Failure::Error(self.refused(response).await)),
                Err(error) if last => return Err(Failure::Error(broken(&error))),
                Err(_) => Duration::ZERO,
            };
            let wait = wait.max(pause(attempt));
            tracing::debug!(attempt, wait_ms = wait.as_millis(), "Workers KV is asked again");
            tokio::time::sleep(wait).await;
        }
    }

    fn request(&self, method: Method, path: &str, body: Body) -> RequestBuilder {
        let request =
            self.client.request(method, format!("{}{path}", self.url)).bearer_auth(self.token.expose_secret());
        match body {
            Body::None => request,
            Body::Raw(bytes) => request.header(CONTENT_TYPE, "application/octet-stream").body(bytes),
            Body::Json(bytes) => request.header(CONTENT_TYPE, "application/json").body(bytes),
        }
    }

    async fn found(&self, response: Response) -> Result<Response, SyncError> {
        if response.status() == StatusCode::NOT_FOUND { Err(self.refused(response).await) } else { Ok(response) }
    }

    async fn refused(&self, response: Response) -> SyncError {
        let status = response.status();
        let text = read(response, MAX_ANSWER).await.unwrap_or_default();
        let said = serde_json::from_slice::<Refused>(&text).unwrap_or(Refused { errors: Vec::new() }).errors;
        let said: Vec<_> = said.iter().map(|error| format!("{} ({})", error.message, error.code)).collect();
        let said = if said.is_empty() { String::new() } else { format!(", {}", said.join(", ")) };
        let advice = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
                ": the token in NIGHTLATCH_KV_TOKEN needs the permission “Workers KV Storage: Edit” for the account {}",
                self.account
            ),
            StatusCode::BAD_REQUEST => ": is the text in NIGHTLATCH_KV_TOKEN an API token, whole?".to_owned(),
            StatusCode::NOT_FOUND => {
                ": is the target kv:ACCOUNT/NAMESPACE with the two ids, as the dashboard shows them?".to_owned()
            }
            status if status.is_server_error() => {
                format!(", {ATTEMPTS} times: see www.cloudflarestatus.com, or --kv-api-url")
            }
            _ => String::new(),
        };
        SyncError::Target(format!("Workers KV answered {status}{said}{advice}"))
    }
}

/// Names are made of letters, digits and `-._/`; a slash would end the path's segment.
fn in_path(key: &str) -> String {
    key.replace('/', "%2F")
}

fn asked_to_wait(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// Between half and all of a wait that doubles, so that jobs do not fall in step.
fn pause(attempt: u32) -> Duration {
    let longest = FIRST_WAIT * (1 << attempt.min(10).saturating_sub(1));
    let mut byte = [0];
    os_random(&mut byte);
    longest / 2 + longest / 2 * u32::from(byte[0]) / 255
}

/// Reads at most one byte more than allowed.
async fn read(response: Response, limit: u64) -> Result<Vec<u8>, SyncError> {
    let mut bytes = Vec::new();
    let mut parts = response.bytes_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| broken(&error))?;
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
    SyncError::Target(format!("Workers KV cannot be reached: {}", super::super::source::chain(error)))
}
