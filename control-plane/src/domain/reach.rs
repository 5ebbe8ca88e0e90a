//! Which routes a key reaches, and which ones its successor no longer would.

use nightlatch_gate::policy::{Policy, Route};
use nightlatch_key::Environment;

use super::{Key, PrincipalKind, Scopes};

/// A route as people name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteName {
    /// `GET`, …, or `*`.
    pub method: String,
    /// Its path pattern.
    pub pattern: String,
}

/// What of a key decides which routes let it through.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reach {
    /// Live or test.
    pub environment: Environment,
    /// For what kind of principal it acts.
    pub kind: PrincipalKind,
    /// What it may do.
    pub scopes: Scopes,
}

impl Reach {
    /// What decides for this key.
    pub fn of(key: &Key) -> Self {
        Self { environment: key.environment, kind: key.kind, scopes: key.scopes.clone() }
    }

    /// Whether a route lets such keys through.
    pub fn passes(&self, route: &Route) -> bool {
        route.environments().contains(self.environment)
            && route.principals().admits(self.kind)
            && route.scopes().iter().all(|needed| self.has(needed))
    }

    fn has(&self, scope: &str) -> bool {
        self.scopes.iter().any(|has| has.as_str() == scope)
    }
}

/// The routes that would answer 403 to the successor and let the predecessor through; each once, in order.
pub fn lost<'p>(policies: impl IntoIterator<Item = &'p Policy>, before: &Reach, after: &Reach) -> Vec<RouteName> {
    named(policies, |route| before.passes(route) && !after.passes(route))
}

/// The routes for which this holds; each once, in order.
pub fn named<'p>(policies: impl IntoIterator<Item = &'p Policy>, wanted: impl Fn(&Route) -> bool) -> Vec<RouteName> {
    let routes = policies.into_iter().flat_map(Policy::routes).filter(|route| wanted(route));
    let mut names: Vec<_> = routes
        .map(|route| RouteName {
            method: route.method().as_str().to_owned(),
            pattern: route.pattern().as_str().to_owned(),
        })
        .collect();
    names.sort_unstable_by(|a, b| (&a.pattern, &a.method).cmp(&(&b.pattern, &b.method)));
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use nightlatch_gate::policy::{Draft, RouteDraft};

    use super::*;

    fn reach(scopes: &[&str]) -> Reach {
        Reach {
            environment: Environment::Live,
            kind: PrincipalKind::ServiceAccount,
            scopes: Scopes::new(scopes.iter().copied()).unwrap(),
        }
    }

    #[test]
    fn s1_05_s1_21_the_routes_that_turn_403_are_those_whose_scope_is_lost() {
        let route = |method, path, scopes: &[&str]| {
            RouteDraft::new(method, path).environments([Environment::Live]).scopes(scopes.iter().copied())
        };
        let draft = Draft::new("API")
            .route(route("GET", "/invoices", &["invoices:read"]))
            .route(route("POST", "/invoices", &["invoices:write"]))
            .route(route("DELETE", "/invoices/{id}", &["invoices:write", "invoices:read"]))
            .route(route("GET", "/status", &[]))
            .route(route("POST", "/gates", &["invoices:write"]).principals([PrincipalKind::Gateway]))
            .route(RouteDraft::new("POST", "/trial").environments([Environment::Test]).scopes(["invoices:write"]));
        let policy = Policy::new(draft).unwrap();
        let (before, after) = (reach(&["invoices:read", "invoices:write"]), reach(&["invoices:read"]));
        let lost = lost([&policy, &policy], &before, &after);
        let lost: Vec<_> = lost.iter().map(|route| (route.method.as_str(), route.pattern.as_str())).collect();
        assert_eq!(lost, [("POST", "/invoices"), ("DELETE", "/invoices/{id}")]);
    }
}
