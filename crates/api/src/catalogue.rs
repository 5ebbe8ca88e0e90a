//! The workspace's catalogue: names that keys refer to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A permission a key may carry. A scope enters the catalogue when it is first used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Scope {
    /// The name, `[A-Za-z][A-Za-z0-9_:.-]{0,63}`.
    pub name: String,
    /// When it was first used.
    pub first_used_at: Timestamp,
}

/// A named rate limit. A tier enters the catalogue when it is first used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tier {
    /// The name.
    pub name: String,
    /// When it was first used.
    pub first_used_at: Timestamp,
}
