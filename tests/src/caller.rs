//! A caller of the gated service, and the one that follows the two-key procedure.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use nightlatch_api::Secret;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::clock::now;

/// Calls the service through an edge.
#[derive(Clone)]
pub struct Caller {
    edge: String,
    http: reqwest::Client,
}

/// What came back.
#[derive(Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The `code` of a problem document.
    pub code: Option<String>,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body as text.
    pub body: String,
    /// When the request was sent.
    pub sent: Timestamp,
    /// When the answer was there.
    pub received: Timestamp,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (sent {}, received {})", self.status, self.body, self.sent, self.received)
    }
}

impl Caller {
    /// A caller of the edge at this base URL.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(edge: &str) -> Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            // workerd closes a connection after five idle seconds. Whoever sends at that moment finds it reset, which
            // says nothing about keys.
            .pool_idle_timeout(Duration::from_secs(1))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { edge: edge.to_owned(), http })
    }

    /// Gets a path with a key.
    ///
    /// # Errors
    /// When no answer comes back.
    pub async fn get(&self, path: &str, key: &str) -> Result<Answer> {
        self.send(Method::GET, path, Some(key)).await
    }

    /// Sends a request, with or without a key.
    ///
    /// # Errors
    /// When no answer comes back.
    pub async fn send(&self, method: Method, path: &str, key: Option<&str>) -> Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.edge));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        Ok(Answer::to(request).await?)
    }
}

impl Answer {
    /// Sends a request and reads what comes back.
    ///
    /// # Errors
    /// When no answer comes back.
    pub async fn to(request: reqwest::RequestBuilder) -> reqwest::Result<Self> {
        let sent = now();
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.text().await?;
        let code = serde_json::from_str::<Value>(&body).ok().and_then(|b| b["code"].as_str().map(str::to_owned));
        Ok(Self { status, code, headers, body, sent, received: now() })
    }

    /// Checks the status, and the code of a refusal.
    ///
    /// # Errors
    /// With the whole answer, when it is another.
    pub fn expect(self, status: u16, code: Option<&str>) -> Result<Self> {
        ensure!(self.status == status && self.code.as_deref() == code, "expected {status} {code:?}, got {self:?}");
        Ok(self)
    }

    /// Checks that the request was let through.
    ///
    /// # Errors
    /// With the whole answer, when it was not.
    pub fn allowed(self) -> Result<Self> {
        self.expect(200, None)
    }

    /// Checks that the key was refused, for that reason.
    ///
    /// # Errors
    /// With the whole answer, when it was not.
    pub fn refused(self, code: &str) -> Result<Self> {
        self.expect(401, Some(code))
    }

    /// A header field as text; empty where there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A program that holds a new and an old key, as in the two-key procedure: the new one is tried first, the old one only
/// after a 401, and every other failure is raised.
pub struct TwoKeyClient {
    caller: Caller,
    new: Secret,
    old: Secret,
}

/// Which of its keys a [`TwoKeyClient`] got through with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// The first try.
    New,
    /// The second.
    Old,
}

impl TwoKeyClient {
    /// One deploy brings both keys in.
    #[must_use]
    pub fn deploy(caller: Caller, new: &Secret, old: &Secret) -> Self {
        Self { caller, new: new.clone(), old: old.clone() }
    }

    /// Makes a call and says which key it took.
    ///
    /// # Errors
    /// The answer, when it is neither a success nor a 401, and when both keys get a 401.
    pub async fn get(&self, path: &str) -> Result<Used> {
        let answer = self.caller.get(path, self.new.expose()).await?;
        if answer.status != 401 {
            return raise(&answer).map(|()| Used::New);
        }
        raise(&self.caller.get(path, self.old.expose()).await?).map(|()| Used::Old)
    }
}

fn raise(answer: &Answer) -> Result<()> {
    ensure!(answer.status < 300, "{answer:?}");
    Ok(())
}
