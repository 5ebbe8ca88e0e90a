//! Between the database's numbers and the API's times.

use jiff::Timestamp;

use crate::domain::Bound;

/// A time from unix milliseconds. Beyond the calendar it is the nearest time within it.
pub(super) fn from_ms(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// A time from whole unix seconds. Beyond the calendar it is the nearest time within it.
pub(super) fn from_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// Whole unix seconds; fractions are dropped.
pub(super) fn to_seconds(time: Timestamp) -> i64 {
    time.as_millisecond().div_euclid(1000)
}

/// When a change that was committed before `now` (unix milliseconds, read after the commit) is in force everywhere.
pub(super) fn in_force(now: i64, bound: Bound) -> Timestamp {
    from_ms(now.saturating_add(bound.ms()))
}

/// When a change that a record dates to `at` (unix milliseconds, read before the commit) is surely in force everywhere:
/// rounded up to the whole second, and one more for the commit.
pub(super) fn surely_in_force(at: i64, bound: Bound) -> Timestamp {
    let ms = at.saturating_add(bound.ms());
    from_seconds(ms.div_euclid(1000) + i64::from(ms.rem_euclid(1000) != 0) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_a_second_are_dropped_also_before_1970() {
        assert_eq!(to_seconds("2026-01-01T00:00:00.999Z".parse().unwrap()), 1_767_225_600);
        assert_eq!(to_seconds("1969-12-31T23:59:59.5Z".parse().unwrap()), -1);
    }

    #[test]
    fn a_change_is_surely_in_force_no_sooner_than_it_is() {
        let bound = Bound::from_ms(65_000);
        for at in [0, 1, 999, 1000, 123_456] {
            assert!(surely_in_force(at, bound) >= in_force(at, bound));
        }
        assert_eq!(surely_in_force(1, bound).to_string(), "1970-01-01T00:01:07Z");
    }
}
