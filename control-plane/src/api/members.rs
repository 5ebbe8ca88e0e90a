//! `/v1/members` and `/v1/roles`: who has which role, and what a role brings.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::ETAG;
use axum::response::{IntoResponse as _, Response};
use futures::future::BoxFuture;
use nightlatch_api as api;
use nightlatch_api::{
    InviteMember, InvitedMember, MoveMember, Page, Problem, ReinviteMember, ReplaceRole, RoleScopes, UpdateMember,
};
use nightlatch_key::KeyText;
use serde_json::json;

use super::App;
use super::body::{Json, OptionalJson};
use super::caller::Caller;
use super::cursor::List;
use super::etag::{self, IfMatch};
use super::idempotency::{self, Create, Created, Done, Once};
use super::keys::{reason, subject, view};
use super::params::{Id, Query};
use super::refused::Refused;
use super::time::from_ms;
use super::tokens::mint_reserved;
use crate::domain::ids::principal_id;
use crate::domain::{Member, MemberId, MemberPatch, MemberState, Name, Reason, Role, Scopes, Tier};
use crate::store::members::{self, Invitation, JoinCode, MemberFilter};
use crate::store::roles::{self, Granted};
use crate::store::{Context, Error, Tx, os_random};

/// The brand of an invitation's code.
pub(super) const INVITE_BRAND: &str = "nli";
/// How long an invitation can be accepted, milliseconds: a week.
pub(super) const INVITE_LIFETIME_MS: i64 = 7 * 24 * 3600 * 1000;
/// The longest address (RFC 5321, section 4.5.3.1.3, without the angle brackets).
const MAX_EMAIL: usize = 254;

/// Invites somebody. The answer is the only one that ever shows the code by which it joins.
#[utoipa::path(
    post, path = "/v1/members", tag = "members", operation_id = "inviteMember",
    params(("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body within 15 minutes, the same code is answered.")),
    request_body = InviteMember,
    responses(
        (status = 201, description = "Invited.", body = InvitedMember),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn invite(
    State(app): State<App>,
    caller: Caller,
    once: Once,
    body: Json<InviteMember>,
) -> Result<Response, Refused> {
    let caller = caller.acknowledging(body.value.acknowledge_sensitive);
    let code = mint_reserved(INVITE_BRAND, caller.now);
    let invitation = invitation(body.value, None, &code)?;
    invited(&app, &caller, once, "POST /v1/members", body.hash, (invitation, code)).await
}

/// Invites, once, and answers with the code.
pub(super) async fn invited(
    app: &App,
    caller: &Caller,
    once: Once,
    route: &'static str,
    request_hash: [u8; 32],
    (invitation, code): (Invitation, KeyText),
) -> Result<Response, Refused> {
    let context = caller.context();
    let create = Create {
        route,
        secret: "code",
        request_hash,
        work: Box::new(move |tx| {
            Box::pin(async move { Ok((members::invite(tx, &context, invitation, &mut os_random).await?, code)) })
        }),
        answer: |(member, code)| answer(member, code),
    };
    match idempotency::create(app, caller, once, create).await? {
        Done::Replayed(response) => Ok(response),
        Done::Fresh((member, code)) => Ok(answer(&member, &code).into_response("code")),
    }
}

/// What is asked for, checked.
pub(super) fn invitation(body: InviteMember, partner: Option<u32>, code: &KeyText) -> Result<Invitation, Refused> {
    Ok(Invitation {
        email: email(&body.email)?,
        name: body.name.map(Name::new).transpose()?,
        role: role(body.role),
        partner,
        scopes: Scopes::new(body.scopes)?,
        tier: body.tier.map(Tier::new).transpose()?,
        code: code.digest(),
        lifetime_ms: INVITE_LIFETIME_MS,
    })
}

/// An address as it is compared: lower case. That it exists is shown by whoever brings its code.
pub(super) fn email(text: &str) -> Result<String, Refused> {
    let text = text.trim().to_lowercase();
    let (local, domain) = text.rsplit_once('@').unwrap_or_default();
    let fits = text.len() <= MAX_EMAIL && !local.is_empty() && !domain.is_empty();
    if fits && !text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Ok(text)
    } else {
        Err(Refused::value("email", "must be an address of at most 254 bytes"))
    }
}

fn answer(member: &Member, code: &KeyText) -> Created {
    Created::new(&json!({ "member": show(member) })).with_secret(code.expose())
}

/// Makes another code for somebody who has no account yet: invited, or an owner who came with an enrolment token. The one
/// before works no longer. A member without an address is given one here.
#[utoipa::path(
    post, path = "/v1/members/{id}/invite", tag = "members", operation_id = "reinviteMember",
    params(
        ("id" = String, Path, description = "`mem_…`"),
        ("Idempotency-Key" = Option<String>, Header, description = "Sent again within 15 minutes, the same code is answered."),
    ),
    request_body = Option<ReinviteMember>,
    responses(
        (status = 201, description = "Invited anew.", body = InvitedMember),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn reinvite(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<MemberId>,
    once: Once,
    OptionalJson(body): OptionalJson<ReinviteMember>,
) -> Result<Response, Refused> {
    let address = body.email.as_deref().map(email).transpose()?;
    let (context, code) = (caller.context(), mint_reserved(INVITE_BRAND, caller.now));
    let create = Create {
        route: "POST /v1/members/{id}/invite",
        secret: "code",
        request_hash: idempotency::request_hash(&[
            id.as_str().as_bytes(),
            address.as_deref().unwrap_or_default().as_bytes(),
        ]),
        work: Box::new(move |tx| {
            Box::pin(async move {
                let join = JoinCode { digest: code.digest(), lifetime_ms: INVITE_LIFETIME_MS };
                Ok((members::reinvite(tx, &context, &id, address, join).await?, code))
            })
        }),
        answer: |(member, code)| answer(member, code),
    };
    match idempotency::create(&app, &caller, once, create).await? {
        Done::Replayed(response) => Ok(response),
        Done::Fresh((member, code)) => Ok(answer(&member, &code).into_response("code")),
    }
}

/// Lists members, newest first.
#[utoipa::path(
    get, path = "/v1/members", tag = "members", operation_id = "listMembers",
    params(api::MemberFilter),
    responses(
        (status = 200, description = "A page of members.", body = Page<api::Member>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<api::MemberFilter>,
) -> Result<axum::Json<Page<api::Member>>, Refused> {
    let (limit, cursor) = (query.limit, query.cursor.clone());
    let query = api::MemberFilter { limit: None, cursor: None, ..query };
    let list = List::new("members", caller.workspace(), &query);
    let page = app.cursors().page(&list, limit, cursor.as_deref())?;
    let filter = MemberFilter {
        state: query.state.map(state_from),
        role: query.role.map(role),
        partner: query.partner.as_deref().map(subject).transpose()?,
        email: query.email.map(|text| text.trim().to_lowercase()),
    };
    let found = members::list(&mut app.store().read().await?, caller.workspace(), &filter, &page).await?;
    Ok(axum::Json(app.cursors().answer(&list, found, |member| show(&member))))
}

/// Shows a member.
#[utoipa::path(
    get, path = "/v1/members/{id}", tag = "members", operation_id = "readMember",
    params(("id" = String, Path, description = "`mem_…`")),
    responses(
        (status = 200, description = "The member.", body = api::Member, headers(("ETag" = String, description = "The record's version."))),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn read(State(app): State<App>, caller: Caller, Id(id): Id<MemberId>) -> Result<Response, Refused> {
    Ok(tagged(&members::get(&mut app.store().read().await?, caller.workspace(), &id).await?))
}

/// Changes name, role, scopes or tier. What its keys may do changes with it at once, whatever their number.
#[utoipa::path(
    patch, path = "/v1/members/{id}", tag = "members", operation_id = "updateMember",
    params(
        ("id" = String, Path, description = "`mem_…`"),
        ("If-Match" = String, Header, description = "The `ETag` the change was made for."),
    ),
    request_body = UpdateMember,
    responses(
        (status = 200, description = "Changed.", body = api::Member, headers(("ETag" = String, description = "The record's version."))),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<MemberId>,
    if_match: IfMatch,
    body: Json<UpdateMember>,
) -> Result<Response, Refused> {
    let revision = match if_match {
        IfMatch::Any => None,
        IfMatch::Revision(revision) => Some(revision),
    };
    let (context, body) = (caller.acknowledging(body.value.acknowledge_sensitive).context(), body.value);
    let patch = MemberPatch {
        name: body.name.map(Name::new).transpose()?,
        role: body.role.map(role),
        scopes: body.scopes.map(Scopes::new).transpose()?,
        tier: body.tier.map(|tier| tier.map(Tier::new).transpose()).transpose()?,
    };
    let member = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move { members::patch(tx, &context, &id, revision, patch).await })
        })
        .await?;
    Ok(tagged(&member))
}

/// Suspends a member: it may do nothing and its keys are refused until it is resumed. Repeating it changes nothing.
#[utoipa::path(
    post, path = "/v1/members/{id}/suspend", tag = "members", operation_id = "suspendMember",
    params(("id" = String, Path, description = "`mem_…`")),
    request_body = Option<MoveMember>,
    responses(
        (status = 200, description = "Suspended, now or before.", body = api::Member),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn suspend(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<MemberId>,
    OptionalJson(body): OptionalJson<MoveMember>,
) -> Result<Response, Refused> {
    moved(&app, &caller, id, body, |tx, context, id, reason| Box::pin(members::suspend(tx, context, id, reason))).await
}

/// Lets a suspended member work again, and its keys with it. Repeating it changes nothing.
#[utoipa::path(
    post, path = "/v1/members/{id}/resume", tag = "members", operation_id = "resumeMember",
    params(("id" = String, Path, description = "`mem_…`")),
    request_body = Option<MoveMember>,
    responses(
        (status = 200, description = "Active, now or before.", body = api::Member),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn resume(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<MemberId>,
    OptionalJson(body): OptionalJson<MoveMember>,
) -> Result<Response, Refused> {
    moved(&app, &caller, id, body, |tx, context, id, reason| Box::pin(members::resume(tx, context, id, reason))).await
}

/// Removes a member for ever: its keys and tokens are revoked with it. Repeating it changes nothing.
#[utoipa::path(
    post, path = "/v1/members/{id}/remove", tag = "members", operation_id = "removeMember",
    params(("id" = String, Path, description = "`mem_…`")),
    request_body = Option<MoveMember>,
    responses(
        (status = 200, description = "Removed, now or before.", body = api::Member),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<MemberId>,
    OptionalJson(body): OptionalJson<MoveMember>,
) -> Result<Response, Refused> {
    moved(&app, &caller, id, body, |tx, context, id, reason| Box::pin(members::remove(tx, context, id, reason))).await
}

/// What suspends, resumes or removes a member.
type Move =
    for<'t> fn(&'t mut Tx, &'t Context, &'t MemberId, Option<&'t Reason>) -> BoxFuture<'t, Result<Member, Error>>;

async fn moved(app: &App, caller: &Caller, id: MemberId, body: MoveMember, run: Move) -> Result<Response, Refused> {
    let (context, reason) = (caller.context(), reason(body.reason)?);
    let member = app
        .store()
        .insist(move |tx| {
            let (context, id, reason) = (context.clone(), id.clone(), reason.clone());
            Box::pin(async move { run(tx, &context, &id, reason.as_ref()).await })
        })
        .await?;
    Ok(tagged(&member))
}

/// Lists what every role brings.
#[utoipa::path(
    get, path = "/v1/roles", tag = "members", operation_id = "listRoles",
    responses(
        (status = 200, description = "All roles.", body = Page<RoleScopes>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn list_roles(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<Page<RoleScopes>>, Refused> {
    let found = roles::list(&mut app.store().read().await?, caller.workspace()).await?;
    let items = found.iter().map(|(role, granted)| show_role(*role, granted)).collect();
    Ok(axum::Json(Page { items, next_cursor: None }))
}

/// Says what a role brings, in place of what was there.
#[utoipa::path(
    put, path = "/v1/roles/{role}", tag = "members", operation_id = "replaceRole",
    params(("role" = String, Path, description = "`owner`, `admin`, `operator` or `viewer`")),
    request_body = ReplaceRole,
    responses(
        (status = 200, description = "Replaced.", body = RoleScopes),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn replace_role(
    State(app): State<App>,
    caller: Caller,
    Id(role): Id<Role>,
    body: Json<ReplaceRole>,
) -> Result<axum::Json<RoleScopes>, Refused> {
    let context = caller.acknowledging(body.value.acknowledge_sensitive).context();
    let (everything, words): (Vec<_>, Vec<_>) = body.value.scopes.into_iter().partition(|word| word == "*");
    let granted = Granted { everything: !everything.is_empty(), scopes: Scopes::new(words)? };
    let granted = app
        .store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { roles::replace(tx, &context, role, granted).await }))
        .await?;
    Ok(axum::Json(show_role(role, &granted)))
}

fn show_role(role: Role, granted: &Granted) -> RoleScopes {
    RoleScopes { role: role_to(role), scopes: granted.words() }
}

fn tagged(member: &Member) -> Response {
    (StatusCode::OK, [(ETAG, etag::header(member.revision))], axum::Json(show(member))).into_response()
}

/// A member as the API shows it.
pub(super) fn show(member: &Member) -> api::Member {
    api::Member {
        id: member.id.to_string(),
        principal: principal_id(member.subject),
        role: role_to(member.role),
        partner: member.partner.map(principal_id),
        email: member.email.clone(),
        name: member.name.clone(),
        state: match member.state {
            MemberState::Invited => api::MemberState::Invited,
            MemberState::Active => api::MemberState::Active,
            MemberState::Suspended => api::MemberState::Suspended,
            MemberState::Removed => api::MemberState::Removed,
        },
        scopes: member.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        tier: member.tier.as_ref().map(|tier| tier.as_str().to_owned()),
        invited_by: view::actor(&member.invited_by),
        created_at: from_ms(member.created_at),
        invite_expires_at: member.invite_expires_at.map(from_ms),
        joined_at: member.joined_at.map(from_ms),
        suspended_at: member.suspended_at.map(from_ms),
        removed_at: member.removed_at.map(from_ms),
    }
}

fn state_from(state: api::MemberState) -> MemberState {
    match state {
        api::MemberState::Invited => MemberState::Invited,
        api::MemberState::Active => MemberState::Active,
        api::MemberState::Suspended => MemberState::Suspended,
        api::MemberState::Removed => MemberState::Removed,
    }
}

/// A role of the API's as the domain has it.
pub(super) fn role(role: api::Role) -> Role {
    match role {
        api::Role::Owner => Role::Owner,
        api::Role::Admin => Role::Admin,
        api::Role::Operator => Role::Operator,
        api::Role::Viewer => Role::Viewer,
        api::Role::PartnerOwner => Role::PartnerOwner,
        api::Role::PartnerAdmin => Role::PartnerAdmin,
        api::Role::PartnerStaff => Role::PartnerStaff,
    }
}

fn role_to(role: Role) -> api::Role {
    match role {
        Role::Owner => api::Role::Owner,
        Role::Admin => api::Role::Admin,
        Role::Operator => api::Role::Operator,
        Role::Viewer => api::Role::Viewer,
        Role::PartnerOwner => api::Role::PartnerOwner,
        Role::PartnerAdmin => api::Role::PartnerAdmin,
        Role::PartnerStaff => api::Role::PartnerStaff,
    }
}
