//! From the JSON document to the policy that edges obey.

use nightlatch_api::{CacheRule, Code, PreflightRule, RouteDocument, RouteRule};
use nightlatch_gate::policy::{Cache, CredentialSource, Draft, OptionsRule, Policy, RouteDraft};
use nightlatch_keyset::PrincipalKind;

use crate::api::keys::view;
use crate::api::refused::Refused;

/// What `WWW-Authenticate` names when nobody says.
const DEFAULT_REALM: &str = "API";

/// The policy a document describes.
pub(super) fn policy(document: &RouteDocument) -> Result<Policy, Refused> {
    let routes = document.routes.iter().enumerate().map(|(index, rule)| route(index, rule));
    let draft = Draft {
        realm: document.realm.clone().unwrap_or_else(|| DEFAULT_REALM.to_owned()),
        developer_url: document.developer_url.clone(),
        routes: routes.collect::<Result<_, _>>()?,
    };
    Policy::new(draft).map_err(|error| {
        let field = error.flaw.field();
        match error.route {
            None => invalid(field, &error.flaw.to_string()),
            Some(index) => invalid(&format!("routes[{index}].{field}"), &error.flaw.to_string()),
        }
    })
}

fn route(index: usize, rule: &RouteRule) -> Result<RouteDraft, Refused> {
    let source = |text: &String| {
        CredentialSource::parse(text).ok_or_else(|| {
            invalid(&format!("routes[{index}].credentials"), "must be `authorization`, `x-api-key` or `query:NAME`")
        })
    };
    Ok(RouteDraft {
        method: rule.method.clone(),
        path: rule.path.clone(),
        environments: rule.environments.iter().map(|e| view::environment_from(*e)).collect(),
        scopes: rule.scopes.clone(),
        principals: rule.principals.iter().filter_map(|kind| PrincipalKind::from_name(kind.as_str())).collect(),
        credentials: rule.credentials.iter().map(source).collect::<Result<_, _>>()?,
        options: match rule.options {
            PreflightRule::Key => OptionsRule::Key,
            PreflightRule::Pass => OptionsRule::Pass,
        },
        cache: match rule.cache {
            CacheRule::Bypass => Cache::Bypass,
            CacheRule::BySubject => Cache::BySubject,
        },
        max_connection_age: rule.max_connection_age,
        open: rule.open,
    })
}

fn invalid(field: &str, detail: &str) -> Refused {
    Refused::new(Code::RoutesInvalid).field(field, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_principal_has_the_gates_name() {
        use nightlatch_api::PrincipalKind as Kind;
        for kind in [Kind::User, Kind::ServiceAccount, Kind::Partner, Kind::Gateway] {
            assert!(PrincipalKind::from_name(kind.as_str()).is_some(), "{kind:?}");
        }
    }

    #[test]
    fn a_minimal_document_asks_for_a_live_key_in_either_header() {
        let document: RouteDocument =
            serde_json::from_str(r#"{"routes":[{"method":"GET","path":"/status"}]}"#).unwrap();
        let policy = policy(&document).unwrap();
        let route = policy.find("HEAD", "/status").unwrap();
        assert_eq!(policy.realm(), "API");
        assert_eq!(route.credentials(), [CredentialSource::Bearer, CredentialSource::ApiKey]);
        assert!(!route.environments().contains(nightlatch_key::Environment::Test));
    }
}
