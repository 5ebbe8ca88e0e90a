//! What an edge answers from.

use alloc::vec::Vec;

use nightlatch_key::Digest;
use nightlatch_keyset::{Head, Malformed, Pepper, Profile, Record, Replica, Status};

use crate::Mark;

/// A replica, and the head and policy it is served under.
///
/// The replica is at the state its head signs; while a rebase is under way, and after one that failed, it may be further
/// on: at the last state of its epoch, which a later head has signed as its past.
pub struct Serving<P> {
    pub(crate) head: Head,
    /// The id of the key that signed the head.
    pub(crate) signer: [u8; 4],
    pub(crate) replica: Replica,
    pub(crate) policy: P,
    pub(crate) pepper: Pepper,
    /// The ids of the keys that signed the deltas which led from the base to here.
    pub(crate) led_by: Vec<[u8; 4]>,
    /// Keys that a deny note names.
    pub(crate) denied: Vec<Digest>,
}

impl<P> Serving<P> {
    /// The head in force.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The keys.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The route policy.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// The state that is served: a floor for every head to come.
    pub(crate) fn reached(&self) -> Mark {
        Mark {
            incarnation: self.replica.incarnation(),
            epoch: self.replica.epoch(),
            version: self.replica.version(),
            issued: 0,
        }
    }

    /// Looks a key up by the digest of its text. One that a deny note names is found revoked.
    ///
    /// # Errors
    /// [`Malformed`] where the replica holds nonsense and is not fit to answer.
    pub fn find(&self, digest: &Digest) -> Result<Option<(Record, &Profile)>, Malformed> {
        let Some(mut record) = self.replica.lookup(&self.pepper.tag(digest))? else {
            return Ok(None);
        };
        if self.denied.contains(digest) {
            record.status = Status::Revoked;
        }
        let profile = self.replica.profile(record.profile).ok_or(Malformed::Value("row"))?;
        Ok(Some((record, profile)))
    }
}
