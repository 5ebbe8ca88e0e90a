//! Whether bytes are the file that was signed.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Commitment, Delta, FileName, Hash, Head, Index, MAX_DELTA_LEN};

use super::SyncError;

/// Checks the files of one head.
pub(super) struct Checker<'a> {
    head: &'a Head,
    verifiers: &'a [Verifier],
    /// What the set had been through at versions that a signature vouches for.
    commitments: Mutex<BTreeMap<u64, Commitment>>,
    /// The base's index, once it has been checked: parts are checked against it.
    index: OnceLock<Index>,
}

impl<'a> Checker<'a> {
    /// `held` is a head that was believed before: what it says of the same epoch must be said again.
    pub(super) fn new(head: &'a Head, held: Option<&Head>, verifiers: &'a [Verifier]) -> Self {
        let epoch = |head: &Head| (head.incarnation, head.epoch);
        let earlier = held.filter(|held| epoch(held) == epoch(head)).map(|held| (held.version, held.commitment));
        let own = [(head.base_version, head.base_commitment), (head.version, head.commitment)];
        let commitments = own.into_iter().chain(earlier).collect();
        Self { head, verifiers, commitments: Mutex::new(commitments), index: OnceLock::new() }
    }

    /// The most bytes that a file can have.
    pub(super) fn limit(&self, name: &FileName) -> u64 {
        self.len(name).unwrap_or(MAX_DELTA_LEN as u64)
    }

    /// The bytes that a file has, where the head tells.
    pub(super) fn len(&self, name: &FileName) -> Option<u64> {
        match *name {
            FileName::Base { .. } => Some(self.head.base_len),
            FileName::BasePart { part, .. } => {
                let len = usize::try_from(part).ok().and_then(|part| self.head.base_parts.get(part));
                Some(len.copied().unwrap_or_default())
            }
            FileName::Delta { .. } => None,
            FileName::Policy(_) => Some(self.head.policy_len),
            FileName::Rebase { .. } => Some(self.head.rebase.map_or(0, |(_, len)| len)),
        }
    }

    /// Checks a file of the head. A base's index is only right as far as its root tells, until its parts have been checked
    /// against it.
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
                let right_length = bytes.len() as u64 == self.head.base_len;
                let opened = Index::open(bytes.to_vec(), &self.head.base_root).ok().filter(|_| right_length);
                let right = opened.is_some_and(|index| {
                    // An empty base has no parts that would tell of the rest of it.
                    let whole = !self.head.base_parts.is_empty() || index.check_part(0, &[]).is_ok();
                    drop(self.index.set(index));
                    whole
                });
                if !right {
                    return Err(untrusted("is not the base that was signed"));
                }
            }
            FileName::BasePart { part, .. } => {
                let index = self.index.get().ok_or_else(|| untrusted("cannot be told without its index"))?;
                let right = usize::try_from(part).is_ok_and(|part| index.check_part(part, bytes).is_ok());
                if !right {
                    return Err(untrusted("is not the part of the base that was signed"));
                }
            }
            FileName::Rebase { .. } => {
                if self.head.rebase != Some((Hash::of(bytes), bytes.len() as u64)) {
                    return Err(untrusted("is not the rebase record that was signed"));
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
