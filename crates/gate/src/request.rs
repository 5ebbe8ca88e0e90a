//! What the gate is told about a request.

/// A request, as the runtime received it. Everything is borrowed.
///
/// A header that came several times is given as HTTP joins it: the values in order, with `, ` between.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// Path and query, as sent, not decoded.
    pub target: &'a str,
    /// The value of `Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// The value of `X-API-Key`.
    pub x_api_key: Option<&'a [u8]>,
    /// Whether the request asks for another protocol on its connection (`Upgrade`, or `CONNECT`).
    pub upgrade: bool,
    /// For an `OPTIONS` request with an `Origin`: the value of `Access-Control-Request-Method`. It makes the request a
    /// preflight.
    pub preflight: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// A request without headers.
    #[must_use]
    pub const fn new(method: &'a str, target: &'a str) -> Self {
        Self { method, target, authorization: None, x_api_key: None, upgrade: false, preflight: None }
    }
}
