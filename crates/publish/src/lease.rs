//! The leader's lease of a set: a row with a term that only grows.
//!
//! Each function takes the row as it is, under a lock that lasts until the transaction ends, and gives the row as it is to
//! be. Nobody signs but in a transaction that first renewed the lease: a rival's takeover then waits for the transaction,
//! or comes before it and makes it fail.

use alloc::borrow::ToOwned as _;
use alloc::string::String;

/// Who leads a set, and until when. Times are milliseconds of the database clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    /// Counts the leaders there have been; 0 before the first.
    pub term: u64,
    /// The name of the one that holds it.
    pub holder: String,
    /// From here on another may take it.
    pub expires_at: u64,
}

impl LeaseRow {
    /// The row of a set that nobody has led yet.
    pub fn vacant() -> Self {
        Self { term: 0, holder: String::new(), expires_at: 0 }
    }

    /// Taken by `holder` for `ttl` milliseconds, if it is free, has run out, or is the holder's own from before a restart.
    /// The term is then one higher. `None` where somebody else holds it.
    pub fn acquired(&self, holder: &str, now: u64, ttl: u64) -> Option<Self> {
        let free = self.expires_at <= now || self.holder == holder;
        free.then(|| Self { term: self.term + 1, holder: holder.to_owned(), expires_at: now.saturating_add(ttl) })
    }

    /// Prolonged by the leader of that term. `None` where the lease has passed to another. One that has run out and that
    /// nobody has taken is still its holder's.
    pub fn renewed(&self, term: u64, holder: &str, now: u64, ttl: u64) -> Option<Self> {
        self.is_of(term, holder).then(|| Self { expires_at: now.saturating_add(ttl), ..self.clone() })
    }

    /// Given up by the leader of that term, so that another need not wait for it to run out. `None` where it has passed to
    /// another.
    pub fn released(&self, term: u64, holder: &str) -> Option<Self> {
        self.is_of(term, holder).then(|| Self { expires_at: 0, ..self.clone() })
    }

    fn is_of(&self, term: u64, holder: &str) -> bool {
        self.term == term && self.holder == holder
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_lease_passes_on_when_it_runs_out_or_is_given_up() {
        let first = LeaseRow::vacant().acquired("a", 100, 10).unwrap();
        assert_eq!((first.term, first.expires_at), (1, 110));
        assert_eq!(first.acquired("b", 109, 10), None);
        assert_eq!(first.acquired("b", 110, 10).unwrap().term, 2);
        // Its own, from before a restart: at once, with another term, so that the one from before cannot sign.
        let again = first.acquired("a", 101, 10).unwrap();
        assert_eq!(again.term, 2);
        assert_eq!(again.renewed(1, "a", 102, 10), None);
        assert_eq!(again.renewed(2, "a", 500, 10).unwrap().expires_at, 510);
        assert_eq!(again.released(2, "a").unwrap().acquired("b", 1, 10).unwrap().term, 3);
        assert_eq!(again.released(1, "a"), None);
    }

    proptest! {
        /// Of two that both believe they lead, one has the term.
        #[test]
        fn only_the_last_to_acquire_renews(steps in proptest::collection::vec((0_u8..3, 0_u64..20, 0_u8..3), 1..60)) {
            let names = ["a", "b", "c"];
            let (mut row, mut now) = (LeaseRow::vacant(), 0);
            let mut believed = [0_u64; 3];
            let mut last = None;
            for (who, wait, what) in steps {
                let at = usize::from(who);
                now += wait;
                let next = match what {
                    0 => row.acquired(names[at], now, 10),
                    1 => row.renewed(believed[at], names[at], now, 10),
                    _ => row.released(believed[at], names[at]),
                };
                if let Some(next) = next {
                    prop_assert!(next.term >= row.term);
                    if what == 0 {
                        prop_assert_eq!(next.term, row.term + 1);
                        (believed[at], last) = (next.term, Some(at));
                    } else {
                        prop_assert_eq!(Some(at), last);
                    }
                    row = next;
                }
            }
        }
    }
}
