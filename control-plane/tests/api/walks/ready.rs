//! Every call that changes something, made so that it succeeds: what it is about is made for it.

use nightlatch::signin::totp::TotpSecret;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, Call, TestApp};
use crate::operation::{Operation, Things};
use crate::principals::id;
use crate::session::{Browser, PASSWORD, base32, invite, join};

/// Who makes a call.
pub(crate) enum By {
    /// Whoever has a management token.
    Token,
    /// Nobody who is known: the proof is in the body.
    Nobody,
    /// An edge.
    Edge(String),
    /// Somebody with a session.
    Session(Box<Browser>),
}

/// A call that succeeds.
pub(crate) struct Ready {
    pub(crate) operation: Operation,
    pub(crate) things: Things,
    pub(crate) body: Value,
    pub(crate) by: By,
}

impl Ready {
    /// The call, but for who makes it.
    pub(crate) fn call(&self, app: &TestApp) -> Call {
        let call = self.operation.call(app, &self.things);
        if self.operation.changes() { self.operation.with(call, &self.body) } else { call }
    }

    /// Makes it, as whoever it was made for.
    pub(crate) async fn send(&mut self, app: &TestApp, request_id: &str) -> Answer {
        let call = self.call(app).header("x-request-id", request_id);
        match &mut self.by {
            By::Token => call.send().await,
            By::Nobody => call.without_token().send().await,
            By::Edge(token) => call.token(token.clone()).send().await,
            By::Session(browser) => {
                let csrf = browser.csrf.clone();
                let request = in_browser(browser, &self.operation, &self.things, &self.body, csrf.as_deref());
                let request = request.header("sec-fetch-site", "same-origin").header("x-request-id", request_id);
                browser.send(request).await
            }
        }
    }

    /// Makes it in a browser, with this CSRF token.
    pub(crate) async fn send_in(&self, browser: &mut Browser, csrf: Option<&str>) -> Answer {
        let request = self.in_browser(browser, csrf, "same-origin");
        browser.send(request).await
    }

    /// The same as a page of that site makes it.
    pub(crate) fn in_browser(&self, browser: &Browser, csrf: Option<&str>, site: &str) -> reqwest::RequestBuilder {
        in_browser(browser, &self.operation, &self.things, &self.body, csrf).header("sec-fetch-site", site)
    }
}

/// The call as a browser makes it.
fn in_browser(
    browser: &Browser,
    operation: &Operation,
    things: &Things,
    body: &Value,
    csrf: Option<&str>,
) -> reqwest::RequestBuilder {
    let mut request = browser.request(operation.method.clone(), &operation.url(things));
    if [Method::PATCH, Method::PUT].contains(&operation.method) {
        request = request.header("if-match", "*");
    }
    if let Some(csrf) = csrf {
        request = request.header("x-nightlatch-csrf", csrf);
    }
    match operation.id.as_str() {
        "importKeys" => request.header("content-type", "application/x-ndjson").body(body.to_string()),
        _ if [Method::GET, Method::DELETE].contains(&operation.method) => request,
        _ => request.json(body),
    }
}

/// Whose the things are that a call is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    /// A partner organisation; a new one where nobody says which.
    pub(crate) partner: Option<String>,
    /// The principal of keys; the first service account where nobody says which.
    pub(crate) principal: Option<String>,
    /// The role of members; `viewer`, and of a partner's people `partner_staff`.
    pub(crate) role: Option<&'static str>,
    /// The token of whoever owns tokens; the management token's own member where nobody says whose.
    pub(crate) holder: Option<String>,
    /// Who may make keys for the principal; the management token where nobody says.
    pub(crate) issuer: Option<String>,
}

/// Makes what the call needs in order to succeed.
pub(crate) async fn ready(app: &TestApp, operation: &Operation, about: &About) -> Ready {
    let maker = Maker { app, about };
    let (things, by) = match operation.id.as_str() {
        id if operation.is_of_sessions() => return of_session(app, operation, id).await,
        "acceptInvitation" => {
            let code = invite(app, &format!("{}@example.com", unique()), "viewer").await;
            (Things::new([("invitation", code)]), By::Nobody)
        }
        "enrol" => {
            let body = json!({ "name": "new", "brand": format!("b{}", &unique()[..8]) });
            let made = app.done("/v1/workspaces", body).await;
            (Things::new([("enrolment", text(&made["enrolment_token"]))]), By::Nobody)
        }
        "enrolEdge" => (Things::new([("edge_code", maker.edge().await.1)]), By::Nobody),
        "pairGateway" => (Things::new([("pairing_code", maker.gateway().await.1)]), By::Nobody),
        "reportEdge" => {
            let body = json!({ "code": maker.edge().await.1, "runtime": "r", "version": "1.0.0" });
            let enrolled = app.done("/v1/edges/enrol", body).await;
            let token = text(&enrolled["credential"]);
            // What an edge does first is to be there.
            app.get(&format!("/v1/sets/{}", app.set.id)).token(&token).send().await;
            (Things::new([("set", app.set.id.clone())]), By::Edge(token))
        }
        _ => (maker.things(operation).await, By::Token),
    };
    let mut body = if operation.changes() { operation.body(&things) } else { json!({}) };
    if let ("issueKey" | "importKeys", Some(principal)) = (operation.id.as_str(), &about.principal) {
        body["principal"] = json!(principal);
    }
    if let ("inviteMember" | "inviteStaff", Some(role)) = (operation.id.as_str(), about.role) {
        body["role"] = json!(role);
    }
    Ready { operation: operation.clone(), things, body, by }
}

struct Maker<'a> {
    app: &'a TestApp,
    about: &'a About,
}

impl Maker<'_> {
    /// A thing of every kind that the call names, in a state in which it can be called.
    async fn things(&self, operation: &Operation) -> Things {
        let app = self.app;
        match operation.id.as_str() {
            "readReceipt" => {
                let key = self.key(None).await.0;
                let revoke = app.post(&format!("/v1/keys/{key}/revoke"), json!({ "reason": "r" }));
                assert!(revoke.send().await.status.is_success());
                Things::new([("key", key)])
            }
            "revokeManyKeys" => {
                let owner = unique();
                self.key(Some(&owner)).await;
                Things::new([("owner", owner)])
            }
            "enableKey" => {
                let key = self.key(None).await.0;
                let disable = app.post(&format!("/v1/keys/{key}/disable"), json!({})).token(self.issuer());
                assert_eq!(disable.send().await.status, 200);
                Things::new([("key", key)])
            }
            "verifyKey" => Things::new([("text", self.key(None).await.1)]),
            "resumeMember" => {
                let member = self.member(true).await;
                app.done(&format!("/v1/members/{member}/suspend"), json!({})).await;
                Things::new([("member", member)])
            }
            "reinviteMember" => Things::new([("member", self.member(false).await)]),
            "eraseAudit" => Things::new([("member", self.member(false).await)]),
            "resumeServiceAccount" => {
                let account = self.service_account().await;
                app.done(&format!("/v1/service-accounts/{account}/suspend"), json!({})).await;
                Things::new([("service_account", account)])
            }
            "resumePartner" => {
                let partner = self.partner().await;
                app.done(&format!("/v1/partners/{partner}/suspend"), json!({})).await;
                Things::new([("partner", partner)])
            }
            "acceptLink" => Things::new([("link_code", self.link().await.code)]),
            "updateLink" | "endLink" | "readLink" => Things::new([("link", self.accepted().await.link)]),
            "endPartnerLink" => {
                let made = self.link().await;
                Things::new([("partner", made.partner), ("link", made.link)])
            }
            "rotateEdgeCredential" => {
                let (edge, code) = self.edge().await;
                app.done("/v1/edges/enrol", json!({ "code": code, "runtime": "r", "version": "1.0.0" })).await;
                Things::new([("edge", edge)])
            }
            "updateStaff" | "removeStaff" | "readStaff" => {
                let partner = self.partner().await;
                let role = self.about.role.unwrap_or("partner_staff");
                let staff = app.member(role, Some(&partner)).await.0;
                Things::new([("partner", partner), ("staff", staff)])
            }
            "putScope" => Things::new([("scope", format!("s:{}", unique()))]),
            "removeScope" => {
                let scope = format!("s:{}", unique());
                let put = app.put(&format!("/v1/scopes/{scope}"), json!({ "description": "d" }));
                assert_eq!(put.send().await.status, 200);
                Things::new([("scope", scope)])
            }
            _ => {
                let mut things = Things::default();
                for kind in operation.named() {
                    things = things.with(kind, self.thing(kind).await);
                }
                things
            }
        }
    }

    /// A new thing of this kind.
    async fn thing(&self, kind: &str) -> String {
        match kind {
            "key" => self.key(None).await.0,
            "rotation" => {
                let key = self.key(None).await.0;
                let body = json!({ "overlap_seconds": 86_400, "reason": "r" });
                let started =
                    self.app.post(&format!("/v1/keys/{key}/rotations"), body).token(self.issuer()).send().await;
                text(&started.json()["rotation"]["id"])
            }
            "token" => {
                let body = json!({ "name": "new", "kind": "management" });
                let token = self.about.holder.as_ref().unwrap_or(&self.app.token);
                let made = self.app.post("/v1/tokens", body).token(token).send().await;
                assert_eq!(made.status, 201, "{made:?}");
                id(&made.json()["token"])
            }
            "member" => self.member(true).await,
            "service_account" => self.service_account().await,
            "partner" => self.partner().await,
            "gateway" => self.gateway().await.0,
            "edge" => self.edge().await.0,
            "set" => self.app.set.id.clone(),
            "workspace" => self.app.set.workspace.clone(),
            _ => panic!("say here how to make something of the kind {kind}"),
        }
    }

    fn issuer(&self) -> &str {
        self.about.issuer.as_ref().unwrap_or(&self.app.token)
    }

    /// A new key, and its text.
    async fn key(&self, owner: Option<&str>) -> (String, String) {
        let body = json!({ "name": "k", "environment": "live", "principal": self.about.principal, "owner": owner });
        let made = self.app.post("/v1/keys", body).token(self.issuer()).send().await;
        assert_eq!(made.status, 201, "{made:?}");
        (id(&made.json()["key"]), text(&made.json()["secret"]))
    }

    async fn member(&self, joined: bool) -> String {
        let role = self.about.role.unwrap_or("viewer");
        if joined {
            return self.app.member(role, None).await.0;
        }
        let body = json!({ "email": format!("{}@example.com", unique()), "role": role });
        id(&self.app.done("/v1/members", body).await["member"])
    }

    async fn service_account(&self) -> String {
        id(&self.app.done("/v1/service-accounts", json!({ "name": "new" })).await)
    }

    async fn partner(&self) -> String {
        match &self.about.partner {
            Some(partner) => partner.clone(),
            None => id(&self.app.done("/v1/partners", json!({ "name": "new" })).await),
        }
    }

    /// A link of a partner's that nobody has accepted yet.
    async fn link(&self) -> Offered {
        let partner = self.partner().await;
        let made = self.app.done(&format!("/v1/partners/{partner}/links"), json!({ "client_name": "c" })).await;
        Offered { partner, link: id(&made["link"]), code: text(&made["code"]) }
    }

    /// A link that this workspace has accepted: of a new partner, for there is one to each.
    async fn accepted(&self) -> Offered {
        let about = About { partner: None, ..self.about.clone() };
        let offered = Maker { app: self.app, about: &about }.link().await;
        self.app.done("/v1/links/accept", json!({ "code": offered.code })).await;
        offered
    }

    async fn gateway(&self) -> (String, String) {
        let made = self.app.done("/v1/gateways", json!({ "name": "new", "environment": "live" })).await;
        (id(&made["gateway"]), text(&made["code"]))
    }

    async fn edge(&self) -> (String, String) {
        let made = self.app.done("/v1/edges", json!({ "name": "new", "class": "durable" })).await;
        (id(&made["edge"]), text(&made["code"]))
    }
}

struct Offered {
    partner: String,
    link: String,
    code: String,
}

/// A call by somebody who has just signed in.
async fn of_session(app: &TestApp, operation: &Operation, id: &str) -> Ready {
    let email = format!("{}@example.com", unique());
    join(app, &email, "owner").await;
    let mut browser = Browser::new(app);
    let mut things = Things::default();
    if id != "signIn" {
        browser = browser.signed_in(&email).await;
    }
    let body = match id {
        "signIn" => json!({ "email": email, "password": PASSWORD }),
        "stepUp" => json!({ "password": PASSWORD }),
        "switchWorkspace" => {
            let other =
                app.done("/v1/workspaces", json!({ "name": "o", "brand": format!("b{}", &unique()[..8]) })).await;
            let enrolled =
                app.post("/v1/enrol", json!({ "token": other["enrolment_token"] })).without_token().send().await;
            let token = text(&enrolled.json()["secret"]);
            let invited =
                app.post("/v1/members", json!({ "email": email, "role": "viewer" })).token(token).send().await;
            let body = json!({ "code": invited.json()["code"], "password": PASSWORD });
            assert_eq!(app.post("/v1/invites/accept", body).without_token().send().await.status, 201);
            json!({ "workspace": other["workspace"]["id"] })
        }
        "changePassword" => json!({ "current": PASSWORD, "new": "another good password" }),
        "confirmTotp" | "removeTotp" => {
            let offered = browser.post("/v1/session/totp", json!({})).await.json();
            let authenticator = TotpSecret::from_bytes(&base32(offered["secret"].as_str().unwrap())).unwrap();
            let code = authenticator.show(app.store().await.now().await.unwrap() / 1000);
            if id == "removeTotp" {
                let confirmed = browser.post("/v1/session/totp/confirm", json!({ "code": code })).await;
                assert_eq!(confirmed.status, 200, "{confirmed:?}");
                json!({})
            } else {
                json!({ "code": code })
            }
        }
        "endSession" => {
            Browser::new(app).signed_in(&email).await;
            let listed = browser.get("/v1/sessions").await.json();
            let other = listed["items"].as_array().unwrap().iter().find(|one| one["current"] == false).unwrap().clone();
            things = things.with("session", text(&other["id"]));
            json!({})
        }
        "beginTotp" | "signOut" | "readSession" | "listSessions" => json!({}),
        other => panic!("{other}: say here what it takes to succeed"),
    };
    Ready { operation: operation.clone(), things, body, by: By::Session(Box::new(browser)) }
}

pub(crate) fn unique() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
