//! Refusals: every failure becomes one problem of the registry.

use axum::body::Body;
use axum::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use nightlatch_api::{Code, Problem, RouteRef, Warning};

use super::time;
use crate::domain::{self, Refusal};
use crate::store;

/// How long a caller should wait before it tries again, in seconds.
const RETRY_SECONDS: &str = "1";
/// Routes that a warning's text names; all of them stand beside it.
const SHOWN_ROUTES: usize = 10;

/// A refused request. The response carries the problem as an extension; the frame around all handlers adds the request
/// id and writes it out.
#[derive(Debug)]
pub(super) struct Refused {
    problem: Box<Problem>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refused {
    pub(super) fn new(code: Code) -> Self {
        let headers = match code {
            Code::TokenMissing => vec![(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"nightlatch\""))],
            Code::TokenInvalid => {
                let value = HeaderValue::from_static("Bearer realm=\"nightlatch\", error=\"invalid_token\"");
                vec![(WWW_AUTHENTICATE, value)]
            }
            Code::Unavailable
            | Code::Outdated
            | Code::NotPublished
            | Code::RateLimited
            | Code::IdempotencyInProgress => {
                vec![(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS))]
            }
            _ => Vec::new(),
        };
        Self { problem: Box::new(Problem::new(code)), headers }
    }

    /// A request that is not well formed, because of one part of it.
    pub(super) fn invalid(field: &str, detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest).field(field, detail)
    }

    /// A value that is well formed and cannot be used.
    pub(super) fn value(field: &str, detail: impl Into<String>) -> Self {
        Self::new(Code::ValueInvalid).field(field, detail)
    }

    /// A method that the path does not have.
    pub(super) fn method(allow: &str) -> Self {
        let mut refused = Self::new(Code::MethodNotAllowed);
        refused.headers.extend(HeaderValue::from_str(allow).ok().map(|value| (ALLOW, value)));
        refused
    }

    pub(super) fn detail(self, detail: impl Into<String>) -> Self {
        self.map(|problem| problem.detail(detail))
    }

    pub(super) fn field(self, field: &str, detail: impl Into<String>) -> Self {
        self.map(|problem| problem.field(field, detail))
    }

    /// Says in how many seconds another try makes sense.
    pub(super) fn retry_after(mut self, seconds: i64) -> Self {
        self.headers.retain(|(name, _)| name != RETRY_AFTER);
        self.headers.push((RETRY_AFTER, HeaderValue::from(seconds)));
        self.with("retry_after_seconds", seconds)
    }

    pub(super) fn with(self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.map(|problem| problem.with(name, value))
    }

    fn map(self, change: impl FnOnce(Problem) -> Problem) -> Self {
        Self { problem: Box::new(change(*self.problem)), ..self }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().extend(self.headers);
        response.extensions_mut().insert(RefusedProblem(self.problem));
        response
    }
}

/// The problem of a response, until the frame writes it out.
#[derive(Debug, Clone)]
pub(super) struct RefusedProblem(pub(super) Box<Problem>);

impl From<Code> for Refused {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        let refused = Self::new(code_of(&refusal)).detail(text);
        match refusal {
            Refusal::Invalid { field } => Self::value(field, shape_of(field)),
            Refusal::NotTheirs { field, rule } => Self::value(field, rule),
            Refusal::BeyondOwnEnd { until } => Self::value("expires_at", Refusal::own_end(until)),
            Refusal::PrincipalUnknown => refused.field("principal", "does not exist"),
            Refusal::MemberUnknown => refused.field("owner_member", "does not exist"),
            Refusal::ExpiryPast => refused.field("expires_at", "has passed"),
            Refusal::RotateByRequired => refused.field("rotate_by", "is missing"),
            Refusal::BrandTaken => refused.field("brand", "is taken"),
            Refusal::ReasonRequired => refused.field("reason", "is missing"),
            Refusal::OverlapBelowBound { minimum_seconds } => refused
                .with("minimum_seconds", minimum_seconds)
                .field("overlap_seconds", format!("must be at least {minimum_seconds}")),
            Refusal::SensitiveUnacknowledged { scopes } => {
                let scopes: Vec<_> = scopes.iter().map(domain::Scope::as_str).collect();
                let detail = format!("is missing; {} is sensitive", scopes.join(", "));
                refused.with("scopes", scopes).field("acknowledge_sensitive", detail)
            }
            Refusal::PlanChanged { plan } => refused.with("plan", plan),
            Refusal::RotationOpen { rotation } => refused.with("rotation", rotation.as_str()),
            Refusal::PredecessorInUse { last_used_at } => {
                refused.with("last_used_at", time::from_ms(last_used_at).to_string())
            }
            Refusal::BeyondCeiling { scopes } => {
                let words: Vec<_> = scopes.iter().map(domain::Scope::as_str).collect();
                refused
                    .with("scopes", words.clone())
                    .field("scopes", format!("beyond the ceiling: {}", words.join(", ")))
            }
            Refusal::Forbidden { action } => refused.with("action", action.as_str()),
            Refusal::BeyondOwnScopes { scopes } => {
                let names: Vec<_> = scopes.iter().map(domain::Scope::as_str).collect();
                refused.with("scopes", names)
            }
            Refusal::NotRevocableHere { call } => refused.with("call", call),
            Refusal::MemberExists => refused.field("email", "belongs to another member"),
            Refusal::RoleUnfit => refused.field("role", "does not fit"),
            _ => refused,
        }
    }
}

/// The registry's code of a refusal.
pub(super) fn code_of(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::Invalid { .. } | Refusal::NotTheirs { .. } | Refusal::BeyondOwnEnd { .. } => Code::ValueInvalid,
        Refusal::PrincipalUnknown => Code::PrincipalUnknown,
        Refusal::MemberUnknown => Code::MemberUnknown,
        Refusal::ScopesInherited => Code::ScopesInherited,
        Refusal::ExpiryPast => Code::ExpiryInPast,
        Refusal::RotateByRequired => Code::RotateByRequired,
        Refusal::OverlapBelowBound { .. } => Code::OverlapBelowBound,
        Refusal::DeadlineNotLater => Code::DeadlineNotLater,
        Refusal::TooLate => Code::TooLate,
        Refusal::KeyRevoked => Code::KeyRevoked,
        Refusal::KeyExpired => Code::KeyExpired,
        Refusal::KeyDisabled => Code::KeyDisabled,
        Refusal::RotationOpen { .. } => Code::RotationOpen,
        Refusal::RotationClosed => Code::RotationClosed,
        Refusal::PredecessorInUse { .. } => Code::PredecessorInUse,
        Refusal::PlanChanged { .. } => Code::PlanChanged,
        Refusal::ReasonRequired => Code::ReasonRequired,
        Refusal::ScopeInUse => Code::ScopeInUse,
        Refusal::CatalogueFull => Code::CatalogueFull,
        Refusal::EdgeNotEnrolled => Code::EdgeNotEnrolled,
        Refusal::EdgeRemoved => Code::EdgeRemoved,
        Refusal::BrandTaken => Code::BrandTaken,
        Refusal::DefaultPrincipal => Code::DefaultPrincipal,
        Refusal::PairingCodeUnusable => Code::PairingCodeInvalid,
        Refusal::LinkCodeUnusable => Code::LinkCodeInvalid,
        Refusal::LinkNotActive => Code::LinkNotActive,
        Refusal::LinkExists => Code::LinkExists,
        Refusal::BeyondCeiling { .. } => Code::BeyondCeiling,
        Refusal::Forbidden { .. } => Code::Forbidden,
        Refusal::StepUpRequired => Code::StepUpRequired,
        Refusal::BeyondOwnScopes { .. } => Code::BeyondOwnScopes,
        Refusal::SensitiveUnacknowledged { .. } => Code::SensitiveUnacknowledged,
        Refusal::NotRevocableHere { .. } => Code::NotRevocableHere,
        Refusal::AuthorityChanged => Code::AuthorityChanged,
        Refusal::LastOwner => Code::LastOwner,
        Refusal::PrincipalSuspended => Code::PrincipalSuspended,
        Refusal::PrincipalRemoved => Code::PrincipalRemoved,
        Refusal::MemberExists => Code::MemberExists,
        Refusal::InviteAccepted => Code::InviteAccepted,
        Refusal::RoleUnfit => Code::RoleUnfit,
    }
}

/// What the value of a field must look like.
pub(super) fn shape_of(field: &str) -> &'static str {
    match field {
        "name" | "owner" | "reason" | "description" => {
            "must be 1 to 200 characters, without control characters and without blanks at either end"
        }
        "scopes" => "must be at most 64 texts of the shape [A-Za-z][A-Za-z0-9_:.-]{0,63}",
        "scope" => "must have the shape of a scope, [A-Za-z][A-Za-z0-9_:.-]{0,63}; a group has one `*` at its end",
        "tier" => "must have the shape [A-Za-z][A-Za-z0-9_:.-]{0,63}",
        "labels" => {
            "must be at most 32, with names of the shape [A-Za-z][A-Za-z0-9_:.-]{0,63} and values up to 200 characters"
        }
        "key" => {
            "must be a key of this workspace's brand with a right checksum, or 1 to 128 bytes where the set accepts foreign keys"
        }
        "brand" => "must be 2 to 12 lower-case letters and digits that begin with a letter",
        "digest" => "must be 64 lower-case hexadecimal characters",
        _ => "is outside its allowed shape",
    }
}

impl From<store::Error> for Refused {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Refused(refusal) => refusal.into(),
            store::Error::NotFound(what) => Self::new(Code::NotFound).detail(format!("There is no such {what} here.")),
            store::Error::Stale(revision) => Self::new(Code::EtagStale).with("etag", super::etag::text(revision)),
            store::Error::Closed => Self::new(Code::Unavailable).detail("The server is stopping."),
            store::Error::SchemaTooNew { .. } => Self::new(Code::Outdated).detail(error.to_string()),
            store::Error::Commit(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a commit failed");
                Self::new(Code::Unavailable)
                    .detail("The database did not confirm the change; read it again before repeating it.")
            }
            store::Error::Database(ref cause) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the database failed");
                match cause {
                    sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) | sqlx::Error::PoolClosed => {
                        Self::new(Code::Unavailable)
                    }
                    _ => Self::new(Code::Internal),
                }
            }
            store::Error::NumbersExhausted => Self::new(Code::Internal).detail("The workspace has no key number left."),
            other => {
                tracing::error!(error = &other as &dyn std::error::Error, "the store failed");
                Self::new(Code::Internal)
            }
        }
    }
}

/// What a caller is told of a warning.
pub(super) fn warning(warning: &domain::Warning) -> Warning {
    let detail = match warning {
        domain::Warning::OverlapBelowBound => {
            "The predecessor expires before every edge surely knows the successor; some requests may fail.".to_owned()
        }
        domain::Warning::ExpiryBelowBound => {
            "The expiry is so near that some edges may learn of it only after it has passed.".to_owned()
        }
        domain::Warning::ExpiryNotInherited => {
            "The predecessor has an expiry, and the successor never expires: give it one with `expires_at`.".to_owned()
        }
        domain::Warning::SameName => {
            "The successor has the predecessor's name; tell them apart by their prefixes.".to_owned()
        }
        domain::Warning::ScopesLost { scopes, routes } => {
            let names: Vec<_> = scopes.iter().map(domain::Scope::as_str).collect();
            let shown: Vec<_> =
                routes.iter().take(SHOWN_ROUTES).map(|route| format!("{} {}", route.method, route.pattern)).collect();
            let more = match routes.len().saturating_sub(SHOWN_ROUTES) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            match routes.is_empty() {
                true => format!("The successor lacks {}: calls that need them will get 403.", names.join(", ")),
                false => {
                    format!("The successor lacks {}: it will get 403 at {}{more}.", names.join(", "), shown.join(", "))
                }
            }
        }
        domain::Warning::NoSuccessor => {
            "The rotation's successor is revoked: when the predecessor goes, nothing takes its place.".to_owned()
        }
    };
    let (scopes, routes) = match warning {
        domain::Warning::ScopesLost { scopes, routes } => (
            scopes.iter().map(ToString::to_string).collect(),
            routes.iter().map(|route| RouteRef::new(&route.method, &route.pattern)).collect(),
        ),
        _ => (Vec::new(), Vec::new()),
    };
    Warning { code: warning.code().to_owned(), detail, scopes, routes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::RotationId;

    #[test]
    fn every_refusal_of_the_domain_has_the_same_code_here() {
        let refusals = [
            Refusal::Invalid { field: "name" },
            Refusal::BeyondOwnEnd { until: 0 },
            Refusal::PrincipalUnknown,
            Refusal::MemberUnknown,
            Refusal::ScopesInherited,
            Refusal::ExpiryPast,
            Refusal::RotateByRequired,
            Refusal::OverlapBelowBound { minimum_seconds: 65 },
            Refusal::DeadlineNotLater,
            Refusal::TooLate,
            Refusal::KeyRevoked,
            Refusal::KeyExpired,
            Refusal::KeyDisabled,
            Refusal::RotationOpen { rotation: RotationId::generate([0; 10]) },
            Refusal::RotationClosed,
            Refusal::PredecessorInUse { last_used_at: 0 },
            Refusal::PlanChanged { plan: String::new() },
            Refusal::ReasonRequired,
            Refusal::ScopeInUse,
            Refusal::CatalogueFull,
            Refusal::EdgeNotEnrolled,
            Refusal::EdgeRemoved,
            Refusal::BrandTaken,
            Refusal::DefaultPrincipal,
            Refusal::PairingCodeUnusable,
            Refusal::LinkCodeUnusable,
            Refusal::LinkNotActive,
            Refusal::LinkExists,
            Refusal::BeyondCeiling { scopes: Vec::new() },
            Refusal::Forbidden { action: domain::Action::KeysIssue },
            Refusal::StepUpRequired,
            Refusal::BeyondOwnScopes { scopes: Vec::new() },
            Refusal::SensitiveUnacknowledged { scopes: Vec::new() },
            Refusal::NotRevocableHere { call: "POST /v1/gateways/{id}/unpair".to_owned() },
            Refusal::AuthorityChanged,
            Refusal::LastOwner,
            Refusal::PrincipalSuspended,
            Refusal::PrincipalRemoved,
            Refusal::MemberExists,
            Refusal::InviteAccepted,
            Refusal::RoleUnfit,
        ];
        for refusal in refusals {
            assert_eq!(code_of(&refusal).as_str(), refusal.code());
        }
    }
}
