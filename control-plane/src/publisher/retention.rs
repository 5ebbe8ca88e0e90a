//! Which of a set's files somebody may still be on the way to.

use nightlatch_keyset::{FileName, Hash, Head, levels};

use super::config::PublisherConfig;
use super::error::Error;
use crate::store::versions::{self, EpochRow};
use crate::store::{self, Store, publication};

/// The most versions that a replica may be behind within an epoch and still find its way.
const CATCH_UP_VERSIONS: u64 = 1 << 16;

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays.
    Needed,
    /// No current head implies it, but its time has not come.
    Waiting,
    /// It may go.
    Old,
}

/// Everything that the fate of files depends on. Times are unix milliseconds of the database clock.
#[derive(Clone, Debug)]
pub(super) struct Retention {
    /// The current epoch, its base's version and the current policy.
    current: (u64, u64),
    base_version: u64,
    policy: Hash,
    /// Within the epoch, replicas at this version or later find the deltas that lead on.
    floor: u64,
    /// (incarnation, epoch) and when it began; newest first, the current one included.
    epochs: Vec<((u64, u64), u64)>,
    routes_replaced_at: u64,
    now: u64,
    /// How long a file stays that a head has named.
    wait: u64,
    /// How long the files of the epoch before stay.
    lag: u64,
}

impl Retention {
    pub(super) async fn read(store: &Store, config: &PublisherConfig, head: &Head) -> Result<Self, Error> {
        let (set, limits) = (&config.set, &config.limits);
        let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let mut read = store.read().await?;
        let now = u64::try_from(read.now().await?).map_err(|_| store::Error::Corrupt("clock"))?;
        let state = publication::state(&mut read, set).await?;
        let long_ago = now.saturating_sub(ms(limits.catch_up));
        let late = versions::issued_before(&mut read, set, head.base_version, long_ago).await?;
        let epochs = versions::epochs(&mut read, set).await?;
        let begun = |row: &EpochRow| ((row.incarnation, row.epoch), row.created_at);
        let wait = ms(limits.grace).saturating_add(state.largest_validity_ms).saturating_add(state.skew_ms);
        Ok(Self {
            current: (head.incarnation, head.epoch),
            base_version: head.base_version,
            policy: head.policy,
            floor: late.unwrap_or_default().max(head.base_version).max(head.version.saturating_sub(CATCH_UP_VERSIONS)),
            epochs: epochs.iter().map(begun).collect(),
            routes_replaced_at: publication::routes_replaced_at(&mut read, set).await?,
            now,
            wait,
            lag: wait.max(ms(limits.lag)),
        })
    }

    /// What becomes of a file.
    pub(super) fn fate(&self, name: &FileName) -> Fate {
        let epoch = match *name {
            FileName::Policy(hash) if hash == self.policy => return Fate::Needed,
            FileName::Policy(_) => return self.after(self.routes_replaced_at, self.wait),
            FileName::Delta { incarnation, epoch, from, to } if (incarnation, epoch) == self.current => {
                return if self.leads_on(from, to) { Fate::Needed } else { Fate::Old };
            }
            FileName::Base { incarnation, epoch }
            | FileName::BasePart { incarnation, epoch, .. }
            | FileName::Rebase { incarnation, epoch }
            | FileName::Delta { incarnation, epoch, .. } => (incarnation, epoch),
        };
        match self.successor(epoch) {
            None => Fate::Needed,
            Some((next, at)) => self.after(at, if next == self.current { self.lag } else { self.wait }),
        }
    }

    /// Epochs before the previous one whose files are all gone or about to.
    pub(super) fn forgettable(&self) -> Vec<(u64, u64)> {
        let over = |at: u64| self.after(at, self.wait) == Fate::Old;
        let older = self.epochs.iter().skip(2).map(|(epoch, _)| *epoch);
        older.filter(|epoch| self.successor(*epoch).is_some_and(|(_, at)| over(at))).collect()
    }

    /// The epoch after one, and when it began: until then heads named the files of the one before.
    fn successor(&self, epoch: (u64, u64)) -> Option<((u64, u64), u64)> {
        self.epochs.iter().rev().find(|(next, _)| *next > epoch).copied()
    }

    /// Whether a delta of the current epoch is on the way of a replica at the floor or later, or of one that begins with
    /// the base. The way from the base to any version begins with that to the floor, as far as it is below it.
    fn leads_on(&self, from: u64, to: u64) -> bool {
        let offset = |version: u64| version.saturating_sub(self.base_version);
        to > self.floor || levels::path(0, offset(self.floor)).any(|level| level == (offset(from), offset(to)))
    }

    fn after(&self, since: u64, time: u64) -> Fate {
        if since.saturating_add(time) < self.now { Fate::Old } else { Fate::Waiting }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: u64 = 1000;

    fn retention() -> Retention {
        Retention {
            current: (0, 4),
            base_version: BASE,
            policy: Hash([1; 32]),
            floor: BASE,
            epochs: vec![((0, 4), 90_000), ((0, 3), 80_000), ((0, 2), 70_000), ((0, 1), 10_000)],
            routes_replaced_at: 50_000,
            now: 100_000,
            wait: 15_000,
            lag: 20_000,
        }
    }

    #[test]
    fn an_epochs_files_stay_until_nobody_can_be_on_the_way_to_them() {
        let mut retention = retention();
        let files = |epoch| {
            let delta = FileName::Delta { incarnation: 0, epoch, from: 1, to: 2 };
            let base = FileName::Base { incarnation: 0, epoch };
            let part = FileName::BasePart { incarnation: 0, epoch, part: 0 };
            [base, part, FileName::Rebase { incarnation: 0, epoch }, delta]
        };
        let fates = |retention: &Retention, epoch| files(epoch).map(|name| retention.fate(&name));
        assert_eq!(fates(&retention, 4)[..3], [Fate::Needed; 3]);
        assert_eq!(fates(&retention, 3), [Fate::Waiting; 4]);
        assert_eq!(fates(&retention, 2), [Fate::Old; 4]);
        assert_eq!(fates(&retention, 1), [Fate::Old; 4]);
        assert_eq!(retention.forgettable(), [(0, 2), (0, 1)]);
        retention.now = 95_000;
        assert_eq!(fates(&retention, 2), [Fate::Waiting; 4]);
        assert_eq!(retention.forgettable(), [(0, 1)]);
        // The epoch before waits longer than older ones: replicas still end it and make the next base themselves.
        retention.now = 110_000;
        assert_eq!(fates(&retention, 3), [Fate::Waiting; 4]);
        retention.now = 110_001;
        assert_eq!(fates(&retention, 3), [Fate::Old; 4]);
        // Its row stays: a lost rebase record is made from it.
        assert_eq!(retention.forgettable(), [(0, 2), (0, 1)]);
        // An epoch that nobody knows of any more goes by the one that followed.
        assert_eq!(retention.fate(&FileName::Base { incarnation: 0, epoch: 0 }), Fate::Old);
    }

    #[test]
    fn the_policy_in_force_stays() {
        let retention = retention();
        assert_eq!(retention.fate(&FileName::Policy(Hash([1; 32]))), Fate::Needed);
        assert_eq!(retention.fate(&FileName::Policy(Hash([2; 32]))), Fate::Old);
        let lately = Retention { routes_replaced_at: 99_000, ..retention };
        assert_eq!(lately.fate(&FileName::Policy(Hash([2; 32]))), Fate::Waiting);
    }

    proptest! {
        #[test]
        fn whoever_is_within_the_window_finds_the_way(floor in 0_u64..5000, behind in 0_u64..3000, lag in 0_u64..3000) {
            let retention = Retention { floor: BASE + floor, ..retention() };
            let (at, end) = (floor + behind, floor + behind + lag);
            for (from, to) in levels::path(at, end).chain(levels::path(0, at)).chain(levels::path(0, end)) {
                let name = FileName::Delta { incarnation: 0, epoch: 4, from: BASE + from, to: BASE + to };
                prop_assert_eq!(retention.fate(&name), Fate::Needed);
            }
        }

        #[test]
        fn what_is_kept_below_the_floor_is_a_handful(floor in 0_u64..5000) {
            let retention = Retention { floor: BASE + floor, ..retention() };
            let all = (1..=floor).flat_map(levels::levels_at);
            let kept = all.filter(|(from, to)| {
                let name = FileName::Delta { incarnation: 0, epoch: 4, from: BASE + from, to: BASE + to };
                retention.fate(&name) == Fate::Needed
            });
            prop_assert_eq!(kept.count() as u32, floor.count_ones());
        }
    }
}
