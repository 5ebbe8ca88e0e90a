//! The route document of a set.

use super::{Context, Error, Read, Tx};
use crate::domain::{Actor, SetId, WorkspaceId};

/// A revision of a set's route document.
#[derive(Clone, Debug)]
pub struct Routes {
    /// Its revision, from 1.
    pub revision: i64,
    /// The document as written, JSON.
    pub document: String,
    /// The policy file's bytes.
    pub policy: Vec<u8>,
    /// SHA-256 of the policy file.
    pub policy_hash: Vec<u8>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// By whom.
    pub created_by: Actor,
}

/// The current document; `None` before the first.
///
/// # Errors
/// [`Error::NotFound`] where the set is not the workspace's.
pub async fn current(read: &mut Read, workspace: &WorkspaceId, set: &SetId) -> Result<Option<Routes>, Error> {
    todo!()
}

/// Replaces the document whole. `revision` is what the caller read (`If-Match`): 0 before the first.
///
/// # Errors
/// [`Error::Stale`] where it has been replaced meanwhile; [`Error::NotFound`].
pub async fn replace(
    tx: &mut Tx,
    context: &Context,
    set: &SetId,
    revision: i64,
    document: &str,
    policy: &[u8],
    policy_hash: [u8; 32],
) -> Result<Routes, Error> {
    todo!()
}
