//! Which committed changes become the next version.
//!
//! Change rows are written without a version. The leader numbers those first that were written first, at most so many as
//! one version takes; the rest waits. Within a version they keep the order in which they were written, and the last state
//! of a key counts.

use alloc::collections::BTreeSet;

/// Bytes of different profiles that one version takes, so that its delta, and those of higher levels that it is part of,
/// stay within what a delta may have.
pub const PROFILE_BYTES: usize = 2 << 20;

/// The texts of a row that make its profile. Rows with the same texts share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProfileTexts<'a> {
    /// The name of the principal's kind.
    pub kind: &'a str,
    /// The name of the environment.
    pub environment: &'a str,
    /// The tier's name; empty for none.
    pub tier: &'a str,
    /// The scopes, separated by spaces.
    pub scopes: &'a str,
}

/// What becomes of the rows that were numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// So many, from the first, are the version; the others are to be put back and come later.
    pub takes: usize,
    /// Committed rows may be left for the next version.
    pub more: bool,
}

/// Whether a row may be numbered now: one of an imported key waits until rows have a column for its number.
pub fn is_eligible(imported: bool, numbers: bool) -> bool {
    numbers || !imported
}

/// Decides about the rows that one statement has numbered, in the order in which they were written; `limit` is how many it
/// might have.
pub fn batch<'a>(rows: impl ExactSizeIterator<Item = ProfileTexts<'a>>, limit: u32) -> Batch {
    let numbered = rows.len();
    let takes = fitting(rows);
    Batch { takes, more: takes < numbered || numbered >= limit as usize }
}

/// How many of the rows, from the first, one delta certainly takes. At least one.
fn fitting<'a>(rows: impl Iterator<Item = ProfileTexts<'a>>) -> usize {
    let mut profiles = BTreeSet::new();
    let (mut bytes, mut count) = (0, 0);
    for row in rows {
        if profiles.insert(row) {
            bytes += 64 + row.tier.len() + row.scopes.len();
            if bytes > PROFILE_BYTES && count > 0 {
                return count;
            }
        }
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;
    use alloc::{format, vec};

    use super::*;

    fn batch_of(scopes: &[String], limit: u32) -> (usize, bool) {
        let row = |scopes| ProfileTexts { kind: "service_account", environment: "live", tier: "", scopes };
        let Batch { takes, more } = batch(scopes.iter().map(|scopes| row(scopes)), limit);
        (takes, more)
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
}
