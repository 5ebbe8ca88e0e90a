//! The route document of a set.

use serde::{Deserialize, Serialize};

/// Which set a call is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct SetQuery {
    /// The set; the workspace's only set when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
}

/// The routes of a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Routes {
    /// The set the routes belong to.
    pub set: String,
    /// Counts the documents this set has had.
    pub revision: u64,
    /// SHA-256 of the published policy, lower-case hex: the `policy` of a head that carries it.
    pub policy_hash: String,
    /// The document as it was put.
    pub document: serde_json::Value,
}
