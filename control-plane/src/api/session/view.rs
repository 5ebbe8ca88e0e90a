//! Sessions as answers show them.

use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use nightlatch_api as api;
use nightlatch_api::{SessionNeed, SignedIn};

use super::holder::{csrf, session_cookie};
use crate::api::App;
use crate::api::time::from_ms;
use crate::signin::SessionSecret;
use crate::store::accounts::Membership;
use crate::store::sessions::{Method, Session};

/// What somebody who signed in is told.
pub(super) fn signed_in(app: &App, session: &Session, secret: &SessionSecret, now: i64) -> SignedIn {
    let elevated = session.times.is_elevated(now);
    SignedIn {
        session: Some(session.id.to_string()),
        member: Some(member(&session.membership)),
        workspace: Some(workspace(&session.membership)),
        csrf: Some(csrf(app, secret)),
        expires_at: Some(from_ms(session.times.expires_at())),
        elevated_until: session.times.elevated_until.filter(|_| elevated).map(from_ms),
        needs: if elevated { Vec::new() } else { vec![SessionNeed::StepUp] },
        workspaces: Vec::new(),
    }
}

/// The answer that gives a browser its session.
pub(super) fn with_cookie(app: &App, session: &Session, secret: &SessionSecret, now: i64) -> Response {
    let cookie = session_cookie(secret, session.times.signed_in_at, now);
    let body = axum::Json(signed_in(app, session, secret, now));
    (StatusCode::OK, AppendHeaders([(SET_COOKIE, cookie)]), body).into_response()
}

/// What somebody is told who proved who they are, and has yet to send more.
pub(super) fn still_needs(need: SessionNeed, choices: &[Membership]) -> SignedIn {
    SignedIn {
        session: None,
        member: None,
        workspace: None,
        csrf: None,
        expires_at: None,
        elevated_until: None,
        needs: vec![need],
        workspaces: choices.iter().map(workspace).collect(),
    }
}

pub(super) fn member(membership: &Membership) -> api::SessionMember {
    api::SessionMember {
        id: membership.member.to_string(),
        name: membership.name.clone(),
        role: membership.role.clone(),
    }
}

pub(super) fn workspace(membership: &Membership) -> api::SessionWorkspace {
    api::SessionWorkspace { id: membership.workspace.to_string(), name: membership.workspace_name.clone() }
}

/// A session in a list, at the moment `now`, unix milliseconds.
pub(super) fn listed(session: &Session, current: &Session, now: i64) -> api::Session {
    api::Session {
        id: session.id.to_string(),
        current: session.id == current.id,
        workspace: workspace(&session.membership),
        method: match session.method {
            Method::Password => api::SessionMethod::Password,
            Method::Oidc => api::SessionMethod::Oidc,
        },
        source: session.source.clone(),
        state: match (&session.ended, session.is_live(now)) {
            (Some(_), _) => api::SessionState::Ended,
            (None, true) => api::SessionState::Active,
            (None, false) => api::SessionState::Expired,
        },
        signed_in_at: from_ms(session.times.signed_in_at),
        last_seen_at: from_ms(session.times.last_seen_at),
        expires_at: from_ms(session.times.expires_at()),
        ended_at: session.ended.as_ref().map(|(at, _)| from_ms(*at)),
        end_reason: session.ended.as_ref().map(|(_, reason)| reason.clone()),
    }
}
