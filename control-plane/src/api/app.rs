//! What every handler can reach.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::cursor::Cursors;
use super::idempotency::Replays;
use super::verify::VerifyLimit;
use crate::metrics::Metrics;
use crate::publisher::PublisherStatus;
use crate::secrets::Secrets;
use crate::store::Store;

/// What an [`App`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// The database.
    pub store: Store,
    /// The secrets of this control plane.
    pub secrets: Arc<Secrets>,
    /// The directory of published sets: `{set id}/head`, `{set id}/files/{name}`.
    pub sets_dir: PathBuf,
    /// The file of the enrolment token, removed once it is used.
    pub enrolment_file: PathBuf,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How far publishing has come.
    pub publisher: watch::Receiver<PublisherStatus>,
}

/// The state handlers share. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    parts: Parts,
    cursors: Cursors,
    replays: Replays,
    verify_limit: VerifyLimit,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("App").field(&self.0.parts).finish()
    }
}

impl App {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let key = parts.secrets.server_key();
        let (cursors, replays) = (Cursors::new(key), Replays::new(Arc::clone(&parts.secrets)));
        Self(Arc::new(Inner { parts, cursors, replays, verify_limit: VerifyLimit::new() }))
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.parts.store
    }

    pub(super) fn sets_dir(&self) -> &PathBuf {
        &self.0.parts.sets_dir
    }

    pub(super) fn enrolment_file(&self) -> &PathBuf {
        &self.0.parts.enrolment_file
    }

    pub(super) fn publisher(&self) -> PublisherStatus {
        self.0.parts.publisher.borrow().clone()
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.parts.metrics
    }

    pub(super) fn cursors(&self) -> &Cursors {
        &self.0.cursors
    }

    pub(super) fn replays(&self) -> &Replays {
        &self.0.replays
    }

    pub(super) fn verify_limit(&self) -> &VerifyLimit {
        &self.0.verify_limit
    }
}
