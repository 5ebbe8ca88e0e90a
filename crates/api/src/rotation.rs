//! The replacement of one key by another.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Actor, Key, Secret, Warning};

/// The life of one replacement: predecessor, successor, deadline and outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rotation {
    /// `rot_…`.
    pub id: String,
    /// The key to be replaced.
    pub predecessor: String,
    /// The key in its place.
    pub successor: String,
    /// The line of keys both belong to.
    pub lineage: String,
    /// Which came first: the successor or the end of the predecessor.
    pub order: RotationOrder,
    /// How far it has come.
    pub state: RotationState,
    /// How it ended; null while open.
    pub outcome: Option<RotationOutcome>,
    /// Why it was started.
    pub reason: String,
    /// The overlap asked for.
    pub overlap_seconds: u64,
    /// When the predecessor stops working; whole seconds.
    pub deadline: Option<Timestamp>,
    /// Who started it.
    pub started_by: Actor,
    /// When it was started.
    pub started_at: Timestamp,
    /// Who ended it.
    pub ended_by: Option<Actor>,
    /// When it was ended.
    pub ended_at: Option<Timestamp>,
}

/// Which comes first in a rotation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RotationOrder {
    /// The successor is issued and both keys work until the deadline.
    #[default]
    IssueFirst,
    /// The predecessor is revoked at once: for a leaked key.
    RevokeFirst,
}

/// How far a rotation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RotationState {
    /// The predecessor may still be used.
    Open,
    /// The predecessor is out of service.
    Completed,
    /// The predecessor went back to work.
    Cancelled,
}

impl RotationState {
    /// The name in JSON and query strings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How a rotation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RotationOutcome {
    /// Completed by request: the predecessor was revoked.
    Completed,
    /// Completed by request while the predecessor was in use.
    Forced,
    /// The deadline passed.
    Lapsed,
    /// The predecessor was revoked meanwhile, or first.
    PredecessorRevoked,
    /// Cancelled; the successor stays.
    SuccessorKept,
    /// Cancelled; the successor was revoked.
    SuccessorRevoked,
}

/// Starts a rotation of the key named in the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StartRotation {
    /// How long both keys work. Required for `issue_first`; 0 or absent for `revoke_first`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_seconds: Option<u64>,
    /// Why: scheduled, personnel change, leak.
    pub reason: String,
    /// The successor's label; the predecessor's with a counted suffix when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The successor's scopes; the predecessor's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// When the successor stops working; never when absent, also where the predecessor has an end: that is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Confirms that sensitive scopes are meant which the predecessor does not have. One that has ended has none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acknowledge_sensitive: bool,
    /// Which comes first.
    #[serde(default)]
    pub order: RotationOrder,
    /// Changes nothing and answers 200 with a [`RotationPlan`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// What a rotation would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RotationPlan {
    /// The successor's label.
    pub name: String,
    /// When the predecessor would stop working; null where at once.
    pub deadline: Option<Timestamp>,
    /// From when on every edge would accept the successor.
    pub usable_from: Timestamp,
    /// What else to know.
    #[serde(default)]
    pub warnings: Vec<Warning>,
}

/// A rotation that was started.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StartedRotation {
    /// The rotation.
    pub rotation: Rotation,
    /// The successor.
    pub key: Key,
    /// The successor's full text, shown this once.
    pub secret: Secret,
    /// What else to know.
    #[serde(default)]
    pub warnings: Vec<Warning>,
}

/// Moves the deadline of an open rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExtendRotation {
    /// How long both keys work from now on; the new deadline must be later than the present one.
    pub overlap_seconds: u64,
    /// Why, for the audit trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Takes a rotation back: the predecessor is active again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CancelRotation {
    /// What becomes of the successor.
    pub successor: SuccessorFate,
    /// Why, for the audit trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What becomes of the successor of a cancelled rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SuccessorFate {
    /// It stays an active key.
    Keep,
    /// It is revoked.
    Revoke,
}

/// Ends an open rotation: the predecessor is revoked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CompleteRotation {
    /// Ends it although the predecessor was used within the last two minutes. Needs a reason.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Why, for the audit trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A rotation after extend, cancel or complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangedRotation {
    /// The rotation.
    pub rotation: Rotation,
    /// From this time on every edge knows.
    pub in_force_by: Timestamp,
    /// What else to know.
    #[serde(default)]
    pub warnings: Vec<Warning>,
}

/// Which rotations to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct RotationFilter {
    /// As far as this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(inline))]
    pub state: Option<RotationState>,
    /// With this key as predecessor or successor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// At most this many, 1 to 200; 50 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
