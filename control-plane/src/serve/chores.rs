//! What has to be done now and then: erasing kept secrets, closing lapsed rotations, noting publishes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::publisher::PublisherStatus;
use crate::store::{Error, Store, edges, idempotency, receipts, rotations};

/// How often to tidy. Secrets are kept for 15 minutes, give or take this.
const INTERVAL: Duration = Duration::from_secs(15);
/// Most rotations closed in one mutation, so that others need not wait long.
const MAX_LAPSED: u32 = 200;

/// The running tasks.
#[derive(Debug)]
pub(super) struct Chores {
    stop: CancellationToken,
    tasks: [JoinHandle<()>; 2],
}

impl Chores {
    pub(super) fn spawn(store: Store, publisher: watch::Receiver<PublisherStatus>, metrics: Arc<Metrics>) -> Self {
        let stop = CancellationToken::new();
        let tidying = tokio::spawn(tidy(store, stop.clone()));
        let noting = tokio::spawn(note_publishes(publisher, metrics, stop.clone()));
        Self { stop, tasks: [tidying, noting] }
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a chore failed");
            }
        }
    }
}

async fn tidy(store: Store, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let swept = store.write::<_, Error, _>(|tx| Box::pin(idempotency::sweep(tx))).await;
        report("erasing kept secrets", swept);
        let settled = store.write::<_, Error, _>(|tx| Box::pin(rotations::settle_lapsed(tx, MAX_LAPSED))).await;
        report("closing lapsed rotations", settled);
        let forgotten = store.write::<_, Error, _>(|tx| Box::pin(edges::forget_silent(tx))).await;
        report("forgetting silent edges", forgotten);
        report("noting revocations", note_revocations(&store).await);
        // Some of many at every tick: edges refuse these keys already.
        let revoked = store.write::<_, Error, _>(|tx| Box::pin(receipts::publish_revoked(tx))).await;
        report("publishing keys that were revoked with their member", revoked);
    }
}

/// Notes of revocations what nobody has noted who made or read them.
async fn note_revocations(store: &Store) -> Result<u64, Error> {
    // From a snapshot that is over before the clock is read: what it shows is committed.
    let unnoted = receipts::unnoted(&mut store.read().await?).await?;
    if unnoted.is_empty() {
        return Ok(0);
    }
    store.write(move |tx| Box::pin(async move { receipts::note(tx, &unnoted).await })).await
}

fn report(what: &str, result: Result<u64, Error>) {
    match result {
        Ok(0) => {}
        Ok(count) => tracing::debug!(count, "{what}"),
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "{what} failed; it is tried again"),
    }
}

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
