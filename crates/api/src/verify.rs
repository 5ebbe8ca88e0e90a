//! The authoritative answer about one key.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Environment, KeyState, PrincipalKind, Secret};

/// Asks whether a key would be let through.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VerifyKey {
    /// The key's full text.
    pub key: Secret,
    /// The method of the request to judge. Goes with `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path of the request to judge. Without it only the key itself is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The set whose routes apply; the workspace's only set when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
}

/// What an edge that had learnt everything would answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Verdict {
    /// Whether the request would be let through.
    pub allowed: bool,
    /// The status an edge would answer; 200 when allowed.
    pub status: u16,
    /// The code an edge would answer; null when allowed.
    pub code: Option<String>,
    /// What to do about it; null when allowed.
    pub detail: Option<String>,
    /// The key, where the secret matched one of this workspace's.
    pub key: Option<VerifiedKey>,
}

/// What the holder of a key may know about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VerifiedKey {
    /// The key's id.
    pub id: String,
    /// Its public prefix.
    pub prefix: String,
    /// Its label.
    pub name: String,
    /// What it can do now.
    pub state: KeyState,
    /// Whom it acts for.
    pub principal: String,
    /// The kind of that principal.
    pub kind: PrincipalKind,
    /// Where it is meant to be used.
    pub environment: Environment,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Its named rate limit.
    pub tier: Option<String>,
    /// When it stops working: the nearer of expiry and deadline.
    pub valid_until: Option<Timestamp>,
}
