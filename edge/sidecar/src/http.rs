//! The HTTP client, for the origin as well as for source and control plane.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Body;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);

/// A client whose requests have bodies of this kind. Its connections live on the runtime that asks.
pub(crate) type Client<B> = legacy::Client<HttpsConnector<HttpConnector>, B>;

/// Makes a client. It speaks HTTP/1.1, keeps connections, follows no redirect and trusts whom the system trusts.
///
/// # Errors
/// When the system's certificates cannot be had.
pub(crate) fn client<B>() -> Result<Client<B>, String>
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    let tls = rustls::ClientConfig::builder().with_platform_verifier().map_err(|error| error.to_string())?;
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls.with_no_client_auth())
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new());
    Ok(builder.build(connector))
}

/// A body that is longer than it may be, or broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the file is longer than it may be")]
    TooLong,
    #[error("the answer broke off: {0}")]
    Broken(#[from] hyper::Error),
}

/// Reads a body to its end, which must come within `max_len` bytes, in pieces of these lengths; whatever is more goes
/// into the last one. Memory for all of it is taken at once: growing to the length of a part would take it twice.
pub(crate) async fn read(
    response: Response<Incoming>,
    max_len: u64,
    lens: &[usize],
) -> Result<Vec<Vec<u8>>, BodyError> {
    let mut body = response.into_body();
    if body.size_hint().lower() > max_len {
        return Err(BodyError::TooLong);
    }
    let mut pieces: Vec<Vec<u8>> = lens.iter().map(|len| Vec::with_capacity(*len)).collect();
    if pieces.is_empty() {
        pieces.push(Vec::new());
    }
    let (mut left, mut at) = (max_len, 0);
    while let Some(frame) = body.frame().await {
        let Ok(mut data): Result<Bytes, _> = frame?.into_data() else { continue };
        left = left.checked_sub(data.len() as u64).ok_or(BodyError::TooLong)?;
        while !data.is_empty() {
            let last = at + 1 >= pieces.len();
            let room = if last { data.len() } else { lens[at].saturating_sub(pieces[at].len()) };
            let now = data.split_to(room.min(data.len()));
            pieces[at].extend_from_slice(&now);
            if !last && pieces[at].len() >= lens[at] {
                at += 1;
            }
        }
    }
    Ok(pieces)
}
