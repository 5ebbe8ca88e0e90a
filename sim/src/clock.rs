//! Clocks that drift, step and stop.

/// An edge's clocks. `true` times are the simulation's own, unix milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Clocks {
    since: u64,
    wall: i64,
    elapsed: u64,
    ppm: i64,
    stopped: bool,
    /// Somebody has meddled with it.
    pub(crate) touched: bool,
}

impl Clocks {
    pub(crate) fn new(now: u64, offset: i64, ppm: i64) -> Self {
        Self { since: now, wall: now as i64 + offset, elapsed: 0, ppm, stopped: false, touched: false }
    }

    fn passed(&self, now: u64) -> i64 {
        let passed = now.saturating_sub(self.since) as i64;
        passed + passed * self.ppm / 1_000_000
    }

    pub(crate) fn wall(&self, now: u64) -> u64 {
        let passed = if self.stopped { 0 } else { self.passed(now) };
        (self.wall + passed) as u64
    }

    /// Time that has passed, by a clock that nobody sets and that does not stop.
    pub(crate) fn elapsed(&self, now: u64) -> u64 {
        self.elapsed + self.passed(now) as u64
    }

    /// Takes the readings at an instant as the base of what follows.
    fn settle(&mut self, now: u64) {
        (self.wall, self.elapsed) = (self.wall(now) as i64, self.elapsed(now));
        (self.since, self.touched) = (now, true);
    }

    pub(crate) fn step(&mut self, now: u64, by: i64) {
        self.settle(now);
        self.wall += by;
    }

    pub(crate) fn stop(&mut self, now: u64, stopped: bool) {
        self.settle(now);
        self.stopped = stopped;
    }

    pub(crate) fn drift(&mut self, now: u64, ppm: i64) {
        self.settle(now);
        self.ppm = ppm;
    }

    /// As after a restart on a machine that has been mended.
    pub(crate) fn mend(&mut self, now: u64) {
        *self = Self::new(now, 0, 0);
    }
}
