//! The audit log.

use super::{Error, Page, PageRequest, Read};
use crate::domain::{Actor, KeyRef, WorkspaceId};

/// An entry of the audit log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number in the deployment, in order of writing.
    pub id: i64,
    /// Unix milliseconds.
    pub at: i64,
    /// Who.
    pub actor: Actor,
    /// What: `key.issued`, `rotation.started`, …
    pub action: String,
    /// The general event older procedures file it under.
    pub category: String,
    /// What kind of record it was done to.
    pub target_type: String,
    /// Which.
    pub target_id: String,
    /// A key's public prefix.
    pub prefix: Option<String>,
    /// The first 8 characters of a key's id.
    pub short_prefix: Option<String>,
    /// The scopes a key carried.
    pub scopes: Option<Vec<String>>,
    /// What changed, before: a JSON object.
    pub before: Option<String>,
    /// What changed, after: a JSON object.
    pub after: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// From where.
    pub source: Option<String>,
    /// By which request.
    pub request_id: String,
    /// Its place in the workspace's chain; none until it is chained.
    pub seq: Option<i64>,
    /// The hash of the entry before it.
    pub prev_hash: Option<Vec<u8>>,
    /// Its own hash.
    pub hash: Option<Vec<u8>>,
}

/// What a list of entries is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Exactly this action.
    pub action: Option<String>,
    /// Exactly this category.
    pub category: Option<String>,
    /// The actor's id.
    pub actor: Option<String>,
    /// The actor's type.
    pub actor_type: Option<String>,
    /// A key, by id or number.
    pub key: Option<KeyRef>,
    /// Not before, unix milliseconds.
    pub from: Option<i64>,
    /// Before, unix milliseconds.
    pub to: Option<i64>,
}

/// Entries of the workspace, newest first.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(
    read: &mut Read,
    workspace: &WorkspaceId,
    filter: &AuditFilter,
    page: &PageRequest,
) -> Result<Page<Entry>, Error> {
    todo!()
}
