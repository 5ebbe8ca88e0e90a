//! `POST /v1/session/password`: another password, and an end to all other sessions.

use axum::extract::State;
use axum::response::Response;
use nightlatch_api::{ChangePassword, Code, Problem, SignedIn};

use super::{Holder, check, guesses, second_factor, view};
use crate::api::App;
use crate::api::body::Json;
use crate::api::refused::Refused;
use crate::signin::{Email, SessionSecret};
use crate::store::sessions::{Session, Which};
use crate::store::{Error, accounts, os_random, sessions, sign_in_guesses};

/// Changes the account's password. Its other sessions end; this one goes on in another cookie.
#[utoipa::path(
    post, path = "/v1/session/password", tag = "session", operation_id = "changePassword",
    request_body = ChangePassword,
    responses(
        (status = 200, description = "Changed.", body = SignedIn),
        (status = 401, description = "`current` is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many tries; `Retry-After` says how long to wait.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("session" = [])),
)]
pub(in crate::api) async fn change(
    State(app): State<App>,
    holder: Holder,
    body: Json<ChangePassword>,
) -> Result<Response, Refused> {
    let asked = body.value;
    let account = accounts::get(&mut app.store().read().await?, &holder.session.account).await?;
    let email = Email::parse(&account.email).ok_or(Code::Internal)?;
    // Before a guess is counted: what is refused for this was none.
    let new = check::new_password("new", &asked.new, &email)?;
    let counted = match (&account.password_hash, &asked.current) {
        (Some(hash), Some(current)) => {
            check::length("current", current)?;
            let counted = guesses::count(&app, &account.email, holder.source()).await?;
            if !check::password(&app, current, Some(hash.clone())).await? {
                return Err(Code::SignInFailed.into());
            }
            Some(counted)
        }
        (Some(_), None) => return Err(Refused::value("current", "is missing")),
        (None, Some(_)) => return Err(Refused::value("current", "is to be left out: the account has no password")),
        (None, None) => {
            holder.require_elevated()?;
            None
        }
    };
    let hash = match check::hash(&app, new).await {
        Ok(hash) => hash,
        Err(busy) => {
            if let Some(counted) = counted {
                guesses::give_back(&app, counted).await?;
            }
            return Err(busy);
        }
    };
    let (context, session, old) = (holder.context(), holder.session.id.clone(), holder.secret().digest());
    let secret = SessionSecret::draw(&mut os_random);
    let new = secret.digest();
    let renewed = app
        .store()
        .write::<Option<(Session, i64)>, Error, _>(move |tx| {
            Box::pin(async move {
                let locked = accounts::lock(tx, &account.id).await?;
                sessions::hold(tx, &account.id).await?;
                if !second_factor::is_unchanged(&account, &locked)
                    || !sessions::renew(tx, &session, &old, &new, None).await?
                {
                    return Ok(None);
                }
                if let Some(counted) = &counted {
                    sign_in_guesses::succeed(tx, counted).await?;
                }
                accounts::set_password(tx, &account.id, &hash).await?;
                sessions::note_account(tx, &context, &account.id, "account.password_changed").await?;
                let others = Which::Others(&account.id, &session);
                sessions::end(tx, &context, others, "the password was changed").await?;
                sessions::by_digest(tx, &new).await
            })
        })
        .await?;
    let (session, now) = renewed.ok_or(Code::SignInFailed)?;
    Ok(view::with_cookie(&app, &session, &secret, now))
}
