//! The route policy: which requests there are, and what each asks of a key.
//!
//! A policy is one document, replaced whole, and published beside the set in a file named by its hash, which the head
//! carries. The control plane writes a [`Draft`], and [`Policy::new`] either refuses it, naming the route and why, or
//! puts it in the one order that [`Policy::encode`] writes and [`Policy::find`] searches.
//!
//! # Which route
//! Of all routes that match path *and* method, the most specific decides: segments are compared from the left, a
//! literal before `{name}` before `{*rest}`; between routes of the same shape, the exact method before `GET` for a
//! `HEAD` before `*`. Two routes of the same shape and method cannot both be in a policy. Without a match the request
//! is refused.
//!
//! # Patterns
//! Literal segments, `{name}` for one non-empty segment, and a last `{*rest}` for everything after its slash, which may
//! be nothing: `/files/{*rest}` matches `/files/` and `/files/a/b`, not `/files`. A trailing slash is significant.
//! Matching is case-sensitive. Literals match whether or not a reserved character of theirs is escaped (`/keys:revoke`
//! and `/keys%3Arevoke` are the same to most origins, so they must meet the same route).

mod codec;
mod draft;
mod error;
mod matcher;
mod model;
mod pattern;

pub use codec::{DecodeError, MAX_POLICY_BYTES, VERSION};
pub use draft::{Draft, RouteDraft};
pub use error::{Flaw, PolicyError};
pub use model::{Cache, CredentialSource, Environments, Method, OptionsRule, Policy, PrincipalKinds, Route};
pub use pattern::{Pattern, PatternError};

/// The most routes a policy may have.
pub const MAX_ROUTES: usize = 1_000;
/// The longest path pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 1_024;
/// The most segments a pattern may have.
pub const MAX_SEGMENTS: usize = 32;
/// The most scopes one route may ask for.
pub const MAX_SCOPES: usize = 64;
/// The longest scope, in characters.
pub const MAX_SCOPE_BYTES: usize = 64;
/// The longest realm, in characters.
pub const MAX_REALM_BYTES: usize = 128;
/// The longest developer URL, in characters.
pub const MAX_URL_BYTES: usize = 1_024;
/// The longest method, in characters.
pub const MAX_METHOD_BYTES: usize = 32;
/// The longest name of a query parameter that carries a key.
pub const MAX_PARAMETER_BYTES: usize = 64;
/// The longest age of connections, in seconds.
pub const MAX_CONNECTION_AGE: u32 = 86_400;
/// The most places one route may read a key from.
pub const MAX_SOURCES: usize = 8;

/// Whether a text is a scope: `[A-Za-z][A-Za-z0-9_:.-]{0,63}`.
#[must_use]
pub fn is_scope(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= MAX_SCOPE_BYTES
        && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'.' | b'-'))
}
