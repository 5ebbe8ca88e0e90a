//! `/v1/session/oidc`: signing in, and stepping up, through the identity provider.
//!
//! What belongs to a sign-in that is under way (the nonce, the PKCE verifier, where to go after it) is a row under the
//! digest of `state`, sealed under a key of which the browser's cookie holds a part: neither who reads the database nor who
//! sees the address can go on with it, and it can be gone on with once.

use axum::extract::State;
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use nightlatch_api::{Code, OidcAnswer, Problem, Secret, StartOidc};
use nightlatch_key::Digest;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::holder::{context, session_cookie};
use super::second_factor::Proof;
use super::sign_in::{Entry, Visit, enter};
use super::step_up::{Raise, raise};
use super::{Holder, cookie, origin};
use crate::api::App;
use crate::api::caller::source;
use crate::api::params::Query;
use crate::api::refused::Refused;
use crate::domain::WorkspaceId;
use crate::oidc::{Identity, OidcError, Provider};
use crate::secrets::{open, seal};
use crate::signin::lifetime::FLOW_MS;
use crate::signin::{Email, SessionSecret, local_path};
use crate::store::accounts::{self, Account, Membership};
use crate::store::sessions::{self, Method as SignInMethod, Session, Which};
use crate::store::{Error, Tx, members, oidc_flows, os_random};

/// The cookie of a sign-in that is under way.
const FLOW: &str = "__Host-nightlatch-oidc";
/// By how many seconds the provider's clock may be behind the database's.
const CLOCK_LEEWAY: i64 = 60;

/// What belongs to a sign-in that is under way.
#[derive(Serialize, Deserialize)]
struct Flow {
    nonce: Secret,
    verifier: Secret,
    /// Where the browser goes then.
    next: String,
    /// The workspace to sign in to.
    workspace: Option<String>,
    /// The session that steps up.
    step_up: Option<String>,
    /// Whether an invitation may be taken up by it: not where another site's page began it.
    #[serde(default)]
    may_join: bool,
}

/// Sends the browser to the identity provider. It comes back to `/v1/session/oidc/callback`, and goes on to `next`, a path
/// of this server.
#[utoipa::path(
    get, path = "/v1/session/oidc/start", tag = "session", operation_id = "startOidc",
    params(StartOidc),
    responses(
        (status = 303, description = "To the identity provider."),
        (status = 404, description = "No identity provider is configured.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::api) async fn start(
    State(app): State<App>,
    headers: HeaderMap,
    extensions: Extensions,
    Query(asked): Query<StartOidc>,
) -> Result<Response, Refused> {
    let provider = provider(&app)?;
    app.oidc_limit().take(source(&extensions).as_deref())?;
    let next = asked.next.unwrap_or_else(|| "/".to_owned());
    let local = local_path(&next).ok_or_else(|| Refused::invalid("next", "must be a path of this server: /…"))?;
    let step_up = if asked.step_up == Some(true) {
        let holder = Holder::identify(&app, &Method::GET, &headers, &extensions).await;
        Some(holder.map_err(|denied| denied.refused)?.ok_or(Code::SessionInvalid)?.0.session.id.to_string())
    } else {
        None
    };
    let (state, binding) = (SessionSecret::draw(&mut os_random), SessionSecret::draw(&mut os_random));
    let departure =
        provider.depart(state.expose().to_string(), step_up.is_some()).await.map_err(|error| unreachable(&error))?;
    let flow = Flow {
        nonce: departure.nonce,
        verifier: departure.verifier,
        next: local.to_owned(),
        workspace: asked.workspace,
        step_up,
        may_join: !origin::is_led_by_another(&headers),
    };
    let (digest, sealed) = (state.digest(), seal_flow(&app, &binding, &state.digest(), &flow)?);
    app.store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { oidc_flows::open(tx, &digest, &sealed).await }))
        .await?;
    let to = HeaderValue::try_from(departure.url).map_err(|_| Code::Internal)?;
    let headers = AppendHeaders([(LOCATION, to), (SET_COOKIE, cookie::set(FLOW, &binding, FLOW_MS))]);
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// Takes the browser back from the identity provider, and signs in or steps up. An account is found by who the provider
/// says somebody is; the first time, by an address it has verified that has an account or an invitation. An account that is
/// found by its address is from then on signed in to through the provider: its password, its authenticator and its sessions
/// end, which somebody else may have made.
///
/// Members of several workspaces name one when they begin (`workspace`). Who did not is sent to `next` without a session,
/// with `needs=workspace` and a `workspace` for each that can be named; so is who would take an invitation up by a link on
/// another site.
#[utoipa::path(
    get, path = "/v1/session/oidc/callback", tag = "session", operation_id = "finishOidc",
    params(OidcAnswer),
    responses(
        (status = 303, description = "Signed in, with a cookie; on to where the sign-in was to lead. Or, without one and with `needs=workspace`, which workspaces there are."),
        (status = 401, description = "What came back cannot be used, or nobody here is that person.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::api) async fn callback(
    State(app): State<App>,
    headers: HeaderMap,
    extensions: Extensions,
    Query(answer): Query<OidcAnswer>,
) -> Result<Response, Refused> {
    let provider = provider(&app)?;
    // Before anything is used up: another provider's answer is nothing to this sign-in.
    if answer.iss.as_deref().is_some_and(|issuer| issuer != provider.issuer()) {
        return Err(failed("the answer is another provider's"));
    }
    let state = answer.state.as_ref().and_then(|state| SessionSecret::parse(state.expose()));
    let binding = cookie::value(&headers, FLOW)?.map(Zeroizing::new).and_then(|text| SessionSecret::parse(&text));
    let (Some(state), Some(binding)) = (state, binding) else {
        return Err(failed("the browser did not begin this sign-in here"));
    };
    let digest = state.digest();
    let taken = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move { Ok((oidc_flows::take(tx, &digest).await?, tx.now().await?)) })
        })
        .await?;
    let (Some((sealed, began)), now) = taken else {
        return Err(failed("the sign-in is unknown, over, or took too long"));
    };
    let flow = open_flow(&app, &binding, &digest, &sealed);
    let flow = flow.ok_or_else(|| failed("the browser did not begin this sign-in"))?;
    let Some(code) = answer.code.filter(|_| answer.error.is_none()) else {
        return Err(failed("the provider sent no code"));
    };
    let identity =
        provider.arrive(&code, &flow.verifier, &flow.nonce, now).await.map_err(|error| unreachable(&error))?;
    let visit = Visit::of(&headers, &extensions)?;
    let entered = match flow.step_up {
        Some(session) => {
            let holder = Holder::identify(&app, &Method::GET, &headers, &extensions).await;
            let holder = holder
                .map_err(|denied| denied.refused)?
                .map(|(holder, _)| holder)
                .filter(|holder| holder.session.id.as_str() == session);
            stepped_up(&app, provider, &holder.ok_or(Code::SessionInvalid)?, &identity, began).await?
        }
        None => match find(&app, provider, &visit, identity, (flow.workspace, flow.may_join)).await? {
            Found::Nobody => None,
            Found::Several(workspaces) => return to_choose(&flow.next, &workspaces),
            Found::Member(account, chosen) => {
                let (method, proof) = (SignInMethod::Oidc, Proof::NotNeeded);
                enter(&app, visit, Entry { account: *account, proof, counted: None, method, elevated: false }, *chosen)
                    .await?
            }
        },
    };
    let (session, secret, now) = entered.ok_or_else(|| failed("nobody here is that person"))?;
    let to = HeaderValue::try_from(flow.next).map_err(|_| Code::Internal)?;
    let cookies = [session_cookie(&secret, session.times.signed_in_at, now), cookie::clear(FLOW)];
    let cookies = AppendHeaders(cookies.map(|cookie| (SET_COOKIE, cookie)));
    Ok((StatusCode::SEE_OTHER, [(LOCATION, to)], cookies).into_response())
}

/// As whom somebody signs in.
enum Found {
    /// Nobody here is that person.
    Nobody,
    /// One of several, of which none was named: the ids of their workspaces.
    Several(Vec<WorkspaceId>),
    Member(Box<Account>, Box<Membership>),
}

/// Finds the member that somebody is in the workspace they named, or their only one; an invitation there is taken up, where
/// that may be: a link on another site makes nobody a member, who chooses on a page of this server first.
async fn find(
    app: &App,
    provider: &Provider,
    visit: &Visit,
    identity: Identity,
    (workspace, may_join): (Option<String>, bool),
) -> Result<Found, Refused> {
    let (issuer, request_id, source) = (provider.issuer().to_owned(), visit.request_id.clone(), visit.source.clone());
    let found = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                let known = account_of(tx, &issuer, &identity, &request_id).await?;
                let mut memberships = match &known {
                    Some(account) => accounts::memberships(tx, account.id.as_str()).await?,
                    None => Vec::new(),
                };
                let invitations = invitations(tx, identity.email.as_ref(), known.as_ref()).await?;
                // Nobody joins a workspace by signing in to another.
                let invitation = match &workspace {
                    Some(wanted) => invitations.iter().find(|(workspace, _)| workspace.as_str() == wanted),
                    None if memberships.is_empty() && invitations.len() == 1 => invitations.first(),
                    None => None,
                };
                if invitation.is_some() && !may_join {
                    let joined = memberships.into_iter().map(|one| one.workspace);
                    return Ok(Found::Several(joined.chain(invitations.into_iter().map(|(id, _)| id)).collect()));
                }
                let account = match (known, invitation, &identity.email) {
                    (Some(account), ..) => Some(account),
                    (None, Some(_), Some(email)) => {
                        let oidc = Some((issuer.as_str(), identity.subject.as_str()));
                        match accounts::create(tx, email, None, oidc, &mut os_random).await? {
                            Some(id) => Some(accounts::get(tx, &id).await?),
                            // The person has come by another way meanwhile.
                            None => account_of(tx, &issuer, &identity, &request_id).await?,
                        }
                    }
                    (None, ..) => None,
                };
                if let (Some(account), Some((_, code))) = (&account, invitation) {
                    members::accept(tx, code, account.id.as_str(), None, &request_id, source.as_deref()).await?;
                    memberships = accounts::memberships(tx, account.id.as_str()).await?;
                }
                if workspace.is_none() && (memberships.len() > 1 || memberships.is_empty() && invitations.len() > 1) {
                    let joined = memberships.into_iter().map(|one| one.workspace);
                    return Ok(Found::Several(joined.chain(invitations.into_iter().map(|(id, _)| id)).collect()));
                }
                let chosen = memberships
                    .into_iter()
                    .find(|one| workspace.as_deref().is_none_or(|wanted| wanted == one.workspace.as_str()));
                Ok(match account.zip(chosen) {
                    Some((account, chosen)) => Found::Member(Box::new(account), Box::new(chosen)),
                    None => Found::Nobody,
                })
            })
        })
        .await?;
    Ok(found)
}

/// The account of somebody the provider knows; the first time, the one of the address that it has verified.
async fn account_of(
    tx: &mut Tx,
    issuer: &str,
    identity: &Identity,
    request_id: &str,
) -> Result<Option<Account>, Error> {
    if let Some(account) = accounts::by_subject(tx, issuer, &identity.subject).await? {
        // It may be forgotten at this moment, with its last membership.
        return match accounts::lock(tx, &account.id).await {
            Err(Error::NotFound(_)) => Ok(None),
            locked => locked.map(Some),
        };
    }
    let Some(email) = &identity.email else { return Ok(None) };
    let Some(account) = accounts::by_email(tx, email).await? else { return Ok(None) };
    let account = match accounts::lock(tx, &account.id).await {
        Err(Error::NotFound(_)) => return Ok(None),
        locked => locked?,
    };
    if !accounts::link(tx, &account.id, issuer, &identity.subject).await? {
        // Somebody else has had this address at the provider.
        return Ok(None);
    }
    // Whoever made the account held an invitation's code, and nothing says that they had the address: what they could come
    // back with is gone with the link, and their sessions end here. What they joined stays joined: it was given to whoever
    // held the code, and those workspaces see the member, its doings and its tokens, and can remove it.
    for membership in accounts::memberships(tx, account.id.as_str()).await? {
        // Where the call came from is not for every workspace to know.
        let context = context(&membership, request_id.to_owned(), None);
        sessions::note_account(tx, &context, &account.id, "account.oidc_linked").await?;
        let reason = "the address was proved through the identity provider";
        sessions::end(tx, &context, Which::OfMember(&membership.member), reason).await?;
    }
    accounts::get(tx, &account.id).await.map(Some)
}

/// What the person can take up. Nothing where the address has an account that is somebody else's to the provider.
async fn invitations(
    tx: &mut Tx,
    email: Option<&Email>,
    account: Option<&Account>,
) -> Result<Vec<(WorkspaceId, Digest)>, Error> {
    let Some(email) = email else { return Ok(Vec::new()) };
    if account.is_none() && accounts::by_email(tx, email).await?.is_some() {
        return Ok(Vec::new());
    }
    accounts::open_invitations(tx, email).await
}

/// Sends the browser on without a session: whoever it is says first to which workspace they sign in.
fn to_choose(next: &str, workspaces: &[WorkspaceId]) -> Result<Response, Refused> {
    let (path, fragment) = next.split_once('#').map_or((next, None), |(path, fragment)| (path, Some(fragment)));
    let mut to = format!("{path}{}needs=workspace", if path.contains('?') { '&' } else { '?' });
    for id in workspaces {
        to.push_str("&workspace=");
        to.push_str(id.as_str());
    }
    if let Some(fragment) = fragment {
        to.push('#');
        to.push_str(fragment);
    }
    let to = HeaderValue::try_from(to).map_err(|_| Code::Internal)?;
    let headers = AppendHeaders([(LOCATION, to), (SET_COOKIE, cookie::clear(FLOW))]);
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

async fn stepped_up(
    app: &App,
    provider: &Provider,
    holder: &Holder,
    identity: &Identity,
    began: i64,
) -> Result<Option<(Session, SessionSecret, i64)>, Refused> {
    let account = accounts::get(&mut app.store().read().await?, &holder.session.account).await?;
    let known = account.oidc.as_ref();
    let same = known.is_some_and(|(issuer, subject)| issuer == provider.issuer() && *subject == identity.subject);
    // Whoever has a session there and not the person's password proves nothing new.
    let anew = identity.auth_time.is_some_and(|at| at >= began.div_euclid(1000) - CLOCK_LEEWAY);
    if !same || !anew {
        return Ok(None);
    }
    raise(app, holder, Raise { account, proof: Proof::NotNeeded, counted: None, how: "oidc" }).await
}

fn provider(app: &App) -> Result<&Provider, Refused> {
    app.oidc().ok_or_else(|| Refused::new(Code::NotFound).detail("No identity provider is configured."))
}

fn failed(why: &'static str) -> Refused {
    tracing::info!(why, "a sign-in through the identity provider failed");
    Code::OidcFailed.into()
}

/// The log says what the provider did; the caller does not learn more than that it failed.
fn unreachable(error: &OidcError) -> Refused {
    tracing::warn!(error = error as &dyn std::error::Error, "the identity provider was no use");
    match error {
        OidcError::Provider(_) => Refused::new(Code::Unavailable).detail("The identity provider cannot be asked."),
        _ => Code::OidcFailed.into(),
    }
}

fn seal_flow(app: &App, binding: &SessionSecret, state: &Digest, flow: &Flow) -> Result<Vec<u8>, Refused> {
    let key = app.secrets().server_key().derive("oidc flow", binding.bytes());
    let plain = Zeroizing::new(serde_json::to_vec(flow).map_err(|_| Code::Internal)?);
    Ok(seal(&key, state.as_bytes(), &plain))
}

fn open_flow(app: &App, binding: &SessionSecret, state: &Digest, sealed: &[u8]) -> Option<Flow> {
    let key = app.secrets().server_key().derive("oidc flow", binding.bytes());
    let plain = open(&key, state.as_bytes(), sealed)?;
    serde_json::from_slice(&plain).ok()
}
