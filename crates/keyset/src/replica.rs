//! The replica: an edge's copy of a set, in memory.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use crate::codec::Malformed;
use crate::pepper::{TAG_LEN, Tag};
use crate::row::{self, ROW_LEN, Record};
use crate::{Base, Commitment, Delta, Head, Profile};

/// A base and the changes since. It is only ever at one of the publisher's versions.
#[derive(Clone)]
pub struct Replica {
    base: Base,
    profiles: Vec<Profile>,
    /// Rows that replace or join those of the base.
    overlay: BTreeMap<[u8; TAG_LEN], [u8; ROW_LEN]>,
    /// How many rows of the overlay the base does not have.
    added: usize,
    version: u64,
    commitment: Commitment,
}

impl Replica {
    /// Begins a replica from the base of `head`'s epoch. It is then at the base's version, not yet at the head's.
    ///
    /// # Errors
    /// [`Refused`] where the bytes are not that base.
    pub fn load(base: Vec<u8>, head: &Head) -> Result<Self, Refused> {
        let base = Base::load(base, &head.base_root)?;
        let info = base.info();
        let same = info.set == head.set
            && info.workspace == head.workspace
            && info.pepper == head.pepper
            && (info.incarnation, info.epoch, info.version) == (head.incarnation, head.epoch, head.base_version);
        if !same {
            return Err(Refused::OtherSet);
        }
        let version = info.version;
        let profiles = base.profiles().to_vec();
        Ok(Self { base, profiles, overlay: BTreeMap::new(), added: 0, version, commitment: head.base_commitment })
    }

    /// The set's id.
    pub fn set(&self) -> &str {
        &self.base.info().set
    }

    /// The workspace the set belongs to.
    pub fn workspace(&self) -> &str {
        &self.base.info().workspace
    }

    /// How often the set was recovered.
    pub fn incarnation(&self) -> u64 {
        self.base.info().incarnation
    }

    /// The number of its base.
    pub fn epoch(&self) -> u64 {
        self.base.info().epoch
    }

    /// The version it is at.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What the set has been through up to that version.
    pub fn commitment(&self) -> &Commitment {
        &self.commitment
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.base.len() + self.added
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many rows stand beside the base.
    pub fn overlay_len(&self) -> usize {
        self.overlay.len()
    }

    /// Looks a key up.
    ///
    /// # Errors
    /// [`Malformed`] where the row found is not one; the replica is then not fit to answer.
    pub fn lookup(&self, tag: &Tag) -> Result<Option<Record>, Malformed> {
        match self.overlay.get(&tag.0) {
            Some(row) => row::decode(row, self.profiles.len()).map(Some),
            None => self.base.lookup(tag),
        }
    }

    /// A profile, by the number a record gives.
    pub fn profile(&self, number: u32) -> Option<&Profile> {
        self.profiles.get(number as usize)
    }

    /// Its profiles, by number.
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// Applies deltas that lead from this replica's version to `head`'s: all of them, or none.
    ///
    /// # Errors
    /// [`Refused`] where one does not follow on the one before, or they do not lead to the state that `head` signs. The
    /// replica is then as it was.
    pub fn advance(&mut self, deltas: &[Delta], head: &Head) -> Result<(), Refused> {
        self.check(deltas, head)?;
        for delta in deltas {
            self.profiles.extend_from_slice(&delta.profiles);
            for row in &delta.rows {
                let mut tag = [0; TAG_LEN];
                tag.copy_from_slice(&row[..TAG_LEN]);
                let replaced = self.overlay.insert(tag, *row);
                if replaced.is_none() && !matches!(self.base.lookup(&Tag(tag)), Ok(Some(_))) {
                    self.added += 1;
                }
            }
            self.version = delta.info.to;
            self.commitment = delta.to_commitment;
        }
        Ok(())
    }

    fn check(&self, deltas: &[Delta], head: &Head) -> Result<(), Refused> {
        if head.set != self.set() || (head.incarnation, head.epoch) != (self.incarnation(), self.epoch()) {
            return Err(Refused::OtherSet);
        }
        let (mut version, mut commitment, mut profiles) = (self.version, self.commitment, self.profiles.len());
        for delta in deltas {
            let info = &delta.info;
            if info.set != head.set || (info.incarnation, info.epoch) != (head.incarnation, head.epoch) {
                return Err(Refused::OtherSet);
            }
            if info.from != version || delta.first_profile != profiles {
                return Err(Refused::Gap { at: version, offered: info.from });
            }
            if delta.from_commitment != commitment || delta.to_commitment != commitment.then(&delta.link) {
                return Err(Refused::OtherHistory);
            }
            version = info.to;
            commitment = delta.to_commitment;
            profiles += delta.profiles.len();
        }
        if version != head.version {
            return Err(Refused::Gap { at: version, offered: head.version });
        }
        if commitment != head.commitment {
            return Err(Refused::OtherHistory);
        }
        Ok(())
    }
}

/// Why files do not lead to the state that a head signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The next version is missing.
    Gap {
        /// The version reached.
        at: u64,
        /// The version offered instead of the next.
        offered: u64,
    },
    /// The bytes are not the file they should be.
    Malformed(Malformed),
    /// The right version numbers with another history behind them.
    OtherHistory,
    /// A file of another set, incarnation, epoch or pepper.
    OtherSet,
}

impl From<Malformed> for Refused {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { at, offered } => {
                write!(f, "the file offered begins at version {offered}, the replica is at {at}")
            }
            Self::Malformed(error) => error.fmt(f),
            Self::OtherHistory => f.write_str("the file does not follow on what the replica has been through"),
            Self::OtherSet => f.write_str("the file belongs to another set or epoch"),
        }
    }
}

impl core::error::Error for Refused {}
