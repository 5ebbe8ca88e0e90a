//! `POST /v1/session`: from a password to a session.
//!
//! An unknown address, a wrong password, an account that is nowhere an active member: all cost one look into the database
//! and one verification, and are answered alike.

use axum::extract::State;
use axum::http::{Extensions, HeaderMap};
use axum::response::{IntoResponse as _, Response};
use nightlatch_api::{Code, Problem, SessionNeed, SignIn, SignedIn};
use nightlatch_key::Digest;

use super::holder::context;
use super::refused_sign_in::{self, Failed};
use super::second_factor::{self, Proof};
use super::{check, cookie, guesses, origin, view};
use crate::api::App;
use crate::api::body::Json;
use crate::api::caller::{request_id, source};
use crate::api::refused::Refused;
use crate::signin::lifetime::ELEVATED_MS;
use crate::signin::{Email, SessionSecret};
use crate::store::accounts::{self, Account, Membership};
use crate::store::sessions::{self, Method, NewSession, Session, Which};
use crate::store::sign_in_guesses::{self, Counted};
use crate::store::{Context, Error, Tx, members, os_random};

/// Signs in with a password, and a second factor where the account has one. The session is in the cookie.
///
/// `needs` says what is missing where there is no session yet: `totp`, or `workspace` for members of several.
#[utoipa::path(
    post, path = "/v1/session", tag = "session", operation_id = "signIn",
    request_body = SignIn,
    responses(
        (status = 200, description = "Signed in, with a cookie; or, without one, what is missing.", body = SignedIn),
        (status = 401, description = "The address, the password or the code is wrong, or there is no active member.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many tries; `Retry-After` says how long to wait.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::api) async fn sign_in(
    State(app): State<App>,
    headers: HeaderMap,
    extensions: Extensions,
    body: Json<SignIn>,
) -> Result<Response, Refused> {
    origin::require_own(&headers)?;
    let asked = body.value;
    let email = Email::parse(&asked.email).ok_or_else(|| Refused::value("email", "is not an e-mail address"))?;
    check::length("password", &asked.password)?;
    if asked.totp.is_some() && asked.recovery_code.is_some() {
        return Err(Refused::value("recovery_code", "stands in place of `totp`; send one of them"));
    }
    let visit = Visit::of(&headers, &extensions)?;
    let counted = guesses::count(&app, email.as_str(), visit.source.as_deref()).await?;
    let (account, memberships, now) = find(&app, &email).await?;
    let hash = account.as_ref().and_then(|account| account.password_hash.clone());
    let place = asked.workspace.as_deref();
    let right = check::password(&app, &asked.password, hash).await?;
    if !right {
        refused_sign_in::note(&app, &visit, &memberships, place, Failed::Password);
        return Err(Code::SignInFailed.into());
    }
    let Some(account) = account.filter(|_| !memberships.is_empty()) else {
        return Err(Code::SignInFailed.into());
    };
    let refuse = |failed| {
        refused_sign_in::note(&app, &visit, &memberships, place, failed);
        Refused::from(Code::SignInFailed)
    };
    let proof = match (&account.totp, &asked.totp, &asked.recovery_code) {
        (None, ..) => Proof::NotNeeded,
        (Some(_), None, None) => {
            refused_sign_in::note(&app, &visit, &memberships, place, Failed::SecondFactorMissing);
            guesses::give_back(&app, counted).await?;
            return Ok(axum::Json(view::still_needs(SessionNeed::Totp, &[])).into_response());
        }
        (Some(_), Some(code), _) => second_factor::step(&app, &account, code, now)
            .map(Proof::Step)
            .ok_or_else(|| refuse(Failed::SecondFactor))?,
        (Some(_), None, Some(code)) => {
            second_factor::recovery(&account, code).ok_or_else(|| refuse(Failed::SecondFactor))?
        }
    };
    let chosen = match (&asked.workspace, memberships.as_slice()) {
        (Some(id), _) => {
            memberships.iter().find(|one| one.workspace.as_str() == id).ok_or_else(|| refuse(Failed::Workspace))?
        }
        (None, [only]) => only,
        // Who cannot be told apart from a guesser until the recovery code is taken learns no names.
        (None, _) if matches!(proof, Proof::Recovery(_)) => {
            return Err(Refused::value("workspace", "must be sent along with a recovery code by members of several"));
        }
        (None, _) => {
            guesses::give_back(&app, counted).await?;
            return Ok(axum::Json(view::still_needs(SessionNeed::Workspace, &memberships)).into_response());
        }
    };
    let chosen = chosen.clone();
    // A code that was right by its shape may have been used, or be none of the account's.
    let otherwise = if matches!(proof, Proof::NotNeeded) { Failed::Workspace } else { Failed::SecondFactor };
    let entry = Entry { account, proof, counted: Some(counted), method: Method::Password, elevated: true };
    match enter(&app, visit.clone(), entry, chosen).await? {
        Some((session, secret, now)) => Ok(view::with_cookie(&app, &session, &secret, now)),
        None => Err(refuse(otherwise)),
    }
}

/// The account of an address, where it is an active member, and the database clock. It reads as much where there is none.
async fn find(app: &App, email: &Email) -> Result<(Option<Account>, Vec<Membership>, i64), Refused> {
    let mut read = app.store().read().await?;
    let account = accounts::by_email(&mut read, email).await?;
    let id = account.as_ref().map_or("", |account| account.id.as_str());
    let memberships = accounts::memberships(&mut read, id).await?;
    Ok((account, memberships, read.now().await?))
}

/// What is known of a request that may become a session.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    pub(super) request_id: String,
    pub(super) source: Option<String>,
    /// The session that the browser has had so far, good or not.
    replaces: Option<Digest>,
}

impl Visit {
    pub(super) fn of(headers: &HeaderMap, extensions: &Extensions) -> Result<Self, Refused> {
        let had = cookie::value(headers, cookie::SESSION)?.as_deref().and_then(SessionSecret::parse);
        let replaces = had.map(|secret| secret.digest());
        Ok(Self { request_id: request_id(extensions), source: source(extensions), replaces })
    }
}

/// Who signs in, and how that was proven.
pub(super) struct Entry {
    /// The account as it was when it proved itself.
    pub(super) account: Account,
    pub(super) proof: Proof,
    pub(super) counted: Option<Counted>,
    pub(super) method: Method,
    /// Whether the proof counts as a step-up.
    pub(super) elevated: bool,
}

/// Starts a session under a new secret. `None` where the account has changed since it proved itself, a code was taken by
/// somebody else, or the member is no longer active.
pub(super) async fn enter(
    app: &App,
    visit: Visit,
    entry: Entry,
    chosen: Membership,
) -> Result<Option<(Session, SessionSecret, i64)>, Refused> {
    let secret = SessionSecret::draw(&mut os_random);
    let digest = secret.digest();
    let started = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                let account = accounts::lock(tx, &entry.account.id).await?;
                if !second_factor::is_unchanged(&entry.account, &account)
                    || !is_member(tx, &account, &chosen).await?
                    || !entry.proof.take(tx, &account.id).await?
                {
                    return Ok(None);
                }
                if let Some(counted) = &entry.counted {
                    sign_in_guesses::succeed(tx, counted).await?;
                }
                let context = context(&chosen, visit.request_id, visit.source);
                if let Some(replaced) = visit.replaces {
                    end_replaced(tx, &context, &account, &replaced).await?;
                }
                let now = tx.now().await?;
                let new = NewSession {
                    account: account.id,
                    member: chosen.member,
                    method: entry.method,
                    digest,
                    signed_in_at: now,
                    elevated_until: entry.elevated.then_some(now + ELEVATED_MS),
                };
                sessions::start(tx, &context, &new, now, &mut os_random).await?;
                sessions::by_digest(tx, &digest).await
            })
        })
        .await?;
    Ok(started.map(|(session, now)| (session, secret, now)))
}

/// Whether the account is that member still, and the member may do anything: its partner organisation may be suspended.
async fn is_member(tx: &mut Tx, account: &Account, chosen: &Membership) -> Result<bool, Error> {
    let memberships = accounts::memberships(tx, account.id.as_str()).await?;
    let still = memberships.iter().any(|one| one.member == chosen.member);
    Ok(still && members::standing(tx, &chosen.workspace, &chosen.member).await?.is_some())
}

/// Ends the session a browser had before, where it was the same person's.
async fn end_replaced(tx: &mut Tx, context: &Context, account: &Account, had: &Digest) -> Result<(), Error> {
    if let Some((session, _)) = sessions::by_digest(tx, had).await?
        && session.account == account.id
    {
        sessions::end(tx, context, Which::One(&account.id, &session.id), "signed in again").await?;
    }
    Ok(())
}
