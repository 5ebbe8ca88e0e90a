//! `/v1/service-accounts`: service accounts: programs of the workspace's own.

use axum::extract::State;
use axum::response::Response;
use nightlatch_api::{
    ChangedPrincipal, CreatePrincipal, EndPrincipal, Page, Principal, PrincipalFilter, Problem, TurnPrincipal,
    UpdatePrincipal,
};

use super::{ServiceAccount, Turn};
use crate::api::App;
use crate::api::body::{Json, OptionalJson};
use crate::api::caller::Caller;
use crate::api::etag::IfMatch;
use crate::api::idempotency::Once;
use crate::api::params::{Id, Query};
use crate::api::refused::Refused;
use crate::domain::{PrincipalKind, Reason};

const KIND: PrincipalKind = PrincipalKind::ServiceAccount;

/// Makes a service account.
#[utoipa::path(
    post, path = "/v1/service-accounts", tag = "service-accounts", operation_id = "createServiceAccount",
    params(("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body within 15 minutes, the same service account is answered.")),
    request_body = CreatePrincipal,
    responses(
        (status = 201, description = "Made.", body = Principal, headers(("ETag" = String, description = "Its version."))),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn create(
    State(app): State<App>,
    caller: Caller,
    once: Once,
    body: Json<CreatePrincipal>,
) -> Result<Response, Refused> {
    super::create(&app, &caller, once, body, KIND, "POST /v1/service-accounts").await
}

/// Lists service accounts, newest first.
#[utoipa::path(
    get, path = "/v1/service-accounts", tag = "service-accounts", operation_id = "listServiceAccounts",
    params(PrincipalFilter),
    responses(
        (status = 200, description = "A page of service accounts.", body = Page<Principal>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(filter): Query<PrincipalFilter>,
) -> Result<axum::Json<Page<Principal>>, Refused> {
    super::list(&app, &caller, filter, KIND).await
}

/// Reads a service account.
#[utoipa::path(
    get, path = "/v1/service-accounts/{id}", tag = "service-accounts", operation_id = "readServiceAccount",
    params(("id" = String, Path, description = "`prn_…`")),
    responses(
        (status = 200, description = "The service account.", body = Principal, headers(("ETag" = String, description = "Its version."))),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn read(
    State(app): State<App>,
    caller: Caller,
    Id(ServiceAccount(id)): Id<ServiceAccount>,
) -> Result<Response, Refused> {
    super::read(&app, &caller, KIND, id).await
}

/// Changes name, description or the ceiling of its keys. Absent fields stay, null clears.
#[utoipa::path(
    patch, path = "/v1/service-accounts/{id}", tag = "service-accounts", operation_id = "updateServiceAccount",
    params(
        ("id" = String, Path, description = "`prn_…`"),
        ("If-Match" = String, Header, description = "The `ETag` the change was made for."),
    ),
    request_body = UpdatePrincipal,
    responses(
        (status = 200, description = "Changed.", body = Principal, headers(("ETag" = String, description = "Its version."))),
        (status = 412, description = "It was changed meanwhile.", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "`If-Match` is missing.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn update(
    State(app): State<App>,
    caller: Caller,
    Id(ServiceAccount(id)): Id<ServiceAccount>,
    if_match: IfMatch,
    body: Json<UpdatePrincipal>,
) -> Result<Response, Refused> {
    super::update(&app, &caller, KIND, id, if_match, body.value).await
}

/// Disables all its keys until it is resumed. Repeating it is no error.
#[utoipa::path(
    post, path = "/v1/service-accounts/{id}/suspend", tag = "service-accounts", operation_id = "suspendServiceAccount",
    params(("id" = String, Path, description = "`prn_…`")),
    request_body = Option<TurnPrincipal>,
    responses(
        (status = 200, description = "Suspended, now or before.", body = ChangedPrincipal),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn suspend(
    State(app): State<App>,
    caller: Caller,
    Id(ServiceAccount(id)): Id<ServiceAccount>,
    OptionalJson(body): OptionalJson<TurnPrincipal>,
) -> Result<axum::Json<ChangedPrincipal>, Refused> {
    super::turn(&app, &caller, KIND, id, Turn::Suspend, super::turn_reason(body)?).await
}

/// Lets its keys work again, as far as nothing else stops them. Repeating it is no error.
#[utoipa::path(
    post, path = "/v1/service-accounts/{id}/resume", tag = "service-accounts", operation_id = "resumeServiceAccount",
    params(("id" = String, Path, description = "`prn_…`")),
    request_body = Option<TurnPrincipal>,
    responses(
        (status = 200, description = "Resumed, now or before.", body = ChangedPrincipal),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn resume(
    State(app): State<App>,
    caller: Caller,
    Id(ServiceAccount(id)): Id<ServiceAccount>,
    OptionalJson(body): OptionalJson<TurnPrincipal>,
) -> Result<axum::Json<ChangedPrincipal>, Refused> {
    super::turn(&app, &caller, KIND, id, Turn::Resume, super::turn_reason(body)?).await
}

/// Ends it for ever: its keys are revoked and their open rotations ended. Repeating it is no error.
#[utoipa::path(
    post, path = "/v1/service-accounts/{id}/remove", tag = "service-accounts", operation_id = "removeServiceAccount",
    params(("id" = String, Path, description = "`prn_…`")),
    request_body = EndPrincipal,
    responses(
        (status = 200, description = "Removed, now or before.", body = ChangedPrincipal),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Id(ServiceAccount(id)): Id<ServiceAccount>,
    body: Json<EndPrincipal>,
) -> Result<axum::Json<ChangedPrincipal>, Refused> {
    let reason = Reason::new(body.value.reason)?;
    super::turn(&app, &caller, KIND, id, Turn::Remove, Some(reason)).await
}
