//! The notes beside the head: the list of keys that sign, which is written here, and the keys that were ended while no head
//! could be signed, which are taken over from here before anything is signed.

use nightlatch_key::Digest;
use nightlatch_keyset::{Deny, Trust};

use super::blocking;
use super::config::PublisherConfig;
use super::directory::{DENY, TRUST};
use super::error::Error;
use super::leader::{Leader, Tenure};
use crate::domain::{KeyRef, Reason, WorkspaceId};
use crate::store::publication::SetState;
use crate::store::{self, Context, Store, Tx, ended, keys, trust};
use crate::trust::{put_into_force, sign, standing};

/// What has been done about the notes.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The trust note that the last head named: its version and text.
    trust: Option<(u64, String)>,
    /// The version of a later trust note that was left in place, if that has been said.
    newer: Option<u64>,
    /// The text of the deny note that was looked at last.
    deny: Option<String>,
    /// The version of a trust note that lists one key: there is none to leave out.
    single: Option<u64>,
    /// Somebody was told that a key is to be left out by hand.
    told: bool,
}

impl Leader {
    /// Sees to it that the trust note is in place that the next head names: edges look for it as soon as they see that
    /// head. Whatever somebody has put there meanwhile is noticed with every head.
    pub(super) async fn write_trust(&mut self, version: Option<u64>) -> Result<(), Error> {
        let Some(version) = version else { return Ok(()) };
        let note = match self.notes.trust.take().filter(|(named, _)| *named == version) {
            Some((_, note)) => note,
            None => {
                let note = trust::note(&mut self.store.read().await?, &self.config.set, version).await?;
                note.ok_or(store::Error::Corrupt("trust note"))?
            }
        };
        if let Put::Newer(newer) = put_trust(&self.store, &self.config, version, &note).await?
            && self.notes.newer.replace(newer) != Some(newer)
        {
            tracing::warn!(
                set = %self.config.set, version, newer,
                "the published trust note is newer than the one the head names, and is left in place"
            );
        }
        self.notes.trust = Some((version, note));
        Ok(())
    }

    /// Leaves the keys out that another took the place of, once nobody relies on their heads, where the root key is here.
    pub(super) async fn retire_keys(&mut self, tenure: &Tenure, state: &SetState) -> Result<(), Error> {
        // What is in place is what the last head named: a newer note is still on its way to edges.
        let named = self.notes.trust.as_ref().map(|(version, _)| *version);
        if state.trust.is_none() || named != state.trust || self.notes.single == state.trust {
            return Ok(());
        }
        let Some(standing) = standing(&mut self.store.read().await?, &self.config.set).await? else { return Ok(()) };
        if standing.trust.signers.len() == 1 {
            self.notes.single = Some(standing.trust.version);
        }
        let Some(at) = standing.retire_at().filter(|at| standing.now >= *at) else { return Ok(()) };
        let note =
            standing.without_retired().and_then(|next| sign(&next, &standing.trust.roots, &self.config.keys.roots));
        let note = match note {
            Ok(note) => note,
            Err(error) => {
                if !std::mem::replace(&mut self.notes.told, true) {
                    tracing::warn!(
                        set = %self.config.set, since = at, %error,
                        "a replaced head-signing key is still listed; run: nightlatch trust retire"
                    );
                }
                return Ok(());
            }
        };
        let (config, lease) = (self.config.clone(), tenure.lease.clone());
        let workspace = WorkspaceId::from_stored(state.workspace.clone());
        let put = self.store.write(move |tx| {
            Box::pin(async move {
                if !lease.renew(tx).await? {
                    return Err(Error::Deposed);
                }
                let why = "no head of the replaced key is relied on any more";
                Ok(put_into_force(tx, &workspace, &config.set, note, &config.keys, why).await?)
            })
        });
        let next: Trust = put.await?;
        tracing::info!(set = %self.config.set, version = next.version, "the replaced head-signing key is listed no more");
        Ok(())
    }

    /// Takes over what a deny note says, before anything is signed. One that cannot be believed is a stranger's, and no
    /// reason not to publish; nor is what cannot be read, but somebody should look.
    pub(super) async fn take_denied(&mut self, tenure: &mut Tenure, state: &SetState) -> Result<(), Error> {
        let directory = self.config.directory.clone();
        let (note, unreadable) = match blocking(move || Ok(directory.note(DENY))).await? {
            Ok(note) => (note, None),
            Err(error) => (None, Some(error.to_string())),
        };
        if unreadable.is_some() && self.status.borrow().deny_unreadable.is_none() {
            tracing::error!(
                set = %self.config.set, error = unreadable,
                "the deny note cannot be read: keys that it ends are not revoked here, and publishing goes on without them"
            );
        }
        self.status.send_if_modified(|status| {
            let before = std::mem::replace(&mut status.deny_unreadable, unreadable.clone());
            before != unreadable
        });
        let Some(note) = note else { return Ok(()) };
        if self.notes.deny.as_ref() == Some(&note) {
            return Ok(());
        }
        let set = &self.config.set;
        let listed = standing(&mut self.store.read().await?, set).await?.map(|standing| standing.trust);
        let mut verifiers = match listed {
            Some(Trust { roots, signers, .. }) => [roots, signers].concat(),
            None => self.config.verifiers(),
        };
        verifiers.extend(self.config.keys.roots.iter().map(|root| root.verifier()));
        match Deny::open(&note, &verifiers) {
            Ok(deny) if deny.set == set.as_str() => {
                let (workspace, lease) = (WorkspaceId::from_stored(state.workspace.clone()), tenure.lease.clone());
                let number = deny.number;
                let taken = self.store.write(move |tx| {
                    Box::pin(async move {
                        if !lease.renew(tx).await? {
                            return Err(Error::Deposed);
                        }
                        Ok(deny_all(tx, &workspace, deny.number, &deny.digests).await?)
                    })
                });
                let Denied { revoked, unknown } = taken.await?;
                tracing::warn!(%set, number, ?revoked, ?unknown, "a deny note was taken over: its keys are revoked");
                // The very next head says so.
                tenure.signed_at = None;
            }
            Ok(deny) => tracing::warn!(%set, other = deny.set, "the deny note is of another set and is ignored"),
            Err(error) => tracing::warn!(%set, %error, "the deny note is not to be believed and is ignored"),
        }
        self.notes.deny = Some(note);
        Ok(())
    }
}

/// What came of a deny note.
#[derive(Debug, Default)]
pub(crate) struct Denied {
    /// Keys that were revoked by it. Ids.
    pub(crate) revoked: Vec<String>,
    /// Digests that no key has.
    pub(crate) unknown: Vec<String>,
}

/// Revokes the keys with these digests.
pub(crate) async fn deny_all(
    tx: &mut Tx,
    workspace: &WorkspaceId,
    number: u64,
    digests: &[Digest],
) -> Result<Denied, store::Error> {
    let mut denied = Denied::default();
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for digest in digests {
        match keys::by_digest(tx, workspace, digest).await? {
            Some(view) => found.push((view.key.number, view.key.id)),
            None => {
                unknown.push(*digest);
                denied.unknown.push(digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect());
            }
        }
    }
    // Keys are locked in this order everywhere.
    found.sort_unstable_by_key(|(number, _)| *number);
    let context = Context::system(workspace.clone(), "emergency-deny");
    let mut ids: Vec<_> = found.into_iter().map(|(_, id)| id).collect();
    loop {
        for id in ids {
            let reason = Reason::new(format!("emergency deny note {number}"))?;
            if keys::revoke(tx, &context, &KeyRef::Id(id.clone()), Some(reason)).await?.changed {
                denied.revoked.push(id.to_string());
            }
        }
        // Nobody takes these in any more; who was faster has a row now.
        let taken = ended::remember_digests(tx, workspace, &std::mem::take(&mut unknown)).await?;
        if taken.is_empty() {
            return Ok(denied);
        }
        ids = Vec::new();
        for digest in &taken {
            ids.extend(keys::by_digest(tx, workspace, digest).await?.map(|view| view.key.id));
        }
    }
}

/// What became of a trust note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It was in place.
    There,
    /// It was not, and is now.
    Written,
    /// One of this later version is in place, and stays.
    Newer(u64),
}

/// Puts a trust note into place, unless it or a later one is there that edges would believe: a note is never taken back.
pub(super) async fn put_trust(store: &Store, config: &PublisherConfig, version: u64, note: &str) -> Result<Put, Error> {
    let directory = config.directory.clone();
    let there = blocking(move || Ok(directory.note(TRUST)?)).await?;
    if there.as_deref() == Some(note) {
        return Ok(Put::There);
    }
    if let Some(there) = there
        && let Some(standing) = standing(&mut store.read().await?, &config.set).await?
    {
        // The latest may be signed by roots of the one before alone.
        let latest = (there == standing.note).then_some(&standing.trust).cloned();
        let newer = latest.or_else(|| Trust::open(&there, &standing.trust.roots).ok());
        if let Some(newer) = newer.filter(|newer| newer.set == config.set.as_str() && newer.version > version) {
            return Ok(Put::Newer(newer.version));
        }
    }
    let (directory, note) = (config.directory.clone(), note.to_owned());
    blocking(move || Ok(directory.put_note(TRUST, &note)?)).await?;
    Ok(Put::Written)
}
