//! The few texts that differ between SQLite and PostgreSQL. Everything else is one text for both.

use super::Error;
use super::tx::{Conn, Read, Tx};

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
/// Locks are always taken in this order, so that two mutations cannot wait for each other: an idempotency slot, principals
/// by ascending subject, links by id, keys by
/// ascending number (a predecessor before its successor; those of the reserved workspace after all others), then their
/// rotations, sessions by id, then the catalogue's names in order, then the workspace's counters, then what its roles bring,
/// then live profiles.
pub(super) async fn lock_key(tx: &mut Tx, workspace: &str, id: &str) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        let sql = "SELECT 1 FROM keys WHERE workspace_id = $1 AND id = $2 FOR NO KEY UPDATE";
        sqlx::query(sql).bind(workspace).bind(id).execute(conn).await?;
    }
    Ok(())
}

/// Makes other mutations of this principal wait until this one ends.
pub(super) async fn lock_principal(tx: &mut Tx, workspace: &str, subject: i64) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        let sql = "SELECT 1 FROM principals WHERE workspace_id = $1 AND subject = $2 FOR NO KEY UPDATE";
        sqlx::query(sql).bind(workspace).bind(subject).execute(conn).await?;
    }
    Ok(())
}

/// Makes mutations of this principal wait until this one ends. Others that give it keys go on beside.
pub(super) async fn share_principal(tx: &mut Tx, workspace: &str, subject: i64) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        let sql = "SELECT 1 FROM principals WHERE workspace_id = $1 AND subject = $2 FOR SHARE";
        sqlx::query(sql).bind(workspace).bind(subject).execute(conn).await?;
    }
    Ok(())
}

/// Makes other mutations of this link wait until this one ends.
pub(super) async fn lock_link(tx: &mut Tx, id: &str) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        sqlx::query("SELECT 1 FROM partner_links WHERE id = $1 FOR NO KEY UPDATE").bind(id).execute(conn).await?;
    }
    Ok(())
}

/// Makes mutations of this link wait until this one ends. Others that bind keys to it go on beside.
pub(super) async fn share_link(tx: &mut Tx, workspace: &str, id: &str) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        let sql = "SELECT 1 FROM partner_links WHERE workspace_id = $1 AND id = $2 FOR SHARE";
        sqlx::query(sql).bind(workspace).bind(id).execute(conn).await?;
    }
    Ok(())
}

/// Makes all mutations that tell edges of members' keys wait until this one ends: what a role of this workspace brings is
/// changed. It locks nothing after that.
pub(super) async fn lock_roles(tx: &mut Tx, workspace: &str) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        // No subject is negative: it is no live profile's lock.
        let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, -1))";
        sqlx::query(sql).bind(workspace).execute(conn).await?;
    }
    Ok(())
}

/// Makes mutations of what this workspace's roles bring wait until this one ends. Others that tell edges of members' keys go
/// on beside.
pub(super) async fn share_roles(tx: &mut Tx, workspace: &str) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        let sql = "SELECT pg_advisory_xact_lock_shared(hashtextextended($1, -1))";
        sqlx::query(sql).bind(workspace).execute(conn).await?;
    }
    Ok(())
}

/// Makes other mutations that tell edges of this member's keys wait until this one ends. Nothing else is locked after it,
/// but other members' by ascending subject. It is no row's lock: whoever issues keys beside each other holds the rows.
pub(super) async fn lock_profile(tx: &mut Tx, workspace: &str, subject: u32) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, $2))";
        sqlx::query(sql).bind(workspace).bind(i64::from(subject)).execute(conn).await?;
    }
    Ok(())
}

/// Makes other mutations of this edge's credentials wait until this one ends. Nothing else is locked after it.
pub(super) async fn lock_edge(tx: &mut Tx, id: &str) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        sqlx::query("SELECT 1 FROM edges WHERE id = $1 FOR NO KEY UPDATE").bind(id).execute(conn).await?;
    }
    Ok(())
}

/// Makes other mutations of this account wait until this one ends. Members are locked after it, not before.
pub(super) async fn lock_account(tx: &mut Tx, id: &str) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        sqlx::query("SELECT 1 FROM accounts WHERE id = $1 FOR NO KEY UPDATE").bind(id).execute(conn).await?;
    }
    Ok(())
}

/// Makes other mutations of this account's sessions wait until this one ends. Sessions are taken by ascending id.
pub(super) async fn lock_sessions(tx: &mut Tx, account: &str) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        let sql = "SELECT 1 FROM sessions WHERE account_id = $1 AND digest IS NOT NULL ORDER BY id FOR NO KEY UPDATE";
        sqlx::query(sql).bind(account).execute(conn).await?;
    }
    Ok(())
}

/// Makes other mutations of this member wait until this one ends.
pub(super) async fn lock_member(tx: &mut Tx, workspace: &str, id: &str) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        let sql = "SELECT 1 FROM members WHERE workspace_id = $1 AND id = $2 FOR NO KEY UPDATE";
        sqlx::query(sql).bind(workspace).bind(id).execute(conn).await?;
    }
    Ok(())
}

/// Makes others that change the owners of this workspace wait until this one ends.
pub(super) async fn lock_owners(tx: &mut Tx, workspace: &str) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        let sql = "SELECT 1 FROM members WHERE workspace_id = $1 AND role IN ('owner', 'partner_owner') \
                   AND state = 'active' ORDER BY id FOR NO KEY UPDATE";
        sqlx::query(sql).bind(workspace).execute(conn).await?;
    }
    Ok(())
}

/// Makes other transactions that ask for this set's lease wait until this one ends.
pub(super) async fn lock_lease(tx: &mut Tx, set: &str) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        sqlx::query("SELECT 1 FROM leases WHERE set_id = $1 FOR NO KEY UPDATE").bind(set).execute(conn).await?;
    }
    Ok(())
}

/// Makes other transactions that chain or erase entries of this workspace's audit log wait until this one ends.
pub(super) async fn lock_audit_chain(tx: &mut Tx, workspace: &str) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        let sql = "SELECT 1 FROM audit_chains WHERE workspace_id = $1 FOR NO KEY UPDATE";
        sqlx::query(sql).bind(workspace).execute(conn).await?;
    }
    Ok(())
}

/// The same, where nobody holds it: `false` where somebody does. Whoever publishes keys does not wait for those who erase.
pub(super) async fn try_lock_audit_chain(tx: &mut Tx, workspace: &str) -> Result<bool, Error> {
    match tx.conn() {
        Conn::Sqlite(_) => Ok(true),
        Conn::Postgres(conn) => {
            let sql = "SELECT 1 FROM audit_chains WHERE workspace_id = $1 FOR NO KEY UPDATE SKIP LOCKED";
            Ok(sqlx::query(sql).bind(workspace).fetch_optional(conn).await?.is_some())
        }
    }
}

/// Makes another mutation with the same slot wait until this one ends, so that it finds the answer.
pub(super) async fn lock_slot(tx: &mut Tx, slot: i64) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(slot).execute(conn).await?;
    }
    Ok(())
}

/// As [`lock_key`], for many keys of a workspace, their numbers ascending.
pub(super) async fn lock_numbers(tx: &mut Tx, workspace: &str, numbers: &[i64]) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        let sql = "SELECT 1 FROM keys WHERE workspace_id = $1 AND number = ANY($2) ORDER BY number FOR NO KEY UPDATE";
        sqlx::query(sql).bind(workspace).bind(numbers).execute(conn).await?;
    }
    Ok(())
}

/// Makes mutations of this name of the catalogue wait until this one ends, and those that give keys a scope of this name.
pub(super) async fn lock_scope(tx: &mut Tx, workspace: &str, name: &str) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        let sql = "SELECT 1 FROM scopes WHERE workspace_id = $1 AND name = $2 FOR UPDATE";
        sqlx::query(sql).bind(workspace).bind(name).execute(conn).await?;
    }
    Ok(())
}

/// Keeps those of the names that are in the catalogue there until this mutation ends. Others that give keys these scopes go
/// on beside.
pub(super) async fn keep_scopes(tx: &mut Tx, workspace: &str, names: &[&str]) -> Result<(), Error> {
    if let Conn::Postgres(conn) = tx.conn() {
        let sql = "SELECT 1 FROM scopes WHERE workspace_id = $1 AND name = ANY($2) ORDER BY name FOR KEY SHARE";
        sqlx::query(sql).bind(workspace).bind(names).execute(conn).await?;
    }
    Ok(())
}

/// Whether nothing else writes until this mutation ends.
pub(super) fn has_one_writer(tx: &mut Tx) -> bool {
    matches!(tx.conn(), Conn::Sqlite(_))
}
