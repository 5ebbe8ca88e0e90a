//! What the leader holds in memory of the epoch it adds to.

use std::time::Duration;

use nightlatch_keyset::{Author, Columns, Head};

use super::config::Limits;
use super::error::Error;
use super::reason::{CutReason, Extent};

/// The published state: its head, and the set as the very files that were published lead to it.
pub(super) struct Epoch {
    pub(super) head: Head,
    pub(super) note: String,
    pub(super) author: Author,
    /// Unix seconds: keys that had ended before are not in the base.
    pub(super) cutoff: u64,
    /// When the base was published, unix milliseconds.
    pub(super) begun: u64,
}

impl Epoch {
    /// Takes the state that files led to.
    ///
    /// # Errors
    /// [`Error::Contradiction`] where it is not the head's.
    pub(super) fn new(head: Head, note: String, author: Author, cutoff: u64, begun: u64) -> Result<Self, Error> {
        let replica = author.replica();
        let reached = (replica.version(), replica.commitment(), replica.len() as u64);
        if reached != (head.version, &head.commitment, head.keys) {
            return Err(Error::contradiction(format!(
                "the files lead to version {} with {} keys, the head says version {} with {}",
                replica.version(),
                replica.len(),
                head.version,
                head.keys
            )));
        }
        Ok(Self { head, note, author, cutoff, begun })
    }

    /// The columns of the set's rows.
    pub(super) fn columns(&self) -> Columns {
        self.author.replica().layout().columns()
    }

    /// Keys added since the base.
    pub(super) fn overlay(&self) -> u64 {
        self.author.replica().overlay_len() as u64
    }

    /// Bytes of the epoch's deltas of level 0.
    pub(super) fn delta_bytes(&self) -> u64 {
        self.author.delta_bytes()
    }

    /// Why the set is to be folded into a new base, if it is.
    pub(super) fn cut_reason(&self, limits: &Limits) -> Option<CutReason> {
        let extent = Extent {
            keys: self.head.keys,
            base: self.head.base_bytes(),
            overlay: self.overlay(),
            deltas: self.delta_bytes(),
            versions: self.head.version - self.head.base_version,
            age: Duration::from_millis(self.head.issued.saturating_sub(self.begun)),
        };
        extent.reason(limits)
    }
}
