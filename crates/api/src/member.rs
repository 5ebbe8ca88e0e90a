//! Members: people with a role in a workspace, or in a partner organisation inside it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Actor, Secret, tristate};

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Role {
    /// Everything, and the only one who makes owners.
    Owner,
    /// Administers everything but owners.
    Admin,
    /// Runs things: sees, and has keys of its own.
    Operator,
    /// Sees, and has keys of its own.
    Viewer,
    /// Manages a partner organisation.
    PartnerOwner,
    /// Manages a partner organisation's keys, and its staff but for its owners.
    PartnerAdmin,
    /// Sees a partner organisation's keys.
    PartnerStaff,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 7] = [
        Self::Owner,
        Self::Admin,
        Self::Operator,
        Self::Viewer,
        Self::PartnerOwner,
        Self::PartnerAdmin,
        Self::PartnerStaff,
    ];

    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::PartnerOwner => "partner_owner",
            Self::PartnerAdmin => "partner_admin",
            Self::PartnerStaff => "partner_staff",
        }
    }
}

/// How far a member has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum MemberState {
    /// Invited, not here yet.
    Invited,
    /// Here.
    Active,
    /// Here, and may do nothing; its keys are disabled.
    Suspended,
    /// Gone for ever; its keys are revoked.
    Removed,
}

impl MemberState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Invited, Self::Active, Self::Suspended, Self::Removed];

    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Removed => "removed",
        }
    }
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Member {
    /// `mem_…`.
    pub id: String,
    /// The principal that its own keys act for, `prn_…`.
    pub principal: String,
    /// What it is.
    pub role: Role,
    /// The partner organisation whose staff it is, `prn_…`.
    pub partner: Option<String>,
    /// Its address; null where there was none, or it was erased.
    pub email: Option<String>,
    /// What it is called.
    pub name: Option<String>,
    /// How far it has come.
    pub state: MemberState,
    /// What its own keys may do beside what its role brings.
    pub scopes: Vec<String>,
    /// The rate limit of its own keys.
    pub tier: Option<String>,
    /// Who invited it.
    pub invited_by: Actor,
    /// When it was invited.
    pub created_at: Timestamp,
    /// Until when it can accept.
    pub invite_expires_at: Option<Timestamp>,
    /// When it accepted.
    pub joined_at: Option<Timestamp>,
    /// When it was suspended.
    pub suspended_at: Option<Timestamp>,
    /// When it was removed.
    pub removed_at: Option<Timestamp>,
}

/// Which members to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct MemberFilter {
    /// Those in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<MemberState>,
    /// Those of this role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The staff of this partner organisation, `prn_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partner: Option<String>,
    /// The one with exactly this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// At most this many, 1 to 200; 50 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Invites somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InviteMember {
    /// The address, 3 to 254 characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 3, max_length = 254))]
    pub email: String,
    /// What it is to be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is to be.
    pub role: Role,
    /// What its own keys may do beside what its role brings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The rate limit of its own keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Sensitive scopes are granted knowingly.
    #[serde(default)]
    pub acknowledge_sensitive: bool,
}

/// Asks for another code for a member who has no account yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReinviteMember {
    /// The address, where the member has none yet. One that is there cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// An invited member and the code by which it joins.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InvitedMember {
    /// The member.
    pub member: Member,
    /// The one-time code, shown this once: hand it to the person, on a way that you trust.
    pub code: Secret,
}

/// Changes a member. Absent fields stay, null clears.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateMember {
    /// Another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Another role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// New scopes, in place of all old ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// Another rate limit.
    #[serde(default, deserialize_with = "tristate::present", skip_serializing_if = "Option::is_none")]
    pub tier: Option<Option<String>>,
    /// Sensitive scopes are granted knowingly.
    #[serde(default)]
    pub acknowledge_sensitive: bool,
}

/// Suspends, resumes or removes a member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MoveMember {
    /// Why, 1 to 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What members of a role have beside their own scopes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoleScopes {
    /// The role.
    pub role: Role,
    /// What its members' own keys may do. `*` among them: its members may grant every scope there is; no key gets it.
    pub scopes: Vec<String>,
}

/// Says what a role brings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplaceRole {
    /// As in [`RoleScopes`], in place of what was there.
    pub scopes: Vec<String>,
    /// Sensitive scopes are granted knowingly.
    #[serde(default)]
    pub acknowledge_sensitive: bool,
}
