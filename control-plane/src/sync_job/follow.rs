//! A job that goes on until it is stopped: when it looks, and how long it waits.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Report, SyncError, SyncJob};

/// The longest wait after failures.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

impl SyncJob {
    /// Makes passes until told to stop. `random` fills a buffer with random bytes, for waits that do not fall in step;
    /// `done` hears the outcome of every pass that did something or failed.
    ///
    /// A source that holds its answers back until there is another head is followed without pauses.
    pub async fn run(
        &mut self,
        stop: &CancellationToken,
        random: &mut (dyn FnMut(&mut [u8]) + Send),
        done: &mut (dyn FnMut(Result<&Report, &SyncError>) + Send),
    ) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            // A pass that is cut short is taken up again by the next: nothing of it needs to be undone.
            let Some(result) = stop.run_until_cancelled(self.next_pass()).await else { return };
            let wait = match result {
                Ok(report) => {
                    failures = 0;
                    let idle = report.is_empty();
                    if !idle {
                        done(Ok(&report));
                    }
                    match self.source.holds() {
                        Some(true) if idle => self.options.poll.saturating_sub(began.elapsed()),
                        Some(true) => Duration::ZERO,
                        // It is asked once more, to find out; after a pass that took a trust note, the head is read whole first.
                        None if !idle || self.source.can_hold() => Duration::ZERO,
                        _ => self.options.poll,
                    }
                }
                Err(error) => {
                    done(Err(&error));
                    // Nothing to spare the source by: it is to be asked as often as ever.
                    failures = if error.is_about_what_was_copied() { 0 } else { failures + 1 };
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
