//! Rotations: a predecessor, its successor, and the time both are valid.

use super::key::passed;
use super::{Actor, KeyId, Name, Reason, RotationId, Scopes, WorkspaceId};

/// A predecessor seen this recently, in milliseconds, is in use.
pub const IN_USE_MS: i64 = 120_000;

/// In which order a rotation proceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The successor first; the predecessor retires at the deadline.
    IssueFirst,
    /// The predecessor is revoked in the same transaction: the emergency order.
    RevokeFirst,
}

impl Order {
    /// The name used in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IssueFirst => "issue_first",
            Self::RevokeFirst => "revoke_first",
        }
    }

    /// The order of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::IssueFirst, Self::RevokeFirst].into_iter().find(|order| order.as_str() == name)
    }
}

/// How a rotation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
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

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 6] = [
        Self::Completed,
        Self::Forced,
        Self::Lapsed,
        Self::PredecessorRevoked,
        Self::SuccessorKept,
        Self::SuccessorRevoked,
    ];

    /// The name used in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Forced => "forced",
            Self::Lapsed => "lapsed",
            Self::PredecessorRevoked => "predecessor_revoked",
            Self::SuccessorKept => "successor_kept",
            Self::SuccessorRevoked => "successor_revoked",
        }
    }

    /// The outcome of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == name)
    }

    /// Whether the predecessor returned to service.
    pub const fn is_cancelled(self) -> bool {
        matches!(self, Self::SuccessorKept | Self::SuccessorRevoked)
    }
}

/// How and when a rotation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// How.
    pub outcome: Outcome,
    /// By whom.
    pub by: Actor,
    /// Unix milliseconds.
    pub at: i64,
}

/// A rotation's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// `rot_…`
    pub id: RotationId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// The key that goes.
    pub predecessor: KeyId,
    /// The key that comes.
    pub successor: KeyId,
    /// Their line.
    pub lineage: KeyId,
    /// In which order it proceeds.
    pub order: Order,
    /// Why it was started.
    pub reason: String,
    /// The overlap that was last asked for, in seconds; 0 for `revoke_first`.
    pub overlap_seconds: i64,
    /// Unix seconds; none for `revoke_first`.
    pub deadline: Option<i64>,
    /// By whom.
    pub started_by: Actor,
    /// Unix milliseconds.
    pub started_at: i64,
    /// How it ended; open while there is none.
    pub end: Option<End>,
    /// Counts the changes of the record.
    pub revision: i64,
}

impl Rotation {
    /// Whether it is open at `now` (unix milliseconds): a passed deadline ends it, whether or not that is recorded.
    pub fn is_open(&self, now: i64) -> bool {
        self.end.is_none() && !self.deadline.is_some_and(|deadline| passed(deadline, now))
    }

    pub(super) fn with_deadline(&self, deadline: i64) -> Self {
        Self { deadline: Some(deadline), ..self.clone() }
    }

    pub(super) fn ended(&self, end: End) -> Self {
        Self { end: Some(end), ..self.clone() }
    }
}

/// A request to rotate a key.
#[derive(Clone, Debug)]
pub struct Start {
    /// In which order to proceed.
    pub order: Order,
    /// How long both keys are valid, in seconds; ignored by `revoke_first`.
    pub overlap_seconds: i64,
    /// Why.
    pub reason: Reason,
    /// The successor's name; the predecessor's with a counted suffix where omitted.
    pub name: Option<Name>,
    /// The successor's scopes; the predecessor's where omitted.
    pub scopes: Option<Scopes>,
    /// When the successor ends, unix seconds; `None` never: the expiry of a key is its own.
    pub expires_at: Option<i64>,
}

/// What happens to the successor of a cancelled rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuccessorFate {
    /// It stays in service.
    Keep,
    /// It is revoked.
    Revoke,
}
