//! Who did something.

use serde::{Deserialize, Serialize};

/// Whoever caused an action: a management token, the enrolment, or the system itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Actor {
    /// The kind of actor: `token`, `enrolment` or `system`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The actor's id within its kind, such as `tok_…`.
    pub id: String,
}
