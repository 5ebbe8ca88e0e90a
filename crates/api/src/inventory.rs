//! The whole inventory at once: exports, and the emergency that ends many keys.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Key, KeyFilter, RouteRef};

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ExportFormat {
    /// Comma-separated values (RFC 4180) with a header; where a spreadsheet would take a text or a part of it for a
    /// formula, that begins with `'`.
    Csv,
    /// A key a line, JSON as in lists.
    Ndjson,
}

impl ExportFormat {
    /// The name in query strings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Csv, Self::Ndjson].into_iter().find(|format| format.as_str() == name)
    }
}

/// Ends every key that passes a filter and still could be used: in an emergency, such as an engineer who left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevokeMany {
    /// Which keys; at least one condition, neither `limit` nor `cursor`. Keys that are revoked or expired do not count.
    pub filter: KeyFilter,
    /// Why, for the audit trail.
    pub reason: String,
    /// Changes nothing and says what would be revoked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The `plan` of the answer before, so that what was seen is what is revoked: refused where any key came, went or
    /// changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
}

/// What was revoked, or, with `dry_run`, would be. A call revokes so many keys at most; while `remaining` is not 0, repeating
/// it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevokedMany {
    /// Keys that passed the filter and that the caller may revoke, when the call began.
    pub matched: u64,
    /// Keys that this call has revoked.
    pub revoked: u64,
    /// Keys left to be revoked.
    pub remaining: u64,
    /// Keys that pass the filter and that this caller cannot revoke here.
    pub refused: u64,
    /// The first hundred of those, and why.
    pub refusals: Vec<RefusedKey>,
    /// Names the keys left to be revoked as they are: the next call's `expect`.
    pub plan: String,
    /// In a dry run, the first of the keys that would be revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Key>,
    /// The ids of the keys that this call has revoked. Each has a receipt, as if revoked alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked_keys: Vec<String>,
    /// Who looks after the keys that matched, most keys first; at most a hundred.
    pub owners: Vec<OwnerKeys>,
    /// The routes that those keys get through.
    pub routes: Vec<RouteRef>,
    /// From this time on no edge accepts what this call has revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force_by: Option<Timestamp>,
}

/// A key that cannot be revoked here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefusedKey {
    /// The key's id.
    pub key: String,
    /// Why, as a stable code: `forbidden`, `not_revocable_here`, …
    pub code: String,
    /// Why, for a person.
    pub detail: String,
    /// The call that ends it instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
}

/// How many keys somebody looks after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OwnerKeys {
    /// In free text.
    pub owner: Option<String>,
    /// The member.
    pub owner_member: Option<String>,
    /// How many of the keys.
    pub keys: u64,
}
