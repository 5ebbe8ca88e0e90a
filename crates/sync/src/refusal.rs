//! Why an edge does not take what it is offered.

use alloc::string::String;
use core::fmt;

use nightlatch_keyset::{Refused, StatementError};

/// Why a head or its files are refused. What the edge had before stays in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The head's validity is over.
    Expired {
        /// Milliseconds since.
        for_ms: u64,
    },
    /// The files do not lead to the state that the head signs.
    Files(Refused),
    /// The head was issued later than now plus the clocks' skew: one of the clocks is wrong.
    FromFuture {
        /// Milliseconds beyond now.
        by_ms: u64,
    },
    /// Two heads of one version with different histories.
    OtherHistory,
    /// The head of another set.
    OtherSet,
    /// The set is made with a pepper this edge does not hold: none of that id, or other bytes under it.
    PepperMissing {
        /// The pepper's id.
        id: String,
    },
    /// The route policy cannot be read.
    Policy(String),
    /// An older head, or an older trust note, than one accepted before.
    Rollback,
    /// The head, trust note or deny note itself.
    Statement(StatementError),
    /// Whether the head is to be believed, only a trust note could say that the source does not have.
    TrustMissing,
    /// More than this edge takes. Nothing of it was fetched, or no more than was allowed.
    TooLarge {
        /// What it is too much of, with its unit.
        what: &'static str,
        /// How much it takes.
        needed: u64,
        /// How much there is.
        allowed: u64,
    },
}

impl Refusal {
    /// A short, stable name for logs and reports.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "head_expired",
            Self::Files(_) => "files_refused",
            Self::FromFuture { .. } => "head_from_future",
            Self::OtherHistory => "head_contradicts",
            Self::OtherSet => "head_of_other_set",
            Self::PepperMissing { .. } => "pepper_missing",
            Self::Policy(_) => "policy_refused",
            Self::Rollback => "head_rollback",
            Self::Statement(StatementError::Note(_)) => "note_signature",
            Self::Statement(_) => "note_malformed",
            Self::TooLarge { .. } => "set_too_large",
            Self::TrustMissing => "trust_missing",
        }
    }
}

impl From<StatementError> for Refusal {
    fn from(error: StatementError) -> Self {
        Self::Statement(error)
    }
}

impl From<Refused> for Refusal {
    fn from(error: Refused) -> Self {
        Self::Files(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { for_ms } => write!(f, "the head's validity ended {for_ms} ms ago"),
            Self::Files(error) => error.fmt(f),
            Self::FromFuture { by_ms } => write!(f, "the head was issued {by_ms} ms after now: check this clock"),
            Self::OtherHistory => f.write_str("the head contradicts one of the same version accepted before"),
            Self::OtherSet => f.write_str("the head is of another set"),
            Self::PepperMissing { id } => {
                write!(f, "the set needs the pepper {id}, and this edge holds none of that id, or other bytes under it")
            }
            Self::Policy(error) => write!(f, "the route policy cannot be read: {error}"),
            Self::Rollback => f.write_str("it is older than one accepted before"),
            Self::Statement(error) => error.fmt(f),
            Self::TrustMissing => f.write_str("no trust note at the source says whose key has signed the head"),
            Self::TooLarge { what, needed, allowed } => {
                write!(f, "it takes {needed} {what}, and this edge has room for {allowed}")
            }
        }
    }
}

impl core::error::Error for Refusal {}
