//! Why a pass failed, and the exit codes that say so.

use nightlatch_sync::Refusal;

/// Why a target was not brought up to date.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The command line or the configuration is wrong.
    #[error("{0}")]
    Usage(String),
    /// The source could not be read.
    #[error("the source cannot be read: {0}")]
    Source(String),
    /// The target could not be read or written.
    #[error("the target cannot be read or written: {0}")]
    Target(String),
    /// Another writer has replaced the target's head meanwhile.
    #[error("another writer has replaced the target's head; trying again from what is there now")]
    Raced,
    /// Everything was copied, but what was copied may no longer be relied on: the control plane has stopped publishing.
    #[error("the source's head ran out {for_seconds} s ago: edges refuse it; see whether the control plane publishes")]
    RanOut {
        /// Seconds.
        for_seconds: u64,
    },
    /// What the source offers is not what was signed.
    #[error("refused: {0}")]
    Untrusted(String),
    /// The step would take the target back or to another history.
    #[error("refused: {what}: {refusal}")]
    Refused {
        /// Between what and what.
        what: &'static str,
        /// Why.
        refusal: Refusal,
    },
}

impl SyncError {
    /// The program's exit code: 1 failed, 2 wrong usage or configuration, 3 refused.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Untrusted(_) | Self::Refused { .. } => 3,
            Self::Source(_) | Self::Target(_) | Self::Raced | Self::RanOut { .. } => 1,
        }
    }
}
