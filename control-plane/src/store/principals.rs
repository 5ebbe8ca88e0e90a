//! Principals: their records, and what happens to their keys when something happens to them.
//!
//! Whoever changes a service account, a partner or a gateway is asked for the right to it here. Members have rules of
//! their own, and come here once those are met.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use sqlx::FromRow;

use super::audit::{self, Draft, Target};
use super::keys_of::{self, Whose};
use super::rows::unsigned;
use super::select::{Direction, Select};
use super::tx::sql;
use super::{
    Context, Cursor, Error, Page, PageRequest, Read, Tx, dialect, links, members, profiles, tokens, workspaces,
};
use crate::domain::authority::{self, Seat};
use crate::domain::ids::principal_id;
use crate::domain::{
    Action, Description, LinkId, Name, Principal, PrincipalKind, PrincipalPatch, PrincipalState, Reason, Refusal,
    Scopes, Standing, WorkspaceId,
};

/// Selects [`Row`]s. Usable keys are counted to a thousand: nobody reads further, and a page stays cheap.
macro_rules! select_principals {
    ($condition:literal) => {
        concat!(
            "SELECT p.subject, p.kind, p.name, p.description, p.state, p.scopes, p.created_at, p.suspended_at, \
             p.removed_at, p.revision, (SELECT COUNT(*) FROM (SELECT 1 FROM keys k WHERE \
             k.workspace_id = p.workspace_id AND k.subject = p.subject AND k.state <> 'revoked' AND k.disabled_by = '' \
             AND (k.expires_at IS NULL OR k.expires_at > $1) AND (k.deadline IS NULL OR k.deadline > $1) LIMIT 1000) u) \
             AS usable_keys FROM principals p WHERE ",
            $condition
        )
    };
}

/// A principal and how many keys it has that work.
#[derive(Clone, Debug)]
pub struct PrincipalView {
    /// The record.
    pub principal: Principal,
    /// Keys that verify now; a thousand stands for any number beyond.
    pub usable_keys: i64,
}

/// A principal after a change.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The record as it is now.
    pub principal: Principal,
    /// Keys that changed with it.
    pub keys: u64,
    /// Whether anything changed; repeating a change is no error.
    pub changed: bool,
}

impl Changed {
    fn none(principal: Principal) -> Self {
        Self { principal, keys: 0, changed: false }
    }
}

/// A principal to be made.
#[derive(Clone, Debug)]
pub struct NewPrincipal {
    /// What it is.
    pub kind: PrincipalKind,
    /// What people call it.
    pub name: Name,
    /// What it is for.
    pub description: Option<Description>,
    /// What its keys may carry at most.
    pub ceiling: Option<Scopes>,
}

/// Makes a principal.
///
/// # Errors
/// [`Refusal::BeyondOwnScopes`]: one without a ceiling is for who may grant everything.
pub async fn create(tx: &mut Tx, context: &Context, new: &NewPrincipal) -> Result<Principal, Error> {
    require(context, new.kind)?;
    // A ceiling is what others may grant: it is granted with it.
    context.authority.require_ceiling(new.ceiling.as_ref())?;
    let subject = workspaces::next_subject(tx, &context.workspace).await?;
    let now = tx.now().await?;
    let principal = Principal {
        subject,
        kind: new.kind,
        name: new.name.as_str().to_owned(),
        description: new.description.as_ref().map(|text| text.as_str().to_owned()),
        state: PrincipalState::Active,
        ceiling: new.ceiling.clone(),
        created_at: now,
        suspended_at: None,
        removed_at: None,
        revision: 1,
    };
    sql!(
        tx,
        "INSERT INTO principals (workspace_id, subject, kind, name, created_at, state, description, scopes, revision) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        context.workspace.as_str(),
        i64::from(subject),
        principal.kind.as_str(),
        principal.name.as_str(),
        now,
        principal.state.as_str(),
        principal.description.as_deref(),
        principal.ceiling.as_ref().map(Scopes::to_stored),
        principal.revision
        => execute
    )?;
    append(tx, context, None, &principal, Happened::Created, None, now).await?;
    Ok(principal)
}

/// A principal of the workspace of that kind. One of another kind is none.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn get(
    read: &mut Read,
    workspace: &WorkspaceId,
    kind: PrincipalKind,
    subject: u32,
) -> Result<PrincipalView, Error> {
    let second = read.now().await?.div_euclid(1000);
    let sql = select_principals!("p.workspace_id = $2 AND p.kind = $3 AND p.subject = $4");
    let row = sql!(read, sql, second, workspace.as_str(), kind.as_str(), i64::from(subject) => optional Row)?;
    row.ok_or(Error::NotFound(what(kind)))?.try_into()
}

/// Principals of the workspace of one kind, newest first; `only` this one where the caller sees no other.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(
    read: &mut Read,
    workspace: &WorkspaceId,
    kind: PrincipalKind,
    state: Option<PrincipalState>,
    only: Option<u32>,
    page: &PageRequest,
) -> Result<Page<PrincipalView>, Error> {
    let second = read.now().await?.div_euclid(1000);
    let mut select = Select::new(select_principals!("p.workspace_id = $2 AND p.kind = $3"));
    select.bind(second).bind(workspace.as_str()).bind(kind.as_str());
    if let Some(state) = state {
        select.push(" AND p.state = ").value(state.as_str());
    }
    if let Some(subject) = only {
        select.push(" AND p.subject = ").value(i64::from(subject));
    }
    select.page_by_number("p.created_at", "p.subject", Direction::Descending, page);
    let rows: Vec<Row> = select.fetch(read).await?;
    let views = rows.into_iter().map(PrincipalView::try_from).collect::<Result<Vec<_>, _>>()?;
    let place = |view: &PrincipalView| Cursor { at: view.principal.created_at, id: view.principal.subject.to_string() };
    Ok(Page::from_rows(views, page.limit, place))
}

/// Changes a principal's record. `revision` is what the caller read (`If-Match`).
///
/// # Errors
/// [`Refusal::PrincipalRemoved`]; [`Error::Stale`] where it has changed since; [`Error::NotFound`].
pub async fn patch(
    tx: &mut Tx,
    context: &Context,
    kind: PrincipalKind,
    subject: u32,
    revision: Option<i64>,
    patch: PrincipalPatch,
) -> Result<Principal, Error> {
    let before = match hold(tx, &context.workspace, subject).await {
        Ok(before) if before.kind == kind && context.authority.sees(subject) => before,
        Ok(_) | Err(Error::NotFound(_)) => return Err(Error::NotFound(what(kind))),
        Err(error) => return Err(error),
    };
    require(context, kind)?;
    if let Some(ceiling) = &patch.ceiling {
        context.authority.require_ceiling(ceiling.as_ref())?;
    }
    if revision.is_some_and(|revision| revision != before.revision) {
        return Err(Error::Stale(before.revision));
    }
    match before.patch(patch)? {
        Some(after) => write(tx, context, &before, after, Happened::Updated, None).await,
        None => Ok(before),
    }
}

/// Suspends a principal: every key it has is disabled in this transaction. Repeating it changes nothing.
///
/// # Errors
/// [`Refusal::PrincipalRemoved`]; [`Error::NotFound`].
pub async fn suspend_because(
    tx: &mut Tx,
    context: &Context,
    subject: u32,
    reason: Option<&Reason>,
) -> Result<Changed, Error> {
    let before = held(tx, context, subject).await?;
    let now = tx.now().await?;
    let Some(after) = before.suspend(now)? else { return Ok(Changed::none(before)) };
    let principal = write(tx, context, &before, after, Happened::Suspended, reason).await?;
    let keys = keys_of::set_suspended(tx, context, subject, true, reason).await?;
    tell_staff(tx, context, &principal).await?;
    Ok(Changed { principal, keys, changed: true })
}

/// Resumes a principal: its keys lose the cause that it was suspended, and only that. Repeating it changes nothing.
///
/// # Errors
/// [`Refusal::PrincipalRemoved`]; [`Error::NotFound`].
pub async fn resume_because(
    tx: &mut Tx,
    context: &Context,
    subject: u32,
    reason: Option<&Reason>,
) -> Result<Changed, Error> {
    let before = held(tx, context, subject).await?;
    let Some(after) = before.resume()? else { return Ok(Changed::none(before)) };
    let principal = write(tx, context, &before, after, Happened::Resumed, reason).await?;
    let keys = keys_of::set_suspended(tx, context, subject, false, reason).await?;
    tell_staff(tx, context, &principal).await?;
    Ok(Changed { principal, keys, changed: true })
}

/// Removes a principal, finally: every key it has is revoked and every open rotation of them ended in this transaction.
/// Repeating it changes nothing.
///
/// # Errors
/// [`Refusal::DefaultPrincipal`]; [`Error::NotFound`].
pub async fn remove_because(
    tx: &mut Tx,
    context: &Context,
    subject: u32,
    reason: Option<&Reason>,
) -> Result<Changed, Error> {
    let before = held(tx, context, subject).await?;
    let now = tx.now().await?;
    let Some(after) = before.remove(now)? else { return Ok(Changed::none(before)) };
    let principal = write(tx, context, &before, after, Happened::Removed, reason).await?;
    let mut keys = 0;
    if principal.kind == PrincipalKind::Partner {
        keys += links::end_all(tx, context, subject, reason).await?;
    }
    keys += keys_of::revoke(tx, context, Whose::Principal(subject), reason).await?;
    if principal.kind == PrincipalKind::ServiceAccount {
        tokens::end_of_account(tx, context, subject, reason).await?;
    }
    if principal.kind == PrincipalKind::Partner {
        keys += end_staff_keys(tx, context, subject, reason).await?;
    }
    tell_staff(tx, context, &principal).await?;
    Ok(Changed { principal, keys, changed: true })
}

/// Revokes the keys of a removed organisation's staff. The members stay, to be seen: what they are staff of is no more.
async fn end_staff_keys(tx: &mut Tx, context: &Context, partner: u32, reason: Option<&Reason>) -> Result<u64, Error> {
    let sql = "SELECT m.subject FROM members m WHERE m.workspace_id = $1 AND m.partner = $2 AND EXISTS (SELECT 1 \
               FROM keys k WHERE k.workspace_id = m.workspace_id AND k.subject = m.subject AND k.state <> 'revoked') \
               ORDER BY m.subject";
    let mut keys = 0;
    for (staff,) in sql!(tx, sql, context.workspace.as_str(), i64::from(partner) => all (i64,))? {
        let staff = hold(tx, &context.workspace, unsigned(staff)?).await?.subject;
        keys += keys_of::revoke(tx, context, Whose::Principal(staff), reason).await?;
    }
    Ok(keys)
}

/// What a partner organisation's staff may do ends and begins again with it: edges are told so of those who have keys. To
/// be called after all locks.
async fn tell_staff(tx: &mut Tx, context: &Context, principal: &Principal) -> Result<(), Error> {
    if principal.kind != PrincipalKind::Partner {
        return Ok(());
    }
    let now = tx.now().await?;
    profiles::staff_changed(tx, &context.workspace, principal.subject, now).await
}

/// The principal that is to get a key, and the link that key is bound to: both stand still until this mutation ends. To
/// be called before any key is held.
///
/// # Errors
/// [`Refusal::PrincipalUnknown`], [`Refusal::LinkNotActive`]; [`Error::NotFound`] where it is not the principal's link.
pub(super) async fn share(
    tx: &mut Tx,
    workspace: &WorkspaceId,
    subject: u32,
    link: Option<&LinkId>,
) -> Result<Principal, Error> {
    dialect::share_principal(tx, workspace.as_str(), i64::from(subject)).await?;
    let principal = find(tx, workspace, subject).await?.ok_or(Refusal::PrincipalUnknown)?;
    if let Some(link) = link {
        links::share(tx, workspace, subject, link).await?;
    }
    Ok(principal)
}

/// The authority that a service account has now, but for what its token names; `None` where it has none: it is suspended
/// or gone. It may grant what its own keys may carry.
pub(super) async fn standing(
    read: &mut Read,
    workspace: &WorkspaceId,
    subject: u32,
) -> Result<Option<Standing>, Error> {
    let found = find(read, workspace, subject).await?;
    let works = |one: &Principal| one.kind == PrincipalKind::ServiceAccount && one.state == PrincipalState::Active;
    Ok(found.filter(works).map(|account| Standing {
        seat: Seat::ServiceAccount,
        member: None,
        subject: Some(subject),
        maker: None,
        partner: None,
        rights: Some(BTreeSet::new()),
        elevated: true,
        ceiling: account.ceiling.map(|scopes| scopes.iter().cloned().collect()),
        expires_at: None,
    }))
}

/// Holds a principal for who may change it. They are asked before it is changed: it may be the one who acts.
async fn held(tx: &mut Tx, context: &Context, subject: u32) -> Result<Principal, Error> {
    let found = hold(tx, &context.workspace, subject).await?;
    require(context, found.kind)?;
    members::confirm(tx, context).await?;
    Ok(found)
}

/// Locks and reads a principal.
pub(super) async fn hold(tx: &mut Tx, workspace: &WorkspaceId, subject: u32) -> Result<Principal, Error> {
    dialect::lock_principal(tx, workspace.as_str(), i64::from(subject)).await?;
    find(tx, workspace, subject).await?.ok_or(Error::NotFound("principal"))
}

/// A principal of any kind, as it is now.
pub(super) async fn find(read: &mut Read, workspace: &WorkspaceId, subject: u32) -> Result<Option<Principal>, Error> {
    let sql = "SELECT subject, kind, name, description, state, scopes, created_at, suspended_at, removed_at, revision, \
               CAST(0 AS BIGINT) AS usable_keys FROM principals WHERE workspace_id = $1 AND subject = $2";
    let row = sql!(read, sql, workspace.as_str(), i64::from(subject) => optional Row)?;
    row.map(|row| PrincipalView::try_from(row).map(|view| view.principal)).transpose()
}

/// Refuses who may not manage principals of that kind.
fn require(context: &Context, kind: PrincipalKind) -> Result<(), Refusal> {
    let action = match kind {
        PrincipalKind::User => return Ok(()),
        PrincipalKind::ServiceAccount => Action::ServiceAccountsManage,
        PrincipalKind::Partner => Action::PartnersManage,
        PrincipalKind::Gateway => Action::GatewaysPair,
    };
    context.authority.require(action, &authority::Target::None)
}

/// Writes a changed principal, and returns it with its new revision. It is held.
async fn write(
    tx: &mut Tx,
    context: &Context,
    before: &Principal,
    mut after: Principal,
    happened: Happened,
    reason: Option<&Reason>,
) -> Result<Principal, Error> {
    after.revision = before.revision + 1;
    let now = tx.now().await?;
    let updated = sql!(
        tx,
        "UPDATE principals SET name = $4, description = $5, state = $6, scopes = $7, suspended_at = $8, \
         removed_at = $9, revision = $10 WHERE workspace_id = $1 AND subject = $2 AND revision = $3",
        context.workspace.as_str(),
        i64::from(before.subject),
        before.revision,
        after.name.as_str(),
        after.description.as_deref(),
        after.state.as_str(),
        after.ceiling.as_ref().map(Scopes::to_stored),
        after.suspended_at,
        after.removed_at,
        after.revision
        => execute
    )?;
    if updated != 1 {
        return Err(Error::Corrupt("principal revision"));
    }
    append(tx, context, Some(before), &after, happened, reason, now).await?;
    Ok(after)
}

/// What happened to a principal, for its audit entry.
#[derive(Clone, Copy)]
enum Happened {
    Created,
    Updated,
    Suspended,
    Resumed,
    Removed,
}

impl Happened {
    fn action(self, kind: PrincipalKind) -> Option<&'static str> {
        let place = self as usize;
        let actions = match kind {
            PrincipalKind::User => return None,
            PrincipalKind::ServiceAccount => [
                "service_account.created",
                "service_account.updated",
                "service_account.suspended",
                "service_account.resumed",
                "service_account.removed",
            ],
            PrincipalKind::Partner => {
                ["partner.created", "partner.updated", "partner.suspended", "partner.resumed", "partner.removed"]
            }
            PrincipalKind::Gateway => {
                ["gateway.created", "gateway.updated", "gateway.suspended", "gateway.resumed", "gateway.removed"]
            }
        };
        actions.get(place).copied()
    }
}

async fn append(
    tx: &mut Tx,
    context: &Context,
    before: Option<&Principal>,
    after: &Principal,
    happened: Happened,
    reason: Option<&Reason>,
    now: i64,
) -> Result<(), Error> {
    // What happens to a member is told of the member.
    let Some(action) = happened.action(after.kind) else { return Ok(()) };
    let (before, after_view) = audit::difference(before.map(view), view(after));
    let id = principal_id(after.subject);
    let draft = Draft {
        action,
        target: Target::Other(after.kind.as_str(), &id),
        before: before.filter(|fields| !fields.is_empty()).map(Value::Object),
        after: Some(Value::Object(after_view)),
        reason: reason.map(Reason::as_str),
        personal: &[],
        about: None,
    };
    audit::append(tx, context, &draft, now).await
}

fn view(principal: &Principal) -> Map<String, Value> {
    let fields = json!({
        "name": principal.name,
        "description": principal.description,
        "state": principal.state.as_str(),
        "scopes": principal.ceiling.as_ref().map(Scopes::to_stored),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// What people call a principal of that kind.
const fn what(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::User => "member",
        PrincipalKind::ServiceAccount => "service account",
        PrincipalKind::Partner => "partner",
        PrincipalKind::Gateway => "gateway",
    }
}

#[derive(Debug, FromRow)]
struct Row {
    subject: i64,
    kind: String,
    name: String,
    description: Option<String>,
    state: String,
    scopes: Option<String>,
    created_at: i64,
    suspended_at: Option<i64>,
    removed_at: Option<i64>,
    revision: i64,
    usable_keys: i64,
}

impl TryFrom<Row> for PrincipalView {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let principal = Principal {
            subject: unsigned(row.subject)?,
            kind: PrincipalKind::from_name(&row.kind).ok_or(Error::Corrupt("principal kind"))?,
            name: row.name,
            description: row.description,
            state: PrincipalState::from_name(&row.state).ok_or(Error::Corrupt("principal state"))?,
            ceiling: row.scopes.as_deref().map(Scopes::from_stored),
            created_at: row.created_at,
            suspended_at: row.suspended_at,
            removed_at: row.removed_at,
            revision: row.revision,
        };
        Ok(Self { principal, usable_keys: row.usable_keys })
    }
}
