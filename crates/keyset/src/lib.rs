//! The key set: what a control plane publishes about its keys and what an edge answers from.
//!
//! Three kinds of file carry a set. FORMAT.md beside this crate is their byte-level description.
//!
//! - The [`Head`] is a small signed note: which state is current, and until when it may be relied on.
//! - A [`Base`] is the whole set at the version where an epoch begins, immutable, its bytes used as they are.
//! - A [`Delta`] turns one version into the next.
//!
//! A [`Replica`] is a base with the deltas since, in memory. It is looked up by [`Tag`]: a keyed hash of a key's digest
//! under the set's [`Pepper`], so that the files alone tell nobody whether a key is in the set.
//!
//! The crate is `no_std`; it takes bytes and gives bytes and knows no clock, file or socket.
#![no_std]

extern crate alloc;

mod author;
mod base;
mod bits;
mod build;
mod codec;
mod commitment;
mod cut;
mod delta;
mod deny;
mod encode;
mod fold;
mod gap;
mod head;
mod hex;
mod index;
mod layout;
pub mod levels;
mod lines;
mod name;
pub mod note;
mod overlay;
mod pepper;
mod profile;
mod rebase;
mod replica;
mod row;
mod scan;
mod segment;
mod trust;

pub use author::{Author, Authored};
pub use base::Base;
pub use build::BaseBuilder;
pub use codec::Malformed;
pub use commitment::{Commitment, Hash};
pub use cut::Rebased;
pub use delta::{DELTA_FORMAT, Delta, DeltaInfo, MAX_DELTA_LEN};
pub use deny::{DENY_FIRST_LINE, Deny, MAX_DENIED};
pub use gap::{AUDIT_FIRST_LINE, AuditGap};
pub use head::{AuditCheckpoint, HEAD_FIRST_LINE, HEAD_FIRST_LINE_BEFORE, Head};
pub use index::{BASE_FORMAT, BaseInfo, Index, MAX_PART_LEN, MAX_PARTS};
pub use layout::{Columns, Layout};
pub use lines::StatementError;
pub use name::{FileName, NameError};
pub use pepper::{Pepper, Tag};
pub use profile::{PrincipalKind, Profile};
pub use rebase::REBASE_FORMAT;
pub use replica::{Refused, Replica};
pub use row::{Change, Record, Status};
pub use segment::BaseFiles;
pub use trust::{TRUST_FIRST_LINE, Trust};

/// The longest id of a set, workspace or pepper, in characters.
pub const MAX_ID_LEN: usize = 32;
