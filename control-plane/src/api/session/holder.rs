//! The holder of a session, as a caller.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue, Method};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use nightlatch_api::{Code, Secret};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{cookie, origin};
use crate::api::App;
use crate::api::caller::{Caller, Denied, Who, request_id, source};
use crate::api::refused::Refused;
use crate::domain::{Actor, ActorType, Authority, Standing};
use crate::signin::SessionSecret;
use crate::signin::lifetime::ABSOLUTE_MS;
use crate::store::accounts::Membership;
use crate::store::sessions::{self, Session};
use crate::store::{Context, Error, members};

/// The header that carries the session's CSRF token.
const CSRF: &str = "x-nightlatch-csrf";

/// Whoever proved to hold a session.
#[derive(Debug, Clone)]
pub(in crate::api) struct Holder {
    /// As it was found.
    pub(in crate::api) session: Session,
    /// The database clock when it was found, unix milliseconds.
    pub(in crate::api) now: i64,
    secret: Arc<SessionSecret>,
    request_id: String,
    source: Option<String>,
}

impl Holder {
    /// Finds out whose session the request's cookie is; `None` where it has none. A call that changes something must also
    /// prove that a page of ours makes it. A refusal says whose live session it was, where it was one.
    pub(in crate::api) async fn identify(
        app: &App,
        method: &Method,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<(Self, Authority)>, Denied> {
        let Some(value) = cookie::value(headers, cookie::SESSION)?.map(Zeroizing::new) else { return Ok(None) };
        let secret = SessionSecret::parse(&value).ok_or(Code::SessionInvalid)?;
        let mut read = app.store().read().await?;
        let found = sessions::by_digest(&mut read, &secret.digest()).await?;
        let (session, now) = found.filter(|(session, now)| session.is_live(*now)).ok_or(Code::SessionInvalid)?;
        // What the member may do at this moment, whatever that was when the session began.
        let membership = &session.membership;
        let standing = members::standing(&mut read, &membership.workspace, &membership.member).await?;
        drop(read);
        let (request_id, source) = (request_id(extensions), source(extensions));
        let holder = Self { session, now, secret: Arc::new(secret), request_id, source };
        let denied = |refused| Denied { refused, known: Some(holder.context()), stray: None };
        let standing = standing.ok_or_else(|| denied(Code::SessionInvalid.into()))?;
        let elevated = holder.session.times.is_elevated(now);
        let authority = Authority::of(Standing { elevated, ..standing });
        if !origin::is_safe(method) {
            origin::require_own(headers).and_then(|()| holder.require_csrf(app, headers)).map_err(denied)?;
        }
        holder.touch(app);
        Ok(Some((holder, authority)))
    }

    /// On whose behalf somebody changes what is their own: their account and their sessions.
    pub(super) fn context(&self) -> Context {
        let membership = &self.session.membership;
        context(membership, self.request_id.clone(), self.source.clone())
    }

    /// What the cookie holds.
    pub(super) fn secret(&self) -> &SessionSecret {
        &self.secret
    }

    /// Where the request came from.
    pub(super) fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Refuses where the last proof of who holds the session is too old.
    pub(super) fn require_elevated(&self) -> Result<(), Refused> {
        if self.session.times.is_elevated(self.now) { Ok(()) } else { Err(Code::StepUpRequired.into()) }
    }

    fn require_csrf(&self, app: &App, headers: &HeaderMap) -> Result<(), Refused> {
        let mut sent = headers.get_all(CSRF).iter();
        let (first, second) = (sent.next().map_or(&[][..], HeaderValue::as_bytes), sent.next());
        let wanted = csrf(app, &self.secret);
        let equal = bool::from(first.ct_eq(wanted.expose().as_bytes()));
        if equal && second.is_none() { Ok(()) } else { Err(Code::CsrfInvalid.into()) }
    }

    /// Notes, beside the request, that the session was used.
    fn touch(&self, app: &App) {
        if !self.session.times.wants_touch(self.now) {
            return;
        }
        let (store, id) = (app.store().clone(), self.session.id.clone());
        tokio::spawn(async move {
            let noted = store.write::<_, Error, _>(|tx| Box::pin(async move { sessions::touch(tx, &id).await })).await;
            if let Err(error) = noted {
                tracing::debug!(error = &error as &dyn std::error::Error, "the use of a session was not noted");
            }
        });
    }
}

/// As a member: what is their own needs no right of the table's.
pub(super) fn context(membership: &Membership, request_id: String, source: Option<String>) -> Context {
    Context {
        actor: Actor::new(ActorType::Member, membership.member.as_str()),
        source,
        ..Context::system(membership.workspace.clone(), request_id)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Holder {
    type Rejection = Refused;

    /// The holder whom the access check identified. A token is no session.
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refused> {
        match parts.extensions.get::<Caller>().map(|caller| &caller.who) {
            Some(Who::Session(holder)) => Ok(Self::clone(holder)),
            _ => Err(Code::SessionInvalid.into()),
        }
    }
}

/// The token that calls which change something must carry: only who can read this server's answers has it.
pub(super) fn csrf(app: &App, secret: &SessionSecret) -> Secret {
    let derived = app.secrets().server_key().derive("session csrf", secret.bytes());
    Secret::from(Base64UrlUnpadded::encode_string(derived.as_slice()))
}

/// The cookie of a session that was signed in to at `signed_in_at`.
pub(super) fn session_cookie(secret: &SessionSecret, signed_in_at: i64, now: i64) -> HeaderValue {
    let left = signed_in_at.saturating_add(ABSOLUTE_MS).saturating_sub(now);
    cookie::set(cookie::SESSION, secret, left.clamp(0, ABSOLUTE_MS))
}
