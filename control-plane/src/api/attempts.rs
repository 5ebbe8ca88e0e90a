//! What identified callers try and are refused goes into the audit log, beside what they do.

use std::num::NonZeroU32;

use axum::http::Method;
use axum::response::Response;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use nightlatch_api::Code;

use super::App;
use super::refused::RefusedProblem;
use crate::domain::WorkspaceId;
use crate::store::attempts::{self, Attempt};
use crate::store::{Context, Error};

/// Refusals a minute and caller that are noted; beyond, they are only counted. Whoever holds a token must not be able to
/// fill the log, which keeps everything for ever.
const PER_MINUTE: NonZeroU32 = NonZeroU32::new(60).unwrap();

/// Keeps one caller from filling the log. A caller is a workspace and an id in it: service accounts of two workspaces may
/// have the same.
pub(super) struct AttemptLimit(DefaultKeyedRateLimiter<(String, String)>);

impl AttemptLimit {
    pub(super) fn new() -> Self {
        Self(RateLimiter::keyed(Quota::per_minute(PER_MINUTE)))
    }

    /// Whether another refusal of this caller, or at this member's account, is to be noted.
    pub(super) fn allows(&self, workspace: &WorkspaceId, who: &str) -> bool {
        self.0.check_key(&(workspace.to_string(), who.to_owned())).is_ok()
    }
}

/// What was called, as far as a note of it goes.
#[derive(Debug, Clone)]
pub(super) struct Called {
    method: Method,
    /// The pattern of the route.
    route: String,
    /// What it was about.
    target: Option<(&'static str, String)>,
}

impl Called {
    pub(super) fn new(method: &Method, route: &str, path: &str) -> Self {
        Self { method: method.clone(), route: route.to_owned(), target: target(route, path) }
    }

    /// Whether a refusal is worth a note: of a change, or of a proof that is not good any more; not of a request that was
    /// only badly written.
    fn is_noted(&self, status: u16) -> bool {
        let changes = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(&self.method);
        status == 401 || status == 403 || changes && matches!(status, 404 | 409 | 412 | 422 | 429)
    }

    /// The refusal that a response is, if it is one that is noted.
    pub(super) fn refused(self, response: &Response) -> Option<Attempt> {
        let status = response.status().as_u16();
        let RefusedProblem(problem) = response.extensions().get::<RefusedProblem>()?;
        // The same call is being worked on, and is noted by what comes of it. To note this would wait for that.
        if problem.code == Code::IdempotencyInProgress.as_str() {
            return None;
        }
        let route = format!("{} {}", self.method, self.route);
        self.is_noted(status).then(|| Attempt {
            route,
            target: self.target,
            key: None,
            code: problem.code.clone(),
            status,
        })
    }
}

/// Notes a refused attempt. What cannot be written is told to the server's log: the caller is refused either way.
pub(super) async fn note(app: &App, context: Context, attempt: Attempt) {
    if !app.attempt_limit().allows(&context.workspace, &context.actor.id) {
        app.metrics().attempt_not_noted();
        return;
    }
    let noted = app
        .store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { attempts::note(tx, &context, &attempt).await }))
        .await;
    if let Err(error) = noted {
        tracing::error!(error = &error as &dyn std::error::Error, "a refused attempt was not noted");
    }
}

/// What the path names, where that has an id's shape: whatever else somebody put there may be a secret.
fn target(route: &str, path: &str) -> Option<(&'static str, String)> {
    let named = route.split('/').zip(path.split('/')).find(|(pattern, _)| *pattern == "{id}" || *pattern == "{set}");
    let (_, id) = named?;
    let (prefix, tail) = id.split_once('_')?;
    let shape = (1..=32).contains(&tail.len()) && tail.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let kind = match prefix {
        "key" | "kn" => "key",
        "rot" => "rotation",
        "tok" => "token",
        "mem" => "member",
        "prn" => "principal",
        "edge" => "edge",
        "set" => "set",
        "ws" => "workspace",
        "lnk" => "link",
        _ => return None,
    };
    shape.then(|| (kind, id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_are_noted() {
        let route = "/v1/keys/{id}/revoke";
        let of = |path: &str| target(route, path).map(|(kind, id)| format!("{kind} {id}"));
        assert_eq!(of("/v1/keys/key_0123456789/revoke").as_deref(), Some("key key_0123456789"));
        assert_eq!(of("/v1/keys/kn_7/revoke").as_deref(), Some("key kn_7"));
        for strange in ["nl_live_0123456789abc", "key_", "hunter2", "key_a%2fb", "pw_secret"] {
            assert_eq!(of(&format!("/v1/keys/{strange}/revoke")), None, "{strange}");
        }
        assert_eq!(target("/v1/keys", "/v1/keys"), None);
    }
}
