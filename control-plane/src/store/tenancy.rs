//! Making, listing and renaming workspaces.

use nightlatch_key::{Brand, Digest};
use serde_json::json;
use sqlx::FromRow;

use super::audit::{self, Draft, Target};
use super::select::{Direction, Select};
use super::tx::sql;
use super::workspaces::{self, Bootstrap, Workspace};
use super::{Context, Cursor, Error, Page, PageRequest, Random, Read, Tx, dialect, enrolment, trust};
use crate::domain::{Action, Name, Refusal, SetId, WorkspaceId, authority};

/// A workspace to be made. The caller minted the enrolment token.
#[derive(Clone, Debug)]
pub struct NewWorkspace {
    /// What people call it.
    pub name: Name,
    /// The brand of its keys.
    pub brand: Brand,
    /// Whom the enrolment token is for.
    pub owner_email: Option<String>,
    /// SHA-256 of the enrolment token's text.
    pub enrolment: Digest,
    /// How long that is good, milliseconds.
    pub lifetime_ms: i64,
}

/// A workspace that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// It.
    pub workspace: Workspace,
    /// Its set, timed as the founding workspace's.
    pub set: SetId,
    /// When its enrolment token ends, unix milliseconds.
    pub enrolment_ends: i64,
}

/// Makes a workspace, its default principal and its default set, and opens it to its first owner.
///
/// # Errors
/// A refusal, such as [`Refusal::BrandTaken`] where a workspace has the brand or the brand is the product's own;
/// [`Error::NotFound`] before the first start.
pub async fn create(tx: &mut Tx, context: &Context, wanted: &NewWorkspace, random: Random<'_>) -> Result<Made, Error> {
    context.authority.require(Action::WorkspacesCreate, &authority::Target::None)?;
    // Of two that want the same brand, the second finds it taken.
    dialect::lock_slot(tx, workspaces::BOOTSTRAP_SLOT).await?;
    let (first, founding) = workspaces::first(tx).await?.ok_or(Error::NotFound("workspace"))?;
    let brand = wanted.brand.as_str();
    let taken = sql!(tx, "SELECT COUNT(*) FROM workspaces WHERE brand = $1", brand => one (i64,))?.0 > 0;
    if taken || wanted.brand.is_reserved() {
        return Err(Refusal::BrandTaken.into());
    }
    let bootstrap = Bootstrap {
        name: wanted.name.as_str().to_owned(),
        brand: wanted.brand,
        heartbeat_ms: founding.heartbeat_ms,
        validity_ms: founding.validity_ms,
        skew_ms: founding.skew_ms,
        pepper_id: founding.pepper_id,
        accepts_foreign: founding.accepts_foreign,
    };
    let (workspace, set) = workspaces::insert(tx, &bootstrap, Some(&first), random).await?;
    let (open,) = sql!(tx, "SELECT open_ms FROM sets WHERE id = $1", founding.id.as_str() => one (i64,))?;
    trust::open_routes_for(tx, &set, open).await?;
    enrolment::open(tx, &workspace, wanted.enrolment, wanted.lifetime_ms, enrolment::Why::Enrolment).await?;
    enrolment::say_whose(tx, &wanted.enrolment, wanted.owner_email.as_deref()).await?;
    let made = workspaces::get(tx, &workspace).await?;
    // Not when it was made, which is after the founding one was, whatever the clock says.
    let now = tx.now().await?.min(made.created_at);
    let after = json!({ "name": made.name, "brand": brand });
    append(tx, context, "workspace.created", &workspace, None, after, now).await?;
    // Its own history begins with it, and does not say who of another workspace it was.
    let itself = Context::system(workspace.clone(), context.request_id.clone());
    let after = json!({ "name": made.name, "brand": brand, "set": set.as_str() });
    append(tx, &itself, "workspace.created", &workspace, None, after, now).await?;
    Ok(Made { enrolment_ends: now.saturating_add(wanted.lifetime_ms), workspace: made, set })
}

/// Workspaces, newest first: this one alone, or all.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(
    read: &mut Read,
    only: Option<&WorkspaceId>,
    page: &PageRequest,
) -> Result<Page<(WorkspaceId, String)>, Error> {
    #[derive(FromRow)]
    struct Row {
        id: String,
        name: String,
        created_at: i64,
    }
    let mut select = Select::new("SELECT id, name, created_at FROM workspaces WHERE kind = 'tenant'");
    if let Some(id) = only {
        select.push(" AND id = ").value(id.as_str());
    }
    select.page("created_at", "id", Direction::Descending, page);
    let rows: Vec<Row> = select.fetch(read).await?;
    let place = |row: &Row| Cursor { at: row.created_at, id: row.id.clone() };
    let Page { items, next } = Page::from_rows(rows, page.limit, place);
    Ok(Page { items: items.into_iter().map(|row| (WorkspaceId::from_stored(row.id), row.name)).collect(), next })
}

/// Gives the caller's workspace another name, or, where none is given, reads it.
///
/// # Errors
/// [`Error::Stale`] where it is not at this revision any more.
pub async fn patch(
    tx: &mut Tx,
    context: &Context,
    revision: Option<i64>,
    name: Option<&Name>,
) -> Result<Workspace, Error> {
    context.authority.require(Action::WorkspacesManage, &authority::Target::None)?;
    let id = context.workspace.clone();
    // A write before the read: whoever changes it at the same time waits here.
    sql!(tx, "UPDATE workspaces SET revision = revision WHERE id = $1", id.as_str() => execute)?;
    let before = workspaces::get(tx, &id).await?;
    if revision.is_some_and(|revision| revision != before.revision) {
        return Err(Error::Stale(before.revision));
    }
    let Some(name) = name.filter(|name| name.as_str() != before.name) else { return Ok(before) };
    let sql = "UPDATE workspaces SET name = $2, revision = revision + 1 WHERE id = $1";
    sql!(tx, sql, id.as_str(), name.as_str() => execute)?;
    let now = tx.now().await?;
    let was = json!({ "name": before.name });
    append(tx, context, "workspace.updated", &id, Some(was), json!({ "name": name.as_str() }), now).await?;
    workspaces::get(tx, &id).await
}

async fn append(
    tx: &mut Tx,
    context: &Context,
    action: &'static str,
    workspace: &WorkspaceId,
    before: Option<serde_json::Value>,
    after: serde_json::Value,
    now: i64,
) -> Result<(), Error> {
    let target = Target::Other("workspace", workspace.as_str());
    let draft = Draft { action, target, before, after: Some(after), reason: None, personal: &[], about: None };
    audit::append(tx, context, &draft, now).await
}
