//! The audit log as it is read, exported and erased from outside.

use std::time::Duration;

use futures::TryStreamExt as _;
use nightlatch_api::{AuditExport, AuditFilter, CreateToken, EraseAudit, TokenKind};
use nightlatch_audit::{Break, Check, Entry, Fault, Header, Proven};
use nightlatch_keyset::Head;
use nightlatch_keyset::note::Verifier;
use serde_json::json;

use crate::app::TestApp;
use crate::on_both;

/// The export, in lines.
async fn export(app: &TestApp, wanted: AuditExport) -> Vec<String> {
    let pieces: Vec<Vec<u8>> = app.client.export_audit(&wanted).await.unwrap().try_collect().await.unwrap();
    let text = String::from_utf8(pieces.concat()).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(str::to_owned).collect()
}

/// As `nightlatch audit verify` does it, knowing the set's verifier.
fn verify(app: &TestApp, lines: &[String]) -> Result<Proven, Break> {
    let verifiers = [Verifier::from_vkey(&app.set.verifier).unwrap()];
    let header = Header::parse(&lines[0])?;
    let head = header.head.as_ref().map(|note| Head::open(note, &verifiers).unwrap());
    let mut check = Check::new(header, head.as_ref(), Vec::new(), Vec::new())?;
    lines[1..].iter().try_for_each(|line| check.line(line))?;
    check.finish()
}

fn entries(lines: &[String]) -> Vec<Entry> {
    lines[1..lines.len() - 1].iter().map(|line| Entry::parse(line).unwrap()).collect()
}

/// Invites somebody and returns its id.
async fn invite(app: &TestApp, name: &str) -> String {
    let body = json!({ "email": format!("{name}@example.org"), "name": name, "role": "viewer" });
    let answer = app.post("/v1/members", body).send().await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()["member"]["id"].as_str().unwrap().to_owned()
}

on_both!(
    /// S1-09, S1-10, S1-14, guarantee 7.
    s1_14_an_export_proves_itself
);
async fn s1_14_an_export_proves_itself(app: TestApp) {
    let key = app.issue("billing", &["a:read"]).await.key;
    app.server.publisher().flush().await.unwrap();
    let lines = export(&app, AuditExport::default()).await;
    let whole = verify(&app, &lines).unwrap();
    // Who exports is told of, after what is exported.
    assert!(whole.entries >= 3 && whole.unchained == 1, "{whole:?}");
    let issued = entries(&lines).into_iter().find(|entry| entry.action == "key.issued").unwrap();
    assert_eq!(issued.target_id, key.id);
    assert!(issued.on_behalf_of.unwrap().starts_with("mem_") && issued.actor_type == "token");
    assert_eq!((issued.prefix.as_deref(), issued.scopes.as_deref()), (Some(key.prefix.as_str()), Some("a:read")));
    // Where it ended, the next goes on.
    app.server.publisher().flush().await.unwrap();
    let lines = export(&app, AuditExport { after: Some(whole.count), ..AuditExport::default() }).await;
    let more = verify(&app, &lines).unwrap();
    assert_eq!((more.after, more.entries), (whole.count, 1));
    assert_eq!(entries(&lines)[0].action, "audit.exported");
    // A choice, and what was changed behind the program's back.
    let wanted = || AuditExport { key: Some(key.id.clone()), ..AuditExport::default() };
    let lines = export(&app, wanted()).await;
    assert_eq!((verify(&app, &lines).unwrap().entries, lines[0].contains(&key.id)), (1, true));
    app.sql("UPDATE audit SET reason = 'never said' WHERE action = 'key.issued'").await;
    let broken = verify(&app, &export(&app, wanted()).await).unwrap_err();
    assert_eq!(broken.fault, Fault::Content);
    app.get("/v1/audit/export?after=9999").send().await.is_problem(404, "not_found");
    app.get("/v1/audit/export?key=nonsense").send().await.is_problem(400, "invalid_request");
    app.get("/v1/audit/export?wrong=1").send().await.is_problem(400, "invalid_request");
    app.stop().await;
}

on_both!(
    /// S1-12: what a member did is what it did itself and with its tokens, also in an export, however little of the log it is.
    s1_12_an_export_of_a_member_has_what_its_tokens_did
);
async fn s1_12_an_export_of_a_member_has_what_its_tokens_did(app: TestApp) {
    let key = app.issue("billing", &[]).await.key;
    let filter = AuditFilter { key: Some(key.id.clone()), ..AuditFilter::default() };
    let issued = app.client.list_audit(&filter).await.unwrap().items.remove(0);
    let member = issued.on_behalf_of.unwrap();
    assert_ne!(issued.actor.id, member);
    app.server.publisher().flush().await.unwrap();
    for actor in [&member, &issued.actor.id] {
        let lines = export(&app, AuditExport { actor: Some(actor.clone()), ..AuditExport::default() }).await;
        assert!(verify(&app, &lines).is_ok());
        assert!(entries(&lines).iter().any(|entry| entry.target_id == key.id), "{actor}");
    }
    let lines = export(&app, AuditExport { actor: Some("mem_nobody".into()), ..AuditExport::default() }).await;
    assert_eq!(verify(&app, &lines).unwrap().entries, 0);
    app.stop().await;
}

on_both!(
    /// S4-24: reading what is worth protecting is told of.
    s4_24_who_exports_is_an_entry
);
async fn s4_24_who_exports_is_an_entry(app: TestApp) {
    app.server.publisher().flush().await.unwrap();
    let wanted = AuditExport { action: Some("key.issued".into()), ..AuditExport::default() };
    export(&app, wanted).await;
    let filter = AuditFilter { action: Some("audit.exported".into()), ..AuditFilter::default() };
    let told = app.client.list_audit(&filter).await.unwrap().items.remove(0);
    assert_eq!(told.after.unwrap(), json!({ "after": 0, "filter": { "action": "key.issued" } }));
    assert!(told.source.is_some() && told.sequence.is_none());
    app.stop().await;
}

on_both!(
    /// S1-12, guarantee 7: a row that is not chained yet is shown as such.
    s1_12_entries_say_their_place
);
async fn s1_12_entries_say_their_place(app: TestApp) {
    app.issue("one", &[]).await;
    app.server.publisher().flush().await.unwrap();
    let standing = app.client.audit_checkpoint().await.unwrap();
    let signed = standing.checkpoint.unwrap();
    assert_eq!((standing.chained, standing.unchained), (signed.count, 0));
    let verifiers = [Verifier::from_vkey(&app.set.verifier).unwrap()];
    let head = Head::open(&signed.head, &verifiers).unwrap().audit.unwrap();
    assert_eq!((head.count, head.root.to_hex()), (signed.count, signed.root));
    assert_eq!(signed.set, app.set.id);
    let all = app.client.list_audit(&AuditFilter::default()).await.unwrap().items;
    let places: Vec<_> = all.iter().map(|entry| entry.sequence.unwrap()).collect();
    assert_eq!(places, (1..=all.len() as i64).rev().collect::<Vec<_>>());
    assert_eq!(all[0].previous_hash, all[1].hash);
    let key = all.iter().find(|entry| entry.action == "key.issued").unwrap();
    for filter in [
        AuditFilter { target: Some(key.target.id.clone()), ..AuditFilter::default() },
        AuditFilter { principal: Some("prn_1".into()), action: Some("key.issued".into()), ..AuditFilter::default() },
    ] {
        assert_eq!(app.client.list_audit(&filter).await.unwrap().items, std::slice::from_ref(key));
    }
    for principal in ["prn_999", "prn_x", "key_x"] {
        let filter = AuditFilter { principal: Some(principal.into()), ..AuditFilter::default() };
        assert!(app.client.list_audit(&filter).await.unwrap().items.is_empty());
    }
    app.stop().await;
}

on_both!(
    /// S1-10: names and addresses are shown until they are erased; the chain stays.
    s1_10_what_is_personal_can_be_erased
);
async fn s1_10_what_is_personal_can_be_erased(app: TestApp) {
    let (ada, ben) = (invite(&app, "ada").await, invite(&app, "ben").await);
    let of =
        |id: &str| AuditFilter { target: Some(id.into()), action: Some("member.invited".into()), ..Default::default() };
    let shown = app.client.list_audit(&of(&ada)).await.unwrap().items.remove(0);
    let value = |text: &str| Some(text.to_owned());
    assert_eq!(shown.personal["email"], value("ada@example.org"));
    assert_eq!(shown.personal["name"], value("ada"));
    // Never in what is chained.
    assert!(!shown.after.unwrap().to_string().contains("ada"));
    app.server.publisher().flush().await.unwrap();
    assert_eq!(verify(&app, &export(&app, AuditExport::default()).await).unwrap().erased, 0);

    let erased = app.client.erase_audit(&EraseAudit { about: ada.clone() }).await.unwrap();
    assert_eq!((erased.about.as_str(), erased.erased), (ada.as_str(), 2));
    assert_eq!(app.client.erase_audit(&EraseAudit { about: ada.clone() }).await.unwrap().erased, 0);
    let shown = app.client.list_audit(&of(&ada)).await.unwrap().items.remove(0);
    assert_eq!((&shown.personal["email"], &shown.personal["name"]), (&None, &None));
    assert!(shown.source.is_some(), "whoever invited her acted from there");
    let shown = app.client.list_audit(&of(&ben)).await.unwrap().items.remove(0);
    assert_eq!(shown.personal["email"], value("ben@example.org"));
    app.server.publisher().flush().await.unwrap();
    let lines = export(&app, AuditExport::default()).await;
    assert_eq!(verify(&app, &lines).unwrap().erased, 2);
    assert!(!lines.iter().any(|line| line.contains("ada@example.org")));
    // Until she is removed the record still says who she is; whoever erases is told.
    let record = format!("/v1/members/{ada}");
    assert!(erased.record_kept);
    assert_eq!(app.get(&record).send().await.json()["email"], "ada@example.org");
    app.post(&format!("{record}/remove"), json!({})).send().await;
    let again = app.client.erase_audit(&EraseAudit { about: ada.clone() }).await.unwrap();
    assert!(!again.record_kept);
    let shown = app.get(&record).send().await.json();
    assert_eq!(shown["state"], "removed");
    assert!(shown["email"].is_null() && shown["name"].is_null(), "{shown}");
    let found = app.get("/v1/members?email=ada@example.org").send().await.json();
    assert_eq!(found["items"], json!([]));
    // Whoever acted can have its addresses erased as well.
    let actor = entries(&lines).into_iter().find_map(|entry| entry.on_behalf_of).unwrap();
    assert!(app.client.erase_audit(&EraseAudit { about: actor }).await.unwrap().erased > 3);
    app.server.publisher().flush().await.unwrap();
    verify(&app, &export(&app, AuditExport::default()).await).unwrap();
    for about in ["", "mem_", "key_1", "mem_ä", "mem_1 OR 1=1"] {
        app.post("/v1/audit/erase", json!({ "about": about })).send().await.is_problem(400, "invalid_request");
    }
    app.stop().await;
}

on_both!(
    /// Exports and erasure have actions of their own.
    s1_14_not_everybody_exports
);
async fn s1_14_not_everybody_exports(app: TestApp) {
    let request = CreateToken {
        name: "reader".into(),
        kind: TokenKind::Management,
        set: None,
        scopes: Some(vec!["audit:read".into()]),
        service_account: None,
        expires_at: None,
    };
    let token = app.client.create_token(&request).await.unwrap().secret.expose().to_owned();
    assert_eq!(app.get("/v1/audit").token(&token).send().await.status, 200);
    for path in ["/v1/audit/export", "/v1/audit/checkpoint"] {
        app.get(path).token(&token).send().await.is_problem(403, "forbidden");
    }
    let erase = app.post("/v1/audit/erase", json!({ "about": "mem_1" })).token(&token);
    erase.send().await.is_problem(403, "forbidden");
    app.stop().await;
}

/// A broken log is told of, and takes nothing out of service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g7_a_broken_log_is_told_of() {
    let app = TestApp::sqlite().await;
    app.issue("one", &[]).await;
    app.server.publisher().flush().await.unwrap();
    let ready = app.get("/readyz").send().await.json();
    let audit = |ready: &serde_json::Value| {
        ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == "audit").unwrap().clone()
    };
    assert_eq!(audit(&ready), json!({ "name": "audit", "ok": true }));
    app.sql("DELETE FROM audit WHERE seq = (SELECT MAX(seq) FROM audit)").await;
    let publisher = app.server.publisher();
    let broken = publisher.wait(|status| status.audit_broken.is_some());
    tokio::time::timeout(Duration::from_secs(30), broken).await.unwrap().unwrap();
    let ready = app.get("/readyz").send().await;
    assert_eq!((ready.status.as_u16(), ready.json()["ready"].as_bool()), (200, Some(true)));
    // Which log it is, and what is wrong with it, is for those who have a token, or the machine.
    assert_eq!(audit(&ready.json())["ok"], false);
    assert!(app.get("/metrics").send().await.text.contains("nightlatch_audit_broken{set=\""));
    app.stop().await;
}
