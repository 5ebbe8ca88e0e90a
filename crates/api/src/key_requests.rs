//! What can be asked about keys, and what comes back.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Environment, Key, KeyState, PrincipalKind, Receipt, Secret, Warning, tristate};

/// Issues a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssueKey {
    /// A label for people, 1 to 200 characters. Good ones say what the key replaces, and a date.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 200))]
    pub name: String,
    /// Where the key is meant to be used.
    pub environment: Environment,
    /// Whom it acts for, `prn_<subject>`; the workspace's default service account when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// What it may do; nothing when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// A named rate limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Whoever looks after it, at most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The member who looks after it, `mem_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_member: Option<String>,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it stops working. Fractions of a second are dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it should be rotated. Fractions of a second are dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_by: Option<Timestamp>,
    /// Of a partner's key: the link, `lnk_…`, that it is bound to. It is revoked when that ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Confirms that sensitive scopes are meant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acknowledge_sensitive: bool,
}

impl IssueKey {
    /// A key of no scopes, for the default service account, without expiry.
    pub fn new(name: impl Into<String>, environment: Environment) -> Self {
        Self {
            name: name.into(),
            environment,
            principal: None,
            scopes: Vec::new(),
            tier: None,
            owner: None,
            owner_member: None,
            labels: BTreeMap::new(),
            expires_at: None,
            rotate_by: None,
            link: None,
            acknowledge_sensitive: false,
        }
    }
}

/// A new key and its secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssuedKey {
    /// The key.
    pub key: Key,
    /// Its full text, shown this once.
    pub secret: Secret,
}

/// Changes what may change about a key. Absent fields stay; null clears.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateKey {
    /// A new label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// New labels, in place of all old ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// A new owner.
    #[serde(default, deserialize_with = "tristate::present", skip_serializing_if = "Option::is_none")]
    pub owner: Option<Option<String>>,
    /// Another member who looks after it.
    #[serde(default, deserialize_with = "tristate::present", skip_serializing_if = "Option::is_none")]
    pub owner_member: Option<Option<String>>,
    /// Another rate limit.
    #[serde(default, deserialize_with = "tristate::present", skip_serializing_if = "Option::is_none")]
    pub tier: Option<Option<String>>,
    /// Another expiry, while the present one lies in the future.
    #[serde(default, deserialize_with = "tristate::present", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Option<Timestamp>>,
    /// Another date to rotate by.
    #[serde(default, deserialize_with = "tristate::present", skip_serializing_if = "Option::is_none")]
    pub rotate_by: Option<Option<Timestamp>>,
}

/// Stops a key until it is enabled again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DisableKey {
    /// Why, for the audit trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Lifts the administrator's disabling of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnableKey {
    /// Why, for the audit trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Ends a key for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevokeKey {
    /// Why, for the audit trail.
    pub reason: String,
    /// Wait for the receipt at most so many seconds, 0 to 30: for every durable edge to confirm, or the bound to pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 30))]
    pub wait: Option<u64>,
}

impl RevokeKey {
    /// A revocation for this reason that waits for nothing.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), wait: None }
    }
}

/// A revoked key, and when no edge accepts it any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevokedKey {
    /// The key.
    pub key: Key,
    /// When it was revoked, by the database clock.
    pub revoked_at: Timestamp,
    /// From this time on no edge accepts a new request with it, whatever is partitioned or stalled.
    pub in_force_by: Timestamp,
    /// What else to know.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// What was proven when the waiting ended; only where `wait` was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

/// Which keys to list, newest first. Every filter given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams, utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct KeyFilter {
    /// In this state now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(inline))]
    pub state: Option<KeyState>,
    /// With exactly this owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Looked after by this member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_member: Option<String>,
    /// Issued by the actor with this id; for a member, `mem_…`, also what was issued with that member's tokens and with those
    /// it made for service accounts, and what gateways got with its pairing codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_by: Option<String>,
    /// Every key that this member may know the secret of or answers for: issued or rotated by them, with a token of theirs or
    /// with one that they made for a service account, given to a gateway for a pairing code of theirs, looked after by them, or
    /// their own. Each key says why in `touched`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched_by: Option<String>,
    /// Acting for this principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Acting for this kind of principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(inline))]
    pub kind: Option<PrincipalKind>,
    /// Carrying this scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// With this label: `name=value`, or `name` for whatever value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Of this environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(inline))]
    pub environment: Option<Environment>,
    /// Not issued before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_after: Option<Timestamp>,
    /// Issued before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_before: Option<Timestamp>,
    /// Never used, as far as reported.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub never_used: bool,
    /// Not used since: last used before this time, or never used and created before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_before: Option<Timestamp>,
    /// With an expiry before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_before: Option<Timestamp>,
    /// To be rotated before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_by_before: Option<Timestamp>,
    /// With this text in the name or prefix; the case of ASCII letters does not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// At most this many keys, 1 to 200; 50 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where the page before ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_tells_absent_from_null() {
        let update: UpdateKey = serde_json::from_str(r#"{"owner":null}"#).unwrap();
        assert_eq!(update.owner, Some(None));
        assert_eq!(update.tier, None);
        assert_eq!(serde_json::to_string(&update).unwrap(), r#"{"owner":null}"#);
    }

    #[test]
    fn a_request_refuses_a_field_it_does_not_know() {
        let text = r#"{"name":"a","environment":"live","scope":["x"]}"#;
        let refused = serde_json::from_str::<IssueKey>(text).unwrap_err();
        assert!(refused.to_string().contains("unknown field `scope`"));
    }
}
