//! Known bugs, planted in the simulated world's wiring, to show that it would find them. None is in shipped code.

use std::fmt;

use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{Delta, FileName, Hash};

/// A bug to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// After a restore the publisher goes on from the database without looking at what has been published.
    ReusedVersion,
    /// A head's `issued` is the database clock at the time of signing.
    IssuedAtSigning,
    /// A delta of a higher level says that it leads on from one version and is made from a later one.
    WrongLevel,
    /// A leader that has lost the lease signs all the same: nothing is compared in its transaction.
    NoFencing,
    /// Edges behind a cache forget what they have accepted, and take what the cache serves.
    OldHead,
    /// A member is suspended without the row that tells edges of it.
    LostSuspension,
    /// A member's scopes change without the row that tells edges of it.
    LostScopes,
}

impl Plant {
    /// Every plant.
    pub const ALL: [Self; 7] = [
        Self::ReusedVersion,
        Self::IssuedAtSigning,
        Self::WrongLevel,
        Self::NoFencing,
        Self::OldHead,
        Self::LostSuspension,
        Self::LostScopes,
    ];

    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReusedVersion => "reused-version",
            Self::IssuedAtSigning => "issued-at-signing",
            Self::WrongLevel => "wrong-level",
            Self::NoFencing => "no-fencing",
            Self::OldHead => "old-head",
            Self::LostSuspension => "lost-suspension",
            Self::LostScopes => "lost-scopes",
        }
    }

    /// What it does, in a line.
    pub fn about(self) -> &'static str {
        match self {
            Self::ReusedVersion => "after a restore, versions that have been published are given out again",
            Self::IssuedAtSigning => "`issued` is the time of signing, not of the snapshot",
            Self::WrongLevel => "a level delta is applied from another version than it was made from",
            Self::NoFencing => "a deposed leader's transaction is not checked against the lease's term",
            Self::OldHead => "a cache serves an old head to edges that forget what they accepted",
            Self::LostSuspension => "a member is suspended, and nobody tells edges",
            Self::LostScopes => "a member's scopes change, and nobody tells edges",
        }
    }

    /// The plant of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plant| plant.as_str() == name)
    }

    /// Seeds within which it must be found.
    pub fn bound(self) -> u64 {
        500
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Gives each level's statement the body of the level below, which was made from a later version: signed, and wrong. Only
/// where no key was added in between; edges see the difference otherwise.
pub(crate) fn shift_levels(signer: &Signer, levels: &[(FileName, Vec<u8>)]) -> Vec<(FileName, Vec<u8>)> {
    let additions = |bytes: &[u8]| Delta::open(bytes, &[signer.verifier()]).map_or(0, |delta| delta.additions());
    let mut shifted: Vec<(FileName, Vec<u8>)> = Vec::new();
    for (index, (name, bytes)) in levels.iter().enumerate() {
        let below = index.checked_sub(1).map(|below| &levels[below].1);
        let Some(below) = below.filter(|below| additions(below) == additions(bytes)) else {
            shifted.push((*name, bytes.clone()));
            continue;
        };
        let ((note, own), (_, other)) = (split(bytes), split(below));
        let end = note.find("\n\n").map_or(note.len(), |at| at + 1);
        let text = note[..end].replace(&Hash::of(own).to_hex(), &Hash::of(other).to_hex());
        let note = signer.sign(&text);
        let mut file = (note.len() as u32).to_le_bytes().to_vec();
        file.extend_from_slice(note.as_bytes());
        file.extend_from_slice(other);
        shifted.push((*name, file));
    }
    shifted
}

/// A delta file's statement and body.
fn split(bytes: &[u8]) -> (&str, &[u8]) {
    let len = bytes.first_chunk::<4>().map_or(0, |len| u32::from_le_bytes(*len) as usize);
    let (note, body) = bytes[4..].split_at(len);
    (std::str::from_utf8(note).unwrap_or_default(), body)
}
