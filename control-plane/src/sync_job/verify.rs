//! Whether bytes are the file that was signed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Commitment, Delta, FileName, Hash, Head, MAX_DELTA_LEN};

use super::SyncError;

/// Checks the files of one head.
pub(super) struct Checker<'a> {
    head: &'a Head,
    verifiers: &'a [Verifier],
    /// What the set had been through at versions that a signature vouches for.
    commitments: Mutex<BTreeMap<u64, Commitment>>,
}

impl<'a> Checker<'a> {
    /// `held` is a head that was believed before: what it says of the same epoch must be said again.
    pub(super) fn new(head: &'a Head, held: Option<&Head>, verifiers: &'a [Verifier]) -> Self {
        let epoch = |head: &Head| (head.incarnation, head.epoch);
        let earlier = held.filter(|held| epoch(held) == epoch(head)).map(|held| (held.version, held.commitment));
        let own = [(head.base_version, head.base_commitment), (head.version, head.commitment)];
        let commitments = own.into_iter().chain(earlier).collect();
        Self { head, verifiers, commitments: Mutex::new(commitments) }
    }

    /// The most bytes that a file can have.
    pub(super) fn limit(&self, name: &FileName) -> u64 {
        match name {
            FileName::Base { .. } => self.head.base_len,
            FileName::Delta { .. } => MAX_DELTA_LEN as u64,
            FileName::Policy(_) => self.head.policy_len,
        }
    }

    /// The bytes that a file has, where the head tells.
    pub(super) fn len(&self, name: &FileName) -> Option<u64> {
        match name {
            FileName::Delta { .. } => None,
            FileName::Base { .. } | FileName::Policy(_) => Some(self.limit(name)),
        }
    }

    /// Checks a file of the head.
    ///
    /// # Errors
    /// [`SyncError::Untrusted`].
    pub(super) fn check(&self, name: &FileName, bytes: &[u8]) -> Result<(), SyncError> {
        let untrusted = |what: &str| SyncError::Untrusted(format!("{name} {what}"));
        match *name {
            FileName::Policy(hash) => {
                if Hash::of(bytes) != hash || bytes.len() as u64 != self.head.policy_len {
                    return Err(untrusted("is not the policy that was signed"));
                }
            }
            FileName::Base { .. } => {
                if bytes.len() as u64 != self.head.base_len || Hash::of(bytes) != self.head.base_root {
                    return Err(untrusted("is not the base that was signed"));
                }
            }
            FileName::Delta { incarnation, epoch, from, to } => {
                let delta = Delta::open(bytes, self.verifiers).map_err(|error| untrusted(&error.to_string()))?;
                let info = delta.info();
                if info.set != self.head.set
                    || (info.incarnation, info.epoch, info.from, info.to) != (incarnation, epoch, from, to)
                {
                    return Err(untrusted("is the file of another name"));
                }
                let steps = [(from, *delta.from_commitment()), (to, *delta.to_commitment())];
                let mut commitments = self.commitments.lock().unwrap_or_else(PoisonError::into_inner);
                for (version, commitment) in steps {
                    if *commitments.entry(version).or_insert(commitment) != commitment {
                        return Err(untrusted("belongs to another history"));
                    }
                }
            }
        }
        Ok(())
    }
}
