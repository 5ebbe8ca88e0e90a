//! The route document of a set.

use serde::{Deserialize, Serialize};

use crate::{Environment, PrincipalKind};

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

/// The routes of a set, as they are in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Routes {
    /// The set the routes belong to.
    pub set: String,
    /// Counts the documents this set has had; 0 before the first, when every request is refused.
    pub revision: u64,
    /// SHA-256 of the published policy, lower-case hex: the `policy` of a head that carries it. Null before the first.
    pub policy_hash: Option<String>,
    /// The document.
    pub document: RouteDocument,
}

/// Which requests there are, and what each asks of a key. It is put whole; a request that no route matches is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RouteDocument {
    /// What `WWW-Authenticate` names; `API` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    /// A page for developers, linked from answers to requests with a retiring key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub developer_url: Option<String>,
    /// The routes, in any order: the most specific one decides.
    pub routes: Vec<RouteRule>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RouteRule {
    /// `GET`, which also matches `HEAD`, `POST`, …, or `*`.
    pub method: String,
    /// Literal segments, `{name}` for one segment, a last `{*rest}` for all that remain.
    pub path: String,
    /// The environments whose keys pass; `["live"]` when absent.
    #[serde(default = "live_only")]
    pub environments: Vec<Environment>,
    /// The scopes a key needs, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The kinds of principal that pass; all when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<PrincipalKind>,
    /// Where the key is read from, in order: `authorization`, `x-api-key`, `query:NAME`. The first two when absent.
    #[serde(default = "both_headers")]
    pub credentials: Vec<String>,
    /// What happens to cross-origin preflight requests.
    #[serde(default)]
    pub options: PreflightRule,
    /// What shared caches may do with answers.
    #[serde(default)]
    pub cache: CacheRule,
    /// How long a connection may go on after its request was let through, in seconds (1 to 86,400): then its bodies, and
    /// what it was upgraded to, are ended. Only routes that have it let connections be upgraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connection_age: Option<u32>,
    /// Whether keys known good pass for a while when nothing is heard of the control plane any more: as long as the set is
    /// set up for. A revoked key may then pass as long; every receipt names the route.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
}

impl RouteRule {
    /// A route that any live key passes.
    pub fn new(method: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            environments: live_only(),
            scopes: Vec::new(),
            principals: Vec::new(),
            credentials: both_headers(),
            options: PreflightRule::Key,
            cache: CacheRule::Bypass,
            max_connection_age: None,
            open: false,
        }
    }

    /// The same route, asking for these scopes.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }
}

/// What happens to an `OPTIONS` request that asks whether a cross-origin request may be made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PreflightRule {
    /// It needs a key like any other request.
    #[default]
    Key,
    /// It is forwarded without one, as browsers send none.
    Pass,
}

/// What shared caches may do with answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum CacheRule {
    /// They are bypassed.
    #[default]
    Bypass,
    /// They may keep answers, apart for each subject.
    BySubject,
}

fn live_only() -> Vec<Environment> {
    vec![Environment::Live]
}

fn both_headers() -> Vec<String> {
    vec!["authorization".to_owned(), "x-api-key".to_owned()]
}
