//! Whom keys act for: service accounts, partners with their links, gateways.

pub(super) mod gateways;
pub(super) mod links;
pub(super) mod partners;
pub(super) mod service_accounts;
pub(super) mod staff;

use axum::http::header::ETAG;
use axum::response::{IntoResponse as _, Response};
use nightlatch_api as api;
use nightlatch_api::{ChangedPrincipal, CreatePrincipal, PrincipalFilter, TurnPrincipal, UpdatePrincipal};

use super::App;
use super::body::Json;
use super::caller::Caller;
use super::cursor::List;
use super::etag::{self, IfMatch};
use super::idempotency::{self, Create, Created, Done, Once};
use super::keys::{reason, view};
use super::params::{Named, missing};
use super::refused::Refused;
use super::time::{from_ms, in_force, surely_in_force};
use crate::domain::ids::{principal_id, principal_subject};
use crate::domain::{
    Bound, Description, LinkId, Name, Principal, PrincipalKind, PrincipalPatch, PrincipalState, Reason, Scope, Scopes,
};
use crate::store::principals::{self, Changed, NewPrincipal, PrincipalView};
use crate::store::{Error, workspaces};

/// A service account, as a path names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServiceAccount(u32);

/// A partner, as a path names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partner(u32);

/// A gateway, as a path names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gateway(u32);

impl Named for ServiceAccount {
    const WHAT: &'static str = "service account";

    fn of(text: &str) -> Option<Self> {
        principal_subject(text).map(Self)
    }
}

impl Named for Partner {
    const WHAT: &'static str = "partner";

    fn of(text: &str) -> Option<Self> {
        principal_subject(text).map(Self)
    }
}

impl Named for Gateway {
    const WHAT: &'static str = "gateway";

    fn of(text: &str) -> Option<Self> {
        principal_subject(text).map(Self)
    }
}

impl Named for LinkId {
    const WHAT: &'static str = "link";

    fn of(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

/// Makes a principal that keys are issued for.
async fn create(
    app: &App,
    caller: &Caller,
    once: Once,
    body: Json<CreatePrincipal>,
    kind: PrincipalKind,
    route: &'static str,
) -> Result<Response, Refused> {
    let CreatePrincipal { name, description, scopes } = body.value;
    let ceiling = scopes.map(Scopes::new).transpose()?;
    let new = NewPrincipal {
        kind,
        name: Name::new(name)?,
        description: description.map(Description::new).transpose()?,
        // Of a partner nothing is said by accident.
        ceiling: ceiling.or_else(|| (kind == PrincipalKind::Partner).then(Scopes::default)),
    };
    let context = caller.context();
    let create = Create {
        route,
        secret: "secret",
        request_hash: body.hash,
        work: Box::new(move |tx| Box::pin(async move { principals::create(tx, &context, &new).await })),
        answer: |principal| Created::new(&show(principal, 0)),
    };
    match idempotency::create(app, caller, once, create).await? {
        Done::Replayed(response) => Ok(response),
        Done::Fresh(principal) => {
            let tag = [(ETAG, etag::header(principal.revision))];
            Ok((tag, Created::new(&show(&principal, 0)).into_response("secret")).into_response())
        }
    }
}

async fn list(
    app: &App,
    caller: &Caller,
    filter: PrincipalFilter,
    kind: PrincipalKind,
) -> Result<axum::Json<api::Page<api::Principal>>, Refused> {
    let PrincipalFilter { state, limit, cursor } = filter;
    let list = List::new(kind.as_str(), caller.workspace(), &state);
    let page = app.cursors().page(&list, limit, cursor.as_deref())?;
    let state = state.map(|state| match state {
        api::PrincipalState::Active => PrincipalState::Active,
        api::PrincipalState::Suspended => PrincipalState::Suspended,
        api::PrincipalState::Removed => PrincipalState::Removed,
    });
    let (only, workspace) = (caller.authority.sees_only(), caller.workspace());
    let found = principals::list(&mut app.store().read().await?, workspace, kind, state, only, &page).await?;
    let answer = |found: PrincipalView| show(&found.principal, found.usable_keys);
    Ok(axum::Json(app.cursors().answer(&list, found, answer)))
}

/// Refuses what the caller does not see as if it did not exist.
fn require_seen(caller: &Caller, kind: PrincipalKind, subject: u32) -> Result<(), Refused> {
    let what = match kind {
        PrincipalKind::Partner => Partner::WHAT,
        _ => ServiceAccount::WHAT,
    };
    if caller.authority.sees(subject) { Ok(()) } else { Err(missing(what)) }
}

async fn read(app: &App, caller: &Caller, kind: PrincipalKind, subject: u32) -> Result<Response, Refused> {
    require_seen(caller, kind, subject)?;
    let found = principals::get(&mut app.store().read().await?, caller.workspace(), kind, subject).await?;
    let tag = [(ETAG, etag::header(found.principal.revision))];
    Ok((tag, axum::Json(show(&found.principal, found.usable_keys))).into_response())
}

async fn update(
    app: &App,
    caller: &Caller,
    kind: PrincipalKind,
    subject: u32,
    if_match: IfMatch,
    body: UpdatePrincipal,
) -> Result<Response, Refused> {
    let ceiling = body.scopes.map(|scopes| scopes.map(Scopes::new).transpose()).transpose()?;
    if kind == PrincipalKind::Partner && ceiling == Some(None) {
        return Err(Refused::value("scopes", "must be a list: a partner's keys always have a ceiling"));
    }
    let patch = PrincipalPatch {
        name: body.name.map(Name::new).transpose()?,
        description: body.description.map(|text| text.map(Description::new).transpose()).transpose()?,
        ceiling,
    };
    let (context, revision) = (caller.context(), if_match.revision());
    app.store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move { principals::patch(tx, &context, kind, subject, revision, patch).await })
        })
        .await?;
    read(app, caller, kind, subject).await
}

/// What happens to a principal and its keys.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Suspend,
    Resume,
    Remove,
}

async fn turn(
    app: &App,
    caller: &Caller,
    kind: PrincipalKind,
    subject: u32,
    turn: Turn,
    text: Option<Reason>,
) -> Result<axum::Json<ChangedPrincipal>, Refused> {
    require_seen(caller, kind, subject)?;
    let context = caller.context();
    let (changed, bound) = app
        .store()
        .insist(move |tx| {
            let (context, text) = (context.clone(), text.clone());
            Box::pin(async move {
                // One of another kind is none.
                principals::get(tx, &context.workspace, kind, subject).await?;
                let text = text.as_ref();
                let changed = match turn {
                    Turn::Suspend => principals::suspend_because(tx, &context, subject, text).await?,
                    Turn::Resume => principals::resume_because(tx, &context, subject, text).await?,
                    Turn::Remove => principals::remove_because(tx, &context, subject, text).await?,
                };
                Ok((changed, workspaces::bound(tx, &context.workspace).await?))
            })
        })
        .await?;
    // Read after the commit. What was so before has been in force since then.
    let mut read = app.store().read().await?;
    let now = read.now().await?;
    let usable = principals::get(&mut read, caller.workspace(), kind, subject).await?.usable_keys;
    Ok(axum::Json(ChangedPrincipal {
        in_force_by: in_force_by(&changed, bound, now),
        keys: changed.keys,
        principal: show(&changed.principal, usable),
    }))
}

fn in_force_by(changed: &Changed, bound: Bound, now: i64) -> jiff::Timestamp {
    let since = changed.principal.removed_at.or(changed.principal.suspended_at);
    match since {
        Some(since) if !changed.changed => surely_in_force(since, bound),
        _ => in_force(now, bound),
    }
}

/// A reason that may be left out.
fn turn_reason(body: TurnPrincipal) -> Result<Option<Reason>, Refused> {
    reason(body.reason)
}

fn show(principal: &Principal, usable_keys: i64) -> api::Principal {
    api::Principal {
        id: principal_id(principal.subject),
        kind: view::kind(principal.kind),
        name: principal.name.clone(),
        description: principal.description.clone(),
        scopes: principal.ceiling.as_ref().map(words),
        state: match principal.state {
            PrincipalState::Active => api::PrincipalState::Active,
            PrincipalState::Suspended => api::PrincipalState::Suspended,
            PrincipalState::Removed => api::PrincipalState::Removed,
        },
        usable_keys: u64::try_from(usable_keys).unwrap_or_default(),
        created_at: from_ms(principal.created_at),
        suspended_at: principal.suspended_at.map(from_ms),
        removed_at: principal.removed_at.map(from_ms),
    }
}

fn words(scopes: &Scopes) -> Vec<String> {
    scopes.iter().map(Scope::as_str).map(str::to_owned).collect()
}
