//! Tokens: what callers of this API prove themselves with.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Actor, Secret};

/// A management or edge token, without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Token {
    /// `tok_…`.
    pub id: String,
    /// The label given by people.
    pub name: String,
    /// What it is for.
    pub kind: TokenKind,
    /// The set an edge token reads.
    pub set: Option<String>,
    /// The edge whose credential it is, `edge_…`; null for other tokens.
    #[serde(default)]
    pub edge: Option<String>,
    /// What it may do; `["*"]` is everything that its kind and its member may. Of a service account's exactly this.
    pub scopes: Vec<String>,
    /// The member whose authority a management token has, `mem_…`; null for edge tokens, and for those from before there
    /// were members.
    #[serde(default)]
    pub member: Option<String>,
    /// The service account whose token it is, `prn_…`: with it, the account acts itself.
    #[serde(default)]
    pub service_account: Option<String>,
    /// The member who may know the text of a service account's token, `mem_…`: who made it, or the one with which it was
    /// made.
    #[serde(default)]
    pub maker: Option<String>,
    /// The public, loggable start of its text.
    pub prefix: String,
    /// Whether it works now.
    pub state: TokenState,
    /// Who made it.
    pub created_by: Actor,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working; whole seconds.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// Which tokens to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct TokenFilter {
    /// Service accounts' tokens whose text this member may know, `mem_…`: to be revoked or rotated when they leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maker: Option<String>,
    /// At most this many, 1 to 200; 50 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TokenKind {
    /// Administration.
    Management,
    /// Reading one set and reporting about it.
    Edge,
}

impl TokenKind {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Management => "management",
            Self::Edge => "edge",
        }
    }
}

/// Whether a token works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TokenState {
    /// It works.
    Active,
    /// Its expiry has passed.
    Expired,
    /// It was revoked.
    Revoked,
}

/// Makes a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateToken {
    /// A label for people, 1 to 200 characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 200))]
    pub name: String,
    /// What it is for.
    pub kind: TokenKind,
    /// The set an edge token reads. Required for an edge token, refused for a management token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// What it may do: names of actions such as `keys:read`, at most 64. `["*"]` is everything that its maker may, also
    /// what comes to be possible later, and the default. Edge tokens have no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// Makes it a token of this service account, `prn_…`, and of no member: for who may manage service accounts. `scopes`
    /// must then name what it may do; it may exactly that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// When it stops working. Fractions of a second are dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// Replaces a management token by another of the same rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RotateToken {
    /// How long both work, in seconds.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 31_536_000))]
    pub overlap_seconds: u32,
    /// Why, 1 to 200 characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 200))]
    pub reason: String,
}

/// A new token and its text.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedToken {
    /// The token.
    pub token: Token,
    /// Its full text, shown this once.
    pub secret: Secret,
}
