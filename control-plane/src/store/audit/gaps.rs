//! What recoveries have lost of the log, in signed notes.

use nightlatch_keyset::{AuditCheckpoint, AuditGap};
use serde_json::json;

use super::append::{Draft, Target, append};
use super::chain::{extends, lock, stored};
use crate::domain::SetId;
use crate::store::publication::{signed, unsigned};
use crate::store::tx::sql;
use crate::store::{Context, Error, Read, Tx};

/// A gap about to be recorded.
#[derive(Clone, Debug)]
pub(crate) struct Gap<'a> {
    pub(crate) set: &'a SetId,
    pub(crate) says: &'a AuditGap,
    pub(crate) note: &'a str,
}

/// How many chained entries there are, where they do not extend a checkpoint; `None` where they do.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn lacks(tx: &mut Tx, workspace: &str, published: &AuditCheckpoint) -> Result<Option<u64>, Error> {
    lock(tx, workspace).await?;
    Ok(match stored(tx, workspace).await? {
        Ok(chain) if extends(tx, workspace, &chain, published).await? => None,
        Ok(chain) => Some(chain.tree.count()),
        Err(_) => Some(0),
    })
}

/// Records a gap, and that there is one in the log itself.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn own_up(tx: &mut Tx, context: &Context, gap: &Gap<'_>) -> Result<(), Error> {
    sql!(
        tx,
        "INSERT INTO audit_gaps (set_id, incarnation, workspace_id, kept, note, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        gap.set.as_str(), signed(gap.says.incarnation)?, context.workspace.as_str(), signed(gap.says.kept)?, gap.note,
        signed(gap.says.issued)? => execute
    )?;
    let now = tx.now().await?;
    let draft = Draft {
        action: "audit.entries_lost",
        target: Target::Other("set", gap.set.as_str()),
        before: Some(json!({ "entries": gap.says.published.count, "root": gap.says.published.root.to_hex() })),
        after: Some(json!({ "kept": gap.says.kept, "incarnation": gap.says.incarnation })),
        reason: Some("the database was restored from a backup that did not have them"),
        personal: &[],
        about: None,
    };
    append(tx, context, &draft, now).await
}

/// How many entries were kept by recoveries of the workspace's other sets since `since`, unix milliseconds.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn kept_since(read: &mut Read, workspace: &str, since: u64) -> Result<Option<u64>, Error> {
    let sql = "SELECT MIN(kept) FROM audit_gaps WHERE workspace_id = $1 AND created_at >= $2";
    let (kept,) = sql!(read, sql, workspace, signed(since)? => one (Option<i64>,))?;
    kept.map(unsigned).transpose()
}

/// The notes of a set, oldest first.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn notes(read: &mut Read, set: &str) -> Result<Vec<String>, Error> {
    let sql = "SELECT note FROM audit_gaps WHERE set_id = $1 ORDER BY incarnation";
    Ok(sql!(read, sql, set => all (String,))?.into_iter().map(|(note,)| note).collect())
}
