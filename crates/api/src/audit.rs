//! The audit trail.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Actor;

/// One thing that was done. Rows are written in the transaction of the deed and never change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// The row's id, `aud_…`.
    pub id: String,
    /// When it was done, by the database clock.
    pub at: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// The member whose authority the actor had.
    pub on_behalf_of: Option<String>,
    /// What was done, such as `key.revoked`.
    pub action: String,
    /// The general event the action is filed under: `user.updated` or `workspace.updated`.
    pub category: String,
    /// What it was done to.
    pub target: AuditTarget,
    /// The public prefix of the key or token concerned.
    pub prefix: Option<String>,
    /// The first eight characters of the key's id.
    pub short_prefix: Option<String>,
    /// The scopes the key carried at that time.
    pub scopes: Option<Vec<String>>,
    /// The changed fields before the deed.
    pub before: Option<serde_json::Value>,
    /// The changed fields after the deed.
    pub after: Option<serde_json::Value>,
    /// The reason given.
    pub reason: Option<String>,
    /// Where the call came from, such as a network address; null once that has been erased.
    pub source: Option<String>,
    /// Other personal values by field; null for those that have been erased.
    pub personal: BTreeMap<String, Option<String>>,
    /// The request that did it.
    pub request_id: String,
    /// The position in the workspace's chain; null until the row is chained.
    pub sequence: Option<i64>,
    /// The hash of the row before, lower-case hex; null until the row is chained.
    pub previous_hash: Option<String>,
    /// The hash of this row, lower-case hex; null until the row is chained.
    pub hash: Option<String>,
}

/// What an action was done to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditTarget {
    /// The kind of thing, such as `key`, `rotation`, `token`, `member` or `workspace`; of a refused attempt that names nothing,
    /// `route`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its id.
    pub id: String,
}

/// Which audit rows to list. Every filter given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct AuditFilter {
    /// Exactly this action, such as `key.revoked`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Exactly this category, such as `user.updated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// The actor's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The actor's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_type: Option<String>,
    /// The key concerned: its id or `kn_` and its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The principal concerned, `prn_…`: what was done to it and to its keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The id of whatever it was done to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Not before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// At most this many rows, 1 to 200; 50 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What of the log to export. Without any filter it is a whole span, which proves that nothing is missing; every filter given
/// must hold, and then each entry brings its own proof.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct AuditExport {
    /// Only what comes after the entry with this sequence number: where an earlier export ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Exactly this action, such as `key.revoked`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Exactly this category, such as `user.updated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// The actor's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The actor's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_type: Option<String>,
    /// The key concerned: its id or `kn_` and its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The principal concerned, `prn_…`: what was done to it and to its keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The id of whatever it was done to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Not before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

/// How far the log is chained, and what of that has been signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditStanding {
    /// Entries that are chained.
    pub chained: u64,
    /// Entries that wait to be: at the latest with the next head.
    pub unchained: u64,
    /// The checkpoint that was signed last; null before the first.
    pub checkpoint: Option<AuditCheckpoint>,
}

/// A checkpoint of the log and the head that signs it. Kept elsewhere, the head shows later that nothing before it was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditCheckpoint {
    /// Entries up to here.
    pub count: u64,
    /// The root of the tree whose leaves they are, lower-case hex.
    pub root: String,
    /// The set whose head it is.
    pub set: String,
    /// The head, as it was signed.
    pub head: String,
}

/// Whose personal values to erase from the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EraseAudit {
    /// The member, `mem_…`: one that has been removed, too.
    pub about: String,
}

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErasedAudit {
    /// The member.
    pub about: String,
    /// How many values of the log there were.
    pub erased: u64,
    /// Whether the member is not removed: the log has forgotten it, its record has not. Remove the member and erase again.
    #[serde(default)]
    pub record_kept: bool,
}
