//! What may happen to a key: pure transitions, no input or output.
//!
//! Every function here takes the records as they are and the database clock, and returns the records as they become, or
//! the [`Refusal`] that names why not. Storage, HTTP and randomness are elsewhere.
//!
//! Units: times ending in `_at` are unix milliseconds unless they are a deadline or an expiry; those are whole unix
//! seconds, and a key is valid while `now < deadline`.

mod action;
mod actor;
pub mod authority;
pub mod catalogue;
mod change;
mod edge;
pub mod gateway;
pub mod ids;
pub mod import;
mod key;
mod member;
#[cfg(test)]
mod model;
pub mod partner;
mod principal;
pub mod reach;
pub mod receipt;
mod refusal;
pub mod rotate;
pub mod rotation;
mod text;

pub use action::{Action, Role};
pub use actor::{Actor, ActorType};
pub use authority::{Authority, Standing, Target};
pub(crate) use change::require_inherited;
pub use change::{Birth, Issue, KeyPatch, Patched, Revoked, disable, enable, issue, patch, revoke};
pub use edge::{EdgeClass, EdgeState};
pub use ids::{AccountId, EdgeId, KeyId, KeyRef, LinkId, MemberId, RotationId, SessionId, SetId, TokenId, WorkspaceId};
pub use key::{Cause, Causes, EdgeImage, Key, Stage, State};
pub use member::{Member, MemberPatch, MemberState};
pub use nightlatch_keyset::{PrincipalKind, Status};
pub use principal::{DEFAULT_SUBJECT, Principal, PrincipalPatch, PrincipalState};
pub use refusal::{Refusal, Warning};
pub use rotation::Rotation;
pub use text::{Description, LabelMatch, Labels, Name, Owner, Reason, Scope, Scopes, Tier};

/// How long a change may take to be in force everywhere: the largest validity signed plus the skew, over all sets of the
/// workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    ms: i64,
}

impl Bound {
    /// A bound of so many milliseconds.
    pub const fn from_ms(ms: i64) -> Self {
        Self { ms }
    }

    /// In milliseconds.
    pub const fn ms(self) -> i64 {
        self.ms
    }

    /// In whole seconds, rounded up: what an overlap must at least be.
    pub const fn seconds(self) -> i64 {
        self.ms.div_euclid(1000) + (self.ms.rem_euclid(1000) != 0) as i64
    }
}
