//! Keeping on the disk what a warm start needs: the head in force and every file it implies. Nothing waits for this.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use nightlatch_keyset::{FileName, Head, MAX_DELTA_LEN};
use nightlatch_sync::{Fetch, implied_files};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::refresh::InForce;
use crate::store::{Note, Store, StoreError};
use crate::supply::Supply;

/// How long to wait after something could not be kept.
const PAUSE: Duration = Duration::from_secs(2);

/// Follows the head in force for as long as the process lives.
pub(crate) async fn run(supply: Arc<Supply>, mut in_force: watch::Receiver<Option<InForce>>) {
    let mut failing = false;
    while in_force.changed().await.is_ok() {
        let Some(InForce { note, head }) = in_force.borrow_and_update().clone() else { continue };
        match keep(&supply, note, &head).await {
            Ok(()) => failing = false,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!("the set is not kept for a warm start: {error}");
                }
                sleep(PAUSE).await;
                in_force.mark_changed();
            }
        }
    }
}

async fn keep(supply: &Arc<Supply>, note: String, head: &Head) -> Result<(), String> {
    let needed: BTreeSet<FileName> = implied_files(head).collect();
    for name in &needed {
        // Only who has the epoch before needs the record.
        if matches!(name, FileName::Rebase { .. }) || supply.store.has(name) || settle(supply, *name).await? {
            continue;
        }
        let fetch = Fetch { name: *name, max_len: max_len(name, head) };
        let pieces = supply.source().file(&fetch, &[]).await.map_err(|error| format!("{name}: {error}"))?;
        on_disk(supply, move |store| store.stage(&fetch.name, &pieces)).await?;
        settle(supply, *name).await?;
    }
    on_disk(supply, move |store| {
        store.flush()?;
        store.keep_note(Note::Head, &note)?;
        store.prune(&needed);
        Ok(())
    })
    .await
}

async fn settle(supply: &Arc<Supply>, name: FileName) -> Result<bool, String> {
    on_disk(supply, move |store| store.settle(&name)).await
}

/// Does what waits for the disk where it holds nobody up.
async fn on_disk<T: Send + 'static>(
    supply: &Arc<Supply>,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, String> {
    let supply = Arc::clone(supply);
    let done = spawn_blocking(move || work(&supply.store)).await.map_err(|error| error.to_string())?;
    done.map_err(|error| error.to_string())
}

/// The most bytes a file of this head may have.
fn max_len(name: &FileName, head: &Head) -> u64 {
    match name {
        FileName::Policy(_) => head.policy_len,
        FileName::Base { .. } => head.base_len,
        FileName::BasePart { part, .. } => head.base_parts.get(*part as usize).copied().unwrap_or_default(),
        FileName::Delta { .. } => MAX_DELTA_LEN as u64,
        FileName::Rebase { .. } => head.rebase.map_or(0, |(_, len)| len),
    }
}
