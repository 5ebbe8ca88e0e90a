//! What edges report.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, FromRow, Postgres, Sqlite};

use super::select::{RowArguments, Select};
use super::tokens::Token;
use super::tx::{Conn, sql};
use super::{Error, Read, Tx, dialect, workspaces};
use crate::domain::{KeyRef, SetId, TokenId, WorkspaceId};

/// How long an instance that reports no more is remembered, milliseconds.
const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1000;
/// Sightings in one statement.
const CHUNK: usize = 500;

/// The state an edge has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The set's recovery count.
    pub incarnation: i64,
    /// The base's number.
    pub epoch: i64,
    /// The change counter.
    pub version: i64,
    /// The head's `issued`, unix milliseconds.
    pub issued: i64,
}

/// A report.
#[derive(Clone, Debug)]
pub struct Report {
    /// The set it is about.
    pub set: SetId,
    /// Which running instance, at most 64 characters.
    pub instance: String,
    /// Counts the instance's reports.
    pub sequence: i64,
    /// The runtime's name.
    pub runtime: String,
    /// The edge's program version.
    pub version: String,
    /// What it serves, if anything.
    pub applied: Option<Applied>,
    /// Keys seen, and when, unix milliseconds.
    pub seen: Vec<(KeyRef, i64)>,
}

/// An edge instance as last reported.
#[derive(Clone, Debug)]
pub struct EdgeInstance {
    /// The token it reports with.
    pub token: TokenId,
    /// Its own name.
    pub instance: String,
    /// The set it serves.
    pub set: SetId,
    /// The runtime's name.
    pub runtime: String,
    /// The edge's program version.
    pub version: String,
    /// Its last report's number.
    pub sequence: i64,
    /// What it serves, if anything.
    pub applied: Option<Applied>,
    /// Unix milliseconds.
    pub reported_at: i64,
}

/// Takes a report. `false` where this instance has already sent this sequence or a later one: nothing changes then.
///
/// `last_used_at` only moves forward, never beyond the database clock, and never for a revoked key. Unknown keys are
/// ignored.
///
/// # Errors
/// [`Error::NotFound`] where the set is not the token's.
pub async fn report(tx: &mut Tx, token: &Token, report: &Report) -> Result<bool, Error> {
    if token.set.as_ref().is_some_and(|set| *set != report.set) {
        return Err(Error::NotFound("set"));
    }
    workspaces::set(tx, &token.workspace, &report.set).await?;
    let now = tx.now().await?;
    if !advance(tx, token, report, now).await? {
        return Ok(false);
    }
    let mut seen: BTreeMap<i64, i64> = BTreeMap::new();
    for (key, at) in numbered(tx, &token.workspace, &report.seen).await? {
        let latest = seen.entry(key).or_default();
        *latest = at.min(now).max(*latest);
    }
    let seen: Vec<_> = seen.into_iter().collect();
    for chunk in seen.chunks(CHUNK) {
        let numbers: Vec<_> = chunk.iter().map(|(number, _)| *number).collect();
        dialect::lock_numbers(tx, token.workspace.as_str(), &numbers).await?;
        see(tx, token.workspace.as_str(), chunk, now).await?;
    }
    Ok(true)
}

/// Instances that reported, latest first, at most 1000.
///
/// # Errors
/// [`Error::Database`].
pub async fn instances(read: &mut Read, workspace: &WorkspaceId) -> Result<Vec<EdgeInstance>, Error> {
    let sql = "SELECT token_id, instance, set_id, runtime, version, sequence, applied_incarnation, applied_epoch, \
               applied_version, applied_issued, reported_at FROM edge_instances WHERE workspace_id = $1 \
               ORDER BY reported_at DESC, token_id, instance LIMIT 1000";
    let rows = sql!(read, sql, workspace.as_str() => all Row)?;
    Ok(rows.into_iter().map(EdgeInstance::from).collect())
}

/// Forgets instances that have not reported for a day: isolates come and go. To be called now and then.
///
/// # Errors
/// [`Error::Database`].
pub async fn forget_silent(tx: &mut Tx) -> Result<u64, Error> {
    let now = tx.now().await?;
    Ok(sql!(tx, "DELETE FROM edge_instances WHERE reported_at < $1", now - REMEMBERED_MS => execute)?)
}

/// Moves the instance's row to this report. `false` where it is not newer than the last one.
async fn advance(tx: &mut Tx, token: &Token, report: &Report, now: i64) -> Result<bool, Error> {
    let moved = sql!(
        tx,
        "INSERT INTO edge_instances (token_id, instance, workspace_id, set_id, runtime, version, sequence, \
         applied_incarnation, applied_epoch, applied_version, applied_issued, reported_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
         ON CONFLICT (token_id, instance) DO UPDATE SET set_id = excluded.set_id, runtime = excluded.runtime, \
         version = excluded.version, sequence = excluded.sequence, applied_incarnation = excluded.applied_incarnation, \
         applied_epoch = excluded.applied_epoch, applied_version = excluded.applied_version, \
         applied_issued = excluded.applied_issued, reported_at = excluded.reported_at \
         WHERE edge_instances.sequence < excluded.sequence",
        token.id.as_str(),
        report.instance.as_str(),
        token.workspace.as_str(),
        report.set.as_str(),
        report.runtime.as_str(),
        report.version.as_str(),
        report.sequence,
        report.applied.map(|applied| applied.incarnation),
        report.applied.map(|applied| applied.epoch),
        report.applied.map(|applied| applied.version),
        report.applied.map(|applied| applied.issued),
        now
        => execute
    )?;
    Ok(moved > 0)
}

/// The sightings by key number: keys are locked in that order. Ids that are not the workspace's are left out.
async fn numbered(read: &mut Read, workspace: &WorkspaceId, seen: &[(KeyRef, i64)]) -> Result<Vec<(i64, i64)>, Error> {
    let mut numbered = Vec::with_capacity(seen.len());
    let mut by_id: BTreeMap<&str, i64> = BTreeMap::new();
    for (key, at) in seen {
        match key {
            KeyRef::Number(number) => numbered.push((i64::from(*number), *at)),
            KeyRef::Id(id) => {
                let latest = by_id.entry(id.as_str()).or_insert(*at);
                *latest = (*latest).max(*at);
            }
        }
    }
    let ids: Vec<_> = by_id.keys().copied().collect();
    for chunk in ids.chunks(CHUNK) {
        let mut select = Select::new("SELECT id, number FROM keys WHERE workspace_id = ");
        select.value(workspace.as_str()).push(" AND id IN (").list(chunk.iter().copied()).push(")");
        let rows: Vec<(String, i64)> = select.fetch(read).await?;
        numbered.extend(rows.iter().filter_map(|(id, number)| Some((*number, *by_id.get(id.as_str())?))));
    }
    Ok(numbered)
}

/// Moves `last_used_at` of these keys forward.
async fn see(tx: &mut Tx, workspace: &str, seen: &[(i64, i64)], now: i64) -> Result<(), Error> {
    let arguments = RowArguments::new(tx, seen.len(), 2);
    // A sub-select of VALUES names its columns column1 and column2 in both databases.
    let sql = AssertSqlSafe(format!(
        "UPDATE keys SET last_used_at = v.column2 FROM (VALUES {rows}) AS v \
         WHERE keys.workspace_id = {workspace} AND keys.number = v.column1 AND keys.state <> 'revoked' \
         AND (keys.deadline IS NULL OR keys.deadline > {second}) \
         AND (keys.last_used_at IS NULL OR keys.last_used_at < v.column2)",
        rows = arguments.rows(),
        workspace = arguments.fixed(1),
        second = arguments.fixed(2)
    ));
    let second = now.div_euclid(1000);
    macro_rules! run {
        ($database:ty, $conn:expr) => {{
            let mut query = sqlx::query::<$database>(sql);
            for (number, at) in seen {
                query = query.bind(number).bind(at);
            }
            query.bind(workspace).bind(second).execute($conn).await.map(drop)?
        }};
    }
    match tx.conn() {
        Conn::Sqlite(conn) => run!(Sqlite, conn),
        Conn::Postgres(conn) => run!(Postgres, conn),
    }
    Ok(())
}

#[derive(Debug, FromRow)]
struct Row {
    token_id: String,
    instance: String,
    set_id: String,
    runtime: String,
    version: String,
    sequence: i64,
    applied_incarnation: Option<i64>,
    applied_epoch: Option<i64>,
    applied_version: Option<i64>,
    applied_issued: Option<i64>,
    reported_at: i64,
}

impl From<Row> for EdgeInstance {
    fn from(row: Row) -> Self {
        let applied = || {
            Some(Applied {
                incarnation: row.applied_incarnation?,
                epoch: row.applied_epoch?,
                version: row.applied_version?,
                issued: row.applied_issued?,
            })
        };
        Self {
            applied: applied(),
            token: TokenId::from_stored(row.token_id),
            instance: row.instance,
            set: SetId::from_stored(row.set_id),
            runtime: row.runtime,
            version: row.version,
            sequence: row.sequence,
            reported_at: row.reported_at,
        }
    }
}
