//! What is in force is brought to the disk, and only then told of: a restart goes on from there.

use std::sync::Arc;

use nightlatch_sync::Mark;
use tokio::task::spawn_blocking;

use super::{InForce, Refresher};
use crate::mark;
use crate::mark::Kept;
use crate::store::Note;

impl Refresher {
    /// Has the mark on the disk, lets it be told of, and has the mirror keep the rest.
    pub(super) async fn has_in_force(&mut self, note: String) {
        let head = {
            let gate = self.shared.gate();
            let Some(loaded) = gate.edge.loaded() else { return };
            self.shared.clock.saw(loaded.head().issued);
            loaded.head().clone()
        };
        self.keep().await;
        self.in_force.send_if_modified(|held| {
            let news = held.as_ref().is_none_or(|held| held.note != note);
            if news {
                *held = Some(InForce { note, head });
            }
            news
        });
    }

    /// Keeps mark and notes. What cannot be kept is not confirmed, and said.
    pub(super) async fn keep(&mut self) {
        let (kept, trust, deny) = {
            let gate = self.shared.gate();
            let text = |note: Option<&str>| note.map(str::to_owned);
            // Where a trust note took the mark away, its floor is what is left.
            let floor = || {
                let [incarnation, epoch, version] = gate.edge.trust()?.floor;
                Some(Mark { incarnation, epoch, version, issued: 0 })
            };
            let (trust, deny) = (text(gate.edge.trust_note()), text(gate.edge.deny_note()));
            let kept = Kept {
                mark: gate.edge.mark().or_else(floor),
                signer: gate.edge.marked_by(),
                trust: gate.edge.trust().map(|trust| trust.version).max(self.kept.trust),
                deny: deny.as_deref().and_then(mark::deny_number).max(self.kept.deny),
            };
            (kept, trust, deny)
        };
        let news =
            |held: &Option<String>, kept: &Option<String>| held.clone().filter(|held| kept.as_ref() != Some(held));
        let (new_trust, new_deny) = (news(&trust, &self.kept_trust), news(&deny, &self.kept_deny));
        let new_mark = Some(kept).filter(|kept| *kept != self.kept);
        let supply = Arc::clone(&self.supply);
        let done = spawn_blocking(move || {
            // The mark before the trust note: were it the other way round, a crash could leave the mark of a thief in force
            // beside the note that ends it.
            new_mark.map_or(Ok(()), |kept| supply.store.keep_mark(&kept))?;
            new_trust.map_or(Ok(()), |note| supply.store.keep_note(Note::Trust, &note))?;
            new_deny.map_or(Ok(()), |note| supply.store.keep_note(Note::Deny, &note))
        });
        let done =
            done.await.map_err(|error| error.to_string()).and_then(|done| done.map_err(|error| error.to_string()));
        let mut status = self.shared.status();
        match done {
            Ok(()) => {
                if status.not_persisted.take().is_some() {
                    tracing::info!("the state is kept again");
                }
                status.persisted = kept.mark;
                (self.kept, self.kept_trust, self.kept_deny) = (kept, trust, deny);
            }
            Err(error) => {
                if status.not_persisted.is_none() {
                    tracing::error!("the state cannot be kept, so nothing is confirmed; serving goes on: {error}");
                }
                status.not_persisted = Some(error);
            }
        }
        drop(status);
        if new_mark.is_some() {
            self.shared.news.notify_one();
        }
    }
}
