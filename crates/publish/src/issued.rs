//! The instant that a head is issued.
//!
//! `issued` promises that everything committed before it is in the head. So it is the database clock read *before* the
//! snapshot of the changes, never the time of signing: a change that commits in between would be missing from a head that
//! claims it, and the bound of its revocation would be counted from too late.

/// The database clock is behind the last head: nothing may be signed until it has caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockBehind {
    /// Milliseconds.
    pub by_ms: u64,
}

/// The clock's reading, where it may be signed after a head that was issued at `last`. To be taken before the snapshot.
/// All in unix milliseconds.
///
/// # Errors
/// [`ClockBehind`] where that head was issued later.
pub fn reading(now: u64, last: u64) -> Result<u64, ClockBehind> {
    if now < last { Err(ClockBehind { by_ms: last - now }) } else { Ok(now) }
}

/// When a head is issued that leaves out committed changes, of which the oldest row was written at `waiting_since`: every
/// change committed before is in it.
///
/// A change is committed no earlier than its row was written, so nothing that still waits was committed before the oldest
/// such row says; and everything from before the last head, issued at `last`, is in that one already. `now` is the
/// [`reading`] taken before the snapshot.
pub fn without_some(now: u64, waiting_since: Option<u64>, last: u64) -> u64 {
    waiting_since.unwrap_or(now).min(now).max(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_behind_signs_nothing() {
        assert_eq!(reading(10, 10), Ok(10));
        assert_eq!(reading(9, 10), Err(ClockBehind { by_ms: 1 }));
    }

    #[test]
    fn a_head_claims_nothing_that_it_leaves_out() {
        assert_eq!(without_some(100, None, 50), 100);
        assert_eq!(without_some(100, Some(70), 50), 70);
        // The row is older than the last head, which has everything committed before it: the transaction was long.
        assert_eq!(without_some(100, Some(30), 50), 50);
        assert_eq!(without_some(100, Some(130), 50), 100);
    }
}
