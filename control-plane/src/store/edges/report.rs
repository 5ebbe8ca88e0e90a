//! What edges report, and what of it is proof.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, FromRow, Postgres, Sqlite};

use crate::domain::receipt::{Claim, Mark, SignedState, is_plausible};
use crate::domain::{EdgeClass, EdgeId, KeyRef, SetId, TokenId, WorkspaceId};
use crate::store::select::{RowArguments, Select};
use crate::store::tokens::Token;
use crate::store::tx::{Conn, sql};
use crate::store::{Error, Read, Tx, dialect, workspaces};

/// How long an instance that reports no more is remembered, milliseconds.
const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1000;
/// How long it is remembered when an edge said what, beyond the largest bound, milliseconds.
const MARKS_MS: i64 = 60 * 60 * 1000;
/// How lately an instance reported that still counts when the key that signs is to be replaced, milliseconds.
const HEARD_LATELY_MS: i64 = 60 * 60 * 1000;
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

impl Applied {
    fn claim(self) -> Claim {
        let mark = Mark { incarnation: self.incarnation, version: self.version };
        Claim { mark, epoch: self.epoch, issued: self.issued }
    }
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
    /// What it says of itself beside that.
    pub facts: Facts,
    /// Keys seen, and when, unix milliseconds.
    pub seen: Vec<(KeyRef, i64)>,
}

/// What an edge says of itself. Words hold no blanks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The formats it reads.
    pub formats: Vec<String>,
    /// The ids of the peppers it holds.
    pub peppers: Vec<String>,
    /// The version of the trust note it holds.
    pub trust: Option<i64>,
    /// How old its state is, milliseconds.
    pub data_age_ms: Option<i64>,
    /// Its wall clock as it sent the report, unix milliseconds.
    pub sent_at: Option<i64>,
    /// It saw its clock break the assumption, and refused to answer.
    pub clock_refused: bool,
    /// The code of its last refresh, where that failed.
    pub failure: Option<String>,
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
    /// The edge whose credential it reports with; `None` with a plain edge token.
    pub edge: Option<EdgeId>,
    /// Its last report's number.
    pub sequence: i64,
    /// What it serves, if anything.
    pub applied: Option<Applied>,
    /// That state is one that the set has not reached.
    pub ahead: bool,
    /// Its clock minus the database's as its last report arrived, milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// What else it said; without `sent_at`, which its offset follows from.
    pub facts: Facts,
    /// When its first report arrived, unix milliseconds.
    pub first_reported_at: i64,
    /// When its last report arrived, unix milliseconds.
    pub reported_at: i64,
}

/// What came of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether it was news; otherwise nothing has changed.
    pub accepted: bool,
    /// Whether a durable edge has got further than it had said before.
    pub advanced: bool,
}

/// Takes a report. It is not accepted where this instance has already sent this sequence or a later one.
///
/// A state that the set has not signed by now is shown as `ahead` and proves nothing. `last_used_at` only moves forward, never beyond the database clock, and never for a revoked key. Unknown keys are
/// ignored.
///
/// # Errors
/// [`Error::NotFound`] where the set is not the token's.
pub async fn report(tx: &mut Tx, token: &Token, report: &Report) -> Result<Taken, Error> {
    if token.set.as_ref().is_some_and(|set| *set != report.set) {
        return Err(Error::NotFound("set"));
    }
    let set = workspaces::set(tx, &token.workspace, &report.set).await?;
    let now = tx.now().await?;
    let signed = SignedState {
        mark: Mark { incarnation: set.incarnation, version: set.version },
        epoch: set.epoch,
        issued: set.head_issued,
    };
    let claim = report.applied.map(Applied::claim);
    let plausible = claim.as_ref().is_none_or(|claim| is_plausible(claim, &signed));
    if !advance(tx, token, report, plausible, now).await? {
        return Ok(Taken { accepted: false, advanced: false });
    }
    let advanced = match (claim, &token.edge) {
        (Some(claim), Some((edge, EdgeClass::Durable))) if plausible => {
            mark(tx, token, edge, report, claim.mark, now).await?
        }
        _ => false,
    };
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
    Ok(Taken { accepted: true, advanced })
}

/// The columns of [`InstanceRow`].
macro_rules! instance_columns {
    () => {
        "token_id, instance, set_id, runtime, version, sequence, applied_incarnation, applied_epoch, applied_version, \
         applied_issued, reported_at, edge_id, first_reported_at, formats, peppers, trust, data_age_ms, \
         clock_offset_ms, clock_refused, failure, ahead"
    };
}

/// Instances that reported, latest first, at most 1000.
///
/// # Errors
/// [`Error::Database`].
pub async fn instances(read: &mut Read, workspace: &WorkspaceId) -> Result<Vec<EdgeInstance>, Error> {
    let sql = concat!(
        "SELECT ",
        instance_columns!(),
        " FROM edge_instances WHERE workspace_id = $1 ORDER BY reported_at DESC, token_id, instance LIMIT 1000"
    );
    let rows = sql!(read, sql, workspace.as_str() => all InstanceRow)?;
    Ok(rows.into_iter().map(EdgeInstance::from).collect())
}

/// The latest instance of each of these edges that has any.
pub(super) async fn latest(read: &mut Read, edges: &[&str]) -> Result<Vec<EdgeInstance>, Error> {
    if edges.is_empty() {
        return Ok(Vec::new());
    }
    let mut select = Select::new(concat!(
        "SELECT ",
        instance_columns!(),
        " FROM edge_instances WHERE (edge_id, reported_at) IN \
         (SELECT edge_id, MAX(reported_at) FROM edge_instances WHERE edge_id IN ("
    ));
    select.list(edges.iter().copied()).push(") GROUP BY edge_id) ORDER BY edge_id, sequence, instance");
    let rows: Vec<InstanceRow> = select.fetch(read).await?;
    Ok(rows.into_iter().map(EdgeInstance::from).collect())
}

/// How many instances of each of these edges have reported since an instant in unix milliseconds.
pub(super) async fn count_since(read: &mut Read, edges: &[&str], since: i64) -> Result<BTreeMap<String, i64>, Error> {
    if edges.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut select = Select::new(
        "SELECT edge_id, COUNT(DISTINCT instance) FROM edge_instances WHERE edge_id IS NOT NULL AND reported_at >= ",
    );
    select.value(since).push(" AND edge_id IN (").list(edges.iter().copied()).push(") GROUP BY edge_id");
    let rows: Vec<(String, i64)> = select.fetch(read).await?;
    Ok(rows.into_iter().collect())
}

/// How many instances serve the set and hold no trust note, of those that reported within an hour: they believe the key
/// that signs now, and no other.
///
/// # Errors
/// [`Error::Database`].
pub async fn without_trust(read: &mut Read, set: &SetId) -> Result<i64, Error> {
    let since = read.now().await? - HEARD_LATELY_MS;
    let sql = "SELECT COUNT(*) FROM edge_instances i LEFT JOIN edges e ON e.id = i.edge_id WHERE i.set_id = $1 \
               AND i.reported_at >= $2 AND i.applied_version IS NOT NULL AND i.trust IS NULL AND e.removed_at IS NULL";
    Ok(sql!(read, sql, set.as_str(), since => one (i64,))?.0)
}

/// Forgets instances that have not reported for a day, for isolates come and go, and marks that no open receipt needs.
/// The last instance of an edge and the last mark of a remembered instance stay. To be called now and then.
///
/// # Errors
/// [`Error::Database`].
pub async fn forget_silent(tx: &mut Tx) -> Result<u64, Error> {
    let now = tx.now().await?;
    let instances = sql!(
        tx,
        "DELETE FROM edge_instances WHERE reported_at < $1 AND (edge_id IS NULL OR EXISTS (SELECT 1 \
         FROM edge_instances n WHERE n.edge_id = edge_instances.edge_id AND n.reported_at > edge_instances.reported_at))",
        now - REMEMBERED_MS => execute
    )?;
    let (bound,) = sql!(
        tx,
        "SELECT CAST(COALESCE(MAX(largest_validity_ms + skew_ms), 0) AS BIGINT) FROM sets" => one (i64,)
    )?;
    let marks = sql!(
        tx,
        "DELETE FROM edge_marks WHERE at < $1 AND (EXISTS (SELECT 1 FROM edge_marks n WHERE n.set_id = edge_marks.set_id \
         AND n.edge_id = edge_marks.edge_id AND n.instance = edge_marks.instance \
         AND (n.incarnation, n.version) > (edge_marks.incarnation, edge_marks.version)) \
         OR NOT EXISTS (SELECT 1 FROM edge_instances i WHERE i.edge_id = edge_marks.edge_id \
         AND i.instance = edge_marks.instance))",
        now - MARKS_MS - bound => execute
    )?;
    Ok(instances + marks)
}

/// Moves the instance's row to this report. `false` where it is not newer than the last one.
async fn advance(tx: &mut Tx, token: &Token, report: &Report, plausible: bool, now: i64) -> Result<bool, Error> {
    let facts = &report.facts;
    let moved = sql!(
        tx,
        "INSERT INTO edge_instances (token_id, instance, workspace_id, set_id, runtime, version, sequence, \
         applied_incarnation, applied_epoch, applied_version, applied_issued, reported_at, edge_id, first_reported_at, \
         formats, peppers, trust, data_age_ms, clock_offset_ms, clock_refused, failure, ahead) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $12, $14, $15, $16, $17, $18, $19, $20, $21) \
         ON CONFLICT (token_id, instance) DO UPDATE SET set_id = excluded.set_id, runtime = excluded.runtime, \
         version = excluded.version, sequence = excluded.sequence, applied_incarnation = excluded.applied_incarnation, \
         applied_epoch = excluded.applied_epoch, applied_version = excluded.applied_version, \
         applied_issued = excluded.applied_issued, reported_at = excluded.reported_at, formats = excluded.formats, \
         peppers = excluded.peppers, trust = excluded.trust, data_age_ms = excluded.data_age_ms, \
         clock_offset_ms = excluded.clock_offset_ms, clock_refused = excluded.clock_refused, \
         failure = excluded.failure, ahead = excluded.ahead \
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
        now,
        token.edge.as_ref().map(|(edge, _)| edge.as_str()),
        facts.formats.join(" "),
        facts.peppers.join(" "),
        facts.trust,
        facts.data_age_ms,
        facts.sent_at.map(|sent_at| sent_at.saturating_sub(now)),
        i64::from(facts.clock_refused),
        facts.failure.as_deref(),
        i64::from(!plausible)
        => execute
    )?;
    Ok(moved > 0)
}

/// Notes how far a durable edge's instance has got. `false` where it has said so before.
async fn mark(tx: &mut Tx, token: &Token, edge: &EdgeId, report: &Report, mark: Mark, now: i64) -> Result<bool, Error> {
    // Only steps forward: the earliest report of a state, or of a later one, is what counts.
    let noted = sql!(
        tx,
        "INSERT INTO edge_marks (set_id, edge_id, instance, incarnation, version, workspace_id, at) \
         SELECT $1, $2, $3, $4, $5, $6, $7 WHERE NOT EXISTS (SELECT 1 FROM edge_marks WHERE set_id = $1 \
         AND edge_id = $2 AND instance = $3 AND (incarnation, version) >= ($4, $5)) ON CONFLICT DO NOTHING",
        report.set.as_str(),
        edge.as_str(),
        report.instance.as_str(),
        mark.incarnation,
        mark.version,
        token.workspace.as_str(),
        now
        => execute
    )?;
    Ok(noted > 0)
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
struct InstanceRow {
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
    edge_id: Option<String>,
    first_reported_at: i64,
    formats: String,
    peppers: String,
    trust: Option<i64>,
    data_age_ms: Option<i64>,
    clock_offset_ms: Option<i64>,
    clock_refused: i64,
    failure: Option<String>,
    ahead: i64,
}

impl From<InstanceRow> for EdgeInstance {
    fn from(row: InstanceRow) -> Self {
        let applied = || {
            Some(Applied {
                incarnation: row.applied_incarnation?,
                epoch: row.applied_epoch?,
                version: row.applied_version?,
                issued: row.applied_issued?,
            })
        };
        let words = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect();
        Self {
            applied: applied(),
            facts: Facts {
                formats: words(&row.formats),
                peppers: words(&row.peppers),
                trust: row.trust,
                data_age_ms: row.data_age_ms,
                sent_at: None,
                clock_refused: row.clock_refused != 0,
                failure: row.failure,
            },
            token: TokenId::from_stored(row.token_id),
            instance: row.instance,
            set: SetId::from_stored(row.set_id),
            runtime: row.runtime,
            version: row.version,
            edge: row.edge_id.map(EdgeId::from_stored),
            sequence: row.sequence,
            ahead: row.ahead != 0,
            clock_offset_ms: row.clock_offset_ms,
            first_reported_at: row.first_reported_at,
            reported_at: row.reported_at,
        }
    }
}
