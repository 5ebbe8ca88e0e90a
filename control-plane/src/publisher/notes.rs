//! The notes beside the head: the list of keys that sign, which is written here, and the keys that were ended while no head
//! could be signed, which are taken over from here before anything is signed.

use nightlatch_key::Digest;
use nightlatch_keyset::{Deny, Trust};

use super::blocking;
use super::config::PublisherConfig;
use super::directory::{DENY, TRUST};
use super::error::Error;
use super::leader::{Leader, Tenure};
use crate::domain::{Actor, KeyRef, Reason, WorkspaceId};
use crate::store::publication::SetState;
use crate::store::{self, Context, Tx, ended, keys, trust};
use crate::trust::{put_into_force, sign, standing};

/// What has been done about the notes.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The version of the trust note that is in place.
    trust: Option<u64>,
    /// The text of the deny note that was looked at last.
    deny: Option<String>,
    /// The version of a trust note that lists one key: there is none to leave out.
    single: Option<u64>,
    /// Somebody was told that a key is to be left out by hand.
    told: bool,
}

impl Leader {
    /// Puts the trust note into place that the next head names: edges look for it as soon as they see that head.
    pub(super) async fn write_trust(&mut self, version: Option<u64>) -> Result<(), Error> {
        let Some(version) = version.filter(|_| self.notes.trust != version) else { return Ok(()) };
        let note = trust::note(&mut self.store.read().await?, &self.config.set, version).await?;
        put_trust(&self.config, note.ok_or(store::Error::Corrupt("trust note"))?).await?;
        self.notes.trust = Some(version);
        Ok(())
    }

    /// Leaves the keys out that another took the place of, once nobody relies on their heads, where the root key is here.
    pub(super) async fn retire_keys(&mut self, tenure: &Tenure, state: &SetState) -> Result<(), Error> {
        // What is in place is what the last head named: a newer note is still on its way to edges.
        if state.trust.is_none() || self.notes.trust != state.trust || self.notes.single == state.trust {
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
    /// reason not to publish.
    pub(super) async fn take_denied(&mut self, tenure: &mut Tenure, state: &SetState) -> Result<(), Error> {
        let directory = self.config.directory.clone();
        let Some(note) = blocking(move || Ok(directory.note(DENY)?)).await? else { return Ok(()) };
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
    let context = Context {
        workspace: workspace.clone(),
        actor: Actor::system(),
        request_id: "emergency-deny".to_owned(),
        source: None,
    };
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

/// Puts a trust note into place, unless it is there. True where it was not.
pub(super) async fn put_trust(config: &PublisherConfig, note: String) -> Result<bool, Error> {
    let directory = config.directory.clone();
    blocking(move || {
        let there = directory.note(TRUST)?.as_ref() == Some(&note);
        if !there {
            directory.put_note(TRUST, &note)?;
        }
        Ok(!there)
    })
    .await
}
