//! Edges that have an identity.

/// Whether an edge remembers what it has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeClass {
    /// It keeps its high-water mark on disk: it can confirm that a revocation is in force.
    Durable,
    /// It forgets, and its instances come and go: they cannot be counted.
    Ephemeral,
}

impl EdgeClass {
    /// The name used in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Ephemeral => "ephemeral",
        }
    }

    /// The class of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Durable, Self::Ephemeral].into_iter().find(|class| class.as_str() == name)
    }
}

/// Where an edge stands. Follows from times; nothing stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EdgeState {
    /// Its code has not been used.
    Pending,
    /// It has been heard of lately.
    Active,
    /// It has not been heard of for longer than a bound: what it held then has run out.
    Silent,
    /// It was removed.
    Removed,
}

impl EdgeState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Active, Self::Silent, Self::Removed];

    /// The name used in the API and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Silent => "silent",
            Self::Removed => "removed",
        }
    }

    /// The state at `now`. Times are unix milliseconds; `heard` is the last report, or the enrolment.
    pub fn at(enrolled: bool, removed: bool, heard: i64, bound_ms: i64, now: i64) -> Self {
        match (enrolled, removed) {
            (_, true) => Self::Removed,
            (false, false) => Self::Pending,
            (true, false) if now.saturating_sub(heard) > bound_ms => Self::Silent,
            (true, false) => Self::Active,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_follows_from_times() {
        assert_eq!(EdgeState::at(false, false, 0, 10, 1_000), EdgeState::Pending);
        assert_eq!(EdgeState::at(true, false, 990, 10, 1_000), EdgeState::Active);
        assert_eq!(EdgeState::at(true, false, 989, 10, 1_000), EdgeState::Silent);
        assert_eq!(EdgeState::at(true, true, 1_000, 10, 1_000), EdgeState::Removed);
        assert_eq!(EdgeState::at(false, true, 1_000, 10, 1_000), EdgeState::Removed);
    }
}
