//! `/v1/session/totp`: an authenticator as second factor.

use axum::extract::State;
use axum::http::StatusCode;
use nightlatch_api::{Code, ConfirmTotp, ConfirmedTotp, OfferedTotp, Problem, Secret};
use zeroize::Zeroizing;

use super::{Holder, guesses, second_factor};
use crate::api::App;
use crate::api::body::{Json, OptionalJson};
use crate::api::refused::Refused;
use crate::api::tokens::Nothing;
use crate::signin::recovery;
use crate::signin::totp::TotpSecret;
use crate::store::{Error, accounts, os_random, sessions, sign_in_guesses};

/// Makes the secret of an authenticator. The answer is the only one that shows it, and it counts once it is confirmed;
/// until then one that was confirmed before does. Needs a step-up.
#[utoipa::path(
    post, path = "/v1/session/totp", tag = "session", operation_id = "beginTotp",
    responses(
        (status = 200, description = "Made.", body = OfferedTotp),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("session" = [])),
)]
pub(in crate::api) async fn begin(
    State(app): State<App>,
    holder: Holder,
    _body: OptionalJson<Nothing>,
) -> Result<axum::Json<OfferedTotp>, Refused> {
    holder.require_elevated()?;
    let (id, session) = (holder.session.account.clone(), holder.session.id.clone());
    let secret = TotpSecret::draw(&mut os_random);
    let sealed = second_factor::seal_totp(&app, &id, &secret);
    let account = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                let account = accounts::lock(tx, &id).await?;
                sessions::confirm(tx, &session).await?;
                accounts::offer_totp(tx, &id, &sealed).await?;
                Ok(account)
            })
        })
        .await?;
    let uri = Secret::from(secret.uri(&account.email).as_str());
    Ok(axum::Json(OfferedTotp { secret: Secret::from(secret.expose().as_str()), uri }))
}

/// Confirms the authenticator with a code of it. From then on signing in needs one. The recovery codes are shown this once;
/// earlier ones end. Needs a step-up.
#[utoipa::path(
    post, path = "/v1/session/totp/confirm", tag = "session", operation_id = "confirmTotp",
    request_body = ConfirmTotp,
    responses(
        (status = 200, description = "It counts.", body = ConfirmedTotp),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("session" = [])),
)]
pub(in crate::api) async fn confirm(
    State(app): State<App>,
    holder: Holder,
    body: Json<ConfirmTotp>,
) -> Result<axum::Json<ConfirmedTotp>, Refused> {
    holder.require_elevated()?;
    let account = accounts::get(&mut app.store().read().await?, &holder.session.account).await?;
    let counted = guesses::count(&app, &account.email, holder.source()).await?;
    let offered = account.totp_offered.as_deref().ok_or(Code::TotpMissing)?;
    let secret = second_factor::open_totp(&app, &account.id, offered).ok_or(Code::Internal)?;
    let step = secret.step_of(body.value.code.expose(), holder.now.div_euclid(1000), 0);
    let step = step.ok_or_else(|| Refused::value("code", "is not the authenticator's code of this moment"))?;
    let codes: Vec<Zeroizing<String>> = (0..recovery::COUNT).map(|_| recovery::draw(&mut os_random)).collect();
    let digests: Vec<_> = codes.iter().filter_map(|code| recovery::digest(account.id.as_str(), code)).collect();
    let (context, session) = (holder.context(), holder.session.id.clone());
    app.store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                // Another one may have been offered meanwhile: the code was not of that.
                if accounts::lock(tx, &account.id).await?.totp_offered != account.totp_offered {
                    return Err(Error::NotFound("authenticator"));
                }
                sessions::confirm(tx, &session).await?;
                accounts::confirm_totp(tx, &account.id, step, &digests).await?;
                sign_in_guesses::succeed(tx, &counted).await?;
                sessions::note_account(tx, &context, &account.id, "account.totp_confirmed").await
            })
        })
        .await?;
    let recovery_codes = codes.iter().map(|code| Secret::from(code.as_str())).collect();
    Ok(axum::Json(ConfirmedTotp { recovery_codes }))
}

/// Takes the authenticator and the recovery codes away: the password alone signs in from then on. Needs a step-up.
#[utoipa::path(
    post, path = "/v1/session/totp/remove", tag = "session", operation_id = "removeTotp",
    responses(
        (status = 204, description = "There is none any more."),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("session" = [])),
)]
pub(in crate::api) async fn remove(
    State(app): State<App>,
    holder: Holder,
    _body: OptionalJson<Nothing>,
) -> Result<StatusCode, Refused> {
    holder.require_elevated()?;
    let (context, id, session) = (holder.context(), holder.session.account.clone(), holder.session.id.clone());
    let removed = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                let account = accounts::lock(tx, &id).await?;
                sessions::confirm(tx, &session).await?;
                if account.totp.is_none() && account.totp_offered.is_none() {
                    return Ok(false);
                }
                accounts::remove_totp(tx, &id).await?;
                sessions::note_account(tx, &context, &id, "account.totp_removed").await?;
                Ok(true)
            })
        })
        .await?;
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(Code::TotpMissing.into()) }
}
