//! Why the publisher does not publish.

use nightlatch_keyset::{FileName, Malformed, Refused, StatementError};

use super::Step;
use super::directory::DirectoryError;
use crate::secrets::SecretsError;
use crate::store;

/// Why a publisher could not go on. Nothing half-done is visible to edges: the head is written last.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The set's directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Another process has become leader.
    #[error("another process has taken over the set")]
    Deposed,
    /// A newer head has appeared in the directory: another process has taken over, and this one has not noticed yet.
    #[error("{what} has been published meanwhile")]
    Overtaken {
        /// That head.
        what: String,
    },
    /// Files of a later state than the database's have been published: the database was restored from a backup.
    #[error(
        "{what} is ahead of the database, which was probably restored from a backup: nothing is signed until the \
         published revocations have been taken over (nightlatch recover). Do not delete the published files"
    )]
    Ahead {
        /// What is ahead: the head, or a file's name.
        what: String,
    },
    /// What is published is not what the database says.
    #[error("the published files and the database contradict each other: {what}")]
    Contradiction {
        /// How.
        what: String,
    },
    /// The database clock is behind the last head.
    #[error("the database clock is {by_ms} ms behind the last signed head: nothing is signed until it has caught up")]
    ClockBehind {
        /// Milliseconds.
        by_ms: u64,
    },
    /// The set is to be made with a pepper that this process does not hold.
    #[error("the set is made with pepper {id}, which this process does not hold")]
    PepperMissing {
        /// The pepper's id.
        id: String,
    },
    /// The set's heads are to be signed with a key that this process does not hold.
    #[error(
        "heads are signed with key {vkey} now, which this process does not hold: restore the secrets that belong to this \
         database, or, where several processes share it, give all of them the same master key"
    )]
    SignerMissing {
        /// Its verifier key.
        vkey: String,
    },
    /// Another key has been named to sign while an epoch with the one before was being made.
    #[error(
        "heads are to be signed with another key since just now: the epoch that was being made is made again with it"
    )]
    SignerChanged,
    /// The list of keys that sign.
    #[error(transparent)]
    Trust(#[from] crate::trust::Error),
    /// The keys cannot be read.
    #[error("the keys cannot be read: {0}")]
    Secrets(#[from] SecretsError),
    /// The stored head cannot be read with this process's signing key.
    #[error("the stored head is not one this process has signed: {0}")]
    StoredHead(StatementError),
    /// The database holds what no set can.
    #[error("the set cannot be encoded: {0}")]
    Malformed(#[from] Malformed),
    /// The files just made do not lead from one version to the next.
    #[error("the files just made do not apply: {0}")]
    Inapplicable(#[from] Refused),
    /// The probe has stopped the publisher.
    #[error("stopped by the probe at {0:?}")]
    Probe(Step),
}

impl Error {
    pub(super) fn contradiction(what: impl Into<String>) -> Self {
        Self::Contradiction { what: what.into() }
    }

    pub(super) fn file_contradicts(name: &FileName, how: &str) -> Self {
        Self::contradiction(format!("{name} {how}"))
    }

    /// Whether only a person can help: then publishing is refused, not merely late.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Ahead { .. }
                | Self::Contradiction { .. }
                | Self::PepperMissing { .. }
                | Self::SignerMissing { .. }
                | Self::StoredHead(_)
                | Self::Malformed(_)
                | Self::Inapplicable(_)
                | Self::Store(store::Error::Corrupt(_) | store::Error::SchemaTooNew { .. })
        )
    }
}
