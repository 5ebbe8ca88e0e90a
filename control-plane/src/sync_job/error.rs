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
    /// The set's heads are not valid for long enough for this target.
    #[error(
        "the set's heads are valid for {validity_seconds} s, and Workers KV may show a write a minute late: edges would \
         refuse the set again and again. Give it set.validity_seconds of at least 120 (30 s heartbeat and 180 s validity \
         serve well), or run a second set for KV"
    )]
    TooBrief {
        /// Seconds.
        validity_seconds: u64,
    },
    /// Heads and files were copied, and a trust or deny note was not.
    #[error("heads and files are copied, but not all notes: {0}")]
    Notes(Box<Self>),
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
            Self::Notes(error) => error.exit_code(),
            Self::Usage(_) | Self::TooBrief { .. } => 2,
            Self::Untrusted(_) | Self::Refused { .. } => 3,
            Self::Source(_) | Self::Target(_) | Self::Raced | Self::RanOut { .. } => 1,
        }
    }

    /// Whether the copy is complete, and something is wrong with what was copied.
    pub(super) fn is_about_what_was_copied(&self) -> bool {
        matches!(self, Self::Notes(_) | Self::RanOut { .. })
    }
}
