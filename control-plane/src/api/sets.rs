//! `/v1/sets`: what edges and the sync job read.

use std::fmt;
use std::io::ErrorKind;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use nightlatch_api as api;
use nightlatch_api::{Code, Page, Problem, PublishedHead};
use nightlatch_keyset::FileName;
use nightlatch_keyset::note::MAX_NOTE_LEN;
use tokio_util::io::ReaderStream;

use super::caller::Caller;
use super::params::{Id, Named as _, missing};
use super::refused::Refused;
use super::time::from_ms;
use super::{App, head};
use crate::domain::SetId;
use crate::publisher::SetDirectory;
use crate::publisher::directory::{DENY, TRUST};
use crate::store::trust as trust_notes;
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
    let own = workspaces::sets(&mut read, caller.workspace()).await?;
    Ok(axum::Json(Page { items: own.iter().map(|set| show(set, now)).collect(), next_cursor: None }))
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

/// Reads the trust note of a set: which keys sign its heads, signed by a root key.
#[utoipa::path(
    get, path = "/v1/sets/{set}/trust", tag = "sets", operation_id = "readTrust",
    params(
        ("set" = String, Path, description = "`set_…`"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the note at hand."),
    ),
    responses(
        (status = 200, description = "The note.", body = String, content_type = "text/plain", headers(("ETag" = String, description = "The note's version."))),
        (status = 304, description = "The note at hand is current."),
        (status = "4XX", description = "Refused, or there is none.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn trust(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SetId>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    readable(&app, &caller, &id).await?;
    let note = match note_in(&app, &id, TRUST).await? {
        // The row stands in where the directory is another machine's, as it does for the head.
        None => trust_notes::latest(&mut app.store().read().await?, &id).await?.map(|row| row.note),
        note => note,
    };
    answer(note.ok_or_else(|| missing("trust note"))?, &headers)
}

/// Reads the deny note of a set: digests of keys that edges refuse whatever their set says.
#[utoipa::path(
    get, path = "/v1/sets/{set}/deny", tag = "sets", operation_id = "readDeny",
    params(
        ("set" = String, Path, description = "`set_…`"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the note at hand."),
    ),
    responses(
        (status = 200, description = "The note.", body = String, content_type = "text/plain", headers(("ETag" = String, description = "The note's version."))),
        (status = 304, description = "The note at hand is current."),
        (status = "4XX", description = "Refused, or there is none.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn deny(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SetId>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    readable(&app, &caller, &id).await?;
    answer(note_in(&app, &id, DENY).await?.ok_or_else(|| missing("deny note"))?, &headers)
}

/// The head or a note beside it, in the set's directory; `None` where there is none.
pub(super) async fn note_in(app: &App, set: &SetId, name: &'static str) -> Result<Option<String>, Refused> {
    let directory = directory(app, set);
    let read = tokio::task::spawn_blocking(move || directory.note(name)).await;
    let note = read.map_err(|error| unreadable(&error))?.map_err(|error| unreadable(&error))?;
    if note.as_ref().is_some_and(|note| note.len() > MAX_NOTE_LEN) {
        return Err(unreadable(&format_args!("{name} is longer than a note can be")));
    }
    Ok(note)
}

fn answer(text: String, headers: &HeaderMap) -> Result<Response, Refused> {
    let tag = HeaderValue::from_str(&head::tag(text.as_bytes())).expect("hex and quotes can be sent");
    let common = [(ETAG, tag.clone()), (CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    if head::knows(headers, &tag) {
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
    readable(&app, &caller, &id).await?;
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

/// Lets a caller read the set's files, where it is theirs.
pub(super) async fn readable(app: &App, caller: &Caller, id: &SetId) -> Result<(), Refused> {
    match caller.set() {
        // The set of an edge token is its workspace's, and exists.
        Some(set) if set == id => Ok(()),
        _ => own(app, caller, id).await.map(drop),
    }
}

/// The set, where it is the caller's: of its workspace, and an edge token's own.
async fn own(app: &App, caller: &Caller, id: &SetId) -> Result<Set, Refused> {
    if caller.set().is_some_and(|set| set != id) {
        return Err(missing(SetId::WHAT));
    }
    Ok(workspaces::set(&mut app.store().read().await?, caller.workspace(), id).await?)
}

fn directory(app: &App, set: &SetId) -> SetDirectory {
    SetDirectory::new(app.sets_dir().join(set.as_str()))
}

fn unreadable(error: &dyn fmt::Display) -> Refused {
    tracing::error!(%error, "a published file cannot be read");
    Refused::new(Code::Internal)
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
        own_pepper: set.own_pepper,
        accepts_foreign: set.accepts_foreign,
        published: set.head_issued.map(|issued| PublishedHead {
            issued: from_ms(issued),
            valid_until: from_ms(issued.saturating_add(set.validity_ms)),
            age_ms: count(now - issued),
        }),
    }
}
