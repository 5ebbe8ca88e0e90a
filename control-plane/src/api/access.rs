//! Who may call what. One table, which the code obeys and the tests walk; what is not in it is refused.

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use nightlatch_api::Code;

use super::attempts::{self, Called};
use super::caller::{Call, Caller, Denied, Who};
use super::refused::Refused;
use super::session;
use super::strays;
use super::{App, body, import};
use crate::domain::Action;
use crate::store::Context;
use crate::store::tokens::TokenKind;

/// What a route needs of who calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: what proves them is in the request itself, or there is nothing to prove.
    Anyone,
    /// A role and a token that allow this to some of what there is. What the request is about decides in the mutation.
    May(Action),
    /// An edge's token.
    Edge,
    /// A session: what its holder does to their own account and sessions.
    Session,
    /// An edge's token, or the right to see what edges see.
    EdgeOr(Action),
}

use Action as A;
use Need::{Anyone, Edge, EdgeOr, May, Session};

/// Method, path and what it needs. Only the edge token of a set may read or report about that set; its handlers see to it.
pub(super) const TABLE: &[(&str, &str, Need)] = &[
    ("POST", "/v1/enrol", Anyone),
    ("POST", "/v1/invites/accept", Anyone),
    ("POST", "/v1/session", Anyone),
    ("GET", "/v1/session", Session),
    ("DELETE", "/v1/session", Session),
    ("GET", "/v1/session/oidc/start", Anyone),
    ("GET", "/v1/session/oidc/callback", Anyone),
    ("POST", "/v1/session/step-up", Session),
    ("POST", "/v1/session/workspace", Session),
    ("POST", "/v1/session/password", Session),
    ("POST", "/v1/session/totp", Session),
    ("POST", "/v1/session/totp/confirm", Session),
    ("POST", "/v1/session/totp/remove", Session),
    ("GET", "/v1/sessions", Session),
    ("POST", "/v1/sessions/{id}/end", Session),
    ("POST", "/v1/keys", May(A::KeysIssue)),
    ("GET", "/v1/keys", May(A::KeysRead)),
    ("POST", "/v1/keys/import", May(A::KeysImport)),
    ("GET", "/v1/keys/export", May(A::KeysExport)),
    ("POST", "/v1/keys:revoke-many", May(A::KeysRevoke)),
    ("GET", "/v1/keys/{id}", May(A::KeysRead)),
    ("PATCH", "/v1/keys/{id}", May(A::KeysUpdate)),
    ("POST", "/v1/keys/{id}/disable", May(A::KeysDisable)),
    ("POST", "/v1/keys/{id}/enable", May(A::KeysDisable)),
    ("POST", "/v1/keys/{id}/revoke", May(A::KeysRevoke)),
    ("GET", "/v1/keys/{id}/receipt", May(A::KeysRead)),
    ("POST", "/v1/keys/{id}/rotations", May(A::KeysRotate)),
    ("GET", "/v1/rotations", May(A::KeysRead)),
    ("GET", "/v1/rotations/{id}", May(A::KeysRead)),
    ("POST", "/v1/rotations/{id}/extend", May(A::KeysRotate)),
    ("POST", "/v1/rotations/{id}/cancel", May(A::KeysRotate)),
    ("POST", "/v1/rotations/{id}/complete", May(A::KeysRotate)),
    ("POST", "/v1/verify", May(A::Verify)),
    ("GET", "/v1/members", May(A::MembersRead)),
    ("POST", "/v1/members", May(A::MembersManage)),
    ("GET", "/v1/members/{id}", May(A::MembersRead)),
    ("PATCH", "/v1/members/{id}", May(A::MembersManage)),
    ("POST", "/v1/members/{id}/invite", May(A::MembersManage)),
    ("POST", "/v1/members/{id}/suspend", May(A::MembersManage)),
    ("POST", "/v1/members/{id}/resume", May(A::MembersManage)),
    ("POST", "/v1/members/{id}/remove", May(A::MembersManage)),
    ("GET", "/v1/roles", May(A::MembersRead)),
    ("PUT", "/v1/roles/{role}", May(A::MembersManage)),
    ("GET", "/v1/routes", May(A::RoutesRead)),
    ("PUT", "/v1/routes", May(A::RoutesManage)),
    ("POST", "/v1/tokens", May(A::TokensManage)),
    ("GET", "/v1/tokens", May(A::TokensRead)),
    ("POST", "/v1/tokens/{id}/rotations", May(A::TokensManage)),
    ("POST", "/v1/tokens/{id}/revoke", May(A::TokensManage)),
    ("GET", "/v1/audit", May(A::AuditRead)),
    ("GET", "/v1/audit/export", May(A::AuditExport)),
    ("GET", "/v1/audit/checkpoint", May(A::AuditExport)),
    ("POST", "/v1/audit/erase", May(A::AuditErase)),
    ("GET", "/v1/scopes", May(A::ScopesRead)),
    ("PUT", "/v1/scopes/{name}", May(A::ScopesManage)),
    ("DELETE", "/v1/scopes/{name}", May(A::ScopesManage)),
    ("GET", "/v1/tiers", May(A::ScopesRead)),
    ("GET", "/v1/sets", May(A::SetsRead)),
    ("GET", "/v1/sets/{set}", EdgeOr(A::SetsRead)),
    ("GET", "/v1/sets/{set}/head", EdgeOr(A::SetsRead)),
    ("GET", "/v1/sets/{set}/trust", EdgeOr(A::SetsRead)),
    ("GET", "/v1/sets/{set}/deny", EdgeOr(A::SetsRead)),
    ("GET", "/v1/sets/{set}/files/{name}", EdgeOr(A::SetsRead)),
    ("POST", "/v1/edges", May(A::EdgesManage)),
    ("GET", "/v1/edges", May(A::EdgesRead)),
    ("POST", "/v1/edges/enrol", Anyone),
    ("GET", "/v1/edges/{id}", May(A::EdgesRead)),
    ("POST", "/v1/edges/{id}/credentials", May(A::EdgesManage)),
    ("POST", "/v1/edges/{id}/remove", May(A::EdgesManage)),
    ("POST", "/v1/edges/reports", Edge),
    ("POST", "/v1/workspaces", May(A::WorkspacesCreate)),
    ("GET", "/v1/workspaces", May(A::WorkspacesRead)),
    ("GET", "/v1/workspaces/{id}", May(A::WorkspacesRead)),
    ("PATCH", "/v1/workspaces/{id}", May(A::WorkspacesManage)),
    ("POST", "/v1/service-accounts", May(A::ServiceAccountsManage)),
    ("GET", "/v1/service-accounts", May(A::ServiceAccountsRead)),
    ("GET", "/v1/service-accounts/{id}", May(A::ServiceAccountsRead)),
    ("PATCH", "/v1/service-accounts/{id}", May(A::ServiceAccountsManage)),
    ("POST", "/v1/service-accounts/{id}/suspend", May(A::ServiceAccountsManage)),
    ("POST", "/v1/service-accounts/{id}/resume", May(A::ServiceAccountsManage)),
    ("POST", "/v1/service-accounts/{id}/remove", May(A::ServiceAccountsManage)),
    ("POST", "/v1/partners", May(A::PartnersManage)),
    ("GET", "/v1/partners", May(A::PartnersRead)),
    ("GET", "/v1/partners/{id}", May(A::PartnersRead)),
    ("PATCH", "/v1/partners/{id}", May(A::PartnersManage)),
    ("POST", "/v1/partners/{id}/suspend", May(A::PartnersManage)),
    ("POST", "/v1/partners/{id}/resume", May(A::PartnersManage)),
    ("POST", "/v1/partners/{id}/remove", May(A::PartnersManage)),
    ("POST", "/v1/partners/{id}/staff", May(A::PartnerStaffManage)),
    ("GET", "/v1/partners/{id}/staff", May(A::PartnersRead)),
    ("GET", "/v1/partners/{id}/staff/{member}", May(A::PartnersRead)),
    ("PATCH", "/v1/partners/{id}/staff/{member}", May(A::PartnerStaffManage)),
    ("POST", "/v1/partners/{id}/staff/{member}/remove", May(A::PartnerStaffManage)),
    ("POST", "/v1/partners/{id}/links", May(A::LinksManage)),
    ("GET", "/v1/partners/{id}/links", May(A::PartnersRead)),
    ("POST", "/v1/partners/{id}/links/{link}/end", May(A::LinksManage)),
    ("POST", "/v1/links/accept", May(A::LinksAccept)),
    ("GET", "/v1/links", May(A::PartnersRead)),
    ("GET", "/v1/links/{id}", May(A::PartnersRead)),
    ("PATCH", "/v1/links/{id}", May(A::LinksAccept)),
    ("POST", "/v1/links/{id}/end", May(A::LinksAccept)),
    ("POST", "/v1/gateways", May(A::GatewaysPair)),
    ("GET", "/v1/gateways", May(A::GatewaysRead)),
    ("POST", "/v1/gateways/pair", Anyone),
    ("GET", "/v1/gateways/{id}", May(A::GatewaysRead)),
    ("POST", "/v1/gateways/{id}/pairing-code", May(A::GatewaysPair)),
    ("POST", "/v1/gateways/{id}/unpair", May(A::GatewaysPair)),
    ("GET", "/healthz", Anyone),
    ("GET", "/readyz", Anyone),
    ("GET", "/metrics", Anyone),
    ("GET", "/openapi.json", Anyone),
];

/// What a call needs; `None` where the table does not have it.
pub(super) fn need(method: &Method, path: &str) -> Option<Need> {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    TABLE.iter().find(|(m, p, _)| *m == method && *p == path).map(|(_, _, need)| *need)
}

/// Lets a request through to its handler, or not. What a known caller is refused is noted.
pub(super) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let called = Called::new(request.method(), path, request.uri().path());
    let (known, response) = match arrived(&app, request).await {
        Ok((known, request)) => (known, next.run(request).await),
        Err(Denied { refused, known, stray }) => {
            let response = refused.into_response();
            if let Some(stray) = stray {
                if let Some(attempt) = called.refused(&response) {
                    strays::note(&app, stray, attempt);
                }
                return response;
            }
            (known, response)
        }
    };
    if let Some((context, attempt)) = known.zip(called.refused(&response)) {
        attempts::note(&app, context, attempt).await;
    }
    response
}

/// Has the whole of a request before it is let through: whoever holds the last byte of a body back would otherwise keep the
/// authority that they had when they began.
async fn arrived(app: &App, mut request: Request) -> Result<(Option<Context>, Request), Denied> {
    let limit = limit(&request);
    if limit.is_some_and(|limit| limit > body::MAX_JSON) {
        // So much is kept for nobody unknown. Who it is counts when all of it is here.
        admit(app, &mut request).await?;
    }
    if let Some(limit) = limit {
        let (parts, body) = request.into_parts();
        let bytes = body::read(Request::from_parts(parts.clone(), body), limit).await?;
        request = Request::from_parts(parts, Body::from(bytes));
    }
    let known = admit(app, &mut request).await?;
    Ok((known, request))
}

/// How much of a body is read before it is asked who calls; `None` where nobody is asked, or nothing reads it.
fn limit(request: &Request) -> Option<usize> {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if session::is_safe(request.method()) || need(request.method(), path).is_none_or(|need| need == Anyone) {
        return None;
    }
    if path == import::PATH {
        // Of another type it is refused unread.
        return body::require_type(request.headers(), import::NDJSON).ok().map(|()| import::MAX_BODY);
    }
    // Of whatever type: a body that may be left out is read to see that it is empty.
    Some(body::MAX_JSON)
}

/// Lets a request through. Returns on whose behalf it happens, where that is known.
async fn admit(app: &App, request: &mut Request) -> Result<Option<Context>, Denied> {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let Some(need) = need(request.method(), path) else {
        return Err(unlisted(path).into());
    };
    if need == Anyone {
        return Ok(None);
    }
    if need == Session && !session::is_sent(request.headers())? {
        return Err(Code::SessionInvalid.into());
    }
    let caller = Caller::identify(
        app,
        Call { method: request.method(), route: path, headers: request.headers(), extensions: request.extensions() },
    )
    .await?;
    tracing::Span::current().record("caller", caller.id());
    let of_edge = matches!(&caller.who, Who::Token(token) if token.kind == TokenKind::Edge);
    let allowed = match need {
        Edge | EdgeOr(_) if of_edge => Ok(()),
        Edge => Err(Code::Forbidden.into()),
        May(action) | EdgeOr(action) => caller.authority.may_ever(action).map_err(Refused::from),
        // Who has a session may call; what they may do to what is in their workspace is not asked here.
        Anyone | Session => Ok(()),
    };
    let context = caller.context();
    if let Err(refused) = allowed {
        return Err(Denied { refused, known: Some(context), stray: None });
    }
    request.extensions_mut().insert(caller);
    Ok(Some(context))
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
                let need =
                    need(&method.to_uppercase().parse().unwrap(), path).unwrap_or_else(|| panic!("{method} {path}"));
                assert_eq!(operation.get("security").is_none(), need == Anyone, "{method} {path}");
            }
        }
        let table: BTreeSet<_> = TABLE.iter().map(|(method, path, _)| (method.to_string(), path.to_string())).collect();
        assert_eq!(table, documented);
        assert_eq!(table.len(), TABLE.len(), "a route is in the table twice");
    }

    #[test]
    fn what_nobody_listed_is_refused() {
        assert_eq!(need(&Method::DELETE, "/v1/keys/{id}"), None);
        assert_eq!(need(&Method::HEAD, "/v1/keys"), Some(May(A::KeysRead)));
    }
}
