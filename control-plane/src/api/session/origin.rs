//! Whether a browser's call comes from this server's own pages.

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Method, Uri};
use nightlatch_api::Code;

use crate::api::refused::Refused;

/// Lets calls pass that no other site's page can have caused: what the browser says of the call, or else the origin it
/// names, must be this server's. Programs other than browsers say neither.
pub(super) fn require_own(headers: &HeaderMap) -> Result<(), Refused> {
    let foreign = || Refused::new(Code::CsrfInvalid).detail("The call comes from another site.");
    let mut fetch_sites = headers.get_all("sec-fetch-site").iter().peekable();
    // The browser compares the whole origin, also where a proxy has changed the host's name on the way here.
    if fetch_sites.peek().is_some() {
        return if fetch_sites.all(|site| site == "same-origin") { Ok(()) } else { Err(foreign()) };
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    for origin in headers.get_all(ORIGIN) {
        let authority = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
        let authority = authority.as_ref().and_then(Uri::authority).map(ToString::to_string);
        let own = matches!((&authority, host), (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host));
        if !own {
            return Err(foreign());
        }
    }
    Ok(())
}

/// Whether another site's page led the browser to this call: a link there that somebody followed, knowingly or not.
pub(super) fn is_led_by_another(headers: &HeaderMap) -> bool {
    headers.get_all("sec-fetch-site").iter().any(|site| site != "same-origin" && site != "none")
}

/// Whether calls of this method change nothing.
pub(in crate::api) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn passes(pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        require_own(&headers).is_ok()
    }

    #[test]
    fn a_link_on_another_site_is_told_apart() {
        let led = |sites: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for site in sites {
                headers.append("sec-fetch-site", HeaderValue::from_static(site));
            }
            is_led_by_another(&headers)
        };
        assert!(!led(&[]) && !led(&["same-origin"]) && !led(&["none"]));
        assert!(led(&["cross-site"]) && led(&["same-site"]) && led(&["none", "cross-site"]) && led(&[""]));
    }

    #[test]
    fn calls_of_other_sites_are_refused() {
        let host = ("host", "keys.example.com");
        assert!(passes(&[host]), "no browser");
        assert!(passes(&[host, ("sec-fetch-site", "same-origin")]));
        assert!(passes(&[host, ("origin", "https://keys.example.com")]));
        assert!(passes(&[
            ("host", "inner:8717"),
            ("sec-fetch-site", "same-origin"),
            ("origin", "https://keys.example.com")
        ]));
        for site in ["cross-site", "same-site", "none", ""] {
            assert!(!passes(&[host, ("sec-fetch-site", site), ("origin", "https://keys.example.com")]), "{site}");
        }
        for origin in
            ["https://evil.example", "null", "https://keys.example.com.evil.example", "https://keys.example.com:1", ""]
        {
            assert!(!passes(&[host, ("origin", origin)]), "{origin}");
        }
        assert!(!passes(&[host, ("origin", "https://keys.example.com"), ("origin", "https://evil.example")]));
        assert!(!passes(&[host, ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")]));
        assert!(!passes(&[("origin", "https://keys.example.com")]), "no host to compare with");
    }
}
