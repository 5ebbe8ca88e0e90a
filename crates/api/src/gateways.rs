//! Gateways: devices that get their key by pairing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Environment, Key, RotationOrder, Secret};

/// Where a gateway stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum GatewayState {
    /// It has no key; a code is out for it.
    Waiting,
    /// It has a key.
    Paired,
    /// It has neither key nor code.
    Unpaired,
}

impl GatewayState {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Paired => "paired",
            Self::Unpaired => "unpaired",
        }
    }
}

/// A gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Gateway {
    /// `prn_<subject>`.
    pub id: String,
    /// The label given by people.
    pub name: String,
    /// Where its keys are meant to be used.
    pub environment: Environment,
    /// What its keys carry.
    pub scopes: Vec<String>,
    /// Where it stands.
    pub state: GatewayState,
    /// The key it got last, until it is unpaired.
    pub key: Option<String>,
    /// While a code is out: when it stops working.
    pub code_expires_at: Option<Timestamp>,
    /// While a code is out: what its use does to the key that is there.
    pub code_order: Option<RotationOrder>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it got its key.
    pub paired_at: Option<Timestamp>,
    /// When it was last unpaired.
    pub unpaired_at: Option<Timestamp>,
}

/// Makes a gateway and the code it pairs with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateGateway {
    /// A label for people, 1 to 200 characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 200))]
    pub name: String,
    /// Where its keys are meant to be used.
    pub environment: Environment,
    /// What its keys carry; nothing when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// That sensitive scopes are meant: without it they are refused. Absent is false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acknowledge_sensitive: bool,
}

/// Makes another code for a gateway. A code that was out before works no more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OfferPairing {
    /// What its use does to the key that is there: `issue_first` lets it work until every edge knows the new one,
    /// `revoke_first` ends it at once. `issue_first` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<RotationOrder>,
}

/// A gateway and the code it pairs with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OfferedPairing {
    /// The gateway.
    pub gateway: Gateway,
    /// The code, `nlp_…`: good once, shown this once.
    pub code: Secret,
    /// When the code stops working.
    pub code_expires_at: Timestamp,
}

/// Trades the one-time code of a gateway for its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PairGateway {
    /// The code, `nlp_…`.
    pub code: Secret,
}

/// A paired gateway and its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PairedGateway {
    /// The gateway.
    pub gateway: Gateway,
    /// Its key.
    pub key: Key,
    /// The key's full text, shown this once.
    pub secret: Secret,
    /// When the key before ends; null where there was none.
    pub old_ends_by: Option<Timestamp>,
}

/// Ends a gateway's key and code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnpairGateway {
    /// Why, for the audit trail and the key.
    pub reason: String,
}

/// An unpaired gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnpairedGateway {
    /// The gateway.
    pub gateway: Gateway,
    /// How many keys ended with it: two while one was being replaced.
    pub keys: u64,
    /// From this time on no edge accepts them, whatever is partitioned or stalled.
    pub in_force_by: Timestamp,
}
