//! Edges as things: who they are, their credentials, what they report.

mod credential;
mod report;

use std::collections::BTreeMap;

use nightlatch_key::Digest;
use serde_json::json;
use sqlx::FromRow;

pub(crate) use credential::is_first_use;
pub use credential::{Rotated, first_use, rotate};
pub use report::{Applied, EdgeInstance, Facts, Report, Taken, forget_silent, instances, report, without_trust};

use super::audit::{self, Draft, Target};
use super::makers::Maker;
use super::select::{Direction, Select};
use super::tokens::{self, NewToken};
use super::tx::sql;
use super::{Context, Cursor, Error, Page, PageRequest, Read, Tx, dialect, workspaces};
use crate::domain::{
    Action, Actor, ActorType, Authority, EdgeClass, EdgeId, EdgeState, MemberId, SetId, TokenId, WorkspaceId, authority,
};

/// How long a one-time code works, milliseconds.
pub const CODE_LIFETIME_MS: i64 = 60 * 60 * 1000;

/// Selects [`Row`]s.
macro_rules! select_edges {
    ($condition:literal) => {
        concat!(
            "SELECT e.id, e.workspace_id, e.set_id, e.name, e.class, e.code_expires_at, e.created_at, e.runtime, \
             e.version, e.enrolled_at, e.removed_at, CAST(s.largest_validity_ms + s.skew_ms AS BIGINT) AS bound_ms \
             FROM edges e JOIN sets s ON s.id = e.set_id WHERE ",
            $condition
        )
    };
}

/// An edge's record.
#[derive(Clone, Debug)]
pub struct Edge {
    /// `edge_…`
    pub id: EdgeId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// The set it reads.
    pub set: SetId,
    /// What people call it.
    pub name: String,
    /// Whether it remembers.
    pub class: EdgeClass,
    /// When its code stops working, unix milliseconds.
    pub code_expires_at: i64,
    /// Unix milliseconds.
    pub created_at: i64,
    /// What it said it runs on when it enrolled.
    pub runtime: Option<String>,
    /// What it said it runs when it enrolled.
    pub version: Option<String>,
    /// Unix milliseconds.
    pub enrolled_at: Option<i64>,
    /// Unix milliseconds.
    pub removed_at: Option<i64>,
    /// The bound of its set, milliseconds.
    pub bound_ms: i64,
}

/// An edge with what it reported.
#[derive(Clone, Debug)]
pub struct EdgeView {
    /// The record.
    pub edge: Edge,
    /// The instance that reported last.
    pub latest: Option<EdgeInstance>,
    /// How many instances have reported within a bound.
    pub instances: i64,
    /// The database clock at which it was read, unix milliseconds.
    pub now: i64,
}

impl EdgeView {
    /// When it last reported, or enrolled, unix milliseconds.
    pub fn last_contact(&self) -> Option<i64> {
        self.latest.as_ref().map(|latest| latest.reported_at).max(self.edge.enrolled_at)
    }

    /// Where it stands.
    pub fn state(&self) -> EdgeState {
        let Edge { enrolled_at, removed_at, bound_ms, .. } = self.edge;
        let heard = self.last_contact().unwrap_or_default();
        EdgeState::at(enrolled_at.is_some(), removed_at.is_some(), heard, bound_ms, self.now)
    }
}

/// An edge to be made. The caller minted the code.
#[derive(Clone, Debug)]
pub struct NewEdge {
    /// `edge_…`
    pub id: EdgeId,
    /// The set it is to read.
    pub set: SetId,
    /// What people call it.
    pub name: String,
    /// Whether it remembers.
    pub class: EdgeClass,
    /// SHA-256 of the one-time code.
    pub code: Digest,
}

/// Makes an edge that waits for its code to be used.
///
/// # Errors
/// [`Error::NotFound`] where the set is not the workspace's.
pub async fn create(tx: &mut Tx, context: &Context, edge: &NewEdge) -> Result<EdgeView, Error> {
    workspaces::set(tx, &context.workspace, &edge.set).await?;
    let (now, maker) = (tx.now().await?, Maker::of(context));
    sql!(
        tx,
        "INSERT INTO edges (id, workspace_id, set_id, name, class, code_digest, code_expires_at, created_by_type, \
         created_by_id, created_at, code_member, code_token) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        edge.id.as_str(),
        context.workspace.as_str(),
        edge.set.as_str(),
        edge.name.as_str(),
        edge.class.as_str(),
        edge.code.as_bytes().as_slice(),
        now.saturating_add(CODE_LIFETIME_MS),
        context.actor.kind.as_str(),
        context.actor.id.as_str(),
        now,
        maker.member().map(MemberId::as_str),
        maker.token().map(TokenId::as_str)
        => execute
    )?;
    let after = json!({ "name": edge.name, "class": edge.class.as_str(), "set": edge.set.as_str() });
    append(tx, context, "edge.created", &edge.id, after, now).await?;
    get(tx, &context.workspace, &edge.id).await
}

/// Who enrols, with what.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// SHA-256 of the code.
    pub code: Digest,
    /// The runtime's name.
    pub runtime: String,
    /// The edge's program version.
    pub version: String,
    /// The request's id.
    pub request_id: String,
    /// Where the request came from.
    pub source: Option<String>,
}

/// Whether a code could be exchanged now: asked first, it keeps those who guess from the one place where all write.
///
/// # Errors
/// [`Error::Database`].
pub async fn awaits(read: &mut Read, code: &Digest) -> Result<bool, Error> {
    let now = read.now().await?;
    let sql = "SELECT COUNT(*) FROM edges WHERE code_digest = $1 AND enrolled_at IS NULL AND removed_at IS NULL \
               AND code_expires_at > $2";
    Ok(sql!(read, sql, code.as_bytes().as_slice(), now => one (i64,))?.0 > 0)
}

/// Exchanges a one-time code, once, for a credential. `mint` makes it for the edge whose code it is. Workspace and set are
/// the edge's own.
///
/// # Errors
/// [`Error::NotFound`] where the code is unknown, used or expired, or its edge removed.
pub async fn enrol(
    tx: &mut Tx,
    enrolment: &Enrolment,
    mint: impl FnOnce(&Edge) -> NewToken + Send,
) -> Result<EdgeView, Error> {
    let now = tx.now().await?;
    // One statement decides: of two that race, the second finds the code gone.
    let sql = "UPDATE edges SET code_digest = NULL, enrolled_at = $2, runtime = $3, version = $4 WHERE code_digest = $1 \
               AND enrolled_at IS NULL AND removed_at IS NULL AND code_expires_at > $2 RETURNING workspace_id, id, \
               code_member, code_token";
    let row = sql!(
        tx,
        sql,
        enrolment.code.as_bytes().as_slice(),
        now,
        enrolment.runtime.as_str(),
        enrolment.version.as_str()
        => optional (String, String, Option<String>, Option<String>)
    )?;
    let (workspace, id, member, token) = row.ok_or(Error::NotFound("code"))?;
    let (workspace, id) = (WorkspaceId::from_stored(workspace), EdgeId::from_stored(id));
    let maker = Maker::from_stored(member, token).authority(tx, &workspace).await?;
    if maker.is_none_or(|maker| maker.require(Action::EdgesManage, &authority::Target::None).is_err()) {
        return Err(Error::NotFound("code"));
    }
    let context = Context {
        actor: Actor::new(ActorType::Edge, id.as_str()),
        authority: Authority::Edge,
        source: enrolment.source.clone(),
        ..Context::system(workspace, enrolment.request_id.clone())
    };
    let view = get(tx, &context.workspace, &id).await?;
    let token = mint(&view.edge);
    tokens::insert(tx, &context, &token, Some(&id), now).await?;
    let after = json!({
        "runtime": enrolment.runtime,
        "version": enrolment.version,
        "token": token.id.as_str(),
        "prefix": token.prefix,
    });
    append(tx, &context, "edge.enrolled", &id, after, now).await?;
    Ok(view)
}

/// Removes an edge, finally: its code and its credentials end with this. Repeating it changes nothing.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn remove(tx: &mut Tx, context: &Context, id: &EdgeId) -> Result<EdgeView, Error> {
    dialect::lock_edge(tx, id.as_str()).await?;
    let now = tx.now().await?;
    let sql = "UPDATE edges SET removed_at = $3, code_digest = NULL WHERE workspace_id = $1 AND id = $2 \
               AND removed_at IS NULL";
    if sql!(tx, sql, context.workspace.as_str(), id.as_str(), now => execute)? > 0 {
        let sql = "UPDATE tokens SET revoked_at = $2 WHERE edge_id = $1 AND revoked_at IS NULL";
        let ended = sql!(tx, sql, id.as_str(), now => execute)?;
        append(tx, context, "edge.removed", id, json!({ "removed_at": now, "credentials_ended": ended }), now).await?;
    }
    get(tx, &context.workspace, id).await
}

/// An edge of the workspace.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn get(read: &mut Read, workspace: &WorkspaceId, id: &EdgeId) -> Result<EdgeView, Error> {
    let sql = select_edges!("e.workspace_id = $1 AND e.id = $2");
    let row = sql!(read, sql, workspace.as_str(), id.as_str() => optional Row)?;
    let edge = row.ok_or(Error::NotFound("edge"))?.try_into()?;
    views(read, vec![edge]).await?.pop().ok_or(Error::NotFound("edge"))
}

/// Newest first.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(read: &mut Read, workspace: &WorkspaceId, page: &PageRequest) -> Result<Page<EdgeView>, Error> {
    let mut select = Select::new(select_edges!("e.workspace_id = "));
    select.value(workspace.as_str());
    select.page("e.created_at", "e.id", Direction::Descending, page);
    let rows: Vec<Row> = select.fetch(read).await?;
    let edges = rows.into_iter().map(Edge::try_from).collect::<Result<Vec<_>, _>>()?;
    let place = |edge: &Edge| Cursor { at: edge.created_at, id: edge.id.as_str().to_owned() };
    let Page { items, next } = Page::from_rows(edges, page.limit, place);
    Ok(Page { items: views(read, items).await?, next })
}

/// Edges that were not removed, of all workspaces, oldest first, at most `limit`: what metrics show.
///
/// # Errors
/// [`Error::Database`].
pub async fn watched(read: &mut Read, limit: u32) -> Result<Vec<EdgeView>, Error> {
    let sql = select_edges!("e.removed_at IS NULL ORDER BY e.created_at, e.id LIMIT $1");
    let rows = sql!(read, sql, i64::from(limit) => all Row)?;
    let edges = rows.into_iter().map(Edge::try_from).collect::<Result<Vec<_>, _>>()?;
    views(read, edges).await
}

/// What people call the durable edges of a workspace, by id.
///
/// # Errors
/// [`Error::Database`].
pub async fn names(read: &mut Read, workspace: &WorkspaceId) -> Result<BTreeMap<String, String>, Error> {
    let sql = "SELECT id, name FROM edges WHERE workspace_id = $1 AND class = 'durable'";
    Ok(sql!(read, sql, workspace.as_str() => all (String, String))?.into_iter().collect())
}

/// How many edges were removed, in all workspaces.
///
/// # Errors
/// [`Error::Database`].
pub async fn count_removed(read: &mut Read) -> Result<i64, Error> {
    let sql = "SELECT COUNT(*) FROM edges WHERE removed_at IS NOT NULL";
    Ok(sql!(read, sql => one (i64,))?.0)
}

/// Adds what the edges reported.
async fn views(read: &mut Read, edges: Vec<Edge>) -> Result<Vec<EdgeView>, Error> {
    let now = read.now().await?;
    let mut views = Vec::with_capacity(edges.len());
    for chunk in edges.chunks(200) {
        let ids: Vec<_> = chunk.iter().map(|edge| edge.id.as_str()).collect();
        let latest = report::latest(read, &ids).await?;
        let bound = chunk.iter().map(|edge| edge.bound_ms).max().unwrap_or_default();
        let counts = report::count_since(read, &ids, now - bound).await?;
        views.extend(chunk.iter().map(|edge| EdgeView {
            edge: edge.clone(),
            latest: latest.iter().rev().find(|latest| latest.edge.as_ref() == Some(&edge.id)).cloned(),
            instances: counts.get(edge.id.as_str()).copied().unwrap_or_default(),
            now,
        }));
    }
    Ok(views)
}

async fn append(
    tx: &mut Tx,
    context: &Context,
    action: &'static str,
    id: &EdgeId,
    after: serde_json::Value,
    now: i64,
) -> Result<(), Error> {
    let target = Target::Other("edge", id.as_str());
    audit::append(
        tx,
        context,
        &Draft { action, target, before: None, after: Some(after), reason: None, personal: &[], about: None },
        now,
    )
    .await
}

#[derive(Debug, FromRow)]
struct Row {
    id: String,
    workspace_id: String,
    set_id: String,
    name: String,
    class: String,
    code_expires_at: i64,
    created_at: i64,
    runtime: Option<String>,
    version: Option<String>,
    enrolled_at: Option<i64>,
    removed_at: Option<i64>,
    bound_ms: i64,
}

impl TryFrom<Row> for Edge {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            id: EdgeId::from_stored(row.id),
            workspace: WorkspaceId::from_stored(row.workspace_id),
            set: SetId::from_stored(row.set_id),
            name: row.name,
            class: EdgeClass::from_name(&row.class).ok_or(Error::Corrupt("edge class"))?,
            code_expires_at: row.code_expires_at,
            created_at: row.created_at,
            runtime: row.runtime,
            version: row.version,
            enrolled_at: row.enrolled_at,
            removed_at: row.removed_at,
            bound_ms: row.bound_ms,
        })
    }
}
