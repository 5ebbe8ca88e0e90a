//! `/v1/edges`: edges as things, their credentials, and what they report.

mod report;

use axum::extract::State;
use axum::http::{Extensions, StatusCode};
use axum::response::{IntoResponse as _, Response};
use nightlatch_api as api;
use nightlatch_api::{
    AppliedState, Code, CreateEdge, CreatedEdge, EnrolEdge, EnrolledEdge, EnrolledEdgeConfig, Page, PageQuery, Problem,
    RotateCredential, RotatedCredential,
};
use nightlatch_key::{Digest, KeyText};
use nightlatch_keyset::Trust;
use nightlatch_keyset::note::Verifier;
use serde_json::json;

pub(super) use report::{__path_report, report};

use super::App;
use super::body::{Json, OptionalJson};
use super::caller::{Caller, request_id, source};
use super::cursor::List;
use super::idempotency::{self, Create, Created, Done, Once};
use super::params::{Id, Query};
use super::refused::Refused;
use super::routes::choose;
use super::time::{from_ms, from_seconds};
use super::tokens::{self, Nothing, mint_reserved};
use crate::domain::{EdgeClass, EdgeId, EdgeState, Name};
use crate::store::edges::{self, Edge, EdgeView, Enrolment, NewEdge, Rotated};
use crate::store::tokens::{NewToken, TokenKind};
use crate::store::{Error, Read, os_random, trust, workspaces};

/// The brand of a one-time code's text.
const CODE_BRAND: &str = "nlc";
/// How long the old credential works beside the new one when nobody says, in seconds.
const OVERLAP: u64 = 24 * 60 * 60;
/// The longest such overlap, in seconds.
const MAX_OVERLAP: u64 = 7 * 24 * 60 * 60;

/// Makes an edge, and the one-time code with which it enrols within the hour.
#[utoipa::path(
    post, path = "/v1/edges", tag = "edges", operation_id = "createEdge",
    params(("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body within 15 minutes, the same edge and code are answered.")),
    request_body = CreateEdge,
    responses(
        (status = 201, description = "Made.", body = CreatedEdge),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    once: Once,
    body: Json<CreateEdge>,
) -> Result<Response, Refused> {
    let context = caller.context();
    let name = Name::new(body.value.name)?.into_string();
    let set = choose(&mut app.store().read().await?, caller.workspace(), body.value.set.as_deref()).await?;
    let class = match body.value.class {
        api::EdgeClass::Durable => EdgeClass::Durable,
        api::EdgeClass::Ephemeral => EdgeClass::Ephemeral,
    };
    let code = mint_reserved(CODE_BRAND, caller.now);
    let mut random = [0; 10];
    os_random(&mut random);
    let new = NewEdge { id: EdgeId::generate(random), set, name, class, code: code.digest() };
    let create = Create {
        route: "POST /v1/edges",
        secret: "code",
        request_hash: body.hash,
        work: Box::new(move |tx| Box::pin(async move { Ok((edges::create(tx, &context, &new).await?, code)) })),
        answer: |(view, code)| created(view, code),
    };
    match idempotency::create(&app, &caller, once, create).await? {
        Done::Replayed(response) => Ok(response),
        Done::Fresh((view, code)) => Ok(created(&view, &code).into_response("code")),
    }
}

fn created(view: &EdgeView, code: &KeyText) -> Created {
    Created::new(&json!({ "edge": show(view), "code_expires_at": from_ms(view.edge.code_expires_at) }))
        .with_secret(code.expose())
}

/// Trades a one-time code for the edge's credential, once. The code is the proof: no token is sent.
#[utoipa::path(
    post, path = "/v1/edges/enrol", tag = "edges", operation_id = "enrolEdge",
    request_body = EnrolEdge,
    responses(
        (status = 201, description = "Enrolled.", body = EnrolledEdge),
        (status = 401, description = "The code is unknown, used or expired.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn enrol(
    State(app): State<App>,
    extensions: Extensions,
    body: Json<EnrolEdge>,
) -> Result<Response, Refused> {
    let EnrolEdge { code, runtime, version } = body.value;
    report::check_names(&[("runtime", &runtime), ("version", &version)])?;
    let text = code.expose().as_bytes();
    // Shape and checksum first: junk costs neither a hash nor a look into the database.
    let brand = nightlatch_key::parse(text).map_err(|_| Code::EdgeCodeInvalid)?.brand();
    if brand.as_str() != CODE_BRAND {
        return Err(Code::EdgeCodeInvalid.into());
    }
    let enrolment = Enrolment {
        code: Digest::of(text),
        runtime,
        version,
        request_id: request_id(&extensions),
        source: source(&extensions),
    };
    if !edges::awaits(&mut app.store().read().await?, &enrolment.code).await? {
        return Err(Code::EdgeCodeInvalid.into());
    }
    let credential = tokens::mint(TokenKind::Edge, app.store().now().await?);
    let new = credential_of(&credential);
    let enrolled = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                let mint = |edge: &Edge| NewToken { set: Some(edge.set.clone()), name: edge.name.clone(), ..new };
                let view = edges::enrol(tx, &enrolment, mint).await?;
                // Before the code is used up: whoever has a credential also knows whom to believe.
                let config = config_of(tx, &view.edge).await?;
                Ok((view, config))
            })
        })
        .await;
    let (view, config) = match enrolled {
        Err(Error::NotFound(_)) => return Err(Code::EdgeCodeInvalid.into()),
        other => other?,
    };
    let body = json!({ "edge": show(&view), "config": config });
    Ok(Created::new(&body).with_secret(credential.expose()).into_response("credential"))
}

/// What an edge is told at its enrolment. Roots are those of the trust note in force, whether or not it is in place yet.
async fn config_of(read: &mut Read, edge: &Edge) -> Result<EnrolledEdgeConfig, Error> {
    let set = &edge.set;
    let signer = workspaces::set(read, &edge.workspace, set).await?.signer;
    // Unchecked: it is this program's own row, and who pins its roots asks a server whom it believes already.
    let roots = match trust::latest(read, set).await? {
        Some(row) => {
            let statement = row.note.rfind("\n\n").and_then(|end| Trust::parse(&row.note[..=end]).ok());
            let trust = statement.ok_or(Error::Corrupt("trust note"))?;
            trust.roots.iter().map(Verifier::to_vkey).collect()
        }
        None => Vec::new(),
    };
    Ok(EnrolledEdgeConfig {
        set: set.to_string(),
        roots,
        verifiers: signer.into_iter().collect(),
        source: format!("/v1/sets/{set}"),
        report_url: "/v1/edges/reports".to_owned(),
    })
}

/// Lists edges, newest first.
#[utoipa::path(
    get, path = "/v1/edges", tag = "edges", operation_id = "listEdges",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of edges.", body = Page<api::Edge>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<api::Edge>>, Refused> {
    let list = List::new("edges", caller.workspace(), &());
    let page = app.cursors().page(&list, query.limit, query.cursor.as_deref())?;
    let found = edges::list(&mut app.store().read().await?, caller.workspace(), &page).await?;
    Ok(axum::Json(app.cursors().answer(&list, found, |view| show(&view))))
}

/// Reads an edge.
#[utoipa::path(
    get, path = "/v1/edges/{id}", tag = "edges", operation_id = "readEdge",
    params(("id" = String, Path, description = "`edge_…`")),
    responses(
        (status = 200, description = "The edge.", body = api::Edge),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<EdgeId>,
) -> Result<axum::Json<api::Edge>, Refused> {
    let view = edges::get(&mut app.store().read().await?, caller.workspace(), &id).await?;
    Ok(axum::Json(show(&view)))
}

/// Makes a new credential for an edge. The old one works until the new one is used, or the overlap ends.
#[utoipa::path(
    post, path = "/v1/edges/{id}/credentials", tag = "edges", operation_id = "rotateEdgeCredential",
    params(
        ("id" = String, Path, description = "`edge_…`"),
        ("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body within 15 minutes, the same credential is answered."),
    ),
    request_body = Option<RotateCredential>,
    responses(
        (status = 201, description = "Made.", body = RotatedCredential),
        (status = 409, description = "The edge has not enrolled, or was removed.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn rotate(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<EdgeId>,
    once: Once,
    OptionalJson(body): OptionalJson<RotateCredential>,
) -> Result<Response, Refused> {
    let overlap = body.overlap_seconds.unwrap_or(OVERLAP);
    let seconds = i64::try_from(overlap).ok().filter(|_| overlap <= MAX_OVERLAP);
    let seconds = seconds.ok_or_else(|| Refused::value("overlap_seconds", format!("must be at most {MAX_OVERLAP}")))?;
    let (context, credential) = (caller.context(), tokens::mint(TokenKind::Edge, caller.now));
    let new = credential_of(&credential);
    let create = Create {
        route: "POST /v1/edges/{id}/credentials",
        secret: "credential",
        request_hash: idempotency::request_hash(&[id.as_str().as_bytes(), &overlap.to_le_bytes()]),
        work: Box::new(move |tx| {
            Box::pin(async move {
                let mint = |edge: &Edge| NewToken { set: Some(edge.set.clone()), name: edge.name.clone(), ..new };
                Ok((edges::rotate(tx, &context, &id, seconds, mint).await?, credential))
            })
        }),
        answer: |(rotated, credential)| answer_rotated(rotated, credential),
    };
    match idempotency::create(&app, &caller, once, create).await? {
        Done::Replayed(response) => Ok(response),
        Done::Fresh((rotated, credential)) => Ok(answer_rotated(&rotated, &credential).into_response("credential")),
    }
}

fn answer_rotated(rotated: &Rotated, credential: &KeyText) -> Created {
    Created::new(&json!({ "edge": show(&rotated.view), "old_ends_by": from_seconds(rotated.old_ends_by) }))
        .with_secret(credential.expose())
}

/// Removes an edge for ever: its credentials end at once, and receipts no longer count it. Repeating it is no error.
#[utoipa::path(
    post, path = "/v1/edges/{id}/remove", tag = "edges", operation_id = "removeEdge",
    params(("id" = String, Path, description = "`edge_…`")),
    responses(
        (status = 200, description = "Removed, now or before.", body = api::Edge),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<EdgeId>,
    _body: OptionalJson<Nothing>,
) -> Result<Response, Refused> {
    let context = caller.context();
    let removed = app
        .store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { edges::remove(tx, &context, &id).await }))
        .await?;
    app.heard().say(caller.workspace());
    Ok((StatusCode::OK, axum::Json(show(&removed))).into_response())
}

/// A credential that still lacks its set and name.
fn credential_of(text: &KeyText) -> NewToken {
    tokens::new(TokenKind::Edge, String::new(), None, None, text)
}

fn show(view: &EdgeView) -> api::Edge {
    let (edge, latest) = (&view.edge, view.latest.as_ref());
    let facts = latest.map(|latest| &latest.facts);
    let count = |number: i64| u64::try_from(number).unwrap_or_default();
    let small = |number: i64| u32::try_from(number).unwrap_or_default();
    api::Edge {
        id: edge.id.to_string(),
        name: edge.name.clone(),
        class: match edge.class {
            EdgeClass::Durable => api::EdgeClass::Durable,
            EdgeClass::Ephemeral => api::EdgeClass::Ephemeral,
        },
        set: edge.set.to_string(),
        state: match view.state() {
            EdgeState::Pending => api::EdgeState::Pending,
            EdgeState::Active => api::EdgeState::Active,
            EdgeState::Silent => api::EdgeState::Silent,
            EdgeState::Removed => api::EdgeState::Removed,
        },
        runtime: latest.map(|latest| latest.runtime.clone()).or_else(|| edge.runtime.clone()),
        version: latest.map(|latest| latest.version.clone()).or_else(|| edge.version.clone()),
        formats: facts.map(|facts| facts.formats.clone()).unwrap_or_default(),
        applied: latest.and_then(|latest| latest.applied).map(|applied| AppliedState {
            incarnation: small(applied.incarnation),
            epoch: small(applied.epoch),
            version: count(applied.version),
            issued: count(applied.issued),
        }),
        ahead: latest.is_some_and(|latest| latest.ahead),
        data_age_ms: facts.and_then(|facts| facts.data_age_ms).map(count),
        clock_offset_ms: latest.and_then(|latest| latest.clock_offset_ms),
        clock_refused: facts.is_some_and(|facts| facts.clock_refused),
        peppers: facts.map(|facts| facts.peppers.clone()).unwrap_or_default(),
        trust: facts.and_then(|facts| facts.trust).map(count),
        failure: facts.and_then(|facts| facts.failure.clone()),
        instances: count(view.instances),
        created_at: from_ms(edge.created_at),
        enrolled_at: edge.enrolled_at.map(from_ms),
        last_contact: view.last_contact().map(from_ms),
        removed_at: edge.removed_at.map(from_ms),
    }
}
