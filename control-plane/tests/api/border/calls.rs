//! Every call of the OpenAPI document, with ids of somebody's choice in all its places.

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Call, TestApp};

/// A call of the document.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    method: Method,
    pub(super) path: String,
    /// The names of its query's parameters.
    query: Vec<String>,
}

/// Every call of the document but for those of operations, which are of the whole process: probes and metrics.
pub(super) async fn operations(app: &TestApp) -> Vec<Operation> {
    let document = app.get("/openapi.json").send().await.json();
    let mut all = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations
            .as_object()
            .unwrap()
            .iter()
            .filter(|_| path.starts_with("/v1/") && !path.starts_with("/v1/session"))
        {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let query = parameters.iter().filter(|parameter| parameter["in"] == "query");
            let query = query.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect();
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            all.push(Operation { method, path: path.clone(), query });
        }
    }
    all
}

/// What ids of things of this part of the API begin with. What is not here is called with ids of every kind.
fn kinds(part: &str) -> Option<&'static [&'static str]> {
    Some(match part {
        "keys" => &["key_", "kn_"],
        "rotations" => &["rot_"],
        "tokens" => &["tok_"],
        "members" => &["mem_"],
        "edges" => &["edge_"],
        "sets" => &["set_"],
        _ => return None,
    })
}

impl Operation {
    /// Whether it may change something.
    pub(super) fn changes(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether it reads the audit log.
    pub(super) fn is_of_audit(&self) -> bool {
        self.path.starts_with("/v1/audit")
    }

    /// Whether an id is in its path.
    pub(super) fn names(&self) -> bool {
        self.path.contains('{')
            && !self.path.contains("{role}")
            && !["/v1/scopes/", "/v1/workspaces/"].iter().any(|known| self.path.starts_with(known))
    }

    /// Whether a thing of this id can be what it is about.
    pub(super) fn is_about(&self, id: &str) -> bool {
        kinds(self.path.split('/').nth(2).unwrap()).is_none_or(|kinds| kinds.iter().any(|kind| id.starts_with(kind)))
    }

    /// The call with these ids: the first in its path, the others in query and body.
    pub(super) fn call(&self, app: &TestApp, ids: &[String; 3], text: &str, flag: bool) -> Call {
        let [id, other, third] = ids;
        let mut path = self.path.replace("{role}", "viewer").replace("{name}", "base-0-1");
        while let (Some(start), Some(end)) = (path.find('{'), path.find('}')) {
            path.replace_range(start..=end, id);
        }
        let asked = |name: &String| match name.as_str() {
            "limit" => flag.then(|| "limit=2".to_owned()),
            "principal" | "partner" if other.starts_with("prn_") => Some(format!("{name}={other}")),
            "key" if other.starts_with("key_") || other.starts_with("kn_") => Some(format!("{name}={other}")),
            "set" if third.starts_with("set_") => Some(format!("{name}={third}")),
            "issued_by" | "actor" if third.starts_with("tok_") || third.starts_with("mem_") => {
                Some(format!("{name}={third}"))
            }
            "owner" | "q" if flag => Some(format!("{name}=key")),
            _ => None,
        };
        let query: Vec<_> = self.query.iter().filter_map(asked).collect();
        let call = app.call(self.method.clone(), &format!("{path}?{}", query.join("&")));
        match self.method.as_str() {
            "GET" => call,
            _ if self.path == "/v1/keys/import" => {
                let digest: String = (0..8).map(|_| format!("{:08x}", rand::random::<u32>())).collect();
                let line = json!({ "name": "taken in", "environment": "live", "digest": digest, "entropy_bits": 256,
                    "principal": other });
                call.body("application/x-ndjson", line.to_string())
            }
            "POST" => call.json(&self.body(other, third, text, flag)),
            _ => call.header("if-match", "*").json(&self.body(other, third, text, flag)),
        }
    }

    fn body(&self, other: &str, third: &str, text: &str, flag: bool) -> Value {
        let principal = other.starts_with("prn_").then_some(other);
        let set = third.starts_with("set_").then_some(third);
        match (self.method.as_str(), self.path.as_str()) {
            ("POST", "/v1/keys") => json!({ "name": "new", "environment": "live", "principal": principal }),
            ("PATCH", _) => json!({ "name": "renamed" }),
            ("POST", "/v1/keys/{id}/revoke") => json!({ "reason": "border" }),
            ("POST", "/v1/keys/{id}/rotations") => {
                json!({ "overlap_seconds": 86_400, "reason": "border", "dry_run": flag })
            }
            ("POST", "/v1/tokens/{id}/rotations") => json!({ "overlap_seconds": 3600, "reason": "border" }),
            ("POST", "/v1/rotations/{id}/extend") => json!({ "overlap_seconds": 172_800 }),
            ("POST", "/v1/rotations/{id}/cancel") => json!({ "successor": if flag { "keep" } else { "revoke" } }),
            ("POST", "/v1/rotations/{id}/complete") if flag => json!({ "force": true, "reason": "border" }),
            ("POST", "/v1/verify") => json!({ "key": text, "set": set }),
            ("POST", "/v1/members") => {
                json!({ "email": format!("{:x}@new.example.com", rand::random::<u64>()), "role": "viewer" })
            }
            ("PUT", "/v1/roles/{role}") => json!({ "scopes": if flag { vec!["a:read"] } else { Vec::new() } }),
            ("PUT", "/v1/routes") => json!({ "routes": [] }),
            ("POST", "/v1/tokens") if flag => json!({ "name": "new", "kind": "edge", "set": set }),
            ("POST", "/v1/tokens") => json!({ "name": "new", "kind": "management" }),
            ("POST", "/v1/edges") => json!({ "name": "new", "class": "durable", "set": set }),
            _ => json!({}),
        }
    }
}

/// A call with an id elsewhere than in its path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Template {
    kind: &'static str,
    method: &'static str,
    /// `ID` stands for the id.
    path: &'static str,
    body: &'static str,
}

const fn get(kind: &'static str, path: &'static str) -> Template {
    Template { kind, method: "GET", path, body: "" }
}

const fn post(kind: &'static str, path: &'static str, body: &'static str) -> Template {
    Template { kind, method: "POST", path, body }
}

/// Where ids are taken that are not in a path.
pub(super) const TEMPLATES: &[Template] = &[
    get("key_", "/v1/rotations?key=ID"),
    get("key_", "/v1/audit?key=ID"),
    get("prn_", "/v1/keys?principal=ID"),
    get("prn_", "/v1/members?partner=ID"),
    get("tok_", "/v1/keys?issued_by=ID"),
    get("tok_", "/v1/audit?actor=ID"),
    get("mem_", "/v1/audit?actor=ID"),
    get("set_", "/v1/routes?set=ID"),
    post("prn_", "/v1/keys", r#"{"name":"n","environment":"live","principal":"ID"}"#),
    post("set_", "/v1/tokens", r#"{"name":"n","kind":"edge","set":"ID"}"#),
    post("set_", "/v1/edges", r#"{"name":"n","class":"durable","set":"ID"}"#),
    post("set_", "/v1/verify", r#"{"key":"nl_live_x","set":"ID"}"#),
];

impl Template {
    pub(super) fn is_about(&self, id: &str) -> bool {
        id.starts_with(self.kind)
    }

    pub(super) fn call(&self, app: &TestApp, id: &str) -> Call {
        let call = app.call(Method::from_bytes(self.method.as_bytes()).unwrap(), &self.path.replace("ID", id));
        if self.body.is_empty() { call } else { call.body("application/json", self.body.replace("ID", id)) }
    }
}
