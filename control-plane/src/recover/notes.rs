//! The notes beside the published head, and who may have signed what is published.

use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Deny, Trust};

use super::Error;
use crate::publisher::directory::{DENY, TRUST};
use crate::publisher::{PublisherConfig, SetDirectory};
use crate::store::{self, Store};
use crate::trust::standing;

/// What the notes say.
pub(super) struct Notes {
    /// Those who may have signed what is published.
    pub(super) verifiers: Vec<Verifier>,
    /// A trust note that the database does not know yet.
    pub(super) newer_trust: Option<String>,
    /// The deny note, if it is to be believed.
    pub(super) deny: Option<Deny>,
}

/// Reads the notes. Those that are not to be believed count as not there.
pub(super) async fn read(
    store: &Store,
    config: &PublisherConfig,
    beside: Option<&SetDirectory>,
) -> Result<Notes, Error> {
    let (mut trust_note, mut deny_note) = (None, None);
    if let Some(directory) = beside.cloned() {
        let read = tokio::task::spawn_blocking(move || Ok((directory.note(TRUST)?, directory.note(DENY)?)));
        let read: Result<_, crate::publisher::directory::DirectoryError> =
            read.await.map_err(|_| store::Error::Closed)?;
        (trust_note, deny_note) = read.map_err(|error| Error::Notes(error.to_string()))?;
    }
    let known = standing(&mut store.read().await?, &config.set).await?.map(|standing| standing.trust);
    let mut roots: Vec<_> = config.keys.roots.iter().map(|root| root.verifier()).collect();
    roots.extend(known.iter().flat_map(|trust| trust.roots.clone()));
    let published = trust_note.as_ref().and_then(|note| Trust::open(note, &roots).ok());
    let published = published.filter(|trust| trust.set == config.set.as_str());
    let newer = match (&published, &known) {
        (Some(published), Some(known)) => published.version > known.version,
        _ => false,
    };
    let latest = if newer { &published } else { &known };
    let verifiers = match latest {
        // What a key signed that is no longer listed may be a thief's.
        Some(trust) => trust.signers.clone(),
        None => config.keys.signers.iter().map(|signer| signer.verifier()).collect(),
    };
    let all = [roots, verifiers.clone()].concat();
    let deny = deny_note.and_then(|note| Deny::open(&note, &all).ok()).filter(|deny| deny.set == config.set.as_str());
    Ok(Notes { verifiers, newer_trust: trust_note.filter(|_| newer), deny })
}
