//! Whose heads a copy believes: those of pinned keys, or of keys that a root's trust note lists.

use alloc::vec::Vec;

use nightlatch_keyset::note::{NoteError, Verifier};
use nightlatch_keyset::{Head, StatementError, Trust};

use crate::copy::Failure;

/// The keys that sign heads, and where they come from.
pub(crate) struct Trusted {
    roots: Vec<Verifier>,
    /// Those that are pinned first.
    signers: Vec<Verifier>,
    pinned: usize,
    /// Version and floor of the note taken last.
    taken: Option<(u64, [u64; 3])>,
}

impl Trusted {
    pub(crate) fn new(roots: Vec<Verifier>, signers: Vec<Verifier>) -> Self {
        Self { pinned: signers.len(), roots, signers, taken: None }
    }

    /// Takes a trust note that a root has signed; the same again is no news.
    pub(crate) fn take(&mut self, note: &str, set: &str) -> Result<(), Failure> {
        let trust = Trust::open(note, &self.roots).map_err(Failure::Head)?;
        if trust.set != set {
            return Err(Failure::OtherSet);
        }
        let held = self.taken.map(|(version, _)| version);
        if held > Some(trust.version) {
            return Err(Failure::Rollback);
        }
        if held < Some(trust.version) {
            self.taken = Some((trust.version, trust.floor));
            self.roots = trust.roots;
            self.signers.truncate(self.pinned);
            self.signers.extend(trust.signers);
        }
        Ok(())
    }

    /// A head and who has signed it; nothing where a newer trust note has to say whether it is to be believed.
    pub(crate) fn open(&self, note: &str) -> Result<Option<(Head, [u8; 4])>, StatementError> {
        let has_roots = !self.roots.is_empty();
        match Head::open_by(note, &self.signers) {
            Err(StatementError::Note(NoteError::UnknownSigner)) if has_roots => Ok(None),
            Ok((head, _)) if has_roots && head.trust > self.taken.map(|(version, _)| version) => Ok(None),
            opened => opened.map(|(head, signer)| Some((head, signer.id()))),
        }
    }

    pub(crate) fn believes(&self, signer: &[u8; 4]) -> bool {
        self.signers.iter().any(|key| key.id() == *signer)
    }

    /// The keys that sign heads and deltas.
    pub(crate) fn signers(&self) -> &[Verifier] {
        &self.signers
    }

    /// The state below which no head is accepted.
    pub(crate) fn floor(&self) -> Option<[u64; 3]> {
        self.taken.map(|(_, floor)| floor)
    }
}
