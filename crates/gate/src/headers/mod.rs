//! Headers the gate adds and removes.
//!
//! Towards the origin: every name [`is_removed`] tells goes, then the [`Identity`] is set, and where an origin key is
//! configured its [`signature`]. Towards the client of a retiring key: [`lifecycle`].

pub mod date;
mod identity;
pub mod lifecycle;
pub mod signature;

pub use identity::{Identity, KEY_ID, PRINCIPAL, REMOVED, SCOPES, SIGNATURE, WORKSPACE, is_removed};
