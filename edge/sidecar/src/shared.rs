//! What all threads share: the state verdicts are made from, and how it is doing.
//!
//! Verdicts take a read lock for the few microseconds they need. The one task that refreshes the set is the only writer;
//! what it does under the lock is an application of deltas or one step of a rebase, a few milliseconds at most. Files are
//! fetched, and kept on the disk, outside of it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use nightlatch_gate::Unfit;
use nightlatch_gate::policy::Policy;
use nightlatch_sync::{Edge, Mark};
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::config::Config;
use crate::worker::Worker;

/// Milliseconds between two looks for a key that may be newer than the set.
const PROBE_INTERVAL: u64 = 1_000;

/// What verdicts are made from.
pub(crate) struct Gate {
    pub(crate) edge: Edge<Policy>,
    pub(crate) config: Arc<Config>,
}

/// How many attempts to refresh the set have begun and ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempts {
    pub(crate) begun: u64,
    pub(crate) ended: u64,
}

/// How the sidecar is doing, for reports and metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    /// The greatest head that is on the disk: what may be confirmed.
    pub(crate) persisted: Option<Mark>,
    /// Why the last mark is not on the disk, as long as it is not.
    pub(crate) not_persisted: Option<String>,
    /// The code of the last failed refresh, until one succeeds.
    pub(crate) failure: Option<&'static str>,
    /// The last refresh failed because a clock broke the assumption.
    pub(crate) from_future: bool,
    /// Refreshes that succeeded, and that failed.
    pub(crate) refreshes: (u64, u64),
    /// Reports that arrived, and that did not.
    pub(crate) reports: (u64, u64),
    /// The source holds questions for the head open.
    pub(crate) held: bool,
}

/// Everything that threads share.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    /// This process's name for itself.
    pub(crate) instance: String,
    /// One per thread that answers requests.
    pub(crate) workers: Vec<Worker>,
    /// Asks for a refresh now.
    pub(crate) wanted: Notify,
    /// A new state is on the disk and may be told of.
    pub(crate) news: Notify,
    pub(crate) attempts: watch::Sender<Attempts>,
    gate: RwLock<Gate>,
    status: Mutex<Status>,
    next_probe: AtomicU64,
    unfit: AtomicU8,
}

impl Shared {
    /// Begins with an edge that may have loaded something.
    pub(crate) fn new(clock: Clock, instance: String, gate: Gate, persisted: Option<Mark>) -> Self {
        Self {
            clock,
            instance,
            workers: (0..gate.config.threads).map(|_| Worker::default()).collect(),
            wanted: Notify::new(),
            news: Notify::new(),
            attempts: watch::Sender::default(),
            gate: RwLock::new(gate),
            status: Mutex::new(Status { persisted, ..Status::default() }),
            next_probe: AtomicU64::new(0),
            unfit: AtomicU8::new(0),
        }
    }

    /// The state, to look at for a moment.
    pub(crate) fn gate(&self) -> RwLockReadGuard<'_, Gate> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, to change within a few milliseconds. For the refreshing task only.
    pub(crate) fn gate_mut(&self) -> RwLockWriteGuard<'_, Gate> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the sidecar is doing; to be held for a moment only.
    pub(crate) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a look for a key that may be newer than the set is due: at most one a second.
    pub(crate) fn begin_probe(&self, now: u64) -> bool {
        let next = self.next_probe.load(Ordering::Relaxed);
        let swap =
            |next| self.next_probe.compare_exchange(next, now + PROBE_INTERVAL, Ordering::Relaxed, Ordering::Relaxed);
        now >= next && swap(next).is_ok()
    }

    /// What a request is told when the set cannot answer it.
    pub(crate) fn unfit(&self) -> Unfit {
        match self.unfit.load(Ordering::Relaxed) {
            1 => Unfit::SetCorrupt,
            2 => Unfit::PepperMissing,
            _ => Unfit::SetStale,
        }
    }

    /// Says what that is from now on.
    pub(crate) fn set_unfit(&self, unfit: Unfit) {
        let code = match unfit {
            Unfit::SetStale => 0,
            Unfit::SetCorrupt => 1,
            Unfit::PepperMissing => 2,
        };
        self.unfit.store(code, Ordering::Relaxed);
    }
}
