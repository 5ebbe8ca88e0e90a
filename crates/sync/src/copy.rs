//! The sync job's plan: immutable files first, the head last, and never backwards.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use nightlatch_keyset::{FileName, Head, levels};

use crate::{Mark, Refusal};

/// The versions a target may be behind and still get all files that edges behind like itself would go by. Where it is
/// further behind, the most recent versions' are copied; edges that lag more take the base.
const MAX_LAG: u64 = 4_096;

/// Every file that a head implies, in the order in which they are to be written: the policy, the base (its index first),
/// the rebase record if it has one, and the deltas that lead from the base to the head.
pub fn implied_files(head: &Head) -> impl Iterator<Item = FileName> + '_ {
    let base = head.base_version;
    let record = head.rebase.map(|_| head.rebase_name());
    let deltas = levels::path(0, head.version - base).map(move |(from, to)| head.delta_name(base + from, base + to));
    [head.policy_name(), head.base_name()].into_iter().chain(head.part_names()).chain(record).chain(deltas)
}

/// What brings a target up to a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyPlan {
    /// Files the target lacks that its new head implies, to be written before it, in this order.
    pub copy: Vec<FileName>,
    /// Further files the target lacks, to be written before its head as well: the deltas by which edges go that are no
    /// further behind than the target was. A source need not have them any more; where one is missing, such an edge takes
    /// the base.
    pub lagging: Vec<FileName>,
    /// Whether the target's head is to be replaced.
    pub head: bool,
    /// Files that neither the new head nor the one it replaces implies, and that are not of the new head's epoch. An edge
    /// that lags behind may still go by those of the epoch before: they are to be removed after a while, if at all.
    pub stale: Vec<FileName>,
}

impl CopyPlan {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.copy.is_empty() && self.lagging.is_empty() && !self.head
    }
}

/// Plans how to bring a target to `head`, given the target's own head and a listing of its files.
///
/// # Errors
/// [`Refusal::Rollback`] where the target is further on, [`Refusal::OtherHistory`] where it is at the same state with
/// another history, [`Refusal::OtherSet`] where it holds another set.
pub fn plan_copy(head: &Head, target: Option<&Head>, present: &BTreeSet<FileName>) -> Result<CopyPlan, Refusal> {
    if let Some(held) = target {
        if held.set != head.set {
            return Err(Refusal::OtherSet);
        }
        if Mark::of(head) < Mark::of(held) {
            return Err(Refusal::Rollback);
        }
        if Mark::of(head).state() == Mark::of(held).state() && head.commitment != held.commitment {
            return Err(Refusal::OtherHistory);
        }
    }
    let needed: BTreeSet<FileName> = implied_files(head).collect();
    let kept: BTreeSet<FileName> = target.into_iter().flat_map(implied_files).collect();
    let is_stale = |name: &FileName| !needed.contains(name) && !kept.contains(name) && !is_of_epoch(name, head);
    let lagging = target.map_or_else(Vec::new, |held| deltas_since(held, head));
    Ok(CopyPlan {
        copy: implied_files(head).filter(|name| !present.contains(name)).collect(),
        lagging: lagging.into_iter().filter(|name| !present.contains(name) && !needed.contains(name)).collect(),
        head: target != Some(head),
        stale: present.iter().filter(|name| is_stale(name)).copied().collect(),
    })
}

fn is_of_epoch(name: &FileName, head: &Head) -> bool {
    match *name {
        FileName::Base { incarnation, epoch }
        | FileName::BasePart { incarnation, epoch, .. }
        | FileName::Delta { incarnation, epoch, .. }
        | FileName::Rebase { incarnation, epoch } => (incarnation, epoch) == (head.incarnation, head.epoch),
        FileName::Policy(_) => false,
    }
}

/// All deltas, of every level, that end after `held` and not after `head`, as far as they are on an edge's way from one to
/// the other.
fn deltas_since(held: &Head, head: &Head) -> Vec<FileName> {
    let epoch = |head: &Head| (head.incarnation, head.epoch);
    let mut files = Vec::new();
    if epoch(held) == epoch(head) {
        deltas_after(head, held.version, head.version, &mut files);
    } else {
        if (held.incarnation, held.epoch + 1) == epoch(head) {
            deltas_after(held, held.version, head.base_version.saturating_sub(1), &mut files);
        }
        deltas_after(head, head.base_version, head.version, &mut files);
    }
    files
}

/// The deltas of a head's epoch that end after the version `after`, up to the version `last`.
fn deltas_after(head: &Head, after: u64, last: u64, files: &mut Vec<FileName>) {
    let base = head.base_version;
    for version in after.max(last.saturating_sub(MAX_LAG)) + 1..=last {
        files.extend(levels::levels_at(version - base).map(|(from, to)| head.delta_name(base + from, base + to)));
    }
}
