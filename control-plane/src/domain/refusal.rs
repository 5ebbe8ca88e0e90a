//! Why a transition is refused, and what an accepted one warns of.

use super::reach::RouteName;
use super::{Action, RotationId, Scope};

/// A transition that is well-formed but not possible. Each maps one to one onto a stable API code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field has a value outside its shape.
    #[error("`{field}` is outside its allowed shape")]
    Invalid {
        /// The field, as the API names it.
        field: &'static str,
    },
    /// A field has a value that is not this caller's to choose.
    #[error("`{field}` {rule}")]
    NotTheirs {
        /// The field, as the API names it.
        field: &'static str,
        /// What holds instead, for people.
        rule: &'static str,
    },
    /// A token is to work longer than the one with which it is made.
    #[error("`expires_at` {}", Self::own_end(*.until))]
    BeyondOwnEnd {
        /// When that one ends, unix seconds.
        until: i64,
    },
    /// The named principal does not exist in the workspace.
    #[error("the principal does not exist")]
    PrincipalUnknown,
    /// The named member does not exist in the workspace, or was removed.
    #[error("the member does not exist")]
    MemberUnknown,
    /// A member's key has the member's scopes and tier, and none of its own.
    #[error("a user's key has the scopes and the tier of its member, and none of its own")]
    ScopesInherited,
    /// An expiry must lie in the future.
    #[error("the expiry is not in the future")]
    ExpiryPast,
    /// A weak imported key must say when it is to be rotated.
    #[error("a key of less than 128 bits of entropy needs a rotate-by time")]
    RotateByRequired,
    /// The overlap is shorter than the time a change may take to be in force.
    #[error("the overlap is shorter than the bound of {minimum_seconds} s")]
    OverlapBelowBound {
        /// The shortest overlap, in seconds.
        minimum_seconds: i64,
    },
    /// The new deadline is not later than the present one.
    #[error("the new deadline is not later than the present one")]
    DeadlineNotLater,
    /// Extending now could reach an edge after it refused the key.
    #[error("the deadline or expiry is nearer than the bound")]
    TooLate,
    /// The key is revoked, or its deadline has passed: final.
    #[error("the key is revoked")]
    KeyRevoked,
    /// The key's expiry has passed: final.
    #[error("the key has expired")]
    KeyExpired,
    /// The key is disabled; it cannot be rotated with an overlap.
    #[error("the key is disabled")]
    KeyDisabled,
    /// The predecessor already has an open rotation.
    #[error("the key is already being rotated")]
    RotationOpen {
        /// The rotation that is open.
        rotation: RotationId,
    },
    /// The rotation has ended.
    #[error("the rotation has ended")]
    RotationClosed,
    /// The predecessor was seen within the last 120 seconds.
    #[error("the predecessor is still in use")]
    PredecessorInUse {
        /// When it was last seen, unix milliseconds.
        last_used_at: i64,
    },
    /// The keys are not those that the caller has seen.
    #[error("the keys are not those of the plan")]
    PlanChanged {
        /// What names the keys of now.
        plan: String,
    },
    /// Forcing needs a reason.
    #[error("forcing needs a reason")]
    ReasonRequired,
    /// A usable key carries the scope.
    #[error("a usable key carries the scope")]
    ScopeInUse,
    /// The workspace says as much of its scopes as it may.
    #[error("the catalogue is full")]
    CatalogueFull,
    /// The edge has no credential yet.
    #[error("the edge has not enrolled")]
    EdgeNotEnrolled,
    /// The edge was removed: final.
    #[error("the edge is removed")]
    EdgeRemoved,
    /// Another workspace of the deployment has the brand, or the product itself.
    #[error("the brand is taken")]
    BrandTaken,
    /// The principal that keys act for where none is named cannot go.
    #[error("the default principal cannot be removed")]
    DefaultPrincipal,
    /// A gateway's code is unknown, used or expired.
    #[error("the pairing code cannot be used")]
    PairingCodeUnusable,
    /// A link's code is unknown, used or expired.
    #[error("the link's code cannot be used")]
    LinkCodeUnusable,
    /// The link is not accepted yet, or has ended.
    #[error("the link is not active")]
    LinkNotActive,
    /// The client is linked to this partner already.
    #[error("the workspace is linked to this partner already")]
    LinkExists,
    /// The principal's keys may not carry these scopes.
    #[error("the principal's keys may not carry these scopes")]
    BeyondCeiling {
        /// Those beyond its ceiling.
        scopes: Vec<Scope>,
    },
    /// The caller's role, or its token's scopes, do not allow it.
    #[error("`{action}` is not allowed to this caller here")]
    Forbidden {
        /// What was to be done.
        action: Action,
    },
    /// Who acts was removed, suspended or given another role while they waited, or their token was revoked.
    #[error("what the caller may do was changed meanwhile")]
    AuthorityChanged,
    /// A session has to prove anew who it is.
    #[error("this needs a fresh proof of who you are")]
    StepUpRequired,
    /// Nobody grants what they do not have.
    #[error("scopes beyond the caller's own cannot be granted")]
    BeyondOwnScopes {
        /// Those beyond.
        scopes: Vec<Scope>,
    },
    /// A sensitive scope was to be granted without saying so.
    #[error("sensitive scopes are granted only knowingly")]
    SensitiveUnacknowledged {
        /// Those that are sensitive.
        scopes: Vec<Scope>,
    },
    /// A key that comes and goes by other means than this call.
    #[error("keys of this kind of principal come and go by `{call}`")]
    NotRevocableHere {
        /// The call that works.
        call: String,
    },
    /// The workspace would be without an owner.
    #[error("the last owner cannot go")]
    LastOwner,
    /// The principal is suspended.
    #[error("the principal is suspended")]
    PrincipalSuspended,
    /// The principal is removed: final.
    #[error("the principal is removed")]
    PrincipalRemoved,
    /// Another member has the address.
    #[error("a member with this address is there already")]
    MemberExists,
    /// The invitation was accepted already.
    #[error("the invitation was accepted already")]
    InviteAccepted,
    /// The role does not fit: partner roles need an organisation, others must have none.
    #[error("the role does not fit")]
    RoleUnfit,
}

impl Refusal {
    /// What holds of a token's end, for people.
    pub fn own_end(until: i64) -> String {
        let until = jiff::Timestamp::from_second(until).unwrap_or(jiff::Timestamp::MAX);
        format!(
            "must be given and not be later than {until}, when the token that makes it ends: give --expires-in or --expires-at, \
             or sign in for longer (nightlatch sign-in --expires-in)"
        )
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } | Self::NotTheirs { .. } | Self::BeyondOwnEnd { .. } => "value_invalid",
            Self::PrincipalUnknown => "principal_unknown",
            Self::MemberUnknown => "member_unknown",
            Self::ScopesInherited => "scopes_inherited",
            Self::ExpiryPast => "expiry_in_past",
            Self::RotateByRequired => "rotate_by_required",
            Self::OverlapBelowBound { .. } => "overlap_below_bound",
            Self::DeadlineNotLater => "deadline_not_later",
            Self::TooLate => "too_late",
            Self::KeyRevoked => "key_revoked",
            Self::KeyExpired => "key_expired",
            Self::KeyDisabled => "key_disabled",
            Self::RotationOpen { .. } => "rotation_open",
            Self::RotationClosed => "rotation_closed",
            Self::PredecessorInUse { .. } => "predecessor_in_use",
            Self::PlanChanged { .. } => "plan_changed",
            Self::ReasonRequired => "reason_required",
            Self::ScopeInUse => "scope_in_use",
            Self::CatalogueFull => "catalogue_full",
            Self::EdgeNotEnrolled => "edge_not_enrolled",
            Self::EdgeRemoved => "edge_removed",
            Self::BrandTaken => "brand_taken",
            Self::DefaultPrincipal => "default_principal",
            Self::PairingCodeUnusable => "pairing_code_invalid",
            Self::LinkCodeUnusable => "link_code_invalid",
            Self::LinkNotActive => "link_not_active",
            Self::LinkExists => "link_exists",
            Self::BeyondCeiling { .. } => "beyond_ceiling",
            Self::Forbidden { .. } => "forbidden",
            Self::AuthorityChanged => "authority_changed",
            Self::StepUpRequired => "step_up_required",
            Self::BeyondOwnScopes { .. } => "beyond_own_scopes",
            Self::SensitiveUnacknowledged { .. } => "sensitive_unacknowledged",
            Self::NotRevocableHere { .. } => "not_revocable_here",
            Self::LastOwner => "last_owner",
            Self::PrincipalSuspended => "principal_suspended",
            Self::PrincipalRemoved => "principal_removed",
            Self::MemberExists => "member_exists",
            Self::InviteAccepted => "invite_accepted",
            Self::RoleUnfit => "role_unfit",
        }
    }
}

/// What an accepted transition warns of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The predecessor's own expiry leaves less overlap than the bound.
    OverlapBelowBound,
    /// The new expiry is nearer than the bound: edges may learn of it after it has passed.
    ExpiryBelowBound,
    /// The predecessor has an expiry of its own, and the successor has none.
    ExpiryNotInherited,
    /// The successor has the predecessor's name.
    SameName,
    /// The successor lacks scopes the predecessor has.
    ScopesLost {
        /// What is lost.
        scopes: Vec<Scope>,
        /// The routes that would turn 403.
        routes: Vec<RouteName>,
    },
    /// The rotation's successor is revoked: when the predecessor goes, nothing takes its place.
    NoSuccessor,
}

impl Warning {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OverlapBelowBound => "overlap_below_bound",
            Self::ExpiryBelowBound => "expiry_below_bound",
            Self::ExpiryNotInherited => "expiry_not_inherited",
            Self::SameName => "same_name",
            Self::ScopesLost { .. } => "scopes_lost",
            Self::NoSuccessor => "no_successor",
        }
    }
}
