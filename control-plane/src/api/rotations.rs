//! Rotations: a key is replaced by another, with both working in between.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use nightlatch_api as api;
use nightlatch_api::{
    CancelRotation, ChangedRotation, CompleteRotation, ExtendRotation, Page, Problem, RotationFilter, RotationPlan,
    StartRotation, StartedRotation,
};

use super::body::{Json, OptionalJson};
use super::caller::Caller;
use super::cursor::List;
use super::idempotency::{self, Create, Created, Done, Once, request_hash};
use super::keys::{reason, view};
use super::params::{Id, Named as _, Query, missing};
use super::refused::{self, Refused};
use super::time::{from_ms, from_seconds, in_force, surely_in_force, to_seconds};
use super::{App, receipts};
use crate::domain::rotation::{Order, Outcome, Start, SuccessorFate};
use crate::domain::{Action, KeyRef, Name, Reason, Rotation, RotationId, Scopes};
use crate::store::rotations::{self, Changed, Started};
use crate::store::{Error, os_random};

/// Starts a rotation: a successor is issued, with the predecessor's scopes, tier and owner unless others are given. With
/// `dry_run`, answers 200 and a plan.
#[utoipa::path(
    post, path = "/v1/keys/{id}/rotations", tag = "rotations", operation_id = "startRotation",
    params(
        ("id" = String, Path, description = "The predecessor: `key_…`, or `kn_` and its number."),
        ("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body within 15 minutes, the same successor and secret are answered."),
    ),
    request_body = StartRotation,
    responses(
        (status = 200, description = "What would happen.", body = RotationPlan),
        (status = 201, description = "Started.", body = StartedRotation),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn start(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<KeyRef>,
    once: Once,
    body: Json<StartRotation>,
) -> Result<Response, Refused> {
    let caller = caller.acknowledging(body.value.acknowledge_sensitive);
    let (dry_run, start) = (body.value.dry_run, asked(body.value)?);
    if dry_run {
        return plan(&app, &caller, &id, &start).await;
    }
    let context = caller.context();
    let create = Create {
        route: "POST /v1/keys/{id}/rotations",
        secret: "secret",
        request_hash: request_hash(&[format!("{id:?}").as_bytes(), &body.hash]),
        work: Box::new(move |tx| {
            Box::pin(async move { rotations::start(tx, &context, &id, start, &mut os_random).await })
        }),
        answer: |started| answer(started, None),
    };
    match idempotency::create(&app, &caller, once, create).await? {
        Done::Replayed(response) => Ok(response),
        Done::Fresh(started) => {
            if started.rotation.order == Order::RevokeFirst {
                receipts::committed(&app, caller.workspace(), &started.rotation.predecessor).await?;
            }
            Ok(answer(&started, Some(app.store().now().await?)).into_response("secret"))
        }
    }
}

async fn plan(app: &App, caller: &Caller, id: &KeyRef, start: &Start) -> Result<Response, Refused> {
    let mut read = app.store().read().await?;
    let target = caller.key(&mut read, id).await?.key.target();
    caller.authority.require(Action::KeysRotate, &target)?;
    let plan = rotations::plan(&mut read, &caller.context(), id, start).await?;
    caller.authority.require_grant(&plan.scopes)?;
    let shown = RotationPlan {
        name: plan.name,
        deadline: plan.deadline.map(from_seconds),
        usable_from: surely_in_force(plan.now, plan.bound),
        warnings: plan.warnings.iter().map(refused::warning).collect(),
    };
    Ok((StatusCode::OK, axum::Json(shown)).into_response())
}

/// Lists rotations, newest first.
#[utoipa::path(
    get, path = "/v1/rotations", tag = "rotations", operation_id = "listRotations",
    params(RotationFilter),
    responses(
        (status = 200, description = "A page of rotations.", body = Page<api::Rotation>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<RotationFilter>,
) -> Result<axum::Json<Page<api::Rotation>>, Refused> {
    let filters = RotationFilter { limit: None, cursor: None, ..query.clone() };
    let list = List::new("rotations", caller.workspace(), &filters);
    let page = app.cursors().page(&list, query.limit, query.cursor.as_deref())?;
    let key = match query.key.as_deref().map(KeyRef::parse) {
        // A text that cannot be a key's id is part of no rotation.
        Some(None) => return Ok(axum::Json(Page { items: Vec::new(), next_cursor: None })),
        Some(key) => key,
        None => None,
    };
    let (open, cancelled) = match query.state {
        None => (None, None),
        Some(api::RotationState::Open) => (Some(true), None),
        Some(api::RotationState::Completed) => (Some(false), Some(false)),
        Some(api::RotationState::Cancelled) => (Some(false), Some(true)),
    };
    let filter = rotations::RotationFilter { open, cancelled, key, subject: caller.authority.sees_only() };
    let mut read = app.store().read().await?;
    let found = rotations::list(&mut read, caller.workspace(), &filter, &page).await?;
    Ok(axum::Json(app.cursors().answer(&list, found, |rotation| show(&rotation))))
}

/// Reads a rotation.
#[utoipa::path(
    get, path = "/v1/rotations/{id}", tag = "rotations", operation_id = "readRotation",
    params(("id" = String, Path, description = "`rot_…`")),
    responses(
        (status = 200, description = "The rotation.", body = api::Rotation),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<RotationId>,
) -> Result<axum::Json<api::Rotation>, Refused> {
    let mut read = app.store().read().await?;
    let rotation = rotations::get(&mut read, caller.workspace(), &id).await?;
    let of_theirs = caller.key(&mut read, &KeyRef::Id(rotation.predecessor.clone())).await;
    of_theirs.map_err(|_| missing(RotationId::WHAT))?;
    Ok(axum::Json(show(&rotation)))
}

/// Moves the deadline: both keys work for `overlap_seconds` from now on.
#[utoipa::path(
    post, path = "/v1/rotations/{id}/extend", tag = "rotations", operation_id = "extendRotation",
    params(("id" = String, Path, description = "`rot_…`")),
    request_body = ExtendRotation,
    responses(
        (status = 200, description = "Extended.", body = ChangedRotation),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn extend(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<RotationId>,
    body: Json<ExtendRotation>,
) -> Result<axum::Json<ChangedRotation>, Refused> {
    let (context, reason) = (caller.context(), reason(body.value.reason)?);
    let overlap = overlap(body.value.overlap_seconds)?;
    let changed = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move { rotations::extend(tx, &context, &id, overlap, reason).await })
        })
        .await?;
    show_changed(&app, &changed).await
}

/// Takes a rotation back: the predecessor is active again.
#[utoipa::path(
    post, path = "/v1/rotations/{id}/cancel", tag = "rotations", operation_id = "cancelRotation",
    params(("id" = String, Path, description = "`rot_…`")),
    request_body = CancelRotation,
    responses(
        (status = 200, description = "Cancelled.", body = ChangedRotation),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<RotationId>,
    body: Json<CancelRotation>,
) -> Result<axum::Json<ChangedRotation>, Refused> {
    let (context, reason) = (caller.context(), reason(body.value.reason)?);
    let fate = match body.value.successor {
        api::SuccessorFate::Keep => SuccessorFate::Keep,
        api::SuccessorFate::Revoke => SuccessorFate::Revoke,
    };
    let changed = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move { rotations::cancel(tx, &context, &id, fate, reason).await })
        })
        .await?;
    receipts::committed(&app, caller.workspace(), &changed.rotation.successor).await?;
    show_changed(&app, &changed).await
}

/// Ends a rotation before its deadline: the predecessor is revoked. Refused while the predecessor is in use, unless forced
/// with a reason.
#[utoipa::path(
    post, path = "/v1/rotations/{id}/complete", tag = "rotations", operation_id = "completeRotation",
    params(("id" = String, Path, description = "`rot_…`")),
    request_body = Option<CompleteRotation>,
    responses(
        (status = 200, description = "Completed.", body = ChangedRotation),
        (status = 409, description = "The predecessor is in use, or the rotation has ended.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn complete(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<RotationId>,
    OptionalJson(body): OptionalJson<CompleteRotation>,
) -> Result<axum::Json<ChangedRotation>, Refused> {
    let (context, reason, force) = (caller.context(), reason(body.reason)?, body.force);
    let changed = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move { rotations::complete(tx, &context, &id, force, reason).await })
        })
        .await?;
    receipts::committed(&app, caller.workspace(), &changed.rotation.predecessor).await?;
    show_changed(&app, &changed).await
}

/// An order.
pub(super) const fn order(order: Order) -> api::RotationOrder {
    match order {
        Order::IssueFirst => api::RotationOrder::IssueFirst,
        Order::RevokeFirst => api::RotationOrder::RevokeFirst,
    }
}

/// An order, the other way.
pub(super) const fn order_from(order: api::RotationOrder) -> Order {
    match order {
        api::RotationOrder::IssueFirst => Order::IssueFirst,
        api::RotationOrder::RevokeFirst => Order::RevokeFirst,
    }
}

fn asked(body: StartRotation) -> Result<Start, Refused> {
    let order = order_from(body.order);
    let overlap_seconds = match (order, body.overlap_seconds) {
        (Order::IssueFirst, None) => return Err(Refused::invalid("overlap_seconds", "is missing")),
        (Order::IssueFirst, Some(seconds)) => overlap(seconds)?,
        (Order::RevokeFirst, None | Some(0)) => 0,
        (Order::RevokeFirst, Some(_)) => {
            return Err(Refused::value("overlap_seconds", "must be 0 or absent with order revoke_first"));
        }
    };
    Ok(Start {
        order,
        overlap_seconds,
        reason: Reason::new(body.reason)?,
        name: body.name.map(Name::new).transpose()?,
        scopes: body.scopes.map(Scopes::new).transpose()?,
        expires_at: body.expires_at.map(to_seconds),
    })
}

/// Ten years: longer is a mistake, and a deadline must fit a set's row.
const MAX_OVERLAP: u64 = 10 * 366 * 24 * 60 * 60;

fn overlap(seconds: u64) -> Result<i64, Refused> {
    let fits = i64::try_from(seconds).ok().filter(|_| seconds <= MAX_OVERLAP);
    fits.ok_or_else(|| Refused::value("overlap_seconds", format!("must be at most {MAX_OVERLAP}")))
}

fn answer(started: &Started, committed_by: Option<i64>) -> Created {
    let rotation = show(&started.rotation);
    let mut key = view::key(&started.successor, None, started.bound, started.now);
    if let Some(now) = committed_by {
        key.usable_from = in_force(now, started.bound);
    }
    let warnings: Vec<_> = started.warnings.iter().map(refused::warning).collect();
    Created::new(&serde_json::json!({ "rotation": rotation, "key": key, "warnings": warnings }))
        .with_secret(started.secret.expose())
}

async fn show_changed(app: &App, changed: &Changed) -> Result<axum::Json<ChangedRotation>, Refused> {
    Ok(axum::Json(ChangedRotation {
        rotation: show(&changed.rotation),
        in_force_by: in_force(app.store().now().await?, changed.bound),
        warnings: changed.warnings.iter().map(refused::warning).collect(),
    }))
}

fn show(rotation: &Rotation) -> api::Rotation {
    let end = rotation.end.as_ref();
    api::Rotation {
        id: rotation.id.to_string(),
        predecessor: rotation.predecessor.to_string(),
        successor: rotation.successor.to_string(),
        lineage: rotation.lineage.to_string(),
        order: order(rotation.order),
        state: match end {
            None => api::RotationState::Open,
            Some(end) if end.outcome.is_cancelled() => api::RotationState::Cancelled,
            Some(_) => api::RotationState::Completed,
        },
        outcome: end.map(|end| outcome(end.outcome)),
        reason: rotation.reason.clone(),
        overlap_seconds: u64::try_from(rotation.overlap_seconds).unwrap_or_default(),
        deadline: rotation.deadline.map(from_seconds),
        started_by: view::actor(&rotation.started_by),
        started_at: from_ms(rotation.started_at),
        ended_by: end.map(|end| view::actor(&end.by)),
        ended_at: end.map(|end| from_ms(end.at)),
    }
}

fn outcome(outcome: Outcome) -> api::RotationOutcome {
    match outcome {
        Outcome::Completed => api::RotationOutcome::Completed,
        Outcome::Forced => api::RotationOutcome::Forced,
        Outcome::Lapsed => api::RotationOutcome::Lapsed,
        Outcome::PredecessorRevoked => api::RotationOutcome::PredecessorRevoked,
        Outcome::SuccessorKept => api::RotationOutcome::SuccessorKept,
        Outcome::SuccessorRevoked => api::RotationOutcome::SuccessorRevoked,
    }
}
