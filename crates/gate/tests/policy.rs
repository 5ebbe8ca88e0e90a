//! Writing, encoding and searching route policies.

use nightlatch_gate::path::PathError;
use nightlatch_gate::policy::{
    Cache, CredentialSource, DecodeError, Draft, Flaw, MAX_ROUTES, OptionsRule, Pattern, PatternError, Policy,
    PolicyError, Route, RouteDraft, VERSION, is_scope,
};
use nightlatch_key::Environment;
use nightlatch_keyset::PrincipalKind;
use proptest::prelude::*;

fn route(method: &str, path: &str) -> RouteDraft {
    RouteDraft::new(method, path)
}

fn policy(routes: &[(&str, &str)]) -> Policy {
    Policy::new(routes.iter().fold(Draft::new("test"), |draft, (method, path)| draft.route(route(method, path))))
        .unwrap()
}

fn found<'p>(policy: &'p Policy, method: &str, path: &str) -> Option<(&'p str, &'p str)> {
    policy.find(method, path).map(|route| (route.method().as_str(), route.pattern().as_str()))
}

fn flaw(draft: Draft) -> (Option<usize>, Flaw) {
    let PolicyError { route, flaw } = Policy::new(draft).unwrap_err();
    (route, flaw)
}

#[test]
fn the_most_specific_route_wins() {
    let policy = policy(&[
        ("*", "/{*rest}"),
        ("GET", "/"),
        ("GET", "/users"),
        ("GET", "/users/{id}"),
        ("*", "/users/{id}"),
        ("HEAD", "/users/{id}"),
        ("GET", "/users/me"),
        ("PUT", "/users/{id}/files/{*rest}"),
        ("PUT", "/users/me/{kind}/x"),
        ("GET", "/users/"),
        ("POST", "/keys:revoke"),
    ]);
    for (method, path, expected) in [
        ("GET", "/", ("GET", "/")),
        ("POST", "/", ("*", "/{*rest}")),
        ("GET", "/users", ("GET", "/users")),
        ("HEAD", "/users", ("GET", "/users")),
        ("GET", "/users/", ("GET", "/users/")),
        ("PUT", "/users/", ("*", "/{*rest}")),
        ("GET", "/users/me", ("GET", "/users/me")),
        ("HEAD", "/users/me", ("GET", "/users/me")),
        ("POST", "/users/me", ("*", "/users/{id}")),
        ("GET", "/users/7", ("GET", "/users/{id}")),
        ("HEAD", "/users/7", ("HEAD", "/users/{id}")),
        ("DELETE", "/users/7", ("*", "/users/{id}")),
        ("GET", "/users/7/", ("*", "/{*rest}")),
        ("GET", "/Users/7", ("*", "/{*rest}")),
        ("PUT", "/users/me/files/x", ("PUT", "/users/me/{kind}/x")),
        ("PUT", "/users/me/files/y", ("PUT", "/users/{id}/files/{*rest}")),
        ("PUT", "/users/7/files/", ("PUT", "/users/{id}/files/{*rest}")),
        ("PUT", "/users/7/files", ("*", "/{*rest}")),
        ("POST", "/keys:revoke", ("POST", "/keys:revoke")),
        ("POST", "/keys%3Arevoke", ("POST", "/keys:revoke")),
    ] {
        assert_eq!(found(&policy, method, path), Some(expected), "{method} {path}");
    }
}

#[test]
fn without_a_match_there_is_no_route() {
    let policy = policy(&[("GET", "/a/{x}"), ("POST", "/a/b")]);
    for (method, path) in
        [("GET", "/a"), ("GET", "/a/"), ("GET", "/a/b/c"), ("PUT", "/a/b"), ("get", "/a/b"), ("GET", "/")]
    {
        assert_eq!(found(&policy, method, path), None, "{method} {path}");
    }
    assert_eq!(found(&policy, "GET", "/a/b"), Some(("GET", "/a/{x}")));
    assert_eq!(Policy::new(Draft::new("empty")).unwrap().find("GET", "/"), None);
}

#[test]
fn drafts_are_refused_with_the_route_and_the_reason() {
    let with = |bad: RouteDraft| flaw(Draft::new("t").route(route("GET", "/good")).route(bad));
    let path = |text: &str| with(route("GET", text));
    let pattern = |error| (Some(1), Flaw::Path(error));

    assert_eq!(path("a"), pattern(PatternError::Path(PathError::NotAbsolute)));
    assert_eq!(path("//a"), pattern(PatternError::Path(PathError::EmptySegment)));
    assert_eq!(path("/a/../b"), pattern(PatternError::Path(PathError::DotSegment)));
    assert_eq!(path("/a%2fb"), pattern(PatternError::Path(PathError::EncodedSlash)));
    assert_eq!(path("/a?b"), pattern(PatternError::Query));
    assert_eq!(path("/caf%c3%a9"), pattern(PatternError::NotCanonical("caf%C3%A9".into())));
    assert_eq!(path("/a{b}"), pattern(PatternError::Brace));
    assert_eq!(path("/{}"), pattern(PatternError::Name));
    assert_eq!(path("/{*}"), pattern(PatternError::Name));
    assert_eq!(path("/{a-b}"), pattern(PatternError::Name));
    assert_eq!(path("/{*a}/b"), pattern(PatternError::RestNotLast));
    assert_eq!(path(&format!("/{}", "a".repeat(1024))), pattern(PatternError::TooLong));
    assert_eq!(path(&"/a".repeat(33)), pattern(PatternError::TooManySegments));
    assert!(Pattern::parse(&"/a".repeat(32)).is_ok());

    for method in ["", "get", "G T", "GET ", "**", &"A".repeat(33)] {
        assert_eq!(with(route(method, "/")), (Some(1), Flaw::Method), "{method}");
    }
    assert_eq!(with(route("GET", "/").environments([])), (Some(1), Flaw::NoEnvironment));
    assert_eq!(with(route("GET", "/").scopes(["a", "1"])), (Some(1), Flaw::Scope("1".into())));
    assert_eq!(with(route("GET", "/").scopes(vec!["a"; 65])), (Some(1), Flaw::TooManyScopes));
    assert_eq!(with(route("GET", "/").credentials([])), (Some(1), Flaw::NoCredentialSource));
    let twice = [CredentialSource::Bearer, CredentialSource::Bearer];
    assert_eq!(with(route("GET", "/").credentials(twice)), (Some(1), Flaw::RepeatedCredentialSource));
    let many = (0..9).map(|n| CredentialSource::Query(n.to_string()));
    assert_eq!(with(route("GET", "/").credentials(many)), (Some(1), Flaw::TooManyCredentialSources));
    for name in ["", "a b", "a=b", "a%62", &"a".repeat(65)] {
        let source = CredentialSource::Query(name.into());
        assert_eq!(with(route("GET", "/").credentials([source])), (Some(1), Flaw::Parameter(name.into())));
    }
    for age in [0, 86_401] {
        let aged = RouteDraft { max_connection_age: Some(age), ..route("GET", "/") };
        assert_eq!(with(aged), (Some(1), Flaw::ConnectionAge), "{age}");
    }

    assert_eq!(path("/good"), (Some(1), Flaw::Tie { with: 0 }));
    let tied =
        Draft::new("t").route(route("GET", "/{a}/x")).route(route("PUT", "/{b}/x")).route(route("GET", "/{c}/x"));
    assert_eq!(flaw(tied), (Some(2), Flaw::Tie { with: 0 }));
    let escaped = Draft::new("t").route(route("GET", "/a:b")).route(route("GET", "/a%3Ab"));
    assert_eq!(flaw(escaped), (Some(1), Flaw::Tie { with: 0 }));

    for realm in ["", "a\"b", "a\\b", "é", "a\nb", &"a".repeat(129)] {
        assert_eq!(flaw(Draft::new(realm)), (None, Flaw::Realm));
    }
    for url in [
        "",
        "https://",
        "javascript:x",
        "https://a>b",
        "https://a b",
        "https://é",
        &format!("https://{}", "a".repeat(1017)),
    ] {
        assert_eq!(flaw(Draft::new("t").developer_url(url)), (None, Flaw::DeveloperUrl), "{url}");
    }
    let mut many = Draft::new("t");
    many.routes = (0..=MAX_ROUTES).map(|n| route("GET", &format!("/{n}"))).collect();
    assert_eq!(flaw(many.clone()), (None, Flaw::TooManyRoutes));
    many.routes.pop();
    assert!(Policy::new(many.clone()).is_ok());
    let wide: Vec<String> = (0..64).map(|n| format!("s{n}_{}", "x".repeat(50))).collect();
    many.routes.iter_mut().for_each(|route| route.scopes.clone_from(&wide));
    assert_eq!(flaw(many), (None, Flaw::TooLarge));
}

#[test]
fn errors_name_the_route_the_field_and_the_reason() {
    let error = Policy::new(Draft::new("t").route(route("GET", "/").scopes(["1"]))).unwrap_err();
    assert_eq!(error.to_string(), "route 0: '1' is not a scope ([A-Za-z][A-Za-z0-9_:.-]{0,63})");
    assert_eq!(error.flaw.field(), "scopes");
}

#[test]
fn scopes_have_a_grammar() {
    for good in ["a", "READ_CASH", "invoices:read", "a.b-c_d:9", &"a".repeat(64)] {
        assert!(is_scope(good), "{good}");
    }
    for bad in ["", "1a", ":a", "a b", "a*", "é", &"a".repeat(65)] {
        assert!(!is_scope(bad), "{bad}");
    }
}

fn full() -> Policy {
    let query = CredentialSource::parse("query:api_key").unwrap();
    let draft = Draft::new("Example")
        .developer_url("https://example.com/developers")
        .route(
            route("GET", "/a/{b}/{*c}")
                .environments([Environment::Live, Environment::Test])
                .scopes(["b:read", "a:read", "b:read"])
                .principals([PrincipalKind::Partner, PrincipalKind::User])
                .credentials([query, CredentialSource::ApiKey])
                .options(OptionsRule::Pass)
                .cache(Cache::BySubject),
        )
        .route(route("*", "/"));
    Policy::new(draft).unwrap()
}

#[test]
fn the_encoding_is_what_it_always_was() {
    let bytes = Policy::new(Draft::new("t").route(route("GET", "/a").scopes(["x"]))).unwrap().encode();
    let expected = b"nlpolicy\x01\0\x01t\0\0\x01\0\x03GET\x02\0/a\x01\0\0\0\0\0\0\0\0\x01\x01x\x02\x00\x01";
    assert_eq!(bytes, expected);
}

#[test]
fn the_order_of_a_draft_does_not_matter() {
    let routes = [("GET", "/{*r}"), ("GET", "/a"), ("*", "/a"), ("HEAD", "/a"), ("GET", "/{x}/b"), ("GET", "/b/{x}")];
    let mut turned = routes;
    turned.reverse();
    assert_eq!(policy(&routes).encode(), policy(&turned).encode());
}

#[test]
fn what_is_encoded_is_decoded() {
    let policy = full();
    let bytes = policy.encode();
    assert_eq!(Policy::decode(&bytes), Ok(policy));
}

#[test]
fn hostile_bytes_are_refused() {
    let bytes = full().encode();
    for end in 0..bytes.len() {
        assert!(Policy::decode(&bytes[..end]).is_err(), "{end}");
    }
    let changed = |at: usize, to: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = to;
        Policy::decode(&bytes)
    };
    assert_eq!(changed(0, b'N'), Err(DecodeError::NotAPolicy));
    assert_eq!(changed(8, 2), Err(DecodeError::UnsupportedVersion(2)));
    assert!(DecodeError::UnsupportedVersion(2).to_string().contains("format 2"));
    assert_eq!(VERSION, 1);
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(Policy::decode(&longer), Err(DecodeError::Trailing));
    // A count that the bytes cannot hold.
    let empty = Policy::new(Draft::new("t")).unwrap().encode();
    let count = empty.len() - 2;
    for (routes, error) in
        [(1_u16, DecodeError::Truncated), (1_000, DecodeError::Truncated), (0xFFFF, DecodeError::Value)]
    {
        let mut bytes = empty.clone();
        bytes[count..].copy_from_slice(&routes.to_le_bytes());
        assert_eq!(Policy::decode(&bytes), Err(error));
    }
    assert_eq!(Policy::decode(&vec![0; (1 << 20) + 1]), Err(DecodeError::TooLarge));
    // Two routes in another order than an encoder's.
    let ab = policy(&[("GET", "/a"), ("GET", "/b")]).encode();
    let mut ba = ab.clone();
    let (a, b) = (ab.iter().position(|&x| x == b'a').unwrap(), ab.iter().position(|&x| x == b'b').unwrap());
    ba.swap(a, b);
    assert_eq!(Policy::decode(&ba), Err(DecodeError::NotCanonical));
}

/// Patterns and paths over few segments, so that they meet.
fn segments() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "a:b", "a%3Ab", "%C3%A9"]), 0..4)
}

fn pattern() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "a:b", "a%3Ab", "%C3%A9", "{x}", "{y}"]);
    let end = prop::sample::select(vec!["", "/", "/{*rest}"]);
    (prop::collection::vec(segment, 0..4), end).prop_map(|(segments, end)| {
        let path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        if path.is_empty() && end.is_empty() { "/".into() } else { path + end }
    })
}

fn method() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["GET", "HEAD", "POST", "*"])
}

fn draft() -> impl Strategy<Value = Draft> {
    let scopes = prop::collection::vec("[A-Za-z][A-Za-z0-9_:.-]{0,63}", 0..4);
    let environments = prop::sample::select(vec![
        vec![Environment::Live],
        vec![Environment::Test],
        vec![Environment::Test, Environment::Live],
    ]);
    let kinds = prop::collection::vec(prop::sample::select(PrincipalKind::ALL.to_vec()), 0..3);
    let sources = prop::sample::subsequence(vec!["authorization", "x-api-key", "query:a", "query:b"], 1..=4);
    let one = (method(), pattern(), scopes, environments, kinds, sources, any::<(bool, bool)>()).prop_map(
        |(method, path, scopes, environments, kinds, sources, (pass, cache))| {
            let draft = RouteDraft::new(method, &path)
                .scopes(scopes)
                .environments(environments)
                .principals(kinds)
                .credentials(sources.into_iter().map(|text| CredentialSource::parse(text).unwrap()));
            let draft = if pass { draft.options(OptionsRule::Pass) } else { draft };
            if cache { draft.cache(Cache::BySubject) } else { draft }
        },
    );
    let url = prop::option::of("https://[a-z./]{1,9}");
    ("[ -!#-\\[\\]-~]{1,20}", url, prop::collection::vec(one, 0..12)).prop_map(|(realm, url, routes)| {
        let mut kept: Vec<RouteDraft> = Vec::new();
        for route in routes {
            let mut with = Draft::new("t");
            with.routes = kept.iter().cloned().chain([route.clone()]).collect();
            if Policy::new(with).is_ok() {
                kept.push(route);
            }
        }
        Draft { realm, developer_url: url, routes: kept }
    })
}

/// What each segment of a route does to a path, as a rank: the reference for matching, written as the rule reads.
fn reference<'p>(policy: &'p Policy, method: &str, path: &str) -> Option<&'p Route> {
    let decoded = |text: &str| text.replace("%3A", ":");
    let ranks = |route: &Route| -> Option<Vec<u8>> {
        let method_rank = match route.method().as_str() {
            exact if exact == method => 0,
            "GET" if method == "HEAD" => 1,
            "*" => 2,
            _ => return None,
        };
        let mut ranks = Vec::new();
        let mut path = path[1..].split('/');
        for segment in route.pattern().as_str()[1..].split('/') {
            if segment.starts_with("{*") {
                path.next()?;
                ranks.push(2);
                path = "".split('/');
                path.next();
                break;
            }
            let part = path.next()?;
            if segment.starts_with('{') {
                if part.is_empty() {
                    return None;
                }
                ranks.push(1);
            } else {
                if decoded(segment) != decoded(part) {
                    return None;
                }
                ranks.push(0);
            }
        }
        if path.next().is_some() {
            return None;
        }
        // The method is compared after all segments.
        ranks.resize(40, 0);
        ranks.push(method_rank);
        Some(ranks)
    };
    policy
        .routes()
        .iter()
        .filter_map(|route| ranks(route).map(|ranks| (ranks, route)))
        .min_by(|a, b| a.0.cmp(&b.0))
        .map(|(_, route)| route)
}

proptest! {
    #[test]
    fn every_policy_survives_its_encoding(draft in draft()) {
        let policy = Policy::new(draft).unwrap();
        let bytes = policy.encode();
        let decoded = Policy::decode(&bytes).unwrap();
        prop_assert_eq!(decoded.encode(), bytes);
        prop_assert_eq!(decoded, policy);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = Policy::decode(&bytes);
        let framed = [&b"nlpolicy\x01\0"[..], &bytes].concat();
        let _ = Policy::decode(&framed);
    }

    #[test]
    fn damaged_policies_are_refused_or_canonical(draft in draft(), at: prop::sample::Index, to: u8) {
        let mut bytes = Policy::new(draft).unwrap().encode();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(policy) = Policy::decode(&bytes) {
            prop_assert_eq!(policy.encode(), bytes);
        }
    }

    #[test]
    fn the_matcher_agrees_with_the_rule(draft in draft(), wanted in method(), path in segments(), slash: bool) {
        let policy = Policy::new(draft).unwrap();
        let mut path: String = path.iter().map(|segment| format!("/{segment}")).collect();
        if slash || path.is_empty() {
            path.push('/');
        }
        let wanted = if wanted == "*" { "DELETE" } else { wanted };
        prop_assert_eq!(policy.find(wanted, &path), reference(&policy, wanted, &path));
    }
}
