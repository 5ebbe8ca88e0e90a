//! Who calls: the bearer token of a request, or its session.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method};
use nightlatch_api::Code;
use nightlatch_key::{Brand, Digest};

use super::params::{Named as _, missing};
use super::refused::Refused;
use super::request_id::RequestId;
use super::source::Source;
use super::strays::Stray;
use super::{App, gatekeeper, session};
use crate::domain::ids::principal_id;
use crate::domain::{Actor, ActorType, Authority, KeyRef, SetId, WorkspaceId};
use crate::store::keys::{self, KeyView};
use crate::store::tokens::{self, Holder, Token, TokenKind};
use crate::store::{Context, Error, Read, Shown, edges};

/// The brand of a management token's text.
pub(super) const MANAGEMENT_BRAND: &str = "nlm";
/// The brand of an edge token's text.
pub(super) const EDGE_BRAND: &str = "nle";

/// Whoever proved who they are.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) who: Who,
    /// What they may do.
    pub(super) authority: Authority,
    /// Whether they have said that sensitive scopes are meant.
    acknowledged: bool,
    pub(super) request_id: String,
    pub(super) source: Option<String>,
    /// The database clock when they were identified, unix milliseconds.
    pub(super) now: i64,
}

/// A request that is not let through.
#[derive(Debug)]
pub(super) struct Denied {
    pub(super) refused: Refused,
    /// On whose behalf it would have happened, where that is known.
    pub(super) known: Option<Context>,
    /// The key that was shown in place of a token.
    pub(super) stray: Option<Stray>,
}

impl<R: Into<Refused>> From<R> for Denied {
    fn from(refused: R) -> Self {
        Self { refused: refused.into(), known: None, stray: None }
    }
}

/// What of a request says who makes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) method: &'a Method,
    /// The pattern of its route.
    pub(super) route: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) extensions: &'a Extensions,
}

/// By what somebody proved who they are.
#[derive(Debug, Clone)]
pub(super) enum Who {
    /// A management or edge token.
    Token(Box<Token>),
    /// A session.
    Session(Box<session::Holder>),
}

impl Caller {
    /// The same caller, who has said whether sensitive scopes are meant.
    pub(super) fn acknowledging(self, acknowledged: bool) -> Self {
        Self { acknowledged, ..self }
    }

    pub(super) fn workspace(&self) -> &WorkspaceId {
        match &self.who {
            Who::Token(token) => &token.workspace,
            Who::Session(holder) => &holder.session.membership.workspace,
        }
    }

    /// What limits and `Idempotency-Key`s are counted by.
    pub(super) fn id(&self) -> &str {
        match &self.who {
            Who::Token(token) => token.id.as_str(),
            // The person, not the session: what was sent before signing in again is the same request.
            Who::Session(holder) => holder.session.membership.member.as_str(),
        }
    }

    /// The only set an edge reads.
    pub(super) fn set(&self) -> Option<&SetId> {
        match &self.who {
            Who::Token(token) => token.set.as_ref(),
            Who::Session(_) => None,
        }
    }

    /// By what they were identified. An edge's token does nothing that would have to wait.
    fn shown(&self) -> Option<Shown> {
        match &self.who {
            Who::Token(token) if token.kind == TokenKind::Edge => None,
            Who::Token(token) => Some(Shown::Token(token.id.clone())),
            Who::Session(holder) => Some(Shown::Session(holder.session.id.clone())),
        }
    }

    fn actor(&self) -> Actor {
        match &self.who {
            Who::Token(token) if token.kind == TokenKind::Edge => Actor::new(ActorType::Edge, token.id.as_str()),
            Who::Token(token) => match token.service_account {
                Some(subject) => Actor::new(ActorType::ServiceAccount, principal_id(subject)),
                None => Actor::new(ActorType::Token, token.id.as_str()),
            },
            Who::Session(holder) => Actor::new(ActorType::Member, holder.session.membership.member.as_str()),
        }
    }

    /// A key of the workspace, where they see it. One they do not see is answered like one that does not exist.
    pub(super) async fn key(&self, read: &mut Read, key: &KeyRef) -> Result<KeyView, Refused> {
        let found = keys::get(read, self.workspace(), key).await?;
        if self.authority.sees(found.key.subject) { Ok(found) } else { Err(missing(KeyRef::WHAT)) }
    }

    /// On whose behalf a mutation happens.
    pub(super) fn context(&self) -> Context {
        Context {
            actor: self.actor(),
            shown: self.shown(),
            authority: self.authority.clone(),
            acknowledged: self.acknowledged,
            source: self.source.clone(),
            ..Context::system(self.workspace().clone(), self.request_id.clone())
        }
    }

    /// Finds out who makes a call.
    pub(super) async fn identify(app: &App, call: Call<'_>) -> Result<Self, Denied> {
        let Call { method, route, headers, extensions } = call;
        if let Some((holder, authority)) = session::Holder::identify(app, method, headers, extensions).await? {
            if headers.contains_key(AUTHORIZATION) {
                return Err(Refused::invalid("Authorization", "a token or a session makes the call, not both").into());
            }
            let (request_id, source, now) = (request_id(extensions), source(extensions), holder.now);
            return Ok(Self {
                who: Who::Session(Box::new(holder)),
                authority,
                acknowledged: false,
                request_id,
                source,
                now,
            });
        }
        let (text, brand) = bearer(headers)?;
        let digest = Digest::of(text);
        if ![MANAGEMENT_BRAND, EDGE_BRAND].contains(&brand.as_str()) {
            let stray = Stray { brand, digest, request_id: request_id(extensions), source: source(extensions) };
            return Err(Denied { refused: Code::TokenInvalid.into(), known: None, stray: Some(stray) });
        }
        let (holder, now) = look_up(app, &digest).await?;
        let authority = authority(&holder, now);
        let Holder { token, key, .. } = holder;
        let judged = match (&authority, token.kind, &key) {
            (None, _, _) | (_, TokenKind::Management, None) => Err(Code::TokenInvalid.into()),
            (_, TokenKind::Management, Some(view)) => gatekeeper::judge(text, &view.key, method, route, now),
            (_, TokenKind::Edge, _) => Ok(()),
        };
        let caller = Self {
            who: Who::Token(Box::new(token.clone())),
            authority: authority.unwrap_or_else(|| Authority::Refused(token.member.clone())),
            acknowledged: false,
            request_id: request_id(extensions),
            source: source(extensions),
            now,
        };
        if let Err(refused) = judged {
            return Err(Denied { refused, known: Some(caller.context()), stray: None });
        }
        if let (Some((edge, _)), true) = (&token.edge, edges::is_first_use(&token)) {
            // Before the request: the credential it replaces works no longer than that.
            let (context, edge, id) = (caller.context(), edge.clone(), token.id.clone());
            app.store()
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move { edges::first_use(tx, &context, &edge, &id).await })
                })
                .await
                .map_err(Refused::from)?;
        } else if tokens::wants_touch(&token, now) {
            let store = app.store().clone();
            // Beside the request: nobody waits for a note of when a token was used.
            tokio::spawn(async move {
                let noted =
                    store.write::<_, Error, _>(|tx| Box::pin(async move { tokens::touch(tx, &token).await })).await;
                if let Err(error) = noted {
                    tracing::debug!(error = &error as &dyn std::error::Error, "the use of a token was not noted");
                }
            });
        }
        Ok(caller)
    }
}

/// Looks a token up. One from before tokens were keys becomes one now.
async fn look_up(app: &App, digest: &Digest) -> Result<(Holder, i64), Refused> {
    let (holder, now) = tokens::by_digest(&mut app.store().read().await?, digest).await?.ok_or(Code::TokenInvalid)?;
    let token = &holder.token;
    if token.kind == TokenKind::Edge || holder.key.is_some() || !token.is_usable(now) {
        return Ok((holder, now));
    }
    let token = token.clone();
    app.store().write::<_, Error, _>(move |tx| Box::pin(async move { tokens::adopt(tx, &token).await })).await?;
    let found = tokens::by_digest(&mut app.store().read().await?, digest).await?;
    Ok(found.ok_or(Code::TokenInvalid)?)
}

/// What the holder of a token may do now; `None` where the token opens nothing.
fn authority(holder: &Holder, now: i64) -> Option<Authority> {
    if !holder.token.is_usable(now) {
        return None;
    }
    match holder.token.kind {
        TokenKind::Edge => Some(Authority::Edge),
        TokenKind::Management => holder.standing.clone().map(Authority::of),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refused;

    /// The caller whom the access check identified.
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refused> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!("a handler wants a caller on a route that anyone may call");
            Code::Internal.into()
        })
    }
}

/// The text sent and its brand, where it has a key's shape.
fn bearer(headers: &HeaderMap) -> Result<(&[u8], Brand), Refused> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Code::TokenMissing)?.as_bytes();
    if values.next().is_some() {
        return Err(Refused::invalid("Authorization", "must be sent once"));
    }
    let (scheme, text) = value.split_at_checked(7).unwrap_or((value, &[]));
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Err(Code::TokenMissing.into());
    }
    // Shape and checksum first: junk costs neither a hash nor a look into the database.
    let brand = nightlatch_key::parse(text.trim_ascii()).map_err(|_| Code::TokenInvalid)?.brand();
    Ok((text.trim_ascii(), brand))
}

/// The id of the request.
pub(super) fn request_id(extensions: &Extensions) -> String {
    extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default()
}

/// Where the request came from.
pub(super) fn source(extensions: &Extensions) -> Option<String> {
    extensions.get::<Source>().map(|source| source.0.to_string())
}
