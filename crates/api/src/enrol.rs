//! The first contact with a new control plane.

use serde::{Deserialize, Serialize};

use crate::{Secret, Token};

/// Trades the one-time enrolment token for a management token.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Enrol {
    /// The text in the file `enrolment-token` of the data directory.
    pub token: Secret,
}

/// The management token that the enrolment made.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Enrolled {
    /// The new token.
    pub token: Token,
    /// Its text, shown this once.
    pub secret: Secret,
}
