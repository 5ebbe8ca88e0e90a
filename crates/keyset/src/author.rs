//! The publisher's side: from changes of keys to the deltas of every level, and from an epoch to the next.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use nightlatch_key::Environment;

use crate::codec::Malformed;
use crate::delta::{
    DEADLINE, DELTA_FORMAT, DELTA_FORMAT_BEFORE, DeltaInfo, Ground, PROFILE, Patch, STATUS, SUBJECT, Statement,
};
use crate::encode::{DeltaDraft, mask};
use crate::note::Signer;
use crate::pepper::Tag;
use crate::profile::ProfileTable;
use crate::replica::Replica;
use crate::row::{Change, stored_deadline};
use crate::{Commitment, Delta, FileName, Hash, Profile, Record, Refused, levels};

/// A replica of what has been published in an epoch, and what it takes to publish more.
///
/// It makes the same files from the same changes, always, and it takes every file over as an edge would before it hands
/// the file out.
#[derive(Clone)]
pub struct Author {
    pub(crate) replica: Replica,
    table: ProfileTable,
    /// What each delta of the epoch has changed, in order.
    windows: Vec<Window>,
    /// At which version a key was added.
    added_at: BTreeMap<Tag, u64>,
    delta_bytes: u64,
}

/// What changed from one version to another.
#[derive(Clone)]
struct Window {
    from: u64,
    /// The commitment there.
    commitment: Commitment,
    /// Profiles there.
    profiles: u32,
    replaced_profiles: Vec<u32>,
    /// Which fields of which keys.
    of_base: Vec<(u32, u8)>,
    of_added: Vec<(Tag, u8)>,
    additions: Vec<Tag>,
}

/// A delta of level 0.
#[derive(Clone, Debug)]
pub struct Authored {
    /// Its name.
    pub name: FileName,
    /// The file.
    pub bytes: Vec<u8>,
    /// The hash of its body: the link of its version.
    pub link: Hash,
    /// The commitment it leads to.
    pub commitment: Commitment,
    /// How many keys it changes or adds.
    pub changes: u64,
}

impl Author {
    /// Goes on from a replica that is at its base's version.
    ///
    /// # Errors
    /// [`Malformed`] where it is not, or a profile is there twice.
    pub fn new(replica: Replica) -> Result<Self, Malformed> {
        if replica.version() != replica.base_version() || replica.overlay_len() > 0 {
            return Err(Malformed::Value("version"));
        }
        let table = ProfileTable::of(replica.profiles())?;
        Ok(Self { replica, table, windows: Vec::new(), added_at: BTreeMap::new(), delta_bytes: 0 })
    }

    /// What edges have at the current version.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Bytes of the deltas that were taken over in this epoch.
    pub fn delta_bytes(&self) -> u64 {
        self.delta_bytes
    }

    /// Takes over a published delta, of any level, that leads on from here. `len` is the bytes of its file.
    ///
    /// # Errors
    /// [`Refused`] where it does not lead on. This author is then as it was.
    pub fn replay(&mut self, delta: &Delta, len: usize) -> Result<(), Refused> {
        let info = delta.info();
        let mut window = Window {
            from: info.from,
            commitment: *delta.from_commitment(),
            profiles: delta.ground().profiles,
            replaced_profiles: delta.replaced_profiles().iter().map(|(number, _)| *number).collect(),
            of_base: Vec::new(),
            of_added: Vec::new(),
            additions: Vec::new(),
        };
        delta.base_changes(|slot, patch| window.of_base.push((slot, mask(&patch))));
        delta.added_changes(|batch| {
            let mut ranks = self.replica.overlay.ranks();
            for (rank, patch) in batch {
                if let Some((tag, _)) = ranks.place(*rank).and_then(|place| self.replica.overlay.at(place)) {
                    window.of_added.push((tag, mask(patch)));
                }
            }
        });
        delta.each_addition(|tag, _| window.additions.push(tag));
        self.replica.advance_to(core::slice::from_ref(delta), info.to, delta.to_commitment())?;
        for profile in delta.new_profiles() {
            self.table.add(profile)?;
        }
        self.added_at.extend(window.additions.iter().map(|tag| (*tag, info.to)));
        self.windows.push(window);
        self.delta_bytes += len as u64;
        Ok(())
    }

    /// Makes the delta to the next version, and goes there. Of several changes of one key the last counts; what changes
    /// nothing is left out. `live` are live profiles whose contents may have changed; those that no key has are passed over.
    ///
    /// # Errors
    /// [`Malformed`] where a change cannot be encoded or contradicts what is known of a key, or the delta would be longer
    /// than a file may be. Nothing is changed then.
    pub fn next(&mut self, changes: &[Change<'_>], live: &[Profile], signer: &Signer) -> Result<Authored, Malformed> {
        let body = self.draft(changes, live)?.encode(DELTA_FORMAT)?;
        self.go(DELTA_FORMAT, &body, signer)
    }

    /// Makes a delta again that [`Self::next`] has made before, here or in the program of the format before: whichever of
    /// the two formats gives the link that was signed. `None` where neither does; this author is then as it was.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn again(
        &mut self,
        changes: &[Change<'_>],
        live: &[Profile],
        link: &Hash,
        signer: &Signer,
    ) -> Result<Option<Authored>, Malformed> {
        let draft = self.draft(changes, live)?;
        for format in [DELTA_FORMAT, DELTA_FORMAT_BEFORE] {
            let body = draft.encode(format)?;
            if Hash::of(&body) == *link {
                return self.go(format, &body, signer).map(Some);
            }
        }
        Ok(None)
    }

    /// What leads to the next version.
    fn draft(&self, changes: &[Change<'_>], live: &[Profile]) -> Result<DeltaDraft, Malformed> {
        let mut draft = DeltaDraft::new(self.replica.ground());
        // Of several contents of one live profile, too, the last count.
        let mut contents = BTreeMap::new();
        for profile in live.iter().chain(changes.iter().map(|change| change.profile)) {
            if let Some(subject) = profile.live {
                contents.insert((subject, profile.environment == Environment::Test), profile);
            }
        }
        for profile in contents.values() {
            if let Some(number) = self.table.number(profile)?
                && self.replica.profile(number) != Some(profile)
            {
                draft.replaced_profiles.insert(number, (*profile).clone());
            }
        }
        let layout = self.replica.layout();
        let latest: BTreeMap<Tag, &Change<'_>> =
            changes.iter().map(|change| (layout.cut(&change.tag), change)).collect();
        // Numbers go to new profiles in the order of their bytes.
        let mut new = ProfileTable::default();
        let profiles = latest.values().map(|change| match change.profile.live {
            Some(subject) => contents[&(subject, change.profile.environment == Environment::Test)],
            None => change.profile,
        });
        draft.new_profiles = self.unknown_profiles(profiles)?;
        draft.new_profiles.iter().try_for_each(|profile| new.add(profile).map(drop))?;
        let number = |profile: &Profile| match self.table.number(profile)? {
            Some(number) => Ok(number),
            None => {
                let number = new.number(profile)?.ok_or(Malformed::Value("profile"))?;
                Ok::<_, Malformed>(number + self.replica.profiles().len() as u32)
            }
        };
        let mut of_added = BTreeMap::new();
        for (tag, change) in latest {
            let record = change.record(number(change.profile)?).cut(layout.columns());
            if record.foreign && !layout.columns().number {
                return Err(Malformed::Value("columns"));
            }
            if let Some((found, _)) = self.replica.base.find(layout, &layout.split(&tag))? {
                let patch = difference(&self.replica.base_record(found)?, &record)?;
                let slot = self.replica.base.index().rank(found.segment) + found.place as u32;
                if patch != Patch::default() {
                    draft.change_base(slot, patch);
                }
            } else if let Some(held) = self.replica.overlay.get(&tag) {
                let patch = difference(&held, &record)?;
                if patch != Patch::default() {
                    of_added.insert(tag, patch);
                }
            } else {
                draft.additions.insert(tag, record);
            }
        }
        if !of_added.is_empty() {
            for (rank, (tag, _)) in self.replica.overlay.iter().enumerate() {
                if let Some(patch) = of_added.get(&tag) {
                    draft.change_added(rank as u32, *patch);
                }
            }
        }

        Ok(draft)
    }

    /// Signs a delta with that body, and goes where it leads.
    fn go(&mut self, format: u16, body: &[u8], signer: &Signer) -> Result<Authored, Malformed> {
        let version = self.replica.version();
        let link = Hash::of(body);
        let commitment = self.replica.commitment().then(&link);
        let bytes = self.file(format, (version, version + 1), (*self.replica.commitment(), commitment), body, signer);
        // What edges will do with the file, done here before anybody sees it.
        let delta = Delta::open(&bytes, &[signer.verifier()])?;
        self.replay(&delta, bytes.len()).map_err(|error| match error {
            Refused::Malformed(error) => error,
            _ => Malformed::Value("delta"),
        })?;
        let name = self.name(version, version + 1);
        Ok(Authored { name, bytes, link, commitment, changes: delta.len() as u64 })
    }

    /// Those of the profiles that have no number yet, in the order of their bytes.
    fn unknown_profiles<'p>(&self, profiles: impl Iterator<Item = &'p Profile>) -> Result<Vec<Profile>, Malformed> {
        let mut unknown: BTreeMap<Vec<u8>, &Profile> = BTreeMap::new();
        for profile in profiles {
            if self.table.number(profile)?.is_none() {
                unknown.insert(profile.encode()?, profile);
            }
        }
        Ok(unknown.into_values().cloned().collect())
    }

    /// The deltas of higher levels that end at the current version.
    ///
    /// # Errors
    /// [`Malformed`] where a delta cannot be encoded.
    pub fn levels(&self, signer: &Signer) -> Result<Vec<(FileName, Vec<u8>)>, Malformed> {
        let (base, to) = (self.replica.base_version(), self.replica.version());
        levels::levels_at(to - base).skip(1).map(|(from, _)| self.level(base + from, signer)).collect()
    }

    /// The delta from an earlier version to the current one.
    fn level(&self, from: u64, signer: &Signer) -> Result<(FileName, Vec<u8>), Malformed> {
        let to = self.replica.version();
        let first = self.windows.partition_point(|window| window.from < from);
        let windows = &self.windows[first..];
        let (mut of_base, mut of_added) = (BTreeMap::<u32, u8>::new(), BTreeMap::<Tag, u8>::new());
        let (mut additions, mut replaced) = (BTreeSet::new(), BTreeSet::new());
        for window in windows {
            window.of_base.iter().for_each(|(slot, mask)| *of_base.entry(*slot).or_default() |= mask);
            window.of_added.iter().for_each(|(tag, mask)| *of_added.entry(*tag).or_default() |= mask);
            additions.extend(window.additions.iter().copied());
            replaced.extend(window.replaced_profiles.iter().copied());
        }
        let start = windows.first().filter(|window| window.from == from).ok_or(Malformed::Value("version"))?;
        let profiles = start.profiles;
        let ground =
            Ground { added: (self.replica.overlay_len() - additions.len()) as u32, profiles, ..self.replica.ground() };
        let mut draft = DeltaDraft::new(ground);
        draft.new_profiles = self.replica.profiles()[profiles as usize..].to_vec();
        for number in replaced.into_iter().filter(|&number| number < profiles) {
            if let Some(profile) = self.replica.profile(number) {
                draft.replaced_profiles.insert(number, profile.clone());
            }
        }
        for (slot, mask) in of_base {
            let record = self.replica.base_record(self.replica.base.slot(slot))?;
            draft.change_base(slot, current(&record, mask));
        }
        of_added.retain(|tag, _| !additions.contains(tag));
        if !of_added.is_empty() {
            let before =
                self.replica.overlay.iter().filter(|(tag, _)| self.added_at.get(tag).is_none_or(|at| *at <= from));
            for (rank, (tag, record)) in before.enumerate() {
                if let Some(mask) = of_added.get(&tag) {
                    draft.change_added(rank as u32, current(&record, *mask));
                }
            }
        }
        for tag in additions {
            if let Some(record) = self.replica.overlay.get(&tag) {
                draft.additions.insert(tag, record);
            }
        }
        let body = draft.encode(DELTA_FORMAT)?;
        let ends = (start.commitment, *self.replica.commitment());
        let bytes = self.file(DELTA_FORMAT, (from, to), ends, &body, signer);
        Ok((self.name(from, to), bytes))
    }

    fn file(
        &self,
        format: u16,
        (from, to): (u64, u64),
        commitments: (Commitment, Commitment),
        body: &[u8],
        signer: &Signer,
    ) -> Vec<u8> {
        let statement = Statement {
            format,
            info: DeltaInfo {
                set: self.replica.set().into(),
                incarnation: self.replica.incarnation(),
                epoch: self.replica.epoch(),
                from,
                to,
            },
            from_commitment: commitments.0,
            to_commitment: commitments.1,
        };
        let note = signer.sign(&statement.to_text(&Hash::of(body)));
        let mut file = Vec::with_capacity(4 + note.len() + body.len());
        file.extend_from_slice(&(note.len() as u32).to_le_bytes());
        file.extend_from_slice(note.as_bytes());
        file.extend_from_slice(body);
        file
    }

    fn name(&self, from: u64, to: u64) -> FileName {
        FileName::Delta { incarnation: self.replica.incarnation(), epoch: self.replica.epoch(), from, to }
    }
}

/// What leads from one state of a key to another.
fn difference(from: &Record, to: &Record) -> Result<Patch, Malformed> {
    if from.foreign != to.foreign || from.number != to.number {
        return Err(Malformed::Value("key number"));
    }
    let (before, after) = (stored_deadline(from.deadline), stored_deadline(to.deadline));
    Ok(Patch {
        status: (from.status != to.status).then_some(to.status),
        deadline: (before != after).then_some(after),
        profile: (from.profile != to.profile).then_some(to.profile),
        subject: (from.subject != to.subject).then_some(to.subject),
    })
}

/// Those fields of a key as they are now.
fn current(record: &Record, mask: u8) -> Patch {
    Patch {
        status: (mask & STATUS != 0).then_some(record.status),
        deadline: (mask & DEADLINE != 0).then(|| stored_deadline(record.deadline)),
        profile: (mask & PROFILE != 0).then_some(record.profile),
        subject: (mask & SUBJECT != 0).then_some(record.subject),
    }
}
