//! `POST /v1/invites/accept`: from an invitation to a member with an account.

use axum::extract::State;
use axum::http::{Extensions, HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use nightlatch_api::{AcceptInvitation, AcceptedInvitation, Code, Problem};
use nightlatch_key::Digest;
use secrecy::SecretString;

use super::refused_sign_in::{self, Failed};
use super::second_factor::{self, Proof};
use super::sign_in::Visit;
use super::{Holder, check, guesses, origin, view};
use crate::api::App;
use crate::api::body::Json;
use crate::api::refused::Refused;
use crate::domain::{AccountId, Name, SessionId};
use crate::signin::Email;
use crate::store::accounts::{self, Account};
use crate::store::sign_in_guesses::{self, Counted};
use crate::store::{Error, members, os_random, sessions};

/// Takes an invitation up, once: makes the invited person's account under a password of their choice, or joins the account
/// that the address has, which needs its password or a session of it.
///
/// Codes that are unknown, used or expired are answered alike.
#[utoipa::path(
    post, path = "/v1/invites/accept", tag = "session", operation_id = "acceptInvitation",
    request_body = AcceptInvitation,
    responses(
        (status = 201, description = "The person is a member now, and can sign in.", body = AcceptedInvitation),
        (status = 401, description = "The code is unknown, used or expired; or the account's password is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many tries; `Retry-After` says how long to wait.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::api) async fn accept(
    State(app): State<App>,
    headers: HeaderMap,
    extensions: Extensions,
    body: Json<AcceptInvitation>,
) -> Result<Response, Refused> {
    origin::require_own(&headers)?;
    let asked = body.value;
    let name = asked.name.map(Name::new).transpose()?;
    let digest = Digest::of(asked.code.expose().trim().as_bytes());
    let (invited, workspace, account, now) = {
        let mut read = app.store().read().await?;
        let member = match members::by_code(&mut read, &digest).await {
            Err(Error::NotFound(_)) => return Err(Code::InvitationInvalid.into()),
            found => found?,
        };
        // An invitation without an address was erased with its person.
        let email = member.email.as_deref().and_then(Email::parse).ok_or(Code::InvitationInvalid)?;
        let account = accounts::by_email(&mut read, &email).await?;
        (email, member.workspace, account, read.now().await?)
    };
    let visit = Visit::of(&headers, &extensions)?;
    let proven = match (account, &asked.password) {
        (None, Some(password)) => {
            let password = check::new_password("password", password, &invited)?;
            Proven::New(check::hash(&app, password).await?)
        }
        (None, None) => return Err(Refused::value("password", "is missing: choose one for the new account")),
        (Some(account), Some(password)) => {
            check::length("password", password)?;
            let counted = guesses::count(&app, invited.as_str(), visit.source.as_deref()).await?;
            if !check::password(&app, password, account.password_hash.clone()).await? {
                refused_sign_in::note_of(&app, &visit, &account.id, Failed::Password).await?;
                return Err(Code::SignInFailed.into());
            }
            let proof = match (&account.totp, &asked.totp) {
                (None, _) => Proof::NotNeeded,
                (Some(_), None) => {
                    guesses::give_back(&app, counted).await?;
                    refused_sign_in::note_of(&app, &visit, &account.id, Failed::SecondFactorMissing).await?;
                    return Err(Refused::value("totp", "is missing: the account has an authenticator"));
                }
                (Some(_), Some(code)) => match second_factor::step(&app, &account, code, now) {
                    Some(step) => Proof::Step(step),
                    None => {
                        refused_sign_in::note_of(&app, &visit, &account.id, Failed::SecondFactor).await?;
                        return Err(Code::SignInFailed.into());
                    }
                },
            };
            Proven::Password(Box::new((account, proof, counted)))
        }
        (Some(account), None) => {
            let holder = Holder::identify(&app, &Method::POST, &headers, &extensions).await;
            let holder = holder.map_err(|denied| denied.refused)?;
            let Some((holder, _)) = holder.filter(|(holder, _)| holder.session.account == account.id) else {
                let missing = "is missing: the address has an account; send its password, or sign in to it first";
                return Err(Refused::value("password", missing));
            };
            Proven::Session(Box::new((account.id, holder.session.id)))
        }
    };
    let Visit { request_id, source, .. } = visit;
    let joined = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                let account = match proven {
                    Proven::New(hash) => {
                        match accounts::create(tx, &invited, Some(&hash), None, &mut os_random).await? {
                            Some(account) => account,
                            None => {
                                let taken =
                                    "is for a new account, and the address has one now; send that one's password";
                                return Ok(Err(Refused::value("password", taken)));
                            }
                        }
                    }
                    Proven::Session(proven) => {
                        let (account, session) = *proven;
                        let account = accounts::lock(tx, &account).await?;
                        sessions::confirm(tx, &session).await?;
                        account.id
                    }
                    Proven::Password(proven) => {
                        let (account, proof, counted) = *proven;
                        let locked = accounts::lock(tx, &account.id).await?;
                        if !second_factor::is_unchanged(&account, &locked) || !proof.take(tx, &account.id).await? {
                            return Ok(Err(Code::SignInFailed.into()));
                        }
                        sign_in_guesses::succeed(tx, &counted).await?;
                        account.id
                    }
                };
                let account = account.as_str();
                members::accept(tx, &digest, account, name, &request_id, source.as_deref()).await?;
                let memberships = accounts::memberships(tx, account).await?;
                let joined = memberships.into_iter().find(|one| one.workspace == workspace);
                Ok(joined.ok_or_else(|| Code::SignInFailed.into()))
            })
        })
        .await;
    let joined = match joined {
        // Used up meanwhile.
        Err(Error::NotFound(_)) => return Err(Code::InvitationInvalid.into()),
        other => other??,
    };
    let accepted = AcceptedInvitation { member: view::member(&joined), workspace: view::workspace(&joined) };
    Ok((StatusCode::CREATED, axum::Json(accepted)).into_response())
}

/// How somebody proved that the account is theirs.
enum Proven {
    /// There is none yet; the hash of its password.
    New(SecretString),
    /// With its password.
    Password(Box<(Account, Proof, Counted)>),
    /// With a session of it.
    Session(Box<(AccountId, SessionId)>),
}
