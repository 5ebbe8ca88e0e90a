//! From the last version of an epoch to the base of the next, in memory.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use crate::author::Author;
use crate::build::BaseBuilder;
use crate::codec::Malformed;
use crate::fold::{Plan, merge};
use crate::index::BASE_FORMAT;
use crate::layout::Layout;
use crate::pepper::Tag;
use crate::rebase;
use crate::row::Change;
use crate::segment::{Assembler, BaseFiles};
use crate::{BaseInfo, Record};

/// The next base, and how replicas get there by themselves.
#[derive(Clone, Debug)]
pub struct Rebased {
    /// The base's files.
    pub files: BaseFiles,
    /// The rebase record; `None` where another layout or format makes the base one that has to be fetched.
    pub record: Option<Vec<u8>>,
}

impl Author {
    /// Folds everything that has changed in this epoch into a base, which is the next version and changes no key; but keys
    /// whose deadline was before `cutoff`, in unix seconds, and those that `ended` names are left out, as are profiles that
    /// no key has.
    ///
    /// # Errors
    /// [`Malformed`] where a segment of the base at hand is not what was signed, or there are too many keys.
    pub fn rebase(&self, cutoff: u64, layout: Layout, ended: &BTreeSet<Tag>) -> Result<Rebased, Malformed> {
        let replica = &self.replica;
        let info = self.next_base(cutoff);
        let sorted = self.sort_out(cutoff, ended)?;
        // A replica's own next base has the format and the layout of the one at hand.
        if layout != replica.layout() || replica.base.index().format() != BASE_FORMAT {
            return Ok(Rebased { files: self.lay_out_anew(info, layout, &sorted.plan)?, record: None });
        }
        let mut assembler = Assembler::new(info, layout, sorted.keys)?;
        for segment in 0..layout.segments() {
            let (block, directory) = merge(replica, &sorted.plan, segment)?;
            assembler.push(&block, &directory)?;
        }
        let files = assembler.finish(sorted.profiles.len(), &sorted.profiles.concat())?;
        Ok(Rebased { files, record: Some(self.record(cutoff, sorted)) })
    }

    /// The record alone of [`Self::rebase`] to the same layout and format, whichever of the two formats that is.
    ///
    /// # Errors
    /// As [`Self::rebase`].
    pub fn rebase_record(&self, cutoff: u64, ended: &BTreeSet<Tag>) -> Result<Vec<u8>, Malformed> {
        Ok(self.record(cutoff, self.sort_out(cutoff, ended)?))
    }

    /// The next base.
    fn next_base(&self, cutoff: u64) -> BaseInfo {
        let (replica, before) = (&self.replica, self.replica.base.info());
        BaseInfo { epoch: before.epoch + 1, version: replica.version() + 1, cutoff, ..before.clone() }
    }

    fn record(&self, cutoff: u64, sorted: Sorted) -> Vec<u8> {
        let (replica, info) = (&self.replica, self.next_base(cutoff));
        let Sorted { plan, removed_ranks, profiles, keys } = sorted;
        let ground = replica.ground();
        let record = rebase::Record {
            set: info.set,
            incarnation: info.incarnation,
            epoch: info.epoch,
            version: info.version,
            cutoff,
            before: *replica.commitment(),
            old: [ground.base, ground.added, ground.profiles],
            new_profiles: profiles.len() as u32,
            layout: replica.layout(),
            keys: keys as u32,
            removed_slots: plan.removed_slots,
            removed_ranks,
            profiles: plan.profiles,
        };
        record.encode()
    }

    /// Decides which keys and profiles go over.
    fn sort_out(&self, cutoff: u64, ended: &BTreeSet<Tag>) -> Result<Sorted, Malformed> {
        let replica = &self.replica;
        let ended: BTreeSet<Tag> = ended.iter().map(|tag| replica.layout().cut(tag)).collect();
        let leaves = |tag: &Tag, record: &Record| record.deadline.is_some_and(|at| at < cutoff) || ended.contains(tag);
        let mut used = vec![false; replica.profiles().len()];
        let (mut plan, mut removed_ranks, mut keys) = (Plan::default(), Vec::new(), 0);
        for (slot, key) in replica.base.keys().enumerate() {
            let (tag, found) = key?;
            let record = replica.base_record(found)?;
            if leaves(&tag, &record) {
                plan.removed_slots.push(slot as u32);
            } else {
                (used[record.profile as usize], keys) = (true, keys + 1);
            }
        }
        for (rank, (tag, record)) in replica.overlay.iter().enumerate() {
            if leaves(&tag, &record) {
                plan.removed_added.push(tag);
                removed_ranks.push(rank as u32);
            } else {
                (used[record.profile as usize], keys) = (true, keys + 1);
            }
        }
        let mut order = BTreeMap::new();
        for (number, profile) in replica.profiles().iter().enumerate().filter(|(number, _)| used[*number]) {
            order.insert(profile.encode()?, number);
        }
        plan.profiles = vec![None; used.len()];
        for (new, old) in order.values().enumerate() {
            plan.profiles[*old] = Some(new as u32);
        }
        Ok(Sorted { plan, removed_ranks, profiles: order.into_keys().collect(), keys })
    }

    fn lay_out_anew(&self, info: BaseInfo, layout: Layout, plan: &Plan) -> Result<BaseFiles, Malformed> {
        let replica = &self.replica;
        if layout.tag_bits() > replica.layout().tag_bits() {
            // More bits of the tags are to be stored than are at hand.
            return Err(Malformed::Value("layout"));
        }
        let mut builder = BaseBuilder::new(info, layout, replica.len() as u64)?;
        let mut push = |tag: Tag, record: &Record| {
            let profile = replica.profile(record.profile).ok_or(Malformed::Value("profile"))?;
            builder.push(&Change::of(tag, record, profile))
        };
        let mut removed = plan.removed_slots.iter().copied().peekable();
        for (slot, key) in replica.base.keys().enumerate() {
            let (tag, found) = key?;
            if removed.next_if_eq(&(slot as u32)).is_none() {
                push(tag, &replica.base_record(found)?)?;
            }
        }
        for (tag, record) in replica.overlay.iter().filter(|(tag, _)| plan.removed_added.binary_search(tag).is_err()) {
            push(tag, &record)?;
        }
        builder.finish()
    }
}

/// What goes over into the next base.
struct Sorted {
    plan: Plan,
    removed_ranks: Vec<u32>,
    /// The bytes of the new profiles, ascending.
    profiles: Vec<Vec<u8>>,
    keys: usize,
}
