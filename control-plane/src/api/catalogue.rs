//! `/v1/scopes` and `/v1/tiers`: the names keys refer to.

use axum::extract::State;
use nightlatch_api::{Page, Problem, Scope, Tier};

use super::App;
use super::caller::Caller;
use super::refused::Refused;
use super::time::from_ms;
use crate::store::catalogue;

/// Lists the scopes of the workspace by name. A scope enters the catalogue when it is first used.
#[utoipa::path(
    get, path = "/v1/scopes", tag = "catalogue", operation_id = "listScopes",
    responses(
        (status = 200, description = "All scopes.", body = Page<Scope>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn scopes(State(app): State<App>, caller: Caller) -> Result<axum::Json<Page<Scope>>, Refused> {
    let found = catalogue::scopes(&mut app.store().read().await?, caller.workspace()).await?;
    let items = found.into_iter().map(|e| Scope { name: e.name, first_used_at: from_ms(e.first_used_at) }).collect();
    Ok(axum::Json(Page { items, next_cursor: None }))
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
