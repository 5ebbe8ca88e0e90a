//! S1-09, S1-10, guarantee 7: every change and every refused attempt is in the audit log, once and whole, and in the
//! transaction of what it tells of.

use serde_json::{Value, json};

use super::ready::{About, By, Ready, ready};
use super::walk;
use crate::app::{Answer, TestApp};
use crate::on_both;

/// The entries of a request, as the rows have them, whichever workspace's log they are in.
async fn entries(app: &TestApp, request: &str) -> Vec<Value> {
    app.rows(
        &[
            "action",
            "actor_type",
            "actor_id",
            "on_behalf_of",
            "source",
            "target_type",
            "target_id",
            "before",
            "after",
            "workspace_id",
            PERSONAL,
        ],
        &format!("audit WHERE request_id = '{request}' ORDER BY id"),
    )
    .await
}

/// How many personal values an entry has beside the address that the request came from.
const PERSONAL: &str = "(SELECT COUNT(*) FROM audit_personal p WHERE p.audit_id = audit.id)";

/// What an entry shows: `b` what was before, `a` what is after, `p` what is personal of either.
fn shows(entry: &Value) -> String {
    let has = |field: &str| entry[field].as_str().is_some_and(|text| !["", "{}", "0"].contains(&text));
    let shown: String = [("before", 'b'), ("after", 'a'), (PERSONAL, 'p')]
        .into_iter()
        .filter(|(f, _)| has(f))
        .map(|(_, s)| s)
        .collect();
    if shown.is_empty() { "n".to_owned() } else { shown }
}

/// What every entry says beside what was done.
fn is_whole(ready: &Ready, entry: &Value, founder: &(String, String)) -> Result<(), String> {
    let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let actor = (text("actor_type"), text("actor_id"));
    let right = match &ready.by {
        // Those of a new workspace are not told which of another's people made it.
        By::Token if entry["action"] == "workspace.created" && entry["workspace_id"] == entry["target_id"] => {
            actor.0 == "system"
        }
        By::Token => actor == ("token".to_owned(), founder.0.clone()) && text("on_behalf_of") == founder.1,
        By::Session(_) => actor.0 == "member" && actor.1.starts_with("mem_"),
        By::Nobody => !actor.1.is_empty() && actor.0 != "system",
        By::Edge(_) => actor.0 == "edge",
    };
    if !right {
        return Err(format!("it is not told who acted: {entry}"));
    }
    if text("source") != "127.0.0.1" && actor.0 != "system"
        || text("target_id").is_empty()
        || text("target_type").is_empty()
    {
        return Err(format!("it is not told from where, or what it was done to: {entry}"));
    }
    Ok(())
}

/// The management token of the test, and its member.
async fn founder(app: &TestApp) -> (String, String) {
    let made = app.rows(&["id", "member_id"], "tokens WHERE kind = 'management' ORDER BY created_at, id").await;
    let text = |field: &str| made[0][field].as_str().unwrap().to_owned();
    assert_eq!(made.len(), 1, "asked for when there is one");
    (text("id"), text("member_id"))
}

on_both!(s1_09_every_change_is_told_of_once);
async fn s1_09_every_change_is_told_of_once(app: TestApp) {
    let founder = founder(&app).await;
    let mut wrong = Vec::new();
    for (operation, line) in walk() {
        let mut ready = ready(&app, &operation, &About::default()).await;
        let request = format!("done-{}", operation.id);
        let answer = ready.send(&app, &request).await;
        if answer.status.as_u16() != line.status {
            wrong.push(format!("{}: {answer:?}", operation.id));
            continue;
        }
        let entries = entries(&app, &request).await;
        let mut told: Vec<_> =
            entries.iter().map(|entry| format!("{}:{}", entry["action"].as_str().unwrap(), shows(entry))).collect();
        let mut expected: Vec<_> = line.entries.iter().map(|(action, shows)| format!("{action}:{shows}")).collect();
        told.sort();
        expected.sort();
        if told != expected {
            wrong.push(format!("{}: {told:?} instead of {expected:?}", operation.id));
        }
        wrong.extend(entries.iter().filter_map(|entry| {
            is_whole(&ready, entry, &founder).err().map(|fault| format!("{}: {fault}", operation.id))
        }));
        // What the path names is what it was done to.
        let named = operation.named().last().map(|kind| ready.things.id(kind).to_owned());
        if let Some(named) = named
            && !entries.is_empty()
            && !entries.iter().any(|entry| entry["target_id"] == named.as_str() || is_about(entry, &named))
        {
            wrong.push(format!("{}: no entry is about {named}: {entries:?}", operation.id));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    app.stop().await;
}

/// Whether an entry's values name a thing: a rotation's entries are of its keys, and staff says of which partner it is.
fn is_about(entry: &Value, id: &str) -> bool {
    let partner = id.strip_prefix("prn_").map(|subject| format!("\"partner\":{subject},"));
    let names = |text: &str| text.contains(id) || partner.as_ref().is_some_and(|partner| text.contains(partner));
    ["before", "after"].iter().any(|field| entry[field].as_str().is_some_and(names))
}

on_both!(s1_09_every_refused_attempt_is_told_of_once);
async fn s1_09_every_refused_attempt_is_told_of_once(app: TestApp) {
    let mut wrong = Vec::new();
    for (operation, _) in walk() {
        let mut ready = ready(&app, &operation, &About::default()).await;
        let request = format!("refused-{}", operation.id);
        let (answer, actor) = match &mut ready.by {
            // Nobody is known to have tried: there is nobody whose log it could be in.
            By::Nobody => continue,
            By::Session(_) if operation.id == "signIn" => continue,
            By::Session(browser) => {
                let csrf = browser.csrf.take();
                assert!(csrf.is_some(), "{}", operation.id);
                (ready.send(&app, &request).await, None)
            }
            // Everybody makes tokens of their own; edges do not.
            By::Token if operation.id == "createToken" => {
                let call = ready.call(&app).header("x-request-id", &request).token(app.edge_token().await);
                (call.send().await, None)
            }
            By::Token | By::Edge(_) => {
                // Another one each time: of one caller, only so many refusals a minute are noted.
                let (member, token) = app.member("viewer", None).await;
                (ready.call(&app).header("x-request-id", &request).token(token).send().await, Some(member))
            }
        };
        // Of many keys each is refused by itself, and the whole told of as what it was.
        if operation.id == "revokeManyKeys" {
            let entries = entries(&app, &request).await;
            let tried =
                entries.len() == 1 && entries[0]["after"].as_str().is_some_and(|text| text.contains("\"refused\":1"));
            if answer.json()["refused"] != 1 || !tried {
                wrong.push(format!("revokeManyKeys: {answer:?}: {entries:?}"));
            }
            continue;
        }
        // Viewers verify nothing, and see no token of somebody else's.
        if ![403, 404].contains(&answer.status.as_u16()) {
            wrong.push(format!("{}: {answer:?}", operation.id));
            continue;
        }
        wrong.extend(one_refusal(&app, &operation.id, &request, &answer, actor.as_deref()).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    app.stop().await;
}

/// What is wrong with the entries of a call that was refused.
async fn one_refusal(
    app: &TestApp,
    operation: &str,
    request: &str,
    answer: &Answer,
    member: Option<&str>,
) -> Option<String> {
    let entries = entries(app, request).await;
    let [entry] = entries.as_slice() else { return Some(format!("{operation}: {entries:?}")) };
    let after: Value = serde_json::from_str(entry["after"].as_str().unwrap_or("{}")).unwrap();
    let told = (&after["code"], &after["status"], &entry["action"], &entry["source"]);
    let code = answer.json()["code"].clone();
    let status = json!(answer.status.as_u16());
    if told != (&code, &status, &json!("request.refused"), &json!("127.0.0.1")) {
        return Some(format!("{operation}: {entry} is not of {answer:?}"));
    }
    member
        .filter(|member| entry["on_behalf_of"] != *member)
        .map(|_| format!("{operation}: it is not told who tried: {entry}"))
}

on_both!(g7_what_cannot_be_told_of_is_not_done);
async fn g7_what_cannot_be_told_of_is_not_done(app: TestApp) {
    app.break_when("no_entry", "audit", "NEW.request_id LIKE 'undone-%'").await;
    let mut wrong = Vec::new();
    for (operation, line) in walk() {
        if line.entries.is_empty() || !operation.changes() {
            continue;
        }
        let mut ready = ready(&app, &operation, &About::default()).await;
        let before = app.footprint().await;
        let answer = ready.send(&app, &format!("undone-{}", operation.id)).await;
        if !answer.status.is_server_error() {
            wrong.push(format!("{}: {answer:?}", operation.id));
        }
        let after = app.footprint().await;
        if after != before {
            wrong.push(format!("{}: done, and not told of: {}", operation.id, before.difference(&after)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    app.stop().await;
}

on_both!(g7_what_is_not_done_is_not_told_of);
async fn g7_what_is_not_done_is_not_told_of(app: TestApp) {
    // The last that is written of whatever may be sent again is its answer: it comes after the entry.
    app.break_when("no_answer", "idempotency", "NEW.status < 300").await;
    let mut wrong = Vec::new();
    for (operation, line) in walk() {
        if !operation.is_create || line.entries.is_empty() {
            continue;
        }
        let ready = ready(&app, &operation, &About::default()).await;
        let before = app.footprint().await;
        let request = format!("undone-{}", operation.id);
        let call = ready.call(&app).header("x-request-id", &request).header("idempotency-key", &request);
        let answer = call.send().await;
        let (after, told) = (app.footprint().await, entries(&app, &request).await);
        if !answer.status.is_server_error() || after != before || !told.is_empty() {
            let change = before.difference(&after);
            wrong.push(format!("{}: {answer:?}, {told:?}, {change}", operation.id));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    app.stop().await;
}
