//! The listener for operators: is it alive, is it ready, how does it go.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;

use crate::metrics;
use crate::shared::Shared;

/// How long a scraper may take for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers for as long as the process lives.
pub(crate) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| {
            let response = answer(&shared, &request);
            async move { Ok::<_, Infallible>(response) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        tokio::spawn(async move {
            // A scraper that goes away is no concern of ours.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(shared: &Shared, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n".into());
    }
    match request.uri().path() {
        "/healthz" => plain(StatusCode::OK, "ok\n".into()),
        "/readyz" => readiness(shared),
        "/metrics" => typed(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            metrics::encode_all(shared),
        ),
        _ => plain(StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics\n".into()),
    }
}

/// Ready while a request could be answered.
fn readiness(shared: &Shared) -> Response<Full<Bytes>> {
    let reading = shared.clock.read();
    let status = shared.status().clone();
    let gate = shared.gate();
    let reason = match gate.edge.loaded() {
        None => Some("cold"),
        Some(loaded) if reading.behind > loaded.head().skew => Some("clock_refused"),
        Some(_) if gate.edge.serving(reading.now).is_none() => Some("hard_stale"),
        Some(_) => None,
    };
    let head = gate.edge.loaded().map(nightlatch_sync::Serving::head);
    let body = json!({
        "ready": reason.is_none(),
        "reason": reason,
        "failure": status.failure,
        "not_kept": status.not_persisted,
        "version": head.map(|head| head.version),
        "data_age_ms": head.map(|head| reading.now.saturating_sub(head.issued)),
    });
    let code = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    typed(code, "application/json", format!("{body}\n"))
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", text)
}

fn typed(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
