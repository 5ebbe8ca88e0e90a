//! `/v1/sets`: what edges and the sync job read.

use std::io::ErrorKind;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use nightlatch_api as api;
use nightlatch_api::{Code, Page, Problem, PublishedHead};
use nightlatch_keyset::FileName;
use sha2::{Digest as _, Sha256};
use tokio_util::io::ReaderStream;

use super::App;
use super::caller::Caller;
use super::params::{Id, Named as _, missing};
use super::refused::Refused;
use super::time::from_ms;
use crate::domain::SetId;
use crate::publisher::SetDirectory;
use crate::store::workspaces::{self, Set};

/// Lists the workspace's sets.
#[utoipa::path(
    get, path = "/v1/sets", tag = "sets", operation_id = "listSets",
    responses(
        (status = 200, description = "All sets.", body = Page<api::Set>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<axum::Json<Page<api::Set>>, Refused> {
    let mut read = app.store().read().await?;
    let now = read.now().await?;
    let sets = workspaces::all_sets(&mut read).await?;
    let own = sets.iter().filter(|set| set.workspace == *caller.workspace());
    Ok(axum::Json(Page { items: own.map(|set| show(set, now)).collect(), next_cursor: None }))
}

/// Reads a set: its timing, its verifier, how far it has come.
#[utoipa::path(
    get, path = "/v1/sets/{set}", tag = "sets", operation_id = "readSet",
    params(("set" = String, Path, description = "`set_…`")),
    responses(
        (status = 200, description = "The set.", body = api::Set),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SetId>,
) -> Result<axum::Json<api::Set>, Refused> {
    let set = own(&app, &caller, &id).await?;
    Ok(axum::Json(show(&set, app.store().now().await?)))
}

/// Reads the head of a set: a small signed note that says which files are current.
#[utoipa::path(
    get, path = "/v1/sets/{set}/head", tag = "sets", operation_id = "readHead",
    params(
        ("set" = String, Path, description = "`set_…`"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the head at hand."),
    ),
    responses(
        (status = 200, description = "The head.", body = String, content_type = "text/plain", headers(("ETag" = String, description = "The head's version."))),
        (status = 304, description = "The head at hand is current."),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Nothing is published yet.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn head(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SetId>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    own(&app, &caller, &id).await?;
    // The file and not the row: a head counts once its files are in place.
    let path = directory(&app, &id).head_path();
    let text = match tokio::fs::read(&path).await {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Code::NotPublished.into()),
        Err(error) => return Err(unreadable(&error)),
    };
    let tag = format!("\"{}\"", hex(&Sha256::digest(&text)[..16]));
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known = known.flat_map(|list| list.split(',')).any(|known| known.trim().trim_start_matches("W/") == tag);
    let tag = HeaderValue::from_str(&tag).expect("hex and quotes can be sent");
    let common = [(ETAG, tag), (CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    if known {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    Ok((common, [(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// Reads a file of a set. Files never change.
#[utoipa::path(
    get, path = "/v1/sets/{set}/files/{name}", tag = "sets", operation_id = "readFile",
    params(
        ("set" = String, Path, description = "`set_…`"),
        ("name" = String, Path, description = "A name that follows from a head: `base-…`, `delta-…`, `rebase-…`, `policy-…`."),
    ),
    responses(
        (status = 200, description = "The file.", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn file(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Refused> {
    let Path((set, name)) = path.map_err(|_| missing(SetId::WHAT))?;
    let id = SetId::of(&set).ok_or_else(|| missing(SetId::WHAT))?;
    // A name of this grammar has no separator in it, so it cannot lead out of the directory.
    let name = FileName::parse(&name).map_err(|_| missing("file"))?;
    own(&app, &caller, &id).await?;
    let file = match tokio::fs::File::open(directory(&app, &id).file_path(&name)).await {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing("file")),
        Err(error) => return Err(unreadable(&error)),
    };
    let length = file.metadata().await.map_err(|error| unreadable(&error))?.len();
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable")),
        (CONTENT_LENGTH, HeaderValue::from(length)),
    ];
    Ok((headers, Body::from_stream(ReaderStream::with_capacity(file, 64 * 1024))).into_response())
}

/// The set, where it is the caller's: of its workspace, and an edge token's own.
async fn own(app: &App, caller: &Caller, id: &SetId) -> Result<Set, Refused> {
    if caller.token.set.as_ref().is_some_and(|set| set != id) {
        return Err(missing(SetId::WHAT));
    }
    Ok(workspaces::set(&mut app.store().read().await?, caller.workspace(), id).await?)
}

fn directory(app: &App, set: &SetId) -> SetDirectory {
    SetDirectory::new(app.sets_dir().join(set.as_str()))
}

fn unreadable(error: &std::io::Error) -> Refused {
    tracing::error!(%error, "a published file cannot be read");
    Refused::new(Code::Internal)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn show(set: &Set, now: i64) -> api::Set {
    let count = |number: i64| u64::try_from(number).unwrap_or_default();
    let small = |number: i64| u32::try_from(number).unwrap_or_default();
    api::Set {
        id: set.id.to_string(),
        name: set.name.clone(),
        workspace: set.workspace.to_string(),
        heartbeat_ms: count(set.heartbeat_ms),
        validity_ms: count(set.validity_ms),
        skew_ms: count(set.skew_ms),
        bound_ms: count(set.largest_validity_ms + set.skew_ms),
        incarnation: small(set.incarnation),
        epoch: small(set.epoch),
        version: count(set.version),
        keys: count(set.key_count),
        verifier: set.signer.clone().unwrap_or_default(),
        pepper: set.pepper_id.clone(),
        accepts_foreign: set.accepts_foreign,
        published: set.head_issued.map(|issued| PublishedHead {
            issued: from_ms(issued),
            valid_until: from_ms(issued.saturating_add(set.validity_ms)),
            age_ms: count(now - issued),
        }),
    }
}
