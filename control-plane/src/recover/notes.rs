//! The notes beside the published head, and who may have signed what is published.
//!
//! They are looked for wherever the published set is read, and in the control plane's own directory: a key may have been
//! denied, or a stolen one left out, in either place alone.

use nightlatch_key::Digest;
use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Deny, Trust};

use super::Error;
use crate::publisher::PublisherConfig;
use crate::publisher::directory::DirectoryError;
use crate::store::{self, Store};
use crate::sync_job::{Answer, NoteName, Source};
use crate::trust::standing;

/// What the notes say.
pub(super) struct Notes {
    /// Those who may have signed what is published.
    pub(super) verifiers: Vec<Verifier>,
    /// A trust note that the database does not know yet.
    pub(super) newer_trust: Option<String>,
    /// What the deny notes name that are to be believed, all of them.
    pub(super) denied: Vec<Digest>,
}

/// Reads the notes. Those that are not to be believed count as not there.
pub(super) async fn read(store: &Store, config: &PublisherConfig, source: &Source) -> Result<Notes, Error> {
    let known = standing(&mut store.read().await?, &config.set).await?.map(|standing| standing.trust);
    let held: Vec<_> = config.keys.roots.iter().map(|root| root.verifier()).collect();
    let mut roots = held.clone();
    roots.extend(known.iter().flat_map(|trust| trust.roots.clone()));
    let mut newer: Option<(Trust, String)> = None;
    for note in texts(config, source, NoteName::Trust).await? {
        let Ok(trust) = Trust::open(&note, &roots) else { continue };
        let before = newer.as_ref().map(|(trust, _)| trust).or(known.as_ref());
        if trust.set == config.set.as_str() && before.is_some_and(|before| trust.version > before.version) {
            newer = Some((trust, note));
        }
    }
    let (listed, newer_trust) = match newer {
        Some((trust, note)) => (Some(trust), Some(note)),
        None => (known, None),
    };
    let (mut able, verifiers) = match listed {
        // What a key signed that is no longer listed may be a thief's.
        Some(trust) => (trust.roots, trust.signers),
        None => (Vec::new(), config.keys.signers.iter().map(|signer| signer.verifier()).collect()),
    };
    able.extend(held.into_iter().chain(verifiers.clone()));
    let mut denied = Vec::new();
    for note in texts(config, source, NoteName::Deny).await? {
        match Deny::open(&note, &able) {
            Ok(deny) if deny.set == config.set.as_str() => denied.extend(deny.digests),
            Ok(deny) => tracing::warn!(other = deny.set, "a deny note is of another set and is ignored"),
            Err(error) => tracing::warn!(%error, "a deny note is not to be believed and is ignored"),
        }
    }
    denied.sort_by_key(|digest| *digest.as_bytes());
    denied.dedup_by_key(|digest| *digest.as_bytes());
    Ok(Notes { verifiers, newer_trust, denied })
}

/// The texts of a note, wherever there is one.
async fn texts(config: &PublisherConfig, source: &Source, name: NoteName) -> Result<Vec<String>, Error> {
    let directory = config.directory.clone();
    let read: Result<_, DirectoryError> =
        tokio::task::spawn_blocking(move || directory.note(name.as_str())).await.map_err(|_| store::Error::Closed)?;
    let mut texts: Vec<_> = read.map_err(|error| Error::Notes(error.to_string()))?.into_iter().collect();
    if let Answer::Text(text) = source.note(name, false).await? {
        texts.push(text);
    }
    Ok(texts)
}
