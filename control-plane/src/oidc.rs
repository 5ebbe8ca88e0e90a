//! The identity provider: OpenID Connect, code flow with PKCE, a nonce and the `iss` of RFC 9207.
//!
//! What comes back is believed only where the ID token is signed by one of the provider's keys with an asymmetric
//! algorithm, is for this client alone, holds the nonce of this sign-in and has not expired by the database clock.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime};

use nightlatch_api::Secret;
use openidconnect::core::{
    CoreAuthPrompt, CoreAuthenticationFlow, CoreClient, CoreIdTokenClaims, CoreJwsSigningAlgorithm,
    CoreProviderMetadata, CoreTokenResponse, CoreUserInfoClaims,
};
use openidconnect::{
    AccessTokenHash, AsyncHttpClient, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, IssuerUrl, Nonce, OAuth2TokenResponse as _,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, TokenResponse as _,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use crate::signin::Email;

/// How long one answer of the provider may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer of the provider, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// How long what the provider says of itself, its keys among it, is believed without asking again.
const FRESH: Duration = Duration::from_secs(600);
/// How soon it may be asked again where a token is signed by a key that it has not named.
const AGAIN: Duration = Duration::from_secs(30);

/// How the provider is found, and what this server is to it.
#[derive(Clone)]
pub struct OidcConfig {
    /// Its address; where `/.well-known/openid-configuration` is.
    pub issuer: String,
    /// The name under which this server is registered there.
    pub client_id: String,
    /// What this server proves that with.
    pub client_secret: Option<SecretString>,
    /// Where the provider sends browsers back to: `…/v1/session/oidc/callback`.
    pub redirect_url: String,
}

impl fmt::Debug for OidcConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcConfig").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Why the provider was no use. Says nothing that it keeps secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OidcError {
    /// A setting is no address.
    #[error("{0} is not an address")]
    Address(&'static str),
    /// It cannot be asked, or answers with something else than it should.
    #[error("{0}")]
    Provider(String),
    /// The code cannot be traded.
    #[error("the code was not taken: {0}")]
    Code(String),
    /// The ID token is not what it must be.
    #[error("the ID token is refused: {0}")]
    Token(String),
}

/// An identity provider.
#[derive(Debug)]
pub struct Provider {
    config: OidcConfig,
    issuer: IssuerUrl,
    redirect: RedirectUrl,
    http: Http,
    known: Mutex<Option<(Instant, CoreProviderMetadata)>>,
}

/// A sign-in that begins.
#[derive(Debug)]
pub struct Departure {
    /// Where the browser is to go.
    pub url: String,
    /// What the ID token must hold.
    pub nonce: Secret,
    /// What the code is traded with.
    pub verifier: Secret,
}

/// Who the provider says somebody is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its name for them.
    pub subject: String,
    /// Their address, where it has verified it.
    pub email: Option<Email>,
    /// When they last proved to it who they are, unix seconds; where it says so.
    pub auth_time: Option<i64>,
}

impl Provider {
    /// A provider that has not been asked yet.
    ///
    /// # Errors
    /// [`OidcError::Address`].
    pub fn new(config: OidcConfig) -> Result<Self, OidcError> {
        let issuer = IssuerUrl::new(config.issuer.clone()).map_err(|_| OidcError::Address("oidc.issuer"))?;
        let redirect =
            RedirectUrl::new(config.redirect_url.clone()).map_err(|_| OidcError::Address("oidc.redirect_url"))?;
        // It must not send this server elsewhere: a redirect could reach what only this server can.
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build();
        let http = Http(client.map_err(|error| OidcError::Provider(error.to_string()))?);
        Ok(Self { config, issuer, redirect, http, known: Mutex::new(None) })
    }

    /// Its address.
    pub fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    /// Begins a sign-in under this `state`; `anew` has the person prove who they are whatever session they have there.
    ///
    /// # Errors
    /// [`OidcError::Provider`].
    pub async fn depart(&self, state: String, anew: bool) -> Result<Departure, OidcError> {
        let metadata = self.metadata(FRESH).await?;
        let client = self.client(metadata);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, || CsrfToken::new(state), Nonce::new_random)
            .add_scope(Scope::new("email".to_owned()))
            .set_pkce_challenge(challenge);
        if anew {
            request = request.add_prompt(CoreAuthPrompt::Login).set_max_age(Duration::ZERO);
        }
        let (url, _, nonce) = request.url();
        let (nonce, verifier) = (nonce.secret().as_str().into(), verifier.secret().as_str().into());
        Ok(Departure { url: url.into(), nonce, verifier })
    }

    /// Trades a code for who the person is. `now` is the database clock, unix milliseconds.
    ///
    /// # Errors
    /// [`OidcError`].
    pub async fn arrive(
        &self,
        code: &Secret,
        verifier: &Secret,
        nonce: &Secret,
        now: i64,
    ) -> Result<Identity, OidcError> {
        let metadata = self.metadata(FRESH).await?;
        let client = self.client(metadata.clone());
        let request = client.exchange_code(AuthorizationCode::new(code.expose().to_owned()));
        let request = request.map_err(|error| OidcError::Provider(error.to_string()))?;
        let answer =
            request.set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().to_owned())).request_async(&self.http);
        let answer = answer.await.map_err(|error| OidcError::Code(told(&error)))?;
        let nonce = Nonce::new(nonce.expose().to_owned());
        let claims = match self.claims(metadata, &answer, &nonce, now) {
            // Signed by a key that came after the provider was last asked, perhaps.
            Err(OidcError::Token(_)) => self.claims(self.metadata(AGAIN).await?, &answer, &nonce, now)?,
            other => other?,
        };
        let mut identity = Identity {
            subject: claims.subject().to_string(),
            email: verified(claims.email().map(|email| email.as_str()), claims.email_verified()),
            auth_time: claims.auth_time().map(|time| time.timestamp()),
        };
        // Some say it only when they are asked once more.
        if claims.email().is_none()
            && let Ok(request) = client.user_info(answer.access_token().clone(), Some(claims.subject().clone()))
        {
            let info: CoreUserInfoClaims =
                request.request_async(&self.http).await.map_err(|error| OidcError::Provider(told(&error)))?;
            identity.email = verified(info.email().map(|email| email.as_str()), info.email_verified());
        }
        Ok(identity)
    }

    fn claims(
        &self,
        metadata: CoreProviderMetadata,
        answer: &CoreTokenResponse,
        nonce: &Nonce,
        now: i64,
    ) -> Result<CoreIdTokenClaims, OidcError> {
        use CoreJwsSigningAlgorithm as Algorithm;
        let refused = |why: String| OidcError::Token(why);
        let client = self.client(metadata);
        let clock = Duration::from_millis(u64::try_from(now).unwrap_or_default());
        let verifier = client
            .id_token_verifier()
            .set_allowed_algs([
                Algorithm::RsaSsaPkcs1V15Sha256,
                Algorithm::RsaSsaPkcs1V15Sha384,
                Algorithm::RsaSsaPkcs1V15Sha512,
                Algorithm::RsaSsaPssSha256,
                Algorithm::RsaSsaPssSha384,
                Algorithm::RsaSsaPssSha512,
                Algorithm::EcdsaP256Sha256,
                Algorithm::EcdsaP384Sha384,
                Algorithm::EdDsa,
            ])
            .set_time_fn(move || (SystemTime::UNIX_EPOCH + clock).into());
        let token = answer.id_token().ok_or_else(|| refused("there is none".to_owned()))?;
        let claims = token.claims(&verifier, nonce).map_err(|error| refused(error.to_string()))?;
        if let Some(expected) = claims.access_token_hash() {
            let algorithm = token.signing_alg().map_err(|error| refused(error.to_string()))?;
            let key = token.signing_key(&verifier).map_err(|error| refused(error.to_string()))?;
            let hash = AccessTokenHash::from_token(answer.access_token(), algorithm, key);
            if hash.map_err(|error| refused(error.to_string()))? != *expected {
                return Err(refused("the access token is another's".to_owned()));
            }
        }
        Ok(claims.clone())
    }

    /// This server as the provider's client.
    fn client(&self, metadata: CoreProviderMetadata) -> ProviderClient {
        let secret = self.config.client_secret.as_ref();
        let secret = secret.map(|secret| ClientSecret::new(secret.expose_secret().to_owned()));
        CoreClient::from_provider_metadata(metadata, ClientId::new(self.config.client_id.clone()), secret)
            .set_redirect_uri(self.redirect.clone())
    }

    /// What the provider says of itself, not older than this.
    async fn metadata(&self, fresh: Duration) -> Result<CoreProviderMetadata, OidcError> {
        let mut known = self.known.lock().await;
        if let Some((_, metadata)) = known.as_ref().filter(|(asked, _)| asked.elapsed() < fresh) {
            return Ok(metadata.clone());
        }
        let asked = Instant::now();
        let metadata = CoreProviderMetadata::discover_async(self.issuer.clone(), &self.http).await;
        let metadata = metadata.map_err(|error| OidcError::Provider(told(&error)))?;
        Ok(known.insert((asked, metadata)).1.clone())
    }
}

/// A client that knows where to send browsers, and of the other places what the provider says.
type ProviderClient =
    CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// Why something failed, with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// An address that the provider says is verified.
fn verified(email: Option<&str>, verified: Option<bool>) -> Option<Email> {
    email.filter(|_| verified == Some(true)).and_then(Email::parse)
}

/// Asks the provider. Every answer is bounded in size and time.
#[derive(Debug)]
struct Http(reqwest::Client);

/// Why the provider could not be asked.
#[derive(Debug, thiserror::Error)]
enum HttpError {
    #[error("the identity provider cannot be reached")]
    Reach(#[from] reqwest::Error),
    #[error("the identity provider's answer is too large")]
    TooLarge,
    #[error("the identity provider's answer is none of HTTP's")]
    Malformed(#[from] http::Error),
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let mut response = self.0.execute(request.try_into()?).await?;
            let mut answer = http::Response::builder().status(response.status());
            if let Some(headers) = answer.headers_mut() {
                headers.clone_from(response.headers());
            }
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await? {
                if body.len() + chunk.len() > MAX_ANSWER {
                    return Err(HttpError::TooLarge);
                }
                body.extend_from_slice(&chunk);
            }
            Ok(answer.body(body)?)
        })
    }
}
