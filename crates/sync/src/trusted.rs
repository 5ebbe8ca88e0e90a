//! Whom an edge believes.

use alloc::string::String;
use alloc::vec::Vec;

use nightlatch_keyset::Trust;
use nightlatch_keyset::note::Verifier;

use crate::{EdgeConfig, Mark, Refusal};

/// The keys that sign heads: those that are pinned, and those of the trust note that was taken last.
pub(crate) struct Trusted {
    /// The roots first, then the signers.
    keys: Vec<Verifier>,
    roots: usize,
    taken: Option<(Trust, String)>,
}

impl Trusted {
    pub(crate) fn new(config: &EdgeConfig) -> Self {
        Self {
            keys: config.roots.iter().chain(&config.verifiers).cloned().collect(),
            roots: config.roots.len(),
            taken: None,
        }
    }

    /// Takes a trust note; true where it no longer lists a key that the one before did. `None` where it is not news.
    pub(crate) fn take(&mut self, note: &str, config: &EdgeConfig) -> Result<Option<bool>, Refusal> {
        let trust = Trust::open(note, &self.keys[..self.roots])?;
        if trust.set != config.set {
            return Err(Refusal::OtherSet);
        }
        let mut removed = false;
        if let Some((held, _)) = &self.taken {
            if trust.version < held.version {
                return Err(Refusal::Rollback);
            }
            if trust.version == held.version {
                return Ok(None);
            }
            removed = held.signers.iter().any(|key| !trust.signers.contains(key));
        }
        self.roots = trust.roots.len();
        self.keys = trust.roots.iter().chain(&config.verifiers).chain(&trust.signers).cloned().collect();
        self.taken = Some((trust, note.into()));
        Ok(Some(removed))
    }

    /// Whether a trust note is to be had at all.
    pub(crate) fn has_roots(&self) -> bool {
        self.roots > 0
    }

    /// Whether a head that names this trust note needs it to be read first.
    pub(crate) fn lacks(&self, version: Option<u64>) -> bool {
        self.has_roots() && version > self.taken.as_ref().map(|(held, _)| held.version)
    }

    /// The keys that sign heads.
    pub(crate) fn signers(&self) -> &[Verifier] {
        &self.keys[self.roots..]
    }

    /// The keys that sign heads, and the roots.
    pub(crate) fn all(&self) -> &[Verifier] {
        &self.keys
    }

    /// What no head may be behind.
    pub(crate) fn floor(&self) -> Option<Mark> {
        self.taken.as_ref().map(|(trust, _)| {
            let [incarnation, epoch, version] = trust.floor;
            Mark { incarnation, epoch, version, issued: 0 }
        })
    }

    pub(crate) fn trust(&self) -> Option<&Trust> {
        self.taken.as_ref().map(|(trust, _)| trust)
    }

    pub(crate) fn note(&self) -> Option<&str> {
        self.taken.as_ref().map(|(_, note)| note.as_str())
    }
}
