//! How long a session lives, by the database clock.
//!
//! A clock that was set back must not make anything live longer: what claims to lie further ahead than it can is over.

/// A session that nobody uses ends after this, milliseconds.
pub const IDLE_MS: i64 = 12 * 60 * 60 * 1000;
/// Every session ends this long after the sign-in, milliseconds.
pub const ABSOLUTE_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// How long a step-up counts, milliseconds.
pub const ELEVATED_MS: i64 = 10 * 60 * 1000;
/// How long somebody may take at an identity provider, milliseconds.
pub const FLOW_MS: i64 = 10 * 60 * 1000;
/// The use of a session is noted at most this often, milliseconds.
pub const TOUCH_MS: i64 = 60 * 1000;
/// How far the clock may be set back before sessions end, milliseconds.
const STEP_MS: i64 = 5 * 60 * 1000;

/// The times of a session, unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When its holder signed in.
    pub signed_in_at: i64,
    /// When it was last used, to the minute.
    pub last_seen_at: i64,
    /// Until when its holder may do what needs a step-up.
    pub elevated_until: Option<i64>,
}

impl Times {
    /// Whether the session is good at `now`.
    pub fn is_live(&self, now: i64) -> bool {
        let age = now.saturating_sub(self.signed_in_at);
        let idle = now.saturating_sub(self.last_seen_at);
        (-STEP_MS..ABSOLUTE_MS).contains(&age) && (-STEP_MS..IDLE_MS).contains(&idle)
    }

    /// Whether its holder may do at `now` what needs a step-up.
    pub fn is_elevated(&self, now: i64) -> bool {
        // No further ahead than a step-up reaches.
        self.elevated_until.is_some_and(|until| now < until && until.saturating_sub(now) <= ELEVATED_MS)
    }

    /// When it ends, if it is used until then; unix milliseconds.
    pub fn expires_at(&self) -> i64 {
        self.signed_in_at.saturating_add(ABSOLUTE_MS)
    }

    /// Whether its use should be noted at `now`.
    pub fn wants_touch(&self, now: i64) -> bool {
        now.saturating_sub(self.last_seen_at) >= TOUCH_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_700_000_000_000;

    fn fresh() -> Times {
        Times { signed_in_at: START, last_seen_at: START, elevated_until: Some(START + ELEVATED_MS) }
    }

    #[test]
    fn a_session_ends_idle_and_at_its_age() {
        assert!(fresh().is_live(START + IDLE_MS - 1));
        assert!(!fresh().is_live(START + IDLE_MS));
        let used = |at: i64| Times { last_seen_at: at, ..fresh() };
        assert!(used(START + ABSOLUTE_MS - 1).is_live(START + ABSOLUTE_MS - 1));
        assert!(!used(START + ABSOLUTE_MS - 1).is_live(START + ABSOLUTE_MS));
        assert_eq!(fresh().expires_at(), START + ABSOLUTE_MS);
    }

    #[test]
    fn a_clock_set_back_ends_and_never_extends() {
        assert!(fresh().is_live(START - STEP_MS), "clocks are corrected by a little");
        assert!(!fresh().is_live(START - STEP_MS - 1));
        assert!(fresh().is_elevated(START) && fresh().is_elevated(START + ELEVATED_MS - 1));
        assert!(!fresh().is_elevated(START - 1), "a step-up reaches no further than ten minutes");
        assert!(!fresh().is_elevated(START + ELEVATED_MS));
        assert!(!Times { elevated_until: None, ..fresh() }.is_elevated(START));
    }

    #[test]
    fn a_clock_set_ahead_ends() {
        assert!(!fresh().is_live(START + 10 * ABSOLUTE_MS));
        assert!(!fresh().is_elevated(i64::MAX));
        assert!(!fresh().is_live(i64::MIN));
    }
}
