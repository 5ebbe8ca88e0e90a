//! Writing the body of a delta.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::bits::BitWriter;
use crate::codec::Malformed;
use crate::delta::{DEADLINE, Ground, MAGIC, PROFILE, Patch, STATUS, SUBJECT};
use crate::pepper::Tag;
use crate::profile::Profile;
use crate::row::{PROFILE_BITS, Record, Status, stored_deadline};

/// Changes of the same fields, to the same status, by slot or rank.
type Groups = BTreeMap<(u8, Option<u32>), BTreeMap<u32, Patch>>;

/// What a delta is written from.
pub(crate) struct DeltaDraft {
    pub(crate) ground: Ground,
    pub(crate) new_profiles: Vec<Profile>,
    pub(crate) replaced_profiles: BTreeMap<u32, Profile>,
    of_base: Groups,
    of_added: Groups,
    pub(crate) additions: BTreeMap<Tag, Record>,
}

impl DeltaDraft {
    pub(crate) fn new(ground: Ground) -> Self {
        Self {
            ground,
            new_profiles: Vec::new(),
            replaced_profiles: BTreeMap::new(),
            of_base: Groups::new(),
            of_added: Groups::new(),
            additions: BTreeMap::new(),
        }
    }

    /// Adds the change of a base key.
    pub(crate) fn change_base(&mut self, slot: u32, patch: Patch) {
        self.of_base.entry(kind(&patch)).or_default().insert(slot, patch);
    }

    /// Adds the change of a key that was added since the base.
    pub(crate) fn change_added(&mut self, rank: u32, patch: Patch) {
        self.of_added.entry(kind(&patch)).or_default().insert(rank, patch);
    }

    /// The body's bytes, in a version of the format.
    pub(crate) fn encode(&self, format: u16) -> Result<Vec<u8>, Malformed> {
        let mut profiles = Vec::new();
        for profile in &self.new_profiles {
            profiles.extend_from_slice(&profile.encode()?);
        }
        for (number, profile) in &self.replaced_profiles {
            profiles.extend_from_slice(&number.to_le_bytes());
            profiles.extend_from_slice(&profile.encode()?);
        }
        let len = |len: usize| u32::try_from(len).map_err(|_| Malformed::Value("profiles"));
        let Ground { base, added, profiles: before, tag_bits, columns } = self.ground;
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&format.to_le_bytes());
        for number in [base, added, before] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&[tag_bits, columns.code(), 0, 0]);
        for number in [len(self.new_profiles.len())?, len(self.replaced_profiles.len())?, len(profiles.len())?] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&profiles);
        let mut bits = BitWriter::default();
        put_groups(&mut bits, &self.of_base);
        put_groups(&mut bits, &self.of_added);
        self.put_additions(&mut bits);
        out.extend_from_slice(&bits.finish());
        Ok(out)
    }

    fn put_additions(&self, bits: &mut BitWriter) {
        bits.count(self.additions.len());
        if self.additions.is_empty() {
            return;
        }
        let highs = self.additions.keys().map(|tag| tag.words().0);
        let before = core::iter::once(0).chain(highs.clone());
        let gaps: Vec<u64> = highs.zip(before).map(|(high, before)| high - before).collect();
        let spare = u32::from(self.ground.tag_bits) - 128;
        let lows = self.additions.keys().map(|tag| (tag.words().1, u64::from(tag.words().2) >> (8 - spare)));
        bits.tags(&gaps, lows, spare);
        let records = || self.additions.values();
        bits.frame(2, records().map(|record| record.status.code()));
        bits.frame(1, records().map(|record| u32::from(record.foreign)));
        let deadlines = || records().map(|record| stored_deadline(record.deadline));
        deadlines().for_each(|deadline| bits.bits(u64::from(deadline != 0), 1));
        bits.frame(32, deadlines().filter(|&deadline| deadline != 0));
        bits.frame(PROFILE_BITS, records().map(|record| record.profile));
        if self.ground.columns.subject {
            bits.frame(32, records().map(|record| record.subject));
        }
        if self.ground.columns.number {
            bits.frame(32, records().map(|record| record.number));
        }
    }
}

/// What a patch sets: its mask, and the status it sets.
fn kind(patch: &Patch) -> (u8, Option<u32>) {
    (mask(patch), patch.status.map(Status::code))
}

/// Which fields a patch sets.
pub(crate) fn mask(patch: &Patch) -> u8 {
    let set = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
    set(patch.status.is_some(), STATUS)
        | set(patch.deadline.is_some(), DEADLINE)
        | set(patch.profile.is_some(), PROFILE)
        | set(patch.subject.is_some(), SUBJECT)
}

fn put_groups(bits: &mut BitWriter, groups: &Groups) {
    bits.count(groups.len());
    for ((mask, status), patches) in groups {
        bits.bits(u64::from(*mask), 4);
        if let Some(status) = status {
            bits.bits(u64::from(*status), 2);
        }
        bits.count(patches.len());
        let keys: Vec<u32> = patches.keys().copied().collect();
        bits.ascending(&keys);
        let column = |of: fn(&Patch) -> Option<u32>| patches.values().filter_map(of);
        bits.frame(32, column(|patch| patch.deadline));
        bits.frame(PROFILE_BITS, column(|patch| patch.profile));
        bits.frame(32, column(|patch| patch.subject));
    }
}
