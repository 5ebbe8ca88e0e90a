//! Recovery: a database that was restored from a backup takes over what was published since.
//!
//! What edges were told is final, whatever the database remembers: keys that were published as revoked are revoked again,
//! in the database, before anything is signed. Then the incarnation is raised, so that everything published from here on
//! is newer than everything published before, and the set is made anew from the database.

mod findings;
mod log;
mod notes;
mod published;

use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{FileName, Head, StatementError};
use serde::Serialize;

use crate::domain::{KeyRef, Reason, Refusal, WorkspaceId};
use crate::publisher::{Publisher, PublisherConfig, PublisherStatus};
use crate::store::lease::Lease;
use crate::store::recovery::{self, Above};
use crate::store::{self, Context, Store, ended, keys, members, publication};
use crate::sync_job::{Source, SyncError};
use crate::trust::put_into_force;
use nightlatch_sync::Mark;

use findings::Subject;
pub use findings::{Findings, Found, Stopped, Why, Wider};
use published::Published;

/// Keys changed in one transaction.
const BATCH: usize = 100;

/// Hears what is being done, how much of it is, and how much there is.
pub type Progress<'a> = &'a (dyn Fn(&'static str, u64, u64) + Sync);

/// Why a recovery does not come to its end. What it has revoked stays revoked; it can be run again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The published set cannot be read.
    #[error(transparent)]
    Source(#[from] SyncError),
    /// A note beside the head cannot be read.
    #[error("{0}")]
    Notes(String),
    /// There is no head.
    #[error("nothing is published there: give --from the directory or address that edges read")]
    NothingPublished,
    /// The head is not one of this set's signers.
    #[error(
        "the published head is not to be believed: {0}. If it was written by a stranger, read the set from another of its \
         copies with --from"
    )]
    Head(StatementError),
    /// What is read is not the last that was published.
    #[error(
        "this control plane's own directory has a later head than what is read: incarnation {}, epoch {}, version {}. Run it \
         without --from. Where the files there are damaged, read the set from a copy that is as new; where there is none, move \
         that directory away first: what was revoked since the older copy is then active again"
    , .0.incarnation, .0.epoch, .0.version)]
    Older(At),
    /// It is another set's.
    #[error("what is published there is set {0}, which is not this database's")]
    OtherSet(String),
    /// A file is missing or not what was signed.
    #[error("{0} {1}; read the set from another of its copies with --from")]
    Broken(FileName, String),
    /// The set is not what was signed.
    #[error("the published set is damaged: {0}; read it from another of its copies with --from")]
    Damaged(String),
    /// The tags cannot be compared.
    #[error(
        "the published set is made with pepper {0}, which this process does not hold. Restore it: the file secrets/pepper-{0} \
         (secrets/pepper where it was the first) of the control plane's data directory, or, where secrets are sealed under a \
         master key, the row of the table shared_secrets with the kind pepper and the name {0} from a later copy of the \
         database. Without a master key, the text `{0}:…` that edges of the first workspace have in \
         NIGHTLATCH_PEPPERS, put into secrets/pepper-{0} with the mode 0600, does as well: those of others are derived from \
         it and secrets/server.key"
    )]
    Pepper(String),
    /// None of the keys that may sign is held.
    #[error(
        "the published trust note lists no head-signing key that this process holds, only: {0}. Restore one of them: the \
         files secrets/head-*.key (secrets/head.key where it was the first) of the control plane's data directory, or, \
         where secrets are sealed under a master key, the rows of the table shared_secrets with the kind head from a later \
         copy of the database"
    )]
    Signer(String),
    /// The list of keys that sign.
    #[error(transparent)]
    Trust(#[from] crate::trust::Error),
    /// A server runs.
    #[error(
        "another process publishes the set: stop every control plane on this database first (a killed one's lease runs out \
         by itself within seconds)"
    )]
    Led,
    /// Publishing what was recovered is refused.
    #[error("the set was recovered and cannot be published yet: {0}")]
    Refused(String),
}

/// Where a set is, in the order in which states follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct At {
    /// Recovery count.
    pub incarnation: u64,
    /// Base number.
    pub epoch: u64,
    /// Change counter.
    pub version: u64,
}

impl At {
    fn of(head: &Head) -> Self {
        Self { incarnation: head.incarnation, epoch: head.epoch, version: head.version }
    }
}

/// What a recovery did, or would do.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The set.
    pub set: String,
    /// Nothing was changed.
    pub dry_run: bool,
    /// What was published.
    pub published: At,
    /// What the database had.
    pub database: At,
    /// Whether the published set is ahead: otherwise there is nothing to recover.
    pub ahead: bool,
    /// Whether it was not published from this database's history, whatever the numbers say: the database was restored, and
    /// has published elsewhere since.
    pub forked: bool,
    /// What the published set says that the database did not.
    #[serde(flatten)]
    pub findings: Findings,
    /// What is published now; none where nothing was changed.
    pub now: Option<At>,
}

/// A set, the database it was restored in, and the keys of its publisher.
pub struct Recovery<'a> {
    /// The database.
    pub store: &'a Store,
    /// Its workspace.
    pub workspace: &'a WorkspaceId,
    /// How the set is published.
    pub config: PublisherConfig,
    /// Hears how far it is.
    pub progress: Progress<'a>,
}

impl Recovery<'_> {
    /// Compares, and, unless `dry_run` says otherwise, revokes, raises the incarnation, and publishes the set anew.
    ///
    /// # Errors
    /// [`Error`] says what is in the way. What was done so far is not undone; running it again goes on.
    pub async fn run(self, source: Source, dry_run: bool) -> Result<Report, Error> {
        let set = self.config.set.clone();
        let lease = if dry_run { None } else { Some(self.lead().await?) };
        let notes = notes::read(self.store, &self.config, &source).await?;
        let reading = |bytes| (self.progress)("bytes read of the published set", bytes, 0);
        let published = Published::read(source, &notes.verifiers, &reading).await?;
        let head = &published.head;
        if head.set != set.as_str() {
            return Err(Error::OtherSet(head.set.clone()));
        }
        // Known before anything is changed, and by a dry run.
        let listed = notes.verifiers.iter().map(Verifier::to_vkey);
        if !listed.clone().any(|vkey| self.config.keys.signer(&vkey).is_some()) {
            return Err(Error::Signer(listed.collect::<Vec<_>>().join(" ")));
        }
        let peppers = &self.config.keys.peppers;
        let pepper = peppers.iter().find(|one| one.id() == head.pepper && one.check() == head.pepper_check);
        let pepper = pepper.ok_or_else(|| Error::Pepper(head.pepper.clone()))?;
        let (state, told) = {
            let mut read = self.store.read().await?;
            let (version, commitment) = (published.replica.version(), published.replica.commitment());
            let told = recovery::has_published(&mut read, &set, version, commitment).await?;
            (publication::state(&mut read, &set).await?, told)
        };
        let here = Published::here(&self.config, &notes.verifiers).await?;
        if let Some(later) = here.as_ref().filter(|here| Mark::of(here) > Mark::of(head)) {
            let mut read = self.store.read().await?;
            // A database that has published it knows all that it says.
            if !recovery::has_published(&mut read, &set, later.version, &later.commitment).await? {
                return Err(Error::Older(At::of(later)));
            }
        }
        let database = At { incarnation: state.incarnation, epoch: state.epoch, version: state.version };
        let there = At { incarnation: head.incarnation, epoch: head.epoch, version: published.replica.version() };
        // The database has gone on from where that state is not. Short of that version, it has not come to it yet.
        let passed = state.version >= there.version;
        let forked = passed && !told;
        let subject = Subject { store: self.store, workspace: self.workspace, set: &set, forked };
        let mut findings = findings::compare(&subject, &published, pepper, self.progress).await?;
        findings.deny(self.store, self.workspace, &notes.denied).await?;
        // What was published under an earlier incarnation is in nobody's way: only what it ended matters.
        let split = forked && (there.incarnation >= database.incarnation || findings.has_changes());
        let newer = there == database && head.issued > state.head_issued;
        let mut report = Report {
            set: set.to_string(),
            dry_run,
            published: there,
            database,
            ahead: there > database || newer || split,
            forked,
            findings,
            now: None,
        };
        let (Some(lease), true) = (lease, report.ahead) else { return Ok(report) };
        if let Some(note) = notes.newer_trust {
            self.take_trust(note).await?;
        }
        let kept = self.suspend(&report.findings.members_refused, &lease).await?;
        report.findings.disable(kept);
        self.change(&report.findings, &lease).await?;
        self.take_down(&report.findings, &published, &lease).await?;
        let logs = [&published.head].into_iter().chain(&here).filter_map(log::Signed::by).collect();
        self.raise(&published, logs, &report, &lease).await?;
        report.now = Some(self.publish().await?);
        Ok(report)
    }

    async fn lead(&self) -> Result<Lease, Error> {
        let (set, holder) = (self.config.set.clone(), self.config.holder.clone());
        let ttl = u64::try_from(self.config.limits.lease.as_millis()).unwrap_or(u64::MAX >> 1);
        let acquire = self.store.write::<_, store::Error, _>(move |tx| {
            Box::pin(async move { Lease::acquire(tx, &set, &holder, ttl).await })
        });
        acquire.await?.ok_or(Error::Led)
    }

    async fn take_trust(&self, note: String) -> Result<(), Error> {
        let (workspace, set, keys) = (self.workspace.clone(), self.config.set.clone(), self.config.keys.clone());
        let put = self.store.write(move |tx| {
            Box::pin(async move {
                put_into_force(tx, &workspace, &set, note, &keys, "published before the database was restored").await
            })
        });
        Ok(put.await.map(drop)?)
    }

    /// Suspends members that were published as refused. Returns the keys of those that cannot be, because nobody else owns
    /// the workspace by the restored database: they are disabled one by one.
    async fn suspend(&self, members: &[Stopped], lease: &Lease) -> Result<Vec<(u32, String)>, Error> {
        let mut keys = Vec::new();
        for member in members {
            let (lease, context, id) = (lease.clone(), context(self.workspace), member.id.clone());
            let suspended = self.store.write(move |tx| {
                Box::pin(async move {
                    if !lease.renew(tx).await? {
                        return Err(Error::Led);
                    }
                    members::suspend(tx, &context, &id, Some(&published_as("refused"))).await?;
                    Ok(())
                })
            });
            match suspended.await {
                Ok(()) => {}
                Err(Error::Store(store::Error::Refused(Refusal::LastOwner))) => {
                    keys.extend(member.active.iter().cloned());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(keys)
    }

    async fn change(&self, findings: &Findings, lease: &Lease) -> Result<(), Error> {
        let revoke = findings.revoked.iter().map(|found| (found.number, Some(found.why)));
        let disable = findings.to_disable.iter().map(|number| (*number, None));
        let mut all: Vec<_> = revoke.chain(disable).collect();
        // Keys are locked in this order everywhere.
        all.sort_unstable_by_key(|(number, _)| *number);
        let total = all.len() as u64;
        let mut done = 0;
        for batch in all.chunks(BATCH) {
            let (batch, lease, context) = (batch.to_vec(), lease.clone(), context(self.workspace));
            let count = batch.len() as u64;
            self.store
                .write(move |tx| {
                    Box::pin(async move {
                        if !lease.renew(tx).await? {
                            return Err(Error::Led);
                        }
                        for (number, why) in batch {
                            let key = KeyRef::Number(number);
                            match why {
                                Some(why) => keys::revoke(tx, &context, &key, Some(reason(why))).await?,
                                None => keys::disable(tx, &context, &key, Some(published_as("disabled"))).await?,
                            };
                        }
                        Ok(())
                    })
                })
                .await?;
            done += count;
            (self.progress)("revoking what was published as revoked", done, total);
        }
        Ok(())
    }

    /// Takes down what is ended and has no row, before anybody can take it in again.
    async fn take_down(&self, findings: &Findings, published: &Published, lease: &Lease) -> Result<(), Error> {
        let total = findings.ended.len() as u64;
        let mut done = 0;
        // The digests come with the first batch, which may be of no tags.
        let mut digests = findings.denied.clone();
        let mut rest = findings.ended.as_slice();
        while !rest.is_empty() || !digests.is_empty() {
            let (batch, later) = rest.split_at(rest.len().min(BATCH * 10));
            rest = later;
            let (tags, digests) = (batch.to_vec(), std::mem::take(&mut digests));
            let (workspace, set, lease) = (self.workspace.clone(), self.config.set.clone(), lease.clone());
            let tagging = published.tagging();
            let remember = self.store.write::<_, Error, _>(move |tx| {
                Box::pin(async move {
                    if !lease.renew(tx).await? {
                        return Err(Error::Led);
                    }
                    ended::remember_digests(tx, &workspace, &digests).await?;
                    Ok(ended::remember_tags(tx, &workspace, &set, &tagging, &tags).await?)
                })
            });
            remember.await?;
            done += batch.len() as u64;
            (self.progress)("taking down what was published as ended", done, total);
        }
        Ok(())
    }

    async fn raise(
        &self,
        published: &Published,
        logs: Vec<log::Signed>,
        report: &Report,
        lease: &Lease,
    ) -> Result<(), Error> {
        let Head { issued, valid_until, open_until, pepper, .. } = &published.head;
        let above = Above {
            incarnation: report.published.incarnation,
            epoch: report.published.epoch,
            version: report.published.version,
            issued: *issued,
            validity_ms: valid_until.saturating_sub(*issued),
            open_ms: open_until.map_or(0, |until| until.saturating_sub(*issued)),
            pepper: pepper.clone(),
            signer: self.config.keys.signer(&published.signer).map(|_| published.signer.clone()),
            key_number: report.findings.highest.0,
            subject: report.findings.highest.1,
        };
        let (set, lease, context) = (self.config.set.clone(), lease.clone(), context(self.workspace));
        let signer = self.config.keys.signer(&published.signer).unwrap_or(&self.config.signer).clone();
        let log = log::Published { logs, forked: report.forked };
        let raised = self.store.write(move |tx| {
            Box::pin(async move {
                if !lease.renew(tx).await? {
                    return Err(Error::Led);
                }
                let (incarnation, _) = recovery::raise(tx, &context, &set, &above).await?;
                log::own_up(tx, &context, &set, incarnation, &log, &signer).await?;
                Ok::<_, Error>(())
            })
        });
        raised.await
    }

    /// Has the set made anew. A server that is started instead would do the same.
    async fn publish(self) -> Result<At, Error> {
        let state = publication::state(&mut self.store.read().await?, &self.config.set).await?;
        let publisher = Publisher::spawn(self.store.clone(), self.config);
        let mut status = publisher.status();
        let outcome = loop {
            let PublisherStatus { incarnation, epoch, version, issued, refused, error, build, .. } =
                status.borrow_and_update().clone();
            if incarnation == state.incarnation && issued.is_some() && version > 0 {
                break Ok(At { incarnation, epoch, version });
            }
            if let Some(error) = error.filter(|_| refused) {
                break Err(Error::Refused(error));
            }
            if let Some(build) = build {
                (self.progress)("making the set anew", build.rows, build.expected);
            }
            if status.changed().await.is_err() {
                break Err(store::Error::Closed.into());
            }
        };
        publisher.stop().await;
        outcome
    }
}

/// As whom a recovery changes keys.
fn context(workspace: &WorkspaceId) -> Context {
    Context::system(workspace.clone(), "recover")
}

fn reason(why: Why) -> Reason {
    published_as(match why {
        Why::Revoked => "revoked",
        Why::Ended => "ended",
        Why::Left => "ended long ago",
        Why::Denied => "denied",
    })
}

fn published_as(what: &str) -> Reason {
    Reason::new(format!("recovered: published as {what} before the database was restored"))
        .expect("a short text is a reason")
}
