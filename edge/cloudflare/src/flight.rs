//! When to fetch the set, so that a crowd of requests does it once and no request ever awaits another's promise.
//!
//! A *flight* is one attempt to refresh the set, made by one request. Others see a flag with an expiry; they look again
//! after a short sleep of their own. A flight whose request dies clears nothing, so its flag runs out by itself.

/// Milliseconds beyond the fetch timeout after which a flight counts as lost.
const LOST_AFTER: u64 = 500;
/// Milliseconds between two looks for a key that may be newer than the set.
const PROBE_INTERVAL: u64 = 1_000;

/// What a request that cannot be answered yet is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Fetch: the flight is this request's.
    Fetch,
    /// Sleep a little and ask again: another request is at it.
    Sleep,
    /// Answer with what there is: a flight that began after this request arrived has failed.
    GiveUp,
}

/// The flights of one instance. Times are unix milliseconds.
#[derive(Debug)]
pub(crate) struct Flights {
    poll_ms: u64,
    timeout_ms: u64,
    /// The number of the last flight.
    begun: u32,
    /// The flight under way and when it counts as lost.
    under_way: Option<(u32, u64)>,
    last_failed: u32,
    next_poll: u64,
    next_probe: u64,
    /// The flight that loads a base and when it counts as lost.
    loading: Option<(u32, u64)>,
}

impl Flights {
    /// None has begun, but for `begun` of a module that is no more.
    pub(crate) fn new(poll_ms: u64, timeout_ms: u64, begun: u32) -> Self {
        Self {
            poll_ms,
            timeout_ms,
            begun,
            under_way: None,
            last_failed: begun,
            next_poll: 0,
            next_probe: 0,
            loading: None,
        }
    }

    /// How many have begun.
    pub(crate) fn begun(&self) -> u32 {
        self.begun
    }

    /// Begins a flight in the background, if one is due: at most one at a time, and one per poll interval; an urgent one as
    /// often as a probe.
    pub(crate) fn begin_background(&mut self, now: u64, urgent: bool) -> bool {
        let due = now >= self.next_poll || (urgent && now >= self.next_probe);
        if !due || self.is_under_way(now) {
            return false;
        }
        self.next_probe = if urgent { now + PROBE_INTERVAL } else { self.next_probe };
        self.begin(now);
        true
    }

    /// Begins a flight for a key that may be newer than the set: at most one per second, whatever else is under way.
    pub(crate) fn begin_probe(&mut self, now: u64) -> bool {
        let due = now >= self.next_probe;
        if due {
            self.next_probe = now + PROBE_INTERVAL;
            self.begin(now);
        }
        due
    }

    /// The number of a flight for a head that was pushed. It is nobody's turn and puts off no poll: whoever pushes may push
    /// what is worth nothing.
    pub(crate) fn begin_pushed(&mut self) -> u32 {
        self.begun += 1;
        self.begun
    }

    /// Whether a flight may load a base now, which takes it `ms` at most: one at a time, because there is no room for more.
    pub(crate) fn begin_load(&mut self, number: u32, now: u64, ms: u64) -> bool {
        let lost_at = Some((number, now + ms + LOST_AFTER));
        let free = self.loading.is_none_or(|(_, lost_at)| now >= lost_at);
        if free {
            self.loading = lost_at;
            self.under_way = lost_at;
        }
        free
    }

    /// What a request that waits for the set does next. `arrived` is what [`Self::begun`] was when it came.
    pub(crate) fn turn(&mut self, arrived: u32, now: u64) -> Turn {
        if self.last_failed > arrived {
            Turn::GiveUp
        } else if self.is_under_way(now) {
            Turn::Sleep
        } else {
            self.begin(now);
            Turn::Fetch
        }
    }

    /// Takes note of how a flight ended.
    pub(crate) fn end(&mut self, number: u32, landed: bool) {
        if self.under_way.is_some_and(|(under_way, _)| under_way == number) {
            self.under_way = None;
        }
        if self.loading.is_some_and(|(loading, _)| loading == number) {
            self.loading = None;
        }
        if !landed {
            self.last_failed = self.last_failed.max(number);
        }
    }

    fn begin(&mut self, now: u64) {
        self.begun += 1;
        self.under_way = Some((self.begun, now + self.timeout_ms + LOST_AFTER));
        self.next_poll = now + self.poll_ms;
    }

    fn is_under_way(&self, now: u64) -> bool {
        self.under_way.is_some_and(|(_, lost_at)| now < lost_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_fetches_once() {
        let mut flights = Flights::new(1_000, 3_000, 0);
        let arrived = flights.begun();
        assert_eq!(flights.turn(arrived, 0), Turn::Fetch);
        assert_eq!(flights.turn(arrived, 1), Turn::Sleep);
        flights.end(1, true);
        // Still waiting, for whatever reason: its own turn now.
        assert_eq!(flights.turn(arrived, 2), Turn::Fetch);
    }

    #[test]
    fn a_failure_is_shared_by_those_who_came_before_it_began() {
        let mut flights = Flights::new(1_000, 3_000, 0);
        let early = flights.begun();
        assert_eq!(flights.turn(early, 0), Turn::Fetch);
        let late = flights.begun();
        flights.end(1, false);
        assert_eq!(flights.turn(early, 5), Turn::GiveUp);
        assert_eq!(flights.turn(late, 5), Turn::Fetch);
    }

    #[test]
    fn a_lost_flight_blocks_nobody_for_ever() {
        let mut flights = Flights::new(1_000, 3_000, 0);
        assert_eq!(flights.turn(0, 0), Turn::Fetch);
        assert_eq!(flights.turn(1, 3_499), Turn::Sleep);
        assert_eq!(flights.turn(1, 3_500), Turn::Fetch);
        // The lost one comes home after all: the other's flag stays.
        flights.end(1, true);
        assert_eq!(flights.turn(1, 3_501), Turn::Sleep);
    }

    #[test]
    fn polls_keep_their_pace_when_they_fail() {
        let mut flights = Flights::new(1_000, 3_000, 0);
        assert!(flights.begin_background(10, false));
        assert!(!flights.begin_background(10, false));
        flights.end(1, false);
        assert!(!flights.begin_background(1_009, false));
        assert!(flights.begin_background(1_010, false));
    }

    #[test]
    fn one_flight_loads_a_base_and_has_the_time_it_takes() {
        let mut flights = Flights::new(1_000, 3_000, 0);
        assert_eq!(flights.turn(0, 0), Turn::Fetch);
        assert!(flights.begin_load(1, 100, 10_000));
        assert!(flights.begin_probe(200));
        assert!(!flights.begin_load(2, 300, 10_000));
        flights.end(2, true);
        // The probe took the flag; the load is still the only one.
        assert_eq!(flights.turn(2, 400), Turn::Fetch);
        assert!(!flights.begin_load(3, 500, 10_000));
        flights.end(1, true);
        assert!(flights.begin_load(3, 600, 10_000));
        assert_eq!(flights.turn(3, 10_000), Turn::Sleep);
        // Lost.
        assert!(flights.begin_load(4, 11_100, 10_000));
    }

    #[test]
    fn what_is_urgent_does_not_wait_for_a_poll() {
        let mut flights = Flights::new(600_000, 3_000, 0);
        assert!(flights.begin_background(0, false));
        assert!(!flights.begin_background(10, true));
        flights.end(1, true);
        assert!(flights.begin_background(20, true));
        flights.end(2, true);
        assert!(!flights.begin_background(1_019, true));
        assert!(flights.begin_background(1_020, true));
    }

    #[test]
    fn probes_have_a_budget_of_their_own() {
        let mut flights = Flights::new(1_000, 3_000, 0);
        assert!(flights.begin_background(0, false));
        assert!(flights.begin_probe(0));
        assert!(!flights.begin_probe(999));
        assert!(flights.begin_probe(1_000));
    }

    #[test]
    fn what_is_pushed_puts_nothing_off() {
        let mut flights = Flights::new(1_000, 3_000, 7);
        assert_eq!((flights.begin_pushed(), flights.begin_pushed()), (8, 9));
        // Nobody waits for it, no poll comes later for it, and its failure is nobody's.
        assert!(flights.begin_background(0, false));
        flights.end(9, true);
        assert_eq!(flights.turn(8, 1), Turn::Sleep);
        flights.end(10, true);
        assert_eq!(flights.turn(8, 2), Turn::Fetch);
    }
}
