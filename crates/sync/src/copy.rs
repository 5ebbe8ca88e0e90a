//! The sync job's plan: immutable files first, the head last, and never backwards.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use nightlatch_keyset::{FileName, Head};

use crate::{Mark, Refusal};

/// Every file that a head implies, in the order in which a reader needs them.
pub fn implied_files(head: &Head) -> impl Iterator<Item = FileName> + '_ {
    let deltas = (head.base_version..head.version).map(|from| head.delta_name(from));
    [head.policy_name(), head.base_name()].into_iter().chain(deltas)
}

/// What brings a target up to a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyPlan {
    /// Files the target lacks, to be written before its head.
    pub copy: Vec<FileName>,
    /// Whether the target's head is to be replaced.
    pub head: bool,
    /// Files that neither the new head nor the one it replaces implies. They go last, if at all.
    pub stale: Vec<FileName>,
}

impl CopyPlan {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.copy.is_empty() && !self.head
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
    Ok(CopyPlan {
        copy: implied_files(head).filter(|name| !present.contains(name)).collect(),
        head: target != Some(head),
        stale: present.iter().filter(|name| !needed.contains(name) && !kept.contains(name)).copied().collect(),
    })
}
