//! What edges tell the control plane.

use serde::{Deserialize, Serialize};

/// A batch of observations of one edge instance. Sent again, it is counted once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EdgeReport {
    /// The set the edge serves; the edge token's own.
    pub set: String,
    /// The edge's name for itself, 1 to 64 characters, new at every start.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 64))]
    pub instance: String,
    /// A number that grows with every report of this instance.
    pub sequence: u64,
    /// The kind of runtime, such as `cloudflare`.
    pub runtime: String,
    /// The version of the edge's software.
    pub version: String,
    /// The state the edge answers from, if it has one. A durable edge names none that it has not put on disk.
    pub applied: Option<AppliedState>,
    /// The formats it reads, such as `head/4`, `base/2`, `delta/2`, `rebase/1`; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 16))]
    pub formats: Vec<String>,
    /// How old the state it answers from is, in milliseconds: its own time minus the head's `issued`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_age_ms: Option<u64>,
    /// What its wall clock says as it sends this, unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<u64>,
    /// The ids of the peppers it holds; at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 8))]
    pub peppers: Vec<String>,
    /// The version of the trust note it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<u64>,
    /// The code of the last refresh, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// It saw its clock break the assumption, and refused to answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clock_refused: bool,
    /// Keys seen since the last report, at most 1,000.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 1000))]
    pub seen: Vec<Sighting>,
}

/// The state an edge answers from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppliedState {
    /// The recovery count of the set.
    pub incarnation: u32,
    /// The base number.
    pub epoch: u32,
    /// The change counter.
    pub version: u64,
    /// The `issued` of the head, unix milliseconds.
    pub issued: u64,
}

/// A key that an edge let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sighting {
    /// The key's id, or `kn_` and its number.
    pub key: String,
    /// When it was seen, unix milliseconds by the edge's clock.
    pub at: u64,
}

/// The answer to a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EdgeReportAccepted {
    /// False when this report, or a later one of the same instance, had been counted before.
    pub accepted: bool,
}
