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

mod base;
mod codec;
mod commitment;
mod delta;
mod head;
mod hex;
mod name;
pub mod note;
mod pepper;
mod profile;
mod replica;
mod row;

pub use base::{BASE_FORMAT, Base, BaseBuilder, BaseInfo};
pub use codec::Malformed;
pub use commitment::{Commitment, Hash};
pub use delta::{DELTA_FORMAT, Delta, DeltaBuilder, DeltaInfo, MAX_DELTA_LEN};
pub use head::{HEAD_FIRST_LINE, Head, HeadError};
pub use name::{FileName, NameError};
pub use pepper::{Pepper, Tag};
pub use profile::{PrincipalKind, Profile, ProfileTable};
pub use replica::{Refused, Replica};
pub use row::{Change, Record, Status};

/// The longest id of a set, workspace or pepper, in characters.
pub const MAX_ID_LEN: usize = 32;
