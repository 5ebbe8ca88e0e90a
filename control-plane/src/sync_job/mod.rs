//! The sync job: copies a set's published files to where edges read them.
//!
//! It holds no signing key and changes no byte. Every file is checked against what was signed before it is written;
//! immutable files go first, the head last, and a target's head never goes back. Whatever interrupts it, the next pass goes
//! on from what the target has.
//!
//! ```text
//! source: {source}/head, {source}/files/{name}      a control plane, any web server, or a directory
//! target: {prefix}/head, {prefix}/files/{name}      a directory or an S3-compatible store
//! ```

mod args;
mod error;
mod objects;
mod pass;
mod report;
mod source;
mod stale;
mod target;
mod verify;

use std::time::Duration;

use nightlatch_keyset::note::Verifier;
use tokio_util::sync::CancellationToken;

pub use args::SyncArgs;
pub use error::SyncError;
pub use report::{Copied, Report};
pub use source::Source;
pub use target::{S3Options, Target};

use pass::Known;

/// The longest wait after failures.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// How a sync job works.
#[derive(Clone, Debug)]
pub struct SyncOptions {
    /// Whose heads and deltas are believed.
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
}

impl SyncJob {
    /// A job that has not looked at anything yet.
    pub fn new(source: Source, target: Target, options: SyncOptions) -> Self {
        Self { source, target, options, known: None, stale: stale::Stale::default() }
    }

    /// Brings the target up to the source's head.
    ///
    /// # Errors
    /// [`SyncError`]. The target's head is then as it was; only with [`SyncError::RanOut`] the copy is complete.
    pub async fn pass(&mut self) -> Result<Report, SyncError> {
        let result = match self.try_pass().await {
            Ok(report) => match (self.options.now)().saturating_sub(report.valid_until) / 1000 {
                0 => return Ok(report),
                for_seconds => Err(SyncError::RanOut { for_seconds }),
            },
            Err(error) => Err(error),
        };
        if result.is_err() {
            // Whatever was assumed of the target may no longer hold.
            self.known = None;
            self.source.forget();
        }
        result
    }

    /// Makes passes until told to stop. `random` fills a buffer with random bytes, for waits that do not fall in step;
    /// `done` hears the outcome of every pass that did something or failed.
    pub async fn run(
        &mut self,
        stop: &CancellationToken,
        random: &mut (dyn FnMut(&mut [u8]) + Send),
        done: &mut (dyn FnMut(Result<&Report, &SyncError>) + Send),
    ) {
        let mut failures = 0;
        loop {
            // A pass that is cut short is taken up again by the next: nothing of it needs to be undone.
            let Some(result) = stop.run_until_cancelled(self.pass()).await else { return };
            let wait = match result {
                Ok(report) => {
                    failures = 0;
                    if !report.is_empty() {
                        done(Ok(&report));
                    }
                    self.options.poll
                }
                Err(error) => {
                    done(Err(&error));
                    // Nothing to spare the source by: it is to be asked as often as ever.
                    failures = if matches!(error, SyncError::RanOut { .. }) { 0 } else { failures + 1 };
                    backoff(self.options.poll, failures, random)
                }
            };
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }
}

/// Doubles with every failure up to a limit, and takes between half and all of that.
fn backoff(poll: Duration, failures: u32, random: &mut dyn FnMut(&mut [u8])) -> Duration {
    let longest = poll.max(Duration::from_millis(100)).saturating_mul(1 << failures.min(16)).min(MAX_BACKOFF.max(poll));
    let mut byte = [0];
    random(&mut byte);
    longest / 2 + longest / 2 * u32::from(byte[0]) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_differ() {
        let poll = Duration::from_secs(1);
        let wait = |failures, byte| backoff(poll, failures, &mut |buffer| buffer.fill(byte));
        assert_eq!((wait(1, 0), wait(1, 255)), (Duration::from_secs(1), Duration::from_secs(2)));
        assert_eq!((wait(0, 255), wait(3, 255)), (poll, Duration::from_secs(8)));
        assert_eq!(wait(40, 255), MAX_BACKOFF);
        assert!(wait(2, 100) < wait(2, 200));
    }
}
