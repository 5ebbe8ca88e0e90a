//! `/v1/routes`: which requests there are, and what each asks of a key.

mod document;

use axum::extract::State;
use axum::http::header::ETAG;
use axum::response::{IntoResponse as _, Response};
use nightlatch_api as api;
use nightlatch_api::{Code, Problem, RouteDocument, SetQuery};
use nightlatch_keyset::Hash;

use super::App;
use super::body::Json;
use super::caller::Caller;
use super::etag::{self, IfMatch};
use super::params::{Query, missing};
use super::refused::Refused;
use crate::domain::{SetId, WorkspaceId};
use crate::store::routes::{self, Routes};
use crate::store::{Error, Read, workspaces};

/// Reads the routes of a set. The `ETag` is what a replacement has to send as `If-Match`.
#[utoipa::path(
    get, path = "/v1/routes", tag = "routes", operation_id = "readRoutes",
    params(SetQuery),
    responses(
        (status = 200, description = "The routes.", body = api::Routes, headers(("ETag" = String, description = "The document's version."))),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<SetQuery>,
) -> Result<Response, Refused> {
    let mut read = app.store().read().await?;
    let set = choose(&mut read, caller.workspace(), query.set.as_deref()).await?;
    let current = routes::current(&mut read, caller.workspace(), &set).await?;
    show(&set, current.as_ref())
}

/// Replaces the routes of a set, whole. Edges learn of it as they learn of keys.
#[utoipa::path(
    put, path = "/v1/routes", tag = "routes", operation_id = "replaceRoutes",
    params(SetQuery, ("If-Match" = String, Header, description = "The `ETag` of the document to be replaced.")),
    request_body = RouteDocument,
    responses(
        (status = 200, description = "Replaced.", body = api::Routes, headers(("ETag" = String, description = "The document's version."))),
        (status = 412, description = "The document was replaced meanwhile.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The routes contradict each other or cannot be used.", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "`If-Match` is missing.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn replace(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<SetQuery>,
    if_match: IfMatch,
    body: Json<RouteDocument>,
) -> Result<Response, Refused> {
    let policy = document::policy(&body.value)?.encode();
    let hash = Hash::of(&policy);
    let text = serde_json::to_string(&body.value).map_err(|_| Refused::new(Code::Internal))?;
    let set = choose(&mut app.store().read().await?, caller.workspace(), query.set.as_deref()).await?;
    let (context, target) = (caller.context(), set.clone());
    let replaced = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                let revision = match if_match {
                    IfMatch::Revision(revision) => revision,
                    IfMatch::Any => workspaces::set(tx, &context.workspace, &target).await?.routes_revision,
                };
                routes::replace(tx, &context, &target, revision, &text, &policy, hash.0).await
            })
        })
        .await?;
    show(&set, Some(&replaced))
}

/// The set that is meant: the one named, or the workspace's only one.
pub(super) async fn choose(read: &mut Read, workspace: &WorkspaceId, named: Option<&str>) -> Result<SetId, Refused> {
    if let Some(text) = named {
        let id = SetId::parse(text).ok_or_else(|| missing("set"))?;
        return Ok(workspaces::set(read, workspace, &id).await?.id);
    }
    let mut own = workspaces::sets(read, workspace).await?.into_iter();
    match (own.next(), own.next()) {
        (Some(set), None) => Ok(set.id),
        _ => Err(Refused::invalid("set", "is missing: the workspace has several sets")),
    }
}

fn show(set: &SetId, routes: Option<&Routes>) -> Result<Response, Refused> {
    let revision = routes.map_or(0, |routes| routes.revision);
    let document = match routes {
        None => RouteDocument::default(),
        Some(routes) => serde_json::from_str(&routes.document).map_err(|_| {
            tracing::error!(%set, revision, "the stored route document cannot be read");
            Refused::new(Code::Internal)
        })?,
    };
    let shown = api::Routes {
        set: set.to_string(),
        revision: u64::try_from(revision).unwrap_or_default(),
        policy_hash: routes.map(|routes| routes.policy_hash.iter().map(|byte| format!("{byte:02x}")).collect()),
        document,
    };
    Ok(([(ETAG, etag::header(revision))], axum::Json(shown)).into_response())
}
