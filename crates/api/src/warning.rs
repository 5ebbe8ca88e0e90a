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
    /// The scopes it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The routes it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteRef>,
}

/// A route, as its policy names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RouteRef {
    /// `GET`, …, or `*`.
    pub method: String,
    /// Its path pattern.
    pub pattern: String,
}

impl RouteRef {
    /// The route of that method and pattern.
    pub fn new(method: &str, pattern: &str) -> Self {
        Self { method: method.to_owned(), pattern: pattern.to_owned() }
    }
}
