//! Calls with an id elsewhere than in their path.

use reqwest::Method;

use crate::app::{Call, TestApp};

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
    get("prn_", "/v1/audit?principal=ID"),
    get("prn_", "/v1/audit?target=ID"),
    get("prn_", "/v1/members?partner=ID"),
    get("tok_", "/v1/keys?issued_by=ID"),
    get("mem_", "/v1/keys?issued_by=ID"),
    get("mem_", "/v1/keys?touched_by=ID"),
    get("mem_", "/v1/keys?owner_member=ID"),
    get("mem_", "/v1/keys/export?format=ndjson&touched_by=ID"),
    get("key_", "/v1/keys?q=ID"),
    get("key_", "/v1/audit?target=ID"),
    get("lnk_", "/v1/audit?target=ID"),
    get("tok_", "/v1/audit?actor=ID"),
    get("mem_", "/v1/audit?actor=ID"),
    get("set_", "/v1/routes?set=ID"),
    post("prn_", "/v1/keys", r#"{"name":"n","environment":"live","principal":"ID"}"#),
    post("lnk_", "/v1/keys", r#"{"name":"n","environment":"live","link":"ID"}"#),
    post("mem_", "/v1/keys", r#"{"name":"n","environment":"live","owner_member":"ID"}"#),
    post("prn_", "/v1/keys:revoke-many", r#"{"filter":{"principal":"ID"},"reason":"r","dry_run":true}"#),
    post("tok_", "/v1/keys:revoke-many", r#"{"filter":{"issued_by":"ID"},"reason":"r","dry_run":true}"#),
    post("mem_", "/v1/keys:revoke-many", r#"{"filter":{"issued_by":"ID"},"reason":"r","dry_run":true}"#),
    post("mem_", "/v1/keys:revoke-many", r#"{"filter":{"touched_by":"ID"},"reason":"r","dry_run":true}"#),
    post("mem_", "/v1/keys:revoke-many", r#"{"filter":{"owner_member":"ID"},"reason":"r","dry_run":true}"#),
    post("mem_", "/v1/audit/erase", r#"{"about":"ID"}"#),
    // Ids are no codes.
    post("lnk_", "/v1/links/accept", r#"{"code":"ID"}"#),
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
