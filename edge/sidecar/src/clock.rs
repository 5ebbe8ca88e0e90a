//! The time as verdicts take it: it does not go back, and it notices when the machine's clock does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A clock that many threads read without waiting for each other.
///
/// Its reading is the greatest of the wall clock, the highest `issued` seen, and an earlier reading plus what has passed
/// since by the monotonic clock: a wall clock that is set back cannot prolong what a head allows.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// The greatest distance seen so far between the time and `start`'s count, in milliseconds.
    ahead: AtomicU64,
}

/// One look at the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Unix milliseconds to decide by.
    pub(crate) now: u64,
    /// Milliseconds by which the wall clock is behind that.
    pub(crate) behind: u64,
}

impl Clock {
    /// A clock that begins now.
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), ahead: AtomicU64::new(0) }
    }

    /// Looks at the clock.
    pub(crate) fn read(&self) -> Reading {
        self.reading(wall_ms(), self.elapsed())
    }

    /// The time to decide by, in unix milliseconds.
    pub(crate) fn now(&self) -> u64 {
        self.read().now
    }

    /// Takes note of the time that an accepted head or a kept mark says.
    pub(crate) fn saw(&self, issued: u64) {
        self.ahead.fetch_max(issued.saturating_sub(self.elapsed()), Ordering::Relaxed);
    }

    fn elapsed(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn reading(&self, wall: u64, elapsed: u64) -> Reading {
        let kept = self.ahead.load(Ordering::Relaxed).saturating_add(elapsed);
        if wall > kept {
            self.ahead.fetch_max(wall - elapsed, Ordering::Relaxed);
        }
        Reading { now: wall.max(kept), behind: kept.saturating_sub(wall) }
    }
}

/// The machine's wall clock, in unix milliseconds.
pub(crate) fn wall_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "this is the shell that asks the machine")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_back_and_a_step_back_shows() {
        let clock = Clock::new();
        assert_eq!(clock.reading(10_000, 0), Reading { now: 10_000, behind: 0 });
        assert_eq!(clock.reading(10_700, 700), Reading { now: 10_700, behind: 0 });
        // Set back by eight seconds: time goes on as the monotonic clock says.
        assert_eq!(clock.reading(3_000, 1_000), Reading { now: 11_000, behind: 8_000 });
        // A machine that slept: only the wall clock went on.
        assert_eq!(clock.reading(60_000, 1_001), Reading { now: 60_000, behind: 0 });
        clock.ahead.fetch_max(70_000, Ordering::Relaxed);
        assert_eq!(clock.reading(70_500, 2_000), Reading { now: 72_000, behind: 1_500 });
    }
}
