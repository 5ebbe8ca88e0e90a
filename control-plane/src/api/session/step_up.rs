//! `POST /v1/session/step-up`: proves once more who holds the session.

use axum::extract::State;
use axum::response::Response;
use nightlatch_api::{Code, Problem, SignedIn, StepUp};

use super::second_factor::{self, Proof};
use super::{Holder, check, guesses, view};
use crate::api::App;
use crate::api::body::Json;
use crate::api::refused::Refused;
use crate::signin::SessionSecret;
use crate::signin::lifetime::ELEVATED_MS;
use crate::store::sessions::Session;
use crate::store::{Error, accounts, os_random, sessions, sign_in_guesses};

/// Lets calls through, for ten minutes, that need more than a cookie. The session goes on in another cookie, with another
/// CSRF token.
#[utoipa::path(
    post, path = "/v1/session/step-up", tag = "session", operation_id = "stepUp",
    request_body = StepUp,
    responses(
        (status = 200, description = "Stepped up.", body = SignedIn),
        (status = 401, description = "The password or the code is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many tries; `Retry-After` says how long to wait.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("session" = [])),
)]
pub(in crate::api) async fn step_up(
    State(app): State<App>,
    holder: Holder,
    body: Json<StepUp>,
) -> Result<Response, Refused> {
    let asked = body.value;
    if asked.password.is_some() == asked.totp.is_some() {
        return Err(Refused::value("", "send either `password` or `totp`"));
    }
    if let Some(password) = &asked.password {
        check::length("password", password)?;
    }
    let account = accounts::get(&mut app.store().read().await?, &holder.session.account).await?;
    let counted = guesses::count(&app, &account.email, holder.source()).await?;
    let (proof, how) = match (&asked.password, &asked.totp) {
        (Some(password), _) => {
            let right = check::password(&app, password, account.password_hash.clone()).await?;
            (right.then_some(Proof::NotNeeded), "password")
        }
        (None, Some(code)) => (second_factor::step(&app, &account, code, holder.now).map(Proof::Step), "totp"),
        (None, None) => (None, "nothing"),
    };
    let proof = proof.ok_or(Code::SignInFailed)?;
    let (context, session, old) = (holder.context(), holder.session.id.clone(), holder.secret().digest());
    let secret = SessionSecret::draw(&mut os_random);
    let new = secret.digest();
    let renewed = app
        .store()
        .write::<Option<(Session, i64)>, Error, _>(move |tx| {
            Box::pin(async move {
                let locked = accounts::lock(tx, &account.id).await?;
                if !second_factor::is_unchanged(&account, &locked) || !proof.take(tx, &account.id).await? {
                    return Ok(None);
                }
                let until = tx.now().await? + ELEVATED_MS;
                if !sessions::renew(tx, &session, &old, &new, Some(until)).await? {
                    return Ok(None);
                }
                sign_in_guesses::succeed(tx, &counted).await?;
                sessions::stepped_up(tx, &context, &session, how).await?;
                sessions::by_digest(tx, &new).await
            })
        })
        .await?;
    let (session, now) = renewed.ok_or(Code::SignInFailed)?;
    Ok(view::with_cookie(&app, &session, &secret, now))
}
