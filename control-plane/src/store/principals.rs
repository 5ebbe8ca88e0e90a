//! Principals: whom keys act for.

use super::tx::sql;
use super::{Context, Error, Tx};
use crate::domain::Reason;

async fn set(tx: &mut Tx, context: &Context, subject: u32, state: &str) -> Result<(), Error> {
    let sql = "UPDATE principals SET state = $3, revision = revision + 1 WHERE workspace_id = $1 AND subject = $2";
    sql!(tx, sql, context.workspace.as_str(), i64::from(subject), state => execute)?;
    Ok(())
}

/// Suspends a principal.
///
/// # Errors
/// [`Error::Database`].
pub async fn suspend_because(tx: &mut Tx, context: &Context, subject: u32, _: Option<&Reason>) -> Result<(), Error> {
    set(tx, context, subject, "suspended").await
}

/// Resumes a principal.
///
/// # Errors
/// [`Error::Database`].
pub async fn resume_because(tx: &mut Tx, context: &Context, subject: u32, _: Option<&Reason>) -> Result<(), Error> {
    set(tx, context, subject, "active").await
}

/// Removes a principal.
///
/// # Errors
/// [`Error::Database`].
pub async fn remove_because(tx: &mut Tx, context: &Context, subject: u32, _: Option<&Reason>) -> Result<(), Error> {
    set(tx, context, subject, "removed").await
}
