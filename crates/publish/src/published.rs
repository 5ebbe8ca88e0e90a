//! What is published, held against the database.
//!
//! A file is written only after the transaction that it belongs to is committed. So a file of a later state than the
//! database's says that the database has lost that state: it was restored from a backup, and nothing may be signed.

use nightlatch_keyset::{FileName, Head};
use nightlatch_sync::Mark;

/// How a published head stands to the database's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The database is at its state or further on.
    Fine,
    /// It is further on than the database.
    Ahead,
    /// It is at the database's state, with another history behind it.
    OtherHistory,
    /// It is of another set.
    OtherSet,
}

/// Holds a published head against the one that the database has stored; `None` where it has stored none.
pub fn standing(published: &Head, stored: Option<&Head>) -> Standing {
    let Some(stored) = stored else { return Standing::Ahead };
    let (there, here) = (Mark::of(published), Mark::of(stored));
    if published.set != stored.set {
        Standing::OtherSet
    } else if there > here {
        Standing::Ahead
    } else if there.state() == here.state() && published.commitment != stored.commitment {
        Standing::OtherHistory
    } else {
        Standing::Fine
    }
}

/// Whether a file belongs to a later state than the database's (incarnation, epoch, version); zeros before the first.
pub fn is_ahead(name: &FileName, state: (u64, u64, u64)) -> bool {
    match *name {
        FileName::Base { incarnation, epoch }
        | FileName::BasePart { incarnation, epoch, .. }
        | FileName::Rebase { incarnation, epoch } => (incarnation, epoch) > (state.0, state.1),
        FileName::Delta { incarnation, epoch, to, .. } => (incarnation, epoch, to) > state,
        FileName::Policy(_) => false,
    }
}

/// Whether a head may take another's place where edges read: the same state signed anew, or a later one. Between a check
/// and a write somebody else may write; a store that compares and swaps refuses then, one that does not is mended by the
/// next heartbeat, and readers keep the greater head.
pub fn may_replace(head: &Head, held: Option<&Head>) -> bool {
    held.is_none_or(|held| standing(held, Some(head)) == Standing::Fine)
}
