//! Keys that were minted elsewhere.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Environment, Secret};

/// One line of an import: a key by its digest or by its text.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImportLine {
    /// The SHA-256 digest of the key's text, 64 lower-case hexadecimal characters. Either this or `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The key's text. Either this or `digest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// A label for people.
    pub name: String,
    /// Where the key is meant to be used.
    pub environment: Environment,
    /// What it may do; nothing when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// A named rate limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Whom it acts for; the workspace's default service account when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Whoever looks after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it stops working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it should be rotated. Required for a weak key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_by: Option<Timestamp>,
    /// How many random bits the key was made of. Below 128, or absent, the key is weak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy_bits: Option<u32>,
}

/// How to import.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct ImportOptions {
    /// With one bad line, import nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// Confirms that sensitive scopes are meant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acknowledge_sensitive: bool,
    /// Check every line and import nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// What an import did, or, with `dry_run`, would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImportReport {
    /// Keys made.
    pub created: u64,
    /// Lines whose digest the workspace had already; nothing about those keys was changed.
    pub existing: u64,
    /// Lines that could not be taken.
    pub errors: Vec<LineError>,
}

/// A line that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LineError {
    /// The line's number in the request; the first is 1.
    pub line: u64,
    /// Why, as a stable code.
    pub code: String,
    /// Why, for a person. Never repeats a key's text.
    #[serde(default)]
    pub detail: String,
}
