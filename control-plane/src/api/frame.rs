//! What surrounds every request: its id, its log line, its metrics, and the writing out of refusals.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use nightlatch_api::{Code, PROBLEM_CONTENT_TYPE};
use tracing::Instrument as _;

use super::App;
use super::refused::{Refused, RefusedProblem};
use super::request_id::{self, RequestId};
use super::source::Source;

/// Runs a request and completes its response.
pub(super) async fn run(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = RequestId::of(request.headers());
    let method = request.method().clone();
    // The pattern, not the path: a path may hold what somebody mistook for an id.
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    request.extensions_mut().insert(id.clone());
    if let Some(source) = Source::of(request.headers(), request.extensions(), app.trusted_proxies()) {
        request.extensions_mut().insert(source);
    }
    let span = tracing::info_span!("request", request_id = %id.0, method = %method, route = %route, caller = tracing::field::Empty);
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let response = answered.unwrap_or_else(|_| {
        tracing::error!(parent: &span, "a handler panicked");
        Refused::new(Code::Internal).into_response()
    });
    let response = complete(response, &id);
    let (status, took) = (response.status().as_u16(), started.elapsed());
    app.metrics().answered(known_method(method.as_str()), &route, status, took);
    let took_ms = took.as_secs_f64() * 1000.0;
    // Probes and scrapes come every few seconds and say nothing; nor do thousands of edges that follow a head.
    let quiet = !route.starts_with("/v1/") || route == "/v1/sets/{set}/head" && status < 400;
    if !quiet || status >= 500 {
        tracing::info!(parent: &span, status, took_ms, "answered");
    } else {
        tracing::debug!(parent: &span, status, took_ms, "answered");
    }
    response
}

fn complete(mut response: Response, id: &RequestId) -> Response {
    if let Some(RefusedProblem(mut problem)) = response.extensions_mut().remove() {
        problem.request_id = Some(id.0.clone());
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        *response.body_mut() = Body::from(body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_CONTENT_TYPE));
    }
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        headers.insert(HeaderName::from_static(request_id::HEADER), value);
    }
    response
}

/// Strange methods share a label: callers must not be able to make metrics grow.
fn known_method(method: &str) -> &str {
    match method {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => method,
        _ => "other",
    }
}
