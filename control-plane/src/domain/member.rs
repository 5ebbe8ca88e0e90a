//! Members: people with a role in a workspace, or in a partner organisation inside it.

use super::{Actor, MemberId, Name, Role, Scopes, Tier, WorkspaceId};

/// How far a member has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberState {
    /// Invited, not here yet.
    Invited,
    /// Here.
    Active,
    /// Here, and may do nothing.
    Suspended,
    /// Gone for ever.
    Removed,
}

impl MemberState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Invited, Self::Active, Self::Suspended, Self::Removed];

    /// The name used in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Removed => "removed",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A member's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// `mem_…`
    pub id: MemberId,
    /// Where it is one.
    pub workspace: WorkspaceId,
    /// The principal that its own keys act for.
    pub subject: u32,
    /// What it is.
    pub role: Role,
    /// The subject of the partner organisation whose staff it is.
    pub partner: Option<u32>,
    /// Its address, lower case; `None` where there was none, or it was erased.
    pub email: Option<String>,
    /// What it is called.
    pub name: Option<String>,
    /// How far it has come.
    pub state: MemberState,
    /// What its own keys may do beside what its role brings.
    pub scopes: Scopes,
    /// The rate limit of its own keys.
    pub tier: Option<Tier>,
    /// The account by which it signs in.
    pub account: Option<String>,
    /// Until when it may accept its invitation, unix milliseconds.
    pub invite_expires_at: Option<i64>,
    /// By whom it was invited.
    pub invited_by: Actor,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub joined_at: Option<i64>,
    /// Unix milliseconds.
    pub suspended_at: Option<i64>,
    /// Unix milliseconds.
    pub removed_at: Option<i64>,
    /// Counts the changes of the record; what `ETag` is made of.
    pub revision: i64,
}

/// A change of a member. The outer `None` leaves a field, the inner `None` clears it.
#[derive(Clone, Debug, Default)]
pub struct MemberPatch {
    /// What it is called.
    pub name: Option<Name>,
    /// What it is.
    pub role: Option<Role>,
    /// What its own keys may do, replaced whole.
    pub scopes: Option<Scopes>,
    /// The rate limit of its own keys.
    pub tier: Option<Option<Tier>>,
}
