//! The cookies this server sets: read by this host over TLS only, by no script, and not sent along by other sites' forms.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use cookie::time::Duration;
use cookie::{Cookie, SameSite};

use crate::api::refused::Refused;
use crate::signin::SessionSecret;

/// The session's.
pub(super) const SESSION: &str = "__Host-nightlatch";

/// A cookie that holds a secret for so many milliseconds.
pub(super) fn set(name: &'static str, secret: &SessionSecret, lifetime_ms: i64) -> HeaderValue {
    header(Cookie::build((name, secret.expose().as_str().to_owned())).max_age(Duration::milliseconds(lifetime_ms)))
}

/// The end of a cookie.
pub(super) fn clear(name: &'static str) -> HeaderValue {
    header(Cookie::build((name, "")).max_age(Duration::ZERO))
}

fn header(cookie: cookie::CookieBuilder<'_>) -> HeaderValue {
    let cookie = cookie.path("/").secure(true).http_only(true).same_site(SameSite::Lax).build();
    let mut value = HeaderValue::try_from(cookie.to_string()).expect("the cookie is of visible ASCII characters");
    value.set_sensitive(true);
    value
}

/// The value of a cookie the browser sent. `None` where it sent none.
///
/// # Errors
/// Where it sent two of the name: a `__Host-` cookie exists once.
pub(super) fn value(headers: &HeaderMap, name: &str) -> Result<Option<String>, Refused> {
    let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found = texts
        .flat_map(Cookie::split_parse)
        .flatten()
        .filter(|cookie| cookie.name() == name)
        .map(|cookie| cookie.value().to_owned());
    let first = found.next();
    match found.next() {
        Some(_) => Err(Refused::invalid("Cookie", format!("{name} must be sent once"))),
        None => Ok(first),
    }
}

/// Whether the browser sent a session's cookie.
///
/// # Errors
/// Where it sent two.
pub(in crate::api) fn is_sent(headers: &HeaderMap) -> Result<bool, Refused> {
    Ok(value(headers, SESSION)?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::os_random;

    #[test]
    fn a_cookie_is_for_this_host_alone() {
        let secret = SessionSecret::draw(&mut os_random);
        let header = set(SESSION, &secret, 60_000);
        let text = header.to_str().unwrap();
        assert!(text.starts_with(&format!("{SESSION}={}; ", *secret.expose())), "{text}");
        for part in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/", "Max-Age=60"] {
            assert!(text.split("; ").any(|one| one == part), "{text}");
        }
        assert!(!text.contains("Domain"), "{text}");
        assert!(clear(SESSION).to_str().unwrap().contains("Max-Age=0"));
    }

    #[test]
    fn a_cookie_is_found_among_others_and_once() {
        let headers = |texts: &[&str]| {
            let mut headers = HeaderMap::new();
            for text in texts {
                headers.append(COOKIE, HeaderValue::from_str(text).unwrap());
            }
            headers
        };
        let one = headers(&["a=b; __Host-nightlatch=x; __Host-nightlatch-oidc=y", "c=d"]);
        assert_eq!(value(&one, SESSION).unwrap().as_deref(), Some("x"));
        assert_eq!(value(&headers(&["a=b"]), SESSION).unwrap(), None);
        assert!(value(&headers(&["__Host-nightlatch=x; __Host-nightlatch=y"]), SESSION).is_err());
        assert!(value(&headers(&["__Host-nightlatch=x", "__Host-nightlatch=x"]), SESSION).is_err());
    }
}
