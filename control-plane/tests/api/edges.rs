//! What edges read and report.

use nightlatch_api::client::Client;
use nightlatch_api::{AppliedState, EdgeReport, Sighting};
use nightlatch_keyset::Head;
use nightlatch_keyset::note::Verifier;
use serde_json::json;

use crate::app::{TestApp, now};
use crate::on_both;

async fn edge(app: &TestApp) -> Client {
    Client::new(&app.server.url()).unwrap().with_token(app.edge_token().await)
}

fn report(app: &TestApp, sequence: u64, seen: Vec<Sighting>) -> EdgeReport {
    EdgeReport {
        set: app.set.id.clone(),
        instance: "isolate-1".into(),
        sequence,
        runtime: "cloudflare".into(),
        version: "0.1.0".into(),
        applied: Some(AppliedState { incarnation: 0, epoch: 1, version: 1, issued: 1 }),
        seen,
        ..EdgeReport::default()
    }
}

on_both!(an_edge_reads_head_and_files_with_its_own_token);
async fn an_edge_reads_head_and_files_with_its_own_token(app: TestApp) {
    app.issue("k", &["a"]).await;
    app.server.publisher().flush().await.unwrap();
    let edge = edge(&app).await;
    let set = edge.set(&app.set.id).await.unwrap();
    let head = edge.head(&set.id, None).await.unwrap().unwrap();
    let text = String::from_utf8(head.value).unwrap();
    let verifier = Verifier::from_vkey(&set.verifier).unwrap();
    let signed = Head::open(&text, &[verifier]).unwrap();
    assert_eq!((signed.keys, &signed.set), (1, &set.id));
    assert!(set.published.is_some_and(|published| published.age_ms < 60_000));
    let base = edge.file(&set.id, &signed.base_name().to_text()).await.unwrap();
    assert_eq!(base.len() as u64, signed.base_len);
    // The same head is not sent twice.
    let path = format!("/v1/sets/{}/head", set.id);
    for tag in [head.etag.clone(), format!("\"x\", W/{}", head.etag)] {
        let answer = app.get(&path).header("if-none-match", &tag).send().await;
        if answer.status == 304 {
            assert_eq!((answer.header("etag"), answer.text.as_str()), (head.etag.as_str(), ""));
        } else {
            // A heartbeat came in between.
            assert_ne!(answer.header("etag"), head.etag);
        }
    }
    let answer = app.get(&path).send().await;
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-cache");
    app.stop().await;
}

#[tokio::test]
async fn a_file_name_leads_nowhere_else() {
    let app = TestApp::sqlite().await;
    app.server.publisher().flush().await.unwrap();
    let set = &app.set.id;
    for name in [
        "head",
        "base-9-9",
        "base-0-01",
        "..%2f..%2fsecrets%2fpepper",
        "..%2fhead",
        "%2fetc%2fpasswd",
        "policy-00",
        "base-0-1%00",
        ".unfinished-x",
        "delta-0-1-1-3",
    ] {
        app.get(&format!("/v1/sets/{set}/files/{name}")).send().await.is_problem(404, "not_found");
    }
    let file = app.get(&format!("/v1/sets/{set}/files/base-0-1")).send().await;
    assert_eq!(file.status, 200);
    assert!(file.header("cache-control").contains("immutable"));
    app.stop().await;
}

on_both!(an_edge_token_reads_no_other_set);
async fn an_edge_token_reads_no_other_set(app: TestApp) {
    let foreign = crate::tenants::foreign(&app).await;
    let token = app.edge_token().await;
    for path in ["", "/head", "/files/base-0-1"] {
        let answer = app.get(&format!("/v1/sets/{}{path}", foreign.set)).token(&token).send().await;
        answer.is_problem(404, "not_found");
    }
    let body = EdgeReport { set: foreign.set.clone(), ..report(&app, 1, vec![]) };
    app.post("/v1/edges/reports", json!(body)).token(&token).send().await.is_problem(404, "not_found");
    app.stop().await;
}

on_both!(s1_07_a_report_moves_last_use_once_and_never_back);
async fn s1_07_a_report_moves_last_use_once_and_never_back(app: TestApp) {
    let key = app.issue("k", &[]).await.key;
    let edge = edge(&app).await;
    let last_used = async || app.client.key(&key.id).await.unwrap().value.last_used_at;
    let seen = |at| vec![Sighting { key: key.id.clone(), at }, Sighting { key: "junk".into(), at }];
    assert!(edge.report(&report(&app, 5, seen(1_700_000_000_000))).await.unwrap().accepted);
    assert_eq!(last_used().await.unwrap().as_millisecond(), 1_700_000_000_000);
    assert!(!edge.report(&report(&app, 5, seen(1_700_000_009_000))).await.unwrap().accepted, "sent again");
    assert!(!edge.report(&report(&app, 4, seen(1_700_000_009_000))).await.unwrap().accepted, "overtaken");
    assert_eq!(last_used().await.unwrap().as_millisecond(), 1_700_000_000_000);
    edge.report(&report(&app, 6, seen(1_600_000_000_000))).await.unwrap();
    assert_eq!(last_used().await.unwrap().as_millisecond(), 1_700_000_000_000, "never back");
    let by_number = vec![Sighting { key: format!("kn_{}", key.number), at: u64::MAX }];
    edge.report(&report(&app, 7, by_number)).await.unwrap();
    let ahead = last_used().await.unwrap().duration_since(now());
    assert!(ahead.as_secs() <= 1, "not beyond the database clock");
    app.stop().await;
}

#[tokio::test]
async fn a_report_beyond_its_limits_is_refused() {
    let app = TestApp::sqlite().await;
    let token = app.edge_token().await;
    let post = |body: EdgeReport| app.post("/v1/edges/reports", json!(body)).token(&token).send();
    let seen = |count| (0..count).map(|_| Sighting { key: "kn_1".into(), at: 1 }).collect::<Vec<_>>();
    assert_eq!(post(report(&app, 1, seen(1000))).await.status, 200);
    let bad = [
        (report(&app, 2, seen(1001)), "seen"),
        (EdgeReport { instance: "i".repeat(65), ..report(&app, 2, vec![]) }, "instance"),
        (EdgeReport { instance: String::new(), ..report(&app, 2, vec![]) }, "instance"),
        (EdgeReport { runtime: "a b".into(), ..report(&app, 2, vec![]) }, "runtime"),
        (EdgeReport { sequence: u64::MAX, ..report(&app, 2, vec![]) }, "sequence"),
    ];
    for (body, field) in bad {
        let problem = post(body).await.is_problem(400, "invalid_request");
        assert_eq!(problem["errors"][0]["field"], field);
    }
    app.stop().await;
}
