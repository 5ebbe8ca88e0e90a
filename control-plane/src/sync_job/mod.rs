//! The sync job: copies a set's published files to where edges read them.
//!
//! It holds no signing key and changes no byte. Every file is checked against what was signed before it is written;
//! immutable files go first, the head last, and a target's head never goes back. Whatever interrupts it, the next pass goes
//! on from what the target has.
//!
//! ```text
//! source: {source}/head, {source}/files/{name}      a control plane, any web server, or a directory
//! target: {prefix}/head, {prefix}/files/{name}      a directory, an S3-compatible store, or Workers KV
//! beside head, where there are such: trust, deny
//! ```

mod args;
mod carry;
mod error;
mod follow;
mod kv;
mod note;
mod objects;
mod pass;
mod report;
mod source;
mod stale;
mod target;
mod trusted;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use nightlatch_keyset::note::Verifier;
use nightlatch_sync::Refusal;
use tokio::sync::watch;

pub use args::SyncArgs;
pub use error::SyncError;
pub(crate) use note::NoteName;
pub use report::{Copied, Report};
pub(crate) use source::Answer;
pub use source::Source;
pub use target::{KvOptions, S3Options, Target, TargetOptions};

use crate::push::{PushStatus, PushTarget, Pusher};
use crate::store::os_random;
use carry::Carrying;
use pass::{Known, Step};
use trusted::Trusted;

/// How often a pass comes back with a head that the target has refused for the moment.
const HEAD_ATTEMPTS: u32 = 20;

/// How a sync job works.
#[derive(Clone, Debug)]
pub struct SyncOptions {
    /// Whose trust notes are believed.
    pub roots: Vec<Verifier>,
    /// Whose heads and deltas are believed, beside those that the trust note lists.
    pub verifiers: Vec<Verifier>,
    /// How often to ask the source for a new head.
    pub poll: Duration,
    /// How long a file stays after the last head that named it was replaced; by default the head's validity and skew and
    /// a minute.
    pub grace: Option<Duration>,
    /// Read and check files that the target has already, and replace those that are damaged.
    pub check: bool,
    /// Write nothing.
    pub dry_run: bool,
    /// The wall clock, unix milliseconds: to say when what was copied is no longer to be relied on.
    pub now: fn() -> u64,
}

/// Copies one set from one source to one target.
#[derive(Debug)]
pub struct SyncJob {
    source: Source,
    target: Target,
    options: SyncOptions,
    known: Option<Known>,
    stale: stale::Stale,
    trusted: Trusted,
    carrying: Carrying,
    heads: watch::Sender<Option<Arc<str>>>,
    pushers: Vec<Pusher>,
}

impl SyncJob {
    /// A job that has not looked at anything yet.
    pub fn new(source: Source, target: Target, options: SyncOptions) -> Self {
        let trusted = Trusted::new(&options.roots, &options.verifiers);
        Self {
            source,
            target,
            options,
            known: None,
            stale: stale::Stale::default(),
            trusted,
            carrying: Carrying::default(),
            heads: watch::Sender::new(None),
            pushers: Vec::new(),
        }
    }

    /// Brings the target up to the source's head.
    ///
    /// # Errors
    /// [`SyncError`]. The target's head is then as it was; only with [`SyncError::RanOut`] and [`SyncError::Notes`] it is
    /// the source's.
    pub async fn pass(&mut self) -> Result<Report, SyncError> {
        self.pass_after(false).await
    }

    /// As [`Self::pass`], but where the source can hold its answer back until there is another head, it is asked to.
    async fn next_pass(&mut self) -> Result<Report, SyncError> {
        self.pass_after(true).await
    }

    /// Tells this address, too, of every head that the target has got. Whether it arrives changes nothing of a pass.
    ///
    /// # Panics
    /// Outside of an async runtime.
    pub fn push_to(&mut self, target: PushTarget) {
        self.pushers.push(Pusher::start(target, self.heads.subscribe(), os_random));
    }

    /// Waits until the last head has been sent to whom it is pushed to, at most so long; returns how it went.
    pub async fn pushed(&mut self, patience: Duration) -> Vec<PushStatus> {
        let head = self.heads.borrow().clone();
        if let Some(head) = head {
            join_all(self.pushers.iter_mut().map(|pusher| pusher.has_sent(&head, patience))).await;
        }
        self.pushers.iter().map(Pusher::status).collect()
    }

    async fn pass_after(&mut self, hold: bool) -> Result<Report, SyncError> {
        let error = match self.until_done(hold).await {
            Ok((report, trouble)) => {
                let ran_out = (self.options.now)().saturating_sub(report.valid_until) / 1000;
                match trouble {
                    // Without a head there is nothing to have run out.
                    _ if ran_out > 0 && report.valid_until > 0 => SyncError::RanOut { for_seconds: ran_out },
                    Some(trouble) => SyncError::Notes(Box::new(trouble)),
                    None => return Ok(report),
                }
            }
            Err(error) => error,
        };
        if !error.is_about_what_was_copied() {
            // Whatever was assumed of the target may no longer hold.
            self.known = None;
            self.carrying.forget_target();
            self.source.forget();
        }
        Err(error)
    }

    /// One pass, and again where the target takes a head only after a while: the newest by then.
    async fn until_done(&mut self, hold: bool) -> Result<(Report, Option<SyncError>), SyncError> {
        let (mut copied, mut notes) = (Vec::new(), Vec::new());
        for attempt in 0..HEAD_ATTEMPTS {
            let step = match self.try_pass(hold && attempt == 0).await {
                // Another job may have been faster between the look at the source and that at the target.
                Err(SyncError::Refused { refusal: Refusal::Rollback, .. }) if attempt == 0 => {
                    self.known = None;
                    self.source.forget();
                    continue;
                }
                step => step?,
            };
            match step {
                Step::Done(mut report, trouble) => {
                    notes.append(&mut report.notes);
                    report.notes = notes;
                    report.push = self.pushers.iter().map(Pusher::status).collect();
                    copied.append(&mut report.copied);
                    report.copied = copied;
                    return Ok((report, trouble));
                }
                Step::Later { report: mut before, wait } => {
                    copied.append(&mut before.copied);
                    notes.append(&mut before.notes);
                    tokio::time::sleep(wait).await;
                    self.source.forget();
                }
            }
        }
        Err(SyncError::Target(format!("its head has been refused {HEAD_ATTEMPTS} times for too many writes")))
    }
}
