//! The first contact with a new control plane.

use serde::{Deserialize, Serialize};

use crate::{Member, Secret, Token};

/// Trades the one-time enrolment token for an owner and a management token of theirs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Enrol {
    /// The text in the file `enrolment-token` of the data directory.
    pub token: Secret,
    /// What the first owner is to be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The first owner's address. Without one they cannot sign in, until one is given to them with
    /// `POST /v1/members/{id}/invite`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// The management token that the enrolment made.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Enrolled {
    /// The workspace's new owner.
    pub member: Member,
    /// The new token, which has that owner's authority.
    pub token: Token,
    /// Its text, shown this once.
    pub secret: Secret,
    /// Where the owner has an address: the one-time code by which they get an account and can sign in, shown this once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Secret>,
}
