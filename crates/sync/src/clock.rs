//! An edge's idea of now.

/// A clock that does not go back: the greatest of the wall clock, the highest `issued` seen, and the previous reading
/// plus the time that has passed since, where the runtime can tell.
///
/// A wall clock that is set back therefore cannot prolong what a head allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    latest: u64,
    monotonic: Option<u64>,
}

impl Clock {
    /// The time now, in unix milliseconds, from the machine's clocks: its wall clock, and milliseconds of a monotonic
    /// clock with any origin where there is one.
    pub fn read(&mut self, wall: u64, monotonic: Option<u64>) -> u64 {
        let elapsed = match (self.monotonic, monotonic) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => 0,
        };
        self.monotonic = monotonic.or(self.monotonic);
        self.latest = wall.max(self.latest.saturating_add(elapsed));
        self.latest
    }

    /// The last reading.
    pub fn latest(&self) -> u64 {
        self.latest
    }

    /// Takes note of the time that an accepted head says.
    pub(crate) fn saw_issued(&mut self, issued: u64) {
        self.latest = self.latest.max(issued);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_back() {
        let mut clock = Clock::default();
        assert_eq!(clock.read(1_000, None), 1_000);
        assert_eq!(clock.read(400, None), 1_000);
        clock.saw_issued(1_500);
        assert_eq!(clock.read(1_200, Some(10)), 1_500);
        // The wall clock stands still; the monotonic one says that 250 ms have passed.
        assert_eq!(clock.read(1_200, Some(260)), 1_750);
        assert_eq!(clock.read(9_000, Some(261)), 9_000);
    }
}
