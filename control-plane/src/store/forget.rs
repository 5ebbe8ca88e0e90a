//! Forgetting who a removed member was.

use serde_json::Value;

use super::tx::sql;
use super::{Error, Tx, dialect};
use crate::domain::{MemberState, WorkspaceId};

/// Takes the address, the name and the account from the record of a removed member, and the addresses that it signed in
/// from. The account itself goes where nobody is a member with it in any workspace.
///
/// Returns whether nothing is known of the member now: `false` where it is not removed. There need not be such a member.
pub(super) async fn removed(tx: &mut Tx, workspace: &WorkspaceId, id: &str) -> Result<bool, Error> {
    let sql = "SELECT state, email, account_id, name FROM members WHERE workspace_id = $1 AND id = $2";
    type Row = (String, Option<String>, Option<String>, Option<String>);
    let row = sql!(tx, sql, workspace.as_str(), id => optional Row)?;
    let Some((state, email, account, name)) = row else { return Ok(true) };
    // Nobody comes back from there: no lock is needed to know it.
    if state != MemberState::Removed.as_str() {
        return Ok(false);
    }
    if let Some(account) = &account {
        // Whoever joins with it now does so before this or not at all.
        dialect::lock_account(tx, account).await?;
    }
    let sql = "UPDATE members SET email = NULL, name = NULL, account_id = NULL, revision = revision + 1 WHERE id = $1 \
               AND (email IS NOT NULL OR name IS NOT NULL OR account_id IS NOT NULL)";
    sql!(tx, sql, id => execute)?;
    let sql = "UPDATE sessions SET source = NULL WHERE workspace_id = $1 AND member_id = $2 AND source IS NOT NULL";
    sql!(tx, sql, workspace.as_str(), id => execute)?;
    if let Some(email) = email {
        let sql = "UPDATE enrolments SET email = NULL WHERE workspace_id = $1 AND email = $2";
        sql!(tx, sql, workspace.as_str(), email.as_str() => execute)?;
        forget_answers(tx, workspace, id, &email, name.as_deref()).await?;
    }
    if let Some(account) = account {
        forget_account(tx, &account).await?;
    }
    Ok(true)
}

/// Takes a member's address and name from answers that are kept for whoever repeats a request.
async fn forget_answers(
    tx: &mut Tx,
    workspace: &WorkspaceId,
    id: &str,
    email: &str,
    name: Option<&str>,
) -> Result<(), Error> {
    let email = format!("\"email\":{}", Value::from(email));
    let name = name.map_or_else(|| email.clone(), |name| format!("\"name\":{}", Value::from(name)));
    let sql = "UPDATE idempotency SET body = replace(replace(body, $3, '\"email\":null'), $4, '\"name\":null') \
               WHERE workspace_id = $1 AND body LIKE '%\"' || $2 || '\"%' AND body LIKE '%' || $3 || '%'";
    sql!(tx, sql, workspace.as_str(), id, email, name => execute)?;
    Ok(())
}

/// Deletes an account that is held, with all that proves it, unless somebody is a member with it.
async fn forget_account(tx: &mut Tx, account: &str) -> Result<(), Error> {
    let sql = "SELECT COUNT(*) FROM members WHERE account_id = $1 AND state <> 'removed'";
    if sql!(tx, sql, account => one (i64,))?.0 > 0 {
        return Ok(());
    }
    for sql in [
        "UPDATE members SET account_id = NULL WHERE account_id = $1",
        "DELETE FROM recovery_codes WHERE account_id = $1",
        "DELETE FROM sessions WHERE account_id = $1",
        "DELETE FROM accounts WHERE id = $1",
    ] {
        sql!(tx, sql, account => execute)?;
    }
    Ok(())
}
