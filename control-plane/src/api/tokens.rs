//! `/v1/tokens`: what callers of this API prove themselves with.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use nightlatch_api as api;
use nightlatch_api::{CreateToken, CreatedToken, Page, Problem, RotateToken};
use nightlatch_key::{Brand, Environment, KeyText};

use super::App;
use super::body::{Json, OptionalJson};
use super::caller::{Caller, EDGE_BRAND, MANAGEMENT_BRAND};
use super::cursor::List;
use super::idempotency::{self, Create, Created, Done, Once, request_hash};
use super::keys::view;
use super::params::{Id, Query, missing};
use super::refused::Refused;
use super::time::{from_ms, from_seconds, to_seconds};
use crate::domain::ids::{principal_id, principal_subject};
use crate::domain::{Action, MemberId, Name, Reason, SetId, Target, TokenId};
use crate::store::os_random;
use crate::store::tokens::{self, NewManagement, NewToken, Token, TokenKind};

/// Makes a management or edge token. The answer is the only one that ever shows its text.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "tokens", operation_id = "createToken",
    params(("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body within 15 minutes, the same token is answered.")),
    request_body = CreateToken,
    responses(
        (status = 201, description = "Made.", body = CreatedToken),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    once: Once,
    body: Json<CreateToken>,
) -> Result<Response, Refused> {
    let context = caller.context();
    let asked = asked(&caller, body.value)?;
    let create = Create {
        route: "POST /v1/tokens",
        secret: "secret",
        request_hash: body.hash,
        work: Box::new(move |tx| {
            Box::pin(async move {
                let (token, text) = match asked {
                    Asked::Management(new) => tokens::create_management(tx, &context, new, &mut os_random).await?,
                    Asked::Edge(new, text) => (tokens::create(tx, &context, &new).await?, text),
                };
                Ok((token, tx.now().await?, text))
            })
        }),
        answer: |(token, now, text)| created(token, *now, text),
    };
    match idempotency::create(&app, &caller, once, create).await? {
        Done::Replayed(response) => Ok(response),
        Done::Fresh((token, now, text)) => Ok(created(&token, now, &text).into_response("secret")),
    }
}

/// Replaces a management token by another of the same rights. Both work until the overlap has passed. The answer is the
/// only one that ever shows the new one's text.
#[utoipa::path(
    post, path = "/v1/tokens/{id}/rotations", tag = "tokens", operation_id = "rotateToken",
    params(
        ("id" = String, Path, description = "`tok_…`"),
        ("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body within 15 minutes, the same token is answered."),
    ),
    request_body = RotateToken,
    responses(
        (status = 201, description = "Made.", body = CreatedToken),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn rotate(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<TokenId>,
    once: Once,
    body: Json<RotateToken>,
) -> Result<Response, Refused> {
    let (context, reason) = (caller.context(), Reason::new(body.value.reason)?);
    let overlap = i64::from(body.value.overlap_seconds);
    if !(1..=LONGEST_OVERLAP).contains(&overlap) {
        return Err(Refused::value("overlap_seconds", "must be 1 to 31536000"));
    }
    let create = Create {
        route: "POST /v1/tokens/{id}/rotations",
        secret: "secret",
        request_hash: request_hash(&[id.as_str().as_bytes(), &body.hash]),
        work: Box::new(move |tx| {
            Box::pin(async move {
                let (token, text) = tokens::rotate(tx, &context, &id, overlap, reason, &mut os_random).await?;
                Ok((token, tx.now().await?, text))
            })
        }),
        answer: |(token, now, text)| created(token, *now, text),
    };
    match idempotency::create(&app, &caller, once, create).await? {
        Done::Replayed(response) => Ok(response),
        Done::Fresh((token, now, text)) => Ok(created(&token, now, &text).into_response("secret")),
    }
}

/// The longest overlap, in seconds: a year.
const LONGEST_OVERLAP: i64 = 31_536_000;

fn created(token: &Token, now: i64, text: &KeyText) -> Created {
    Created::new(&serde_json::json!({ "token": show(token, now) })).with_secret(text.expose())
}

/// Lists tokens, newest first.
#[utoipa::path(
    get, path = "/v1/tokens", tag = "tokens", operation_id = "listTokens",
    params(api::TokenFilter),
    responses(
        (status = 200, description = "A page of tokens.", body = Page<api::Token>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<api::TokenFilter>,
) -> Result<axum::Json<Page<api::Token>>, Refused> {
    let unknown = || Refused::value("maker", "is not the id of a member");
    let maker = query.maker.map(|id| MemberId::parse(&id).ok_or_else(unknown)).transpose()?;
    // Who does not administer sees their own.
    let of = (caller.authority.member().map(MemberId::as_str), caller.authority.account());
    let list = List::new("tokens", caller.workspace(), &(of, maker.as_ref().map(MemberId::as_str)));
    let page = app.cursors().page(&list, query.limit, query.cursor.as_deref())?;
    let mut read = app.store().read().await?;
    let found = tokens::list(&mut read, caller.workspace(), &caller.authority, maker.as_ref(), &page).await?;
    let now = read.now().await?;
    Ok(axum::Json(app.cursors().answer(&list, found, |token| show(&token, now))))
}

/// Ends a token for ever. Repeating it is no error and changes nothing.
#[utoipa::path(
    post, path = "/v1/tokens/{id}/revoke", tag = "tokens", operation_id = "revokeToken",
    params(("id" = String, Path, description = "`tok_…`")),
    responses(
        (status = 200, description = "Revoked, now or before.", body = api::Token),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<TokenId>,
    _body: OptionalJson<Nothing>,
) -> Result<Response, Refused> {
    let context = caller.context();
    let (token, now) = app
        .store()
        .insist(move |tx| {
            let (context, id) = (context.clone(), id.clone());
            Box::pin(async move { Ok((tokens::revoke(tx, &context, &id).await?, tx.now().await?)) })
        })
        .await?;
    Ok((StatusCode::OK, axum::Json(show(&token, now))).into_response())
}

/// A body in which nothing can be said.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Mints the text of a token of this kind. `now`, unix milliseconds, shows in its id, for people who read logs.
pub fn mint(kind: TokenKind, now: i64) -> KeyText {
    let brand = match kind {
        TokenKind::Management => MANAGEMENT_BRAND,
        TokenKind::Edge => EDGE_BRAND,
    };
    mint_reserved(brand, now)
}

/// Mints a text of one of the reserved brands.
pub(super) fn mint_reserved(brand: &str, now: i64) -> KeyText {
    let brand = Brand::new(brand).expect("a reserved brand is a brand");
    let seconds = u64::try_from(now / 1000).unwrap_or_default();
    nightlatch_key::mint(&brand, Environment::Live, seconds, &mut os_random)
}

pub(super) fn new(
    kind: TokenKind,
    name: String,
    set: Option<SetId>,
    expires_at: Option<i64>,
    text: &KeyText,
) -> NewToken {
    let mut random = [0; 10];
    os_random(&mut random);
    NewToken {
        id: TokenId::generate(random),
        kind,
        set,
        name,
        digest: text.digest(),
        prefix: text.parts().prefix().to_owned(),
        scopes: vec!["*".to_owned()],
        expires_at,
    }
}

/// What is to be made.
enum Asked {
    Management(NewManagement),
    Edge(NewToken, KeyText),
}

fn asked(caller: &Caller, body: CreateToken) -> Result<Asked, Refused> {
    let (name, expires_at) = (Name::new(body.name)?, body.expires_at.map(to_seconds));
    if body.kind == api::TokenKind::Management {
        if body.set.is_some() {
            return Err(Refused::value("set", "is for edge tokens only"));
        }
        let rights = rights(body.scopes)?;
        let (member, service_account) = match body.service_account {
            Some(id) => (None, Some(principal_subject(&id).ok_or_else(|| missing("service account"))?)),
            None => (caller.authority.member().cloned(), None),
        };
        return Ok(Asked::Management(NewManagement { name, rights, expires_at, member, service_account }));
    }
    if body.service_account.is_some() {
        return Err(Refused::value("service_account", "is for management tokens only"));
    }
    caller.authority.require(Action::EdgesManage, &Target::None)?;
    let set = body.set.ok_or_else(|| Refused::value("set", "is missing: an edge token reads one set"))?;
    let set = SetId::parse(&set).ok_or_else(|| Refused::value("set", "is not the id of a set"))?;
    if body.scopes.is_some_and(|scopes| scopes != ["*"]) {
        return Err(Refused::value("scopes", "must be [\"*\"] or absent for an edge token"));
    }
    let text = mint(TokenKind::Edge, caller.now);
    Ok(Asked::Edge(new(TokenKind::Edge, name.into_string(), Some(set), expires_at, &text), text))
}

/// What a management token is to be good for; `None` is everything.
fn rights(scopes: Option<Vec<String>>) -> Result<Option<BTreeSet<Action>>, Refused> {
    let Some(scopes) = scopes.filter(|scopes| *scopes != ["*"]) else { return Ok(None) };
    let unknown = || Refused::value("scopes", "must be [\"*\"], or names of actions such as `keys:read`");
    if scopes.is_empty() || scopes.len() > 64 {
        return Err(unknown());
    }
    scopes.iter().map(|scope| Action::from_name(scope).ok_or_else(unknown)).collect::<Result<_, _>>().map(Some)
}

pub(super) fn show(token: &Token, now: i64) -> api::Token {
    let state = match token.revoked_at {
        Some(_) => api::TokenState::Revoked,
        None if token.is_usable(now) => api::TokenState::Active,
        None => api::TokenState::Expired,
    };
    api::Token {
        id: token.id.to_string(),
        name: token.name.clone(),
        kind: match token.kind {
            TokenKind::Management => api::TokenKind::Management,
            TokenKind::Edge => api::TokenKind::Edge,
        },
        set: token.set.as_ref().map(ToString::to_string),
        edge: token.edge.as_ref().map(|(edge, _)| edge.to_string()),
        scopes: token.scopes.clone(),
        member: token.member.as_ref().map(ToString::to_string),
        service_account: token.service_account.map(principal_id),
        maker: token.maker.as_ref().map(ToString::to_string),
        prefix: token.prefix.clone(),
        state,
        created_by: view::actor(&token.created_by),
        created_at: from_ms(token.created_at),
        expires_at: token.expires_at.map(from_seconds),
        revoked_at: token.revoked_at.map(from_ms),
        last_used_at: token.last_used_at.map(from_ms),
    }
}
