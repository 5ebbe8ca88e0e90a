//! Advice that comes with a success.

use serde::{Deserialize, Serialize};

/// Something that was done as asked, and that the caller should know more about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Warning {
    /// A stable name, such as `overlap_below_bound` or `no_successor`.
    pub code: String,
    /// What it means here, for a person.
    pub detail: String,
}
