//! The publisher's task: hold the lease, see what is due, do it, tidy up, wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use nightlatch_keyset::AuditCheckpoint;

use super::background::Building;
use super::build::Watch;
use super::chores::Chores;
use super::config::{PublisherConfig, Step};
use super::epoch::Epoch;
use super::error::Error;
use super::load::{Loaded, load};
use super::notes::Notes;
use super::signing::policy_in_force;
use super::status::{PublisherStatus, Role};
use crate::store::lease::Lease;
use crate::store::publication::{self, SetState};
use crate::store::{self, Store};

/// Between attempts after a failure: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How often the lease is renewed while one piece of work takes long.
const RENEWAL: Duration = Duration::from_secs(2);

/// What the task owns.
pub(super) struct Leader {
    pub(super) store: Store,
    pub(super) config: Arc<PublisherConfig>,
    pub(super) status: watch::Sender<PublisherStatus>,
    /// Somebody waits for a head issued after this instant, unix milliseconds.
    pub(super) wanted: watch::Receiver<u64>,
    /// A build in the background has come to its end.
    pub(super) built: Arc<Notify>,
    pub(super) stop: CancellationToken,
    /// The next epoch is signed with these keys.
    pub(super) next: Option<Arc<PublisherConfig>>,
    /// The notes beside the head.
    pub(super) notes: Notes,
}

/// The lease and what is known under it.
pub(super) struct Tenure {
    pub(super) lease: Lease,
    pub(super) state: Known,
    pub(super) chores: Chores,
    /// A base on its way, while the epoch goes on.
    pub(super) building: Option<Building>,
    /// Imported keys have been seen in a set that no longer accepts foreign ones: it keeps the column of their numbers.
    pub(super) imports: bool,
    /// The last numbering left changes for the next.
    pub(super) more: bool,
    /// The last signed head's checkpoint of the audit log, as far as it was found published and not in the database.
    pub(super) audit: Option<AuditCheckpoint>,
    /// The last chaining left entries of the audit log for the next head.
    pub(super) audit_waits: bool,
    /// Since when somebody else has held the audit log's chain.
    pub(super) audit_held: Option<Instant>,
    /// When the last numbering began; `None` before the first.
    pub(super) numbered_at: Option<Instant>,
    /// When the numbering of the last head began; `None` where a new head is due at once.
    pub(super) signed_at: Option<Instant>,
}

/// What the leader knows of the published state.
pub(super) enum Known {
    /// To be found out from the database and the directory.
    Nothing,
    /// This; `None` before the first base.
    Published(Option<Box<Epoch>>),
}

impl Leader {
    /// Runs until told to stop, or until the probe stops it.
    pub(super) async fn run(mut self) {
        let mut commits = self.store.commits();
        let mut tenure: Option<Tenure> = None;
        let mut delay = RETRY.0;
        let mut killed = false;
        while !self.stop.is_cancelled() && !killed {
            commits.mark_unchanged();
            match self.turn(&mut tenure).await {
                Ok(wake_at) => {
                    delay = RETRY.0;
                    tokio::select! {
                        () = self.stop.cancelled() => {}
                        () = sleep_until(wake_at) => {}
                        // These fail only when the other side is gone; then the clock wakes.
                        // Who stands by has nothing to do for a commit.
                        Ok(()) = commits.changed(), if tenure.is_some() => {}
                        Ok(()) = self.wanted.changed() => {}
                        () = self.built.notified() => {}
                    }
                }
                Err(Error::Probe(_)) => killed = true,
                Err(error) => {
                    let wait = if error.is_refusal() { RETRY.1 } else { delay };
                    delay = (delay * 2).min(RETRY.1);
                    self.failed(&error, &mut tenure).await;
                    tokio::select! {
                        () = self.stop.cancelled() => {}
                        () = sleep(wait) => {}
                    }
                }
            }
        }
        if let Some(tenure) = tenure
            && !killed
        {
            let lease = tenure.lease;
            let released = self.store.write(move |tx| Box::pin(async move { lease.release(tx).await })).await;
            if let Err(error) = released {
                tracing::warn!(%error, "the publisher's lease could not be released and will run out");
            }
        }
        self.status.send_modify(|status| status.role = Role::Stopped);
    }

    /// Does what is due and says when to look again.
    async fn turn(&mut self, slot: &mut Option<Tenure>) -> Result<Instant, Error> {
        let limits = self.config.limits;
        if slot.is_none() {
            *slot = self.acquire().await?;
        }
        let Some(tenure) = slot else {
            let (state, term) = {
                let mut read = self.store.read().await?;
                let term = publication::lease_term(&mut read, &self.config.set).await?;
                (publication::state(&mut read, &self.config.set).await?, term)
            };
            self.status.send_modify(|status| status.stand_by(term, &state));
            return Ok(Instant::now() + limits.lease / 4);
        };
        if matches!(tenure.state, Known::Nothing) {
            self.find_out(tenure).await?;
        }
        let state = self.look().await?;
        let heartbeat = Duration::from_millis(state.heartbeat_ms);
        // Keys that this process does not hold are refused before anything is signed with the old ones.
        self.take_keys(&state).await?;
        self.retire_keys(tenure, &state).await?;
        self.take_denied(tenure, &state).await?;
        if matches!(tenure.state, Known::Published(None)) {
            self.first_epoch(tenure, &state).await?;
        }
        if self.is_due(tenure, &state) {
            if let Some(numbered_at) = tenure.numbered_at {
                sleep_until(numbered_at + limits.pace).await;
            }
            self.publish(tenure, heartbeat).await?;
        }
        self.next_epoch(tenure, &state).await?;
        self.status.send_if_modified(|status| {
            status.refused = false;
            status.error.take().is_some()
        });
        // One bounded piece, and then a look at whether a head is due.
        if tenure.chores.due()
            && let Known::Published(Some(epoch)) = &tenure.state
        {
            let chores = std::mem::take(&mut tenure.chores);
            tenure.chores = chores.step(&self.store, &self.config, &tenure.lease, &epoch.head).await?;
        }
        if tenure.more || tenure.audit_waits {
            return Ok(Instant::now());
        }
        let signed_at = tenure.signed_at.unwrap_or_else(Instant::now);
        let next = (Instant::now() + limits.poll).min(signed_at + heartbeat);
        Ok(next.min(tenure.chores.wake_at()))
    }

    async fn acquire(&self) -> Result<Option<Tenure>, Error> {
        let config = self.config.clone();
        let ttl_ms = u64::try_from(config.limits.lease.as_millis()).unwrap_or(u64::MAX >> 1);
        let lease = self
            .store
            .write(move |tx| Box::pin(async move { Lease::acquire(tx, &config.set, &config.holder, ttl_ms).await }));
        let Some(lease) = lease.await? else { return Ok(None) };
        tracing::info!(set = %self.config.set, term = lease.term(), "this process publishes the set");
        self.status.send_modify(|status| {
            status.term = lease.term();
            status.role = Role::Leading(status.term);
        });
        self.config.reached(Step::Leading)?;
        Ok(Some(Tenure {
            lease,
            state: Known::Nothing,
            chores: Chores::default(),
            building: None,
            imports: false,
            more: false,
            audit: None,
            audit_waits: false,
            audit_held: None,
            numbered_at: None,
            signed_at: None,
        }))
    }

    /// Finds the published state and mends its files.
    ///
    /// The lease is renewed first: a leader that has to refuse keeps it, so that no other process publishes instead.
    async fn find_out(&mut self, tenure: &mut Tenure) -> Result<(), Error> {
        let lease = tenure.lease.clone();
        let held = self.store.write(move |tx| Box::pin(async move { lease.renew(tx).await }));
        if !held.await? {
            return Err(Error::Deposed);
        }
        tenure.building = None;
        self.sign_as_before().await?;
        self.notes = Notes::default();
        let show = |progress| self.status.send_modify(|status| status.build = progress);
        let watch = Watch { lease: Some(&tenure.lease), progress: &show };
        let loading = load(&self.store, &self.config, &watch);
        let Loaded { epoch, mended, audit } = keep(&self.store, &tenure.lease, loading).await?;
        if !mended.is_empty() {
            tracing::warn!(files = ?mended, "published files were missing or damaged and have been written again");
        }
        self.config.reached(Step::Loaded)?;
        self.next = None;
        tenure.audit = audit;
        tenure.chores = Chores::default();
        if let Some(epoch) = &epoch {
            self.status.send_modify(|status| status.show(epoch));
        }
        tenure.state = Known::Published(epoch.map(Box::new));
        // Whatever was published before, nobody has looked at the changes since.
        tenure.signed_at = None;
        tenure.numbered_at = None;
        Ok(())
    }

    /// The set's state, and how much of it is unpublished.
    async fn look(&self) -> Result<SetState, Error> {
        let (state, unpublished) = {
            let mut read = self.store.read().await?;
            (
                publication::state(&mut read, &self.config.set).await?,
                publication::unnumbered(&mut read, &self.config.set).await?,
            )
        };
        self.status.send_if_modified(|status| std::mem::replace(&mut status.unpublished, unpublished) != unpublished);
        Ok(state)
    }

    /// Whether to number and sign now.
    fn is_due(&mut self, tenure: &Tenure, state: &SetState) -> bool {
        let Known::Published(Some(epoch)) = &tenure.state else { return false };
        let renewal = self.config.limits.lease / 3;
        let changed = self.status.borrow().unpublished > 0
            || tenure.audit_waits
            || epoch.head.policy != policy_in_force(state)
            || epoch.head.accepts_foreign != (state.accepts_foreign && epoch.columns().number);
        let renew = tenure.numbered_at.is_none_or(|at| at.elapsed() >= renewal);
        changed || renew || self.head_is_due(tenure, Duration::from_millis(state.heartbeat_ms))
    }

    pub(super) fn head_is_due(&mut self, tenure: &Tenure, heartbeat: Duration) -> bool {
        let wanted = *self.wanted.borrow_and_update();
        let issued = self.status.borrow().issued.unwrap_or_default();
        wanted >= issued || tenure.audit_waits || tenure.signed_at.is_none_or(|at| at.elapsed() >= heartbeat)
    }

    /// Takes note of a failure. What is known of the published state may no longer be true.
    async fn failed(&self, error: &Error, tenure: &mut Option<Tenure>) {
        let deposed = matches!(error, Error::Deposed);
        // A program that the database has left behind writes nothing, not even that it gives the lease up: it lets it run out.
        let outdated = matches!(error, Error::Store(store::Error::SchemaTooNew { .. }));
        if deposed || outdated {
            *tenure = None;
        } else if let Some(tenure) = tenure {
            tenure.state = Known::Nothing;
            tenure.building = None;
        }
        let text = describe(error);
        let refused = error.is_refusal();
        // Where the database fails, counting would only wait for it once more.
        let unpublished = match error {
            Error::Store(_) => None,
            _ => self.count_unpublished().await,
        };
        let news = self.status.borrow().error.as_ref() != Some(&text);
        self.status.send_modify(|status| {
            if deposed || outdated {
                status.role = Role::Standby;
            }
            if !deposed {
                status.error = Some(text.clone());
                status.refused = refused;
            }
            status.unpublished = unpublished.unwrap_or(status.unpublished);
        });
        // Once, not at every attempt.
        match (deposed, refused) {
            (true, _) => tracing::warn!(set = %self.config.set, "another process has taken over the set"),
            (_, true) if news => tracing::error!(set = %self.config.set, error = text, "publishing is refused"),
            (_, false) if news => {
                tracing::warn!(set = %self.config.set, error = text, "publishing failed, trying again");
            }
            _ => {}
        }
    }

    async fn count_unpublished(&self) -> Option<u64> {
        let mut read = self.store.read().await.ok()?;
        publication::unnumbered(&mut read, &self.config.set).await.ok()
    }
}

/// Does long work under the lease, which is renewed meanwhile.
///
/// # Errors
/// Those of the work; [`Error::Deposed`] where the lease has passed to another process.
pub(super) async fn keep<T>(
    store: &Store,
    lease: &Lease,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let renewing = async {
        loop {
            sleep(RENEWAL).await;
            let lease = lease.clone();
            if !store.write(move |tx| Box::pin(async move { lease.renew(tx).await })).await? {
                return Err(Error::Deposed);
            }
        }
    };
    tokio::select! {
        done = work => done,
        lost = renewing => lost,
    }
}

/// The error with its causes.
fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
