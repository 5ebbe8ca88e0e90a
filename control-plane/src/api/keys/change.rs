//! Changing keys, up to their end.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{ETAG, LOCATION};
use axum::response::{IntoResponse as _, Response};
use nightlatch_api::{DisableKey, EnableKey, Key, Problem, ReceiptState, RevokeKey, RevokedKey, UpdateKey};

use super::issue::member;
use super::view;
use crate::api::App;
use crate::api::body::{Json, OptionalJson};
use crate::api::caller::Caller;
use crate::api::etag::{self, IfMatch};
use crate::api::params::Id;
use crate::api::receipts;
use crate::api::refused::{self, Refused};
use crate::api::time::{from_ms, in_force, surely_in_force, to_seconds};
use crate::domain::{KeyPatch, KeyRef, Labels, Name, Owner, Reason, Tier};
use crate::store::Error;
use crate::store::keys::{self, Changed};

/// Changes name, labels, owner, tier, expiry or rotate-by. Absent fields stay, null clears.
#[utoipa::path(
    patch, path = "/v1/keys/{id}", tag = "keys", operation_id = "updateKey",
    params(
        ("id" = String, Path, description = "`key_…`, or `kn_` and the key's number."),
        ("If-Match" = String, Header, description = "The `ETag` the change was made for."),
    ),
    request_body = UpdateKey,
    responses(
        (status = 200, description = "Changed.", body = Key, headers(("ETag" = String, description = "The key's version."))),
        (status = 412, description = "The key was changed meanwhile.", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "`If-Match` is missing.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn update(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<KeyRef>,
    if_match: IfMatch,
    body: Json<UpdateKey>,
) -> Result<Response, Refused> {
    let revision = match if_match {
        IfMatch::Any => None,
        IfMatch::Revision(revision) => Some(revision),
    };
    let (context, patch) = (caller.context(), patch(body.value)?);
    let changed = app
        .store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { keys::patch(tx, &context, &id, revision, patch).await }))
        .await?;
    Ok(show(&changed))
}

/// Stops a key until it is enabled again.
#[utoipa::path(
    post, path = "/v1/keys/{id}/disable", tag = "keys", operation_id = "disableKey",
    params(("id" = String, Path, description = "`key_…`, or `kn_` and the key's number.")),
    request_body = Option<DisableKey>,
    responses(
        (status = 200, description = "Disabled, now or before.", body = Key),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn disable(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<KeyRef>,
    OptionalJson(body): OptionalJson<DisableKey>,
) -> Result<Response, Refused> {
    let (context, reason) = (caller.context(), reason(body.reason)?);
    let changed = app
        .store()
        .insist(move |tx| {
            let (context, id, reason) = (context.clone(), id.clone(), reason.clone());
            Box::pin(async move { keys::disable(tx, &context, &id, reason).await })
        })
        .await?;
    Ok(show(&changed))
}

/// Lifts the administrator's disabling. Other causes stay.
#[utoipa::path(
    post, path = "/v1/keys/{id}/enable", tag = "keys", operation_id = "enableKey",
    params(("id" = String, Path, description = "`key_…`, or `kn_` and the key's number.")),
    request_body = Option<EnableKey>,
    responses(
        (status = 200, description = "Enabled, now or before.", body = Key),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn enable(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<KeyRef>,
    OptionalJson(body): OptionalJson<EnableKey>,
) -> Result<Response, Refused> {
    let (context, reason) = (caller.context(), reason(body.reason)?);
    let changed = app
        .store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { keys::enable(tx, &context, &id, reason).await }))
        .await?;
    Ok(show(&changed))
}

/// Ends a key for ever. Repeating it is no error and changes nothing. With `wait` it is answered when every durable edge
/// has confirmed, or the bound has passed; when the time is up before, with 202 and the receipt's address.
#[utoipa::path(
    post, path = "/v1/keys/{id}/revoke", tag = "keys", operation_id = "revokeKey",
    params(("id" = String, Path, description = "`key_…`, or `kn_` and the key's number.")),
    request_body = RevokeKey,
    responses(
        (status = 200, description = "Revoked, now or before.", body = RevokedKey),
        (status = 202, description = "Revoked; the receipt is still pending.", body = RevokedKey, headers(("Location" = String, description = "Where the receipt is."))),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<KeyRef>,
    body: Json<RevokeKey>,
) -> Result<Response, Refused> {
    let wait = receipts::check_wait(body.value.wait)?;
    let (context, reason) = (caller.context(), Some(Reason::new(body.value.reason)?));
    let changed = app
        .store()
        .insist(move |tx| {
            let (context, id, reason) = (context.clone(), id.clone(), reason.clone());
            Box::pin(async move { keys::revoke(tx, &context, &id, reason).await })
        })
        .await?;
    let key = &changed.key;
    // Read after the commit. A revoke of before was in force by then, not from now on.
    let committed_by = receipts::committed(&app, caller.workspace(), &key.id).await?;
    let revoked_at = key.revoked_at(changed.now).unwrap_or(changed.now);
    let receipt = match wait {
        Some(wait) => receipts::wait(&app, caller.workspace(), &KeyRef::Id(key.id.clone()), wait).await?,
        None => None,
    };
    let pending = receipt.as_ref().filter(|receipt| receipt.state == ReceiptState::Pending);
    let location = pending.map(|receipt| format!("/v1/keys/{}/receipt?set={}", receipt.key, receipt.set));
    let answer = axum::Json(RevokedKey {
        key: view::key(key, open_rotation(&changed), changed.bound, changed.now),
        revoked_at: from_ms(revoked_at),
        in_force_by: committed_by
            .map_or_else(|| surely_in_force(revoked_at, changed.bound), |at| in_force(at, changed.bound)),
        warnings: changed.warnings.iter().map(refused::warning).collect(),
        receipt: receipt.map(|receipt| receipts::seen_by(&caller, receipt)),
    });
    Ok(match location {
        Some(location) => (StatusCode::ACCEPTED, [(LOCATION, location)], answer).into_response(),
        None => answer.into_response(),
    })
}

fn show(changed: &Changed) -> Response {
    let key = view::key(&changed.key, open_rotation(changed), changed.bound, changed.now);
    ([(ETAG, etag::header(changed.key.revision))], axum::Json(key)).into_response()
}

/// The rotation, unless this change ended it.
fn open_rotation(changed: &Changed) -> Option<&crate::domain::RotationId> {
    changed.rotation.as_ref().filter(|rotation| rotation.end.is_none()).map(|rotation| &rotation.id)
}

/// A reason that may be left out.
pub(in crate::api) fn reason(text: Option<String>) -> Result<Option<Reason>, Refused> {
    Ok(text.map(Reason::new).transpose()?)
}

fn patch(body: UpdateKey) -> Result<KeyPatch, Refused> {
    Ok(KeyPatch {
        name: body.name.map(Name::new).transpose()?,
        labels: body.labels.map(Labels::new).transpose()?,
        owner: body.owner.map(|owner| owner.map(Owner::new).transpose()).transpose()?,
        owner_member: body.owner_member.map(|id| id.as_deref().map(member).transpose()).transpose()?,
        tier: body.tier.map(|tier| tier.map(Tier::new).transpose()).transpose()?,
        expires_at: body.expires_at.map(|time| time.map(to_seconds)),
        rotate_by: body.rotate_by.map(|time| time.map(to_seconds)),
    })
}
