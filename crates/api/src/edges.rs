//! Edges as things: who they are, what they hold, how far they are.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{AppliedState, Secret};

/// Whether an edge remembers what it has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EdgeClass {
    /// It keeps its high-water mark on disk, and so can confirm that a revocation is in force.
    Durable,
    /// It forgets; its instances come and go and cannot be counted.
    Ephemeral,
}

impl EdgeClass {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Ephemeral => "ephemeral",
        }
    }
}

/// Where an edge stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EdgeState {
    /// Its code has not been used.
    Pending,
    /// It has reported lately.
    Active,
    /// It has not reported for longer than the set's bound.
    Silent,
    /// It was removed.
    Removed,
}

impl EdgeState {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Silent => "silent",
            Self::Removed => "removed",
        }
    }
}

/// An edge. What it reported is what its latest instance said last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Edge {
    /// `edge_…`.
    pub id: String,
    /// The label given by people.
    pub name: String,
    /// Whether it can confirm.
    pub class: EdgeClass,
    /// The set it reads.
    pub set: String,
    /// Where it stands now.
    pub state: EdgeState,
    /// The kind of runtime.
    pub runtime: Option<String>,
    /// The version of its software.
    pub version: Option<String>,
    /// The formats it reads.
    pub formats: Vec<String>,
    /// The state it answers from.
    pub applied: Option<AppliedState>,
    /// That state is one that the set has not reached: the database is older than what was published, or the report is
    /// false. It confirms nothing.
    pub ahead: bool,
    /// How old that state was when it reported, in milliseconds.
    pub data_age_ms: Option<u64>,
    /// Its clock minus the database's when it last reported, in milliseconds. The way of the report counts as behind.
    pub clock_offset_ms: Option<i64>,
    /// It saw its clock break the assumption, and refused to answer.
    pub clock_refused: bool,
    /// The ids of the peppers it holds.
    pub peppers: Vec<String>,
    /// The version of the trust note it holds.
    pub trust: Option<u64>,
    /// The code of its last refresh, where that failed.
    pub failure: Option<String>,
    /// How many instances have reported within a bound.
    pub instances: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it got its first credential.
    pub enrolled_at: Option<Timestamp>,
    /// When it last reported, or enrolled.
    pub last_contact: Option<Timestamp>,
    /// When it was removed.
    pub removed_at: Option<Timestamp>,
}

/// Makes an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateEdge {
    /// A label for people, 1 to 200 characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 200))]
    pub name: String,
    /// Whether it keeps its high-water mark on disk.
    pub class: EdgeClass,
    /// The set it reads; the workspace's only one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
}

/// A new edge and the code it enrols with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedEdge {
    /// The edge.
    pub edge: Edge,
    /// The code, `nlc_…`: good once, shown this once.
    pub code: Secret,
    /// When the code stops working.
    pub code_expires_at: Timestamp,
}

/// Trades the one-time code of an edge for its credential.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolEdge {
    /// The code, `nlc_…`.
    pub code: Secret,
    /// The kind of runtime, such as `sidecar`; 1 to 32 visible characters.
    pub runtime: String,
    /// The version of the edge's software; 1 to 32 visible characters.
    pub version: String,
}

/// An enrolled edge, its credential, and where it reads and reports.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolledEdge {
    /// The edge.
    pub edge: Edge,
    /// Its credential, `nle_…`, shown this once.
    pub credential: Secret,
    /// What it needs beside the credential and the pepper, which is in no answer.
    pub config: EnrolledEdgeConfig,
}

/// Where an edge reads and reports, and whom it believes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolledEdgeConfig {
    /// The set.
    pub set: String,
    /// The public halves of the root keys, as edges pin them; empty while the set has no trust note.
    pub roots: Vec<String>,
    /// The public half of the key that signs heads, to be pinned where there are no roots.
    pub verifiers: Vec<String>,
    /// Where it reads the set, relative to the control plane's address: `/v1/sets/set_…`.
    pub source: String,
    /// Where it reports, relative to the control plane's address: `/v1/edges/reports`.
    pub report_url: String,
}

/// Asks for a new credential.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RotateCredential {
    /// How long the old credential still works, unless the new one is used before; 86,400 when absent, at most 604,800.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 604_800))]
    pub overlap_seconds: Option<u64>,
}

/// An edge's new credential.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RotatedCredential {
    /// The edge.
    pub edge: Edge,
    /// The new credential, `nle_…`, shown this once.
    pub credential: Secret,
    /// When the old one ends at the latest: it ends at the first use of the new one.
    pub old_ends_by: Timestamp,
}
