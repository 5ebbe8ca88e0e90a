//! Building the next epoch's base from the one at hand, a segment at a time, while it goes on answering.

use alloc::vec::Vec;
use core::mem;
use core::sync::atomic::AtomicBool;

use crate::base::Block;
use crate::bits::{BitReader, BitWriter};
use crate::codec::{Malformed, Reader, put_id};
use crate::fold::{Plan, merge};
use crate::index::{Index, IndexDraft, leaf_hash};
use crate::layout::{Columns, Layout};
use crate::overlay::Overlay;
use crate::pepper::Tag;
use crate::replica::Replica;
use crate::row::MAX_PROFILES;
use crate::{BaseInfo, Commitment, Hash, Head, Profile, Refused};

/// The version of the record's format.
pub const REBASE_FORMAT: u16 = 1;

const MAGIC: &[u8; 6] = b"NLRBSE";

/// A rebase record: how a base follows from the last version of the epoch before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) set: alloc::string::String,
    pub(crate) incarnation: u64,
    pub(crate) epoch: u64,
    pub(crate) version: u64,
    pub(crate) cutoff: u64,
    /// c of the version before.
    pub(crate) before: Commitment,
    /// Keys of the old base, keys added since, old profiles, new profiles.
    pub(crate) old: [u32; 3],
    pub(crate) new_profiles: u32,
    pub(crate) layout: Layout,
    pub(crate) keys: u32,
    pub(crate) removed_slots: Vec<u32>,
    pub(crate) removed_ranks: Vec<u32>,
    pub(crate) profiles: Vec<Option<u32>>,
}

impl Record {
    /// The record's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&REBASE_FORMAT.to_le_bytes());
        for number in [self.incarnation, self.epoch, self.version, self.cutoff] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.before.0.0);
        for number in self.old.iter().chain([&self.new_profiles]) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&[self.layout.bucket_bits(), self.layout.columns().code(), 0, 0]);
        out.extend_from_slice(&self.keys.to_le_bytes());
        put_id(&mut out, &self.set);
        let mut bits = BitWriter::default();
        for removed in [&self.removed_slots, &self.removed_ranks] {
            bits.count(removed.len());
            if !removed.is_empty() {
                bits.ascending(removed);
            }
        }
        for new in &self.profiles {
            bits.bits(u64::from(new.is_some()), 1);
            if let Some(number) = new {
                bits.bits(u64::from(*number), self.profile_width());
            }
        }
        out.extend_from_slice(&bits.finish());
        out
    }

    /// Reads a record. It allocates less than 65 times its bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if &reader.array::<6>("record")? != MAGIC {
            return Err(Malformed::Magic);
        }
        match reader.u16("record")? {
            REBASE_FORMAT => {}
            other => return Err(Malformed::Version(other)),
        }
        let (incarnation, epoch) = (reader.u64("record")?, reader.u64("record")?);
        let (version, cutoff) = (reader.u64("record")?, reader.u64("record")?);
        let before = Commitment(Hash(reader.array("record")?));
        let old = [reader.u32("record")?, reader.u32("record")?, reader.u32("record")?];
        let new_profiles = reader.u32("record")?;
        let bucket_bits = reader.u8("record")?;
        let columns = Columns::from_code(reader.u8("record")?).ok_or(Malformed::Value("columns"))?;
        let layout = Layout::new(bucket_bits, columns)?;
        reader.zeros(2, "record")?;
        let keys = reader.u32("record")?;
        let set = reader.id("set id")?;
        if old[2] as usize > MAX_PROFILES || new_profiles > old[2] {
            return Err(Malformed::Value("profiles"));
        }
        let mut bits = BitReader::new(reader.take(reader.len(), "record")?);
        let mut removed = |limit| {
            let count = bits.count("removed keys")?;
            let mut numbers = Vec::with_capacity(count);
            if count > 0 {
                bits.ascending(count, limit, "removed keys", |number| numbers.push(number))?;
            }
            Ok::<_, Malformed>(numbers)
        };
        let (removed_slots, removed_ranks) = (removed(old[0])?, removed(old[1])?);
        let mut this = Self {
            set,
            incarnation,
            epoch,
            version,
            cutoff,
            before,
            old,
            new_profiles,
            layout,
            keys,
            removed_slots,
            removed_ranks,
            profiles: Vec::new(),
        };
        if u64::from(old[2]) > bits.left() {
            return Err(Malformed::Truncated("profiles"));
        }
        this.profiles.reserve_exact(old[2] as usize);
        for _ in 0..old[2] {
            let kept = bits.bits(1, "profiles")? == 1;
            let number = if kept { Some(bits.bits(this.profile_width(), "profiles")? as u32) } else { None };
            if number.is_some_and(|number| number >= new_profiles) {
                return Err(Malformed::Value("profiles"));
            }
            this.profiles.push(number);
        }
        bits.finish("record")?;
        Ok(this)
    }

    /// Bits of a new profile's number.
    fn profile_width(&self) -> u32 {
        32 - self.new_profiles.saturating_sub(1).leading_zeros()
    }
}

/// A rebase under way. Segments are done from the first to the last: what a done one gives back lies right behind what was
/// left over before it, and so has room for the next, which is a little larger. In the other direction every second one
/// would find two holes too small for it.
#[derive(Clone)]
pub(crate) struct Rebase {
    info: BaseInfo,
    plan: Plan,
    profiles: Vec<Profile>,
    root: Hash,
    commitment: Commitment,
    /// Segments that are done.
    done: usize,
    /// A segment that is merged and not yet hashed.
    merged: Option<(Vec<u8>, Vec<u8>)>,
    lens: Vec<u32>,
    leaves: Vec<[u8; 32]>,
}

impl Rebase {
    /// Whether a segment is in its new form.
    pub(crate) fn has_done(&self, segment: usize) -> bool {
        segment < self.done
    }

    /// The new base's profiles.
    pub(crate) fn profiles(&self) -> &[Profile] {
        &self.profiles
    }
}

impl Replica {
    /// Begins to build the base of `head`'s epoch here, as the record says. This replica must be at the last version of the
    /// epoch before. It goes on answering from that version, only that keys which the record removes leave one after the other;
    /// [`Self::rebase_step`] does the work.
    ///
    /// # Errors
    /// [`Refused`] where the record is not the one that `head` signs, or does not begin here. Nothing is changed then.
    pub fn begin_rebase(&mut self, record: &[u8], head: &Head) -> Result<(), Refused> {
        let signed = head.rebase.is_some_and(|(hash, len)| len == record.len() as u64 && hash == Hash::of(record));
        if !signed {
            return Err(Refused::Malformed(Malformed::Hash("the rebase record")));
        }
        let record = Record::decode(record)?;
        let leads = record.set == head.set
            && (record.incarnation, record.epoch, record.version) == (head.incarnation, head.epoch, head.base_version)
            && self.commitment.then(&head.base_root) == head.base_commitment;
        let ground = self.ground();
        let begins = head.set == self.set()
            && head.workspace == self.workspace()
            && head.pepper == self.base.info().pepper
            && (record.incarnation, record.epoch, record.version)
                == (self.incarnation(), self.epoch() + 1, self.version + 1)
            && record.before == self.commitment
            && record.old == [ground.base, ground.added, ground.profiles]
            && record.layout == self.layout();
        if !leads || !begins || self.rebase.is_some() || self.is_corrupt() {
            return Err(Refused::OtherHistory);
        }
        let mut profiles: Vec<Option<Profile>> = Vec::new();
        profiles.resize_with(record.new_profiles as usize, || None);
        for (profile, number) in self.profiles.iter().zip(&record.profiles) {
            if let Some(number) = number {
                profiles[*number as usize] = Some(profile.clone());
            }
        }
        let profiles = profiles.into_iter().collect::<Option<Vec<_>>>().ok_or(Malformed::Value("profiles"))?;
        let mut ranks = self.overlay.ranks();
        let removed_added = record.removed_ranks.iter().map(|rank| Some(self.overlay.at(ranks.place(*rank)?)?.0));
        let removed_added = removed_added.collect::<Option<Vec<Tag>>>().ok_or(Malformed::Value("removed keys"))?;
        let segments = self.layout().segments();
        self.rebase = Some(Rebase {
            info: BaseInfo {
                set: head.set.clone(),
                workspace: head.workspace.clone(),
                pepper: head.pepper.clone(),
                incarnation: record.incarnation,
                epoch: record.epoch,
                version: record.version,
                cutoff: record.cutoff,
            },
            plan: Plan { removed_slots: record.removed_slots, removed_added, profiles: record.profiles },
            profiles,
            root: head.base_root,
            commitment: head.base_commitment,
            done: 0,
            merged: None,
            lens: Vec::with_capacity(segments),
            leaves: Vec::with_capacity(segments),
        });
        Ok(())
    }

    /// Whether a rebase is under way.
    pub fn is_rebasing(&self) -> bool {
        self.rebase.is_some()
    }

    /// Does one bounded piece of a rebase: a segment is checked, merged, or hashed and put in place. True once the new base
    /// is whole and its root the one that was signed; the replica is then at its version.
    ///
    /// # Errors
    /// [`Refused`] where it comes out otherwise: this replica is then [corrupt](Self::is_corrupt), and the base is to be
    /// fetched.
    pub fn rebase_step(&mut self) -> Result<bool, Refused> {
        let Some(rebase) = &mut self.rebase else { return Ok(true) };
        let segment = rebase.done;
        let outcome = if segment == self.base.index().layout().segments() {
            self.conclude_rebase()
        } else if let Some((block, directory)) = rebase.merged.take() {
            rebase.leaves.push(leaf_hash(segment, &directory, &block));
            rebase.lens.push((block.len() / self.base.index().layout().block_len(1)) as u32);
            rebase.done += 1;
            self.base.replace_segment(segment, block, &directory);
            Ok(false)
        } else if self.base.is_checked(segment) {
            self.merge_segment(segment)
        } else {
            self.base.check_segment(segment).map(|()| false).map_err(Refused::from)
        };
        if outcome.is_err() {
            self.set_broken();
        }
        outcome
    }

    fn merge_segment(&mut self, segment: usize) -> Result<bool, Refused> {
        let Some(rebase) = &self.rebase else { return Ok(true) };
        let merged = merge(self, &rebase.plan, segment)?;
        if let Some(rebase) = &mut self.rebase {
            rebase.merged = Some(merged);
        }
        Ok(false)
    }

    fn conclude_rebase(&mut self) -> Result<bool, Refused> {
        let Some(mut rebase) = self.rebase.take() else { return Ok(true) };
        let mut profiles = Vec::new();
        for profile in &rebase.profiles {
            profiles.extend_from_slice(&profile.encode()?);
        }
        let draft = IndexDraft {
            format: self.base.index().format(),
            info: &rebase.info,
            layout: self.layout(),
            profile_count: rebase.profiles.len(),
            profiles: &profiles,
            lens: &rebase.lens,
            leaves: &rebase.leaves,
            directory: self.base.index().whole_directory(),
        };
        let (bytes, root) = draft.encode()?;
        if root != rebase.root {
            return Err(Refused::OtherBase);
        }
        self.base.index = Index::open(bytes, &root)?;
        self.profiles = mem::take(&mut rebase.profiles);
        self.overlay = Overlay::default();
        self.waiting.clear();
        (self.version, self.commitment) = (rebase.info.version, rebase.commitment);
        Ok(true)
    }
}

impl crate::Base {
    /// Puts a segment's new block in place of the old one, and lets go of the piece that was in once no other segment is.
    fn replace_segment(&mut self, segment: usize, block: Vec<u8>, directory: &[u8]) {
        let keys = (block.len() / self.index.layout().block_len(1)) as u32;
        let Block { piece, .. } = self.blocks[segment];
        self.index.directory_mut(segment).copy_from_slice(directory);
        let needed = self.blocks.get(segment + 1).is_some_and(|next| next.piece == piece);
        let number = match self.pieces.get_mut(piece as usize) {
            Some(old) if !needed => {
                *old = block;
                piece
            }
            _ => {
                self.pieces.push(block);
                self.pieces.len() as u32 - 1
            }
        };
        self.blocks[segment] = Block { piece: number, at: 0, keys, checked: AtomicBool::new(true) };
    }
}
