//! Every call of the OpenAPI document, with things of somebody's choice in the places of its path and body. A new operation
//! is here by being in the document; where it takes a body, its example is added here.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Call, TestApp};

/// Ids, by the kind of thing they name: `key`, `rotation`, …
#[derive(Clone, Debug, Default)]
pub(crate) struct Things(BTreeMap<&'static str, String>);

impl Things {
    pub(crate) fn new<T: Into<String>>(things: impl IntoIterator<Item = (&'static str, T)>) -> Self {
        Self(things.into_iter().map(|(kind, id)| (kind, id.into())).collect())
    }

    /// The id of a thing of this kind.
    #[track_caller]
    pub(crate) fn id(&self, kind: &str) -> &str {
        self.get(kind).unwrap_or_else(|| panic!("nothing of the kind {kind}: say here what it is"))
    }

    pub(crate) fn get(&self, kind: &str) -> Option<&str> {
        self.0.get(kind).map(String::as_str)
    }

    /// The same with another thing of that kind.
    pub(crate) fn with(&self, kind: &'static str, id: impl Into<String>) -> Self {
        let mut things = self.clone();
        things.0.insert(kind, id.into());
        things
    }

    /// Each with what another would be in its stead.
    pub(crate) fn map(&self, other: impl Fn(&str) -> String) -> Self {
        Self(self.0.iter().map(|(kind, id)| (*kind, other(id))).collect())
    }
}

/// A call of the document.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) id: String,
    /// The names of its query's parameters.
    pub(crate) query: Vec<String>,
    pub(crate) has_json: bool,
    pub(crate) body_optional: bool,
    /// Whether it wants to know which revision it changes.
    if_match: bool,
    /// Whether it may be sent again.
    pub(crate) is_create: bool,
}

impl Operation {
    /// All of the document.
    pub(crate) fn whole_document() -> Vec<Self> {
        let document: Value = serde_json::from_str(&nightlatch::api::openapi_document()).unwrap();
        let mut all = Vec::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let body = &operation["requestBody"];
                let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
                let named = |place: &str| -> Vec<String> {
                    let of_place = parameters.iter().filter(|parameter| parameter["in"] == place);
                    of_place.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
                };
                let headers = named("header");
                all.push(Self {
                    method: method.to_uppercase().parse().unwrap(),
                    path: path.clone(),
                    id: operation["operationId"].as_str().unwrap().to_owned(),
                    query: named("query"),
                    has_json: body["content"].get("application/json").is_some(),
                    body_optional: body.is_object() && body["required"] != true,
                    if_match: headers.iter().any(|name| name == "If-Match"),
                    is_create: headers.iter().any(|name| name == "Idempotency-Key"),
                });
            }
        }
        assert!(all.len() > 90, "the document has lost its operations");
        all
    }

    /// All that tokens may ask for: sessions are a person's own.
    pub(crate) fn all() -> Vec<Self> {
        Self::whole_document().into_iter().filter(|operation| !operation.is_of_sessions()).collect()
    }

    pub(crate) fn is_of_sessions(&self) -> bool {
        self.path.starts_with("/v1/session")
    }

    /// Whether it may change something.
    pub(crate) fn changes(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether nobody is asked for a token.
    pub(crate) fn is_open(&self) -> bool {
        let open = ["enrol", "enrolEdge", "pairGateway", "acceptInvitation", "signIn", "startOidc", "finishOidc"];
        !self.path.starts_with("/v1/") || open.contains(&self.id.as_str())
    }

    /// What is named in its path: the place, and of which kind a thing in it is.
    pub(crate) fn places(&self) -> Vec<(&str, &'static str)> {
        let part = self.path.split('/').nth(2).unwrap_or_default();
        let places = self.path.split('/').filter(|part| part.starts_with('{'));
        let kind = |place| match (part, place) {
            ("partners", "{member}") => "staff",
            (_, "{link}") => "link",
            (_, "{set}") => "set",
            ("sets", "{name}") => "file",
            ("scopes", "{name}") => "scope",
            (_, "{role}") => "role",
            ("keys", "{id}") => "key",
            ("rotations", "{id}") => "rotation",
            ("tokens", "{id}") => "token",
            ("edges", "{id}") => "edge",
            ("members", "{id}") => "member",
            ("workspaces", "{id}") => "workspace",
            ("service-accounts", "{id}") => "service_account",
            ("partners", "{id}") => "partner",
            ("links", "{id}") => "link",
            ("gateways", "{id}") => "gateway",
            ("sessions", "{id}") => "session",
            _ => panic!("{}: say here of which kind {place} is", self.path),
        };
        places.map(|place| (place, kind(place))).collect()
    }

    /// Of which kinds the things are that it names and that belong to somebody: roles, names of scopes and of files do not.
    pub(crate) fn named(&self) -> Vec<&'static str> {
        let kinds = self.places().into_iter().map(|(_, kind)| kind);
        kinds.filter(|kind| !["role", "scope", "file", "session"].contains(kind)).collect()
    }

    /// Its path, with each place taken by the thing of its kind.
    pub(crate) fn url(&self, things: &Things) -> String {
        let mut url = self.path.clone();
        for (place, kind) in self.places() {
            let thing = things.get(kind).or(match kind {
                "role" => Some("viewer"),
                "file" => Some("base-0-1"),
                "scope" => Some("a:read"),
                _ => None,
            });
            url = url.replace(place, thing.unwrap_or_else(|| panic!("{url}: say here which {kind}")));
        }
        if self.id == "exportKeys" { format!("{url}?format=ndjson") } else { url }
    }

    /// A body that would do, with nothing of anybody's in it.
    pub(crate) fn body(&self, things: &Things) -> Value {
        self.bodies(things).swap_remove(0)
    }

    /// Bodies that would do, for every way in which the call can be made and for every thing that it can be about. The first
    /// names nothing that is not needed. Where `things` has none of a kind, there is no body about one.
    pub(crate) fn bodies(&self, things: &Things) -> Vec<Value> {
        let get = |kind: &str| things.get(kind);
        let about = |mut bodies: Vec<Value>, more: &[(&str, &str)]| {
            for (field, kind) in more {
                if let Some(id) = get(kind) {
                    let mut body = bodies[0].clone();
                    body[*field] = json!(id);
                    bodies.push(body);
                }
            }
            bodies
        };
        let reasoned = || vec![json!({ "reason": "r" })];
        let unique = || format!("{:016x}", rand::random::<u64>());
        match self.id.as_str() {
            "enrol" => vec![json!({ "token": get("enrolment").unwrap_or("nlo_live_x") })],
            "issueKey" => about(
                vec![json!({ "name": "new", "environment": "live" })],
                &[
                    ("principal", "principal"),
                    ("principal", "partner"),
                    ("principal", "gateway"),
                    ("principal", "service_account"),
                    ("owner_member", "member"),
                    ("link", "link"),
                ],
            ),
            "updateKey" => about(
                vec![
                    json!({ "name": "another" }),
                    json!({ "expires_at": "2100-01-01T00:00:00Z", "rotate_by": "2099-01-01T00:00:00Z" }),
                    json!({ "tier": "gold", "labels": { "a": "b" }, "owner": "somebody" }),
                ],
                &[("owner_member", "member")],
            ),
            "revokeKey" => reasoned(),
            "revokeManyKeys" => {
                let filters = [
                    ("principal", "principal"),
                    ("touched_by", "member"),
                    ("owner_member", "member"),
                    ("issued_by", "token"),
                    ("issued_by", "member"),
                ];
                let filters = filters.into_iter().filter_map(|(field, kind)| Some((field, get(kind)?)));
                let mut bodies =
                    vec![json!({ "filter": { "owner": get("owner").unwrap_or("nobody") }, "reason": "r" })];
                for (field, id) in filters {
                    bodies.push(json!({ "filter": { field: id }, "reason": "r" }));
                    bodies.push(json!({ "filter": { field: id }, "reason": "r", "dry_run": true }));
                }
                bodies
            }
            "startRotation" => vec![
                json!({ "overlap_seconds": 86_400, "reason": "r" }),
                json!({ "overlap_seconds": 86_400, "reason": "r", "dry_run": true }),
                json!({ "order": "revoke_first", "reason": "r" }),
            ],
            "extendRotation" => vec![json!({ "overlap_seconds": 172_800 })],
            "cancelRotation" => vec![json!({ "successor": "keep" }), json!({ "successor": "revoke" })],
            "completeRotation" => vec![json!({}), json!({ "force": true, "reason": "r" })],
            "disableKey" | "enableKey" => vec![json!({})],
            "importKeys" => {
                let digest = [unique(), unique(), unique(), unique()].concat();
                let line = json!({ "name": "taken in", "environment": "live", "digest": digest, "entropy_bits": 256 });
                about(vec![line], &[("principal", "principal"), ("principal", "partner"), ("principal", "gateway")])
            }
            "verifyKey" => {
                let key = get("text").unwrap_or("nl_live_x");
                about(vec![json!({ "key": key })], &[("set", "set")])
            }
            "replaceRoutes" => vec![json!({ "routes": [{ "method": "GET", "path": format!("/{}", unique()) }] })],
            "inviteMember" => vec![json!({ "email": format!("{}@new.example.com", unique()), "role": "viewer" })],
            "updateMember" => vec![
                json!({ "name": "another" }),
                json!({ "role": "operator" }),
                json!({ "scopes": ["a:read"], "tier": "gold" }),
            ],
            "suspendMember" | "resumeMember" | "removeMember" | "reinviteMember" | "removeStaff" => vec![json!({})],
            "replaceRole" => vec![json!({ "scopes": [format!("r:{}", unique())] }), json!({ "scopes": [] })],
            "rotateToken" => vec![json!({ "overlap_seconds": 3600, "reason": "r" })],
            "revokeToken" => vec![json!({})],
            "createServiceAccount" | "createPartner" => vec![json!({ "name": "new" })],
            "updateServiceAccount" | "updatePartner" => {
                vec![json!({ "name": "another" }), json!({ "scopes": ["a:read"], "description": "d" })]
            }
            "suspendServiceAccount" | "resumeServiceAccount" | "suspendPartner" | "resumePartner" => vec![json!({})],
            "removeServiceAccount" | "removePartner" | "endPartnerLink" | "endLink" | "unpairGateway" => reasoned(),
            "inviteStaff" => {
                vec![json!({ "email": format!("{}@new.example.com", unique()), "role": "partner_staff" })]
            }
            "updateStaff" => vec![json!({ "name": "another" }), json!({ "role": "partner_admin" })],
            "createPartnerLink" => vec![json!({ "client_name": "n" })],
            "acceptLink" => vec![json!({ "code": get("link_code").unwrap_or("nll_live_x") })],
            "updateLink" => vec![json!({ "permissions": [format!("p:{}", unique())] }), json!({ "permissions": [] })],
            "createGateway" => vec![json!({ "name": "new", "environment": "live" })],
            "offerPairing" => vec![json!({}), json!({ "order": "revoke_first" })],
            "pairGateway" => vec![json!({ "code": get("pairing_code").unwrap_or("nlp_live_x") })],
            "acceptInvitation" => {
                let code = get("invitation").unwrap_or("nli_live_x");
                vec![json!({ "code": code, "password": "a long enough one" })]
            }
            "putScope" => vec![json!({ "sensitive": true }), json!({ "description": "d" })],
            "removeScope" => vec![json!({})],
            "eraseAudit" => vec![json!({ "about": get("member").unwrap_or("mem_1") })],
            "createToken" => {
                let mut bodies = vec![json!({ "name": "new", "kind": "management" })];
                bodies.extend(get("set").map(|set| json!({ "name": "new", "kind": "edge", "set": set })));
                bodies
            }
            "createEdge" => about(vec![json!({ "name": "new", "class": "durable" })], &[("set", "set")]),
            "enrolEdge" => {
                vec![json!({ "code": get("edge_code").unwrap_or("nlc_live_x"), "runtime": "r", "version": "1.0.0" })]
            }
            "rotateEdgeCredential" => vec![json!({ "overlap_seconds": 60 })],
            "removeEdge" => vec![json!({})],
            "createWorkspace" => vec![json!({ "name": "new", "brand": format!("b{}", &unique()[..8]) })],
            "updateWorkspace" => vec![json!({ "name": "another" })],
            "reportEdge" => vec![json!({
                "set": things.id("set"), "instance": "i", "sequence": 1, "runtime": "r", "version": "1.0.0",
                "applied": null,
            })],
            other => panic!("{other} takes a body: add an example here"),
        }
    }

    /// The call, with the management token, for what is in these places. Its body is still missing.
    pub(crate) fn call(&self, app: &TestApp, things: &Things) -> Call {
        self.at(app, &self.url(things))
    }

    /// The call at a path of somebody's choice.
    pub(crate) fn at(&self, app: &TestApp, path: &str) -> Call {
        let call = app.call(self.method.clone(), path);
        if self.if_match { call.header("if-match", "*") } else { call }
    }

    /// The call with a body of the kind that it takes; none where it only reads.
    pub(crate) fn with(&self, call: Call, body: &Value) -> Call {
        match self.id.as_str() {
            "importKeys" => call.body("application/x-ndjson", body.to_string()),
            _ if self.changes() && self.method != Method::DELETE => call.json(body),
            _ => call,
        }
    }
}
