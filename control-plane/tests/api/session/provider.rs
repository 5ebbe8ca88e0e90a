//! Signing in through a real identity provider, and what goes wrong with one.

use std::collections::BTreeMap;

use nightlatch::store::account_reset::Lost;
use nightlatch_tests::oidc_provider::{CLIENT_ID, CLIENT_SECRET, OidcProvider};
use nightlatch_tests::port::Port;
use nightlatch_tests::postgres::ScratchDatabase;
use reqwest::{Client, Method, Url, redirect};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::browser::invite_as;
use super::{Browser, PASSWORD, invite, join};
use crate::app::{Answer, TestApp};

const CALLBACK: &str = "/v1/session/oidc/callback";

/// A control plane and its identity provider.
struct Stand {
    app: TestApp,
    provider: OidcProvider,
    _port: Port,
    _secret: TempDir,
}

impl Stand {
    async fn sqlite() -> Self {
        Self::start(Vec::new()).await
    }

    async fn postgres() -> Self {
        let database = ScratchDatabase::create().await.unwrap();
        Self::start(vec![("DATABASE_URL".to_owned(), database.url().to_owned())]).await
    }

    async fn start(mut environment: Vec<(String, String)>) -> Self {
        let (port, secret) = (Port::reserve().unwrap(), tempfile::tempdir().unwrap());
        let redirect = format!("http://127.0.0.1:{}{CALLBACK}", port.number());
        let provider = OidcProvider::start(&redirect).await.unwrap();
        let file = secret.path().join("secret");
        nightlatch::secrets::write_private(&file, CLIENT_SECRET.as_bytes()).unwrap();
        let settings = [
            ("ISSUER", provider.issuer().to_owned()),
            ("CLIENT_ID", CLIENT_ID.to_owned()),
            ("CLIENT_SECRET_FILE", file.display().to_string()),
            ("REDIRECT_URL", redirect),
        ];
        environment.extend(settings.map(|(name, value)| (format!("NIGHTLATCH_OIDC_{name}"), value)));
        let app = TestApp::with(environment, port.number()).await;
        Self { app, provider, _port: port, _secret: secret }
    }

    fn surfer(&self) -> Surfer {
        let http = Client::builder().redirect(redirect::Policy::none()).build().unwrap();
        Surfer { http, home: self.app.server.url(), jars: BTreeMap::new(), led_by: None }
    }

    async fn user(&self, sub: &str, email: &str, verified: bool) {
        let user = json!({ "sub": sub, "email": email, "email_verified": verified });
        self.provider.user(&user).await.unwrap();
    }
}

/// A browser that follows redirects from site to site, with a jar of cookies for each.
struct Surfer {
    http: Client,
    home: String,
    jars: BTreeMap<String, BTreeMap<String, String>>,
    /// What the browser says of whose page led it here.
    led_by: Option<&'static str>,
}

impl Surfer {
    async fn fetch(&mut self, method: Method, url: &Url, csrf: Option<&str>) -> Answer {
        let jar = self.jars.entry(url.origin().ascii_serialization()).or_default();
        let cookies: Vec<_> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = self.http.request(method, url.clone()).header("cookie", cookies.join("; "));
        if let Some(site) = self.led_by {
            request = request.header("sec-fetch-site", site);
        }
        if let Some(csrf) = csrf {
            request = request.header("x-nightlatch-csrf", csrf).json(&json!({}));
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        for header in headers.get_all("set-cookie") {
            let (name, value) = header.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            match value {
                "" => drop(jar.remove(name)),
                _ => drop(jar.insert(name.to_owned(), value.to_owned())),
            }
        }
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    fn at_home(&self, path: &str) -> Url {
        Url::parse(&self.home).unwrap().join(path).unwrap()
    }

    /// Goes where it is sent, until the server sends it back to itself; the address it would go to then.
    async fn follow_to_callback(&mut self, start: &str) -> Url {
        let mut url = self.at_home(start);
        for _ in 0..10 {
            let answer = self.fetch(Method::GET, &url, None).await;
            assert!(answer.status.is_redirection(), "{url}: {answer:?}");
            url = url.join(answer.header("location")).unwrap();
            if url.path() == CALLBACK {
                return url;
            }
        }
        panic!("sent around in circles");
    }

    async fn sign_in(&mut self, start: &str) -> Answer {
        let callback = self.follow_to_callback(start).await;
        self.fetch(Method::GET, &callback, None).await
    }

    /// Forgets its session at the provider.
    fn leave_provider(&mut self) {
        let home = self.at_home("/").origin().ascii_serialization();
        self.jars.retain(|origin, _| *origin == home);
    }

    async fn session(&mut self) -> Answer {
        let url = self.at_home("/v1/session");
        self.fetch(Method::GET, &url, None).await
    }

    /// Posts an empty object with the session's token.
    async fn post(&mut self, path: &str) -> Answer {
        let csrf = self.session().await.json()["csrf"].as_str().unwrap().to_owned();
        let url = self.at_home(path);
        self.fetch(Method::POST, &url, Some(&csrf)).await
    }

    async fn is_refused(&mut self, start: &str) {
        self.sign_in(start).await.is_problem(401, "oidc_failed");
        self.session().await.is_problem(401, "session_invalid");
    }
}

const START: &str = "/v1/session/oidc/start";

mod invited_people_sign_in_and_nobody_else {
    #[tokio::test]
    async fn sqlite() {
        super::invited_people_sign_in_and_nobody_else(super::Stand::sqlite().await).await;
    }

    #[tokio::test]
    async fn postgres() {
        super::invited_people_sign_in_and_nobody_else(super::Stand::postgres().await).await;
    }
}
async fn invited_people_sign_in_and_nobody_else(stand: Stand) {
    let app = &stand.app;
    invite(app, "ada@example.com", "admin").await;
    stand.user("u-stranger", "stranger@example.com", true).await;
    stand.surfer().is_refused(START).await;
    stand.user("u-ada", "ada@example.com", false).await;
    stand.surfer().is_refused(START).await;
    assert_eq!(app.number("SELECT COUNT(*) FROM accounts").await, 0);
    stand.user("u-ada", "Ada@Example.com", true).await;
    let mut ada = stand.surfer();
    let back = ada.sign_in(&format!("{START}?next=/keys%3Fstate%3Dactive")).await;
    assert_eq!((back.status.as_u16(), back.header("location")), (303, "/keys?state=active"));
    let session = ada.session().await.json();
    assert_eq!((&session["member"]["role"], &session["needs"]), (&json!("admin"), &json!(["step_up"])));
    // From then on by who they are, whatever their address is there.
    stand.user("u-ada", "another@example.com", false).await;
    assert_eq!(stand.surfer().sign_in(START).await.status, 303);
    // Whoever has the address there later is somebody else.
    stand.user("u-later", "ada@example.com", true).await;
    stand.surfer().is_refused(START).await;
    // Who has an account with a password is the same person here; also where the ID token itself has the address.
    join(app, "bob@example.com", "viewer").await;
    let bob = json!({ "sub": "u-bob", "email": "bob@example.com", "email_verified": true, "in_token": true });
    stand.provider.user(&bob).await.unwrap();
    assert_eq!(stand.surfer().sign_in(START).await.status, 303);
    assert_eq!(app.number("SELECT COUNT(*) FROM accounts").await, 2);
    // A member no more: a person no more.
    let found = app.get("/v1/members?email=bob@example.com").send().await.json();
    let path = format!("/v1/members/{}/suspend", found["items"][0]["id"].as_str().unwrap());
    assert_eq!(app.post(&path, json!({})).send().await.status, 200);
    stand.surfer().is_refused(START).await;
    let body = json!({ "email": "ada@example.com", "password": PASSWORD });
    app.post("/v1/session", body).without_token().send().await.is_problem(401, "sign_in_failed");
    stand.app.stop().await;
}

mod an_address_that_is_proved_is_nobody_elses {
    #[tokio::test]
    async fn sqlite() {
        super::an_address_that_is_proved_is_nobody_elses(super::Stand::sqlite().await).await;
    }

    #[tokio::test]
    async fn postgres() {
        super::an_address_that_is_proved_is_nobody_elses(super::Stand::postgres().await).await;
    }
}
/// Who invites an address and takes the invitation up himself has an account under it, and nothing of the person's.
async fn an_address_that_is_proved_is_nobody_elses(stand: Stand) {
    let app = &stand.app;
    let foreign = crate::tenants::foreign(app).await;
    let sign_in = |password: &'static str, workspace: Option<&str>| {
        app.post("/v1/session", json!({ "email": "cfo@example.com", "password": password, "workspace": workspace }))
            .without_token()
            .send()
    };
    let code = invite_as(app, &foreign.token, "cfo@example.com", "owner").await;
    let body = json!({ "code": code, "password": PASSWORD });
    assert_eq!(app.post("/v1/invites/accept", body).without_token().send().await.status, 201);
    let mut inviter = Browser::new(app).signed_in("cfo@example.com").await;
    assert_eq!(inviter.post("/v1/session/totp", json!({})).await.status, 200);
    app.sql("UPDATE accounts SET totp_sealed = totp_offered").await;
    invite(app, "cfo@example.com", "owner").await;
    let own = app.text("SELECT workspace_id FROM members WHERE state = 'invited' AND email = 'cfo@example.com'").await;
    stand.user("u-cfo", "cfo@example.com", true).await;
    let mut cfo = stand.surfer();
    let start = format!("{START}?workspace={own}");
    assert_eq!(cfo.sign_in(&start).await.status, 303);
    assert_eq!(cfo.session().await.json()["workspace"]["id"], own);
    // He has nothing left to come back with.
    assert!(!inviter.is_signed_in().await);
    sign_in(PASSWORD, Some(&own)).await.is_problem(401, "sign_in_failed");
    sign_in(PASSWORD, Some(&foreign.workspace)).await.is_problem(401, "sign_in_failed");
    let left = "SELECT COUNT(*) FROM accounts WHERE password_hash IS NOT NULL OR totp_sealed IS NOT NULL \
                OR totp_offered IS NOT NULL";
    assert_eq!(app.number(left).await, 0);
    // His workspace sees that, and not where the person was.
    let noted = app.get("/v1/audit?action=account.oidc_linked").token(&foreign.token).send().await.json();
    assert_eq!(noted["items"].as_array().unwrap().len(), 1, "{noted}");
    assert!(noted["items"][0]["source"].is_null(), "{noted}");
    // Once is enough: a password that the person chooses later stays.
    app.sql("UPDATE accounts SET password_hash = 'kept'").await;
    assert_eq!(stand.surfer().sign_in(&start).await.status, 303);
    assert_eq!(app.number("SELECT COUNT(*) FROM accounts WHERE password_hash = 'kept'").await, 1);
    stand.app.stop().await;
}

#[tokio::test]
async fn a_sign_in_joins_the_workspace_it_is_for() {
    let stand = Stand::sqlite().await;
    let app = &stand.app;
    let foreign = crate::tenants::foreign(app).await;
    invite(app, "ada@example.com", "admin").await;
    invite_as(app, &foreign.token, "ada@example.com", "viewer").await;
    let own = app
        .text(&format!(
            "SELECT workspace_id FROM members WHERE email = 'ada@example.com' AND workspace_id <> '{}'",
            foreign.workspace
        ))
        .await;
    stand.user("u-ada", "ada@example.com", true).await;
    let joined = "SELECT COUNT(*) FROM members WHERE email = 'ada@example.com' AND state = 'active'";
    let chooses = async |start: &str| {
        let mut surfer = stand.surfer();
        let back = surfer.sign_in(start).await;
        let to = back.header("location").to_owned();
        assert!(to.starts_with("/keys?a=b&needs=workspace&") && to.ends_with("#top"), "{back:?}");
        assert!(to.contains(&own) && to.contains(&foreign.workspace), "{to}");
        surfer.session().await.is_problem(401, "session_invalid");
    };
    let anywhere = format!("{START}?next=/keys%3Fa%3Db%23top");
    // Two invitations, none named; one named; then a membership and an invitation; then two memberships.
    chooses(&anywhere).await;
    assert_eq!((app.number(joined).await, app.number("SELECT COUNT(*) FROM accounts").await), (0, 0));
    stand.surfer().is_refused(&format!("{START}?workspace=ws_0000000000000000")).await;
    assert_eq!(app.number("SELECT COUNT(*) FROM accounts").await, 0);
    let mut ada = stand.surfer();
    assert_eq!(ada.sign_in(&format!("{START}?workspace={own}")).await.status, 303);
    assert_eq!(app.number(joined).await, 1);
    let mut again = stand.surfer();
    assert_eq!(again.sign_in(START).await.header("location"), "/");
    assert_eq!(again.session().await.json()["workspace"]["id"], own);
    assert_eq!(app.number(joined).await, 1);
    assert_eq!(stand.surfer().sign_in(&format!("{START}?workspace={}", foreign.workspace)).await.status, 303);
    assert_eq!(app.number(joined).await, 2);
    chooses(&anywhere).await;
    stand.app.stop().await;
}

/// Another provider, or one that has made the address anew: on the machine the account lets go of who had it there.
#[tokio::test]
async fn an_identity_that_changed_is_unlinked() {
    let stand = Stand::sqlite().await;
    invite(&stand.app, "ada@example.com", "admin").await;
    stand.user("u-ada", "ada@example.com", true).await;
    let mut before = stand.surfer();
    assert_eq!(before.sign_in(START).await.status, 303);
    stand.user("u-new", "ada@example.com", true).await;
    stand.surfer().is_refused(START).await;
    let done = super::reset::reset(&stand.app, Lost::Identity).await.unwrap();
    assert_eq!((done.workspaces.len(), done.sessions), (1, 1));
    before.session().await.is_problem(401, "session_invalid");
    assert_eq!(stand.surfer().sign_in(START).await.status, 303);
    // Whoever was that is nobody now.
    stand.user("u-ada", "ada@example.com", true).await;
    stand.surfer().is_refused(START).await;
    assert_eq!(stand.app.told("admin.identity_unlinked").await, 1);
    stand.app.stop().await;
}

/// What nobody finishes costs a row each and a look at the provider: one network begins so many, and others go on.
#[tokio::test]
async fn a_network_begins_so_many_sign_ins() {
    let stand = Stand::sqlite().await;
    let from = |last| Browser::from_address(&stand.app.server.url(), [127, 0, 0, last]);
    let (mut browser, mut begun) = (from(30), 0);
    let refused = loop {
        let answer = browser.get(START).await;
        if answer.status != 303 {
            break answer;
        }
        begun += 1;
        assert!(begun < 1000, "nothing stops it");
    };
    refused.is_problem(429, "rate_limited");
    assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1 && begun >= 100, "{begun}: {refused:?}");
    assert_eq!(stand.app.number("SELECT COUNT(*) FROM oidc_flows").await, begun);
    assert_eq!(from(31).get(START).await.status, 303);
    stand.app.stop().await;
}

#[tokio::test]
async fn a_link_on_another_site_makes_nobody_a_member() {
    let stand = Stand::sqlite().await;
    let app = &stand.app;
    invite(app, "ada@example.com", "viewer").await;
    stand.user("u-ada", "ada@example.com", true).await;
    let own = app.text("SELECT workspace_id FROM members WHERE email = 'ada@example.com'").await;
    let named = format!("{START}?next=/keys&workspace={own}");
    let joined = "SELECT COUNT(*) FROM members WHERE email = 'ada@example.com' AND state = 'active'";
    let led = || Surfer { led_by: Some("cross-site"), ..stand.surfer() };
    for start in [&named, &format!("{START}?next=/keys")] {
        let mut ada = led();
        let back = ada.sign_in(start).await;
        assert_eq!(back.header("location"), format!("/keys?needs=workspace&workspace={own}"), "{back:?}");
        ada.session().await.is_problem(401, "session_invalid");
        assert_eq!((app.number(joined).await, app.number("SELECT COUNT(*) FROM accounts").await), (0, 0));
    }
    // From a page of the server's own; and once she is a member, from anywhere.
    for mut ada in [Surfer { led_by: Some("same-origin"), ..stand.surfer() }, led()] {
        assert_eq!(ada.sign_in(&named).await.header("location"), "/keys");
        assert_eq!(ada.session().await.json()["workspace"]["id"], own);
    }
    stand.app.stop().await;
}

#[tokio::test]
async fn a_token_that_is_not_for_this_sign_in_is_refused() {
    let stand = Stand::sqlite().await;
    join(&stand.app, "ada@example.com", "owner").await;
    let user = json!({ "sub": "u-ada", "email": "ada@example.com", "email_verified": true, "in_token": true });
    stand.provider.user(&user).await.unwrap();
    for tampered in [
        json!({ "claims": { "nonce": "another" } }),
        json!({ "claims": { "aud": "another" } }),
        json!({ "claims": { "aud": ["nightlatch", "another"] } }),
        json!({ "claims": { "iss": "https://another.example" } }),
        json!({ "claims": { "exp": 1_700_000_000 } }),
        json!({ "claims": { "at_hash": "AAAAAAAAAAAAAAAAAAAAAA" } }),
        json!({ "claims": { "email_verified": false } }),
        json!({ "claims": { "email_verified": null } }),
        json!({ "key": "foreign" }),
        json!({ "key": "none" }),
    ] {
        stand.provider.tamper(&tampered).await.unwrap();
        let mut surfer = stand.surfer();
        let answer = surfer.sign_in(START).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (401, &json!("oidc_failed")), "{tampered}");
        surfer.session().await.is_problem(401, "session_invalid");
    }
    stand.provider.tamper(&json!({})).await.unwrap();
    assert_eq!(stand.surfer().sign_in(START).await.status, 303);
    stand.app.stop().await;
}

#[tokio::test]
async fn an_answer_counts_once_for_the_browser_that_asked() {
    let stand = Stand::sqlite().await;
    join(&stand.app, "ada@example.com", "owner").await;
    stand.user("u-ada", "ada@example.com", true).await;
    let with = |url: &Url, name: &str, value: Option<&str>| {
        let mut changed = url.clone();
        let pairs: Vec<_> = url.query_pairs().filter(|(known, _)| known != name).collect();
        changed.query_pairs_mut().clear().extend_pairs(pairs).extend_pairs(value.map(|value| (name, value)));
        changed
    };
    let mut surfer = stand.surfer();
    let url = surfer.follow_to_callback(START).await;
    assert!(url.query_pairs().any(|(name, _)| name == "iss"), "the provider says who it is: {url}");
    // Another provider's answer, another state, none: refused, and nothing is used up.
    for changed in [
        with(&url, "iss", Some("https://another.example")),
        with(&url, "state", Some(&"A".repeat(43))),
        with(&url, "state", Some("x")),
        with(&url, "state", None),
    ] {
        surfer.fetch(Method::GET, &changed, None).await.is_problem(401, "oidc_failed");
    }
    assert_eq!(surfer.fetch(Method::GET, &url, None).await.status, 303);
    // The same answer again, by the browser that had it and by another.
    surfer.fetch(Method::GET, &url, None).await.is_problem(401, "oidc_failed");
    stand.surfer().fetch(Method::GET, &url, None).await.is_problem(401, "oidc_failed");
    // An answer that another browser began: whoever was sent the address does not become the sender.
    let url = surfer.follow_to_callback(START).await;
    let mut victim = stand.surfer();
    victim.fetch(Method::GET, &url, None).await.is_problem(401, "oidc_failed");
    victim.follow_to_callback(START).await;
    victim.fetch(Method::GET, &url, None).await.is_problem(401, "oidc_failed");
    victim.session().await.is_problem(401, "session_invalid");
    // A code of one sign-in with the state of another, an error in place of a code, and one that took too long.
    let (mut first, mut second) = (stand.surfer(), stand.surfer());
    let (one, other) = (first.follow_to_callback(START).await, second.follow_to_callback(START).await);
    let code = one.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    second.fetch(Method::GET, &with(&other, "code", Some(&code)), None).await.is_problem(401, "oidc_failed");
    let denied = with(&first.follow_to_callback(START).await, "error", Some("access_denied"));
    first.fetch(Method::GET, &denied, None).await.is_problem(401, "oidc_failed");
    let late = first.follow_to_callback(START).await;
    stand.app.sql("UPDATE oidc_flows SET created_at = created_at - 600000").await;
    first.fetch(Method::GET, &late, None).await.is_problem(401, "oidc_failed");
    first.session().await.is_problem(401, "session_invalid");
    stand.app.stop().await;
}

#[tokio::test]
async fn a_sign_in_leads_to_this_server() {
    let stand = Stand::sqlite().await;
    for next in
        ["https://evil.example", "//evil.example", "/\\evil.example", "/%09/evil.example", "evil", "", "javascript:x"]
    {
        let path = format!("{START}?next={next}");
        stand.app.get(&path).without_token().send().await.is_problem(400, "invalid_request");
    }
    stand.app.get(&format!("{START}?step_up=true")).without_token().send().await.is_problem(401, "session_invalid");
    stand.app.stop().await;
    let without = TestApp::sqlite().await;
    for path in [START, CALLBACK] {
        without.get(path).without_token().send().await.is_problem(404, "not_found");
    }
    without.stop().await;
}

#[tokio::test]
async fn a_step_up_asks_the_provider_anew() {
    let stand = Stand::sqlite().await;
    invite(&stand.app, "ada@example.com", "admin").await;
    stand.user("u-ada", "ada@example.com", true).await;
    let mut ada = stand.surfer();
    assert_eq!(ada.sign_in(START).await.status, 303);
    ada.post("/v1/session/totp").await.is_problem(403, "step_up_required");
    let start = format!("{START}?step_up=true&next=/keys");
    // Somebody else at the provider; an old proof; one that says nothing of when it was.
    stand.user("u-bob", "bob@example.com", true).await;
    ada.leave_provider();
    ada.sign_in(&start).await.is_problem(401, "oidc_failed");
    ada.leave_provider();
    stand.user("u-ada", "ada@example.com", true).await;
    let old: [Value; 2] = [json!({ "auth_time": 1_700_000_000 }), json!({ "auth_time": null })];
    for claims in old {
        stand.provider.tamper(&json!({ "claims": claims })).await.unwrap();
        ada.sign_in(&start).await.is_problem(401, "oidc_failed");
    }
    stand.provider.tamper(&json!({})).await.unwrap();
    let before = ada.jars.clone();
    let back = ada.sign_in(&start).await;
    assert_eq!((back.status.as_u16(), back.header("location")), (303, "/keys"), "{back:?}");
    assert_eq!(ada.post("/v1/session/totp").await.status, 200);
    // In another cookie.
    let after = std::mem::replace(&mut ada.jars, before);
    ada.session().await.is_problem(401, "session_invalid");
    ada.jars = after;
    assert_eq!(ada.session().await.json()["needs"], json!([]));
    stand.app.stop().await;
}
