//! How many sign-ins through the identity provider a network may begin: each is a row, and a look at the provider.

use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use nightlatch_api::Code;

use crate::api::refused::Refused;
use crate::api::source::network;

/// Sign-ins a second and network, and how many may come at once: an office has one address.
const RATE: NonZeroU32 = NonZeroU32::new(1).unwrap();
const BURST: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// How many networks are remembered before those that have been quiet are forgotten.
const MOST: usize = 10_000;

/// Keeps one network from beginning sign-ins without end.
pub(in crate::api) struct OidcLimit {
    limiter: DefaultKeyedRateLimiter<String>,
    clock: DefaultClock,
}

impl OidcLimit {
    pub(in crate::api) fn new() -> Self {
        let limiter = RateLimiter::keyed(Quota::per_second(RATE).allow_burst(BURST));
        Self { limiter, clock: DefaultClock::default() }
    }

    /// Counts a sign-in that begins.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub(super) fn take(&self, source: Option<&str>) -> Result<(), Refused> {
        if self.limiter.len() > MOST {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&network(source.unwrap_or_default())).map_err(|early| {
            let wait = early.wait_time_from(self.clock.now());
            Refused::new(Code::RateLimited)
                .retry_after(i64::try_from(wait.as_secs()).unwrap_or(i64::MAX).saturating_add(1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_begins_so_many_and_others_go_on() {
        let limit = OidcLimit::new();
        let refused = (0..BURST.get() * 2).filter(|_| limit.take(Some("2001:db8::1")).is_err()).count();
        assert!(refused > 0);
        assert!(limit.take(Some("2001:db8::2")).is_err());
        assert!(limit.take(Some("2001:db8:1::1")).is_ok());
    }
}
