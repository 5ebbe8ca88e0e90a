//! Which key signs. An epoch is signed with one key from its first head to its last: another takes over where the next
//! epoch begins.

use std::sync::Arc;

use nightlatch_keyset::Head;

use super::config::PublisherConfig;
use super::error::Error;
use super::leader::Leader;
use crate::store::publication::{self, SetState};

impl Leader {
    /// Goes on with the key that the stored head is signed with: what is made again of its epoch must have the same bytes.
    pub(super) async fn sign_as_before(&mut self) -> Result<(), Error> {
        let state = publication::state(&mut self.store.read().await?, &self.config.set).await?;
        self.config = as_before(&self.config, &state).await?;
        Ok(())
    }

    /// Sees to it that this process holds the keys that the set names, and signs the next epoch with them.
    pub(super) async fn take_keys(&mut self, state: &SetState) -> Result<(), Error> {
        let lacks_signer =
            |config: &PublisherConfig| state.signer.as_ref().filter(|vkey| config.keys.signer(vkey).is_none()).cloned();
        if lacks_signer(&self.config).is_some() || !self.config.keys.holds_pepper(&state.pepper_id) {
            self.config = read_again(&self.config).await?;
        }
        if let Some(vkey) = lacks_signer(&self.config) {
            return Err(Error::SignerMissing { vkey });
        }
        self.config.pepper(&state.pepper_id)?;
        let signer = state.signer.as_ref().and_then(|vkey| self.config.keys.signer(vkey));
        self.next = signer
            .filter(|signer| signer.verifier() != self.config.signer.verifier())
            .map(|signer| Arc::new(self.config.with_keys(Arc::clone(signer), self.config.keys.clone())));
        Ok(())
    }
}

/// The configuration with the key that has signed the stored head; as it is where there is none.
pub(super) async fn as_before(config: &Arc<PublisherConfig>, state: &SetState) -> Result<Arc<PublisherConfig>, Error> {
    let Some(note) = &state.head else { return Ok(Arc::clone(config)) };
    let of_head = |config: &PublisherConfig| {
        let mut signers = std::iter::once(&config.signer).chain(&config.keys.signers);
        signers.find(|signer| Head::open(note, &[signer.verifier()]).is_ok()).cloned()
    };
    let (config, signer) = match of_head(config) {
        Some(signer) => (Arc::clone(config), Some(signer)),
        None => {
            let config = read_again(config).await?;
            let signer = of_head(&config);
            (config, signer)
        }
    };
    Ok(match signer {
        Some(signer) if signer.verifier() != config.signer.verifier() => {
            Arc::new(config.with_keys(signer, config.keys.clone()))
        }
        // Who reads the head will say what is wrong with it.
        _ => config,
    })
}

/// The configuration with the keys as they are now.
async fn read_again(config: &Arc<PublisherConfig>) -> Result<Arc<PublisherConfig>, Error> {
    let Some(source) = &config.key_source else { return Ok(Arc::clone(config)) };
    let keys = source().await?;
    Ok(Arc::new(config.with_keys(Arc::clone(&config.signer), keys)))
}
