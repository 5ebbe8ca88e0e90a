//! Who did something.

use serde::{Deserialize, Serialize};

/// Whoever caused an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Actor {
    /// The kind of actor: `member`, `token`, `service_account`, `edge`, `gateway`, `enrolment`, `system`, and of what the other
    /// side of a link did, `partner` or `client`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The actor's id within its kind, such as `tok_…`; of a service account `prn_…`.
    pub id: String,
}
