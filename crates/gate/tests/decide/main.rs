//! The gate's decisions: every refusal, every outcome, and which of several failures decides.

mod cases;
mod replica;
mod world;

use nightlatch_gate::headers::{Identity, lifecycle};
use nightlatch_gate::{Allow, Code, Denial, Request, SetFacts, Shape, Unfit, Verdict, check, decide, shape};
use nightlatch_key::{Brand, Environment, mint, parse};
use nightlatch_keyset::{PrincipalKind, Record, Status};
use world::{NOW, WORKSPACE, World, brand, facts, key_text, policy, profile, record};

fn live(seed: u8) -> String {
    key_text(Environment::Live, NOW - 86_400, seed)
}

/// Keys by what is wrong with them.
mod seed {
    pub(crate) const GOOD: u8 = 1;
    pub(crate) const REVOKED: u8 = 2;
    pub(crate) const DISABLED: u8 = 3;
    pub(crate) const EXPIRED: u8 = 4;
    pub(crate) const RETIRED: u8 = 5;
    pub(crate) const TEST: u8 = 6;
    pub(crate) const RETIRING: u8 = 7;
    pub(crate) const REVOKED_AND_EXPIRED: u8 = 8;
    pub(crate) const EXPIRED_TEST: u8 = 9;
    pub(crate) const ELSEWHERE: u8 = 10;
    pub(crate) const PARTNER: u8 = 11;
    pub(crate) const UNKNOWN: u8 = 12;
}

const FOREIGN: &str = "legacy key of another shape";

fn world() -> World {
    let mut world = World::default();
    let mut add = |seed: u8, record: Record, environment: Environment| {
        world.add(&live(seed), record, nightlatch_keyset::Profile { environment, ..profile() });
    };
    let past = Some(NOW - 60);
    let with = |status, deadline| Record { status, deadline, ..record() };
    add(seed::GOOD, record(), Environment::Live);
    add(seed::REVOKED, with(Status::Revoked, None), Environment::Live);
    add(seed::DISABLED, with(Status::Disabled, None), Environment::Live);
    add(seed::EXPIRED, with(Status::Active, past), Environment::Live);
    add(seed::RETIRED, with(Status::Retiring, past), Environment::Live);
    // Its text says live; the record decides.
    add(seed::TEST, record(), Environment::Test);
    add(seed::RETIRING, with(Status::Retiring, Some(NOW + 60)), Environment::Live);
    add(seed::REVOKED_AND_EXPIRED, with(Status::Revoked, past), Environment::Live);
    add(seed::EXPIRED_TEST, with(Status::Active, past), Environment::Test);
    world.add(&live(seed::PARTNER), record(), nightlatch_keyset::Profile { kind: PrincipalKind::Partner, ..profile() });
    world.add(FOREIGN, Record { foreign: true, ..record() }, profile());
    world.add(&live(seed::ELSEWHERE), record(), profile());
    world.rows.last_mut().unwrap().3 = "ws_other";
    world
}

fn code(verdict: &Verdict<'_>) -> Option<Code> {
    match verdict {
        Verdict::Deny(denial) => Some(denial.code),
        Verdict::Allow(_) | Verdict::Preflight(_) => None,
    }
}

fn damaged(key: &str) -> String {
    let last = if key.ends_with('a') { 'b' } else { 'a' };
    format!("{}{last}", &key[..key.len() - 1])
}

fn denial<'a>(
    target: &'a str,
    key: &'a str,
    world: &'a World,
    policy: &'a nightlatch_gate::policy::Policy,
) -> Denial<'a> {
    let request = Request { x_api_key: Some(key.as_bytes()), ..Request::new("GET", target) };
    match decide(&request, policy, &facts(), world, NOW * 1000) {
        Verdict::Deny(denial) => denial,
        verdict => panic!("{verdict:?}"),
    }
}

#[test]
fn details_say_which_key_why_and_what_next() {
    let (world, policy) = (world(), policy());
    let detail = |target: &str, key: &str| denial(target, key, &world, &policy).detail();
    let key = live(seed::RETIRED);
    let label = parse(key.as_bytes()).unwrap().prefix();
    assert_eq!(
        detail("/status", &key),
        format!("Key {label} was replaced and stopped working at 2027-01-15T07:59:00Z. Use its successor.")
    );
    assert!(detail("/status", &live(seed::EXPIRED)).contains("expired at 2027-01-15T07:59:00Z"));
    assert!(detail("/status", &live(seed::TEST)).contains("is a test key, and this route takes live keys"));
    assert!(
        detail("/partners", &live(seed::GOOD))
            .contains("acts for a service_account, and this route takes keys of kind partner only")
    );
    assert!(detail("/partners", &live(seed::PARTNER)).contains("lacks none."));
    assert_eq!(detail("/status", "  "), "Send a key as 'Authorization: Bearer <key>', or as 'X-API-Key: <key>'.");
    assert_eq!(
        detail("/download/a", FOREIGN),
        "Send a key as 'Authorization: Bearer <key>', or as query parameter 'key'."
    );
    assert!(denial("/partners", FOREIGN, &world, &policy).detail().contains("Key kn_42 "));
}

#[test]
fn strangers_cannot_tell_unknown_from_elsewhere() {
    let (world, policy) = (world(), policy());
    let (unknown, elsewhere) = (live(seed::UNKNOWN), live(seed::ELSEWHERE));
    let unknown = denial("/status", &unknown, &world, &policy);
    assert_eq!(denial("/status", &elsewhere, &world, &policy), unknown);
    assert_eq!(denial("/status", "something", &world, &policy), unknown);
}

#[test]
fn an_unfit_replica_never_says_401_to_a_key() {
    let (policy, good) = (policy(), live(seed::GOOD));
    for (unfit, code, retry) in [
        (Unfit::SetStale, Code::SetStale, 2),
        (Unfit::SetCorrupt, Code::SetCorrupt, 2),
        (Unfit::PepperMissing, Code::PepperMissing, 30),
    ] {
        let world = World { unfit: Some(unfit), ..world() };
        let refused = denial("/status", &good, &world, &policy);
        assert_eq!((refused.code, refused.status(), refused.retry_after()), (code, 503, Some(retry)));
        assert_eq!(refused.www_authenticate("x"), None);
        assert!(refused.headers("x").contains(&("retry-after", retry.to_string())));
        assert_eq!(refused, Denial::unfit(unfit));
        // What needs no set is still said.
        assert_eq!(denial("/status", &damaged(&good), &world, &policy).code, Code::KeyInvalid);
        assert_eq!(denial("/nothing", &good, &world, &policy).code, Code::RouteNotFound);
    }
    let lost = Denial::origin_unreachable();
    assert_eq!((lost.status(), lost.code.as_str(), lost.www_authenticate("x")), (502, "origin_unreachable", None));
}

fn allowed<'a>(
    request: &Request<'a>,
    policy: &'a nightlatch_gate::policy::Policy,
    world: &'a World,
    now: u64,
) -> Allow<'a> {
    match decide(request, policy, &facts(), world, now) {
        Verdict::Allow(allow) => allow,
        verdict => panic!("{verdict:?}"),
    }
}

#[test]
fn what_is_forwarded_carries_the_identity_and_no_key() {
    let (world, policy, key) = (world(), policy(), live(seed::GOOD));
    let bearer = format!("Bearer {key}");
    let request = Request { authorization: Some(bearer.as_bytes()), ..Request::new("GET", "/%69nvoices?a=%62") };
    let allow = allowed(&request, &policy, &world, NOW * 1000);
    assert_eq!(allow.forward.target, "/invoices?a=%62");
    assert!(!allow.forward.keep_authorization);
    assert_eq!(allow.forward.route.pattern().as_str(), "/invoices");
    assert_eq!(allow.accepted.retiring, None);
    let id = parse(key.as_bytes()).unwrap().id();
    assert_eq!(
        Identity::from(&allow.accepted).headers(),
        [
            ("x-nightlatch-key-id", &*format!("key_{id}")),
            ("x-nightlatch-principal", "prn_7"),
            ("x-nightlatch-workspace", WORKSPACE),
            ("x-nightlatch-scopes", "invoices:read invoices:write"),
        ]
    );

    let query = format!("/download/a?x=1&key={key}&y=2");
    let basic = Request { authorization: Some(b"Basic eDp5"), ..Request::new("GET", &query) };
    let allow = allowed(&basic, &policy, &world, NOW * 1000);
    assert_eq!(allow.forward.target, "/download/a?x=1&y=2");
    assert!(allow.forward.keep_authorization);

    let foreign = Request { x_api_key: Some(FOREIGN.as_bytes()), ..Request::new("GET", "/status") };
    let allow = allowed(&foreign, &policy, &world, NOW * 1000);
    assert_eq!(Identity::from(&allow.accepted).key_id, "kn_42");
    assert!(matches!(allow.forward.target, std::borrow::Cow::Borrowed("/status")));
}

#[test]
fn a_key_is_valid_until_just_before_its_deadline() {
    let (world, policy, key) = (world(), policy(), live(seed::RETIRING));
    let request = Request { x_api_key: Some(key.as_bytes()), ..Request::new("GET", "/status") };
    let deadline = NOW + 60;
    let allow = allowed(&request, &policy, &world, deadline * 1000 - 1);
    assert_eq!(allow.accepted.retiring, Some(deadline));
    let headers = lifecycle::headers(deadline, policy.developer_url());
    assert_eq!(headers[0], ("deprecation", format!("@{deadline}")));
    assert_eq!(headers[1], ("sunset", "Fri, 15 Jan 2027 08:01:00 GMT".into()));
    assert_eq!(headers[2].1, "<https://example.com/developers>; rel=\"successor-version\"");
    let verdict = decide(&request, &policy, &facts(), &world, deadline * 1000);
    assert_eq!(code(&verdict), Some(Code::KeyRetiredGraceOver));
}

#[test]
fn s0_14_keys_of_a_refused_member_are_disabled_whatever_else_is_wrong_with_them() {
    let (policy, key) = (policy(), live(seed::GOOD));
    let refused = nightlatch_keyset::Profile { kind: PrincipalKind::User, live: Some(7), refused: true, ..profile() };
    for (status, deadline, environment, code) in [
        (Status::Active, None, Environment::Live, Code::KeyDisabled),
        (Status::Retiring, Some(NOW + 60), Environment::Live, Code::KeyDisabled),
        (Status::Active, Some(NOW - 60), Environment::Live, Code::KeyDisabled),
        (Status::Active, None, Environment::Test, Code::KeyDisabled),
        (Status::Disabled, None, Environment::Live, Code::KeyDisabled),
        (Status::Revoked, None, Environment::Live, Code::KeyRevoked),
    ] {
        let mut world = World::default();
        let record = Record { status, deadline, ..record() };
        world.add(&key, record, nightlatch_keyset::Profile { environment, ..refused.clone() });
        let denied = denial("/status", &key, &world, &policy);
        assert_eq!((denied.code, denied.status()), (code, 401), "{status:?} {deadline:?}");
        assert!(denied.key.is_some(), "its holder is told which key");
    }
    let mut resumed = World::default();
    resumed.add(&key, record(), nightlatch_keyset::Profile { refused: false, ..refused });
    let request = Request { x_api_key: Some(key.as_bytes()), ..Request::new("GET", "/status") };
    allowed(&request, &policy, &resumed, NOW * 1000);
}

#[test]
fn preflights_pass_where_the_announced_route_says_so() {
    let (world, policy, facts) = (world(), policy(), facts());
    let options = |target, announced, upgrade| {
        let request = Request { preflight: announced, upgrade, ..Request::new("OPTIONS", target) };
        match decide(&request, &policy, &facts, &world, NOW * 1000) {
            Verdict::Preflight(forward) => Ok(forward.target.into_owned()),
            Verdict::Deny(denial) => Err(denial.code),
            Verdict::Allow(_) => panic!("no key was sent"),
        }
    };
    assert_eq!(options("/%69nvoices?a", Some("POST"), false), Ok("/invoices?a".into()));
    assert_eq!(options("/invoices", Some("GET"), false), Err(Code::RouteNotFound));
    assert_eq!(options("/invoices", None, false), Err(Code::RouteNotFound));
    assert_eq!(options("/nothing", Some("POST"), false), Err(Code::RouteNotFound));
    assert_eq!(options("/invoices", Some("POST"), true), Err(Code::UpgradeUnsupported));
    // Only OPTIONS is a preflight, whatever a header says.
    let request = Request { preflight: Some("POST"), ..Request::new("GET", "/invoices") };
    assert_eq!(code(&decide(&request, &policy, &facts, &world, NOW * 1000)), Some(Code::KeyMissing));
}

/// Guarantee 2, open routes: past the head's validity a key known good passes where the route is open; a revoked one does
/// not, and about an unknown one nothing is said.
#[test]
fn past_a_heads_validity_only_open_routes_answer() {
    let (world, policy) = (World { only_open: true, ..world() }, policy());
    let at = |target, key: &str| {
        let request = Request { x_api_key: Some(key.as_bytes()), ..Request::new("GET", target) };
        code(&decide(&request, &policy, &facts(), &world, NOW * 1000))
    };
    assert_eq!(at("/open", &live(seed::GOOD)), None);
    assert_eq!(at("/open", &live(seed::REVOKED)), Some(Code::KeyRevoked));
    assert_eq!(at("/open", &key_text(Environment::Live, NOW - 1_000, 99)), Some(Code::SetStale));
    assert_eq!(at("/open", "junk_live_"), Some(Code::SetStale));
    assert_eq!(at("/open", &damaged(&live(seed::GOOD))), Some(Code::KeyInvalid));
    for key in [seed::GOOD, seed::REVOKED] {
        assert_eq!(at("/status", &live(key)), Some(Code::SetStale));
    }
}

/// Only where the age of connections is limited they may become something else.
#[test]
fn upgrades_pass_where_connections_have_an_age() {
    let (world, policy, key) = (world(), policy(), live(seed::GOOD));
    let upgrade = |target| {
        let request = Request { x_api_key: Some(key.as_bytes()), upgrade: true, ..Request::new("GET", target) };
        match decide(&request, &policy, &facts(), &world, NOW * 1000) {
            Verdict::Allow(allow) => Ok(allow.forward.route.max_connection_age()),
            Verdict::Deny(denial) => Err(denial.code),
            Verdict::Preflight(_) => panic!("not a preflight"),
        }
    };
    assert_eq!(upgrade("/stream"), Ok(Some(60)));
    assert_eq!(upgrade("/status"), Err(Code::UpgradeUnsupported));
}

#[test]
fn only_keys_newer_than_the_set_are_worth_a_fetch() {
    let (world, policy) = (world(), policy());
    // The set is of NOW − 0.7 s, which is in the second before NOW; skew is 5 s.
    for (issued_at, expected) in [(NOW - 12, false), (NOW - 11, true), (NOW, true), (NOW + 5, true), (NOW + 6, false)] {
        let key = key_text(Environment::Live, issued_at, 99);
        let refused = denial("/status", &key, &world, &policy);
        assert_eq!((refused.code, refused.recently_issued), (Code::KeyInvalid, expected), "{issued_at}");
    }
    assert!(!denial("/status", "something", &world, &policy).recently_issued);
}

#[test]
fn a_key_alone_is_checked_without_a_route() {
    let world = world();
    let alone = |key: &str| check(key.as_bytes(), None, &facts(), &world, NOW * 1000).map_err(|denial| denial.code);
    assert_eq!(alone(&live(seed::GOOD)).unwrap().principal.to_string(), "prn_7");
    assert!(alone(&live(seed::TEST)).is_ok());
    assert_eq!(alone(&live(seed::REVOKED)).unwrap_err(), Code::KeyRevoked);
    assert_eq!(alone("").unwrap_err(), Code::KeyInvalid);
}

#[test]
fn foreign_texts_are_looked_up_only_where_they_can_be() {
    let is = |text: &str, foreign: bool| match shape(text.as_bytes(), brand(), foreign) {
        Some(Shape::Minted(_)) => "minted",
        Some(Shape::Foreign) => "foreign",
        None => "nothing",
    };
    let ours = live(seed::GOOD);
    let theirs = mint(&Brand::new("acme").unwrap(), Environment::Live, NOW, &mut |bytes| bytes.fill(1));
    let longest = "x".repeat(128);
    for (text, foreign, expected) in [
        (&*ours, false, "minted"),
        (&ours, true, "minted"),
        (theirs.expose(), false, "nothing"),
        (theirs.expose(), true, "foreign"),
        (&damaged(&ours), true, "nothing"),
        ("nl_livex", true, "foreign"),
        ("nl_live_", true, "nothing"),
        ("x", true, "foreign"),
        ("x", false, "nothing"),
        ("", true, "nothing"),
        (&longest, true, "foreign"),
        (&format!("{longest}x"), true, "nothing"),
    ] {
        assert_eq!(is(text, foreign), expected, "{text} {foreign}");
    }
    let strict = SetFacts { accepts_foreign: false, ..facts() };
    let world = world();
    let refused = check(FOREIGN.as_bytes(), None, &strict, &world, NOW * 1000).unwrap_err();
    assert_eq!(refused.code, Code::KeyInvalid);
}
