//! Sessions, for programs that ask a person for their password.

use std::fmt;

use reqwest::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use reqwest::{Method, Response};
use secrecy::{ExposeSecret as _, SecretString};

use super::request::decode;
use super::{Client, ClientError};
use crate::{AcceptInvitation, AcceptedInvitation, ChangePassword, SignIn, SignedIn, StepUp};

/// The session's cookie.
const COOKIE_NAME: &str = "__Host-nightlatch=";
const CSRF: HeaderName = HeaderName::from_static("x-nightlatch-csrf");

/// What proves that a call is made in a session.
#[derive(Clone)]
pub(super) struct SessionProof {
    /// `name=value`.
    cookie: SecretString,
    csrf: SecretString,
}

impl SessionProof {
    /// Of an answer that starts a session or renews its secret.
    fn of(headers: &HeaderMap, signed_in: &SignedIn) -> Option<Self> {
        let mut cookies = headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
        let cookie = cookies.find(|cookie| cookie.starts_with(COOKIE_NAME))?.split(';').next()?;
        let csrf = signed_in.csrf.as_ref()?.expose();
        Some(Self { cookie: cookie.into(), csrf: csrf.into() })
    }

    pub(super) fn put(&self, headers: &mut HeaderMap) -> Result<(), ClientError> {
        for (name, text) in [(COOKIE, &self.cookie), (CSRF, &self.csrf)] {
            let mut value = HeaderValue::from_str(text.expose_secret()).map_err(|_| ClientError::BadToken)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(())
    }
}

impl fmt::Debug for SessionProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
}

/// Every method fails with [`ClientError::Problem`] where the server refuses.
#[expect(clippy::missing_errors_doc, reason = "said once for the whole block")]
impl Client {
    /// Takes an invitation up, by its code.
    pub async fn accept_invitation(&self, request: &AcceptInvitation) -> Result<AcceptedInvitation, ClientError> {
        self.post(&["v1", "invites", "accept"], request).await
    }

    /// Signs in. With the answer a client whose calls are made in the session, or `None` where the answer says what is
    /// missing for one.
    pub async fn sign_in(&self, request: &SignIn) -> Result<(SignedIn, Option<Self>), ClientError> {
        self.renewed(self.send(Method::POST, &["v1", "session"], |r| r.json(request)).await?).await
    }

    /// Proves once more who holds the session. It goes on in the client that is answered; this one's calls are refused.
    pub async fn step_up(&self, request: &StepUp) -> Result<(SignedIn, Option<Self>), ClientError> {
        self.renewed(self.send(Method::POST, &["v1", "session", "step-up"], |r| r.json(request)).await?).await
    }

    /// Shows who is signed in.
    pub async fn session(&self) -> Result<SignedIn, ClientError> {
        self.read(&["v1", "session"]).await
    }

    /// Changes the account's password and ends its other sessions. The session goes on in the client that is answered.
    pub async fn change_password(&self, request: &ChangePassword) -> Result<(SignedIn, Option<Self>), ClientError> {
        self.renewed(self.send(Method::POST, &["v1", "session", "password"], |r| r.json(request)).await?).await
    }

    /// Ends the session.
    pub async fn sign_out(&self) -> Result<(), ClientError> {
        self.send(Method::DELETE, &["v1", "session"], |r| r).await.map(drop)
    }

    async fn renewed(&self, response: Response) -> Result<(SignedIn, Option<Self>), ClientError> {
        let headers = response.headers().clone();
        let signed_in: SignedIn = decode(response).await?;
        let proof = SessionProof::of(&headers, &signed_in);
        let client = proof.map(|proof| self.with_session(proof));
        Ok((signed_in, client))
    }
}
