//! Keys that a deny note has ended.

use alloc::string::String;
use alloc::vec::Vec;

use nightlatch_key::Digest;
use nightlatch_keyset::Deny;
use nightlatch_keyset::note::{self, Verifier};

use crate::Refusal;

/// The most keys that are remembered. Notes contain the ones before, so that honest ones stay far below.
const MAX_REMEMBERED: usize = 1_024;

/// What deny notes have named so far. What is revoked stays so, unless who said it is believed no more.
#[derive(Default)]
pub(crate) struct Denied {
    /// Each with the id of the key that signed the note.
    digests: Vec<(Digest, [u8; 4])>,
    /// The note of the highest number, that number, and the id of its signer.
    taken: Option<(u64, String, [u8; 4])>,
}

impl Denied {
    /// Takes a deny note; true where it is news.
    pub(crate) fn take(&mut self, note: &str, set: &str, verifiers: &[Verifier]) -> Result<bool, Refusal> {
        let deny = Deny::open(note, verifiers)?;
        let (_, signer) = note::open_by(note, verifiers).map_err(nightlatch_keyset::StatementError::from)?;
        if deny.set != set {
            return Err(Refusal::OtherSet);
        }
        if self.taken.as_ref().is_some_and(|(number, ..)| deny.number <= *number) {
            return Ok(false);
        }
        for digest in deny.digests {
            if !self.digests.iter().any(|(held, _)| *held == digest) {
                self.digests.push((digest, signer.id()));
            }
        }
        // The newest are at the end.
        let surplus = self.digests.len().saturating_sub(MAX_REMEMBERED);
        self.digests.drain(..surplus);
        self.taken = Some((deny.number, note.into(), signer.id()));
        Ok(true)
    }

    /// Forgets what keys have said that are not among these.
    pub(crate) fn keep(&mut self, believed: &[Verifier]) {
        let is_believed = |signer: &[u8; 4]| believed.iter().any(|key| key.id() == *signer);
        self.digests.retain(|(_, signer)| is_believed(signer));
        self.taken = self.taken.take().filter(|(.., signer)| is_believed(signer));
    }

    pub(crate) fn digests(&self) -> Vec<Digest> {
        self.digests.iter().map(|(digest, _)| *digest).collect()
    }

    pub(crate) fn note(&self) -> Option<&str> {
        self.taken.as_ref().map(|(_, note, _)| note.as_str())
    }
}
