//! Reading keys.

use axum::extract::State;
use axum::http::header::ETAG;
use axum::response::{IntoResponse as _, Response};
use nightlatch_api::{Key, KeyFilter, Page, Problem};

use super::{filter, view};
use crate::api::App;
use crate::api::caller::Caller;
use crate::api::cursor::List;
use crate::api::etag;
use crate::api::params::{Id, Query};
use crate::api::refused::Refused;
use crate::domain::KeyRef;
use crate::store::keys::{self, KeyView};
use crate::store::workspaces;

/// Lists keys, newest first. Every filter given must hold.
#[utoipa::path(
    get, path = "/v1/keys", tag = "keys", operation_id = "listKeys",
    params(KeyFilter),
    responses(
        (status = 200, description = "A page of keys.", body = Page<Key>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<KeyFilter>,
) -> Result<axum::Json<Page<Key>>, Refused> {
    let filters = filter::without_secrets(KeyFilter { limit: None, cursor: None, ..query.clone() });
    let list = List::new("keys", caller.workspace(), &filters);
    let page = app.cursors().page(&list, query.limit, query.cursor.as_deref())?;
    let mut read = app.store().read().await?;
    let Some(filter) = filter::resolve(&mut read, &caller.context(), filters).await? else {
        return Ok(axum::Json(Page { items: Vec::new(), next_cursor: None }));
    };
    let found = keys::list(&mut read, caller.workspace(), &filter, &page).await?;
    let bound = workspaces::bound(&mut read, caller.workspace()).await?;
    let show = |found: KeyView| view::listed(&found, filter.touched_by.as_ref(), bound);
    Ok(axum::Json(app.cursors().answer(&list, found, show)))
}

/// Reads a key. The `ETag` is what a change has to send as `If-Match`.
#[utoipa::path(
    get, path = "/v1/keys/{id}", tag = "keys", operation_id = "readKey",
    params(("id" = String, Path, description = "`key_…`, or `kn_` and the key's number.")),
    responses(
        (status = 200, description = "The key.", body = Key, headers(("ETag" = String, description = "The key's version."))),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn read(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<KeyRef>,
) -> Result<Response, Refused> {
    let mut read = app.store().read().await?;
    let found = caller.key(&mut read, &id).await?;
    let bound = workspaces::bound(&mut read, caller.workspace()).await?;
    let key = view::key(&found.key, found.rotation.as_ref().map(|r| &r.id), bound, found.now);
    Ok(([(ETAG, etag::header(found.key.revision))], axum::Json(key)).into_response())
}
