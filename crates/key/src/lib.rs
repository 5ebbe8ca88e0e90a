//! Key text: the characters a program sends to prove who it is.
//!
//! ```text
//! nl_live_1hTq3e9fKz4mB…27 secret characters…Q0aB3xY
//! ^^ ^^^^ ^^^^^^^^^^                            ^^^^^^
//! brand env id (10)     secret (27)             check (6)
//! ```
//!
//! - `brand` is the workspace's mark, `env` is `live` or `test`: both are readable.
//! - `id` is 6 characters of issue time and 4 random ones. Brand, environment and id form the *prefix*, which is public.
//! - `secret` is 27 base62 characters, 160 bits, drawn without bias.
//! - `check` is a CRC-32 of everything before it, so that junk is refused before any hash or lookup and a secret
//!   scanner can confirm a match without asking anyone.
//!
//! With the default brand the text is 51 characters, so one SHA-256 block holds it.
//!
//! This crate is `no_std`, takes time and randomness as arguments, and does not branch on, or index by, the characters
//! of a secret.
#![no_std]

mod base62;
mod brand;
mod check;
mod digest;
mod mint;
mod parse;

pub use brand::{Brand, BrandError, Environment};
pub use digest::{Digest, DigestError};
pub use mint::{KeyText, mint};
pub use parse::{KEY_PATTERN, ParseError, Parsed, parse};

/// Unix seconds of 2020-01-01T00:00:00Z, the instant from which the time inside an id counts.
pub const CLOCK_ORIGIN: u64 = 1_577_836_800;

/// Characters of an id.
pub const ID_LEN: usize = 10;
/// Characters of an id that say when the key was issued.
pub const ID_TIME_LEN: usize = 6;
/// Characters of a secret.
pub const SECRET_LEN: usize = 27;
/// Characters of a checksum.
pub const CHECK_LEN: usize = 6;
/// The longest key text: a brand of 12 characters.
pub const MAX_KEY_LEN: usize = brand::MAX_BRAND_LEN + 1 + 4 + 1 + TAIL_LEN;

/// Characters after the second underscore.
const TAIL_LEN: usize = ID_LEN + SECRET_LEN + CHECK_LEN;
