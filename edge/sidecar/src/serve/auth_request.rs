//! The answers that nginx's `auth_request` understands.
//!
//! nginx tells what a request is about in `X-Original-Method` and `X-Original-URI`. Of an answer it takes 2xx as yes, 401
//! and 403 as no, and makes 500 of everything else, whatever the body; a status of ours that it does not know goes as 403
//! where the request is at fault and as 500 where the data is, with the true one in `X-Nightlatch-Status`. The client's
//! answer comes from a second question with `X-Nightlatch-Explain`, which nginx passes on as it is: status, headers and
//! problem document.

use std::convert::Infallible;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::answer;
use super::body::Passing;
use crate::shared::Shared;
use crate::verdict::{self, Asked, Outcome, Pass, Refusal};
use crate::worker::Worker;

const METHOD: HeaderName = HeaderName::from_static("x-original-method");
const TARGET: HeaderName = HeaderName::from_static("x-original-uri");
const UPGRADE: HeaderName = HeaderName::from_static("x-original-upgrade");
const EXPLAIN: HeaderName = HeaderName::from_static("x-nightlatch-explain");
/// The target the origin is to receive: canonical, and without keys.
const FORWARD_TARGET: HeaderName = HeaderName::from_static("x-nightlatch-target");
/// The client's `Authorization`, where it is the origin's and no key.
const FORWARD_AUTHORIZATION: HeaderName = HeaderName::from_static("x-nightlatch-authorization");
/// The status the client is to see.
const STATUS: HeaderName = HeaderName::from_static("x-nightlatch-status");
/// The code of a refusal, for nginx's log.
const CODE: HeaderName = HeaderName::from_static("x-nightlatch-code");

const MISCONFIGURED: &str = "The proxy in front has to set X-Original-Method and X-Original-URI, once each: see \
                             edge/sidecar/examples/nginx.conf.\n";

/// Answers one question of nginx.
pub(super) async fn answer(
    shared: &Shared,
    worker: &Worker,
    request: Request<Incoming>,
) -> Result<Response<Passing>, Infallible> {
    let headers = request.headers();
    let (Some(method), Some(target)) = (only(headers, &METHOD), only(headers, &TARGET)) else {
        return Ok(misconfigured());
    };
    // Nobody here could end an upgraded connection in time, so none comes about, whatever the route says.
    let upgrade = headers.get(UPGRADE).is_some_and(|value| !value.is_empty());
    let asked = Asked { method, target, headers, upgrade };
    let explain = headers.get(EXPLAIN).is_some_and(|value| !value.is_empty());
    let outcome =
        if explain { verdict::judge_again(shared, &asked) } else { verdict::judge(shared, worker, &asked).await };
    let outcome = match outcome {
        Outcome::Pass(_) if upgrade => Outcome::Refuse(verdict::upgrade_refused(shared, headers)),
        outcome => outcome,
    };
    Ok(match outcome {
        Outcome::Refuse(refusal) if explain => answer::refusal(*refusal),
        Outcome::Refuse(refusal) => no(&refusal),
        // It was refused a moment ago: the set moved on in between. The next attempt gets its yes.
        Outcome::Pass(_) if explain => answer::try_again(),
        Outcome::Pass(pass) => yes(&pass, headers),
    })
}

fn yes(pass: &Pass, asked: &HeaderMap) -> Response<Passing> {
    let mut response = Response::new(Passing::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.extend(verdict::identity_headers(pass));
    if let Ok(target) = HeaderValue::from_str(&pass.target) {
        headers.insert(FORWARD_TARGET, target);
    }
    if pass.keep_authorization
        && let Some(value) = asked.get(http::header::AUTHORIZATION)
    {
        headers.insert(FORWARD_AUTHORIZATION, value.clone());
    }
    answer::announce(headers, &pass.announcement);
    response
}

fn no(refusal: &Refusal) -> Response<Passing> {
    let status = match refusal.status.as_u16() {
        401 => StatusCode::UNAUTHORIZED,
        400..500 => StatusCode::FORBIDDEN,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut response = Response::new(Passing::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(STATUS, HeaderValue::from(refusal.status.as_u16()));
    headers.insert(CODE, HeaderValue::from_static(refusal.code.as_str()));
    for (name, value) in &refusal.headers {
        if let Ok(value) = HeaderValue::from_str(value)
            && *name != "content-type"
        {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

fn misconfigured() -> Response<Passing> {
    let mut response = Response::new(Passing::whole(MISCONFIGURED));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// The value of a header that must be there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}
