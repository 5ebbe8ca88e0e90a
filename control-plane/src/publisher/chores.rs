//! Removing what nobody needs any more, a little at a time, while nothing is waiting to be published.
//!
//! Kept are the current epoch and the one before: their files, and the change rows from which the current one can be made
//! again. Older files stay until every head that named them has long run out.

use std::time::Duration;

use nightlatch_keyset::{FileName, Head};
use tokio::time::Instant;

use super::blocking;
use super::config::{PublisherConfig, Step};
use super::error::Error;
use crate::store::lease::Lease;
use crate::store::publication::{self, EpochRow};
use crate::store::{self, Store};

/// Change rows deleted in one transaction.
const BATCH: u32 = 1000;
/// How often to look again for files whose time has not come.
const SWEEP_AGAIN: Duration = Duration::from_secs(30);

/// What is to be done next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chores {
    /// Delete superseded change rows, then forget their versions.
    Prune,
    /// Remove old files.
    Sweep,
    /// Nothing until then.
    Rest(Option<Instant>),
}

impl Chores {
    /// Whether there is something to do now.
    pub(super) fn due(&self) -> bool {
        match self {
            Self::Prune | Self::Sweep => true,
            Self::Rest(until) => until.is_some_and(|until| until <= Instant::now()),
        }
    }

    /// When there will be something to do; `None` where nothing is left.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        match self {
            Self::Prune | Self::Sweep => Some(Instant::now()),
            Self::Rest(until) => *until,
        }
    }

    /// Does one bounded piece of work.
    pub(super) async fn step(
        self,
        store: &Store,
        config: &PublisherConfig,
        lease: &Lease,
        head: &Head,
    ) -> Result<Self, Error> {
        let epochs = publication::epochs(&mut store.read().await?, &config.set).await?;
        match self {
            Self::Prune => match epochs.get(1) {
                Some(previous) => prune(store, config, lease, previous.version).await,
                None => Ok(Self::Sweep),
            },
            Self::Sweep | Self::Rest(_) => sweep(store, config, head, &epochs).await,
        }
    }
}

/// Deletes rows that a later one, up to the version where the previous epoch began, has superseded: neither its base nor
/// anything after it is made from them.
async fn prune(store: &Store, config: &PublisherConfig, lease: &Lease, through: u64) -> Result<Chores, Error> {
    let rows = publication::superseded(&mut store.read().await?, &config.set, through, BATCH).await?;
    let (set, lease) = (config.set.clone(), lease.clone());
    if rows.is_empty() {
        store
            .write(move |tx| {
                Box::pin(async move {
                    still_held(lease.renew(tx).await?)?;
                    Ok::<_, Error>(publication::forget_versions(tx, &set, through).await?)
                })
            })
            .await?;
        config.reached(Step::VersionsForgotten)?;
        return Ok(Chores::Sweep);
    }
    store
        .write(move |tx| {
            Box::pin(async move {
                still_held(lease.renew(tx).await?)?;
                Ok::<_, Error>(publication::delete_changes(tx, &rows).await?)
            })
        })
        .await?;
    config.reached(Step::Pruned)?;
    Ok(Chores::Prune)
}

fn still_held(held: bool) -> Result<(), Error> {
    if held { Ok(()) } else { Err(Error::Deposed) }
}

async fn sweep(store: &Store, config: &PublisherConfig, head: &Head, epochs: &[EpochRow]) -> Result<Chores, Error> {
    let set = &config.set;
    let (now, routes_replaced_at, state) = {
        let mut read = store.read().await?;
        let now = u64::try_from(read.now().await?).map_err(|_| store::Error::Corrupt("clock"))?;
        (now, publication::routes_replaced_at(&mut read, set).await?, publication::state(&mut read, set).await?)
    };
    let grace = u64::try_from(config.limits.grace.as_millis()).unwrap_or(u64::MAX);
    let wait = grace.saturating_add(state.largest_validity_ms).saturating_add(state.skew_ms);
    let long_ago = |at: u64| at.saturating_add(wait) < now;
    // An epoch's files were last named when the next epoch was published.
    let previous = epochs.get(1).map_or((head.incarnation, head.epoch), |row| (row.incarnation, row.epoch));
    let over = |epoch: (u64, u64)| {
        let next = epochs.iter().rev().find(|row| (row.incarnation, row.epoch) > epoch);
        epoch < previous && next.is_some_and(|next| long_ago(next.created_at))
    };
    let (directory, current) = (config.directory.clone(), head.policy);
    let there = blocking(move || Ok(directory.list()?)).await?;
    let mut waiting = false;
    let mut old = Vec::new();
    for name in there {
        let (unneeded, removable) = match name {
            FileName::Base { incarnation, epoch } | FileName::Delta { incarnation, epoch, .. } => {
                ((incarnation, epoch) < previous, over((incarnation, epoch)))
            }
            FileName::Policy(hash) => (hash != current, hash != current && long_ago(routes_replaced_at)),
        };
        waiting |= unneeded && !removable;
        if removable {
            old.push(name);
        }
    }
    let directory = config.directory.clone();
    blocking(move || {
        for name in &old {
            directory.remove(name)?;
        }
        Ok(())
    })
    .await?;
    for row in epochs.iter().filter(|row| over((row.incarnation, row.epoch))) {
        let (set, incarnation, epoch) = (set.clone(), row.incarnation, row.epoch);
        store
            .write(move |tx| Box::pin(async move { publication::forget_epoch(tx, &set, incarnation, epoch).await }))
            .await?;
    }
    config.reached(Step::Swept)?;
    Ok(Chores::Rest(waiting.then(|| Instant::now() + SWEEP_AGAIN)))
}
