//! What has to be done now and then: erasing kept secrets, closing lapsed rotations, forgetting old sessions.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::store::{
    Error, Store, edges, idempotency, oidc_flows, receipts, replicas, rotations, sessions, sign_in_guesses,
};

/// How often to tidy. Secrets are kept for 15 minutes, give or take this.
const INTERVAL: Duration = Duration::from_secs(15);
/// Most rotations closed in one mutation, so that others need not wait long.
const MAX_LAPSED: u32 = 200;

/// The running task.
#[derive(Debug)]
pub(super) struct Chores {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Chores {
    /// Starts them.
    pub(super) fn spawn(store: Store, instance: String) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(tidy(store, instance, stop.clone()));
        Self { stop, task }
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the chores failed");
        }
    }
}

async fn tidy(store: Store, instance: String, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if !still_runs(&store, &instance).await {
            continue;
        }
        let swept = store.write::<_, Error, _>(|tx| Box::pin(idempotency::sweep(tx))).await;
        report("erasing kept secrets", swept);
        report("closing lapsed rotations", settle(&store).await);
        let forgotten = store.write::<_, Error, _>(|tx| Box::pin(edges::forget_silent(tx))).await;
        report("forgetting silent edges", forgotten);
        let ended = store.write::<_, Error, _>(|tx| Box::pin(sessions::sweep(tx))).await;
        report("forgetting old sessions", ended);
        let guesses = store.write::<_, Error, _>(|tx| Box::pin(sign_in_guesses::sweep(tx))).await;
        report("forgetting old sign-in tries", guesses);
        let flows = store.write::<_, Error, _>(|tx| Box::pin(oidc_flows::sweep(tx))).await;
        report("forgetting abandoned sign-ins", flows);
        report("noting revocations", note_revocations(&store).await);
        // Some of many at every tick: edges refuse these keys already.
        let revoked = store.write::<_, Error, _>(|tx| Box::pin(receipts::publish_revoked(tx))).await;
        report("publishing keys that were revoked with their member", revoked);
    }
    let said = store.write::<_, Error, _>(move |tx| Box::pin(async move { replicas::ends(tx, &instance).await })).await;
    report("saying that this process ends", said.map(|()| 0));
}

/// Says that this process runs, and finds out whether it still may: otherwise it writes nothing, and leads nothing.
async fn still_runs(store: &Store, instance: &str) -> bool {
    let (name, schema) = (instance.to_owned(), store.schema());
    let said = store
        .write::<_, Error, _>(move |tx| Box::pin(async move { replicas::still_runs(tx, &name, schema).await }))
        .await;
    match said {
        Err(error @ Error::SchemaTooNew { .. }) => {
            tracing::error!(%error, "this process can no longer use the database and changes nothing; stop it");
            false
        }
        other => {
            report("saying that this process runs", other.map(|()| 0));
            true
        }
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

/// Closes lapsed rotations, of one workspace at a time.
async fn settle(store: &Store) -> Result<u64, Error> {
    let mut all = 0;
    loop {
        match store.write::<_, Error, _>(|tx| Box::pin(rotations::settle_lapsed(tx, MAX_LAPSED))).await? {
            0 => return Ok(all),
            closed => all += closed,
        }
    }
}

fn report(what: &str, result: Result<u64, Error>) {
    match result {
        Ok(0) => {}
        Ok(count) => tracing::debug!(count, "{what}"),
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "{what} failed; it is tried again"),
    }
}
