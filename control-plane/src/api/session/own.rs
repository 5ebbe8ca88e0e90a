//! One's own sessions: this one, all of them, and their ends.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use nightlatch_api::{Page, PageQuery, Problem, Session, SignedIn};

use super::{Holder, cookie, view};
use crate::api::App;
use crate::api::body::OptionalJson;
use crate::api::cursor::List;
use crate::api::params::{Id, Query};
use crate::api::refused::Refused;
use crate::api::tokens::Nothing;
use crate::domain::SessionId;
use crate::store::Error;
use crate::store::sessions::{self, Which};

/// Shows who is signed in, and the token for calls that change something.
#[utoipa::path(
    get, path = "/v1/session", tag = "session", operation_id = "readSession",
    responses(
        (status = 200, description = "The session.", body = SignedIn),
        (status = 401, description = "There is no session.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("session" = [])),
)]
pub(in crate::api) async fn current(State(app): State<App>, holder: Holder) -> axum::Json<SignedIn> {
    axum::Json(view::signed_in(&app, &holder.session, holder.secret(), holder.now))
}

/// Signs out.
#[utoipa::path(
    delete, path = "/v1/session", tag = "session", operation_id = "signOut",
    responses(
        (status = 204, description = "The session has ended."),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("session" = [])),
)]
pub(in crate::api) async fn sign_out(State(app): State<App>, holder: Holder) -> Result<Response, Refused> {
    finish(&app, &holder, holder.session.id.clone(), "signed out").await?;
    let cleared = AppendHeaders([(SET_COOKIE, cookie::clear(cookie::SESSION))]);
    Ok((StatusCode::NO_CONTENT, cleared).into_response())
}

/// Lists the sessions of one's account, in all its workspaces, newest first.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "session", operation_id = "listSessions",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of sessions.", body = Page<Session>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("session" = [])),
)]
pub(in crate::api) async fn list(
    State(app): State<App>,
    holder: Holder,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<Session>>, Refused> {
    // A cursor is worth something in the same account's list only.
    let account = &holder.session.account;
    let list = List::new("sessions", &holder.session.membership.workspace, &account.as_str());
    let page = app.cursors().page(&list, query.limit, query.cursor.as_deref())?;
    let mut read = app.store().read().await?;
    let found = sessions::list(&mut read, account, &page).await?;
    let now = read.now().await?;
    Ok(axum::Json(app.cursors().answer(&list, found, |session| view::listed(&session, &holder.session, now))))
}

/// Ends one of one's own sessions. Repeating it is no error and changes nothing.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/end", tag = "session", operation_id = "endSession",
    params(("id" = String, Path, description = "`ses_…`")),
    responses(
        (status = 200, description = "Ended, now or before.", body = Session),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("session" = [])),
)]
pub(in crate::api) async fn end(
    State(app): State<App>,
    holder: Holder,
    Id(id): Id<SessionId>,
    _body: OptionalJson<Nothing>,
) -> Result<axum::Json<Session>, Refused> {
    finish(&app, &holder, id.clone(), "ended by its holder").await?;
    let mut read = app.store().read().await?;
    let session = sessions::get(&mut read, &holder.session.account, &id).await?;
    let now = read.now().await?;
    Ok(axum::Json(view::listed(&session, &holder.session, now)))
}

async fn finish(app: &App, holder: &Holder, id: SessionId, reason: &'static str) -> Result<(), Error> {
    let (context, account) = (holder.context(), holder.session.account.clone());
    app.store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move { sessions::end(tx, &context, Which::One(&account, &id), reason).await })
        })
        .await?;
    Ok(())
}
