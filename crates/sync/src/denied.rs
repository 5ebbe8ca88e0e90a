//! Keys that a deny note has ended.

use alloc::string::String;
use alloc::vec::Vec;

use nightlatch_key::Digest;
use nightlatch_keyset::Deny;
use nightlatch_keyset::note::Verifier;

use crate::Refusal;

/// What deny notes have named so far. Nothing leaves: what is revoked stays so.
#[derive(Default)]
pub(crate) struct Denied {
    digests: Vec<Digest>,
    /// The note of the highest number, and that number.
    taken: Option<(u64, String)>,
}

impl Denied {
    /// Takes a deny note; true where it is news.
    pub(crate) fn take(&mut self, note: &str, set: &str, verifiers: &[Verifier]) -> Result<bool, Refusal> {
        let deny = Deny::open(note, verifiers)?;
        if deny.set != set {
            return Err(Refusal::OtherSet);
        }
        if self.taken.as_ref().is_some_and(|(number, _)| deny.number <= *number) {
            return Ok(false);
        }
        for digest in deny.digests {
            if !self.digests.contains(&digest) {
                self.digests.push(digest);
            }
        }
        self.taken = Some((deny.number, note.into()));
        Ok(true)
    }

    pub(crate) fn digests(&self) -> &[Digest] {
        &self.digests
    }

    pub(crate) fn note(&self) -> Option<&str> {
        self.taken.as_ref().map(|(_, note)| note.as_str())
    }
}
