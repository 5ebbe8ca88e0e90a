//! Live profiles: what the keys of members may do, as edges are told.

use super::{Error, Tx};
use crate::domain::WorkspaceId;

/// Tells edges what a member's keys may do now.
///
/// # Errors
/// [`Error::Database`].
pub(super) async fn changed(_tx: &mut Tx, _workspace: &WorkspaceId, _subject: u32, _now: i64) -> Result<(), Error> {
    Ok(())
}
