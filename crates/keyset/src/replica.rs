//! The replica: an edge's copy of a set, in memory.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::base::Found;
use crate::codec::Malformed;
use crate::delta::{Ground, Patch};
use crate::index::BASE_FORMAT;
use crate::layout::Layout;
use crate::overlay::Overlay;
use crate::pepper::Tag;
use crate::rebase::Rebase;
use crate::row::{self, Record};
use crate::{Base, Commitment, Delta, Head, Profile};

/// A base and what has changed since. It is only ever at one of the publisher's versions.
///
/// A changed key of the base is changed in its row, once its segment has been found to be what was signed; before that the
/// change waits in a list that every lookup consults. Added keys are in a table of their own.
pub struct Replica {
    pub(crate) base: Base,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) overlay: Overlay,
    /// Changes of keys whose segment has not been checked, by slot.
    pub(crate) waiting: BTreeMap<u32, Patch>,
    /// [`Base::checks`] when waiting changes were last looked through.
    settled_at: u32,
    pub(crate) version: u64,
    pub(crate) commitment: Commitment,
    pub(crate) rebase: Option<Rebase>,
    /// A lookup found a segment that is not what was signed.
    corrupt: AtomicBool,
    /// A signed delta contradicted itself halfway: nothing here is at any version any more.
    broken: bool,
}

impl Replica {
    /// Begins a replica from the files of `head`'s base. It is then at the base's version, not yet at the head's.
    ///
    /// # Errors
    /// [`Refused`] where the bytes are not that base.
    pub fn load(index: Vec<u8>, parts: Vec<Vec<u8>>, head: &Head) -> Result<Self, Refused> {
        let base = Base::load(index, parts, &head.base_root)?;
        let info = base.info();
        let same = info.set == head.set
            && info.workspace == head.workspace
            && info.pepper == head.pepper
            && (info.incarnation, info.epoch, info.version) == (head.incarnation, head.epoch, head.base_version);
        if !same {
            return Err(Refused::OtherSet);
        }
        let (version, profiles) = (info.version, base.profiles().to_vec());
        Ok(Self {
            base,
            profiles,
            overlay: Overlay::default(),
            waiting: BTreeMap::new(),
            settled_at: 0,
            version,
            commitment: head.base_commitment,
            rebase: None,
            corrupt: AtomicBool::new(false),
            broken: false,
        })
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

    /// The version at which its epoch begins.
    pub fn base_version(&self) -> u64 {
        self.base.info().version
    }

    /// The version it is at.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What the set has been through up to that version.
    pub fn commitment(&self) -> &Commitment {
        &self.commitment
    }

    /// Whether its base has the version of the format that is written now, not the one before.
    pub fn has_current_format(&self) -> bool {
        self.base.index().format() == BASE_FORMAT
    }

    /// How its base is laid out.
    pub fn layout(&self) -> Layout {
        self.base.index().layout()
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.base.len() + self.overlay.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys have been added since the base.
    pub fn overlay_len(&self) -> usize {
        self.overlay.len()
    }

    /// Bytes it takes in memory, but for its profiles.
    pub fn memory(&self) -> usize {
        // What a tree of changes takes is a guess; it holds few, and for a short time.
        self.base.memory() + self.overlay.memory() + self.waiting.len() * 64
    }

    /// Whether a lookup has found bytes that are not what was signed. The base is then to be fetched again.
    pub fn is_corrupt(&self) -> bool {
        self.broken || self.corrupt.load(Ordering::Relaxed)
    }

    /// Looks a key up.
    ///
    /// # Errors
    /// [`Malformed`] where the key's segment is not what was signed; the replica is then not fit to answer for it.
    #[inline]
    pub fn lookup(&self, tag: &Tag) -> Result<Option<Record>, Malformed> {
        if self.broken {
            return Err(Malformed::Order("deltas"));
        }
        let layout = self.layout();
        if self.overlay.len() > 0
            && let Some(record) = self.overlay.get(&layout.cut(tag))
        {
            return Ok(Some(record));
        }
        match self.base.find(layout, &layout.split(tag)) {
            Ok(None) => Ok(None),
            // Nearly always: nothing waits, no rebase is under way.
            Ok(Some((_, row))) if self.waiting.is_empty() && self.rebase.is_none() => {
                row::decode(row, layout.columns(), self.profiles.len()).map(Some)
            }
            Ok(Some((found, _))) => self.base_record(found).map(Some),
            Err(error) => {
                self.corrupt.store(true, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// The state of a key of the base.
    pub(crate) fn base_record(&self, found: Found) -> Result<Record, Malformed> {
        if let Some(rebase) = &self.rebase
            && rebase.has_done(found.segment)
        {
            // Its rows have the numbers of the new base's profiles; here those come after all old ones.
            let mut record = self.base.record(found, rebase.profiles().len())?;
            record.profile += self.profiles.len() as u32;
            return Ok(record);
        }
        let record = self.base.record(found, self.profiles.len())?;
        if self.waiting.is_empty() {
            return Ok(record);
        }
        let slot = self.base.index().rank(found.segment) + found.place as u32;
        Ok(self.waiting.get(&slot).map_or(record, |patch| patch.apply(record)))
    }

    /// A profile, by the number a record gives.
    pub fn profile(&self, number: u32) -> Option<&Profile> {
        let number = number as usize;
        match &self.rebase {
            Some(rebase) if number >= self.profiles.len() => rebase.profiles().get(number - self.profiles.len()),
            _ => self.profiles.get(number),
        }
    }

    /// Its profiles, by number.
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// Every key, in no particular order.
    ///
    /// # Errors
    /// Each item is [`Malformed`] where its segment is not what was signed.
    pub fn iter(&self) -> impl Iterator<Item = Result<(Tag, Record), Malformed>> + '_ {
        let base = self.base.keys().map(|key| {
            let (tag, found) = key?;
            Ok((tag, self.base_record(found)?))
        });
        // A segment that a rebase is done with has its added keys in its rows.
        let layout = self.layout();
        let in_rows = move |tag: &Tag| {
            let segment = layout.segment_of(layout.split(tag).bucket);
            self.rebase.as_ref().is_some_and(|rebase| rebase.has_done(segment))
        };
        base.chain(self.overlay.iter().filter(move |(tag, _)| !in_rows(tag)).map(Ok))
    }

    /// Applies deltas that lead from this replica's version to `head`'s: all of them, or none.
    ///
    /// # Errors
    /// [`Refused`] where one does not follow on the one before, or they do not lead to the state that `head` signs. The
    /// replica is then as it was. Only where a signed delta contradicts itself is it left unfit, and
    /// [`Self::is_corrupt`].
    pub fn advance(&mut self, deltas: &[Delta], head: &Head) -> Result<(), Refused> {
        if head.set != self.set() || (head.incarnation, head.epoch) != (self.incarnation(), self.epoch()) {
            return Err(Refused::OtherSet);
        }
        self.advance_to(deltas, head.version, &head.commitment)
    }

    /// The same, to a version with a commitment that something else vouches for.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub fn advance_to(&mut self, deltas: &[Delta], version: u64, commitment: &Commitment) -> Result<(), Refused> {
        self.check(deltas, version, commitment)?;
        self.settle();
        for delta in deltas {
            if let Err(error) = self.apply(delta) {
                self.broken = true;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Says that this replica is at no version any more and answers nothing.
    pub(crate) fn set_broken(&mut self) {
        self.broken = true;
    }

    /// The state that a delta to be applied here names keys by.
    pub(crate) fn ground(&self) -> Ground {
        let layout = self.layout();
        Ground {
            base: self.base.len() as u32,
            added: self.overlay.len() as u32,
            profiles: self.profiles.len() as u32,
            tag_bits: layout.tag_bits() as u8,
            columns: layout.columns(),
        }
    }

    fn check(&self, deltas: &[Delta], to: u64, end: &Commitment) -> Result<(), Refused> {
        if self.rebase.is_some() || self.broken {
            return Err(Refused::OtherSet);
        }
        let (mut version, mut commitment, mut ground) = (self.version, self.commitment, self.ground());
        for delta in deltas {
            let info = delta.info();
            if info.set != self.set() || (info.incarnation, info.epoch) != (self.incarnation(), self.epoch()) {
                return Err(Refused::OtherSet);
            }
            if info.from != version {
                return Err(Refused::Gap { at: version, offered: info.from });
            }
            let level_0_breaks = info.to == version + 1 && *delta.to_commitment() != commitment.then(delta.link());
            if *delta.from_commitment() != commitment || level_0_breaks || *delta.ground() != ground {
                return Err(Refused::OtherHistory);
            }
            (version, commitment) = (info.to, *delta.to_commitment());
            ground.added += delta.additions() as u32;
            ground.profiles += delta.new_profiles().len() as u32;
        }
        if version != to {
            return Err(Refused::Gap { at: version, offered: to });
        }
        if commitment != *end { Err(Refused::OtherHistory) } else { Ok(()) }
    }

    /// Writes waiting changes into the segments that have been checked meanwhile.
    fn settle(&mut self) {
        let checks = self.base.checks();
        if self.waiting.is_empty() || core::mem::replace(&mut self.settled_at, checks) == checks {
            return;
        }
        // Those that wait on come back: taking single ones out would cost an edge kilobytes of code.
        for (slot, patch) in core::mem::take(&mut self.waiting) {
            self.patch_base(slot, &patch);
        }
    }

    /// Changes a key of the base, now or when its segment is checked. False where its row is none.
    fn patch_base(&mut self, slot: u32, patch: &Patch) -> bool {
        let found = self.base.slot(slot);
        if !self.base.is_checked(found.segment) {
            let waiting = self.waiting.entry(slot).or_default();
            *waiting = waiting.then(patch);
            return true;
        }
        let columns = self.layout().columns();
        let Ok(record) = self.base.record(found, self.profiles.len()) else { return false };
        row::encode(&patch.apply(record), columns, self.base.row_mut(found));
        true
    }

    fn apply(&mut self, delta: &Delta) -> Result<(), Malformed> {
        self.profiles.extend_from_slice(delta.new_profiles());
        for (number, profile) in delta.replaced_profiles() {
            let held = self.profiles.get_mut(*number as usize).ok_or(Malformed::Value("profiles"))?;
            if held.live != profile.live || held.environment != profile.environment {
                return Err(Malformed::Value("profiles"));
            }
            *held = profile.clone();
        }
        let mut sound = true;
        delta.base_changes(|slot, patch| sound &= self.patch_base(slot, &patch));
        delta.added_changes(|batch| {
            let mut ranks = self.overlay.ranks();
            let places: Vec<_> = batch.iter().map(|(rank, _)| ranks.place(*rank)).collect();
            for (place, (_, patch)) in places.into_iter().zip(batch) {
                match place.and_then(|place| Some((place, self.overlay.at(place)?.1))) {
                    Some((place, record)) => self.overlay.replace(place, &patch.apply(record)),
                    None => sound = false,
                }
            }
        });
        delta.each_addition(|tag, record| sound &= self.overlay.insert(&tag, &record));
        if !sound {
            return Err(Malformed::Order("delta"));
        }
        (self.version, self.commitment) = (delta.info().to, *delta.to_commitment());
        Ok(())
    }
}

impl Clone for Replica {
    fn clone(&self) -> Self {
        Self {
            base: self.base.clone(),
            profiles: self.profiles.clone(),
            overlay: self.overlay.clone(),
            waiting: self.waiting.clone(),
            settled_at: self.settled_at,
            version: self.version,
            commitment: self.commitment,
            rebase: self.rebase.clone(),
            corrupt: AtomicBool::new(self.corrupt.load(Ordering::Relaxed)),
            broken: self.broken,
        }
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
    /// Built here from the epoch before, the base does not have the root that the head signs.
    OtherBase,
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
            Self::OtherBase => f.write_str("the base built here is not the one that was signed"),
            Self::OtherHistory => f.write_str("the file does not follow on what the replica has been through"),
            Self::OtherSet => f.write_str("the file belongs to another set or epoch"),
        }
    }
}

impl core::error::Error for Refused {}
