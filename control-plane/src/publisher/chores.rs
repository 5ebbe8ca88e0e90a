//! Removing what nobody needs any more, a little at a time, while nothing is waiting to be published.
//!
//! Kept are the change rows from which the current epoch and the one before can be made again, and of the files those that
//! [`Retention`] says somebody may still be on the way to.

use std::time::Duration;

use nightlatch_keyset::{FileName, Head};
use tokio::time::Instant;

use super::blocking;
use super::config::{PublisherConfig, Step};
use super::error::Error;
use super::retention::{Fate, Retention};
use crate::store::lease::Lease;
use crate::store::versions;
use crate::store::{Store, profile_rows, publication};

/// Change rows deleted in one transaction.
const BATCH: u32 = 1000;
/// Files removed in one go.
const FILES: usize = 256;
/// How often to look again for files whose time has not come.
const SWEEP_AGAIN: Duration = Duration::from_secs(30);
/// How often to look for deltas that nobody can be behind any more.
const SWEEP_DELTAS: Duration = Duration::from_secs(3600);

/// What is to be done next.
#[derive(Debug, Default)]
pub(super) enum Chores {
    /// Delete superseded change rows, then forget their versions.
    #[default]
    Prune,
    /// Find out which files are old.
    Look,
    /// Remove old files, then forget their epochs.
    Sweep { old: Vec<FileName>, forget: Vec<(u64, u64)>, again: Duration },
    /// Nothing until then.
    Rest(Instant),
}

impl Chores {
    /// Whether there is something to do now.
    pub(super) fn due(&self) -> bool {
        self.wake_at() <= Instant::now()
    }

    /// When there will be something to do.
    pub(super) fn wake_at(&self) -> Instant {
        match self {
            Self::Prune | Self::Look | Self::Sweep { .. } => Instant::now(),
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
        match self {
            Self::Prune => {
                let epochs = versions::epochs(&mut store.read().await?, &config.set).await?;
                match epochs.get(1) {
                    Some(previous) => prune(store, config, lease, previous.version).await,
                    None => Ok(Self::Look),
                }
            }
            Self::Look | Self::Rest(_) => look(store, config, head).await,
            Self::Sweep { old, forget, again } => sweep(store, config, old, forget, again).await,
        }
    }
}

/// Deletes rows that a later one, up to the version where the previous epoch began, has superseded: neither its base nor
/// anything after it is made from them.
async fn prune(store: &Store, config: &PublisherConfig, lease: &Lease, through: u64) -> Result<Chores, Error> {
    let (rows, profiles) = {
        let mut read = store.read().await?;
        let rows = publication::superseded(&mut read, &config.set, through, BATCH).await?;
        (rows, profile_rows::superseded(&mut read, &config.set, through, BATCH).await?)
    };
    let (set, lease) = (config.set.clone(), lease.clone());
    if rows.is_empty() && profiles.is_empty() {
        store
            .write(move |tx| {
                Box::pin(async move {
                    still_held(lease.renew(tx).await?)?;
                    Ok::<_, Error>(versions::forget_versions(tx, &set, through).await?)
                })
            })
            .await?;
        config.reached(Step::VersionsForgotten)?;
        return Ok(Chores::Look);
    }
    store
        .write(move |tx| {
            Box::pin(async move {
                still_held(lease.renew(tx).await?)?;
                publication::delete_changes(tx, &rows).await?;
                Ok::<_, Error>(profile_rows::delete(tx, &profiles).await?)
            })
        })
        .await?;
    config.reached(Step::Pruned)?;
    Ok(Chores::Prune)
}

fn still_held(held: bool) -> Result<(), Error> {
    if held { Ok(()) } else { Err(Error::Deposed) }
}

async fn look(store: &Store, config: &PublisherConfig, head: &Head) -> Result<Chores, Error> {
    let retention = Retention::read(store, config, head).await?;
    let directory = config.directory.clone();
    let (old, waiting, forget) = blocking(move || {
        let mut waiting = false;
        let mut old = Vec::new();
        for name in directory.list()? {
            match retention.fate(&name) {
                Fate::Needed => {}
                Fate::Waiting => waiting = true,
                Fate::Old => old.push(name),
            }
        }
        Ok((old, waiting, retention.forgettable()))
    })
    .await?;
    Ok(Chores::Sweep { old, forget, again: if waiting { SWEEP_AGAIN } else { SWEEP_DELTAS } })
}

async fn sweep(
    store: &Store,
    config: &PublisherConfig,
    mut old: Vec<FileName>,
    mut forget: Vec<(u64, u64)>,
    again: Duration,
) -> Result<Chores, Error> {
    if !old.is_empty() {
        let now = old.split_off(old.len().saturating_sub(FILES));
        let directory = config.directory.clone();
        blocking(move || Ok(now.iter().try_for_each(|name| directory.remove(name))?)).await?;
    } else if let Some((incarnation, epoch)) = forget.pop() {
        let set = config.set.clone();
        store
            .write(move |tx| Box::pin(async move { versions::forget_epoch(tx, &set, incarnation, epoch).await }))
            .await?;
    }
    config.reached(Step::Swept)?;
    if old.is_empty() && forget.is_empty() {
        return Ok(Chores::Rest(Instant::now() + again));
    }
    Ok(Chores::Sweep { old, forget, again })
}
