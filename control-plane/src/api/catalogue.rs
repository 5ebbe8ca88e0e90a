//! `/v1/scopes` and `/v1/tiers`: the names keys refer to.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use nightlatch_api::{Page, PageQuery, Problem, PutScope, Scope, Tier};

use super::App;
use super::body::Json;
use super::caller::Caller;
use super::cursor::List;
use super::params::{Id, Named, Query, missing};
use super::refused::Refused;
use super::time::from_ms;
use crate::domain::Description;
use crate::domain::catalogue::{EntryName, is_group};
use crate::store::Error;
use crate::store::catalogue::{self, Said, ScopeView};

impl Named for EntryName {
    const WHAT: &'static str = "scope";

    fn of(text: &str) -> Option<Self> {
        Self::new(text).ok()
    }
}

/// Lists the scopes of the workspace, and groups of them, by name.
#[utoipa::path(
    get, path = "/v1/scopes", tag = "catalogue", operation_id = "listScopes",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of scopes.", body = Page<Scope>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn scopes(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<Scope>>, Refused> {
    let list = List::new("scopes", caller.workspace(), &());
    let page = app.cursors().page(&list, query.limit, query.cursor.as_deref())?;
    let found = catalogue::scopes(&mut app.store().read().await?, caller.workspace(), &page).await?;
    Ok(axum::Json(app.cursors().answer(&list, found, show)))
}

/// Says what a scope or a group of scopes is, and whether it is sensitive, in place of what was said before.
#[utoipa::path(
    put, path = "/v1/scopes/{name}", tag = "catalogue", operation_id = "putScope",
    params(("name" = String, Path, description = "A scope, or a group: a scope's beginning and one `*`.")),
    request_body = PutScope,
    responses(
        (status = 200, description = "Said, now or before.", body = Scope),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn put_scope(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    body: Json<PutScope>,
) -> Result<axum::Json<Scope>, Refused> {
    let Path(name) = path.map_err(|_| missing(EntryName::WHAT))?;
    let (context, name) = (caller.context(), EntryName::new(name)?);
    let description = body.value.description.filter(|text| !text.is_empty()).map(Description::new).transpose()?;
    let said = Said { description: description.map(Description::into_string), sensitive: body.value.sensitive };
    let said = app
        .store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { catalogue::say(tx, &context, &name, said).await }))
        .await?;
    Ok(axum::Json(show(said)))
}

/// Takes a scope that no usable key carries out of the catalogue, or a group. A scope that is used again enters again.
#[utoipa::path(
    delete, path = "/v1/scopes/{name}", tag = "catalogue", operation_id = "removeScope",
    params(("name" = String, Path, description = "A scope or a group.")),
    responses(
        (status = 204, description = "Removed."),
        (status = 409, description = "A usable key carries it.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn remove_scope(
    State(app): State<App>,
    caller: Caller,
    Id(name): Id<EntryName>,
) -> Result<StatusCode, Refused> {
    let context = caller.context();
    app.store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { catalogue::remove(tx, &context, &name).await }))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn show(view: ScopeView) -> Scope {
    let group = is_group(&view.name);
    let (usable, more_keys) = view.usable;
    Scope {
        group,
        description: view.description,
        sensitive: view.sensitive,
        marked_sensitive: view.marked,
        groups: view.groups,
        first_used_at: view.first_used_at.map(from_ms),
        updated_at: view.updated_at.map(from_ms),
        usable_keys: (!group).then_some(usable),
        more_keys,
        name: view.name,
    }
}

/// Lists the tiers of the workspace by name. A tier enters the catalogue when it is first used.
#[utoipa::path(
    get, path = "/v1/tiers", tag = "catalogue", operation_id = "listTiers",
    responses(
        (status = 200, description = "All tiers.", body = Page<Tier>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn tiers(State(app): State<App>, caller: Caller) -> Result<axum::Json<Page<Tier>>, Refused> {
    let found = catalogue::tiers(&mut app.store().read().await?, caller.workspace()).await?;
    let items = found.into_iter().map(|e| Tier { name: e.name, first_used_at: from_ms(e.first_used_at) }).collect();
    Ok(axum::Json(Page { items, next_cursor: None }))
}
