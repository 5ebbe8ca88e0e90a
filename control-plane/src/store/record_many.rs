//! The step of [`record`](super::record) for many keys at once, that become revoked or disabled, or are so no more, because
//! something happens to whom they act for. A statement per key would keep everybody waiting who writes to the same database.

use sqlx::{AssertSqlSafe, Postgres, Sqlite};

use super::audit;
use super::record::{Entry, draft_of, stage_columns};
use super::rows::stage_name;
use super::select::RowArguments;
use super::tx::Conn;
use super::{Context, Error, Tx};
use crate::domain::{Key, PrincipalKind, Stage};

/// A key, what becomes of it, and what is said of that. Its stage and what disables it may be others; nothing else is.
pub(super) struct Turned<'e> {
    pub(super) before: Key,
    pub(super) after: Key,
    pub(super) entries: Vec<Entry<'e>>,
}

/// Runs a statement over rows of values; fixed ones are bound behind them. `$bind` binds one row.
macro_rules! over_rows {
    ($tx:expr, $sql:expr, $rows:expr, |$query:ident, $row:pat_param| $bind:expr, $($fixed:expr),*) => {{
        macro_rules! run {
            ($database:ty, $conn:expr) => {{
                let mut query = sqlx::query::<$database>($sql);
                for $row in $rows {
                    let $query = query;
                    query = $bind;
                }
                query$(.bind($fixed))*.execute($conn).await?.rows_affected()
            }};
        }
        match $tx.conn() {
            Conn::Sqlite(conn) => run!(Sqlite, conn),
            Conn::Postgres(conn) => run!(Postgres, conn),
        }
    }};
}

/// Writes keys that were read under their locks, a few hundred at most, by ascending number.
pub(super) async fn changed(tx: &mut Tx, context: &Context, keys: &mut [Turned<'_>], now: i64) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    update(tx, keys).await?;
    for key in keys.iter_mut() {
        key.after.revision = key.before.revision + 1;
    }
    let revoked = |key: &&Turned<'_>| is_revoked(&key.after) && !is_revoked(&key.before);
    receipts(tx, context, &keys.iter().filter(revoked).collect::<Vec<_>>()).await?;
    let drafts: Vec<_> = keys
        .iter()
        .flat_map(|key| key.entries.iter().map(|entry| draft_of(Some(&key.before), &key.after, entry)))
        .collect();
    // A token's key is noted as a token, in the workspace that it administers.
    if !context.workspace.is_reserved() {
        audit::append_many(tx, context, &drafts, now).await?;
    }
    // Keys of members reach edges with their member, in one change; all others each by its own.
    let told =
        |key: &&Turned<'_>| key.after.kind != PrincipalKind::User && key.before.edge_image() != key.after.edge_image();
    publish(tx, context, &keys.iter().filter(told).collect::<Vec<_>>(), now).await
}

fn is_revoked(key: &Key) -> bool {
    matches!(key.stage, Stage::Revoked { .. })
}

async fn update(tx: &mut Tx, keys: &[Turned<'_>]) -> Result<(), Error> {
    let arguments = RowArguments::new(tx, keys.len(), 7);
    let text = AssertSqlSafe(format!(
        "UPDATE keys SET state = v.column3, disabled_by = v.column4, deadline = v.column5, revoked_at = v.column6, \
         revoke_reason = v.column7, revision = keys.revision + 1 \
         FROM (VALUES {}) AS v WHERE keys.id = v.column1 AND keys.revision = v.column2",
        arguments.rows()
    ));
    let updated = over_rows!(tx, text, keys, |query, Turned { before, after, .. }| {
        let (deadline, revoked_at, reason) = stage_columns(&after.stage);
        query
            .bind(before.id.as_str())
            .bind(before.revision)
            .bind(stage_name(&after.stage))
            .bind(after.disabled_by.to_stored())
            .bind(deadline)
            .bind(revoked_at)
            .bind(reason)
    },);
    // They were read under their locks, so otherwise this is a mutation that read them without.
    if updated == keys.len() as u64 { Ok(()) } else { Err(Error::Corrupt("key revision")) }
}

/// Opens the receipts of keys that become revoked, one per key and set.
async fn receipts(tx: &mut Tx, context: &Context, keys: &[&Turned<'_>]) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let arguments = RowArguments::new(tx, keys.len(), 3);
    let text = AssertSqlSafe(format!(
        "INSERT INTO receipts (set_id, key_id, workspace_id, key_number, revoked_at) \
         SELECT s.id, v.column1, s.workspace_id, v.column2, v.column3 FROM (VALUES {}) AS v CROSS JOIN sets s \
         WHERE s.workspace_id = {} ORDER BY v.column2, s.id ON CONFLICT (set_id, key_id) DO NOTHING",
        arguments.rows(),
        arguments.fixed(1)
    ));
    over_rows!(
        tx,
        text,
        keys,
        |query, key| {
            let at = match key.after.stage {
                Stage::Revoked { at, .. } => at,
                Stage::Active | Stage::Retiring { .. } => 0,
            };
            query.bind(key.after.id.as_str()).bind(i64::from(key.after.number)).bind(at)
        },
        context.workspace.as_str()
    );
    Ok(())
}

/// One unnumbered change row per key and set.
async fn publish(tx: &mut Tx, context: &Context, keys: &[&Turned<'_>], now: i64) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let arguments = RowArguments::new(tx, keys.len(), 3);
    let text = AssertSqlSafe(format!(
        "INSERT INTO changes (set_id, workspace_id, key_number, digest, status, imported, deadline, kind, environment, \
         tier, scopes, subject, is_new, created_at) \
         SELECT s.id, k.workspace_id, k.number, k.digest, v.column2, k.imported, v.column3, k.kind, k.environment, k.tier, \
         k.scopes, k.subject, 0, {now} FROM (VALUES {rows}) AS v \
         JOIN keys k ON k.workspace_id = {workspace} AND k.number = v.column1 \
         JOIN sets s ON s.workspace_id = k.workspace_id ORDER BY k.number, s.id",
        rows = arguments.rows(),
        workspace = arguments.fixed(1),
        now = arguments.fixed(2),
    ));
    over_rows!(
        tx,
        text,
        keys,
        |query, key| {
            let image = key.after.edge_image();
            query.bind(i64::from(key.after.number)).bind(i64::from(image.status.code())).bind(image.deadline)
        },
        context.workspace.as_str(),
        now
    );
    tx.wake_publisher();
    Ok(())
}
