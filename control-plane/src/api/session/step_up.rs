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
use crate::store::accounts::Account;
use crate::store::sessions::Session;
use crate::store::sign_in_guesses::Counted;
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
    let raised = raise(&app, &holder, Raise { account, proof, counted: Some(counted), how }).await?;
    let (session, secret, now) = raised.ok_or(Code::SignInFailed)?;
    Ok(view::with_cookie(&app, &session, &secret, now))
}

/// How somebody proved once more who they are.
pub(super) struct Raise {
    /// The account as it was when it proved itself.
    pub(super) account: Account,
    pub(super) proof: Proof,
    pub(super) counted: Option<Counted>,
    /// With what, for the log.
    pub(super) how: &'static str,
}

/// Lets the session go on under another secret, stepped up. `None` where the account has changed since it proved itself, a
/// code was taken by somebody else, or the session has ended.
pub(super) async fn raise(
    app: &App,
    holder: &Holder,
    by: Raise,
) -> Result<Option<(Session, SessionSecret, i64)>, Refused> {
    let (context, session, old) = (holder.context(), holder.session.id.clone(), holder.secret().digest());
    let secret = SessionSecret::draw(&mut os_random);
    let new = secret.digest();
    let renewed = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                let Raise { account, proof, counted, how } = by;
                let locked = accounts::lock(tx, &account.id).await?;
                if !second_factor::is_unchanged(&account, &locked) || !proof.take(tx, &account.id).await? {
                    return Ok(None);
                }
                let until = tx.now().await? + ELEVATED_MS;
                if !sessions::renew(tx, &session, &old, &new, Some(until)).await? {
                    return Ok(None);
                }
                if let Some(counted) = &counted {
                    sign_in_guesses::succeed(tx, counted).await?;
                }
                sessions::stepped_up(tx, &context, &session, how).await?;
                sessions::by_digest(tx, &new).await
            })
        })
        .await?;
    Ok(renewed.map(|(session, now)| (session, secret, now)))
}
