//! Keys that are ended and have no row: named by a deny note, or published as ended and lost with a database. Their texts
//! are never taken in again.

use std::collections::HashSet;

use nightlatch_key::Digest;
use nightlatch_keyset::{Pepper, Tag};
use sqlx::{AssertSqlSafe, Postgres, Sqlite};

use super::select::RowArguments;
use super::tx::{Conn, sql};
use super::{Error, Read, Tx};
use crate::domain::{SetId, WorkspaceId};

/// Values in one statement.
const CHUNK: usize = 250;

/// A key that only its tag is known of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndedTag {
    /// As many bits as the set's files have, then zeros.
    pub(crate) tag: [u8; Tag::LEN],
    /// Since when or from when on it is ended, unix seconds; 0 where it was revoked.
    pub(crate) ends_at: i64,
}

/// What tags are made with, and how much of them is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tagging {
    pub(crate) pepper: String,
    pub(crate) tag_bits: u32,
}

/// So many bits of a tag, then zeros.
pub(crate) fn cut(tag: &Tag, tag_bits: u32) -> [u8; Tag::LEN] {
    let mut bytes = *tag.as_bytes();
    bytes[Tag::LEN - 1] &= (0xff_u32 << (136 - tag_bits)) as u8;
    bytes
}

/// Takes down digests that no key has. Returns those that one has by now: they are the caller's to revoke.
///
/// An import of the same digests either has committed before, and is seen here, or sees them as ended.
pub(crate) async fn remember_digests(
    tx: &mut Tx,
    workspace: &WorkspaceId,
    digests: &[Digest],
) -> Result<Vec<Digest>, Error> {
    if digests.is_empty() {
        return Ok(Vec::new());
    }
    // Imports hold the counters.
    sql!(
        tx,
        "UPDATE workspaces SET next_key_number = next_key_number WHERE id = $1",
        workspace.as_str() => execute
    )?;
    let now = tx.now().await?;
    let mut taken = Vec::new();
    for digest in digests {
        let bytes = digest.as_bytes().as_slice();
        let sql = "SELECT number FROM keys WHERE workspace_id = $1 AND digest = $2";
        if sql!(tx, sql, workspace.as_str(), bytes => optional (i64,))?.is_some() {
            taken.push(*digest);
            continue;
        }
        sql!(
            tx,
            "INSERT INTO ended_digests (workspace_id, digest, created_at) VALUES ($1, $2, $3) \
             ON CONFLICT (workspace_id, digest) DO NOTHING",
            workspace.as_str(), bytes, now => execute
        )?;
    }
    Ok(taken)
}

/// Takes down tags of keys that have no row.
pub(crate) async fn remember_tags(
    tx: &mut Tx,
    workspace: &WorkspaceId,
    set: &SetId,
    tagging: &Tagging,
    tags: &[EndedTag],
) -> Result<(), Error> {
    let now = tx.now().await?;
    for EndedTag { tag, ends_at } in tags {
        sql!(
            tx,
            "INSERT INTO ended_tags (workspace_id, set_id, pepper_id, tag_bits, tag, ends_at, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (set_id, pepper_id, tag_bits, tag) DO UPDATE SET ends_at = \
             CASE WHEN excluded.ends_at < ended_tags.ends_at THEN excluded.ends_at ELSE ended_tags.ends_at END",
            workspace.as_str(), set.as_str(), tagging.pepper.as_str(), i64::from(tagging.tag_bits), tag.as_slice(),
            *ends_at, now => execute
        )?;
    }
    Ok(())
}

/// The tags that have been taken down, and when each ends.
pub(crate) async fn tags(read: &mut Read, set: &SetId, tagging: &Tagging) -> Result<HashSet<(Vec<u8>, i64)>, Error> {
    let sql = "SELECT tag, ends_at FROM ended_tags WHERE set_id = $1 AND pepper_id = $2 AND tag_bits = $3";
    let rows = sql!(
        read, sql, set.as_str(), tagging.pepper.as_str(), i64::from(tagging.tag_bits) => all (Vec<u8>, i64)
    )?;
    Ok(rows.into_iter().collect())
}

/// Whether anything of a workspace is known by its tag alone: then peppers are needed to find it.
pub(crate) async fn has_tags(read: &mut Read, workspace: &WorkspaceId) -> Result<bool, Error> {
    let sql = "SELECT tag_bits FROM ended_tags WHERE workspace_id = $1 LIMIT 1";
    Ok(sql!(read, sql, workspace.as_str() => optional (i64,))?.is_some())
}

/// Which of these digests are ended at `now`, unix seconds.
///
/// # Errors
/// [`Error::NotFound`] where a pepper is not at hand that one might be known by.
pub(crate) async fn among(
    read: &mut Read,
    workspace: &WorkspaceId,
    digests: &[Digest],
    peppers: &[Pepper],
    now: i64,
) -> Result<HashSet<[u8; 32]>, Error> {
    let mut ended = HashSet::new();
    let all: Vec<_> = digests.iter().map(|digest| (digest.as_bytes().to_vec(), *digest.as_bytes())).collect();
    let condition = "ended_digests WHERE workspace_id = ";
    find(read, "digest", condition, workspace, &all, None, &mut ended).await?;
    let sql = "SELECT DISTINCT pepper_id, tag_bits FROM ended_tags WHERE workspace_id = $1";
    for (id, tag_bits) in sql!(read, sql, workspace.as_str() => all (String, i64))? {
        let pepper = peppers.iter().find(|pepper| pepper.id() == id);
        let pepper = pepper.ok_or(Error::NotFound("pepper that recovered keys were published with"))?;
        let bits = u32::try_from(tag_bits).map_err(|_| Error::Corrupt("tag bits"))?;
        let all: Vec<_> =
            digests.iter().map(|digest| (cut(&pepper.tag(digest), bits).to_vec(), *digest.as_bytes())).collect();
        let condition = "ended_tags WHERE workspace_id = ";
        find(read, "tag", condition, workspace, &all, Some((&id, tag_bits, now)), &mut ended).await?;
    }
    Ok(ended)
}

/// Adds the digests of those values that are there.
async fn find(
    read: &mut Read,
    column: &'static str,
    condition: &'static str,
    workspace: &WorkspaceId,
    values: &[(Vec<u8>, [u8; 32])],
    tags: Option<(&str, i64, i64)>,
    ended: &mut HashSet<[u8; 32]>,
) -> Result<(), Error> {
    for chunk in values.chunks(CHUNK) {
        let arguments = RowArguments::new(read, 1, chunk.len());
        let [workspace_at, pepper, bits, now] = [1, 2, 3, 4].map(|place| arguments.fixed(place));
        let further = match tags {
            Some(_) => format!(" AND pepper_id = {pepper} AND tag_bits = {bits} AND ends_at <= {now}"),
            None => String::new(),
        };
        let sql = AssertSqlSafe(format!(
            "SELECT {column} FROM {condition}{workspace_at}{further} AND {column} IN {}",
            arguments.rows()
        ));
        macro_rules! run {
            ($database:ty, $conn:expr) => {{
                let mut query = sqlx::query_as::<$database, (Vec<u8>,)>(sql);
                for (value, _) in chunk {
                    query = query.bind(value.as_slice());
                }
                query = query.bind(workspace.as_str());
                if let Some((pepper, bits, now)) = tags {
                    query = query.bind(pepper).bind(bits).bind(now);
                }
                query.fetch_all($conn).await?
            }};
        }
        let rows = match read.conn() {
            Conn::Sqlite(conn) => run!(Sqlite, conn),
            Conn::Postgres(conn) => run!(Postgres, conn),
        };
        let there: HashSet<_> = rows.into_iter().map(|(value,)| value).collect();
        ended.extend(chunk.iter().filter(|(value, _)| there.contains(value)).map(|(_, digest)| *digest));
    }
    Ok(())
}
