//! Finding the key in a request, and taking it out of what is forwarded.
//!
//! A key is read from the places its route lists, in that order: `Authorization: Bearer`, `X-API-Key`, and query
//! parameters where the route names them. The same key in two places is one key; two different keys are refused, as
//! guessing which one was meant would make a rotation's outcome depend on luck. Other schemes of `Authorization` are no
//! credential and belong to the origin.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Deref;

use zeroize::Zeroizing;

use crate::percent::Decoded;
use crate::policy::{CredentialSource, Route};
use crate::request::Request;

/// The longest value that is looked at, in bytes. No key is longer than 128; the rest is left to tokens of other
/// systems, which are then refused as keys.
pub const MAX_CREDENTIAL_BYTES: usize = 4_096;

/// The text of a key that a request presented: a secret, or what was sent in its place.
pub struct Credential<'a>(Text<'a>);

enum Text<'a> {
    Borrowed(&'a [u8]),
    /// Decoded from a query; erased when dropped.
    Decoded(Zeroizing<Vec<u8>>),
}

impl Deref for Credential<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Text::Borrowed(text) => text,
            Text::Decoded(text) => text,
        }
    }
}

/// Why no single credential was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialError {
    /// None was sent where the route reads them.
    Missing,
    /// Two different ones were sent.
    Conflict,
    /// One is longer than [`MAX_CREDENTIAL_BYTES`].
    TooLarge,
}

/// Reads the credential of a request. `query` is the query of its target.
///
/// # Errors
/// [`CredentialError`] unless exactly one was sent, however often.
pub fn extract<'a>(
    route: &Route,
    request: &Request<'a>,
    query: Option<&'a str>,
) -> Result<Credential<'a>, CredentialError> {
    let mut found = None;
    for source in route.credentials() {
        match source {
            CredentialSource::Bearer => {
                if let Some(text) = request.authorization.and_then(bearer) {
                    admit(&mut found, Text::Borrowed(text))?;
                }
            }
            CredentialSource::ApiKey => {
                if let Some(value) = request.x_api_key {
                    admit(&mut found, Text::Borrowed(value.trim_ascii()))?;
                }
            }
            CredentialSource::Query(name) => {
                for pair in query.into_iter().flat_map(|query| query.split('&')) {
                    if names(pair, name) {
                        let value = pair.split_once('=').map_or("", |(_, value)| value);
                        admit(&mut found, decode(value)?)?;
                    }
                }
            }
        }
    }
    found.ok_or(CredentialError::Missing)
}

/// Takes a candidate in. Empty values are nothing.
fn admit<'a>(found: &mut Option<Credential<'a>>, text: Text<'a>) -> Result<(), CredentialError> {
    let candidate = Credential(text);
    if candidate.len() > MAX_CREDENTIAL_BYTES {
        return Err(CredentialError::TooLarge);
    }
    match found {
        _ if candidate.is_empty() => Ok(()),
        // Both came from the caller: comparing them tells nothing new.
        Some(first) if **first != *candidate => Err(CredentialError::Conflict),
        Some(_) => Ok(()),
        None => {
            *found = Some(candidate);
            Ok(())
        }
    }
}

fn decode(value: &str) -> Result<Text<'_>, CredentialError> {
    // Three bytes stand for one at most.
    if value.len() > 3 * MAX_CREDENTIAL_BYTES {
        return Err(CredentialError::TooLarge);
    }
    if !value.contains('%') {
        return Ok(Text::Borrowed(value.as_bytes()));
    }
    // Never grown: growing would leave a copy of the secret behind.
    let mut text = Zeroizing::new(Vec::with_capacity(value.len()));
    text.extend(Decoded::new(value.as_bytes()));
    Ok(Text::Decoded(text))
}

/// What follows the scheme `Bearer`, of any case, and its spaces; `None` for other schemes.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return None;
    }
    match rest.first() {
        None => Some(rest),
        Some(b' ') => Some(rest.trim_ascii_start()),
        Some(_) => None,
    }
}

/// Whether a `name=value` pair of a query has that name, escaped or not.
fn names(pair: &str, name: &str) -> bool {
    let raw = pair.split_once('=').map_or(pair, |(name, _)| name);
    Decoded::new(raw.as_bytes()).eq(name.bytes())
}

/// Whether `Authorization` may reach the origin: it may not where the route reads keys from it, nor where it holds a
/// key. `key` is the text that was accepted, empty where none was needed. A field that was sent several times comes joined by
/// commas, and each part is looked at.
pub(crate) fn keeps_authorization(route: &Route, authorization: Option<&[u8]>, key: &[u8]) -> bool {
    let Some(value) = authorization else {
        return true;
    };
    let holds_key = |part: &[u8]| {
        bearer(part.trim_ascii()).is_some_and(|text| route.reads_bearer() || nightlatch_key::parse(text).is_ok())
    };
    if value.split(|byte| *byte == b',').any(holds_key) {
        return false;
    }
    key.is_empty() || !value.windows(key.len()).any(|part| part == key)
}

/// The target as the origin receives it: the canonical path, and the query without the parameters that carry keys.
pub(crate) fn forwarded_target<'a>(
    route: &Route,
    received: &'a str,
    path: Cow<'a, str>,
    query: Option<&'a str>,
) -> Cow<'a, str> {
    let carries = |pair: &str| route.parameters().any(|name| names(pair, name));
    let Some(query) = query else {
        return path;
    };
    let strip = query.split('&').any(carries);
    if !strip && matches!(path, Cow::Borrowed(_)) {
        return Cow::Borrowed(received);
    }
    let mut target = String::with_capacity(path.len() + 1 + query.len());
    target.push_str(&path);
    let mut separator = '?';
    for pair in query.split('&') {
        if strip && carries(pair) {
            continue;
        }
        target.push(separator);
        target.push_str(pair);
        separator = '&';
    }
    Cow::Owned(target)
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::{Draft, Policy, RouteDraft};

    fn policy(sources: &[&str]) -> Policy {
        let sources = sources.iter().map(|text| CredentialSource::parse(text).unwrap());
        Policy::new(Draft::new("test").route(RouteDraft::new("*", "/{*rest}").credentials(sources))).unwrap()
    }

    fn read(
        sources: &[&str],
        authorization: Option<&str>,
        x_api_key: Option<&str>,
        query: Option<&str>,
    ) -> Result<String, CredentialError> {
        let policy = policy(sources);
        let request = Request {
            authorization: authorization.map(str::as_bytes),
            x_api_key: x_api_key.map(str::as_bytes),
            ..Request::new("GET", "/")
        };
        extract(&policy.routes()[0], &request, query).map(|text| String::from_utf8(text.to_vec()).unwrap())
    }

    const BOTH: &[&str] = &["authorization", "x-api-key"];

    #[test]
    fn keys_are_read_from_either_header() {
        let found = |text: &str| Ok(String::from(text));
        assert_eq!(read(BOTH, Some("Bearer abc"), None, None), found("abc"));
        assert_eq!(read(BOTH, Some("bEARER   abc"), None, None), found("abc"));
        assert_eq!(read(BOTH, Some("Bearer abc  "), None, None), found("abc"));
        assert_eq!(read(BOTH, None, Some(" abc "), None), found("abc"));
        assert_eq!(read(BOTH, Some("Bearer abc"), Some("abc"), None), found("abc"));
        assert_eq!(read(BOTH, Some("Basic eDp5"), Some("abc"), None), found("abc"));
        assert_eq!(read(BOTH, Some("Bearer abc def"), None, None), found("abc def"));
    }

    #[test]
    fn what_is_no_credential_is_missing() {
        for authorization in ["", "Bearer", "Bearer ", "Basic abc", "Bearerabc", "Bear", "Bearer\tabc", "abc"] {
            assert_eq!(read(BOTH, Some(authorization), None, None), Err(CredentialError::Missing), "{authorization}");
        }
        assert_eq!(read(BOTH, None, Some("  "), None), Err(CredentialError::Missing));
        assert_eq!(read(BOTH, None, None, Some("api_key=abc")), Err(CredentialError::Missing));
        assert_eq!(read(&["authorization"], None, Some("abc"), None), Err(CredentialError::Missing));
        assert_eq!(read(&["x-api-key"], Some("Bearer abc"), None, None), Err(CredentialError::Missing));
    }

    #[test]
    fn two_different_keys_conflict() {
        assert_eq!(read(BOTH, Some("Bearer abc"), Some("abd"), None), Err(CredentialError::Conflict));
        let three = &["authorization", "x-api-key", "query:k"];
        assert_eq!(read(three, Some("Bearer abc"), None, Some("k=abd")), Err(CredentialError::Conflict));
        assert_eq!(read(three, None, None, Some("k=a&k=b")), Err(CredentialError::Conflict));
        assert_eq!(read(three, None, None, Some("k=a&k=%61&k=")), Ok("a".into()));
    }

    #[test]
    fn queries_are_read_where_the_route_says() {
        let sources = &["query:api_key"];
        assert_eq!(read(sources, None, None, Some("a=b&api_key=x%5Fy&c")), Ok("x_y".into()));
        assert_eq!(read(sources, None, None, Some("api%5fkey=x")), Ok("x".into()));
        assert_eq!(read(sources, None, None, Some("api_key=x%zz%4")), Ok("x%zz%4".into()));
        assert_eq!(read(sources, None, None, Some("API_KEY=x&api_key")), Err(CredentialError::Missing));
        assert_eq!(read(sources, None, None, None), Err(CredentialError::Missing));
    }

    #[test]
    fn long_values_are_too_large() {
        let long = "x".repeat(MAX_CREDENTIAL_BYTES + 1);
        let fits = &long[1..];
        assert_eq!(read(BOTH, None, Some(&long), None), Err(CredentialError::TooLarge));
        assert_eq!(read(BOTH, Some(&format!("Bearer {long}")), None, None), Err(CredentialError::TooLarge));
        assert_eq!(read(BOTH, Some(&format!("Negotiate {long}")), None, None), Err(CredentialError::Missing));
        assert_eq!(read(&["query:k"], None, None, Some(&format!("k={long}"))), Err(CredentialError::TooLarge));
        let escaped = "%78".repeat(MAX_CREDENTIAL_BYTES + 1);
        assert_eq!(read(&["query:k"], None, None, Some(&format!("k={escaped}"))), Err(CredentialError::TooLarge));
        assert_eq!(read(BOTH, None, Some(fits), None), Ok(fits.into()));
    }

    #[test]
    fn forwarded_targets_carry_no_key() {
        let forward = |sources: &[&str], target: &str| {
            let policy = policy(sources);
            let canonical = crate::path::canonicalize(target).unwrap();
            forwarded_target(&policy.routes()[0], target, canonical.path, canonical.query).into_owned()
        };
        let query = &["query:k", "query:q"];
        assert_eq!(forward(query, "/a"), "/a");
        assert_eq!(forward(query, "/a?"), "/a?");
        assert_eq!(forward(query, "/%61?b=%61"), "/a?b=%61");
        assert_eq!(forward(query, "/a?k=s"), "/a");
        assert_eq!(forward(query, "/a?k=s&b=c&%6b=s&d"), "/a?b=c&d");
        assert_eq!(forward(query, "/a?b&&k&q=&c=k"), "/a?b&&c=k");
        assert_eq!(forward(BOTH, "/a?k=s"), "/a?k=s");
    }

    #[test]
    fn authorization_is_kept_only_without_a_key() {
        let keeps = |sources: &[&str], value: &str, key: &str| {
            keeps_authorization(&policy(sources).routes()[0], Some(value.as_bytes()), key.as_bytes())
        };
        assert!(!keeps(BOTH, "Bearer abc", "abc"));
        assert!(!keeps(BOTH, "Bearer", "abc"));
        assert!(keeps(BOTH, "Basic eDp5", "abc"));
        assert!(!keeps(BOTH, "Basic eDp5, Bearer abc", "abc"));
        assert!(!keeps(BOTH, "Basic eDp5, Bearer other", "abc"));
        assert!(keeps(&["x-api-key"], "Bearer somebody.elses.token", "abc"));
        assert!(!keeps(&["x-api-key"], "Bearer abc", "abc"));
        let minted = nightlatch_key::mint(
            &nightlatch_key::Brand::new("nl").unwrap(),
            nightlatch_key::Environment::Live,
            1_700_000_000,
            &mut |bytes| bytes.fill(7),
        );
        assert!(!keeps(&["x-api-key"], &format!("Bearer {}", minted.expose()), "abc"));
        assert!(!keeps(&["x-api-key"], &format!("Basic eDp5,Bearer {}", minted.expose()), "abc"));
    }

    /// Where a key may be put, with some that no route reads.
    fn placements() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
        let place =
            prop::sample::select(alloc::vec!["authorization", "x-api-key", "query:k", "query:q", "query:other"]);
        let key = prop::sample::select(alloc::vec!["SECRET-1", "SECRET-2", "%53ECRET-1", ""]);
        prop::collection::vec((place, key), 0..5)
    }

    proptest! {
        #[test]
        fn the_one_key_sent_is_found_and_never_forwarded(placements in placements()) {
            let sources = ["authorization", "x-api-key", "query:k", "query:q"];
            let policy = policy(&sources);
            let route = &policy.routes()[0];
            let last = |place: &str| placements.iter().rev().find(|(at, _)| *at == place).map(|(_, key)| *key);
            let authorization = last("authorization").map(|key| format!("Bearer {key}"));
            let pairs = placements.iter().filter_map(|(place, key)| Some(format!("{}={key}", place.strip_prefix("query:")?)));
            let target = format!("/a?{}", pairs.collect::<Vec<_>>().join("&"));
            let request = Request {
                authorization: authorization.as_deref().map(str::as_bytes),
                x_api_key: last("x-api-key").map(str::as_bytes),
                ..Request::new("GET", &target)
            };
            let canonical = crate::path::canonicalize(&target).unwrap();

            // The model: what is sent where it is read; escapes are undone in queries only.
            let headers = ["authorization", "x-api-key"].into_iter().filter_map(last).map(String::from);
            let queries = placements.iter().filter(|(place, _)| matches!(*place, "query:k" | "query:q"));
            let mut sent: Vec<String> = headers.chain(queries.map(|(_, key)| key.replace("%53", "S"))).collect();
            sent.retain(|key| !key.is_empty());
            sent.sort();
            sent.dedup();

            let found = extract(route, &request, canonical.query);
            match (found, &sent[..]) {
                (Err(CredentialError::Missing), []) | (Err(CredentialError::Conflict), [_, _, ..]) => {}
                (Ok(text), [key]) => prop_assert_eq!(&*text, key.as_bytes()),
                (found, sent) => prop_assert!(false, "{:?} {:?}", found.map(|text| text.to_vec()), sent),
            }
            let forwarded = forwarded_target(route, &target, canonical.path, canonical.query);
            let other = placements.iter().filter(|(place, _)| *place == "query:other").count();
            prop_assert_eq!(forwarded.matches('=').count(), other);
            prop_assert!(forwarded.split(['?', '&']).skip(1).all(|pair| pair.is_empty() || pair.starts_with("other=")));
        }
    }
}
