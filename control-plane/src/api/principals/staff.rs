//! `/v1/partners/{id}/staff`: the people of a partner organisation.

use axum::extract::State;
use axum::http::header::ETAG;
use axum::response::{IntoResponse as _, Response};
use nightlatch_api as api;
use nightlatch_api::{InviteMember, InvitedMember, Member, MoveMember, Page, PageQuery, Problem, UpdateStaff};

use super::Partner;
use crate::api::App;
use crate::api::body::{Json, OptionalJson};
use crate::api::caller::Caller;
use crate::api::cursor::List;
use crate::api::etag::{self, IfMatch};
use crate::api::idempotency::{self, Once};
use crate::api::keys::reason;
use crate::api::members::{INVITE_BRAND, invitation, invited, role, show};
use crate::api::params::{Id, Ids, Query};
use crate::api::refused::Refused;
use crate::api::tokens::mint_reserved;
use crate::domain::ids::principal_id;
use crate::domain::{MemberId, MemberPatch, Name, PrincipalKind, WorkspaceId};
use crate::store::members::{self, MemberFilter};
use crate::store::{Error, Read, principals};

/// Invites somebody to the staff: as `partner_owner`, `partner_admin` or `partner_staff`. The answer is the only one that
/// ever shows the code by which it joins.
#[utoipa::path(
    post, path = "/v1/partners/{id}/staff", tag = "partners", operation_id = "inviteStaff",
    params(
        ("id" = String, Path, description = "`prn_…`"),
        ("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body within 15 minutes, the same code is answered."),
    ),
    request_body = InviteMember,
    responses(
        (status = 201, description = "Invited.", body = InvitedMember),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn invite(
    State(app): State<App>,
    caller: Caller,
    Id(Partner(partner)): Id<Partner>,
    once: Once,
    body: Json<InviteMember>,
) -> Result<Response, Refused> {
    require_partner(&mut app.store().read().await?, &caller, partner).await?;
    let code = mint_reserved(INVITE_BRAND, caller.now);
    let invitation = invitation(body.value, Some(partner), &code)?;
    let hash = idempotency::request_hash(&[principal_id(partner).as_bytes(), &body.hash]);
    invited(&app, &caller, once, "POST /v1/partners/{id}/staff", hash, (invitation, code)).await
}

/// Lists a partner's staff, newest first.
#[utoipa::path(
    get, path = "/v1/partners/{id}/staff", tag = "partners", operation_id = "listStaff",
    params(("id" = String, Path, description = "`prn_…`"), PageQuery),
    responses(
        (status = 200, description = "A page of members.", body = Page<Member>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn list(
    State(app): State<App>,
    caller: Caller,
    Id(Partner(partner)): Id<Partner>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<Member>>, Refused> {
    let list = List::new("staff", caller.workspace(), &partner);
    let page = app.cursors().page(&list, query.limit, query.cursor.as_deref())?;
    let mut read = app.store().read().await?;
    require_partner(&mut read, &caller, partner).await?;
    let filter = MemberFilter { partner: Some(partner), ..MemberFilter::default() };
    let found = members::list(&mut read, caller.workspace(), &filter, &page).await?;
    Ok(axum::Json(app.cursors().answer(&list, found, |member| show(&member))))
}

/// Shows one of a partner's staff.
#[utoipa::path(
    get, path = "/v1/partners/{id}/staff/{member}", tag = "partners", operation_id = "readStaff",
    params(("id" = String, Path, description = "`prn_…`"), ("member" = String, Path, description = "`mem_…`")),
    responses(
        (status = 200, description = "The member.", body = Member, headers(("ETag" = String, description = "Its version."))),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn read(
    State(app): State<App>,
    caller: Caller,
    Ids(Partner(partner), member): Ids<Partner, MemberId>,
) -> Result<Response, Refused> {
    let mut read = app.store().read().await?;
    require_partner(&mut read, &caller, partner).await?;
    Ok(tagged(&of_partner(&mut read, caller.workspace(), partner, &member).await?))
}

/// Changes name or role of one of a partner's staff.
#[utoipa::path(
    patch, path = "/v1/partners/{id}/staff/{member}", tag = "partners", operation_id = "updateStaff",
    params(
        ("id" = String, Path, description = "`prn_…`"),
        ("member" = String, Path, description = "`mem_…`"),
        ("If-Match" = String, Header, description = "The `ETag` the change was made for."),
    ),
    request_body = UpdateStaff,
    responses(
        (status = 200, description = "Changed.", body = Member, headers(("ETag" = String, description = "Its version."))),
        (status = 412, description = "It was changed meanwhile.", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "`If-Match` is missing.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn update(
    State(app): State<App>,
    caller: Caller,
    Ids(Partner(partner), member): Ids<Partner, MemberId>,
    if_match: IfMatch,
    body: Json<UpdateStaff>,
) -> Result<Response, Refused> {
    require_partner(&mut app.store().read().await?, &caller, partner).await?;
    let patch = MemberPatch {
        name: body.value.name.map(Name::new).transpose()?,
        role: body.value.role.map(role),
        ..MemberPatch::default()
    };
    let (context, revision) = (caller.context(), if_match.revision());
    let changed = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                of_partner(tx, &context.workspace, partner, &member).await?;
                members::patch(tx, &context, &member, revision, patch).await
            })
        })
        .await?;
    Ok(tagged(&changed))
}

/// Removes one of a partner's staff for ever, with its tokens. The last owner of a partner stays.
#[utoipa::path(
    post, path = "/v1/partners/{id}/staff/{member}/remove", tag = "partners", operation_id = "removeStaff",
    params(("id" = String, Path, description = "`prn_…`"), ("member" = String, Path, description = "`mem_…`")),
    request_body = Option<MoveMember>,
    responses(
        (status = 200, description = "Removed, now or before.", body = Member),
        (status = 409, description = "It is the last owner.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Ids(Partner(partner), member): Ids<Partner, MemberId>,
    OptionalJson(body): OptionalJson<MoveMember>,
) -> Result<Response, Refused> {
    require_partner(&mut app.store().read().await?, &caller, partner).await?;
    let (context, reason) = (caller.context(), reason(body.reason)?);
    let removed = app
        .store()
        .insist(move |tx| {
            let (context, member, reason) = (context.clone(), member.clone(), reason.clone());
            Box::pin(async move {
                of_partner(tx, &context.workspace, partner, &member).await?;
                members::remove(tx, &context, &member, reason.as_ref()).await
            })
        })
        .await?;
    Ok(tagged(&removed))
}

/// Refuses a partner that is not there, or that the caller does not see, alike.
async fn require_partner(read: &mut Read, caller: &Caller, partner: u32) -> Result<(), Refused> {
    super::require_seen(caller, PrincipalKind::Partner, partner)?;
    principals::get(read, caller.workspace(), PrincipalKind::Partner, partner).await?;
    Ok(())
}

/// A member that is staff of this partner.
async fn of_partner(
    read: &mut Read,
    workspace: &WorkspaceId,
    partner: u32,
    id: &MemberId,
) -> Result<crate::domain::Member, Error> {
    let member = members::get(read, workspace, id).await?;
    if member.partner == Some(partner) { Ok(member) } else { Err(Error::NotFound("member")) }
}

fn tagged(member: &crate::domain::Member) -> Response {
    ([(ETAG, etag::header(member.revision))], axum::Json::<api::Member>(show(member))).into_response()
}
