//! A publisher for every set there is, and one more as soon as there is another.
//!
//! Sets are made while the server runs, by this process or by another on the same database. Each has its own lease, so that
//! several processes may share the leading; each fails for itself, so that one tenant's trouble is no other's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::domain::SetId;
use crate::metrics::Metrics;
use crate::publisher::{KeySource, Limits, Publisher, PublisherConfig, PublisherStatus, Publishers, SetDirectory};
use crate::secrets::{Keyring, Secrets, SecretsError, Vault};
use crate::store::workspaces::{self, Set};
use crate::store::{self, Store, trust};

/// How often to look for sets that another process has made.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often a publisher looks where nobody but commands beside the server changes the database.
const ALONE: Duration = Duration::from_secs(2);

/// What publishers are made of.
#[derive(Clone)]
pub(super) struct Making {
    pub(super) store: Store,
    pub(super) vault: Vault,
    pub(super) metrics: Arc<Metrics>,
    /// This process's name as holder of leases.
    pub(super) holder: String,
    /// The directory of published sets.
    pub(super) sets_dir: PathBuf,
    /// The set that the first start made: what is common to all is as it is there.
    pub(super) founding: SetId,
}

/// Why a set cannot be begun with.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error(transparent)]
    Trust(#[from] crate::trust::Error),
    #[error("the secrets do not fit the set; restore the directory `secrets` that belongs to this database")]
    Unfit,
}

/// The running publishers, and what looks for more.
#[derive(Debug)]
pub(super) struct Publishing {
    publishers: Publishers,
    stop: CancellationToken,
    looking: JoinHandle<()>,
}

impl Publishing {
    /// Starts with the founding set, which has been found in order; the others follow.
    pub(super) fn spawn(making: Making, first: &Set, keys: Keyring) -> Result<Self, super::ServeError> {
        let (publishers, stop) = (Publishers::default(), CancellationToken::new());
        let started = making.start(&publishers, first, keys, &stop);
        started.map_err(|_| super::ServeError::Unfit(first.id.to_string()))?;
        let looking = tokio::spawn(making.look_for_more(publishers.clone(), stop.clone()));
        Ok(Self { publishers, stop, looking })
    }

    pub(super) fn publishers(&self) -> &Publishers {
        &self.publishers
    }

    /// Ends all publishers after what they are doing now, together; their leases are given up.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.looking.await {
            tracing::error!(%error, "looking for new sets failed");
        }
        let all = self.publishers.all();
        futures::future::join_all(all.iter().map(|(_, published)| published.publisher().stop())).await;
    }
}

impl Making {
    async fn look_for_more(self, publishers: Publishers, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
                () = publishers.wanted() => {}
            }
            if let Err(error) = self.look(&publishers, &stop).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "new sets could not be looked for; it is tried again");
            }
        }
    }

    /// Starts publishers of the sets that have none.
    async fn look(&self, publishers: &Publishers, stop: &CancellationToken) -> Result<(), Error> {
        let mut new = workspaces::all_set_ids(&mut self.store.read().await?).await?;
        new.retain(|set| publishers.of(set).is_none());
        if new.is_empty() {
            return Ok(());
        }
        let secrets = self.vault.open().await?;
        for set in new {
            let begun = match self.prepare(&set, &secrets).await {
                Ok((set, keys)) => self.start(publishers, &set, keys, stop),
                Err(error) => Err(error),
            };
            if let Err(error) = begun {
                let why = error.to_string();
                if publishers.fail(set.clone(), why.clone()) {
                    tracing::error!(%set, why, "the set cannot be published; it is tried again");
                }
            }
        }
        Ok(())
    }

    /// Sees to it that a set has a key that signs and, where the root key is here, a list of such keys.
    async fn prepare(&self, id: &SetId, secrets: &Secrets) -> Result<(Set, Keyring), Error> {
        let (set, founding) = {
            let mut read = self.store.read().await?;
            (workspaces::any_set(&mut read, id).await?, workspaces::any_set(&mut read, &self.founding).await?)
        };
        let keys = Keyring::of(secrets, &set).ok_or(Error::Unfit)?;
        if !keys.holds_pepper(&set.pepper_id) {
            return Err(Error::Unfit);
        }
        // The key that signs for the founding set: those before it may have been a thief's.
        let common = Keyring::of(secrets, &founding).ok_or(Error::Unfit)?;
        let place = common.signers.iter().position(|one| Some(one.verifier().to_vkey()) == founding.signer);
        let wanted = keys.signers.get(place.unwrap_or_default()).ok_or(Error::Unfit)?.verifier().to_vkey();
        let named = set.id.clone();
        let signer = self.store.write::<_, store::Error, _>(move |tx| {
            Box::pin(async move { trust::name_signer(tx, &named, &wanted).await })
        });
        let set = Set { signer: Some(signer.await?), ..set };
        crate::trust::establish(&self.store, &set.workspace, &set.id, &keys).await?;
        Ok((set, keys))
    }

    fn start(&self, publishers: &Publishers, set: &Set, keys: Keyring, stop: &CancellationToken) -> Result<(), Error> {
        let source = self.key_source(set);
        let signer = set.signer.as_deref().and_then(|vkey| keys.signer(vkey)).ok_or(Error::Unfit)?;
        let config = PublisherConfig {
            set: set.id.clone(),
            holder: self.holder.clone(),
            signer: Arc::clone(signer),
            keys,
            key_source: Some(Arc::clone(&source)),
            directory: SetDirectory::new(self.sets_dir.join(set.id.as_str())),
            limits: self.limits(),
            probe: None,
        };
        let publisher = Arc::new(Publisher::spawn(self.store.clone(), config));
        tokio::spawn(note_publishes(publisher.status(), Arc::clone(&self.metrics), stop.clone()));
        publishers.insert(set.id.clone(), publisher, source);
        Ok(())
    }

    /// A publisher hears of this process's commits; it looks for those of others, which is most of what an idle set costs.
    fn limits(&self) -> Limits {
        let limits = Limits::default();
        if self.store.is_shared() { limits } else { Limits { poll: ALONE, ..limits } }
    }

    /// The keys of a set as they are whenever somebody asks.
    fn key_source(&self, set: &Set) -> KeySource {
        let (vault, set) = (self.vault.clone(), set.clone());
        Arc::new(move || {
            let (vault, set) = (vault.clone(), set.clone());
            Box::pin(async move {
                let secrets = vault.open().await?;
                Keyring::of(&secrets, &set).ok_or(SecretsError::Store(store::Error::Corrupt("set id")))
            })
        })
    }
}

/// Counts what a publisher publishes, until all end or it does.
async fn note_publishes(
    mut publisher: watch::Receiver<PublisherStatus>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let (mut noted, mut epoch) = (0, 0);
    while let Some(Ok(())) = stop.run_until_cancelled(publisher.changed()).await {
        let (version, took, cut) = {
            let status = publisher.borrow_and_update();
            let cut = status.last_cut.zip(status.last_cut_reason).map(|(took, reason)| (status.epoch, took, reason));
            (status.version, status.last_publish, cut)
        };
        if let Some((number, took, reason)) = cut.filter(|(number, ..)| *number != epoch) {
            epoch = number;
            metrics.cut(reason.as_str(), took);
        }
        if let Some(took) = took.filter(|_| version != noted) {
            noted = version;
            metrics.published(took);
        }
    }
}
