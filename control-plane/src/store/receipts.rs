//! What receipts are made of: revocations, and what durable edges reported of them.
//!
//! A row is written with the revocation, in its transaction, by the one step through which keys change. Two things are not
//! known there: a clock read after the commit, and the version. Whoever reads the row first notes them.

use nightlatch_api::RouteDocument;
use sqlx::FromRow;

use super::tx::sql;
use super::{Error, Read, Tx, keys, publication, workspaces};
use crate::domain::receipt::{DurableEdge, Instance, Mark, Revocation, Terms};
use crate::domain::{Key, KeyId, KeyRef, SetId, Stage, WorkspaceId};

/// How long after a revocation without a row its commit can have been, milliseconds. Such revocations were made by a
/// program that kept no rows, or were read back from what was published.
const WITHOUT_ROW_MS: i64 = 60 * 60 * 1000;
/// Rows noted in one go.
const SWEEP: u32 = 500;

/// What there is to judge a revocation by.
#[derive(Clone, Debug)]
pub enum Evidence {
    /// The signed receipt: nothing is judged again.
    Decided(String),
    /// What is known now.
    Open(Box<Facts>),
}

/// What is known of a revocation that is not decided.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The revocation.
    pub revocation: Revocation,
    /// What the set allows.
    pub terms: Terms,
    /// Durable edges of the set that have enrolled.
    pub edges: Vec<DurableEdge>,
    /// The database clock at which this was read, unix milliseconds.
    pub now: i64,
}

/// Why there is no receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrevoked {
    /// The key verifies, or may again.
    Usable,
    /// Its deadline has passed: edges enforce it themselves.
    Lapsed,
}

/// Opens the receipts of a key that is being revoked, one per set.
pub(super) async fn open(tx: &mut Tx, key: &Key, at: i64) -> Result<(), Error> {
    sql!(
        tx,
        "INSERT INTO receipts (set_id, key_id, workspace_id, key_number, revoked_at) \
         SELECT id, $2, $1, $3, $4 FROM sets WHERE workspace_id = $1 ORDER BY id ON CONFLICT (set_id, key_id) DO NOTHING",
        key.workspace.as_str(),
        key.id.as_str(),
        i64::from(key.number),
        at
        => execute
    )?;
    Ok(())
}

/// Says of the receipts of a removed member's keys that their revocation reaches edges by the profile: of those that have
/// no change row of their own.
pub(super) async fn go_with_member(tx: &mut Tx, workspace: &WorkspaceId, subject: u32) -> Result<(), Error> {
    sql!(
        tx,
        "UPDATE receipts SET by_profile = 1 WHERE by_profile IS NULL \
         AND set_id IN (SELECT s.id FROM sets s WHERE s.workspace_id = $1) AND key_id IN \
         (SELECT k.id FROM keys k WHERE k.workspace_id = $1 AND k.subject = $2 AND k.kind = 'user') \
         AND NOT EXISTS (SELECT 1 FROM changes c WHERE c.set_id = receipts.set_id \
         AND c.key_number = receipts.key_number AND c.status = 3)",
        workspace.as_str(), i64::from(subject) => execute
    )?;
    Ok(())
}

/// Writes the change rows of keys that were revoked with their member, a few hundred at most, and says how many: edges
/// refuse such keys by their profile already, and a row of its own is what lets a key leave the set in time. One comes only
/// once the receipt knows the version of the profile, which is the one that counts.
///
/// # Errors
/// [`Error::Database`].
pub async fn publish_revoked(tx: &mut Tx) -> Result<u64, Error> {
    let due = sql!(
        tx,
        "SELECT r.set_id, r.key_id FROM receipts r WHERE r.by_profile = 1 AND r.version IS NOT NULL \
         ORDER BY r.key_id, r.set_id LIMIT $1",
        i64::from(SWEEP) => all (String, String)
    )?;
    let now = tx.now().await?;
    let mut written = 0;
    for (set, key) in due {
        let sql = "UPDATE receipts SET by_profile = 0 WHERE set_id = $1 AND key_id = $2 AND by_profile = 1";
        // Another process may have been here meanwhile.
        if sql!(tx, sql, set.as_str(), key.as_str() => execute)? == 0 {
            continue;
        }
        sql!(
            tx,
            "INSERT INTO changes (set_id, workspace_id, key_number, digest, status, imported, deadline, kind, \
             environment, tier, scopes, subject, is_new, created_at) \
             SELECT $1, k.workspace_id, k.number, k.digest, 3, k.imported, k.expires_at, k.kind, k.environment, NULL, '', \
             k.subject, 0, $3 FROM keys k WHERE k.id = $2",
            set.as_str(), key.as_str(), now => execute
        )?;
        written += 1;
    }
    if written > 0 {
        tx.wake_publisher();
    }
    Ok(written)
}

/// Notes the clock after the commit, once. Whoever does so to several goes by key, then by set: two that do it at once in
/// orders of their own would wait for each other.
const NOTE_COMMIT: &str =
    "UPDATE receipts SET committed_by = $3 WHERE set_id = $1 AND key_id = $2 AND committed_by IS NULL";

/// Notes that a revocation is committed: to be called once its mutation has returned. Returns the earliest such note,
/// unix milliseconds; `None` where the key has no receipts.
///
/// # Errors
/// [`Error::Database`].
pub async fn note_commit(tx: &mut Tx, workspace: &WorkspaceId, key: &KeyId) -> Result<Option<i64>, Error> {
    let now = tx.now().await?;
    let sql = "SELECT set_id FROM receipts WHERE workspace_id = $1 AND key_id = $2 AND committed_by IS NULL";
    let mut sets = sql!(tx, sql, workspace.as_str(), key.as_str() => all (String,))?;
    sets.sort();
    for (set,) in sets {
        sql!(tx, NOTE_COMMIT, set.as_str(), key.as_str(), now => execute)?;
    }
    let sql = "SELECT MIN(committed_by) FROM receipts WHERE workspace_id = $1 AND key_id = $2";
    Ok(sql!(tx, sql, workspace.as_str(), key.as_str() => one (Option<i64>,))?.0)
}

/// Reads what there is to judge a revocation by.
///
/// # Errors
/// [`Error::NotFound`] where key or set are not the workspace's.
pub async fn evidence(
    read: &mut Read,
    workspace: &WorkspaceId,
    set: &SetId,
    key: &KeyRef,
) -> Result<Result<Evidence, Unrevoked>, Error> {
    let key = keys::find(read, workspace, key).await?;
    let set = workspaces::set(read, workspace, set).await?;
    let now = read.now().await?;
    let revoked_at = match key.stage {
        Stage::Revoked { at, .. } => at,
        _ if key.revoked_at(now).is_some() => return Ok(Err(Unrevoked::Lapsed)),
        _ => return Ok(Err(Unrevoked::Usable)),
    };
    let sql = "SELECT committed_by, incarnation, version, note FROM receipts WHERE set_id = $1 AND key_id = $2";
    let row = sql!(read, sql, set.id.as_str(), key.id.as_str() => optional ReceiptRow)?;
    // Without a row it was revoked by other means, and so long ago that a commit cannot have been later.
    let row = row.unwrap_or_else(|| ReceiptRow {
        committed_by: Some(revoked_at.saturating_add(WITHOUT_ROW_MS).min(now)),
        incarnation: None,
        version: None,
        note: None,
    });
    if let Some(note) = row.note {
        return Ok(Ok(Evidence::Decided(note)));
    }
    let published = match row.incarnation.zip(row.version) {
        Some((incarnation, version)) => Some(Mark { incarnation, version }),
        None => numbered(read, &set.id, key.number).await?,
    };
    let committed_by = row.committed_by;
    let since = committed_by.unwrap_or(now).saturating_sub(set.largest_validity_ms + set.skew_ms);
    let open_ms = largest_open(read, &set.id).await?;
    let (open_routes, connection_routes) =
        routes(read, &set.id, since.min(now.saturating_sub(open_ms.unwrap_or_default()))).await?;
    let terms = Terms {
        largest_validity_ms: set.largest_validity_ms,
        skew_ms: set.skew_ms,
        open_ms,
        open_routes,
        connection_routes,
        uncounted: uncounted(read, &set.id, now).await?,
    };
    let revocation = Revocation {
        set: set.id.to_string(),
        workspace: workspace.to_string(),
        key: key.id.to_string(),
        revoked_at,
        committed_by,
        published,
    };
    let edges = durable(read, &set.id, published).await?;
    Ok(Ok(Evidence::Open(Box::new(Facts { revocation, terms, edges, now }))))
}

/// A receipt that has been decided.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The set.
    pub set: SetId,
    /// The key.
    pub key: KeyRef,
    /// When, unix milliseconds.
    pub at: i64,
    /// The clock after the commit.
    pub committed_by: i64,
    /// The signed text.
    pub note: String,
}

/// Keeps a signed receipt, unless there is one. Returns the one that is kept.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn decide(tx: &mut Tx, workspace: &WorkspaceId, decision: &Decision) -> Result<String, Error> {
    let key = keys::find(tx, workspace, &decision.key).await?;
    let Stage::Revoked { at: revoked_at, .. } = key.stage else { return Err(Error::NotFound("receipt")) };
    // For a revocation without a row.
    open(tx, &key, revoked_at).await?;
    let sql = "UPDATE receipts SET note = $3, decided_at = $4, committed_by = COALESCE(committed_by, $5) \
               WHERE set_id = $1 AND key_id = $2 AND note IS NULL";
    sql!(
        tx,
        sql,
        decision.set.as_str(),
        key.id.as_str(),
        decision.note.as_str(),
        decision.at,
        decision.committed_by
        => execute
    )?;
    let sql = "SELECT note FROM receipts WHERE workspace_id = $1 AND set_id = $2 AND key_id = $3";
    let row = sql!(tx, sql, workspace.as_str(), decision.set.as_str(), key.id.as_str() => optional (Option<String>,))?;
    row.and_then(|(note,)| note).ok_or(Error::NotFound("receipt"))
}

/// A receipt that lacks something which can be known by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unnoted {
    set: String,
    key: String,
    number: i64,
}

/// Receipts of committed revocations that nobody has noted yet, a few hundred at most: no clock after their commit, or no
/// version. What is in this snapshot is committed.
///
/// # Errors
/// [`Error::Database`].
pub async fn unnoted(read: &mut Read) -> Result<Vec<Unnoted>, Error> {
    let rows = sql!(
        read,
        "SELECT set_id, key_id, key_number FROM receipts WHERE committed_by IS NULL \
         UNION SELECT r.set_id, r.key_id, r.key_number FROM receipts r WHERE r.version IS NULL AND EXISTS \
         (SELECT 1 FROM changes c WHERE c.set_id = r.set_id AND c.key_number = r.key_number AND c.version IS NOT NULL \
         AND c.status = 3) UNION SELECT r.set_id, r.key_id, r.key_number FROM receipts r \
         JOIN keys k ON k.workspace_id = r.workspace_id AND k.number = r.key_number \
         WHERE r.by_profile = 1 AND r.version IS NULL AND EXISTS (SELECT 1 FROM profile_changes p \
         WHERE p.set_id = r.set_id AND p.subject = k.subject AND p.environment = k.environment AND p.refused = 1 \
         AND p.version IS NOT NULL AND NOT EXISTS (SELECT 1 FROM profile_changes n WHERE n.set_id = p.set_id \
         AND n.subject = p.subject AND n.environment = p.environment AND n.seq > p.seq AND n.refused = 0)) LIMIT $1",
        i64::from(SWEEP) => all (String, String, i64)
    )?;
    Ok(rows.into_iter().map(|(set, key, number)| Unnoted { set, key, number }).collect())
}

/// Notes what can be known of them. To be called with what an earlier snapshot had.
///
/// # Errors
/// [`Error::Database`].
pub async fn note(tx: &mut Tx, unnoted: &[Unnoted]) -> Result<u64, Error> {
    let now = tx.now().await?;
    let mut ordered: Vec<_> = unnoted.iter().collect();
    ordered.sort_by(|a, b| (&a.key, &a.set).cmp(&(&b.key, &b.set)));
    for Unnoted { set, key, number } in ordered {
        sql!(tx, NOTE_COMMIT, set.as_str(), key.as_str(), now => execute)?;
        let number = u32::try_from(*number).map_err(|_| Error::Corrupt("key number"))?;
        if let Some(mark) = numbered(tx, &SetId::from_stored(set.clone()), number).await? {
            let sql = "UPDATE receipts SET incarnation = $3, version = $4 WHERE set_id = $1 AND key_id = $2 \
                       AND version IS NULL";
            sql!(tx, sql, set.as_str(), key.as_str(), mark.incarnation, mark.version => execute)?;
        }
    }
    Ok(unnoted.len() as u64)
}

/// The version that says that the key is revoked: by a row of its own, or, where that comes later, by the profile of the
/// member that it was revoked with.
async fn numbered(read: &mut Read, set: &SetId, key_number: u32) -> Result<Option<Mark>, Error> {
    // The row of a version long gone may be gone as well: then it is the set's present incarnation that goes on from it.
    let row = sql!(
        read,
        "SELECT COALESCE(v.incarnation, s.incarnation), c.version FROM (\
         SELECT c.set_id, c.version FROM changes c WHERE c.set_id = $1 AND c.key_number = $2 AND c.status = 3 \
         AND c.version IS NOT NULL UNION ALL \
         SELECT p.set_id, p.version FROM receipts r \
         JOIN keys k ON k.workspace_id = r.workspace_id AND k.number = r.key_number \
         JOIN profile_changes p ON p.set_id = r.set_id AND p.subject = k.subject AND p.environment = k.environment \
         WHERE r.set_id = $1 AND r.key_id = k.id AND r.key_number = $2 AND r.by_profile IS NOT NULL AND p.refused = 1 \
         AND p.version IS NOT NULL AND NOT EXISTS (SELECT 1 FROM profile_changes n WHERE n.set_id = p.set_id \
         AND n.subject = p.subject AND n.environment = p.environment AND n.seq > p.seq AND n.refused = 0)) c \
         JOIN sets s ON s.id = c.set_id LEFT JOIN set_versions v ON v.set_id = c.set_id AND v.version = c.version \
         ORDER BY c.version LIMIT 1",
        set.as_str(), i64::from(key_number) => optional (i64, i64)
    )?;
    Ok(row.map(|(incarnation, version)| Mark { incarnation, version }))
}

/// The set's durable edges that have enrolled, and since when each of their instances has had this state.
async fn durable(read: &mut Read, set: &SetId, published: Option<Mark>) -> Result<Vec<DurableEdge>, Error> {
    let edges = sql!(
        read,
        "SELECT id, enrolled_at, removed_at FROM edges WHERE set_id = $1 AND class = 'durable' AND enrolled_at IS NOT NULL \
         ORDER BY id",
        set.as_str() => all (String, i64, Option<i64>)
    )?;
    // One instance may have reported with two credentials.
    let mark = published.unwrap_or(Mark { incarnation: i64::MAX, version: i64::MAX });
    let rows = sql!(
        read,
        "SELECT i.edge_id, i.reported_at, i.first_reported_at, i.instance, i.clock_offset_ms, i.clock_refused, \
         (SELECT MIN(m.at) FROM edge_marks m WHERE m.set_id = $1 AND m.edge_id = i.edge_id AND m.instance = i.instance \
         AND (m.incarnation, m.version) >= ($2, $3)) AS reached \
         FROM edge_instances i JOIN edges e ON e.id = i.edge_id WHERE e.set_id = $1 AND e.class = 'durable' \
         ORDER BY i.edge_id, i.reported_at, i.sequence",
        set.as_str(), mark.incarnation, mark.version => all InstanceRow
    )?;
    let mut rows = rows.into_iter().peekable();
    let edges = edges.into_iter().map(|(id, enrolled_at, removed_at)| {
        let mut edge = DurableEdge {
            id,
            enrolled_at,
            removed_at,
            instances: Vec::new(),
            clock_offset_ms: None,
            clock_refused: false,
        };
        let mut names: Vec<String> = Vec::new();
        while let Some(row) = rows.next_if(|row| row.edge_id <= edge.id) {
            if row.edge_id < edge.id {
                continue;
            }
            // In order of time: the last one's clock is the edge's.
            (edge.clock_offset_ms, edge.clock_refused) = (row.clock_offset_ms, row.clock_refused != 0);
            let seen = Instance { first: row.first_reported_at, last: row.reported_at, reached: row.reached };
            match names.iter().position(|name| *name == row.instance) {
                Some(place) => {
                    let known = &mut edge.instances[place];
                    (known.first, known.last) = (known.first.min(seen.first), known.last.max(seen.last));
                }
                None => {
                    names.push(row.instance);
                    edge.instances.push(seen);
                }
            }
        }
        edge
    });
    Ok(edges.collect())
}

/// Ephemeral edges and plain edge tokens that may read the set.
async fn uncounted(read: &mut Read, set: &SetId, now: i64) -> Result<u64, Error> {
    let (edges, tokens) = sql!(
        read,
        "SELECT (SELECT COUNT(*) FROM edges WHERE set_id = $1 AND class = 'ephemeral' AND enrolled_at IS NOT NULL \
         AND removed_at IS NULL), (SELECT COUNT(*) FROM tokens WHERE set_id = $1 AND kind = 'edge' AND edge_id IS NULL \
         AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2))",
        set.as_str(), now.div_euclid(1000) => one (i64, i64)
    )?;
    publication::unsigned(edges.saturating_add(tokens))
}

/// Method and pattern of open routes; the same and the seconds of those that let connections live on.
type RouteLists = (Vec<(String, String)>, Vec<(String, String, u32)>);

/// Routes with rules of their own in any document that was in force after an instant, in unix milliseconds.
async fn routes(read: &mut Read, set: &SetId, since: i64) -> Result<RouteLists, Error> {
    let rows = sql!(
        read,
        "SELECT document FROM routes WHERE set_id = $1 AND (created_at >= $2 OR revision = (SELECT MAX(revision) \
         FROM routes WHERE set_id = $1 AND created_at < $2)) ORDER BY revision DESC",
        set.as_str(), since => all (String,)
    )?;
    let (mut open, mut connections) = (Vec::new(), Vec::new());
    for (text,) in rows {
        let document: RouteDocument = serde_json::from_str(&text).map_err(|_| Error::Corrupt("route document"))?;
        for rule in document.routes {
            if rule.open {
                open.push((rule.method.clone(), rule.path.clone()));
            }
            connections.extend(rule.max_connection_age.map(|seconds| (rule.method, rule.path, seconds)));
        }
    }
    // The longest age first: of a route that had several, it is the one that holds.
    connections.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)).then(b.2.cmp(&a.2)));
    connections.dedup_by(|later, kept| (&later.0, &later.1) == (&kept.0, &kept.1));
    open.sort();
    open.dedup();
    Ok((open, connections))
}

/// How long a head has ever let open routes be answered after its `issued`, milliseconds; `None` where none did.
async fn largest_open(read: &mut Read, set: &SetId) -> Result<Option<i64>, Error> {
    let (open_ms,) = sql!(read, "SELECT largest_open_ms FROM sets WHERE id = $1", set.as_str() => one (i64,))?;
    Ok((open_ms > 0).then_some(open_ms))
}

#[derive(Debug, FromRow)]
struct ReceiptRow {
    committed_by: Option<i64>,
    incarnation: Option<i64>,
    version: Option<i64>,
    note: Option<String>,
}

#[derive(Debug, FromRow)]
struct InstanceRow {
    edge_id: String,
    instance: String,
    reported_at: i64,
    first_reported_at: i64,
    clock_offset_ms: Option<i64>,
    clock_refused: i64,
    reached: Option<i64>,
}
