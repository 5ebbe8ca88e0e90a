//! The calls behind the matrix's actions.

use nightlatch::domain::ids::principal_id;
use nightlatch::domain::{Key, RotationId};
use reqwest::Method;
use serde_json::json;

use crate::app::{Answer, Call, TestApp};
use crate::people::People;

/// Everything that is done with keys, and by which call of the document: some calls do things that are not alike.
pub(super) const OPERATIONS: &[(&str, &str)] = &[
    ("read", "readKey"),
    ("list", "listKeys"),
    ("receipt", "readReceipt"),
    ("issue", "issueKey"),
    ("import", "importKeys"),
    ("update", "updateKey"),
    ("prolong", "updateKey"),
    ("hand_over", "updateKey"),
    ("disable", "disableKey"),
    ("enable", "enableKey"),
    ("revoke", "revokeKey"),
    ("revoke_many", "revokeManyKeys"),
    ("plan", "startRotation"),
    ("rotate", "startRotation"),
    ("revoke_first", "startRotation"),
    ("rotation", "readRotation"),
    ("extend", "extendRotation"),
    ("cancel", "cancelRotation"),
    ("take_back", "cancelRotation"),
    ("complete", "completeRotation"),
    ("force", "completeRotation"),
    ("verify", "verifyKey"),
];

/// What an action is done to.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// The principal.
    pub(super) subject: u32,
    /// A key of its.
    pub(super) key: Key,
    /// That key's text.
    pub(super) text: String,
    /// An open rotation whose predecessor is the key, where the action is about one.
    pub(super) rotation: RotationId,
}

/// Whether the action is about a rotation that runs.
pub(super) fn needs_rotation(action: &str) -> bool {
    ["rotation", "extend", "cancel", "take_back", "complete", "force"].contains(&action)
}

/// Whether the action, where it is allowed, changes something.
pub(super) fn changes(action: &str) -> bool {
    !["read", "list", "receipt", "plan", "rotation", "verify"].contains(&action)
}

/// Something that the action can be done to.
pub(super) async fn fresh(app: &TestApp, people: &People, action: &str, subject: u32) -> Subject {
    let (key, text) = people.key(subject).await;
    let rotation = if needs_rotation(action) { people.rotation(&key).await } else { RotationId::generate([0; 10]) };
    let id = &key.id;
    match action {
        "force" => {
            let now = crate::app::now().as_millisecond();
            app.sql(&format!("UPDATE keys SET last_used_at = {now} WHERE id = '{id}'")).await;
        }
        "enable" => {
            people.disable(&key).await;
            // By whose it is, too: that is what they may lift.
            app.sql(&format!("UPDATE keys SET disabled_by = 'admin holder' WHERE id = '{id}'")).await;
        }
        _ => {}
    }
    Subject { subject, key, text, rotation }
}

/// Does it, and says what came of it.
pub(super) async fn outcome(app: &TestApp, action: &str, target: &Subject, caller: &str) -> String {
    let answer = call(app, action, target).token(caller).send().await;
    let id = target.key.id.as_str();
    if !answer.status.is_success() {
        return code(&answer);
    }
    let body = answer.json();
    match action {
        "list" if answer.text.contains(&format!("\"{id}\"")) => "shown".to_owned(),
        "list" => "hidden".to_owned(),
        // It says of each key what came of it: none of those that the caller does not see.
        "revoke_many" => match (body["matched"].as_u64(), body["refused"].as_u64()) {
            (Some(1), Some(0)) => "ok".to_owned(),
            (Some(0), Some(1)) => body["refusals"][0]["code"].as_str().unwrap().to_owned(),
            (Some(0), Some(0)) => "hidden".to_owned(),
            _ => panic!("one key has this owner: {answer:?}"),
        },
        "import" if body["created"] == 1 => "ok".to_owned(),
        "import" => body["errors"][0]["code"].as_str().unwrap().to_owned(),
        "verify" => {
            assert_eq!(body["key"]["id"], id, "{answer:?}");
            "ok".to_owned()
        }
        "read" => {
            assert_eq!(body["id"], id, "{answer:?}");
            "ok".to_owned()
        }
        _ => "ok".to_owned(),
    }
}

/// The code of a problem that owes nothing.
fn code(answer: &Answer) -> String {
    let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
    answer.is_problem(answer.status.as_u16(), &code);
    code
}

fn call(app: &TestApp, action: &str, target: &Subject) -> Call {
    let (key, rotation, principal) = (&target.key.id, &target.rotation, principal_id(target.subject));
    let rotate = |dry_run: bool| {
        let body = json!({ "overlap_seconds": 86_400, "reason": "matrix", "dry_run": dry_run });
        app.post(&format!("/v1/keys/{key}/rotations"), body)
    };
    let turn = |how: &str, body| app.post(&format!("/v1/rotations/{rotation}/{how}"), body);
    match action {
        "read" => app.get(&format!("/v1/keys/{key}")),
        "list" => app.get(&format!("/v1/keys?principal={principal}&limit=200")),
        "receipt" => app.get(&format!("/v1/keys/{key}/receipt")),
        "issue" => app.post("/v1/keys", json!({ "name": "new", "environment": "live", "principal": principal })),
        "import" => {
            let digest: String = (0..8).map(|_| format!("{:08x}", rand::random::<u32>())).collect();
            let line = json!({ "name": "taken in", "environment": "live", "digest": digest, "principal": principal, "entropy_bits": 256 });
            app.call(Method::POST, "/v1/keys/import").body("application/x-ndjson", line.to_string())
        }
        "update" => {
            let call = app.call(Method::PATCH, &format!("/v1/keys/{key}")).header("if-match", "*");
            call.json(&json!({ "name": "another name" }))
        }
        "prolong" => {
            let call = app.call(Method::PATCH, &format!("/v1/keys/{key}")).header("if-match", "*");
            call.json(&json!({ "expires_at": "2100-01-01T00:00:00Z" }))
        }
        "hand_over" => {
            let call = app.call(Method::PATCH, &format!("/v1/keys/{key}")).header("if-match", "*");
            call.json(&json!({ "owner": "somebody else" }))
        }
        "revoke_many" => {
            let filter = json!({ "principal": principal, "q": target.key.prefix });
            app.post("/v1/keys:revoke-many", json!({ "filter": filter, "reason": "matrix" }))
        }
        "revoke_first" => {
            app.post(&format!("/v1/keys/{key}/rotations"), json!({ "order": "revoke_first", "reason": "matrix" }))
        }
        "disable" | "enable" => app.post(&format!("/v1/keys/{key}/{action}"), json!({})),
        "revoke" => app.post(&format!("/v1/keys/{key}/revoke"), json!({ "reason": "matrix" })),
        "plan" => rotate(true),
        "rotate" => rotate(false),
        "rotation" => app.get(&format!("/v1/rotations/{rotation}")),
        "extend" => turn("extend", json!({ "overlap_seconds": 172_800 })),
        "cancel" => turn("cancel", json!({ "successor": "keep" })),
        "take_back" => turn("cancel", json!({ "successor": "revoke" })),
        "complete" => turn("complete", json!({})),
        "force" => turn("complete", json!({ "force": true, "reason": "matrix" })),
        "verify" => app.post("/v1/verify", json!({ "key": target.text })),
        _ => panic!("no call is known for {action}"),
    }
}
