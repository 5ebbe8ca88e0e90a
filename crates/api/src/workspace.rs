//! Workspaces: the tenants of a deployment.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Secret;

/// A workspace. Everything belongs to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Workspace {
    /// `ws_…`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What its keys begin with; null where it is not the caller's own.
    pub brand: Option<String>,
    /// When it was made; null where it is not the caller's own.
    pub created_at: Option<Timestamp>,
}

/// Makes a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateWorkspace {
    /// What people call it, 1 to 200 characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 200))]
    pub name: String,
    /// What its keys begin with: 2 to 12 lower-case letters and digits that begin with a letter, and no other workspace's.
    #[cfg_attr(feature = "openapi", schema(min_length = 2, max_length = 12))]
    pub brand: String,
    /// The e-mail address of its first owner, whom the enrolment token is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_email: Option<String>,
}

/// A new workspace, and how its first owner takes charge of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedWorkspace {
    /// The workspace.
    pub workspace: Workspace,
    /// Its key set, `set_…`. It is published within seconds.
    pub set: String,
    /// The one-time token that `POST /v1/enrol` takes, shown this once.
    pub enrolment_token: Secret,
    /// When that ends.
    pub enrolment_expires_at: Timestamp,
}

/// Changes a workspace. Absent fields stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateWorkspace {
    /// What people call it, 1 to 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 200))]
    pub name: Option<String>,
}
