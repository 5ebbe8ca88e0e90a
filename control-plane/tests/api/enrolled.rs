//! Edges as things: enrolment, credentials, rotation, removal.

use futures::future::join_all;
use nightlatch_api::client::Client;
use nightlatch_api::{
    CreateEdge, CreatedEdge, EdgeClass, EdgeReport, EdgeState, EnrolEdge, PageQuery, ReceiptState, RevokeKey,
    RotateCredential, Secret, TokenFilter,
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use crate::app::TestApp;
use crate::durable::FakeEdge;
use crate::on_both;

async fn create(app: &TestApp) -> CreatedEdge {
    let request = CreateEdge { name: "gate".into(), class: EdgeClass::Durable, set: None };
    app.client.create_edge(&request).await.unwrap()
}

async fn enrol(app: &TestApp, code: &str) -> crate::app::Answer {
    let body = json!({ "code": code, "runtime": "sidecar", "version": "1.2.3" });
    app.post("/v1/edges/enrol", body).without_token().send().await
}

/// What a credential opens: the status of a read of the set.
async fn opens(app: &TestApp, credential: &Secret) -> u16 {
    app.get(&format!("/v1/sets/{}", app.set.id)).token(credential.expose()).send().await.status.as_u16()
}

on_both!(an_edge_enrols_once_with_its_code);
async fn an_edge_enrols_once_with_its_code(app: TestApp) {
    let created = create(&app).await;
    assert!(created.code.expose().starts_with("nlc_live_"));
    let left = created.code_expires_at.as_second() - created.edge.created_at.as_second();
    assert_eq!(left, 3600);
    assert_eq!((created.edge.state, created.edge.enrolled_at), (EdgeState::Pending, None));
    // Of ten that have the code, one is the edge.
    let answers = join_all((0..10).map(|_| enrol(&app, created.code.expose()))).await;
    let (good, bad): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!((good.len(), bad.len()), (1, 9));
    bad.iter().for_each(|answer| drop(answer.is_problem(401, "edge_code_invalid")));
    let answer = good[0].json();
    let (set, id) = (app.set.id.as_str(), created.edge.id.as_str());
    assert_eq!(answer["edge"]["id"], id);
    assert_eq!(answer["config"]["set"], set);
    assert_eq!(answer["config"]["source"], format!("/v1/sets/{set}"));
    assert_eq!(answer["config"]["report_url"], "/v1/edges/reports");
    let credential = answer["credential"].as_str().unwrap();
    assert!(credential.starts_with("nle_live_"));
    assert!(!good[0].text.contains("pepper\":\""), "the pepper is in no answer");
    assert_eq!(opens(&app, &Secret::from(credential)).await, 200);
    // It is the edge's set and no other, and reports; nothing else.
    let foreign = crate::tenants::foreign(&app).await;
    let get = |path: String| app.get(&path).token(credential).send();
    for file in ["", "/head", "/trust", "/deny", "/files/base-0-1"] {
        get(format!("/v1/sets/{}{file}", foreign.set)).await.is_problem(404, "not_found");
    }
    get("/v1/edges".into()).await.is_problem(403, "forbidden");
    get(format!("/v1/edges/{id}")).await.is_problem(403, "forbidden");
    let edge = app.client.edge(id).await.unwrap();
    assert_eq!((edge.state, edge.runtime.as_deref()), (EdgeState::Active, Some("sidecar")));
    let tokens = app.client.list_tokens(&TokenFilter::default()).await.unwrap().items;
    assert!(tokens.iter().any(|token| token.edge.as_deref() == Some(id)));
    app.stop().await;
}

on_both!(whom_to_believe_does_not_depend_on_a_file);
async fn whom_to_believe_does_not_depend_on_a_file(app: TestApp) {
    let (created, other) = (create(&app).await, create(&app).await);
    let sets = app.data.path().join("data/sets").join(&app.set.id);
    app.server.publisher().flush().await.unwrap();
    let path = format!("/v1/sets/{}/trust", app.set.id);
    let trust = app.get(&path).send().await.text;
    std::fs::remove_file(sets.join("trust")).unwrap();
    assert_eq!(app.get(&path).send().await.text, trust, "the row stands in");
    let roots = enrol(&app, created.code.expose()).await.json()["config"]["roots"].clone();
    let root = roots[0].as_str().unwrap();
    assert!(roots.as_array().unwrap().len() == 1 && trust.contains(&format!("\nroot {root}\n")), "{roots}: {trust}");
    // Where it cannot be said whom to believe, the code is not used up.
    app.sql("UPDATE trust_notes SET note = 'x' || note").await;
    assert_eq!(enrol(&app, other.code.expose()).await.status, 500);
    app.sql("UPDATE trust_notes SET note = substr(note, 2)").await;
    assert_eq!(enrol(&app, other.code.expose()).await.status, 201);
    // What is longer than any note is not read whole.
    std::fs::write(sets.join("deny"), vec![b'x'; 1 << 20]).unwrap();
    app.get(&format!("/v1/sets/{}/deny", app.set.id)).send().await.is_problem(500, "internal");
    app.stop().await;
}

/// Who holds nothing does not get in the way of those who write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_used_code_is_refused_while_somebody_writes() {
    let app = TestApp::sqlite().await;
    let created = create(&app).await;
    assert_eq!(enrol(&app, created.code.expose()).await.status, 201);
    let used = app.server.enrolment().unwrap().fresh.as_ref().unwrap().expose().to_owned();
    let mut writer = SqliteConnection::connect(app.config.store_url().expose_secret()).await.unwrap();
    writer.execute("BEGIN IMMEDIATE").await.unwrap();
    enrol(&app, created.code.expose()).await.is_problem(401, "edge_code_invalid");
    let first = app.post("/v1/enrol", json!({ "token": used })).without_token().send().await;
    first.is_problem(401, "enrolment_invalid");
    writer.execute("ROLLBACK").await.unwrap();
    app.stop().await;
}

on_both!(a_code_that_is_no_good_says_nothing);
async fn a_code_that_is_no_good_says_nothing(app: TestApp) {
    let (expired, removed, good) = (create(&app).await, create(&app).await, create(&app).await);
    app.sql(&format!("UPDATE edges SET code_expires_at = code_expires_at - 3600001 WHERE id = '{}'", expired.edge.id))
        .await;
    app.client.remove_edge(&removed.edge.id).await.unwrap();
    let census = app.footprint().await;
    let mut garbled = good.code.expose().to_owned();
    garbled.replace_range(20..21, if &garbled[20..21] == "a" { "b" } else { "a" });
    for code in [expired.code.expose(), removed.code.expose(), &garbled, "", "nlc_live_x", &app.token] {
        let answer = enrol(&app, code).await;
        answer.is_problem(401, "edge_code_invalid");
    }
    assert_eq!(app.footprint().await, census, "a refused enrolment changed something");
    for (field, body) in [
        ("runtime", json!({ "code": good.code.expose(), "runtime": "a b", "version": "1" })),
        ("version", json!({ "code": good.code.expose(), "runtime": "a", "version": "" })),
    ] {
        let answer = app.post("/v1/edges/enrol", body).without_token().send().await;
        assert_eq!(answer.is_problem(400, "invalid_request")["errors"][0]["field"], field);
    }
    assert_eq!(enrol(&app, good.code.expose()).await.status, 201);
    app.stop().await;
}

on_both!(codes_and_credentials_are_stored_as_digests_only);
async fn codes_and_credentials_are_stored_as_digests_only(app: TestApp) {
    let once = |key: &'static str| {
        app.post("/v1/edges", json!({ "name": "g", "class": "durable" })).header("idempotency-key", key)
    };
    let (one, again) = (once("k1").send().await.json(), once("k1").send().await.json());
    assert_eq!(one, again, "the same edge and the same code");
    let code = one["code"].as_str().unwrap();
    let credential = enrol(&app, code).await.json()["credential"].as_str().unwrap().to_owned();
    for secret in [code, &credential] {
        let digest: String =
            nightlatch_key::Digest::of(secret.as_bytes()).as_bytes().iter().map(|b| format!("{b:02x}")).collect();
        assert!(!app.get("/v1/audit").send().await.text.contains(&secret[20..]));
        assert!(!app.get("/v1/edges").send().await.text.contains(&digest));
        for table in ["edges", "tokens", "audit", "idempotency"] {
            let text = if app.config.database_url.is_some() { format!("CAST({table} AS TEXT)") } else { continue };
            let found =
                app.number(&format!("SELECT COUNT(*) FROM {table} WHERE {text} LIKE '%{}%'", &secret[20..])).await;
            assert_eq!(found, 0, "{table}");
        }
    }
    app.stop().await;
}

on_both!(a_credential_changes_over_without_a_refused_call);
async fn a_credential_changes_over_without_a_refused_call(app: TestApp) {
    let mut edge = FakeEdge::durable(&app, "gate").await;
    edge.follow(&app).await;
    let rotate = |seconds| RotateCredential { overlap_seconds: Some(seconds) };
    let rotated = app.client.rotate_edge_credential(&edge.id, &rotate(3600)).await.unwrap();
    assert!(rotated.old_ends_by > crate::app::now());
    // The old one works until the new one is used, and then no more; a process that goes on with the new one is never
    // refused.
    for _ in 0..3 {
        assert_eq!(opens(&app, &edge.credential).await, 200);
    }
    let old = std::mem::replace(&mut edge.credential, rotated.credential);
    edge.client = Client::new(&app.server.url()).unwrap().with_token(edge.credential.expose().to_owned());
    edge.follow(&app).await;
    assert_eq!(opens(&app, &old).await, 401);
    assert_eq!(opens(&app, &edge.credential).await, 200);
    let entry = |action: &'static str| {
        let call = app.get("/v1/audit");
        let id = edge.id.clone();
        async move {
            let rows = call.send().await.json();
            let of_edge = |row: &&Value| row["action"] == action && row["target"]["id"] == json!(id);
            rows["items"].as_array().unwrap().iter().find(of_edge).cloned().unwrap_or_default()
        }
    };
    let (rotation, taken) = (entry("edge.credential_rotated").await, entry("edge.credential_taken_up").await);
    assert_eq!(taken["actor"]["id"], rotation["after"]["token"], "{taken}");
    assert_eq!(taken["after"]["token"], rotation["after"]["token"]);
    assert_eq!(taken["after"]["ended"], json!([rotation["after"]["old_token"]]), "{rotation}");
    // A new one that is lost does no harm: the one in use goes on, and another can be made.
    let lost = app.client.rotate_edge_credential(&edge.id, &rotate(3600)).await.unwrap();
    let next = app.client.rotate_edge_credential(&edge.id, &rotate(7200)).await.unwrap();
    assert_eq!(next.old_ends_by, lost.old_ends_by, "an end once set is not put off");
    let rotation = entry("edge.credential_rotated").await;
    assert_eq!(rotation["after"]["ended"].as_array().unwrap().len(), 1, "{rotation}");
    assert_eq!(opens(&app, &lost.credential).await, 401, "ended by the next rotation");
    assert_eq!(opens(&app, &edge.credential).await, 200);
    // Without use the overlap ends the old one.
    app.sql("UPDATE tokens SET expires_at = 1 WHERE edge_id IS NOT NULL AND expires_at IS NOT NULL").await;
    assert_eq!(opens(&app, &edge.credential).await, 401);
    assert_eq!(opens(&app, &next.credential).await, 200);
    let none = app.client.rotate_edge_credential(&edge.id, &rotate(0)).await.unwrap();
    assert_eq!(opens(&app, &next.credential).await, 401, "no overlap");
    // The edge is still the same one, in reports too.
    edge.client = Client::new(&app.server.url()).unwrap().with_token(none.credential.expose().to_owned());
    edge.follow(&app).await;
    let shown = app.client.edge(&edge.id).await.unwrap();
    assert_eq!((shown.instances, shown.state), (1, EdgeState::Active));
    // And what it says with its new credential confirms, though the old one spoke last before.
    let key = app.issue("k", &[]).await.key;
    app.client.revoke_key(&key.id, &RevokeKey::new("leaked")).await.unwrap();
    app.server.publisher().published(key.number).await.unwrap();
    edge.follow(&app).await;
    assert_eq!(app.client.receipt(&key.id, None).await.unwrap().state, ReceiptState::Confirmed);
    app.stop().await;
}

on_both!(only_an_edge_that_is_there_gets_another_credential);
async fn only_an_edge_that_is_there_gets_another_credential(app: TestApp) {
    let pending = create(&app).await;
    let path = |id: &str| format!("/v1/edges/{id}/credentials");
    app.post(&path(&pending.edge.id), json!({})).send().await.is_problem(409, "edge_not_enrolled");
    app.client.remove_edge(&pending.edge.id).await.unwrap();
    app.post(&path(&pending.edge.id), json!({})).send().await.is_problem(409, "edge_removed");
    let edge = FakeEdge::durable(&app, "gate").await;
    let long = app.post(&path(&edge.id), json!({ "overlap_seconds": 604_801 })).send().await;
    assert_eq!(long.is_problem(422, "value_invalid")["errors"][0]["field"], "overlap_seconds");
    let answer = app.post(&path(&edge.id), json!({})).header("idempotency-key", "k").send().await;
    assert_eq!(answer.status, 201);
    let again = app.post(&path(&edge.id), json!({})).header("idempotency-key", "k").send().await;
    assert_eq!(answer.json(), again.json(), "the same credential, once more");
    app.stop().await;
}

on_both!(a_removed_edge_is_gone_at_once);
async fn a_removed_edge_is_gone_at_once(app: TestApp) {
    let mut edge = FakeEdge::durable(&app, "gate").await;
    edge.follow(&app).await;
    let next = app.client.rotate_edge_credential(&edge.id, &RotateCredential::default()).await.unwrap();
    let removed = app.client.remove_edge(&edge.id).await.unwrap();
    assert_eq!(removed.state, EdgeState::Removed);
    assert_eq!(opens(&app, &edge.credential).await, 401);
    assert_eq!(opens(&app, &next.credential).await, 401);
    let report = edge.newest(&app).await;
    app.post("/v1/edges/reports", json!(report))
        .token(edge.credential.expose())
        .send()
        .await
        .is_problem(401, "token_invalid");
    assert_eq!(app.client.remove_edge(&edge.id).await.unwrap(), removed, "repeating it changes nothing");
    let rows: Value = app.get("/v1/audit").send().await.json();
    let actions: Vec<_> = rows["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["action"].as_str().unwrap(), &row["target"]["id"]))
        .collect();
    for action in ["edge.created", "edge.enrolled", "edge.credential_rotated", "edge.removed"] {
        let of_edge = actions.iter().filter(|(name, id)| *name == action && **id == json!(edge.id));
        assert_eq!(of_edge.count(), 1, "{action}: {actions:?}");
    }
    app.stop().await;
}

on_both!(an_edge_shows_what_it_reports);
async fn an_edge_shows_what_it_reports(app: TestApp) {
    let mut edge = FakeEdge::durable(&app, "gate").await;
    app.server.publisher().flush().await.unwrap();
    let report = EdgeReport {
        formats: vec!["head/4".into(), "base/2".into()],
        data_age_ms: Some(1_500),
        peppers: vec!["p1".into(), "p2".into()],
        trust: Some(3),
        failure: Some("set_stale".into()),
        ..edge.newest(&app).await
    };
    edge.client.report(&report).await.unwrap();
    let shown = app.client.edge(&edge.id).await.unwrap();
    assert_eq!((shown.state, shown.instances), (EdgeState::Active, 1));
    assert_eq!((shown.runtime.as_deref(), shown.version.as_deref()), (Some("fake"), Some("1.0.1")));
    assert_eq!((&shown.formats, &shown.peppers), (&report.formats, &report.peppers));
    assert_eq!((&shown.applied, shown.ahead), (&report.applied, false));
    assert_eq!((shown.data_age_ms, shown.trust, shown.failure.as_deref()), (Some(1_500), Some(3), Some("set_stale")));
    assert!(shown.clock_offset_ms.is_some_and(|offset| (-5_000..=5_000).contains(&offset)), "{shown:?}");
    // Metrics, by the edge's id.
    let metrics = app.get("/metrics").without_token().send().await.text;
    for line in [
        format!("nightlatch_edge_data_age_seconds{{edge=\"{}\"}} ", edge.id),
        format!("nightlatch_edge_clock_offset_seconds{{edge=\"{}\"}} ", edge.id),
        "nightlatch_edges{state=\"active\"} 1".to_owned(),
        "nightlatch_edges{state=\"removed\"} 0".to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    for (field, bad) in [
        ("formats", json!({ "formats": vec!["x"; 17] })),
        ("peppers", json!({ "peppers": ["a b"] })),
        ("failure", json!({ "failure": "x".repeat(65) })),
        ("sent_at", json!({ "sent_at": u64::MAX })),
        ("data_age_ms", json!({ "data_age_ms": u64::MAX })),
    ] {
        let mut body = json!(report);
        body.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        let answer = app.post("/v1/edges/reports", body).token(edge.credential.expose()).send().await;
        assert_eq!(answer.is_problem(400, "invalid_request")["errors"][0]["field"], field);
    }
    // Nothing for longer than a bound: whatever it held has run out.
    app.sql("UPDATE edge_instances SET reported_at = reported_at - 70000").await;
    app.sql("UPDATE edges SET enrolled_at = enrolled_at - 70000").await;
    let silent = app.client.edge(&edge.id).await.unwrap();
    assert_eq!((silent.state, silent.instances), (EdgeState::Silent, 0));
    app.client.remove_edge(&edge.id).await.unwrap();
    let metrics = app.get("/metrics").without_token().send().await.text;
    assert!(!metrics.contains(&edge.id), "a removed edge leaves the metrics");
    app.stop().await;
}

on_both!(edges_are_listed_newest_first);
async fn edges_are_listed_newest_first(app: TestApp) {
    let mut made = Vec::new();
    for _ in 0..5 {
        made.insert(0, create(&app).await.edge.id);
    }
    let mut listed = Vec::new();
    let mut page = PageQuery { limit: Some(2), ..PageQuery::default() };
    loop {
        let found = app.client.list_edges(&page).await.unwrap();
        listed.extend(found.items.into_iter().map(|edge| edge.id));
        match found.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => break,
        }
    }
    let (mut made, mut sorted) = (made, listed.clone());
    made.sort();
    sorted.sort();
    assert_eq!(sorted, made, "each once");
    let one = app.client.list_edges(&PageQuery { limit: Some(1), ..PageQuery::default() }).await.unwrap();
    let cursor = one.next_cursor.unwrap();
    app.get(&format!("/v1/tokens?cursor={cursor}")).send().await.is_problem(400, "invalid_request");
    app.stop().await;
}

/// Those who hold a code of somebody else's workspace enrol there, not here.
#[tokio::test]
async fn a_code_belongs_to_its_workspace() {
    let app = TestApp::sqlite().await;
    let foreign = crate::tenants::foreign(&app).await;
    let body = json!({ "name": "theirs", "class": "durable" });
    let theirs = app.post("/v1/edges", body).token(&foreign.token).send().await.json();
    let request =
        EnrolEdge { code: Secret::from(theirs["code"].as_str().unwrap()), runtime: "r".into(), version: "1".into() };
    let enrolled = Client::new(&app.server.url()).unwrap().enrol_edge(&request).await.unwrap();
    assert_eq!(enrolled.config.set, foreign.set);
    assert_eq!(opens(&app, &enrolled.credential).await, 404, "our set is nothing to it");
    app.stop().await;
}
