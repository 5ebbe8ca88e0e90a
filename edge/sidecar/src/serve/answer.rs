//! Answers of our own.

use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, LINK, RETRY_AFTER};
use http::{Response, StatusCode};

use super::body::Passing;
use crate::verdict::Refusal;

/// The answer to a refused request: status, headers, problem document.
pub(super) fn refusal(refusal: Refusal) -> Response<Passing> {
    let mut response = Response::new(Passing::whole(refusal.body));
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    for (name, value) in refusal.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// 503, to come again at once.
pub(super) fn try_again() -> Response<Passing> {
    let mut response = Response::new(Passing::empty());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Says that a key is about to end. Links stand beside those that are there; the rest replaces.
pub(super) fn announce(headers: &mut HeaderMap, announcement: &[(&'static str, String)]) {
    for (name, value) in announcement {
        let Ok(value) = HeaderValue::from_str(value) else { continue };
        let name = HeaderName::from_static(name);
        if name == LINK {
            headers.append(name, value);
        } else {
            headers.insert(name, value);
        }
    }
}
