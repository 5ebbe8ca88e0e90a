//! Writing a policy: what the control plane fills in, and the checks that make it one.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use nightlatch_key::Environment;
use nightlatch_keyset::PrincipalKind;

use super::error::{Flaw, PolicyError};
use super::model::{Cache, CredentialSource, Environments, Method, OptionsRule, Policy, Route};
use super::pattern::Pattern;
use super::{
    MAX_CONNECTION_AGE, MAX_PARAMETER_BYTES, MAX_POLICY_BYTES, MAX_REALM_BYTES, MAX_ROUTES, MAX_SCOPES, MAX_SOURCES,
    MAX_URL_BYTES, is_scope,
};

/// A policy as somebody wrote it. Fill it in and give it to [`Policy::new`].
///
/// ```
/// use nightlatch_gate::policy::{Draft, Policy, RouteDraft};
///
/// let draft = Draft::new("Example API")
///     .developer_url("https://example.com/developers")
///     .route(RouteDraft::new("GET", "/invoices").scopes(["invoices:read"]))
///     .route(RouteDraft::new("GET", "/invoices/{id}").scopes(["invoices:read"]));
/// let policy = Policy::new(draft)?;
/// assert_eq!(policy.find("HEAD", "/invoices/7").unwrap().pattern().as_str(), "/invoices/{id}");
/// assert!(policy.find("DELETE", "/invoices/7").is_none());
/// # Ok::<(), nightlatch_gate::policy::PolicyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What `WWW-Authenticate` names.
    pub realm: String,
    /// Where developers read about the successor of a retiring key.
    pub developer_url: Option<String>,
    /// The routes, in any order.
    pub routes: Vec<RouteDraft>,
}

impl Draft {
    /// A policy without routes, which refuses everything.
    #[must_use]
    pub fn new(realm: &str) -> Self {
        Self { realm: realm.into(), developer_url: None, routes: Vec::new() }
    }

    /// Sets the page that `Link: …; rel="successor-version"` names.
    #[must_use]
    pub fn developer_url(mut self, url: &str) -> Self {
        self.developer_url = Some(url.into());
        self
    }

    /// Adds a route.
    #[must_use]
    pub fn route(mut self, route: RouteDraft) -> Self {
        self.routes.push(route);
        self
    }
}

/// A route as somebody wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteDraft {
    /// `GET`, …, or `*`.
    pub method: String,
    /// The path pattern.
    pub path: String,
    /// The environments whose keys are admitted.
    pub environments: Vec<Environment>,
    /// The scopes a key must have, all of them.
    pub scopes: Vec<String>,
    /// The kinds of principal that are admitted; none stands for all.
    pub principals: Vec<PrincipalKind>,
    /// Where a key is read from, in order.
    pub credentials: Vec<CredentialSource>,
    /// Whether preflight requests pass without a key.
    pub options: OptionsRule,
    /// What shared caches may do with answers.
    pub cache: Cache,
    /// How long a connection may go on, in seconds: 1 to 86,400.
    pub max_connection_age: Option<u32>,
    /// Whether keys known good pass while data is missing.
    pub open: bool,
}

impl RouteDraft {
    /// A route that any live key passes, read from `Authorization: Bearer`, then `X-API-Key`.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            environments: vec![Environment::Live],
            scopes: Vec::new(),
            principals: Vec::new(),
            credentials: vec![CredentialSource::Bearer, CredentialSource::ApiKey],
            options: OptionsRule::Key,
            cache: Cache::Bypass,
            max_connection_age: None,
            open: false,
        }
    }

    /// Sets the environments.
    #[must_use]
    pub fn environments(mut self, environments: impl IntoIterator<Item = Environment>) -> Self {
        self.environments = environments.into_iter().collect();
        self
    }

    /// Sets the scopes.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the kinds of principal.
    #[must_use]
    pub fn principals(mut self, principals: impl IntoIterator<Item = PrincipalKind>) -> Self {
        self.principals = principals.into_iter().collect();
        self
    }

    /// Sets where a key is read from.
    #[must_use]
    pub fn credentials(mut self, credentials: impl IntoIterator<Item = CredentialSource>) -> Self {
        self.credentials = credentials.into_iter().collect();
        self
    }

    /// Sets what happens to preflight requests.
    #[must_use]
    pub const fn options(mut self, options: OptionsRule) -> Self {
        self.options = options;
        self
    }

    /// Sets what shared caches may do.
    #[must_use]
    pub const fn cache(mut self, cache: Cache) -> Self {
        self.cache = cache;
        self
    }

    fn check(self) -> Result<Route, Flaw> {
        let method = Method::parse(&self.method).ok_or(Flaw::Method)?;
        let pattern = Pattern::parse(&self.path).map_err(Flaw::Path)?;
        let environments: Environments = self.environments.into_iter().collect();
        if environments.is_empty() {
            return Err(Flaw::NoEnvironment);
        }
        if self.scopes.len() > MAX_SCOPES {
            return Err(Flaw::TooManyScopes);
        }
        let mut scopes = self.scopes;
        if let Some(index) = scopes.iter().position(|scope| !is_scope(scope)) {
            return Err(Flaw::Scope(scopes.swap_remove(index)));
        }
        scopes.sort_unstable();
        scopes.dedup();
        check_sources(&self.credentials)?;
        if self.max_connection_age.is_some_and(|age| !(1..=MAX_CONNECTION_AGE).contains(&age)) {
            return Err(Flaw::ConnectionAge);
        }
        Ok(Route {
            method,
            pattern,
            environments,
            scopes,
            principals: self.principals.into_iter().collect(),
            credentials: self.credentials,
            options: self.options,
            cache: self.cache,
            max_connection_age: self.max_connection_age,
            open: self.open,
        })
    }
}

fn check_sources(sources: &[CredentialSource]) -> Result<(), Flaw> {
    if sources.is_empty() {
        return Err(Flaw::NoCredentialSource);
    }
    if sources.len() > MAX_SOURCES {
        return Err(Flaw::TooManyCredentialSources);
    }
    for (index, source) in sources.iter().enumerate() {
        if let CredentialSource::Query(name) = source
            && !is_parameter(name)
        {
            return Err(Flaw::Parameter(name.clone()));
        }
        if sources[..index].contains(source) {
            return Err(Flaw::RepeatedCredentialSource);
        }
    }
    Ok(())
}

fn is_parameter(name: &str) -> bool {
    (1..=MAX_PARAMETER_BYTES).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn is_realm(realm: &str) -> bool {
    (1..=MAX_REALM_BYTES).contains(&realm.len())
        && realm.bytes().all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\'))
}

fn is_url(url: &str) -> bool {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    url.len() <= MAX_URL_BYTES
        && host.is_some_and(|host| !host.is_empty())
        && url.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"' | b'\\'))
}

impl Policy {
    /// Checks a draft and puts its routes in order.
    ///
    /// # Errors
    /// [`PolicyError`] names the first route that cannot be used, by its index in the draft, and why.
    pub fn new(draft: Draft) -> Result<Self, PolicyError> {
        if !is_realm(&draft.realm) {
            return Err(Flaw::Realm.in_document());
        }
        if draft.developer_url.as_deref().is_some_and(|url| !is_url(url)) {
            return Err(Flaw::DeveloperUrl.in_document());
        }
        if draft.routes.len() > MAX_ROUTES {
            return Err(Flaw::TooManyRoutes.in_document());
        }
        let mut routes = Vec::with_capacity(draft.routes.len());
        for (index, route) in draft.routes.into_iter().enumerate() {
            routes.push((index, route.check().map_err(|flaw| flaw.in_route(index))?));
        }
        routes.sort_by(|(_, left), (_, right)| left.cmp_place(right));
        for pair in routes.windows(2) {
            if pair[0].1.cmp_place(&pair[1].1).is_eq() {
                // The sort is stable: the first of the two came first in the draft.
                return Err(Flaw::Tie { with: pair[0].0 }.in_route(pair[1].0));
            }
        }
        let policy = Self {
            realm: draft.realm,
            developer_url: draft.developer_url,
            routes: routes.into_iter().map(|(_, route)| route).collect(),
        };
        if policy.encode().len() > MAX_POLICY_BYTES {
            return Err(Flaw::TooLarge.in_document());
        }
        Ok(policy)
    }
}
