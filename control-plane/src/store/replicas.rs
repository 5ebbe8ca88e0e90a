//! The control planes that run on this database, and the newest schema that each knows.

use super::tx::sql;
use super::{Error, Read, Tx, schema};

/// A process that has not been seen for this long does not run any more, milliseconds.
pub const ALIVE_MS: i64 = 60_000;
/// How long one is remembered that was killed, milliseconds.
const KEPT_MS: i64 = 24 * 3600 * 1000;

/// Those that would break if the schema were narrowed to what one who knows $1 needs: seen since $2. A leader at $3 that has
/// not announced itself is of a version that did not do so yet.
pub(super) const IN_THE_WAY: &str = "SELECT id, schema, started_at, seen_at FROM replicas WHERE schema < $1 AND seen_at > $2 \
     UNION ALL SELECT DISTINCT holder, CAST(0 AS BIGINT), CAST(0 AS BIGINT), CAST(0 AS BIGINT) FROM leases \
     WHERE $1 > 0 AND expires_at > $3 AND holder <> '' AND holder NOT IN (SELECT id FROM replicas) ORDER BY 1";

/// A control plane.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Replica {
    /// The name it holds leases under.
    pub id: String,
    /// The number of the newest migration that it knows; 0 where it has not said.
    pub schema: i64,
    /// Unix milliseconds.
    pub started_at: i64,
    /// Unix milliseconds.
    pub seen_at: i64,
}

/// Says that a process runs, before it uses anything.
///
/// # Errors
/// [`Error::SchemaTooNew`] where it may not any more.
pub async fn announce(tx: &mut Tx, id: &str, known: i64) -> Result<(), Error> {
    schema::hold(tx, known).await?;
    let now = tx.now().await?;
    sql!(
        tx,
        "INSERT INTO replicas (id, schema, started_at, seen_at) VALUES ($1, $2, $3, $3) \
         ON CONFLICT (id) DO UPDATE SET schema = excluded.schema, started_at = excluded.started_at, \
         seen_at = excluded.seen_at",
        id, known, now => execute
    )?;
    Ok(())
}

/// Says that it still runs, and forgets those that have not for long.
///
/// # Errors
/// [`Error::SchemaTooNew`] where the schema was narrowed while nobody heard of it.
pub async fn still_runs(tx: &mut Tx, id: &str, known: i64) -> Result<(), Error> {
    schema::hold(tx, known).await?;
    let now = tx.now().await?;
    sql!(
        tx,
        "INSERT INTO replicas (id, schema, started_at, seen_at) VALUES ($1, $2, $3, $3) \
         ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
        id, known, now => execute
    )?;
    sql!(tx, "DELETE FROM replicas WHERE seen_at <= $1", now - KEPT_MS => execute)?;
    Ok(())
}

/// Says that it ends.
///
/// # Errors
/// [`Error::Database`].
pub async fn ends(tx: &mut Tx, id: &str) -> Result<(), Error> {
    sql!(tx, "DELETE FROM replicas WHERE id = $1", id => execute)?;
    Ok(())
}

/// All that have been seen lately, those that run and those that were killed.
///
/// # Errors
/// [`Error::Database`].
pub async fn all(read: &mut Read) -> Result<Vec<Replica>, Error> {
    let sql = "SELECT id, schema, started_at, seen_at FROM replicas ORDER BY id";
    Ok(sql!(read, sql => all Replica)?)
}
