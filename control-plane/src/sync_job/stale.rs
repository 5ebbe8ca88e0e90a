//! When a file that no head names any more may go.

use std::collections::BTreeMap;
use std::time::Duration;

use nightlatch_keyset::{FileName, Head};

use super::target::Listed;

/// Beyond a head's own validity and skew, for edges that are slow to fetch what they have read the name of.
const MARGIN_MS: u64 = 60_000;

/// How long the files of the epoch before the current one stay at least: edges that lag no further end that epoch and make
/// the next base by themselves.
const LAG_MS: u64 = 3_600_000;

/// Since when policies have been unnamed, by the clock of the heads, unix milliseconds.
#[derive(Debug, Default)]
pub(super) struct Stale {
    policies: BTreeMap<FileName, u64>,
}

impl Stale {
    /// Those of `unneeded` that may go, given what the target has.
    ///
    /// The files of an epoch were last named when the next epoch's base was about to be: the time of that base tells, also
    /// after a restart. For policies there is no such witness; they wait from when they were first seen unnamed, in a job
    /// that keeps running. Time is what the heads say: the database's clock, signed.
    pub(super) fn removable(
        &mut self,
        unneeded: &[FileName],
        present: &BTreeMap<FileName, Listed>,
        head: &Head,
        grace: Option<Duration>,
    ) -> Vec<FileName> {
        let wait = match grace {
            Some(grace) => u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
            None => (head.valid_until - head.issued).saturating_add(head.skew).saturating_add(MARGIN_MS),
        };
        let lag = if grace.is_some() { wait } else { wait.max(LAG_MS) };
        let over = |since: u64| since.saturating_add(wait) < head.issued;
        self.policies.retain(|name, _| unneeded.contains(name));
        let mut removable = Vec::new();
        for name in unneeded {
            let gone = match *name {
                FileName::Policy(_) => over(*self.policies.entry(*name).or_insert(head.issued)),
                FileName::Base { incarnation, epoch }
                | FileName::BasePart { incarnation, epoch, .. }
                | FileName::Rebase { incarnation, epoch }
                | FileName::Delta { incarnation, epoch, .. } => {
                    let next = successor((incarnation, epoch), present, head);
                    next.is_some_and(|(next, since)| {
                        let wait = if next == (head.incarnation, head.epoch) { lag } else { wait };
                        since.saturating_add(wait) < head.issued
                    })
                }
            };
            if gone {
                removable.push(*name);
            }
        }
        removable
    }
}

/// The next epoch whose base the target has, and when it got that.
fn successor(epoch: (u64, u64), present: &BTreeMap<FileName, Listed>, head: &Head) -> Option<((u64, u64), u64)> {
    let bases = present.iter().filter_map(|(name, listed)| match *name {
        FileName::Base { incarnation, epoch } => Some(((incarnation, epoch), listed.modified)),
        _ => None,
    });
    bases.filter(|(base, _)| *base > epoch && *base <= (head.incarnation, head.epoch)).min_by_key(|(base, _)| *base)
}

#[cfg(test)]
mod tests {
    use nightlatch_key::Brand;
    use nightlatch_keyset::{Commitment, Hash, Tag};

    use super::*;

    fn head(issued: u64) -> Head {
        let hash = Hash([0; 32]);
        Head {
            set: "set_a".into(),
            workspace: "ws_a".into(),
            brand: Brand::new("nl").unwrap(),
            incarnation: 0,
            epoch: 3,
            version: 9,
            commitment: Commitment(hash),
            keys: 0,
            base_version: 9,
            base_commitment: Commitment(hash),
            base_root: hash,
            base_len: 0,
            base_parts: Vec::new(),
            rebase: None,
            pepper: "p1".into(),
            pepper_check: Tag::from_bytes([0; Tag::LEN]),
            accepts_foreign: false,
            policy: hash,
            policy_len: 0,
            issued,
            valid_until: issued + 60_000,
            skew: 5_000,
            open_until: None,
            trust: None,
            audit: None,
        }
    }

    fn base(epoch: u64) -> FileName {
        FileName::Base { incarnation: 0, epoch }
    }

    #[test]
    fn an_epochs_files_wait_from_the_next_epochs_base() {
        let delta = FileName::Delta { incarnation: 0, epoch: 1, from: 3, to: 4 };
        let part = FileName::BasePart { incarnation: 0, epoch: 1, part: 0 };
        let record = FileName::Rebase { incarnation: 0, epoch: 1 };
        let old = [base(1), delta, part, record];
        let at = |modified| Listed { bytes: Some(1), modified };
        let present = BTreeMap::from([(base(1), at(1)), (delta, at(2)), (base(2), at(1_000)), (base(3), at(9_000))]);
        let mut stale = Stale::default();
        let mut at = |issued| stale.removable(&old, &present, &head(issued), None);
        // Validity, skew and margin are 125 s; base 2 came at 1 s.
        assert_eq!(at(126_000), vec![]);
        assert_eq!(at(126_001), old);
        let now = Stale::default().removable(&[base(1)], &present, &head(1_001), Some(Duration::ZERO));
        assert_eq!(now, vec![base(1)]);
        // Nothing newer is there: who knows who still reads it.
        let alone = BTreeMap::from([(base(1), Listed { bytes: Some(1), modified: 1 })]);
        assert_eq!(Stale::default().removable(&[base(1)], &alone, &head(999_999_999), None), vec![]);
    }

    #[test]
    fn the_epoch_before_waits_for_edges_that_lag() {
        let present = BTreeMap::from([
            (base(2), Listed { bytes: Some(1), modified: 1_000 }),
            (base(3), Listed { bytes: Some(1), modified: 9_000 }),
        ]);
        let mut stale = Stale::default();
        let mut at = |issued| stale.removable(&[base(2)], &present, &head(issued), None);
        assert_eq!(at(3_609_000), vec![]);
        assert_eq!(at(3_609_001), vec![base(2)]);
        let now = Stale::default().removable(&[base(2)], &present, &head(9_001), Some(Duration::ZERO));
        assert_eq!(now, vec![base(2)]);
    }

    #[test]
    fn a_policy_waits_from_when_it_was_first_unnamed() {
        let policy = FileName::Policy(Hash([7; 32]));
        let present = BTreeMap::new();
        let mut stale = Stale::default();
        assert_eq!(stale.removable(&[policy], &present, &head(1_000_000), None), vec![]);
        assert_eq!(stale.removable(&[policy], &present, &head(1_125_000), None), vec![]);
        assert_eq!(stale.removable(&[policy], &present, &head(1_125_001), None), vec![policy]);
        // Named again in between: from the start.
        assert_eq!(stale.removable(&[], &present, &head(1_200_000), None), vec![]);
        assert_eq!(stale.removable(&[policy], &present, &head(1_300_000), None), vec![]);
    }
}
