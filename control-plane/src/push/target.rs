//! Where heads are pushed to.

use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};

use super::PushError;
use super::socket::{Socket, connect};

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long one head, or the start of a WebSocket, may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// An address that takes heads, and the token it asks for.
#[derive(Clone)]
pub struct PushTarget {
    client: Client,
    /// As it was given, without what is not to be shown.
    shown: String,
    url: Url,
    authorization: HeaderValue,
    is_socket: bool,
}

impl PushTarget {
    /// `wss://…` for a WebSocket, `https://…` for a POST for each head; `ws://` and `http://` where the network between is
    /// trusted.
    ///
    /// # Errors
    /// [`PushError::Usage`] for any other address, one that holds a password, and a token that no header field can hold.
    pub fn new(address: &str, token: &SecretString) -> Result<Self, PushError> {
        let usage = |what: &str| PushError::Usage(format!("--push {address}: {what}"));
        let (is_socket, web) = match address.split_once("://") {
            Some(("wss", rest)) => (true, format!("https://{rest}")),
            Some(("ws", rest)) => (true, format!("http://{rest}")),
            Some(("https" | "http", _)) => (false, address.to_owned()),
            _ => return Err(usage("it is wss://… or https://…")),
        };
        let url: Url = web.parse().map_err(|_| usage("this is no address"))?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(PushError::Usage(
                "--push takes an address without user, password and fragment; the token comes from NIGHTLATCH_PUSH_TOKEN"
                    .into(),
            ));
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
            .map_err(|_| PushError::Usage("the token in NIGHTLATCH_PUSH_TOKEN is not one line of plain text".into()))?;
        authorization.set_sensitive(true);
        let client = Client::builder()
            .connect_timeout(CONNECT)
            // A token is for the address it was given for.
            .redirect(Policy::none())
            // Only HTTP/1.1 can be upgraded; a POST now and then needs no more either.
            .http1_only()
            .user_agent(concat!("nightlatch/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| PushError::Usage(error.to_string()))?;
        Ok(Self { client, shown: address.to_owned(), url, authorization, is_socket })
    }

    /// The address, for people.
    pub fn address(&self) -> &str {
        &self.shown
    }

    pub(super) fn is_socket(&self) -> bool {
        self.is_socket
    }

    /// Opens a WebSocket.
    pub(super) async fn open(&self, random: fn(&mut [u8])) -> Result<Socket, PushError> {
        let request = self.client.get(self.url.clone()).header(AUTHORIZATION, self.authorization.clone());
        in_time(connect(request, random)).await
    }

    /// Sends one head in a request of its own.
    pub(super) async fn post(&self, head: &str) -> Result<(), PushError> {
        let request = self.client.post(self.url.clone()).header(AUTHORIZATION, self.authorization.clone());
        let request = request.header(CONTENT_TYPE, "text/plain; charset=utf-8").body(head.to_owned());
        in_time(async {
            let response = request.send().await.map_err(|error| PushError::Failed(chain(&error)))?;
            if response.status().is_success() { Ok(()) } else { Err(refused(response.status())) }
        })
        .await
    }
}

impl fmt::Debug for PushTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PushTarget({})", self.shown)
    }
}

pub(super) async fn in_time<T>(work: impl Future<Output = Result<T, PushError>>) -> Result<T, PushError> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result,
        Err(_) => Err(PushError::Failed(format!("it took longer than {} s", PATIENCE.as_secs()))),
    }
}

pub(super) fn refused(status: StatusCode) -> PushError {
    let advice = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ": is NIGHTLATCH_PUSH_TOKEN the token of that Worker?",
        StatusCode::NOT_FOUND => ": does the Worker take pushes, and is the set's id the last part of the address?",
        status if status.is_redirection() => ": give the address that it leads to",
        _ => "",
    };
    PushError::Failed(format!("it answered {status}{advice}"))
}

/// An error and its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_and_tokens_stay_hidden() {
        let token = SecretString::from("nlp_secret");
        let target = |address: &str| PushTarget::new(address, &token);
        assert!(target("wss://edge.example/push/set_a").unwrap().is_socket());
        assert!(!target("https://edge.example/push/set_a").unwrap().is_socket());
        for bad in ["edge.example", "ftp://edge.example", "wss://", "wss://user:word@edge.example/push"] {
            let error = target(bad).unwrap_err();
            assert!(matches!(error, PushError::Usage(_)) && !error.to_string().contains("word@"), "{error}");
        }
        let shown = format!("{:?}", target("wss://edge.example/push/set_a").unwrap());
        assert!(!shown.contains("secret"), "{shown}");
        assert!(PushTarget::new("wss://edge.example", &SecretString::from("two\nlines")).is_err());
    }
}
