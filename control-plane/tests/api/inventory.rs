//! The inventory: what a person had to do with, exports, and the emergency.

use std::collections::BTreeSet;

use futures::TryStreamExt as _;
use nightlatch_api::{Environment, ExportFormat, IssueKey, Key, KeyFilter, KeyState, RevokeKey, RevokeMany};
use serde_json::{Value, json};

use crate::app::{Answer, TestApp};
use crate::joining::{join, token_of};
use crate::on_both;
use crate::tenants::foreign;

async fn ids(app: &TestApp, query: &str) -> BTreeSet<String> {
    let page = app.get(&format!("/v1/keys?limit=200&{query}")).send().await.json();
    page["items"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect()
}

async fn issue_as(app: &TestApp, token: &str, body: Value) -> Key {
    let issued = app.post("/v1/keys", body).token(token).send().await;
    assert_eq!(issued.status, 201, "{issued:?}");
    serde_json::from_value(issued.json()["key"].clone()).unwrap()
}

fn named(name: &str) -> Value {
    json!({ "name": name, "environment": "live" })
}

async fn many(app: &TestApp, body: Value) -> Answer {
    app.post("/v1/keys:revoke-many", body).send().await
}

on_both!(s3_14_s3_20_s0_09_every_key_a_person_may_know_is_found_in_one_call);
async fn s3_14_s3_20_s0_09_every_key_a_person_may_know_is_found_in_one_call(app: TestApp) {
    let (ana, bo) = (join(&app, "ana", "admin").await, join(&app, "bo", "admin").await);
    let second_token = token_of(&app, &ana.id).await;
    let issued = issue_as(&app, &ana.token, named("issued")).await;
    let by_token = issue_as(&app, &second_token, named("with another token")).await;
    let owned =
        issue_as(&app, &bo.token, json!({ "name": "owned", "environment": "live", "owner_member": ana.id })).await;
    let own =
        issue_as(&app, &ana.token, json!({ "name": "own", "environment": "live", "principal": ana.principal })).await;
    let of_bo = issue_as(&app, &bo.token, named("of bo")).await;
    let rotation = json!({ "overlap_seconds": 86_400, "reason": "scheduled" });
    let rotated = app.post(&format!("/v1/keys/{}/rotations", of_bo.id), rotation).token(&ana.token).send().await;
    let successor = rotated.json()["key"]["id"].as_str().unwrap().to_owned();
    app.issue("of the founder", &[]).await;

    let page = app.get(&format!("/v1/keys?touched_by={}", ana.id)).send().await.json();
    let mut found: Vec<(String, Value)> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| (key["id"].as_str().unwrap().to_owned(), key["touched"].clone()))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let mut wanted = vec![
        (issued.id.clone(), json!(["issued"])),
        (by_token.id.clone(), json!(["issued"])),
        (owned.id.clone(), json!(["owner"])),
        (own.id.clone(), json!(["issued", "own_key"])),
        (successor.clone(), json!(["rotated"])),
    ];
    wanted.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found, wanted);
    // In pages of one, each comes once and nothing is left out.
    let filter = KeyFilter { touched_by: Some(ana.id.clone()), limit: Some(1), ..KeyFilter::default() };
    let walked: Vec<_> = app.client.keys(filter).map_ok(|key| key.id).try_collect().await.unwrap();
    assert_eq!(walked.len(), wanted.len());
    assert_eq!(walked.into_iter().collect::<BTreeSet<_>>(), wanted.into_iter().map(|(id, _)| id).collect());

    // The issuer is the person, whichever token was used; the owner moves with a change.
    assert_eq!(ids(&app, &format!("issued_by={}", bo.id)).await, [owned.id.clone(), of_bo.id].into());
    assert_eq!(ids(&app, &format!("owner_member={}", ana.id)).await, [owned.id.clone()].into());
    let body = json!({ "owner_member": bo.id });
    let path = format!("/v1/keys/{}", issued.id);
    let patched = app.call(reqwest::Method::PATCH, &path).header("if-match", "*").json(&body).send().await;
    assert_eq!(patched.json()["owner_member"], bo.id);
    assert_eq!(ids(&app, &format!("owner_member={}", bo.id)).await, [issued.id].into());
    app.stop().await;
}

on_both!(foreign_and_unknown_members_are_alike);
async fn foreign_and_unknown_members_are_alike(app: TestApp) {
    let foreign = foreign(&app).await;
    app.sql(&format!(
        "INSERT INTO members (id, workspace_id, subject, role, state, scopes, invited_by_type, invited_by_id, created_at, \
         revision) VALUES ('mem_foreign', '{}', 1, 'owner', 'active', '', 'system', 'test', 0, 1)",
        foreign.workspace
    ))
    .await;
    app.sql(&format!("UPDATE keys SET issuer_member = 'mem_foreign' WHERE id = '{}'", foreign.key)).await;
    // A subject of the other workspace is a subject here too.
    app.issue("own", &[]).await;
    for filter in ["touched_by", "owner_member", "issued_by"] {
        let theirs = app.get(&format!("/v1/keys?{filter}=mem_foreign")).send().await;
        let nobody = app.get(&format!("/v1/keys?{filter}=mem_nobody")).send().await;
        assert_eq!((theirs.status, &theirs.text), (nobody.status, &nobody.text), "{filter}");
        assert_eq!(theirs.json()["items"], json!([]));
        for id in ["mem_foreign", "mem_nobody"] {
            let csv = app.get(&format!("/v1/keys/export?format=ndjson&{filter}={id}")).send().await;
            assert_eq!((csv.status.as_u16(), csv.text.as_str()), (200, ""));
            let body = json!({ "filter": { filter: id }, "reason": "r" });
            assert_eq!(many(&app, body).await.json()["matched"], 0);
        }
    }
    for id in ["mem_foreign", "mem_nobody", "nonsense"] {
        let body = json!({ "name": "k", "environment": "live", "owner_member": id });
        app.post("/v1/keys", body).send().await.is_problem(422, "member_unknown");
    }
    assert_eq!(app.client.key(&foreign.key).await.unwrap_err().problem().unwrap().status, 404);
    app.stop().await;
}

on_both!(
    /// S0-01, S0-02: a user's keys and a partner's are two families under one prefix, told apart by whom they act for, and
    /// each is listed without the other.
    s0_01_s0_02_keys_of_users_and_of_partners_are_listed_apart
);
async fn s0_01_s0_02_keys_of_users_and_of_partners_are_listed_apart(app: TestApp) {
    let ana = join(&app, "ana", "admin").await;
    let partner = app.done("/v1/partners", json!({ "name": "agency" })).await["id"].as_str().unwrap().to_owned();
    let agent = app.member_token("partner_owner", Some(&partner)).await;
    let issue = async |token: &str, principal: &str| {
        let body = json!({ "name": "k", "environment": "live", "principal": principal });
        let issued = issue_as(&app, token, body).await;
        (issued.id.clone(), issued.kind, issued.prefix)
    };
    let (user, of_partner) = (issue(&ana.token, &ana.principal).await, issue(&agent, &partner).await);
    assert_eq!((format!("{:?}", user.1), format!("{:?}", of_partner.1)), ("User".into(), "Partner".into()));
    assert!(user.2.starts_with("nl_live_") && of_partner.2.starts_with("nl_live_"), "one family of prefixes");
    assert_eq!(ids(&app, "kind=user").await, [user.0.clone()].into());
    assert_eq!(ids(&app, "kind=partner").await, [of_partner.0.clone()].into());
    // In the partner's panel there are its own, and nothing of a user's.
    let theirs = app.get("/v1/keys").token(&agent).send().await.json();
    let theirs: Vec<_> = theirs["items"].as_array().unwrap().iter().map(|key| key["id"].clone()).collect();
    assert_eq!(theirs, [json!(of_partner.0)]);
    app.get(&format!("/v1/keys/{}", user.0)).token(&agent).send().await.is_problem(404, "not_found");
    app.stop().await;
}

on_both!(s4_01_s4_23_s0_11_filters_by_kind_age_and_use);
async fn s4_01_s4_23_s0_11_filters_by_kind_age_and_use(app: TestApp) {
    let ana = join(&app, "ana", "admin").await;
    let own = json!({ "name": "own", "environment": "live", "principal": ana.principal });
    let own = issue_as(&app, &ana.token, own).await;
    let old = app.issue("old", &[]).await.key;
    app.sql(&format!("UPDATE keys SET created_at = 1000, last_used_at = 2000 WHERE id = '{}'", old.id)).await;
    let new = app.issue("new", &["x"]).await.key;
    assert_eq!(ids(&app, "kind=user").await, [own.id.clone()].into());
    assert_eq!(ids(&app, "kind=service_account").await, [old.id.clone(), new.id.clone()].into());
    assert_eq!(ids(&app, "created_before=2000-01-01T00:00:00Z").await, [old.id.clone()].into());
    assert_eq!(ids(&app, "created_after=2000-01-01T00:00:00Z&scope=x").await, [new.id.clone()].into());
    assert_eq!(ids(&app, "never_used=true").await, [own.id, new.id].into());
    assert_eq!(
        ids(&app, "never_used=false&kind=service_account&created_before=2000-01-01T00:00:00Z").await,
        [old.id].into()
    );
    app.stop().await;
}

on_both!(s4_01_s4_24_exports_are_whole_and_harmless);
async fn s4_01_s4_24_exports_are_whole_and_harmless(app: TestApp) {
    for number in 0..7 {
        app.issue(&format!("key {number}"), &["x"]).await;
    }
    let evil = IssueKey {
        owner: Some("=HYPERLINK(\"http://evil\",\"x\")".into()),
        labels: [("team".to_owned(), "billing, \"east\"".to_owned())].into(),
        ..IssueKey::new("@SUM(1+1)*cmd|' /C calc'!A0", Environment::Test)
    };
    let evil = app.client.issue_key(&evil).await.unwrap();
    app.client.revoke_key(&evil.key.id, &RevokeKey::new("-2+3")).await.unwrap();
    let csv = app.client.export_keys(&KeyFilter::default(), ExportFormat::Csv).await.unwrap();
    assert_eq!(csv.headers()["content-type"], "text/csv; charset=utf-8; header=present");
    let text = csv.text().await.unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 8);
    for cell in rows.iter().flat_map(csv::StringRecord::iter) {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell}");
    }
    let cell =
        |row: &csv::StringRecord, column: &str| row[columns.iter().position(|name| name == column).unwrap()].to_owned();
    let row = rows.iter().find(|row| cell(row, "id") == evil.key.id).unwrap();
    assert_eq!(cell(row, "name"), "'@SUM(1+1)*cmd|' /C calc'!A0");
    assert_eq!(cell(row, "revoke_reason"), "'-2+3");
    assert_eq!(cell(row, "labels"), "team=billing, \"east\"");
    assert_eq!(cell(row, "state"), "revoked");
    assert!(!text.contains(evil.secret.expose()) && !columns.iter().any(|name| name == "digest"));
    let filter = KeyFilter { state: Some(KeyState::Active), scope: Some("x".into()), ..KeyFilter::default() };
    let lines = app.client.export_keys(&filter, ExportFormat::Ndjson).await.unwrap().text().await.unwrap();
    let keys: Vec<Key> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(keys.len(), 7);
    assert!(keys.iter().all(|key| key.state == KeyState::Active && key.scopes == ["x"]));
    for bad in ["", "?format=xlsx", "?format=csv&limit=5", "?format=csv&cursor=x", "?format=csv&nonsense=1"] {
        app.get(&format!("/v1/keys/export{bad}")).send().await.is_problem(400, "invalid_request");
    }
    let entry = app.get("/v1/audit?action=key.exported").send().await.json();
    assert_eq!(entry["items"].as_array().unwrap().len(), 2, "each export is on record");
    assert_eq!(entry["items"][0]["after"]["filter"], json!({ "state": "active", "scope": "x" }));
    let viewer = join(&app, "viewer", "viewer").await;
    app.get("/v1/keys/export?format=csv").token(&viewer.token).send().await.is_problem(403, "forbidden");
    app.stop().await;
}

on_both!(s3_14_s3_20_an_emergency_ends_every_key_of_a_person);
async fn s3_14_s3_20_an_emergency_ends_every_key_of_a_person(app: TestApp) {
    let ana = join(&app, "ana", "admin").await;
    let kept = app.issue("kept", &[]).await;
    let mut doomed = Vec::new();
    for number in 0..130 {
        let body = json!({ "name": format!("doomed {number}"), "environment": "live", "owner": "team" });
        doomed.push(issue_as(&app, &ana.token, body).await.id);
    }
    let filter = json!({ "touched_by": ana.id });
    let plan = many(&app, json!({ "filter": filter, "reason": "left", "dry_run": true })).await.json();
    assert_eq!((&plan["matched"], &plan["remaining"], &plan["revoked"]), (&json!(130), &json!(130), &json!(0)));
    assert_eq!(plan["keys"].as_array().unwrap().len(), 50);
    assert_eq!(plan["owners"], json!([{ "owner": "team", "owner_member": null, "keys": 130 }]));
    assert_eq!(ids(&app, "state=revoked").await.len(), 0, "a dry run changes nothing");

    // What was seen is what is revoked.
    let late = issue_as(&app, &ana.token, named("late")).await.id;
    let stale = json!({ "filter": filter, "reason": "left", "expect": plan["plan"] });
    let problem = many(&app, stale).await.is_problem(409, "plan_changed");
    assert_eq!(ids(&app, "state=revoked").await.len(), 0);
    let fresh = json!({ "filter": filter, "reason": "left", "expect": problem["plan"] });
    let done = many(&app, fresh).await.json();
    assert_eq!((&done["revoked"], &done["remaining"]), (&json!(131), &json!(0)));
    doomed.push(late);
    let revoked: BTreeSet<_> = done["revoked_keys"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(revoked, doomed.iter().map(String::as_str).collect());
    assert!(app.verify(&kept.secret).await.allowed);

    // Each as if it were revoked alone: its entry, its reason, its receipt.
    let key = app.client.key(&doomed[0]).await.unwrap().value;
    assert_eq!((key.state, key.revoke_reason.as_deref()), (KeyState::Revoked, Some("left")));
    let receipt = app.client.receipt(&doomed[100], None).await.unwrap();
    assert_eq!(receipt.key, doomed[100]);
    assert_eq!(app.number("SELECT COUNT(*) FROM audit WHERE action = 'key.revoked'").await, 131);
    let entry = app.get("/v1/audit?action=key.revoked_many").send().await.json();
    assert_eq!(entry["items"][0]["after"]["matched"], 131);
    assert_eq!(entry["items"][0]["after"]["filter"], filter);

    // Repeating it finds nothing left to do.
    let again = many(&app, json!({ "filter": filter, "reason": "left" })).await.json();
    assert_eq!((&again["matched"], &again["revoked"]), (&json!(0), &json!(0)));
    app.stop().await;
}

on_both!(an_emergency_leaves_alone_and_lists_what_the_caller_may_not_revoke);
async fn an_emergency_leaves_alone_and_lists_what_the_caller_may_not_revoke(app: TestApp) {
    let (ana, operator) = (join(&app, "ana", "admin").await, join(&app, "op", "operator").await);
    let own = json!({ "name": "marked", "environment": "live", "principal": ana.principal });
    let own = issue_as(&app, &ana.token, own).await.id;
    let theirs = json!({ "name": "marked", "environment": "live", "principal": operator.principal });
    let theirs = issue_as(&app, &operator.token, theirs).await.id;
    let account = app.issue("marked", &[]).await.key.id;
    let [partner, gateway] = ["partner", "gateway"].map(|kind| (kind, format!("key_{kind}")));
    for (number, (kind, id)) in [(900, &partner), (901, &gateway)] {
        let copy = app.issue("marked", &[]).await.key.id;
        app.sql(&format!(
            "INSERT INTO principals (workspace_id, subject, kind, name, created_at) \
             SELECT workspace_id, {number}, '{kind}', '{kind}', 0 FROM keys WHERE id = '{copy}'"
        ))
        .await;
        app.sql(&format!("UPDATE keys SET kind = '{kind}', subject = {number} WHERE id = '{copy}'")).await;
        // Remembered by what it became.
        app.sql(&format!("UPDATE keys SET owner = '{id}' WHERE id = '{copy}'")).await;
    }
    let body = |dry_run: bool| json!({ "filter": { "q": "marked" }, "reason": "r", "dry_run": dry_run });

    // An operator may revoke its own keys only.
    let plan = app.post("/v1/keys:revoke-many", body(true)).token(&operator.token).send().await.json();
    assert_eq!((&plan["matched"], &plan["refused"]), (&json!(1), &json!(4)));
    // An admin everything but partners' and gateways' keys, and hears how those end.
    let plan = app.post("/v1/keys:revoke-many", body(true)).token(&ana.token).send().await.json();
    assert_eq!((&plan["matched"], &plan["refused"]), (&json!(3), &json!(2)));
    let mut refusals: Vec<_> = plan["refusals"].as_array().unwrap().iter().map(|r| (&r["code"], &r["call"])).collect();
    refusals.sort_by_key(|(code, _)| code.to_string());
    assert_eq!(refusals[0], (&json!("forbidden"), &Value::Null));
    assert_eq!(refusals[1], (&json!("not_revocable_here"), &json!("POST /v1/gateways/prn_901/unpair")));
    let done = app.post("/v1/keys:revoke-many", body(false)).token(&operator.token).send().await.json();
    assert_eq!(done["revoked_keys"], json!([theirs]));
    let done = app.post("/v1/keys:revoke-many", body(false)).token(&ana.token).send().await.json();
    let revoked: BTreeSet<_> = done["revoked_keys"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(revoked, [own.as_str(), account.as_str()].into());
    assert_eq!(ids(&app, "state=active").await.len(), 2, "of the partner and the gateway");
    let viewer = join(&app, "viewer", "viewer").await;
    let nothing = app.post("/v1/keys:revoke-many", body(false)).token(&viewer.token).send().await.json();
    assert_eq!((&nothing["matched"], &nothing["refused"]), (&json!(0), &json!(2)));
    app.stop().await;
}

on_both!(a_careless_emergency_is_refused);
async fn a_careless_emergency_is_refused(app: TestApp) {
    app.issue("kept", &[]).await;
    for (body, status, code) in [
        (json!({ "filter": {}, "reason": "r" }), 422, "value_invalid"),
        (json!({ "filter": { "never_used": false }, "reason": "r" }), 422, "value_invalid"),
        (json!({ "filter": { "q": "", "never_used": true }, "reason": "r" }), 422, "value_invalid"),
        (json!({ "filter": { "owner": "a", "limit": 5 }, "reason": "r" }), 422, "value_invalid"),
        (json!({ "filter": { "owner": "a", "cursor": "x" }, "reason": "r" }), 422, "value_invalid"),
        (json!({ "filter": { "ownr": "a" }, "reason": "r" }), 400, "invalid_request"),
        (json!({ "filter": { "owner": "a" } }), 400, "invalid_request"),
        (json!({ "filter": { "owner": "a" }, "reason": "" }), 422, "value_invalid"),
        (json!({ "reason": "r" }), 400, "invalid_request"),
    ] {
        many(&app, body).await.is_problem(status, code);
    }
    // An empty text is in every name: whoever sends one has forgotten to say what they mean.
    let texts = ["q", "owner", "owner_member", "issued_by", "touched_by", "principal", "scope", "label"];
    for (name, empty) in texts.into_iter().flat_map(|name| [(name, ""), (name, " ")]) {
        for dry_run in [true, false] {
            let body = json!({ "filter": { name: empty }, "reason": "r", "dry_run": dry_run });
            let problem = many(&app, body).await.is_problem(422, "value_invalid");
            assert_eq!(problem["errors"][0]["field"], format!("filter.{name}"));
        }
    }
    assert_eq!(ids(&app, "state=active").await.len(), 1);
    app.post("/v1/keys:revoke-many", json!({})).without_token().send().await.is_problem(401, "token_missing");
    app.stop().await;
}

on_both!(huge_and_hostile_filters_find_nothing_and_break_nothing);
async fn huge_and_hostile_filters_find_nothing_and_break_nothing(app: TestApp) {
    app.issue("100% _kept\\", &[]).await;
    let long = "x".repeat(40_000);
    for name in ["owner", "q", "issued_by"] {
        app.get(&format!("/v1/keys?{name}=a%00b")).send().await.is_problem(400, "invalid_request");
        for text in [long.as_str(), "%25%25%25", "'%20OR%201=1--"] {
            assert_eq!(ids(&app, &format!("{name}={text}")).await.len(), 0, "{name}={text:.20}");
        }
    }
    let body = json!({ "filter": { "q": "x".repeat(900_000) }, "reason": "r", "dry_run": true });
    assert_eq!(many(&app, body).await.json()["matched"], 0);
    assert_eq!(ids(&app, "q=100%25%20_kept%5C").await.len(), 1);
    // A cursor is good for its own filters only.
    app.issue("another", &[]).await;
    let page = app.get("/v1/keys?limit=1&never_used=true").send().await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    for path in [
        format!("/v1/keys?limit=1&cursor={cursor}"),
        format!("/v1/keys?limit=1&never_used=true&kind=user&cursor={cursor}"),
        format!("/v1/scopes?limit=1&cursor={cursor}"),
    ] {
        app.get(&path).send().await.is_problem(400, "invalid_request");
    }
    app.stop().await;
}

/// The client's own way through an emergency of more keys than one call takes.
#[tokio::test]
async fn an_emergency_of_many_calls_is_resumed() {
    let app = TestApp::sqlite().await;
    let lines: Vec<_> = (0..2_300)
        .map(|number| nightlatch_tests::import::by_digest(&format!("key {number}"), &format!("text {number}")))
        .collect();
    let lines = nightlatch_tests::import::lines(&lines).unwrap();
    app.client.import_keys(nightlatch_api::ImportOptions::default(), lines).await.unwrap();
    let filter = KeyFilter { never_used: true, ..KeyFilter::default() };
    let request = RevokeMany { filter, reason: "lost laptop".into(), dry_run: false, expect: None };
    let first = app.client.revoke_many(&request).await.unwrap();
    assert_eq!((first.revoked, first.remaining), (2_000, 300));
    let second = app.client.revoke_many(&RevokeMany { expect: Some(first.plan), ..request }).await.unwrap();
    assert_eq!((second.matched, second.revoked, second.remaining), (300, 300, 0));
    app.stop().await;
}

on_both!(
    /// S4-01: also in exports and in what is revoked.
    s4_01_keys_are_found_by_their_labels
);
async fn s4_01_keys_are_found_by_their_labels(app: TestApp) {
    let labelled =
        |name: &str, value: &str| json!({ "name": name, "environment": "live", "labels": { "team": value } });
    let pay = issue_as(&app, &app.token, labelled("pay", "payments")).await.id;
    let ops = issue_as(&app, &app.token, labelled("ops", "ops")).await.id;
    app.issue("without", &[]).await;
    assert_eq!(ids(&app, "label=team").await, [pay.clone(), ops.clone()].into());
    assert_eq!(ids(&app, "label=team%3Dpayments").await, [pay.clone()].into());
    assert_eq!(ids(&app, "label=team%3Dpay").await, BTreeSet::new());
    assert_eq!(ids(&app, "label=team%3Dpayments&state=revoked").await, BTreeSet::new());
    for wrong in ["", "%3Dpayments", "te%20am", "team%3D%20x"] {
        app.get(&format!("/v1/keys?label={wrong}")).send().await.is_problem(400, "invalid_request");
    }
    let export = app.get("/v1/keys/export?format=ndjson&label=team%3Dops").send().await;
    assert!(export.text.contains(&ops) && export.text.lines().count() == 1, "{export:?}");
    let filter = json!({ "label": "team=payments" });
    let done = many(&app, json!({ "filter": filter, "reason": "moved" })).await.json();
    assert_eq!((&done["revoked"], &done["revoked_keys"]), (&json!(1), &json!([pay])));
    // What a list was narrowed to is noted, and never a key that somebody took for a value.
    let secret = app.issue("secret", &[]).await.secret;
    app.get(&format!("/v1/keys/export?label=team%3D{}", secret.expose())).send().await;
    assert!(!app.get("/v1/audit?limit=200").send().await.text.contains(secret.expose()));
    app.stop().await;
}

on_both!(
    /// S0-15: whichever condition somebody took for the place of a key; and what is refused is not noted as done.
    s0_15_an_export_notes_no_secret
);
async fn s0_15_an_export_notes_no_secret(app: TestApp) {
    let secret = app.issue("secret", &[]).await.secret;
    let texts = ["q", "owner", "owner_member", "issued_by", "touched_by", "principal", "scope", "label"];
    for name in texts {
        let export = app.get(&format!("/v1/keys/export?format=csv&{name}={}", secret.expose())).send().await;
        assert_eq!(export.status, 200, "{name}: {export:?}");
    }
    app.get(&format!("/v1/audit/export?actor={}", secret.expose())).send().await;
    let noted = app.get("/v1/audit?limit=200").send().await.text;
    assert!(!noted.contains(secret.expose()), "{noted}");
    let exports = "SELECT COUNT(*) FROM audit WHERE action = 'key.exported'";
    assert_eq!(app.number(exports).await, texts.len() as i64);
    for bad in ["scope=%20", "label=%3Dx"] {
        app.get(&format!("/v1/keys/export?format=csv&{bad}")).send().await.is_problem(400, "invalid_request");
    }
    assert_eq!(app.number(exports).await, texts.len() as i64);
    app.stop().await;
}

on_both!(a_dry_run_shows_keys_that_would_be_revoked);
async fn a_dry_run_shows_keys_that_would_be_revoked(app: TestApp) {
    let doomed: BTreeSet<_> = [app.issue("one", &[]).await.key.id, app.issue("two", &[]).await.key.id].into();
    // As many as are shown, newer than those and a gateway's.
    let lines = (0..60).map(|n| nightlatch_tests::import::by_digest(&format!("key {n}"), &format!("text {n}")));
    let lines = nightlatch_tests::import::lines(&lines.collect::<Vec<_>>()).unwrap();
    app.client.import_keys(nightlatch_api::ImportOptions::default(), lines).await.unwrap();
    app.sql(
        "INSERT INTO principals (workspace_id, subject, kind, name, created_at) \
         SELECT id, 901, 'gateway', 'gate', 0 FROM workspaces WHERE kind = 'tenant'",
    )
    .await;
    app.sql("UPDATE keys SET kind = 'gateway', subject = 901 WHERE imported = 1").await;
    let body = json!({ "filter": { "environment": "live" }, "reason": "r", "dry_run": true });
    let plan = many(&app, body).await.json();
    assert_eq!((&plan["matched"], &plan["refused"]), (&json!(2), &json!(60)));
    let shown = plan["keys"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned());
    assert_eq!(shown.collect::<BTreeSet<_>>(), doomed);
    app.stop().await;
}

on_both!(
    /// S3-14, S3-20: what came by their pairing code, and what a service account did with a token that they made.
    s3_20_a_person_touches_what_came_by_their_codes_and_tokens
);
async fn s3_20_a_person_touches_what_came_by_their_codes_and_tokens(app: TestApp) {
    let (ana, bo) = (join(&app, "ana", "admin").await, join(&app, "bo", "admin").await);
    let post = async |by: &str, path: &str, body: Value| {
        let answer = app.post(path, body).token(by).send().await;
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        answer.json()
    };
    let pair = async |code: &Value| {
        let answer = app.post("/v1/gateways/pair", json!({ "code": code })).without_token().send().await;
        assert!(answer.status.is_success(), "{answer:?}");
        answer.json()
    };
    let made = post(&ana.token, "/v1/gateways", json!({ "name": "gate", "environment": "live" })).await;
    pair(&made["code"]).await;
    let gateway = made["gateway"]["id"].as_str().unwrap().to_owned();
    let key = async || app.get(&format!("/v1/gateways/{gateway}")).send().await.json()["key"].clone();
    let first = key().await;
    // Another's code brings another's key.
    let offered =
        post(&bo.token, &format!("/v1/gateways/{gateway}/pairing-code"), json!({ "order": "issue_first" })).await;
    pair(&offered["code"]).await;
    let second = key().await;
    assert_ne!(first, second);
    let account = post(&ana.token, "/v1/service-accounts", json!({ "name": "program", "scopes": [] })).await;
    let account = account["id"].as_str().unwrap();
    let scopes = json!(["keys:issue", "tokens:manage"]);
    let token = json!({ "name": "t", "kind": "management", "service_account": account, "scopes": scopes });
    let token = post(&ana.token, "/v1/tokens", token).await;
    let body = json!({ "name": "t", "kind": "management", "scopes": ["keys:issue"] });
    let child = post(token["secret"].as_str().unwrap(), "/v1/tokens", body).await;
    let mut by_account = Vec::new();
    for secret in [&token["secret"], &child["secret"]] {
        by_account.push(issue_as(&app, secret.as_str().unwrap(), named("by the account")).await.id);
    }
    let touched = async |who: &str| {
        let page = app.get(&format!("/v1/keys?touched_by={who}")).send().await.json();
        let keys = page["items"].as_array().unwrap().iter().map(|key| (key["id"].clone(), key["touched"].clone()));
        keys.collect::<Vec<_>>()
    };
    let found = touched(&ana.id).await;
    for id in by_account {
        assert!(found.contains(&(json!(id), json!(["service_account"]))), "{found:?}");
    }
    assert!(found.contains(&(first, json!(["paired"]))), "{found:?}");
    assert_eq!((found.len(), touched(&bo.id).await), (3, vec![(second, json!(["paired"]))]));
    // They are not revoked here: the answer names the call that works.
    let plan = many(&app, json!({ "filter": { "touched_by": bo.id }, "reason": "left", "dry_run": true })).await.json();
    assert!(plan["refusals"][0]["call"].as_str().unwrap().contains("unpair"), "{plan}");
    app.stop().await;
}
