//! Links between partners and client workspaces.
//!
//! A link lies on the border of two workspaces: what one side does is told to both audit logs, and neither learns more of
//! the other than its name and the link itself. What the other side's log says of an act names the other workspace or the
//! partner, never a person or an address.

use nightlatch_key::Digest;
use serde_json::json;
use sqlx::FromRow;

use super::audit::{self, Draft, Target};
use super::keys_of::{self, Whose};
use super::rows::unsigned;
use super::select::{Direction, Select};
use super::tx::sql;
use super::{Context, Cursor, Error, Page, PageRequest, Read, Tx, dialect, principals};
use crate::domain::authority;
use crate::domain::ids::principal_id;
use crate::domain::partner::{LINK_CODE_LIFETIME_MS, Link, LinkEnd, Side};
use crate::domain::{Action, Actor, ActorType, LinkId, Name, PrincipalKind, Reason, Refusal, Scopes, WorkspaceId};

/// Selects [`Row`]s.
macro_rules! select_links {
    ($condition:literal) => {
        concat!(
            "SELECT l.id, l.workspace_id, l.partner, l.client_workspace_id, l.code_expires_at, l.client_name, \
             l.permissions, l.created_at, l.accepted_at, l.ended_by, l.ended_at, l.end_reason, l.revision, \
             p.name AS partner_name, w.name AS partner_workspace, c.name AS client_workspace FROM partner_links l \
             JOIN principals p ON p.workspace_id = l.workspace_id AND p.subject = l.partner \
             JOIN workspaces w ON w.id = l.workspace_id \
             LEFT JOIN workspaces c ON c.id = l.client_workspace_id WHERE ",
            $condition
        )
    };
}

/// A link with the names of those it links.
#[derive(Clone, Debug)]
pub struct LinkView {
    /// The record.
    pub link: Link,
    /// The partner's name.
    pub partner_name: String,
    /// The name of the workspace the partner is in.
    pub partner_workspace: String,
    /// The client's name, once it has accepted.
    pub client_workspace: Option<String>,
}

/// A link after it ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The link as it is now.
    pub view: LinkView,
    /// Keys that were bound to it and ended with it.
    pub keys: u64,
    /// Whether anything changed; repeating it is no error.
    pub changed: bool,
}

/// A link to be made. The caller minted the code.
#[derive(Clone, Debug)]
pub struct NewLink {
    /// `lnk_…`
    pub id: LinkId,
    /// The partner's number.
    pub partner: u32,
    /// What the partner's side calls the client.
    pub client_name: Name,
    /// SHA-256 of the one-time code.
    pub code: Digest,
}

/// Makes a link that waits for a client.
///
/// # Errors
/// [`Refusal::PrincipalSuspended`], [`Refusal::PrincipalRemoved`]; [`Error::NotFound`] where there is no such partner.
pub async fn create(tx: &mut Tx, context: &Context, new: &NewLink) -> Result<LinkView, Error> {
    require_partner(context, new.partner)?;
    let partner = match principals::hold(tx, &context.workspace, new.partner).await {
        Ok(partner) if partner.kind == PrincipalKind::Partner => partner,
        Ok(_) | Err(Error::NotFound(_)) => return Err(Error::NotFound("partner")),
        Err(error) => return Err(error),
    };
    partner.admits(&Scopes::default())?;
    let now = tx.now().await?;
    sql!(
        tx,
        "INSERT INTO partner_links (id, workspace_id, partner, code_digest, code_expires_at, client_name, permissions, \
         state, created_by_type, created_by_id, created_at, revision) \
         VALUES ($1, $2, $3, $4, $5, $6, '', 'pending', $7, $8, $9, 1)",
        new.id.as_str(),
        context.workspace.as_str(),
        i64::from(new.partner),
        new.code.as_bytes().as_slice(),
        now.saturating_add(LINK_CODE_LIFETIME_MS),
        new.client_name.as_str(),
        context.actor.kind.as_str(),
        context.actor.id.as_str(),
        now
        => execute
    )?;
    let view = of_partner(tx, &context.workspace, new.partner, &new.id).await?;
    tell(tx, context, &view.link, Told { action: "partner_link.created", before: None, reason: None }, now).await?;
    Ok(view)
}

/// A link of a partner of the workspace.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn of_partner(
    read: &mut Read,
    workspace: &WorkspaceId,
    partner: u32,
    id: &LinkId,
) -> Result<LinkView, Error> {
    let sql = select_links!("l.workspace_id = $1 AND l.partner = $2 AND l.id = $3");
    let row = sql!(read, sql, workspace.as_str(), i64::from(partner), id.as_str() => optional Row)?;
    row.ok_or(Error::NotFound("link"))?.try_into()
}

/// A link that the workspace accepted.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn of_client(read: &mut Read, client: &WorkspaceId, id: &LinkId) -> Result<LinkView, Error> {
    let sql = select_links!("l.client_workspace_id = $1 AND l.id = $2");
    let row = sql!(read, sql, client.as_str(), id.as_str() => optional Row)?;
    row.ok_or(Error::NotFound("link"))?.try_into()
}

/// The links of a partner, newest first.
///
/// # Errors
/// [`Error::Database`].
pub async fn list_of_partner(
    read: &mut Read,
    workspace: &WorkspaceId,
    partner: u32,
    page: &PageRequest,
) -> Result<Page<LinkView>, Error> {
    let mut select = Select::new(select_links!("l.workspace_id = "));
    select.value(workspace.as_str()).push(" AND l.partner = ").value(i64::from(partner));
    fetch(read, select, page).await
}

/// The links that the workspace accepted, newest first.
///
/// # Errors
/// [`Error::Database`].
pub async fn list_of_client(
    read: &mut Read,
    client: &WorkspaceId,
    page: &PageRequest,
) -> Result<Page<LinkView>, Error> {
    let mut select = Select::new(select_links!("l.client_workspace_id = "));
    select.value(client.as_str());
    fetch(read, select, page).await
}

async fn fetch(read: &mut Read, mut select: Select, page: &PageRequest) -> Result<Page<LinkView>, Error> {
    select.page("l.created_at", "l.id", Direction::Descending, page);
    let rows: Vec<Row> = select.fetch(read).await?;
    let views = rows.into_iter().map(LinkView::try_from).collect::<Result<Vec<_>, _>>()?;
    let place = |view: &LinkView| Cursor { at: view.link.created_at, id: view.link.id.as_str().to_owned() };
    Ok(Page::from_rows(views, page.limit, place))
}

/// The workspace of `context` accepts a link as its client.
///
/// # Errors
/// [`Refusal::LinkCodeUnusable`], whatever is wrong with the code; [`Refusal::LinkExists`].
pub async fn accept(tx: &mut Tx, context: &Context, code: &Digest, permissions: Scopes) -> Result<LinkView, Error> {
    require_client(context)?;
    context.authority.require_grant(&permissions)?;
    let sql = "SELECT workspace_id, partner, id FROM partner_links WHERE code_digest = $1";
    let row = sql!(tx, sql, code.as_bytes().as_slice() => optional (String, i64, String))?;
    let (workspace, partner, id) = row.ok_or(Refusal::LinkCodeUnusable)?;
    let (workspace, partner, id) = (WorkspaceId::from_stored(workspace), unsigned(partner)?, LinkId::from_stored(id));
    // Of two that accept at once, the second finds the first: links of a partner are accepted one after the other.
    let principal = principals::hold(tx, &workspace, partner).await?;
    principal.admits(&Scopes::default()).map_err(|_| Refusal::LinkCodeUnusable)?;
    let before = hold(tx, &id).await?;
    let now = tx.now().await?;
    let client = context.workspace.clone();
    let after = before.accept(client.clone(), permissions, now)?;
    let sql = "SELECT COUNT(*) FROM partner_links WHERE workspace_id = $1 AND partner = $2 AND client_workspace_id = $3 \
               AND state = 'active'";
    if sql!(tx, sql, workspace.as_str(), i64::from(partner), client.as_str() => one (i64,))?.0 > 0 {
        return Err(Refusal::LinkExists.into());
    }
    let sql = "UPDATE partner_links SET code_digest = NULL, accepted_by_type = $2, accepted_by_id = $3 WHERE id = $1";
    sql!(tx, sql, id.as_str(), context.actor.kind.as_str(), context.actor.id.as_str() => execute)?;
    let after = write(tx, &before, after).await?;
    tell_both(tx, context, Side::Client, &after, Told::change("partner_link.accepted", &before), now).await?;
    of_client(tx, &client, &id).await
}

/// The client says anew what the partner earns. `revision` is what the caller read (`If-Match`).
///
/// # Errors
/// [`Refusal::LinkNotActive`]; [`Error::Stale`]; [`Error::NotFound`].
pub async fn permit(
    tx: &mut Tx,
    context: &Context,
    id: &LinkId,
    revision: Option<i64>,
    permissions: Scopes,
) -> Result<LinkView, Error> {
    require_client(context)?;
    context.authority.require_grant(&permissions)?;
    of_client(tx, &context.workspace, id).await?;
    let before = hold(tx, id).await?;
    if revision.is_some_and(|revision| revision != before.revision) {
        return Err(Error::Stale(before.revision));
    }
    if let Some(after) = before.permit(permissions)? {
        let now = tx.now().await?;
        let after = write(tx, &before, after).await?;
        tell_both(tx, context, Side::Client, &after, Told::change("partner_link.updated", &before), now).await?;
    }
    of_client(tx, &context.workspace, id).await
}

/// The partner's side ends a link: the keys bound to it are revoked in this transaction. Repeating it changes nothing.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn end_as_partner(
    tx: &mut Tx,
    context: &Context,
    partner: u32,
    id: &LinkId,
    reason: &Reason,
) -> Result<Ended, Error> {
    require_partner(context, partner)?;
    of_partner(tx, &context.workspace, partner, id).await?;
    let keys = end(tx, context, Side::Partner, id, Some(reason)).await?;
    let view = of_partner(tx, &context.workspace, partner, id).await?;
    Ok(Ended { view, keys: keys.unwrap_or_default(), changed: keys.is_some() })
}

/// The client ends a link: the keys bound to it are revoked in this transaction. Repeating it changes nothing.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn end_as_client(tx: &mut Tx, context: &Context, id: &LinkId, reason: &Reason) -> Result<Ended, Error> {
    require_client(context)?;
    of_client(tx, &context.workspace, id).await?;
    let keys = end(tx, context, Side::Client, id, Some(reason)).await?;
    let view = of_client(tx, &context.workspace, id).await?;
    Ok(Ended { view, keys: keys.unwrap_or_default(), changed: keys.is_some() })
}

/// Ends all links of a partner that is being removed, and the keys bound to them. Returns how many keys. The partner is
/// held.
pub(super) async fn end_all(
    tx: &mut Tx,
    context: &Context,
    partner: u32,
    reason: Option<&Reason>,
) -> Result<u64, Error> {
    let (mut keys, workspace) = (0, context.workspace.as_str());
    let sql = "SELECT id FROM partner_links WHERE workspace_id = $1 AND partner = $2 AND state <> 'ended' ORDER BY id";
    let links = sql!(tx, sql, workspace, i64::from(partner) => all (String,))?;
    for (id,) in &links {
        dialect::lock_link(tx, id).await?;
    }
    // All keys at once, by number: link by link, somebody who holds several of them would be waited for and wait.
    let sql = "SELECT number FROM keys WHERE workspace_id = $1 AND subject = $2 AND state <> 'revoked' ORDER BY number";
    let numbers = sql!(tx, sql, workspace, i64::from(partner) => all (i64,))?;
    let numbers: Vec<_> = numbers.into_iter().map(|(number,)| number).collect();
    dialect::lock_numbers(tx, workspace, &numbers).await?;
    for (id,) in links {
        keys += end(tx, context, Side::Partner, &LinkId::from_stored(id), reason).await?.unwrap_or_default();
    }
    Ok(keys)
}

/// The link that a key of this partner is to be bound to: it stands still until this mutation ends.
///
/// # Errors
/// [`Refusal::LinkNotActive`]; [`Error::NotFound`] where it is not a link of this partner.
pub(super) async fn share(tx: &mut Tx, workspace: &WorkspaceId, partner: u32, id: &LinkId) -> Result<(), Error> {
    dialect::share_link(tx, workspace.as_str(), id.as_str()).await?;
    Ok(of_partner(tx, workspace, partner, id).await?.link.require_active()?)
}

/// Ends a link and the keys bound to it; returns how many, or nothing where it has ended before.
async fn end(
    tx: &mut Tx,
    context: &Context,
    by: Side,
    id: &LinkId,
    reason: Option<&Reason>,
) -> Result<Option<u64>, Error> {
    let before = hold(tx, id).await?;
    let now = tx.now().await?;
    let Some(after) = before.ended(by, reason, now) else { return Ok(None) };
    sql!(tx, "UPDATE partner_links SET code_digest = NULL WHERE id = $1", id.as_str() => execute)?;
    let after = write(tx, &before, after).await?;
    let told = Told { reason, ..Told::change("partner_link.ended", &before) };
    tell_both(tx, context, by, &after, told, now).await?;
    // The keys are the partner's, whoever ends the link.
    let context = match by {
        Side::Partner => context.clone(),
        Side::Client => across(context, by, &after, after.workspace.clone()),
    };
    keys_of::revoke(tx, &context, Whose::Link(id), reason).await.map(Some)
}

/// Refuses who may not manage a partner's links. A partner whose people do not see it is unknown to them.
fn require_partner(context: &Context, partner: u32) -> Result<(), Error> {
    if !context.authority.sees(partner) {
        return Err(Error::NotFound("partner"));
    }
    Ok(context.authority.require(Action::LinksManage, &authority::Target::Principal { subject: partner })?)
}

/// Refuses who may not speak for the workspace as a client.
fn require_client(context: &Context) -> Result<(), Refusal> {
    context.authority.require(Action::LinksAccept, &authority::Target::None)
}

/// Locks and reads a link.
async fn hold(tx: &mut Tx, id: &LinkId) -> Result<Link, Error> {
    dialect::lock_link(tx, id.as_str()).await?;
    let row = sql!(tx, select_links!("l.id = $1"), id.as_str() => optional Row)?;
    Ok(LinkView::try_from(row.ok_or(Error::NotFound("link"))?)?.link)
}

/// Writes a changed link, and returns it with its new revision. It is held.
async fn write(tx: &mut Tx, before: &Link, mut after: Link) -> Result<Link, Error> {
    after.revision = before.revision + 1;
    let end = after.end.as_ref();
    let updated = sql!(
        tx,
        "UPDATE partner_links SET client_workspace_id = $3, permissions = $4, state = $5, accepted_at = $6, \
         ended_by = $7, ended_at = $8, end_reason = $9, revision = $10 WHERE id = $1 AND revision = $2",
        before.id.as_str(),
        before.revision,
        after.client.as_ref().map(WorkspaceId::as_str),
        after.permissions.to_stored(),
        after.state().as_str(),
        after.accepted_at,
        end.map(|end| end.by.as_str()),
        end.map(|end| end.at),
        end.and_then(|end| end.reason.as_deref()),
        after.revision
        => execute
    )?;
    if updated != 1 {
        return Err(Error::Corrupt("link revision"));
    }
    Ok(after)
}

/// What is told of a link beside what it is now.
#[derive(Clone, Copy)]
struct Told<'a> {
    action: &'static str,
    /// The link as it was.
    before: Option<&'a Link>,
    reason: Option<&'a Reason>,
}

impl<'a> Told<'a> {
    fn change(action: &'static str, before: &'a Link) -> Self {
        Self { action, before: Some(before), reason: None }
    }
}

/// Tells both audit logs, as far as there are two sides.
async fn tell_both(
    tx: &mut Tx,
    context: &Context,
    by: Side,
    link: &Link,
    told: Told<'_>,
    now: i64,
) -> Result<(), Error> {
    tell(tx, context, link, told, now).await?;
    // Neither side's log has numbers of the other's: it has principals of its own under them.
    let other = match by {
        Side::Partner => link.client.clone(),
        Side::Client => Some(link.workspace.clone()),
    };
    match other {
        Some(other) => tell(tx, &across(context, by, link, other), link, told, now).await,
        None => Ok(()),
    }
}

/// As the other side's log names whoever acts: by side, without person, address or request.
fn across(context: &Context, by: Side, link: &Link, other: WorkspaceId) -> Context {
    let actor = match by {
        Side::Partner => Actor::new(ActorType::Partner, link.id.as_str()),
        Side::Client => Actor::new(ActorType::Client, context.workspace.as_str()),
    };
    Context { actor, ..Context::system(other, link.id.as_str()) }
}

async fn tell(tx: &mut Tx, context: &Context, link: &Link, told: Told<'_>, now: i64) -> Result<(), Error> {
    let is_own = link.workspace == context.workspace;
    let view = |link: &Link| {
        json!({
            "partner": is_own.then(|| principal_id(link.partner)),
            "state": link.state().as_str(),
            "permissions": link.permissions.to_stored(),
        })
    };
    let draft = Draft {
        action: told.action,
        target: Target::Other("partner_link", link.id.as_str()),
        before: told.before.map(view),
        after: Some(view(link)),
        reason: told.reason.map(Reason::as_str),
        personal: &[],
        about: None,
    };
    audit::append(tx, context, &draft, now).await
}

#[derive(Debug, FromRow)]
struct Row {
    id: String,
    workspace_id: String,
    partner: i64,
    client_workspace_id: Option<String>,
    code_expires_at: i64,
    client_name: String,
    permissions: String,
    created_at: i64,
    accepted_at: Option<i64>,
    ended_by: Option<String>,
    ended_at: Option<i64>,
    end_reason: Option<String>,
    revision: i64,
    partner_name: String,
    partner_workspace: String,
    client_workspace: Option<String>,
}

impl TryFrom<Row> for LinkView {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let end = match (row.ended_by, row.ended_at) {
            (None, None) => None,
            (Some(by), Some(at)) => {
                let by = Side::from_name(&by).ok_or(Error::Corrupt("link side"))?;
                Some(LinkEnd { by, at, reason: row.end_reason })
            }
            _ => return Err(Error::Corrupt("link end")),
        };
        let link = Link {
            id: LinkId::from_stored(row.id),
            workspace: WorkspaceId::from_stored(row.workspace_id),
            partner: unsigned(row.partner)?,
            client_name: row.client_name,
            client: row.client_workspace_id.map(WorkspaceId::from_stored),
            permissions: Scopes::from_stored(&row.permissions),
            code_expires_at: row.code_expires_at,
            created_at: row.created_at,
            accepted_at: row.accepted_at,
            end,
            revision: row.revision,
        };
        let (partner_name, partner_workspace) = (row.partner_name, row.partner_workspace);
        Ok(Self { link, partner_name, partner_workspace, client_workspace: row.client_workspace })
    }
}
