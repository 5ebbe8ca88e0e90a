//! Waking whoever waits for a receipt when an edge of the same workspace says something: with many tenants, somebody always
//! does.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::domain::WorkspaceId;

/// Those who wait, by workspace.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<HashMap<WorkspaceId, watch::Sender<()>>>);

impl Heard {
    /// Wakes whoever waits for something in a workspace.
    pub(super) fn say(&self, workspace: &WorkspaceId) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = waiting.get(workspace) else { return };
        sender.send_replace(());
        // Somebody may have gone without being waken.
        if sender.receiver_count() == 0 {
            waiting.remove(workspace);
        }
    }

    /// Changes whenever [`Heard::say`] is called for that workspace.
    pub(super) fn listen(&self, workspace: &WorkspaceId) -> watch::Receiver<()> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|one, sender| one == workspace || sender.receiver_count() > 0);
        waiting.entry(workspace.clone()).or_default().subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_08_whoever_waits_is_woken_for_its_own_workspace_alone() {
        let [mine, other] = ["ws_1", "ws_2"].map(|id| WorkspaceId::from_stored(id.to_owned()));
        let heard = Heard::default();
        let (mut first, mut second, mut foreign) = (heard.listen(&mine), heard.listen(&mine), heard.listen(&other));
        heard.say(&mine);
        assert!(first.has_changed().unwrap() && second.has_changed().unwrap() && !foreign.has_changed().unwrap());
        first.mark_unchanged();
        second.mark_unchanged();
        heard.say(&other);
        assert!(!first.has_changed().unwrap() && !second.has_changed().unwrap() && foreign.has_changed().unwrap());
        foreign.mark_unchanged();
        // Nothing is kept of those who have gone.
        drop((first, second));
        heard.say(&mine);
        drop(foreign);
        let third = heard.listen(&mine);
        assert_eq!(heard.0.lock().unwrap().len(), 1);
        heard.say(&mine);
        assert!(third.has_changed().unwrap());
    }
}
