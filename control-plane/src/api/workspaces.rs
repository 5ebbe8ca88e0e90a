//! `/v1/workspaces`: the tenants of the deployment.
//!
//! A caller sees its own workspace. The founding one's owners see all others too, by id and name and no more, and make new
//! ones.

use std::time::Duration;

use axum::extract::State;
use axum::http::header::ETAG;
use axum::response::{IntoResponse as _, Response};
use nightlatch_api as api;
use nightlatch_api::{Code, CreateWorkspace, CreatedWorkspace, Page, PageQuery, Problem, UpdateWorkspace};
use nightlatch_key::{Brand, KeyText};

use super::App;
use super::body::Json;
use super::caller::Caller;
use super::cursor::List;
use super::enrol;
use super::etag::{self, IfMatch};
use super::idempotency::{self, Create, Created, Done, Once};
use super::members;
use super::params::{Id, Named as _, Query, missing};
use super::refused::{Refused, shape_of};
use super::time::from_ms;
use crate::domain::{Action, Name, Refusal, WorkspaceId};
use crate::store::tenancy::{self, Made, NewWorkspace};
use crate::store::workspaces::{self, Workspace};
use crate::store::{Error, Read, os_random};

/// How long the first owner has to enrol.
const ENROLMENT_LIFETIME: Duration = Duration::from_secs(3600);

/// Makes a workspace with its default principal and set, and the one-time token of its first owner. For owners of the
/// founding workspace.
#[utoipa::path(
    post, path = "/v1/workspaces", tag = "workspaces", operation_id = "createWorkspace",
    params(("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body within 15 minutes, the same workspace is answered.")),
    request_body = CreateWorkspace,
    responses(
        (status = 201, description = "Made. The enrolment token is shown this once, and is good for an hour.", body = CreatedWorkspace),
        (status = 409, description = "Another workspace has the brand.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    once: Once,
    body: Json<CreateWorkspace>,
) -> Result<Response, Refused> {
    if !founds(&mut app.store().read().await?, &caller).await? {
        return Err(Refused::new(Code::Forbidden).detail("Only owners of the founding workspace make others."));
    }
    let context = caller.context();
    let text = enrol::mint(caller.now);
    let new = asked(body.value, &text)?;
    let create = Create {
        route: "POST /v1/workspaces",
        secret: "enrolment_token",
        request_hash: body.hash,
        work: Box::new(move |tx| {
            Box::pin(async move { Ok((tenancy::create(tx, &context, &new, &mut os_random).await?, text)) })
        }),
        answer: |(made, text)| created(made, text),
    };
    match idempotency::create(&app, &caller, once, create).await? {
        Done::Replayed(response) => Ok(response),
        Done::Fresh((made, text)) => {
            // Its publisher need not wait for the next look.
            app.publishers().look();
            Ok(created(&made, &text).into_response("enrolment_token"))
        }
    }
}

fn asked(request: CreateWorkspace, text: &KeyText) -> Result<NewWorkspace, Refused> {
    let brand = Brand::new(&request.brand).map_err(|_| Refused::value("brand", shape_of("brand")))?;
    let address = |text: &str| {
        let bad = |_| Refused::value("owner_email", "must be an address of at most 254 bytes");
        members::email(text).map_err(bad)
    };
    let owner_email = request.owner_email.as_deref().map(address).transpose()?;
    Ok(NewWorkspace {
        name: Name::new(request.name)?,
        brand,
        owner_email,
        enrolment: text.digest(),
        lifetime_ms: i64::try_from(ENROLMENT_LIFETIME.as_millis()).unwrap_or(i64::MAX),
    })
}

fn created(made: &Made, text: &KeyText) -> Created {
    Created::new(&serde_json::json!({
        "workspace": show(&made.workspace),
        "set": made.set.as_str(),
        "enrolment_expires_at": from_ms(made.enrolment_ends),
    }))
    .with_secret(text.expose())
}

/// Lists the workspaces that the caller may see, newest first: its own; for owners of the founding one all, by id and name.
#[utoipa::path(
    get, path = "/v1/workspaces", tag = "workspaces", operation_id = "listWorkspaces",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of workspaces.", body = Page<api::Workspace>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<api::Workspace>>, Refused> {
    let list = List::new("workspaces", caller.workspace(), &());
    let page = app.cursors().page(&list, query.limit, query.cursor.as_deref())?;
    let mut read = app.store().read().await?;
    let only = if oversees(&mut read, &caller).await? { None } else { Some(caller.workspace()) };
    let found = tenancy::list(&mut read, only, &page).await?;
    let own = workspaces::get(&mut read, caller.workspace()).await?;
    let view = |(id, name)| if id == own.id { show(&own) } else { glimpse(&id, name) };
    Ok(axum::Json(app.cursors().answer(&list, found, view)))
}

/// Reads a workspace that the caller may see.
#[utoipa::path(
    get, path = "/v1/workspaces/{id}", tag = "workspaces", operation_id = "readWorkspace",
    params(("id" = String, Path, description = "`ws_…`")),
    responses(
        (status = 200, description = "The workspace.", body = api::Workspace, headers(("ETag" = String, description = "The workspace's version; of the caller's own only."))),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn read(State(app): State<App>, caller: Caller, Id(id): Id<WorkspaceId>) -> Result<Response, Refused> {
    let mut read = app.store().read().await?;
    if id != *caller.workspace() && !oversees(&mut read, &caller).await? {
        return Err(missing(WorkspaceId::WHAT));
    }
    let found = workspaces::tenant(&mut read, &id).await?;
    if id != *caller.workspace() {
        return Ok(axum::Json(glimpse(&found.id, found.name)).into_response());
    }
    Ok(tagged(&found))
}

/// Gives the caller's workspace another name.
#[utoipa::path(
    patch, path = "/v1/workspaces/{id}", tag = "workspaces", operation_id = "updateWorkspace",
    params(
        ("id" = String, Path, description = "`ws_…`"),
        ("If-Match" = String, Header, description = "The `ETag` the change was made for."),
    ),
    request_body = UpdateWorkspace,
    responses(
        (status = 200, description = "Changed.", body = api::Workspace, headers(("ETag" = String, description = "The workspace's version."))),
        (status = 412, description = "The workspace was changed meanwhile.", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "`If-Match` is missing.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    if_match: IfMatch,
    body: Json<UpdateWorkspace>,
) -> Result<Response, Refused> {
    if id != *caller.workspace() {
        return Err(missing(WorkspaceId::WHAT));
    }
    let revision = match if_match {
        IfMatch::Any => None,
        IfMatch::Revision(revision) => Some(revision),
    };
    let name = body.value.name.map(Name::new).transpose()?;
    let context = caller.context();
    let changed = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move { tenancy::patch(tx, &context, revision, name.as_ref()).await })
        })
        .await?;
    Ok(tagged(&changed))
}

/// Whether the caller is of the founding workspace.
async fn founds(read: &mut Read, caller: &Caller) -> Result<bool, Refused> {
    let first = workspaces::first(read).await?;
    Ok(first.is_some_and(|(founding, _)| founding.id == *caller.workspace()))
}

/// Whether the caller is one who makes workspaces, and so sees that others exist.
async fn oversees(read: &mut Read, caller: &Caller) -> Result<bool, Refused> {
    let may = caller.authority.may_ever(Action::WorkspacesCreate);
    Ok(!matches!(may, Err(Refusal::Forbidden { .. })) && founds(read, caller).await?)
}

fn tagged(workspace: &Workspace) -> Response {
    ([(ETAG, etag::header(workspace.revision))], axum::Json(show(workspace))).into_response()
}

fn show(workspace: &Workspace) -> api::Workspace {
    api::Workspace {
        id: workspace.id.to_string(),
        name: workspace.name.clone(),
        brand: Some(workspace.brand.as_str().to_owned()),
        created_at: Some(from_ms(workspace.created_at)),
    }
}

/// What is seen of a workspace that is not the caller's own.
fn glimpse(id: &WorkspaceId, name: String) -> api::Workspace {
    api::Workspace { id: id.to_string(), name, brand: None, created_at: None }
}
