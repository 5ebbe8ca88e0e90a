//! The leader's cycle within an epoch: number, sign, write.

use std::time::Duration;

use nightlatch_keyset::{FileName, Hash, Head};
use nightlatch_sync::Mark;
use tokio::time::Instant;

use super::believed::Believed;
use super::blocking;
use super::config::Step;
use super::epoch::Epoch;
use super::error::Error;
use super::leader::{Known, Leader, Tenure};
use super::load::describe;
use super::numbering::{Numbered, Signed, number};
use super::reason::CutReason;
use crate::store::audit::Chained;

impl Leader {
    /// Numbers, signs and writes.
    pub(super) async fn publish(&mut self, tenure: &mut Tenure, heartbeat: Duration) -> Result<(), Error> {
        let resign = self.head_is_due(tenure, heartbeat);
        let Known::Published(Some(epoch)) = std::mem::replace(&mut tenure.state, Known::Nothing) else {
            return Ok(());
        };
        let started = Instant::now();
        let (config, lease) = (self.config.clone(), tenure.lease.clone());
        // From here to the end, a failure leaves the state unknown: it is then found out again.
        let Numbered { epoch, signed, more, imports_wait, audit } =
            self.store.write(move |tx| Box::pin(number(tx, config, lease, *epoch, resign))).await?;
        (tenure.numbered_at, tenure.more) = (Some(started), more);
        tenure.imports |= imports_wait;
        if let Some(audit) = audit {
            self.chained(tenure, &audit);
        }
        let epoch = match signed {
            None => epoch,
            Some(signed) => {
                self.config.reached(Step::Signed)?;
                let epoch = self.write_version(epoch, signed).await?;
                self.write_head(&epoch, started, None).await?;
                tenure.signed_at = Some(started);
                epoch
            }
        };
        tenure.state = Known::Published(Some(Box::new(epoch)));
        Ok(())
    }

    /// Takes note of how the audit log stands. Somebody has to look at a broken one; keys are published all the same.
    pub(super) fn chained(&self, tenure: &mut Tenure, audit: &Chained) {
        tenure.audit_waits = audit.more;
        let mut broken = audit.broken.clone();
        if audit.held {
            // For a moment that is another set's leader, or somebody who erases.
            let since = *tenure.audit_held.get_or_insert_with(Instant::now);
            if since.elapsed() < self.config.limits.audit_held {
                return;
            }
            broken = Some("somebody holds the chain, a row of audit_chains, and keeps entries from it".to_owned());
        } else {
            tenure.audit_held = None;
        }
        let before = self.status.borrow().audit_broken.clone();
        if before == broken {
            return;
        }
        self.status.send_modify(|status| status.audit_broken.clone_from(&broken));
        match (&broken, before) {
            // Once, not at every head.
            (Some(why), None) => tracing::error!(
                set = %self.config.set,
                why,
                "the audit log in the database cannot be chained: unless somebody only holds it, its history was rewritten, cut or \
                 damaged. Heads keep the checkpoint that was signed last, and new entries are not chained; compare an export \
                 with the database's backups"
            ),
            (None, Some(_)) => {
                tracing::warn!(set = %self.config.set, "the audit log is the one that was signed, and is chained again");
            }
            _ => {}
        }
    }

    /// Writes what a signed version's head implies.
    async fn write_version(&self, epoch: Epoch, Signed { delta, policy }: Signed) -> Result<Epoch, Error> {
        if let Some(policy) = policy {
            self.write_policy(policy).await?;
        }
        let Some((name, bytes)) = delta else { return Ok(epoch) };
        self.write(name, bytes).await?;
        self.config.reached(Step::DeltaWritten)?;
        let (config, directory) = (self.config.clone(), self.config.directory.clone());
        let epoch = blocking(move || {
            for (name, bytes) in epoch.author.levels(&config.signer)? {
                directory.put(&name, &bytes)?;
            }
            Ok(epoch)
        })
        .await?;
        self.config.reached(Step::LevelsWritten)?;
        Ok(epoch)
    }

    /// Writes a file and gives its bytes back.
    pub(super) async fn write(&self, name: FileName, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
        let directory = self.config.directory.clone();
        blocking(move || {
            directory.put(&name, &bytes)?;
            Ok(bytes)
        })
        .await
    }

    pub(super) async fn write_policy(&self, bytes: Vec<u8>) -> Result<(), Error> {
        self.write(FileName::Policy(Hash::of(&bytes)), bytes).await?;
        self.config.reached(Step::PolicyWritten)
    }

    /// Replaces the head: everything it implies is in place. `cut` says why it begins an epoch, if it does.
    pub(super) async fn write_head(
        &mut self,
        epoch: &Epoch,
        started: Instant,
        cut: Option<CutReason>,
    ) -> Result<(), Error> {
        // Before the trust note, too: a deposed leader is not to put an older one back.
        self.refuse_if_overtaken(epoch).await?;
        self.write_trust(epoch.head.trust).await?;
        self.refuse_if_overtaken(epoch).await?;
        let (directory, note) = (self.config.directory.clone(), epoch.note.clone());
        blocking(move || Ok(directory.put_head(&note)?)).await?;
        self.status.send_modify(|status| {
            status.show(epoch);
            status.heads += 1;
            status.last_publish = Some(started.elapsed());
            if cut.is_some() {
                (status.last_cut, status.last_cut_reason) = (status.last_publish, cut);
            }
        });
        self.config.reached(Step::HeadWritten)
    }

    /// The directory may be shared with the process that has taken over meanwhile.
    async fn refuse_if_overtaken(&self, epoch: &Epoch) -> Result<(), Error> {
        let (directory, own) = (self.config.directory.clone(), self.config.signer.verifier());
        let mark = Mark::of(&epoch.head);
        let there = blocking(move || {
            let there = directory.head()?;
            // Most often it is this leader's own.
            Ok(there.filter(|note| !Head::open(note, &[own]).is_ok_and(|head| Mark::of(&head) <= mark)))
        });
        let Some(there) = there.await? else { return Ok(()) };
        let believed = Believed::read(&self.store, &self.config, Some(&epoch.note)).await?;
        match believed.head(&there).filter(|head| head.set == epoch.head.set && Mark::of(head) > mark) {
            Some(head) => Err(Error::Overtaken { what: describe(&head) }),
            None => Ok(()),
        }
    }
}
