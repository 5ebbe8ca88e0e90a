//! The gate: may this request pass?
//!
//! One pure function, [`decide`], answers for every runtime: same request, same policy, same set, same time, same
//! verdict. It knows no clock, socket or JSON, and what it allows costs next to no allocation.
//!
//! # The order
//!
//! The first failure decides.
//!
//! | step | module | refusal |
//! |---|---|---|
//! | the target has one reading | [`path`] | 400 `path_ambiguous`, 414 `path_too_long` |
//! | a route matches method and path | [`policy`] | 404 `route_not_found` |
//! | no other protocol is asked for, but where the route limits the age of connections | | 501 `upgrade_unsupported` |
//! | exactly one key, where the route reads it | [`credential`] | 431 `credential_too_large`, 401 `key_missing`, `key_conflict` |
//! | it has the shape and checksum of a key | [`shape`] | 401 `key_invalid` |
//! | the set is fit to answer | [`Keys`] | 503 `set_stale`, `set_corrupt`, `pepper_missing` |
//! | the set knows it, for this workspace | | 401 `key_invalid` |
//! | it is neither revoked nor disabled | [`check`] | 401 `key_revoked`, `key_disabled` |
//! | its deadline has not come | | 401 `key_expired`, `key_retired_grace_over` |
//! | its environment is the route's | | 401 `key_env_mismatch` |
//! | its kind of principal may | | 403 `principal_not_allowed` |
//! | its scopes suffice | | 403 `scope_insufficient` |
//! | rate tier, daily limit | | their place is kept |
//!
//! A preflight passes without a key where the route of the request it announces says so.
//!
//! # From a verdict to the wire
//!
//! [`Verdict::Deny`] holds a [`Denial`]: status, headers and problem document. [`Verdict::Allow`] says what to forward;
//! the runtime removes the headers [`headers::is_removed`] names (and `Authorization` unless it is kept), sets the
//! [`Identity`](headers::Identity), signs it where it has an [`OriginKey`](headers::signature::OriginKey), and adds
//! [`headers::lifecycle`] to the answer where the key is retiring.
//!
//! ```
//! # use nightlatch_gate::{Keys, Request, SetFacts, Verdict, decide, policy::Policy, headers::{Identity, lifecycle}};
//! fn answer<K: Keys>(request: &Request<'_>, policy: &Policy, set: &SetFacts<'_>, keys: &K, now: u64) {
//!     match decide(request, policy, set, keys, now) {
//!         Verdict::Allow(allow) => {
//!             let identity = Identity::from(&allow.accepted);
//!             // Forward `allow.forward.target` with `identity.headers()`; then, on the answer:
//!             if let Some(deadline) = allow.accepted.retiring {
//!                 let _headers = lifecycle::headers(deadline, policy.developer_url());
//!             }
//!         }
//!         Verdict::Preflight(forward) => {
//!             // Forward `forward.target` as nobody.
//!         }
//!         Verdict::Deny(denial) => {
//!             let _status = denial.status();
//!             let _headers = denial.headers(policy.realm());
//!             let _body = denial.problem("the request's id");
//!         }
//!     }
//! }
//! ```
#![no_std]

extern crate alloc;

mod code;
pub mod credential;
mod decide;
mod denial;
pub mod headers;
mod hex;
mod ids;
mod keys;
pub mod path;
mod percent;
pub mod policy;
pub mod problem;
mod request;

pub use code::Code;
pub use decide::{Accepted, Allow, Forward, MAX_FOREIGN_BYTES, Shape, Verdict, check, decide, shape};
pub use denial::{Denial, DeniedKey};
pub use ids::{KeyId, PrincipalId};
pub use keys::{Found, Keys, ReplicaKeys, SetFacts, Unfit};
pub use request::Request;
