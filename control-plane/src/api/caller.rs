//! Who calls: the bearer token of a request.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use nightlatch_api::Code;
use nightlatch_key::Digest;

use super::App;
use super::refused::Refused;
use super::request_id::RequestId;
use crate::domain::{Actor, ActorType, WorkspaceId};
use crate::store::tokens::{self, Token, TokenKind};
use crate::store::{Context, Error, edges};

/// The brand of a management token's text.
pub(super) const MANAGEMENT_BRAND: &str = "nlm";
/// The brand of an edge token's text.
pub(super) const EDGE_BRAND: &str = "nle";

/// Whoever proved to be the holder of a token.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) token: Token,
    pub(super) request_id: String,
    pub(super) source: Option<String>,
    /// The database clock when the token was looked up, unix milliseconds.
    pub(super) now: i64,
}

impl Caller {
    pub(super) fn workspace(&self) -> &WorkspaceId {
        &self.token.workspace
    }

    /// On whose behalf a mutation happens.
    pub(super) fn context(&self) -> Context {
        let kind = match self.token.kind {
            TokenKind::Management => ActorType::Token,
            TokenKind::Edge => ActorType::Edge,
        };
        Context {
            workspace: self.token.workspace.clone(),
            actor: Actor::new(kind, self.token.id.as_str()),
            request_id: self.request_id.clone(),
            source: self.source.clone(),
        }
    }

    /// Finds out who calls.
    pub(super) async fn identify(app: &App, headers: &HeaderMap, extensions: &Extensions) -> Result<Self, Refused> {
        let digest = bearer(headers)?;
        let mut read = app.store().read().await?;
        let found = tokens::by_digest(&mut read, &digest).await?;
        drop(read);
        let (token, now) = found.ok_or(Code::TokenInvalid)?;
        if !token.is_usable(now) {
            return Err(Code::TokenInvalid.into());
        }
        let caller = Self { token, request_id: request_id(extensions), source: source(extensions), now };
        let token = &caller.token;
        if let (Some((edge, _)), true) = (&token.edge, edges::is_first_use(token)) {
            // Before the request: the credential it replaces works no longer than that.
            let (context, edge, id) = (caller.context(), edge.clone(), token.id.clone());
            app.store()
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move { edges::first_use(tx, &context, &edge, &id).await })
                })
                .await?;
        } else if tokens::wants_touch(token, now) {
            let (store, id) = (app.store().clone(), token.id.clone());
            // Beside the request: nobody waits for a note of when a token was used.
            tokio::spawn(async move {
                let noted =
                    store.write::<_, Error, _>(|tx| Box::pin(async move { tokens::touch(tx, &id).await })).await;
                if let Err(error) = noted {
                    tracing::debug!(error = &error as &dyn std::error::Error, "the use of a token was not noted");
                }
            });
        }
        Ok(caller)
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

/// The digest of the token sent, where it has a token's shape.
fn bearer(headers: &HeaderMap) -> Result<Digest, Refused> {
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
    if ![MANAGEMENT_BRAND, EDGE_BRAND].contains(&brand.as_str()) {
        return Err(Code::TokenInvalid.into());
    }
    Ok(Digest::of(text.trim_ascii()))
}

/// The id of the request.
pub(super) fn request_id(extensions: &Extensions) -> String {
    extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default()
}

/// Where the request came from.
pub(super) fn source(extensions: &Extensions) -> Option<String> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip().to_string())
}
