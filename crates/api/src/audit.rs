//! The audit trail.

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
    /// Where the call came from, such as a network address.
    pub source: Option<String>,
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
    /// The kind of thing: `key`, `rotation`, `token`, `routes`, `workspace` or `import`.
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
