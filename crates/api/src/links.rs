//! Links between partners and their client workspaces.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Secret;

/// Where a link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum LinkState {
    /// Its code has not been used.
    Pending,
    /// The client accepted it.
    Active,
    /// Either side ended it, for ever.
    Ended,
}

impl LinkState {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Ended => "ended",
        }
    }
}

/// One end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum LinkSide {
    /// The partner, or the workspace it is in.
    Partner,
    /// The workspace that accepted the link.
    Client,
}

impl LinkSide {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Partner => "partner",
            Self::Client => "client",
        }
    }
}

/// A link as the partner's side sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PartnerLink {
    /// `lnk_…`.
    pub id: String,
    /// The partner: `prn_<subject>`.
    pub partner: String,
    /// What the partner's side calls the client.
    pub client_name: String,
    /// What the client calls itself; null until it accepts.
    pub client_workspace: Option<String>,
    /// Where it stands.
    pub state: LinkState,
    /// What the partner has earned at this client.
    pub permissions: Vec<String>,
    /// When its code stops working.
    pub code_expires_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the client accepted it.
    pub accepted_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Which side ended it.
    pub ended_by: Option<LinkSide>,
    /// Why it ended.
    pub end_reason: Option<String>,
}

/// A link as the client's side sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClientLink {
    /// `lnk_…`.
    pub id: String,
    /// The partner's name.
    pub partner_name: String,
    /// What the workspace that the partner is in calls itself.
    pub partner_workspace: String,
    /// Where it stands.
    pub state: LinkState,
    /// What the partner has earned here.
    pub permissions: Vec<String>,
    /// When it was accepted.
    pub accepted_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Which side ended it.
    pub ended_by: Option<LinkSide>,
    /// Why it ended.
    pub end_reason: Option<String>,
}

/// Makes a link and its one-time code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateLink {
    /// Whom it is for: a label for the partner's side, 1 to 200 characters. The client never sees it.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 200))]
    pub client_name: String,
}

/// A new link and the code the client accepts it with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedLink {
    /// The link.
    pub link: PartnerLink,
    /// The code, `nll_…`: good once, shown this once.
    pub code: Secret,
    /// When the code stops working.
    pub code_expires_at: Timestamp,
}

/// Accepts a link.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AcceptLink {
    /// The code, `nll_…`.
    pub code: Secret,
    /// What the partner earns here; nothing when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
}

/// Says anew what a partner has earned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateLink {
    /// All of it, in place of what it was.
    pub permissions: Vec<String>,
}

/// A link that ended, as the partner's side sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EndedPartnerLink {
    /// The link.
    pub link: PartnerLink,
    /// How many keys were bound to it and are revoked.
    pub keys: u64,
    /// From this time on no edge accepts them, whatever is partitioned or stalled.
    pub in_force_by: Timestamp,
}
