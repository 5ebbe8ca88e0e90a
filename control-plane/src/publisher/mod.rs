//! The publisher: turns committed changes into the files that edges read.
//!
//! One process leads a set, by a lease with a term that every transaction here checks. Its cycle:
//!
//! ```text
//! transaction: check the lease, read the database clock, number committed changes as one version (of many, as many as one
//!              version takes), make its delta, sign the head, store state and head text
//! files:       policy, delta, deltas of higher levels — then the head, last
//! ```
//!
//! When an epoch has become long, the next version is a base without changes: the leader folds what it holds in memory,
//! records and signs it in one transaction, and writes base, rebase record and head. Where the set is to be made
//! otherwise, the base is built from the database while the epoch goes on.
//!
//! Killed anywhere, the next start finds the state in the database and mends the files from it: the same version always
//! has the same bytes. A database that is older than what has been published is never published from.

mod background;
mod believed;
mod build;
mod chores;
mod config;
mod cut;
pub mod directory;
mod epoch;
mod error;
mod fold;
mod image;
mod keys;
mod leader;
mod load;
mod mend;
mod notes;
mod numbering;
mod publish;
mod publishers;
mod reason;
mod retention;
mod signing;
mod status;
mod succession;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use config::{KeySource, Limits, Probe, PublisherConfig, Step, empty_policy};
pub use directory::SetDirectory;
pub use error::Error;
pub use publishers::{Published, Publishers};
pub use reason::CutReason;
pub use status::{Phase, Progress, PublisherStatus, Role};

use crate::store::{self, Store, publication};
use leader::Leader;

/// A running publisher of one set. Dropping the handle lets it run on; [`Publisher::stop`] ends it.
#[derive(Debug)]
pub struct Publisher {
    store: Store,
    config: Arc<PublisherConfig>,
    status: watch::Receiver<PublisherStatus>,
    wanted: watch::Sender<u64>,
    stop: CancellationToken,
    /// None once somebody has asked it to stop.
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Publisher {
    /// Starts publishing a set: at once where the lease is free, otherwise when it becomes free.
    pub fn spawn(store: Store, config: PublisherConfig) -> Self {
        let config = Arc::new(config);
        let (status, watched) = watch::channel(PublisherStatus::default());
        let (wanted, wishes) = watch::channel(0);
        let stop = CancellationToken::new();
        let leader = Leader {
            store: store.clone(),
            config: config.clone(),
            status,
            wanted: wishes,
            built: Arc::default(),
            stop: stop.clone(),
            next: None,
            notes: Default::default(),
        };
        Self { store, config, status: watched, wanted, stop, task: Mutex::new(Some(tokio::spawn(leader.run()))) }
    }

    /// The publisher's state, as it changes.
    pub fn status(&self) -> watch::Receiver<PublisherStatus> {
        self.status.clone()
    }

    /// Waits until the published head includes everything that was committed before this call. A head is signed for it
    /// if need be.
    ///
    /// # Errors
    /// [`store::Error`] from reading the clock, [`store::Error::Closed`] where the publisher has stopped.
    pub async fn flush(&self) -> Result<(), store::Error> {
        let now = u64::try_from(self.store.now().await?).map_err(|_| store::Error::Corrupt("clock"))?;
        self.wanted.send_if_modified(|wanted| {
            let more = *wanted < now;
            *wanted = now.max(*wanted);
            more
        });
        self.wait(|status| status.issued.is_some_and(|issued| issued > now)).await.map(drop)
    }

    /// Waits until a version is published.
    ///
    /// # Errors
    /// [`store::Error::Closed`] where the publisher has stopped.
    pub async fn reached(&self, version: u64) -> Result<PublisherStatus, store::Error> {
        self.wait(|status| status.version >= version).await
    }

    /// Waits until the last committed change of a key is published, and returns its version; 0 where it has none.
    ///
    /// # Errors
    /// [`store::Error::Closed`] where the publisher has stopped, [`store::Error::Database`].
    pub async fn published(&self, key_number: u32) -> Result<u64, store::Error> {
        let mut status = self.status.clone();
        loop {
            status.mark_unchanged();
            let change = publication::last_change(&mut self.store.read().await?, &self.config.set, key_number).await?;
            match change {
                Some(None) => self.next(&mut status).await?,
                Some(Some(version)) => return self.reached(version).await.map(|_| version),
                None => return Ok(0),
            }
        }
    }

    /// Waits for a state of the publisher.
    ///
    /// # Errors
    /// [`store::Error::Closed`] where the publisher has stopped.
    pub async fn wait(&self, mut until: impl FnMut(&PublisherStatus) -> bool) -> Result<PublisherStatus, store::Error> {
        let mut status = self.status.clone();
        loop {
            let now = status.borrow_and_update().clone();
            if until(&now) {
                return Ok(now);
            }
            self.next(&mut status).await?;
        }
    }

    async fn next(&self, status: &mut watch::Receiver<PublisherStatus>) -> Result<(), store::Error> {
        if status.borrow().role == Role::Stopped {
            return Err(store::Error::Closed);
        }
        status.changed().await.map_err(|_| store::Error::Closed)
    }

    /// Ends the publisher after what it is doing now, and gives the lease up.
    pub async fn stop(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the publisher's task failed");
        }
    }
}

/// What a rebuild found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Files that were missing or damaged and have been written again, byte for byte; empty where all were in order.
    pub files: Vec<String>,
}

/// Checks every file that the stored head implies, and makes those again that are missing or damaged. No publisher may
/// run on the directory meanwhile.
///
/// # Errors
/// [`Error::Ahead`] or [`Error::Contradiction`] where the files are not the database's; nothing is then overwritten.
pub async fn rebuild(store: &Store, config: &PublisherConfig) -> Result<Rebuilt, Error> {
    let watch = build::Watch { lease: None, progress: &|_| {} };
    let loaded = load::load(store, config, &watch).await?;
    Ok(Rebuilt { files: loaded.mended })
}

/// Runs work that blocks on the disk or the processor away from the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => Err(store::Error::Closed.into()),
        },
    }
}
