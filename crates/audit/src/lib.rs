//! The audit log as something that proves itself: what of an entry is hashed, how entries are chained, the tree whose root
//! every head signs, and how an export is held against it.
//!
//! - [`Row::hash`] covers every word of an entry and the hash of the entry before. What is personal stands behind a
//!   [`commitment`], so that it can be erased.
//! - [`Tree`] has the entries' hashes as its leaves, as RFC 9162 has it: its root is the checkpoint, and a [`Block`] or two
//!   show in a few hashes that an entry is in it.
//! - [`Check`] reads an export line by line and names the first break.
//!
//! FORMAT.md of `nightlatch-keyset` describes every byte. The crate is `no_std`; it takes bytes and gives bytes and knows no
//! clock, file or database.
#![no_std]

extern crate alloc;

mod check;
mod export;
mod personal;
mod row;
mod tree;

pub use check::{Break, Check, Earlier, Fault, Proven};
pub use export::{ERASED, EXPORT_FORMAT, Entry, Footer, Header, Hex, MAX_LINE_LEN, Personal, embedded, told_erased};
pub use personal::{Commitments, SALT_LEN, Salt, commitment, is_field};
pub use row::{Row, START};
pub use tree::{BAND, Block, Span, Tree, block_of, is_included, leaf, mountain};
