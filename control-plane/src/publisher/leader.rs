//! The publisher's task: hold the lease, number, sign, write, tidy up, wait.

use std::sync::Arc;
use std::time::Duration;

use nightlatch_keyset::{BaseInfo, FileName, Hash, Replica};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::blocking;
use super::chores::Chores;
use super::config::{PublisherConfig, Step};
use super::cut::{self, BaseFacts};
use super::epoch::Epoch;
use super::error::Error;
use super::load::{Loaded, load};
use super::numbering::{Outcome, number, policy_in_force};
use super::status::{PublisherStatus, Role};
use crate::store::Store;
use crate::store::lease::Lease;
use crate::store::publication::{self, Cut};

/// Between attempts after a failure: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What the task owns.
pub(super) struct Leader {
    pub(super) store: Store,
    pub(super) config: Arc<PublisherConfig>,
    pub(super) status: watch::Sender<PublisherStatus>,
    /// Somebody waits for a head issued after this instant, unix milliseconds.
    pub(super) wanted: watch::Receiver<u64>,
    pub(super) stop: CancellationToken,
}

/// The lease and what is known under it.
struct Tenure {
    lease: Lease,
    state: Known,
    chores: Chores,
    /// When the last numbering began; `None` before the first.
    numbered_at: Option<Instant>,
    /// When the numbering of the last head began; `None` where a new head is due at once.
    signed_at: Option<Instant>,
}

/// What the leader knows of the published state.
enum Known {
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
                        Ok(()) = commits.changed() => {}
                        Ok(()) = self.wanted.changed() => {}
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
            self.status.send_modify(|status| {
                status.role = Role::Standby;
                status.error = None;
                status.refused = false;
            });
            return Ok(Instant::now() + limits.lease / 4);
        };
        if matches!(tenure.state, Known::Nothing) {
            self.find_out(tenure).await?;
        }
        let (due, heartbeat) = self.due(tenure).await?;
        if due {
            if let Some(numbered_at) = tenure.numbered_at {
                sleep_until(numbered_at + limits.pace).await;
            }
            self.publish(tenure, heartbeat).await?;
        }
        self.status.send_if_modified(|status| {
            status.refused = false;
            status.error.take().is_some()
        });
        if tenure.chores.due()
            && let Known::Published(Some(epoch)) = &tenure.state
        {
            tenure.chores = tenure.chores.step(&self.store, &self.config, &tenure.lease, &epoch.head).await?;
        }
        let signed_at = tenure.signed_at.unwrap_or_else(Instant::now);
        let next = (Instant::now() + limits.poll).min(signed_at + heartbeat);
        Ok(tenure.chores.wake_at().map_or(next, |chores| next.min(chores)))
    }

    async fn acquire(&self) -> Result<Option<Tenure>, Error> {
        let config = self.config.clone();
        let ttl_ms = i64::try_from(config.limits.lease.as_millis()).unwrap_or(i64::MAX);
        let lease = self
            .store
            .write(move |tx| Box::pin(async move { Lease::acquire(tx, &config.set, &config.holder, ttl_ms).await }));
        let Some(lease) = lease.await? else { return Ok(None) };
        tracing::info!(set = %self.config.set, term = lease.term(), "this process publishes the set");
        self.status.send_modify(|status| status.role = Role::Leading(lease.term().unsigned_abs()));
        self.config.reached(Step::Leading)?;
        let (state, chores) = (Known::Nothing, Chores::Prune);
        Ok(Some(Tenure { lease, state, chores, numbered_at: None, signed_at: None }))
    }

    /// Finds the published state, mends its files, and finishes a cut that was begun.
    ///
    /// The lease is renewed first: a leader that has to refuse keeps it, so that no other process publishes instead.
    async fn find_out(&mut self, tenure: &mut Tenure) -> Result<(), Error> {
        let lease = tenure.lease.clone();
        let held = self.store.write(move |tx| Box::pin(async move { lease.renew(tx).await }));
        if !held.await? {
            return Err(Error::Deposed);
        }
        let Loaded { epoch, cut, mended } = load(&self.store, &self.config).await?;
        if !mended.is_empty() {
            tracing::warn!(files = ?mended, "published files were missing or damaged and have been written again");
        }
        self.config.reached(Step::Loaded)?;
        tenure.chores = Chores::Prune;
        if let Some(epoch) = &epoch {
            self.status.send_modify(|status| status.show(&epoch.head));
        }
        match cut {
            Some(cut) => {
                drop(epoch);
                self.cut(tenure, cut).await?;
            }
            None => tenure.state = Known::Published(epoch.map(Box::new)),
        }
        // Whatever was published before, nobody has looked at the changes since.
        tenure.signed_at = None;
        Ok(())
    }

    /// Whether to number and sign now, and how far apart heads are to be.
    async fn due(&mut self, tenure: &Tenure) -> Result<(bool, Duration), Error> {
        let Known::Published(epoch) = &tenure.state else { return Ok((false, Duration::ZERO)) };
        let (state, unpublished) = {
            let mut read = self.store.read().await?;
            (
                publication::state(&mut read, &self.config.set).await?,
                publication::unnumbered(&mut read, &self.config.set).await?,
            )
        };
        self.status.send_if_modified(|status| std::mem::replace(&mut status.unpublished, unpublished) != unpublished);
        let heartbeat = Duration::from_millis(state.heartbeat_ms);
        let renewal = self.config.limits.lease / 3;
        let changed = epoch.as_ref().is_none_or(|epoch| {
            unpublished > 0
                || epoch.head.pepper != state.pepper_id
                || epoch.head.policy != policy_in_force(&state)
                || epoch.head.accepts_foreign != state.accepts_foreign
        });
        let renew = tenure.numbered_at.is_none_or(|at| at.elapsed() >= renewal);
        Ok((changed || renew || self.head_is_due(tenure, heartbeat), heartbeat))
    }

    fn head_is_due(&mut self, tenure: &Tenure, heartbeat: Duration) -> bool {
        let wanted = *self.wanted.borrow_and_update();
        let issued = self.status.borrow().issued.unwrap_or_default();
        wanted >= issued || tenure.signed_at.is_none_or(|at| at.elapsed() >= heartbeat)
    }

    /// Numbers, signs and writes.
    async fn publish(&mut self, tenure: &mut Tenure, heartbeat: Duration) -> Result<(), Error> {
        let resign = self.head_is_due(tenure, heartbeat);
        let Known::Published(epoch) = std::mem::replace(&mut tenure.state, Known::Nothing) else { return Ok(()) };
        let started = Instant::now();
        let (config, lease) = (self.config.clone(), tenure.lease.clone());
        // From here to the end, a failure leaves the state unknown: it is then found out again.
        let outcome =
            self.store.write(move |tx| Box::pin(number(tx, config, lease, epoch.map(|epoch| *epoch), resign))).await?;
        tenure.numbered_at = Some(started);
        match outcome {
            Outcome::Idle(epoch) => tenure.state = Known::Published(Some(Box::new(epoch))),
            Outcome::Signed { epoch, delta, policy } => {
                self.config.reached(Step::Signed)?;
                if let Some(policy) = policy {
                    self.write_policy(policy).await?;
                }
                if let Some((name, bytes)) = delta {
                    self.write(name, bytes).await?;
                    self.config.reached(Step::DeltaWritten)?;
                }
                self.write_head(&epoch, started).await?;
                tenure.signed_at = Some(started);
                tenure.state = Known::Published(Some(Box::new(epoch)));
            }
            Outcome::Cut(cut) => {
                self.config.reached(Step::CutBegun)?;
                self.cut(tenure, cut).await?;
                tenure.signed_at = Some(started);
            }
        }
        Ok(())
    }

    /// Builds the base of a cut and publishes it.
    async fn cut(&mut self, tenure: &mut Tenure, cut: Cut) -> Result<(), Error> {
        let started = Instant::now();
        let state = publication::state(&mut self.store.read().await?, &self.config.set).await?;
        let pepper = state.pepper_id;
        let info = BaseInfo {
            set: self.config.set.as_str().to_owned(),
            workspace: state.workspace,
            pepper: pepper.clone(),
            incarnation: cut.incarnation,
            epoch: cut.epoch,
            version: cut.version,
            cutoff: cut.cutoff,
        };
        let base = cut::build(&self.store, &self.config, info, Some(&tenure.lease)).await?;
        self.config.reached(Step::BaseBuilt)?;
        let facts = BaseFacts { root: base.root, len: base.bytes.len() as u64, keys: base.keys };
        let (config, lease, reason) = (self.config.clone(), tenure.lease.clone(), cut.reason.clone());
        let concluded =
            self.store.write(move |tx| Box::pin(cut::conclude(tx, config, lease, cut, pepper, facts))).await?;
        self.config.reached(Step::CutConcluded)?;

        self.write_policy(concluded.policy).await?;
        let bytes = self.write(concluded.head.base_name(), base.bytes).await?;
        self.config.reached(Step::BaseWritten)?;
        let (head, note) = (concluded.head, concluded.note);
        let epoch = blocking(move || {
            let replica = Replica::load(bytes, &head)?;
            Epoch::new(head, note, replica)
        })
        .await?;
        self.write_head(&epoch, started).await?;
        tracing::info!(
            epoch = epoch.head.epoch,
            version = epoch.head.version,
            keys = epoch.head.keys,
            reason,
            ms = started.elapsed().as_millis(),
            "an epoch begins"
        );
        self.status.send_modify(|status| status.last_cut = Some(started.elapsed()));
        tenure.state = Known::Published(Some(Box::new(epoch)));
        tenure.chores = Chores::Prune;
        Ok(())
    }

    async fn write(&self, name: FileName, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
        let directory = self.config.directory.clone();
        blocking(move || {
            directory.put(&name, &bytes)?;
            Ok(bytes)
        })
        .await
    }

    async fn write_policy(&self, bytes: Vec<u8>) -> Result<(), Error> {
        self.write(FileName::Policy(Hash::of(&bytes)), bytes).await?;
        self.config.reached(Step::PolicyWritten)
    }

    async fn write_head(&self, epoch: &Epoch, started: Instant) -> Result<(), Error> {
        let (directory, note) = (self.config.directory.clone(), epoch.note.clone());
        blocking(move || Ok(directory.put_head(&note)?)).await?;
        self.status.send_modify(|status| {
            status.show(&epoch.head);
            status.heads += 1;
            status.last_publish = Some(started.elapsed());
        });
        self.config.reached(Step::HeadWritten)
    }

    /// Takes note of a failure. What is known of the published state may no longer be true.
    async fn failed(&self, error: &Error, tenure: &mut Option<Tenure>) {
        let deposed = matches!(error, Error::Deposed);
        if deposed {
            *tenure = None;
        } else if let Some(tenure) = tenure {
            tenure.state = Known::Nothing;
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
            if deposed {
                status.role = Role::Standby;
            } else {
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
