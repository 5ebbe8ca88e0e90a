//! Whom a job believes.

use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Deny, Head, StatementError, Trust};
use nightlatch_sync::{Mark, Refusal};

use super::SyncError;
use super::note::{NoteName, statement};

/// What the job was told, and the trust note that follows from it.
#[derive(Debug)]
pub(super) struct Trusted {
    /// The roots first, then the signers.
    keys: Vec<Verifier>,
    roots: usize,
    pinned: Vec<Verifier>,
    taken: Option<(Trust, String)>,
}

/// A trust note beside the one that is gone by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// It takes the other's place.
    News,
    /// It is the other, perhaps with other signatures.
    Same,
    /// It is an earlier one.
    Older,
}

impl Trusted {
    pub(super) fn new(roots: &[Verifier], pinned: &[Verifier]) -> Self {
        let keys = roots.iter().chain(pinned).cloned().collect();
        Self { keys, roots: roots.len(), pinned: pinned.to_vec(), taken: None }
    }

    /// Takes a trust note where it is news.
    ///
    /// # Errors
    /// [`SyncError`] where no root has signed it, and where it contradicts the one that is gone by.
    pub(super) fn take(&mut self, text: &str) -> Result<Age, SyncError> {
        let trust = Trust::open(text, self.roots()).map_err(|error| untrusted(NoteName::Trust, error))?;
        if let Some((held, held_text)) = &self.taken {
            if trust.set != held.set {
                return Err(SyncError::Refused { what: "the trust notes", refusal: Refusal::OtherSet });
            }
            if trust.version < held.version {
                return Ok(Age::Older);
            }
            if trust.version == held.version {
                return match statement(text) == statement(held_text) {
                    true => Ok(Age::Same),
                    false => Err(contradiction(NoteName::Trust, trust.version)),
                };
            }
        }
        self.roots = trust.roots.len();
        self.keys = trust.roots.iter().chain(&self.pinned).chain(&trust.signers).cloned().collect();
        self.taken = Some((trust, text.to_owned()));
        Ok(Age::News)
    }

    /// Whether trust notes are of any use.
    pub(super) fn has_roots(&self) -> bool {
        self.roots > 0
    }

    fn roots(&self) -> &[Verifier] {
        &self.keys[..self.roots]
    }

    /// The keys that sign heads and deltas.
    pub(super) fn signers(&self) -> &[Verifier] {
        &self.keys[self.roots..]
    }

    /// Whether a head that names this trust note needs one that has not been read yet.
    pub(super) fn lacks(&self, version: Option<u64>) -> bool {
        self.has_roots() && version > self.taken.as_ref().map(|(held, _)| held.version)
    }

    /// The set of the trust note.
    pub(super) fn set(&self) -> Option<&str> {
        self.taken.as_ref().map(|(trust, _)| trust.set.as_str())
    }

    /// Refuses a head of before the last trust note.
    pub(super) fn admit(&self, head: &Head) -> Result<(), SyncError> {
        let Some((trust, _)) = &self.taken else { return Ok(()) };
        if head.set != trust.set {
            return Err(SyncError::Refused { what: "the head against the trust note", refusal: Refusal::OtherSet });
        }
        let [incarnation, epoch, version] = trust.floor;
        if Mark::of(head).state() < (incarnation, epoch, version) {
            return Err(SyncError::Refused { what: "the head against the trust note", refusal: Refusal::Rollback });
        }
        Ok(())
    }

    /// The set and the number of a trust or deny note.
    pub(super) fn read(&self, name: NoteName, text: &str) -> Result<(String, u64), StatementError> {
        match name {
            NoteName::Deny => Deny::open(text, &self.keys).map(|deny| (deny.set, deny.number)),
            NoteName::Head => Head::open(text, self.signers()).map(|head| (head.set, head.version)),
            NoteName::Trust => Trust::open(text, self.roots()).map(|trust| (trust.set, trust.version)),
        }
    }
}

pub(super) fn untrusted(name: NoteName, error: StatementError) -> SyncError {
    let advice = match (name, &error) {
        (NoteName::Deny, StatementError::Note(_)) => "; give --root where a root key signs it",
        (NoteName::Trust, StatementError::Note(_)) => "; is --root the root key of this set?",
        _ => "",
    };
    SyncError::Untrusted(format!("the source's {} note: {error}{advice}", name.as_str()))
}

pub(super) fn contradiction(name: NoteName, number: u64) -> SyncError {
    SyncError::Untrusted(format!(
        "two {} notes with different contents have the number {number}: one of them is forged, or was made from a restored \
         backup",
        name.as_str()
    ))
}
