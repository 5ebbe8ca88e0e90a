//! The notes beside a set's files.

use crate::publisher::directory::{DENY, HEAD, TRUST};

/// One of the small signed texts that are replaced, not added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NoteName {
    /// Which keys end while no head can be signed.
    Deny,
    /// What state the files are to be read at, and until when.
    Head,
    /// Whose heads are to be believed.
    Trust,
}

impl NoteName {
    /// Its name beside the files.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Deny => DENY,
            Self::Head => HEAD,
            Self::Trust => TRUST,
        }
    }
}

/// The set that a note says it is about, whoever signed it: to notice a target that is not meant, never to believe it.
pub(super) fn claimed_set(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("set "))
}

/// What a note says, without its signatures.
pub(super) fn statement(text: &str) -> &str {
    text.rsplit_once("\n\n").map_or(text, |(statement, _)| statement)
}
