//! What the fuzzers do with an input, as plain functions: one per parser.
//!
//! The libFuzzer targets beside this crate call them with the inputs they find, and this crate's tests with the stored
//! ones and a few thousand mutations of those. A body does more than wait for a panic: it says what must be so of whatever
//! is taken, above all that it has one spelling. Where a parser stands behind a signature or a hash, the body signs or
//! hashes its input itself, so that the fuzzer gets through to the parser.

mod audit;
mod base;
mod delta;
mod head;
pub mod mutate;
mod profile;
mod rebase;
pub mod seeds;
pub mod stand;
mod texts;

pub use audit::{audit_export, audit_row};
pub use base::{base, rehashed};
pub use delta::{delta, signed, statement};
pub use head::{audit_note, deny, head, note, trust};
pub use profile::{in_delta, in_index, profile};
pub use rebase::{named_by_head, rebase};
pub use texts::{file_name, key_text, policy, report};

/// What is done with an input.
pub type Body = fn(&[u8]);

/// Every target: its name, which is also that of its corpus, and its body.
pub const TARGETS: [(&str, Body); 16] = [
    ("audit_export", audit_export),
    ("audit_note", audit_note),
    ("audit_row", audit_row),
    ("base", base),
    ("delta", delta),
    ("deny", deny),
    ("file_name", file_name),
    ("head", head),
    ("key_text", key_text),
    ("note", note),
    ("policy", policy),
    ("profile", profile),
    ("rebase", rebase),
    ("report", report),
    ("statement", statement),
    ("trust", trust),
];
