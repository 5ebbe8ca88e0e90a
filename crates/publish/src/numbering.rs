//! Which committed changes become the next version.
//!
//! Rows, of keys and of live profiles, are written without a version. The leader numbers those first that were written
//! first, at most so many as one version takes; the rest waits. Within a version they keep the order in which they were
//! written, and the last state of a key, and of a profile, counts.
//!
//! A key's row never comes before the contents of the profile that it points to. So the leader gives keys their version
//! before profiles, whose snapshot is then the later one, and where not all profiles fit, keys wait.

use alloc::collections::BTreeSet;

/// Bytes of different profiles that one version takes, so that its delta, and those of higher levels that it is part of,
/// stay within what a delta may have.
pub const PROFILE_BYTES: usize = 2 << 20;

/// What makes a row's profile. Rows with the same share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Texts<'a> {
    /// Of a key with contents of its own.
    Interned {
        /// The name of the principal's kind.
        kind: &'a str,
        /// The name of the environment.
        environment: &'a str,
        /// The tier's name; empty for none.
        tier: &'a str,
        /// The scopes, separated by spaces.
        scopes: &'a str,
    },
    /// Of a member's key, or of the profile itself.
    Live {
        /// Whom it belongs to.
        subject: i64,
        /// Whether in the test environment.
        test: bool,
        /// Characters of its tier and its scopes.
        bytes: usize,
    },
}

impl Texts<'_> {
    /// Bytes that the profile takes in a file, at most.
    const fn len(&self) -> usize {
        64 + match self {
            Self::Interned { tier, scopes, .. } => tier.len() + scopes.len(),
            Self::Live { bytes, .. } => *bytes,
        }
    }
}

/// What becomes of the rows that were numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// So many rows of profiles, from the first, are in the version; the others are to be put back and come later.
    pub profiles: usize,
    /// So many rows of keys, likewise.
    pub keys: usize,
    /// Committed rows may be left for the next version.
    pub more: bool,
}

/// Whether a row may be numbered now: one of an imported key waits until rows have a column for its number.
pub fn is_eligible(imported: bool, numbers: bool) -> bool {
    numbers || !imported
}

/// Decides about the rows that one statement for each kind has numbered, in the order in which they were written; `limit` is
/// how many each might have. At least one row is taken, where there is one.
pub fn batch<'a>(
    profiles: impl ExactSizeIterator<Item = Texts<'a>>,
    keys: impl ExactSizeIterator<Item = Texts<'a>>,
    limit: u32,
) -> Batch {
    let (of_profiles, of_keys) = (profiles.len(), keys.len());
    let is_full = |numbered: usize| numbered >= limit as usize;
    let mut room = Room::default();
    let profiles = room.fitting(profiles);
    if profiles < of_profiles || is_full(of_profiles) {
        // Others may be left that the keys' rows are in need of.
        return Batch { profiles, keys: 0, more: true };
    }
    let keys = room.fitting(keys);
    Batch { profiles, keys, more: keys < of_keys || is_full(of_keys) }
}

/// What one delta has taken so far.
#[derive(Default)]
struct Room<'a> {
    profiles: BTreeSet<Texts<'a>>,
    bytes: usize,
    rows: usize,
}

impl<'a> Room<'a> {
    /// How many of the rows, from the first, the delta certainly takes beside those it has.
    fn fitting(&mut self, rows: impl Iterator<Item = Texts<'a>>) -> usize {
        let mut count = 0;
        for row in rows {
            if self.profiles.insert(row) {
                self.bytes += row.len();
                if self.bytes > PROFILE_BYTES && self.rows > 0 {
                    return count;
                }
            }
            count += 1;
            self.rows += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;
    use alloc::{format, vec};

    use super::*;

    fn batch_of(scopes: &[String], limit: u32) -> (usize, bool) {
        let row = |scopes| Texts::Interned { kind: "service_account", environment: "live", tier: "", scopes };
        let Batch { keys, more, .. } = batch(core::iter::empty(), scopes.iter().map(|scopes| row(scopes)), limit);
        (keys, more)
    }

    #[test]
    fn a_version_takes_as_many_profiles_as_fit_and_at_least_one() {
        let long = "s".repeat(PROFILE_BYTES / 4);
        let rows: Vec<_> = (0..9).map(|number| format!("{number}{long}")).collect();
        assert_eq!(batch_of(&rows, 100), (3, true));
        assert_eq!(batch_of(&rows[..3], 100), (3, false));
        // One profile counts once.
        assert_eq!(batch_of(&vec![long; 9], 100), (9, false));
        assert_eq!(batch_of(&["s".repeat(PROFILE_BYTES + 1), "a".into()], 100), (1, true));
        assert_eq!(batch_of(&[], 100), (0, false));
    }

    #[test]
    fn a_full_version_may_leave_some() {
        let rows = vec![String::from("a"); 5];
        assert_eq!(batch_of(&rows, 5), (5, true));
        assert_eq!(batch_of(&rows, 6), (5, false));
    }

    /// Profiles and keys of members, each of so many bytes.
    fn batch_of_members(profiles: &[(i64, usize)], keys: &[(i64, usize)], limit: u32) -> (usize, usize, bool) {
        let row = |&(subject, bytes): &(i64, usize)| Texts::Live { subject, test: false, bytes };
        let Batch { profiles, keys, more } = batch(profiles.iter().map(row), keys.iter().map(row), limit);
        (profiles, keys, more)
    }

    #[test]
    fn s0_14_keys_wait_for_every_profile() {
        let keys = [(1, 10), (1, 10), (2, 10)];
        assert_eq!(batch_of_members(&[(1, 10), (2, 10)], &keys, 9), (2, 3, false));
        // So many as were asked for: there may be more, and a key's may be among them.
        assert_eq!(batch_of_members(&[(1, 10), (2, 10)], &keys, 2), (2, 0, true));
        let third = PROFILE_BYTES / 3;
        assert_eq!(batch_of_members(&[(1, third), (2, third), (3, third), (4, 1)], &keys, 9), (2, 0, true));
        // A profile that a key is of counts once.
        assert_eq!(
            batch_of_members(&[(1, third), (2, third)], &[(1, third), (2, third), (1, third)], 9),
            (2, 3, false)
        );
        assert_eq!(batch_of_members(&[(1, third), (2, third)], &[(1, third), (3, third)], 9), (2, 1, true));
        assert_eq!(batch_of_members(&[(1, PROFILE_BYTES)], &[(2, 1)], 9), (1, 0, true));
        assert_eq!(batch_of_members(&[(1, 1)], &[], 9), (1, 0, false));
    }
}
