//! Erasing what is personal.

use nightlatch_audit::ERASED;
use serde_json::json;

use super::append::{Draft, Target, append};
use super::chain::lock;
use crate::domain::{Action, authority};
use crate::store::tx::sql;
use crate::store::{Context, Error, Tx, forget};

/// What was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// How many values of the log.
    pub values: u64,
    /// Whether the member is not removed: then the log alone forgets it, and its record says still who it is.
    pub record_kept: bool,
}

/// Erases every personal value about a member, and every address that it acted or tried to sign in from: values and salts
/// go, commitments stay, so that the chain does too. Of a removed member its record forgets who it was as well.
///
/// Whether there is such a member is not asked: what is left of one that is long gone can be erased as well.
///
/// # Errors
/// A refusal; [`Error::Database`].
pub async fn erase(tx: &mut Tx, context: &Context, about: &str) -> Result<Erased, Error> {
    context.authority.require(Action::AuditErase, &authority::Target::None)?;
    let workspace = context.workspace.as_str();
    // The leader changes entries, too, and in another order.
    lock(tx, workspace).await?;
    let values = sql!(
        tx,
        "DELETE FROM audit_personal WHERE workspace_id = $1 AND about = $2",
        workspace, about => execute
    )?;
    let by_itself = sql!(
        tx,
        "UPDATE audit SET source = NULL, source_salt = NULL WHERE workspace_id = $1 AND actor_id = $2 \
         AND actor_type = 'member' AND source IS NOT NULL",
        workspace, about => execute
    )?;
    let for_it = sql!(
        tx,
        "UPDATE audit SET source = NULL, source_salt = NULL WHERE workspace_id = $1 AND on_behalf_of = $2 \
         AND source IS NOT NULL",
        workspace, about => execute
    )?;
    // Entries from before refused calls said whose token it was that was shown.
    let tried = sql!(
        tx,
        "UPDATE audit SET source = NULL, source_salt = NULL WHERE workspace_id = $1 AND actor_type = 'token' \
         AND actor_id IN (SELECT id FROM tokens WHERE workspace_id = $1 AND member_id = $2) AND source IS NOT NULL",
        workspace, about => execute
    )?;
    // Whoever joined or tried to sign in was nobody yet.
    let to_it = sql!(
        tx,
        "UPDATE audit SET source = NULL, source_salt = NULL WHERE workspace_id = $1 AND target_type = 'member' \
         AND target_id = $2 AND actor_type IN ('system', 'enrolment') AND source IS NOT NULL",
        workspace, about => execute
    )?;
    let erased = values + by_itself + for_it + tried + to_it;
    let now = tx.now().await?;
    let draft = Draft {
        action: ERASED,
        target: Target::Other("member", about),
        before: None,
        after: Some(json!({ "erased": erased })),
        reason: None,
        personal: &[],
        about: None,
    };
    append(tx, context, &draft, now).await?;
    let record_kept = !forget::removed(tx, &context.workspace, about).await?;
    Ok(Erased { values: erased, record_kept })
}
