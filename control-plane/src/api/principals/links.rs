//! `/v1/partners/{id}/links` and `/v1/links`: a link as either side has it.

use axum::extract::State;
use axum::http::header::ETAG;
use axum::response::{IntoResponse as _, Response};
use nightlatch_api as api;
use nightlatch_api::{
    AcceptLink, ClientLink, CreateLink, CreatedLink, EndPrincipal, EndedPartnerLink, LinkSide, LinkState, Page,
    PageQuery, PartnerLink, Problem, UpdateLink,
};
use nightlatch_key::{Digest, KeyText};
use serde_json::json;

use super::{Partner, words};
use crate::api::App;
use crate::api::body::Json;
use crate::api::caller::Caller;
use crate::api::cursor::List;
use crate::api::etag::{self, IfMatch};
use crate::api::idempotency::{self, Create, Created, Done, Once};
use crate::api::params::{Id, Ids, Query};
use crate::api::refused::Refused;
use crate::api::time::{from_ms, in_force, surely_in_force};
use crate::api::tokens::mint_reserved;
use crate::domain::ids::principal_id;
use crate::domain::partner::{self, Side};
use crate::domain::{Action, LinkId, Name, PrincipalKind, Reason, Refusal, Scopes, Target};
use crate::store::links::{self, LinkView, NewLink};
use crate::store::{Error, os_random, principals, workspaces};

/// The brand of a link code's text.
const CODE_BRAND: &str = "nll";

/// Makes a link to a client, and the one-time code with which an owner or admin of the client accepts it.
#[utoipa::path(
    post, path = "/v1/partners/{id}/links", tag = "partners", operation_id = "createPartnerLink",
    params(
        ("id" = String, Path, description = "`prn_…`"),
        ("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body within 15 minutes, the same link and code are answered."),
    ),
    request_body = CreateLink,
    responses(
        (status = 201, description = "Made.", body = CreatedLink),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn create(
    State(app): State<App>,
    caller: Caller,
    Id(Partner(partner)): Id<Partner>,
    once: Once,
    body: Json<CreateLink>,
) -> Result<Response, Refused> {
    let context = caller.context();
    let code = mint_reserved(CODE_BRAND, caller.now);
    let mut random = [0; 10];
    os_random(&mut random);
    let client_name = Name::new(body.value.client_name)?;
    let new = NewLink { id: LinkId::generate(random), partner, client_name, code: code.digest() };
    let create = Create {
        route: "POST /v1/partners/{id}/links",
        secret: "code",
        request_hash: idempotency::request_hash(&[principal_id(partner).as_bytes(), &body.hash]),
        work: Box::new(move |tx| Box::pin(async move { Ok((links::create(tx, &context, &new).await?, code)) })),
        answer: |(view, code)| created(view, code),
    };
    match idempotency::create(&app, &caller, once, create).await? {
        Done::Replayed(response) => Ok(response),
        Done::Fresh((view, code)) => Ok(created(&view, &code).into_response("code")),
    }
}

fn created(view: &LinkView, code: &KeyText) -> Created {
    Created::new(&json!({ "link": show(view), "code_expires_at": from_ms(view.link.code_expires_at) }))
        .with_secret(code.expose())
}

/// Lists a partner's links, newest first, with what it has earned at each client.
#[utoipa::path(
    get, path = "/v1/partners/{id}/links", tag = "partners", operation_id = "listPartnerLinks",
    params(("id" = String, Path, description = "`prn_…`"), PageQuery),
    responses(
        (status = 200, description = "A page of links.", body = Page<PartnerLink>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn list(
    State(app): State<App>,
    caller: Caller,
    Id(Partner(partner)): Id<Partner>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<PartnerLink>>, Refused> {
    let list = List::new("partner links", caller.workspace(), &partner);
    let page = app.cursors().page(&list, query.limit, query.cursor.as_deref())?;
    super::require_seen(&caller, PrincipalKind::Partner, partner)?;
    let mut read = app.store().read().await?;
    principals::get(&mut read, caller.workspace(), PrincipalKind::Partner, partner).await?;
    let found = links::list_of_partner(&mut read, caller.workspace(), partner, &page).await?;
    Ok(axum::Json(app.cursors().answer(&list, found, |view| show(&view))))
}

/// Ends a link from the partner's side, for ever: keys that are bound to it are revoked. Repeating it is no error.
#[utoipa::path(
    post, path = "/v1/partners/{id}/links/{link}/end", tag = "partners", operation_id = "endPartnerLink",
    params(("id" = String, Path, description = "`prn_…`"), ("link" = String, Path, description = "`lnk_…`")),
    request_body = EndPrincipal,
    responses(
        (status = 200, description = "Ended, now or before.", body = EndedPartnerLink),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn end(
    State(app): State<App>,
    caller: Caller,
    Ids(Partner(partner), link): Ids<Partner, LinkId>,
    body: Json<EndPrincipal>,
) -> Result<axum::Json<EndedPartnerLink>, Refused> {
    super::require_seen(&caller, PrincipalKind::Partner, partner)?;
    let (context, reason) = (caller.context(), Reason::new(body.value.reason)?);
    let (ended, bound) = app
        .store()
        .insist(move |tx| {
            let (context, link, reason) = (context.clone(), link.clone(), reason.clone());
            Box::pin(async move {
                principals::get(tx, &context.workspace, PrincipalKind::Partner, partner).await?;
                let ended = links::end_as_partner(tx, &context, partner, &link, &reason).await?;
                Ok((ended, workspaces::bound(tx, &context.workspace).await?))
            })
        })
        .await?;
    // Read after the commit. What was ended before has been in force since then.
    let now = app.store().now().await?;
    let before = ended.view.link.end.as_ref().filter(|_| !ended.changed);
    Ok(axum::Json(EndedPartnerLink {
        link: show(&ended.view),
        keys: ended.keys,
        in_force_by: before.map_or_else(|| in_force(now, bound), |end| surely_in_force(end.at, bound)),
    }))
}

/// Accepts a partner's link for this workspace, and says what the partner earns here.
#[utoipa::path(
    post, path = "/v1/links/accept", tag = "links", operation_id = "acceptLink",
    request_body = AcceptLink,
    responses(
        (status = 200, description = "Accepted.", body = ClientLink, headers(("ETag" = String, description = "Its version."))),
        (status = 409, description = "The workspace is linked to this partner already.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The code is unknown, used or expired.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn accept(
    State(app): State<App>,
    caller: Caller,
    body: Json<AcceptLink>,
) -> Result<Response, Refused> {
    let AcceptLink { code, permissions } = body.value;
    let permissions = permissions_of(permissions)?;
    let text = code.expose().trim().as_bytes();
    // Shape and checksum first: junk costs neither a hash nor a look into the database.
    let parsed = nightlatch_key::parse(text).ok().filter(|parsed| parsed.brand().as_str() == CODE_BRAND);
    if parsed.is_none() {
        return Err(Refusal::LinkCodeUnusable.into());
    }
    let (context, code) = (caller.context(), Digest::of(text));
    let view = app
        .store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { links::accept(tx, &context, &code, permissions).await }))
        .await?;
    Ok(client_answer(&view))
}

/// Lists the links that this workspace has accepted, newest first.
#[utoipa::path(
    get, path = "/v1/links", tag = "links", operation_id = "listLinks",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of links.", body = Page<ClientLink>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn accepted(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<ClientLink>>, Refused> {
    require_reader(&caller)?;
    let list = List::new("links", caller.workspace(), &());
    let page = app.cursors().page(&list, query.limit, query.cursor.as_deref())?;
    let found = links::list_of_client(&mut app.store().read().await?, caller.workspace(), &page).await?;
    Ok(axum::Json(app.cursors().answer(&list, found, |view| show_client(&view))))
}

/// Reads a link that this workspace has accepted.
#[utoipa::path(
    get, path = "/v1/links/{id}", tag = "links", operation_id = "readLink",
    params(("id" = String, Path, description = "`lnk_…`")),
    responses(
        (status = 200, description = "The link.", body = ClientLink, headers(("ETag" = String, description = "Its version."))),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn read(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<LinkId>,
) -> Result<Response, Refused> {
    require_reader(&caller)?;
    Ok(client_answer(&links::of_client(&mut app.store().read().await?, caller.workspace(), &id).await?))
}

/// Says anew what a partner has earned here. Its keys are not touched.
#[utoipa::path(
    patch, path = "/v1/links/{id}", tag = "links", operation_id = "updateLink",
    params(
        ("id" = String, Path, description = "`lnk_…`"),
        ("If-Match" = String, Header, description = "The `ETag` the change was made for."),
    ),
    request_body = UpdateLink,
    responses(
        (status = 200, description = "Changed.", body = ClientLink, headers(("ETag" = String, description = "Its version."))),
        (status = 409, description = "The link has ended.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn update(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<LinkId>,
    if_match: IfMatch,
    body: Json<UpdateLink>,
) -> Result<Response, Refused> {
    let permissions = permissions_of(body.value.permissions)?;
    let (context, revision) = (caller.context(), if_match.revision());
    let view = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move { links::permit(tx, &context, &id, revision, permissions).await })
        })
        .await?;
    Ok(client_answer(&view))
}

/// Ends a link from the client's side, for ever: the partner's keys that are bound to it are revoked. Repeating it is no
/// error.
#[utoipa::path(
    post, path = "/v1/links/{id}/end", tag = "links", operation_id = "endLink",
    params(("id" = String, Path, description = "`lnk_…`")),
    request_body = EndPrincipal,
    responses(
        (status = 200, description = "Ended, now or before.", body = ClientLink),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn end_accepted(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<LinkId>,
    body: Json<EndPrincipal>,
) -> Result<Response, Refused> {
    let (context, reason) = (caller.context(), Reason::new(body.value.reason)?);
    let ended = app
        .store()
        .insist(move |tx| {
            let (context, id, reason) = (context.clone(), id.clone(), reason.clone());
            Box::pin(async move { links::end_as_client(tx, &context, &id, &reason).await })
        })
        .await?;
    Ok(client_answer(&ended.view))
}

/// Who sees only a partner of the workspace does not see which partners the workspace is a client of.
fn require_reader(caller: &Caller) -> Result<(), Refused> {
    Ok(caller.authority.require(Action::PartnersRead, &Target::None)?)
}

fn permissions_of(permissions: Vec<String>) -> Result<Scopes, Refused> {
    let shape = "must be at most 64 texts of the shape [A-Za-z][A-Za-z0-9_:.-]{0,63}";
    Scopes::new(permissions).map_err(|_| Refused::value("permissions", shape))
}

fn client_answer(view: &LinkView) -> Response {
    ([(ETAG, etag::header(view.link.revision))], axum::Json(show_client(view))).into_response()
}

fn show(view: &LinkView) -> PartnerLink {
    let LinkView { link, client_workspace, .. } = view;
    let end = link.end.as_ref();
    PartnerLink {
        id: link.id.to_string(),
        partner: principal_id(link.partner),
        client_name: link.client_name.clone(),
        client_workspace: client_workspace.clone(),
        state: state(link.state()),
        permissions: words(&link.permissions),
        code_expires_at: from_ms(link.code_expires_at),
        created_at: from_ms(link.created_at),
        accepted_at: link.accepted_at.map(from_ms),
        ended_at: end.map(|end| from_ms(end.at)),
        ended_by: end.map(|end| side(end.by)),
        end_reason: end.and_then(|end| end.reason.clone()),
    }
}

fn show_client(view: &LinkView) -> ClientLink {
    let LinkView { link, partner_name, partner_workspace, .. } = view;
    let end = link.end.as_ref();
    ClientLink {
        id: link.id.to_string(),
        partner_name: partner_name.clone(),
        partner_workspace: partner_workspace.clone(),
        state: state(link.state()),
        permissions: words(&link.permissions),
        accepted_at: link.accepted_at.map(from_ms),
        ended_at: end.map(|end| from_ms(end.at)),
        ended_by: end.map(|end| side(end.by)),
        end_reason: end.and_then(|end| end.reason.clone()),
    }
}

const fn state(state: partner::LinkState) -> api::LinkState {
    match state {
        partner::LinkState::Pending => LinkState::Pending,
        partner::LinkState::Active => LinkState::Active,
        partner::LinkState::Ended => LinkState::Ended,
    }
}

const fn side(side: Side) -> LinkSide {
    match side {
        Side::Partner => LinkSide::Partner,
        Side::Client => LinkSide::Client,
    }
}
