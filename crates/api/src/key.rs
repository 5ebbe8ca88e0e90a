//! An issued credential.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Actor;

/// A key: everything about it but its secret, which only the answer to its creation carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Key {
    /// `key_` and ten characters, unique in the deployment.
    pub id: String,
    /// The key's number in its workspace, never reused. `kn_<number>` is accepted wherever a key id is.
    pub number: u32,
    /// The public, loggable start of the key's text: `{brand}_{env}_{id}`.
    pub prefix: String,
    /// The first eight characters of the id.
    pub short_prefix: String,
    /// The label given by people.
    pub name: String,
    /// What the key can do now, by the database clock.
    pub state: KeyState,
    /// Why the key is disabled; empty when it is not.
    pub disabled_by: Vec<String>,
    /// Whom the key acts for: `prn_<subject>`.
    pub principal: String,
    /// The kind of that principal.
    pub kind: PrincipalKind,
    /// Where the key is meant to be used.
    pub environment: Environment,
    /// What the key may do.
    pub scopes: Vec<String>,
    /// The named rate limit.
    pub tier: Option<String>,
    /// Whoever looks after the key, in free text.
    pub owner: Option<String>,
    /// The member who looks after the key.
    #[serde(default)]
    pub owner_member: Option<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Who issued it.
    pub issued_by: Actor,
    /// When it was issued, by the database clock.
    pub created_at: Timestamp,
    /// When it stops working; whole seconds.
    pub expires_at: Option<Timestamp>,
    /// When it should have been rotated; whole seconds. A date to plan by: the key works on.
    pub rotate_by: Option<Timestamp>,
    /// While retiring: when it stops working; whole seconds.
    pub deadline: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Why it was revoked.
    pub revoke_reason: Option<String>,
    /// The last time an edge accepted it, as far as reported.
    pub last_used_at: Option<Timestamp>,
    /// The link between its partner and a client that it is bound to: it ends with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The id of the first key in its line of successors.
    pub lineage: String,
    /// The key it succeeded.
    pub predecessor: Option<String>,
    /// The key that succeeded it.
    pub successor: Option<String>,
    /// The open rotation it is part of.
    pub rotation: Option<String>,
    /// True for a key that was minted elsewhere.
    pub imported: bool,
    /// True for an imported key of less than 128 bits of declared entropy.
    pub weak: bool,
    /// From this time on every edge accepts the key.
    pub usable_from: Timestamp,
    /// Why it is in a list of `touched_by`: `issued` or `rotated` by that member or a token of theirs; by a `service_account`
    /// with a token that they made; `paired` with a code that they made; `owner`; `own_key`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub touched: Vec<String>,
}

/// What a key can do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum KeyState {
    /// It works.
    Active,
    /// It works until its deadline; a successor exists.
    Retiring,
    /// It does not work until it is enabled again.
    Disabled,
    /// It never works again.
    Revoked,
    /// Its expiry or deadline has passed; it never works again.
    Expired,
}

impl KeyState {
    /// The name in JSON and query strings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

/// Where a key is meant to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Environment {
    /// Real traffic.
    Live,
    /// Trials.
    Test,
}

impl Environment {
    /// The name in JSON, query strings and key texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

/// Whom a key can act for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PrincipalKind {
    /// A member.
    User,
    /// A program of the workspace's own.
    ServiceAccount,
    /// An organisation within the workspace.
    Partner,
    /// A paired device.
    Gateway,
}

impl PrincipalKind {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::ServiceAccount => "service_account",
            Self::Partner => "partner",
            Self::Gateway => "gateway",
        }
    }
}
