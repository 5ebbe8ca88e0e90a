//! Sending one request and reading its answer.

use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH};
use reqwest::{Method, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ClientError;
use super::session::SessionProof;
use crate::Problem;

/// How long one call may take. An import of 10,000 lines is the longest there is.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of a foreign answer an error repeats.
const FOREIGN_START: usize = 200;

/// A client of one control plane. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    base: Url,
    token: Option<SecretString>,
    session: Option<SessionProof>,
    idempotency_key: Option<String>,
    request_id: Option<String>,
    http: reqwest::Client,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base.as_str())
            .field("token", &self.token.as_ref().map(|_| "hidden"))
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// An answer together with its `ETag`, which the next change of the same thing has to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged<T> {
    /// The answer.
    pub value: T,
    /// Its version.
    pub etag: String,
}

impl Client {
    /// A client of the control plane at this address, such as `http://127.0.0.1:8717`.
    ///
    /// # Errors
    /// When the address is not an `http` or `https` URL.
    pub fn new(base: &str) -> Result<Self, ClientError> {
        let bad = || ClientError::BadAddress(base.to_owned());
        let mut url = Url::parse(base).map_err(|_| bad())?;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(bad());
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        let http = reqwest::Client::builder()
            .timeout(CALL_TIMEOUT)
            .build()
            .map_err(|source| ClientError::Transport { url: base.to_owned(), source })?;
        Ok(Self { base: url, token: None, session: None, idempotency_key: None, request_id: None, http })
    }

    /// The same client, proving itself with this token.
    #[must_use]
    pub fn with_token(&self, token: impl Into<SecretString>) -> Self {
        Self { token: Some(token.into()), session: None, ..self.clone() }
    }

    /// The same client, making its calls in this session.
    pub(super) fn with_session(&self, session: SessionProof) -> Self {
        Self { token: None, session: Some(session), ..self.clone() }
    }

    /// The same client, sending this `Idempotency-Key` with every call: use it for one creation and its retries.
    #[must_use]
    pub fn with_idempotency_key(&self, key: impl Into<String>) -> Self {
        Self { idempotency_key: Some(key.into()), ..self.clone() }
    }

    /// The same client, naming its requests for the server's log.
    #[must_use]
    pub fn with_request_id(&self, id: impl Into<String>) -> Self {
        Self { request_id: Some(id.into()), ..self.clone() }
    }

    /// The address of the control plane, ending in a slash.
    pub fn base(&self) -> &str {
        self.base.as_str()
    }

    pub(super) async fn read<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ClientError> {
        decode(self.send(Method::GET, path, |r| r).await?).await
    }

    pub(super) async fn list<Q, T>(&self, path: &[&str], query: &Q) -> Result<T, ClientError>
    where
        Q: Serialize + ?Sized + Sync,
        T: DeserializeOwned,
    {
        decode(self.send(Method::GET, path, |r| r.query(query)).await?).await
    }

    pub(super) async fn read_tagged<Q, T>(&self, path: &[&str], query: &Q) -> Result<Tagged<T>, ClientError>
    where
        Q: Serialize + ?Sized + Sync,
        T: DeserializeOwned,
    {
        tagged(self.send(Method::GET, path, |r| r.query(query)).await?).await
    }

    pub(super) async fn post<B, T>(&self, path: &[&str], body: &B) -> Result<T, ClientError>
    where
        B: Serialize + ?Sized + Sync,
        T: DeserializeOwned,
    {
        decode(self.send(Method::POST, path, |r| r.json(body)).await?).await
    }

    pub(super) async fn put<B, T>(&self, path: &[&str], body: &B) -> Result<T, ClientError>
    where
        B: Serialize + ?Sized + Sync,
        T: DeserializeOwned,
    {
        decode(self.send(Method::PUT, path, |r| r.json(body)).await?).await
    }

    pub(super) async fn post_lines<Q, T>(&self, path: &[&str], query: &Q, lines: Vec<u8>) -> Result<T, ClientError>
    where
        Q: Serialize + ?Sized + Sync,
        T: DeserializeOwned,
    {
        let response = self
            .send(Method::POST, path, |r| r.query(query).header(CONTENT_TYPE, "application/x-ndjson").body(lines))
            .await?;
        decode(response).await
    }

    pub(super) async fn change<Q, B, T>(
        &self,
        method: Method,
        path: &[&str],
        query: &Q,
        etag: &str,
        body: &B,
    ) -> Result<Tagged<T>, ClientError>
    where
        Q: Serialize + ?Sized + Sync,
        B: Serialize + ?Sized + Sync,
        T: DeserializeOwned,
    {
        let response = self.send(method, path, |r| r.query(query).header(IF_MATCH, etag).json(body)).await?;
        tagged(response).await
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &[&str],
        build: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Result<Response, ClientError> {
        let mut url = self.base.clone();
        // Segment by segment, so that an id typed wrongly cannot become another path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = build(self.http.request(method, url.clone()).headers(self.headers()?));
        let response = request
            .send()
            .await
            .map_err(|source| ClientError::Transport { url: url.to_string(), source: source.without_url() })?;
        let status = response.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        let body = bytes(response).await?;
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
            Err(_) => Err(foreign(url.as_str(), status, &body)),
        }
    }

    fn headers(&self) -> Result<HeaderMap, ClientError> {
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.token {
            let text = format!("Bearer {}", token.expose_secret());
            let mut value = HeaderValue::from_str(&text).map_err(|_| ClientError::BadToken)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        if let Some(session) = &self.session {
            session.put(&mut headers)?;
        }
        for (name, text) in [("idempotency-key", &self.idempotency_key), ("x-request-id", &self.request_id)] {
            if let Some(value) = text.as_ref().and_then(|t| HeaderValue::from_str(t).ok()) {
                headers.insert(name, value);
            }
        }
        Ok(headers)
    }
}

pub(super) async fn bytes(response: Response) -> Result<Vec<u8>, ClientError> {
    let url = response.url().to_string();
    match response.bytes().await {
        Ok(body) => Ok(body.into()),
        Err(source) => Err(ClientError::Transport { url, source: source.without_url() }),
    }
}

pub(super) async fn decode<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    let (url, status) = (response.url().to_string(), response.status());
    let body = bytes(response).await?;
    serde_json::from_slice(&body).map_err(|_| foreign(&url, status, &body))
}

async fn tagged<T: DeserializeOwned>(response: Response) -> Result<Tagged<T>, ClientError> {
    let etag = response.headers().get(ETAG).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    Ok(Tagged { value: decode(response).await?, etag })
}

fn foreign(url: &str, status: StatusCode, body: &[u8]) -> ClientError {
    let start = &body[..body.len().min(FOREIGN_START)];
    ClientError::Foreign {
        url: url.to_owned(),
        status: status.as_u16(),
        start: String::from_utf8_lossy(start).escape_debug().to_string(),
    }
}
