//! Requests one by one: what each is answered, and how.

use nightlatch_gate::{Code, Request, Verdict, decide};
use nightlatch_key::{Brand, Environment, mint, parse};

use crate::world::{NOW, facts, policy};
use crate::{FOREIGN, code, damaged, live, seed, world};

/// One case: what the request is, and what comes out of it.
struct Case {
    name: &'static str,
    method: &'static str,
    target: &'static str,
    authorization: Option<String>,
    x_api_key: Option<String>,
    upgrade: bool,
    expected: Option<Code>,
}

fn case(name: &'static str, target: &'static str, expected: impl Into<Option<Code>>) -> Case {
    let expected = expected.into();
    Case { name, method: "GET", target, authorization: None, x_api_key: None, upgrade: false, expected }
}

impl Case {
    fn bearer(mut self, key: &str) -> Self {
        self.authorization = Some(format!("Bearer {key}"));
        self
    }

    fn x_api_key(mut self, key: &str) -> Self {
        self.x_api_key = Some(key.into());
        self
    }

    fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    fn upgrade(mut self) -> Self {
        self.upgrade = true;
        self
    }

    fn request(&self) -> Request<'_> {
        Request {
            authorization: self.authorization.as_deref().map(str::as_bytes),
            x_api_key: self.x_api_key.as_deref().map(str::as_bytes),
            upgrade: self.upgrade,
            ..Request::new(self.method, self.target)
        }
    }
}

fn cases() -> Vec<Case> {
    let good = live(seed::GOOD);
    let long = "x".repeat(5_000);
    let stranger = mint(&Brand::new("acme").unwrap(), Environment::Live, NOW, &mut |bytes| bytes.fill(1));
    vec![
        // Every outcome.
        case("a good key", "/status", None).bearer(&good),
        case("a good key in the other header", "/status", None).x_api_key(&good),
        case("the same key in both", "/status", None).bearer(&good).x_api_key(&good),
        case("a good key with its scope", "/invoices", None).bearer(&good),
        case("HEAD by the GET route", "/invoices", None).bearer(&good).method("HEAD"),
        case("a retiring key", "/status", None).bearer(&live(seed::RETIRING)),
        case("a foreign key", "/status", None).x_api_key(FOREIGN),
        case("a test key where they go", "/playground", None).bearer(&live(seed::TEST)),
        case("a test key of the wrong kind", "/sandbox", Code::PrincipalNotAllowed).bearer(&live(seed::TEST)),
        case("a partner's key", "/partners", Code::ScopeInsufficient).bearer(&live(seed::PARTNER)),
        case("an ambiguous path", "/invoices//7", Code::PathAmbiguous).bearer(&good),
        case("an escaped slash", "/download/a%2fb", Code::PathAmbiguous).bearer(&good),
        case("an unknown path", "/nothing", Code::RouteNotFound).bearer(&good),
        case("another case", "/Status", Code::RouteNotFound).bearer(&good),
        case("an unknown method", "/status", Code::RouteNotFound).bearer(&good).method("POST"),
        case("an upgrade", "/status", Code::UpgradeUnsupported).bearer(&good).upgrade(),
        case("no key", "/status", Code::KeyMissing),
        case("a key where the route does not read", "/status?key=x", Code::KeyMissing),
        case("two keys", "/status", Code::KeyConflict).bearer(&good).x_api_key(&live(seed::RETIRING)),
        case("a huge key", "/status", Code::CredentialTooLarge).x_api_key(&long),
        case("a long key", "/status", Code::KeyInvalid).x_api_key(&long[..129]),
        case("a damaged key", "/status", Code::KeyInvalid).bearer(&damaged(&good)),
        case("an unknown key", "/status", Code::KeyInvalid).bearer(&live(seed::UNKNOWN)),
        case("a key of another brand", "/status", Code::KeyInvalid).bearer(stranger.expose()),
        case("an unknown foreign key", "/status", Code::KeyInvalid).bearer("something"),
        case("a key and more", "/status", Code::KeyInvalid).bearer(&format!("{good} {good}")),
        case("a key of another workspace", "/status", Code::KeyInvalid).bearer(&live(seed::ELSEWHERE)),
        case("a revoked key", "/status", Code::KeyRevoked).bearer(&live(seed::REVOKED)),
        case("a disabled key", "/status", Code::KeyDisabled).bearer(&live(seed::DISABLED)),
        case("an expired key", "/status", Code::KeyExpired).bearer(&live(seed::EXPIRED)),
        case("a predecessor after its overlap", "/status", Code::KeyRetiredGraceOver).bearer(&live(seed::RETIRED)),
        case("a test key", "/status", Code::KeyEnvMismatch).bearer(&live(seed::TEST)),
        case("a key of the wrong kind", "/partners", Code::PrincipalNotAllowed).bearer(&good),
        case("a key without a scope", "/invoices", Code::ScopeInsufficient).bearer(&good).method("POST"),
        // The first failure decides.
        case("path before route", "/./nothing", Code::PathAmbiguous),
        case("route before upgrade", "/nothing", Code::RouteNotFound).upgrade(),
        case("upgrade before credential", "/status", Code::UpgradeUnsupported).upgrade(),
        case("size before conflict", "/status", Code::CredentialTooLarge).bearer(&good).x_api_key(&long),
        case("conflict before shape", "/status", Code::KeyConflict).bearer("nonsense").x_api_key(&good),
        case("revoked before expired", "/status", Code::KeyRevoked).bearer(&live(seed::REVOKED_AND_EXPIRED)),
        case("expired before environment", "/status", Code::KeyExpired).bearer(&live(seed::EXPIRED_TEST)),
        case("environment before kind", "/sandbox", Code::KeyEnvMismatch).bearer(&good),
        case("kind before scope", "/partners", Code::PrincipalNotAllowed).bearer(&good),
    ]
}

#[test]
fn every_case_has_its_verdict() {
    let (world, policy, facts) = (world(), policy(), facts());
    let cases = cases();
    for case in &cases {
        let verdict = decide(&case.request(), &policy, &facts, &world, NOW * 1000);
        assert_eq!(code(&verdict), case.expected, "{}", case.name);
        // Pure: the same again.
        assert_eq!(
            format!("{:?}", decide(&case.request(), &policy, &facts, &world, NOW * 1000)),
            format!("{verdict:?}")
        );
    }
    // Unfit replicas and lost origins have cases of their own; every other code is here.
    for code in Code::ALL {
        let elsewhere =
            [Code::SetStale, Code::SetCorrupt, Code::PepperMissing, Code::OriginUnreachable, Code::PathTooLong];
        assert!(elsewhere.contains(code) || cases.iter().any(|case| case.expected == Some(*code)), "{code}");
    }
}

#[test]
fn answers_have_the_status_and_headers_of_the_table() {
    let (world, policy, facts) = (world(), policy(), facts());
    for case in cases() {
        let request = case.request();
        let Verdict::Deny(denial) = decide(&request, &policy, &facts, &world, NOW * 1000) else { continue };
        let code = denial.code;
        let expected_status = match code {
            Code::PathAmbiguous => 400,
            Code::RouteNotFound => 404,
            Code::UpgradeUnsupported => 501,
            Code::CredentialTooLarge => 431,
            Code::PrincipalNotAllowed | Code::ScopeInsufficient => 403,
            _ => 401,
        };
        assert_eq!(denial.status(), expected_status, "{}", case.name);
        let challenge = match code {
            Code::KeyMissing => Some(r#"Bearer realm="Example API""#.to_owned()),
            Code::ScopeInsufficient if case.target == "/partners" => {
                Some(r#"Bearer realm="Example API", error="insufficient_scope", scope="none""#.to_owned())
            }
            Code::ScopeInsufficient => Some(
                r#"Bearer realm="Example API", error="insufficient_scope", scope="invoices:delete invoices:read""#
                    .to_owned(),
            ),
            _ if expected_status == 401 => Some(r#"Bearer realm="Example API", error="invalid_token""#.to_owned()),
            _ => None,
        };
        assert_eq!(denial.www_authenticate(policy.realm()), challenge, "{}", case.name);
        assert_eq!(denial.retry_after(), None);

        let headers = denial.headers(policy.realm());
        assert!(headers.contains(&("content-type", "application/problem+json".into())));
        assert!(headers.contains(&("cache-control", "no-store".into())));
        let body: serde_json::Value = serde_json::from_str(&denial.problem("req_1")).unwrap();
        assert_eq!(body["code"], code.as_str());
        assert_eq!(body["status"], expected_status);
        assert_eq!(body["request_id"], "req_1");

        // Nothing of the secret is in any answer; the prefix is, where the secret matched.
        let all = format!("{headers:?} {body} {denial:?}");
        let key = case.authorization.as_deref().or(case.x_api_key.as_deref()).unwrap_or_default();
        let key = key.strip_prefix("Bearer ").unwrap_or(key);
        assert!(key.is_empty() || !all.contains(key), "{}", case.name);
        if let Ok(parsed) = parse(key.as_bytes()) {
            let secret = &key[parsed.prefix().len()..];
            assert!(!all.contains(&secret[..8]), "{}", case.name);
            let known = denial.key.is_some();
            assert_eq!(denial.detail().contains(parsed.prefix()), known, "{}", case.name);
            let fine = !matches!(
                code,
                Code::KeyInvalid
                    | Code::PathAmbiguous
                    | Code::RouteNotFound
                    | Code::UpgradeUnsupported
                    | Code::KeyConflict
                    | Code::CredentialTooLarge
            );
            assert_eq!(known, fine, "{}", case.name);
        }
    }
}
