//! The few texts that differ between SQLite and PostgreSQL. Everything else is one text for both.

use super::tx::{Conn, Read, Tx};
use super::Error;

/// The database clock in unix milliseconds.
pub(super) async fn now(read: &mut Read) -> Result<i64, Error> {
    let (now,): (i64,) = match read.conn() {
        Conn::Sqlite(conn) => {
            sqlx::query_as("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)").fetch_one(conn).await?
        }
        // Not now(), which stands still from the start of the transaction.
        Conn::Postgres(conn) => {
            sqlx::query_as("SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)")
                .fetch_one(conn)
                .await?
        }
    };
    Ok(now)
}

/// Makes other mutations of this key wait until this one ends. SQLite has one writer and needs nothing.
///
/// Locks are always taken in this order, so that two mutations cannot wait for each other: keys by ascending number (a
/// predecessor before its successor), then rotations, then the workspace's counters.
pub(super) async fn lock_key(tx: &mut Tx, id: &str) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        sqlx::query("SELECT 1 FROM keys WHERE id = $1 FOR UPDATE").bind(id).execute(conn).await?;
    }
    Ok(())
}
