//! What the leader holds in memory of the epoch it adds to.

use nightlatch_keyset::{Head, ProfileTable, Replica};

use super::config::Limits;
use super::error::Error;

/// The published state: its head, and a replica that was built from the very files that were published.
pub(super) struct Epoch {
    pub(super) head: Head,
    pub(super) note: String,
    pub(super) replica: Replica,
    pub(super) profiles: ProfileTable,
}

impl Epoch {
    /// Takes the state that files led to.
    ///
    /// # Errors
    /// [`Error::Contradiction`] where the replica is not at the head's state.
    pub(super) fn new(head: Head, note: String, replica: Replica) -> Result<Self, Error> {
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
        let profiles = ProfileTable::of(replica.profiles())?;
        Ok(Self { head, note, replica, profiles })
    }

    /// Why the next version is to be a base, if it is.
    pub(super) fn cut_reason(&self, limits: &Limits, changes: u64, pepper: &str) -> Option<&'static str> {
        let overlay = self.replica.overlay_len() as u64 + changes;
        if self.head.pepper != pepper {
            Some("pepper")
        } else if changes == 0 {
            None
        } else if self.head.version - self.head.base_version >= limits.max_deltas {
            Some("deltas")
        } else if overlay > limits.min_overlay.max(self.head.keys / 4) {
            Some("overlay")
        } else {
            None
        }
    }
}
