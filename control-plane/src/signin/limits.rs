//! How often somebody may guess.
//!
//! Failures are counted in buckets: one per account, one per source address. The first few are free; after each further
//! one the bucket is closed for a time that doubles up to a cap, and opens again by itself: nothing is ever locked for
//! good. A guess is counted before it is tried, so that many at once are as many. Who has signed in from an address before
//! has a bucket of their own there, so that strangers who guess from elsewhere cannot keep them out.

/// How a kind of bucket closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Failures that close nothing.
    pub free: i64,
    /// The longest time it is closed, milliseconds.
    pub cap_ms: i64,
}

/// Of an account.
pub const ACCOUNT: Rule = Rule { free: 5, cap_ms: 15 * 60 * 1000 };
/// Of a source address, from which many people may come.
pub const ADDRESS: Rule = Rule { free: 20, cap_ms: 15 * 60 * 1000 };
/// How long after its last failure a bucket is empty again, milliseconds.
pub const FORGET_MS: i64 = 24 * 60 * 60 * 1000;
/// How long an account is known at an address it signed in from, milliseconds.
pub const KNOWN_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// The delay after the first failure that is not free, milliseconds.
const FIRST_MS: i64 = 1000;

/// What is remembered of guesses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Failures since it was last empty.
    pub failures: i64,
    /// The last one, or a guess that is being tried, unix milliseconds.
    pub last_at: i64,
}

impl Bucket {
    /// Counts a guess at `now`.
    ///
    /// # Errors
    /// Milliseconds until the next one may be made, where the bucket is closed.
    pub fn count(self, rule: Rule, now: i64) -> Result<Self, i64> {
        let left = self.closed_for(rule, now);
        if left > 0 {
            return Err(left);
        }
        let failures = if self.is_stale(now) { 0 } else { self.failures };
        Ok(Self { failures: failures.saturating_add(1), last_at: now })
    }

    /// Whether it is so old that it says nothing.
    pub fn is_stale(self, now: i64) -> bool {
        now.saturating_sub(self.last_at) >= FORGET_MS
    }

    /// Milliseconds for which it is closed; 0 where it is open. A clock that was set back makes that no longer than the
    /// delay itself.
    fn closed_for(self, rule: Rule, now: i64) -> i64 {
        let delay = delay(rule, self.failures);
        let passed = now.saturating_sub(self.last_at).max(0);
        (delay - passed).max(0)
    }
}

fn delay(rule: Rule, failures: i64) -> i64 {
    let beyond = failures - rule.free;
    if beyond < 0 {
        return 0;
    }
    // The fifth failure closes for a second, the sixth for two: the cap is reached long before the shift is too far.
    let doubled = FIRST_MS.checked_shl(u32::try_from(beyond).unwrap_or(u32::MAX).min(40)).unwrap_or(i64::MAX);
    doubled.clamp(FIRST_MS, rule.cap_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_cap_and_always_end() {
        let (mut bucket, mut now, mut waits) = (Bucket::default(), 1_000_000, Vec::new());
        for _ in 0..40 {
            match bucket.count(ACCOUNT, now) {
                Ok(next) => bucket = next,
                Err(wait) => {
                    waits.push(wait);
                    assert_eq!(bucket.count(ACCOUNT, now + wait - 1), Err(1));
                    now += wait;
                    bucket = bucket.count(ACCOUNT, now).unwrap();
                }
            }
        }
        assert_eq!(&waits[..4], &[1000, 2000, 4000, 8000]);
        assert_eq!(*waits.last().unwrap(), ACCOUNT.cap_ms);
        assert!(waits.is_sorted());
        assert_eq!(waits.len(), 35, "five are free");
    }

    #[test]
    fn a_day_of_peace_empties_it() {
        let full = Bucket { failures: 1000, last_at: 0 };
        assert_eq!(full.count(ACCOUNT, FORGET_MS).unwrap(), Bucket { failures: 1, last_at: FORGET_MS });
    }

    #[test]
    fn a_clock_set_back_closes_for_no_longer_than_the_delay() {
        let full = Bucket { failures: 100, last_at: 1 << 50 };
        assert_eq!(full.count(ACCOUNT, 0), Err(ACCOUNT.cap_ms));
    }
}
