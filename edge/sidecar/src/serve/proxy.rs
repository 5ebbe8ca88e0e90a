//! Forwarding what is let through: bodies stream both ways as fast as the slower side takes them, and end at the route's
//! `max_connection_age` where it has one, whatever has become of the set meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use nightlatch_gate::headers::is_removed;
use tokio::time::{Instant, timeout_at};

use super::answer;
use super::body::{Broken, Passing, Pulse};
use crate::config::Origin;
use crate::http::Client;
use crate::shared::Shared;
use crate::source::chain;
use crate::verdict::{self, Asked, Outcome, Pass};

/// How long the origin may take to begin its answer, after it has the whole request; and how long nothing of a request may
/// get on before that.
const ORIGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Fields that belong to one connection (RFC 9110 §7.6.1), and the host, which follows from the origin.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    http::header::PROXY_AUTHENTICATE,
    http::header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    http::header::TE,
    // Nor do trailers themselves pass: see `Passing`.
    http::header::TRAILER,
    http::header::TRANSFER_ENCODING,
    UPGRADE,
];
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Answers one request. An error ends the client's connection without an answer, or in the middle of one.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    worker: usize,
    client: &Client<Passing>,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response<Passing>, Broken> {
    let counts = &shared.workers[worker];
    let upgrade = verdict::asks_for_upgrade(request.method(), request.headers());
    let target = request.uri().path_and_query().map_or_else(|| request.uri().to_string(), ToString::to_string);
    let asked = Asked { method: request.method().as_str(), target: &target, headers: request.headers(), upgrade };
    let pass = match verdict::judge(shared, counts, &asked).await {
        Outcome::Pass(pass) => *pass,
        Outcome::Refuse(refusal) => return Ok(answer::refusal(*refusal)),
    };
    // There are no tunnels but WebSockets, and none without an end.
    let refused = upgrade && (pass.max_age.is_none() || !is_websocket(request.method(), request.headers()));
    let origin = shared.gate().config.origin.clone();
    let Some(origin) = origin.filter(|_| !refused) else {
        return Ok(answer::refusal(*verdict::upgrade_refused(shared, request.headers())));
    };

    let end = pass.max_age.map(|age| Instant::now() + age);
    let client_side = upgrade.then(|| hyper::upgrade::on(&mut request));
    let names = request.headers().clone();
    let pulse = Pulse::new();
    let body = |body| Passing::watched(body, end, pulse.clone());
    let Some(outgoing) = outgoing(request.map(body), &origin, &pass, peer, upgrade) else {
        return Ok(answer::refusal(*verdict::unreachable(shared, counts, &names)));
    };
    let asking = async {
        tokio::select! {
            answered = client.request(outgoing) => Some(answered),
            () = pulse.quiet(ORIGIN_TIMEOUT) => None,
        }
    };
    let answered = match end {
        Some(end) => timeout_at(end, asking).await.unwrap_or_default(),
        None => asking.await,
    };
    let mut response = match answered {
        Some(Ok(response)) => response,
        Some(Err(_)) | None if end.is_some_and(|end| Instant::now() >= end) => return Err(Broken::Aged),
        Some(Err(error)) => {
            tracing::debug!("the origin did not answer: {}", chain(&error));
            return Ok(answer::refusal(*verdict::unreachable(shared, counts, &names)));
        }
        None => return Ok(answer::refusal(*verdict::unreachable(shared, counts, &names))),
    };

    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (Some(client_side), Some(end)) = (client_side, end) else {
            // It was not asked to.
            return Ok(answer::refusal(*verdict::unreachable(shared, counts, &names)));
        };
        let origin_side = hyper::upgrade::on(&mut response);
        let (shared, mut headers) = (Arc::clone(shared), std::mem::take(response.headers_mut()));
        tokio::spawn(async move {
            let (Ok(client_side), Ok(origin_side)) = (client_side.await, origin_side.await) else { return };
            let (mut client_side, mut origin_side) = (TokioIo::new(client_side), TokioIo::new(origin_side));
            let both = tokio::io::copy_bidirectional(&mut client_side, &mut origin_side);
            if timeout_at(end, both).await.is_err() {
                shared.workers[worker].ended_by_age(peer);
            }
        });
        remove_hop_by_hop(&mut headers);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, WEBSOCKET);
        answer::announce(&mut headers, &pass.announcement);
        let mut switching = Response::new(Passing::empty());
        *switching.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *switching.headers_mut() = headers;
        return Ok(switching);
    }
    remove_hop_by_hop(response.headers_mut());
    answer::announce(response.headers_mut(), &pass.announcement);
    // Which version the origin speaks is its own connection's affair.
    *response.version_mut() = Version::HTTP_11;
    Ok(response.map(|body| Passing::stream(body, end)))
}

/// The request as the origin receives it; nothing where its target is none that can be sent.
fn outgoing(
    request: Request<Passing>,
    origin: &Origin,
    pass: &Pass,
    peer: SocketAddr,
    upgrade: bool,
) -> Option<Request<Passing>> {
    let (mut parts, body) = request.into_parts();
    let target = if origin.prefix.is_empty() {
        pass.target.parse().ok()?
    } else {
        format!("{}{}", origin.prefix, pass.target).parse().ok()?
    };
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(origin.scheme.clone());
    uri.authority = Some(origin.authority.clone());
    uri.path_and_query = Some(target);
    parts.uri = Uri::from_parts(uri).ok()?;
    parts.version = Version::HTTP_11;
    strip(&mut parts.headers, pass.keep_authorization);
    parts.headers.extend(verdict::identity_headers(pass));
    let address = peer.ip().to_canonical().to_string();
    if let Ok(value) = HeaderValue::try_from(address) {
        parts.headers.append(X_FORWARDED_FOR, value);
    }
    if let Some(host) = parts.headers.remove(HOST) {
        parts.headers.insert(X_FORWARDED_HOST, host);
    }
    if upgrade {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, WEBSOCKET);
    }
    Some(Request::from_parts(parts, body))
}

/// Whether a request asks for a WebSocket and nothing else. Whoever got another protocol, HTTP/2 above all, could send
/// requests of any path and any caller through it, which nobody judges.
fn is_websocket(method: &Method, headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(UPGRADE).iter();
    let first = protocols.next().is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"));
    method == Method::GET && first && protocols.next().is_none()
}

/// Removes what carries keys, what only we may say, and what belongs to the client's connection.
fn strip(headers: &mut HeaderMap, keep_authorization: bool) {
    let removed: Vec<HeaderName> = headers.keys().filter(|name| is_removed(name.as_str())).cloned().collect();
    for name in removed {
        headers.remove(name);
    }
    remove_hop_by_hop(headers);
    if !keep_authorization {
        headers.remove(AUTHORIZATION);
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // A client must not be able to have the origin take a message for another.
        .filter(|name| *name != HOST && *name != http::header::CONTENT_LENGTH)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Whether a connection broke off because its route's `max_connection_age` had come.
pub(super) fn is_aged(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if matches!(inner.downcast_ref(), Some(Broken::Aged)) {
            return true;
        }
        cause = inner.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(headers: &[(&'static str, &'static str)], keep_authorization: bool) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip(&mut map, keep_authorization);
        let mut names: Vec<_> = map.keys().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn one_protocol_may_be_asked_for() {
        let ask = |method: Method, protocols: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for protocol in protocols {
                headers.append(UPGRADE, HeaderValue::from_static(protocol));
            }
            is_websocket(&method, &headers)
        };
        assert!(ask(Method::GET, &["websocket"]) && ask(Method::GET, &["WebSocket"]));
        assert!(!ask(Method::POST, &["websocket"]) && !ask(Method::CONNECT, &["websocket"]));
        for other in [&["h2c"][..], &["websocket, h2c"], &["websocket", "h2c"], &["h2c", "websocket"], &[""], &[]] {
            assert!(!ask(Method::GET, other), "{other:?}");
        }
    }

    #[test]
    fn keys_disguises_and_the_connections_own_fields_stay_here() {
        let sent = [
            ("authorization", "Bearer x"),
            ("x-api-key", "x"),
            ("x_api_key", "x"),
            ("x-nightlatch-principal", "prn_1"),
            ("x_nightlatch_key_id", "key_1"),
            ("connection", "x-hop, Host, content-length, close"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("trailer", "x-nightlatch-principal, x-api-key"),
            ("content-length", "3"),
            ("host", "api.example"),
            ("accept", "*/*"),
        ];
        assert_eq!(stripped(&sent, false), ["accept", "content-length", "host"]);
        assert_eq!(stripped(&sent, true), ["accept", "authorization", "content-length", "host"]);
    }
}
