//! Who may call what. One table, which the code obeys and the tests walk; what is not in it is refused.

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use nightlatch_api::Code;

use super::App;
use super::caller::Caller;
use super::refused::Refused;
use crate::store::tokens::TokenKind;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Everybody, without a token.
    Anyone,
    /// Holders of a management token.
    Management,
    /// Holders of an edge token.
    Edge,
    /// Holders of either.
    Either,
}

impl Who {
    fn admits(self, kind: TokenKind) -> bool {
        match self {
            Self::Anyone | Self::Either => true,
            Self::Management => kind == TokenKind::Management,
            Self::Edge => kind == TokenKind::Edge,
        }
    }
}

use Who::{Anyone, Edge, Either, Management};

/// Method, path and who may. Only the edge token of a set may read or report about that set; its handlers see to it.
pub(super) const TABLE: &[(&str, &str, Who)] = &[
    ("POST", "/v1/enrol", Anyone),
    ("POST", "/v1/keys", Management),
    ("GET", "/v1/keys", Management),
    ("POST", "/v1/keys/import", Management),
    ("GET", "/v1/keys/export", Management),
    ("POST", "/v1/keys:revoke-many", Management),
    ("GET", "/v1/keys/{id}", Management),
    ("PATCH", "/v1/keys/{id}", Management),
    ("POST", "/v1/keys/{id}/disable", Management),
    ("POST", "/v1/keys/{id}/enable", Management),
    ("POST", "/v1/keys/{id}/revoke", Management),
    ("GET", "/v1/keys/{id}/receipt", Management),
    ("POST", "/v1/keys/{id}/rotations", Management),
    ("GET", "/v1/rotations", Management),
    ("GET", "/v1/rotations/{id}", Management),
    ("POST", "/v1/rotations/{id}/extend", Management),
    ("POST", "/v1/rotations/{id}/cancel", Management),
    ("POST", "/v1/rotations/{id}/complete", Management),
    ("POST", "/v1/verify", Management),
    ("GET", "/v1/routes", Management),
    ("PUT", "/v1/routes", Management),
    ("POST", "/v1/tokens", Management),
    ("GET", "/v1/tokens", Management),
    ("POST", "/v1/tokens/{id}/revoke", Management),
    ("GET", "/v1/audit", Management),
    ("GET", "/v1/scopes", Management),
    ("PUT", "/v1/scopes/{name}", Management),
    ("DELETE", "/v1/scopes/{name}", Management),
    ("GET", "/v1/tiers", Management),
    ("GET", "/v1/sets", Management),
    ("GET", "/v1/sets/{set}", Either),
    ("GET", "/v1/sets/{set}/head", Either),
    ("GET", "/v1/sets/{set}/trust", Either),
    ("GET", "/v1/sets/{set}/deny", Either),
    ("GET", "/v1/sets/{set}/files/{name}", Either),
    ("POST", "/v1/edges", Management),
    ("GET", "/v1/edges", Management),
    ("POST", "/v1/edges/enrol", Anyone),
    ("GET", "/v1/edges/{id}", Management),
    ("POST", "/v1/edges/{id}/credentials", Management),
    ("POST", "/v1/edges/{id}/remove", Management),
    ("POST", "/v1/edges/reports", Edge),
    ("GET", "/healthz", Anyone),
    ("GET", "/readyz", Anyone),
    ("GET", "/metrics", Anyone),
    ("GET", "/openapi.json", Anyone),
];

/// Who may make a call; `None` where the table does not have it.
pub(super) fn who(method: &Method, path: &str) -> Option<Who> {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    TABLE.iter().find(|(m, p, _)| *m == method && *p == path).map(|(_, _, who)| *who)
}

/// Lets a request through to its handler, or not.
pub(super) async fn check(State(app): State<App>, mut request: Request, next: Next) -> Response {
    match admit(&app, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

async fn admit(app: &App, request: &mut Request) -> Result<(), Refused> {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let Some(who) = who(request.method(), path) else {
        return Err(unlisted(path));
    };
    if who == Anyone {
        return Ok(());
    }
    let caller = Caller::identify(app, request.headers(), request.extensions()).await?;
    if !who.admits(caller.token.kind) {
        return Err(Code::Forbidden.into());
    }
    tracing::Span::current().record("token", caller.token.id.as_str());
    request.extensions_mut().insert(caller);
    Ok(())
}

/// A path that the table has with other methods, or not at all.
fn unlisted(path: &str) -> Refused {
    let mut methods: Vec<_> = TABLE.iter().filter(|(_, p, _)| *p == path).map(|(m, _, _)| *m).collect();
    if methods.is_empty() {
        return Code::NotFound.into();
    }
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    Refused::method(&methods.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A new handler is in the document by itself; here somebody has to say who may call it.
    #[test]
    fn every_operation_of_the_document_is_in_the_table_and_the_other_way_round() {
        let document: serde_json::Value = serde_json::from_str(&crate::api::openapi_document()).unwrap();
        let mut documented = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                documented.insert((method.to_uppercase(), path.clone()));
                let who =
                    who(&method.to_uppercase().parse().unwrap(), path).unwrap_or_else(|| panic!("{method} {path}"));
                assert_eq!(operation.get("security").is_none(), who == Anyone, "{method} {path}");
            }
        }
        let table: BTreeSet<_> = TABLE.iter().map(|(method, path, _)| (method.to_string(), path.to_string())).collect();
        assert_eq!(table, documented);
        assert_eq!(table.len(), TABLE.len(), "a route is in the table twice");
    }

    #[test]
    fn what_nobody_listed_is_refused() {
        assert_eq!(who(&Method::DELETE, "/v1/keys/{id}"), None);
        assert_eq!(who(&Method::HEAD, "/v1/keys"), Some(Management));
    }
}
