//! Numbering and chaining: what the leader does where it signs a head.

use nightlatch_audit::{Commitments, ERASED, Row as Hashed, START, Span as Nodes, Tree, commitment, leaf, told_erased};
use nightlatch_keyset::{AuditCheckpoint, Hash};
use sqlx::AssertSqlSafe;

use super::append::{SOURCE, salt};
use super::{Row, entry_columns};
use crate::domain::WorkspaceId;
use crate::store::publication::{hash, signed, unsigned};
use crate::store::select::RowArguments;
use crate::store::tx::{Conn, sql};
use crate::store::{Error, Read, Tx, dialect};

/// Most rows that one statement numbers.
const CHUNK: usize = 256;

/// How far a log is chained.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) tree: Tree,
    /// The last entry's hash.
    pub(super) last: Hash,
}

/// What came of chaining.
#[derive(Clone, Debug)]
pub(crate) struct Chained {
    /// What the head is to say.
    pub(crate) checkpoint: Option<AuditCheckpoint>,
    /// Entries were left for the next transaction.
    pub(crate) more: bool,
    /// Why nothing was chained, where the database no longer holds what was signed.
    pub(crate) broken: Option<String>,
    /// Nothing was chained because somebody else holds the chain.
    pub(crate) held: bool,
}

impl Chained {
    /// Nothing was.
    fn nothing(before: Option<AuditCheckpoint>, broken: Option<String>) -> Self {
        Self { checkpoint: before, more: false, broken, held: false }
    }
}

/// Gives the workspace's committed entries that have none their numbers, at most `limit` of them, in the order in which they
/// were written, and chains them. `before` is the checkpoint of the last signed head: where the log as it is stored does not
/// extend it, somebody has rewritten it, and nothing is chained. The same where what is stored cannot even be read or gone
/// on with: what else the transaction does, such as revoking keys, does not depend on the log.
///
/// # Errors
/// [`Error::Database`], where it is gone.
pub(crate) async fn chain(
    tx: &mut Tx,
    workspace: &str,
    before: Option<AuditCheckpoint>,
    limit: u32,
) -> Result<Chained, Error> {
    sql!(tx, "SAVEPOINT audit_chain" => execute)?;
    let done = chain_on(tx, workspace, before, limit).await;
    let chained = match done {
        Err(error) if is_of_connection(&error) => return Err(error),
        Err(error) => {
            sql!(tx, "ROLLBACK TO SAVEPOINT audit_chain" => execute)?;
            Chained::nothing(before, Some(format!("the log cannot be gone on with: {}", in_words(&error))))
        }
        Ok(chained) => chained,
    };
    sql!(tx, "RELEASE SAVEPOINT audit_chain" => execute)?;
    Ok(chained)
}

/// Whether nothing more can be asked of the database after this.
fn is_of_connection(error: &Error) -> bool {
    use sqlx::Error as Sql;
    match error {
        Error::Database(error) => matches!(
            error,
            Sql::Io(_) | Sql::Tls(_) | Sql::Protocol(_) | Sql::PoolTimedOut | Sql::PoolClosed | Sql::WorkerCrashed
        ),
        Error::Closed => true,
        _ => false,
    }
}

fn in_words(error: &Error) -> String {
    match error {
        Error::Database(error) => error.to_string(),
        error => error.to_string(),
    }
}

async fn chain_on(tx: &mut Tx, workspace: &str, before: Option<AuditCheckpoint>, limit: u32) -> Result<Chained, Error> {
    make(tx, workspace).await?;
    if !dialect::try_lock_audit_chain(tx, workspace).await? {
        // The leader of another set chains them, or the next head has them.
        return Ok(Chained { held: true, ..Chained::nothing(before, None) });
    }
    let Chain { mut tree, mut last } = match extended(tx, workspace, before).await? {
        Ok(chain) => chain,
        Err(broken) => return Ok(Chained::nothing(before, Some(broken))),
    };
    let rows = unchained(tx, workspace, limit).await?;
    let more = rows.len() > limit as usize;
    let mut links = Vec::with_capacity(rows.len());
    let mut nodes = Vec::new();
    for row in rows.into_iter().take(limit as usize) {
        let row = committed_to(tx, row).await?;
        let seq = tree.count() + 1;
        let hash = hash_of(&row, workspace, seq, &last);
        tree.push(&hash, |level, place, root| nodes.push((level, place, root)));
        links.push(Link { id: row.id, seq: signed(seq)?, before: last, hash });
        last = hash;
    }
    if !links.is_empty() {
        write(tx, &links).await?;
        for (level, place, root) in nodes {
            sql!(
                tx,
                "INSERT INTO audit_nodes (workspace_id, level, place, hash) VALUES ($1, $2, $3, $4)",
                workspace, i64::from(level), signed(place)?, root.0.as_slice() => execute
            )?;
        }
        let peaks: Vec<u8> = tree.peaks().iter().flat_map(|peak| peak.0).collect();
        sql!(
            tx,
            "UPDATE audit_chains SET count = $2, hash = $3, peaks = $4 WHERE workspace_id = $1",
            workspace, signed(tree.count())?, last.0.as_slice(), peaks => execute
        )?;
    }
    let checkpoint = (tree.count() > 0).then(|| AuditCheckpoint { count: tree.count(), root: tree.root() });
    Ok(Chained { checkpoint, more, broken: None, held: false })
}

/// Keeps others from chaining until the transaction ends.
pub(super) async fn lock(tx: &mut Tx, workspace: &str) -> Result<(), Error> {
    make(tx, workspace).await?;
    dialect::lock_audit_chain(tx, workspace).await
}

/// Makes the row of a workspace's chain, where there is none.
async fn make(tx: &mut Tx, workspace: &str) -> Result<(), Error> {
    sql!(
        tx,
        "INSERT INTO audit_chains (workspace_id, count, hash, peaks) VALUES ($1, 0, $2, $3) ON CONFLICT DO NOTHING",
        workspace, START.0.as_slice(), [0_u8; 0].as_slice() => execute
    )?;
    Ok(())
}

/// The stored chain; an empty one where there is none, and words where it cannot be one.
pub(super) async fn stored(read: &mut Read, workspace: &str) -> Result<Result<Chain, String>, Error> {
    let sql = "SELECT count, hash, peaks FROM audit_chains WHERE workspace_id = $1";
    let Some((count, last, peaks)) = sql!(read, sql, workspace => optional (i64, Vec<u8>, Vec<u8>))? else {
        return Ok(Ok(Chain { tree: Tree::default(), last: START }));
    };
    let (peaks, rest) = peaks.as_chunks::<32>();
    let peaks = peaks.iter().copied().map(Hash).collect();
    let tree = u64::try_from(count).ok().and_then(|count| Tree::new(count, peaks)).filter(|_| rest.is_empty());
    let last = <[u8; 32]>::try_from(last).map(Hash);
    Ok(match (tree, last) {
        (Some(tree), Ok(last)) => Ok(Chain { tree, last }),
        _ => Err("the state of the chain is damaged".to_owned()),
    })
}

/// The stored chain, where it extends what was signed and ends with the entry that it says; otherwise what is wrong.
async fn extended(
    read: &mut Read,
    workspace: &str,
    before: Option<AuditCheckpoint>,
) -> Result<Result<Chain, String>, Error> {
    let chain = match stored(read, workspace).await? {
        Ok(chain) => chain,
        broken => return Ok(broken),
    };
    if let Some(before) = before
        && !extends(read, workspace, &chain, &before).await?
    {
        let AuditCheckpoint { count, .. } = before;
        return Ok(Err(format!("the {count} entries that were signed are not those that the database holds")));
    }
    let sql = "SELECT hash FROM audit WHERE workspace_id = $1 AND seq >= $2 ORDER BY seq LIMIT 2";
    let tail = sql!(read, sql, workspace, signed(chain.tree.count().max(1))? => all (Option<Vec<u8>>,))?;
    let whole = match &tail[..] {
        [] => chain.tree.count() == 0,
        [(Some(hash),)] => chain.tree.count() > 0 && *hash == chain.last.0,
        _ => false,
    };
    Ok(if whole { Ok(chain) } else { Err("the last entries are not those that were chained".to_owned()) })
}

/// Whether a chain's first entries are those of a checkpoint.
pub(super) async fn extends(
    read: &mut Read,
    workspace: &str,
    chain: &Chain,
    before: &AuditCheckpoint,
) -> Result<bool, Error> {
    if before.count == chain.tree.count() {
        return Ok(before.root == chain.tree.root());
    }
    if before.count > chain.tree.count() {
        return Ok(false);
    }
    Ok(tree_at(read, workspace, before.count).await?.is_some_and(|tree| tree.root() == before.root))
}

/// The tree of the first entries, from what is kept of it; `None` where something is missing.
pub(super) async fn tree_at(read: &mut Read, workspace: &str, count: u64) -> Result<Option<Tree>, Error> {
    let mut spans = Vec::new();
    for span in Nodes::of_peaks(count) {
        spans.push(nodes(read, workspace, span).await?);
    }
    Ok(Tree::from_spans(count, &spans))
}

/// Nodes that are kept; fewer where some are missing or no hashes.
pub(super) async fn nodes(read: &mut Read, workspace: &str, span: Nodes) -> Result<Vec<Hash>, Error> {
    let (first, end) = (signed(span.first)?, signed(span.first + span.len)?);
    if span.level == 0 {
        let sql = "SELECT hash FROM audit WHERE workspace_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq";
        let rows = sql!(read, sql, workspace, first, end => all (Option<Vec<u8>>,))?;
        return Ok(rows.into_iter().filter_map(|(bytes,)| Some(leaf(&hash(&bytes?).ok()?))).collect());
    }
    let sql = "SELECT hash FROM audit_nodes WHERE workspace_id = $1 AND level = $2 AND place >= $3 AND place < $4 \
               ORDER BY place";
    let rows = sql!(read, sql, workspace, i64::from(span.level), first, end => all (Vec<u8>,))?;
    Ok(rows.into_iter().filter_map(|(bytes,)| hash(&bytes).ok()).collect())
}

/// One more than `limit` shows that there are more.
async fn unchained(read: &mut Read, workspace: &str, limit: u32) -> Result<Vec<Row>, Error> {
    Ok(sql!(
        read,
        concat!("SELECT ", entry_columns!(), " FROM audit WHERE workspace_id = $1 AND seq IS NULL ORDER BY id LIMIT $2"),
        workspace, i64::from(limit) + 1 => all Row
    )?)
}

/// How many entries wait to be chained.
pub(super) async fn count_unchained(read: &mut Read, workspace: &str) -> Result<u64, Error> {
    let sql = "SELECT COUNT(*) FROM audit WHERE workspace_id = $1 AND seq IS NULL";
    let (count,) = sql!(read, sql, workspace => one (i64,))?;
    unsigned(count)
}

/// What entries behind a checkpoint come to: how many they are, and how many personal values they tell the erasure of.
pub(super) async fn behind(read: &mut Read, workspace: &str, count: u64) -> Result<(u64, u64), Error> {
    let sql = "SELECT COUNT(*) FROM audit WHERE workspace_id = $1 AND seq > $2";
    let (chained,) = sql!(read, sql, workspace, signed(count)? => one (i64,))?;
    let sql = "SELECT after FROM audit WHERE workspace_id = $1 AND (seq IS NULL OR seq > $2) AND action = $3";
    let told = sql!(read, sql, workspace, signed(count)?, ERASED => all (Option<String>,))?;
    let erased = told.iter().filter_map(|(after,)| after.as_deref()).map(told_erased);
    let erased = erased.fold(0, u64::saturating_add);
    Ok((count_unchained(read, workspace).await? + unsigned(chained)?, erased))
}

/// Commits to the source of an entry that was written before sources were committed to.
async fn committed_to(tx: &mut Tx, mut row: Row) -> Result<Row, Error> {
    if let (Some(source), None) = (&row.source, &row.commitments) {
        let salt = salt();
        let fields = vec![(SOURCE.to_owned(), commitment(SOURCE, &salt, source))];
        row.commitments = Commitments::new(fields).to_text();
        let sql = "UPDATE audit SET source_salt = $2, commitments = $3 WHERE id = $1";
        sql!(tx, sql, row.id, salt.as_slice(), row.commitments.as_deref() => execute)?;
    }
    Ok(row)
}

fn hash_of(row: &Row, workspace: &str, seq: u64, before: &Hash) -> Hash {
    let hashed = Hashed {
        seq,
        id: row.id,
        at: row.at,
        workspace,
        actor_type: &row.actor_type,
        actor_id: &row.actor_id,
        on_behalf_of: row.on_behalf_of.as_deref(),
        action: &row.action,
        category: &row.category,
        target_type: &row.target_type,
        target_id: &row.target_id,
        prefix: row.prefix.as_deref(),
        short_prefix: row.short_prefix.as_deref(),
        scopes: row.scopes.as_deref(),
        before: row.before.as_deref(),
        after: row.after.as_deref(),
        reason: row.reason.as_deref(),
        request_id: &row.request_id,
        commitments: row.commitments.as_deref(),
    };
    hashed.hash(before)
}

/// An entry's place in the chain.
struct Link {
    id: i64,
    seq: i64,
    before: Hash,
    hash: Hash,
}

/// Writes places, many in one statement. The sizes are powers of two, so that there are few texts to prepare.
async fn write(tx: &mut Tx, links: &[Link]) -> Result<(), Error> {
    let mut rest = links;
    while !rest.is_empty() {
        let size = CHUNK.min(1 << rest.len().ilog2());
        let (chunk, later) = rest.split_at(size);
        rest = later;
        let arguments = RowArguments::new(tx, chunk.len(), 4);
        // A sub-select of VALUES names its columns column1, column2, … in both databases.
        let sql = AssertSqlSafe(format!(
            "UPDATE audit SET seq = v.column2, prev_hash = v.column3, hash = v.column4 FROM (VALUES {rows}) AS v \
             WHERE audit.id = v.column1 AND audit.seq IS NULL",
            rows = arguments.rows()
        ));
        macro_rules! run {
            ($database:ty, $conn:expr) => {{
                let mut query = sqlx::query::<$database>(sql);
                for link in chunk {
                    query =
                        query.bind(link.id).bind(link.seq).bind(link.before.0.as_slice()).bind(link.hash.0.as_slice());
                }
                query.execute($conn).await.map(|done| done.rows_affected())?
            }};
        }
        let written = match tx.conn() {
            Conn::Sqlite(conn) => run!(sqlx::Sqlite, conn),
            Conn::Postgres(conn) => run!(sqlx::Postgres, conn),
        };
        if written != chunk.len() as u64 {
            return Err(Error::Corrupt("audit"));
        }
    }
    Ok(())
}

/// How a workspace's log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Entries that are chained.
    pub chained: u64,
    /// Entries that wait to be.
    pub unchained: u64,
    /// The signed head with the furthest checkpoint; none before the first.
    pub head: Option<SignedHead>,
}

/// A head and what it says of the log. Whoever relies on it checks the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// Its set.
    pub set: String,
    /// Its text.
    pub note: String,
    /// The checkpoint that it carries.
    pub checkpoint: AuditCheckpoint,
}

/// How a workspace's log stands.
///
/// # Errors
/// [`Error::Database`].
pub async fn standing(read: &mut Read, workspace: &WorkspaceId) -> Result<Standing, Error> {
    let sql = "SELECT count FROM audit_chains WHERE workspace_id = $1";
    let count = sql!(read, sql, workspace.as_str() => optional (i64,))?;
    let sql = "SELECT id, head FROM sets WHERE workspace_id = $1 AND head IS NOT NULL ORDER BY id";
    let heads = sql!(read, sql, workspace.as_str() => all (String, String))?;
    let signed =
        heads.into_iter().filter_map(|(set, note)| Some(SignedHead { set, checkpoint: claimed(&note)?, note }));
    Ok(Standing {
        chained: unsigned(count.map_or(0, |(count,)| count))?,
        unchained: count_unchained(read, workspace.as_str()).await?,
        head: signed.max_by_key(|head| head.checkpoint.count),
    })
}

/// The checkpoint that a head says it carries.
fn claimed(note: &str) -> Option<AuditCheckpoint> {
    let (text, _) = note.split_once("\n\n")?;
    let (count, root) = text.lines().last()?.strip_prefix("audit ")?.split_once(' ')?;
    Some(AuditCheckpoint { count: count.parse().ok()?, root: Hash::from_hex(root)? })
}
