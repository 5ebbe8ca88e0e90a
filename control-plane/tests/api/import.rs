//! Import over HTTP.

use nightlatch_api::{ImportOptions, KeyState, LineError};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::app::TestApp;
use crate::on_both;

const PATH: &str = "/v1/keys/import";
const NDJSON: &str = "application/x-ndjson";

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn line(number: u32) -> String {
    let digest = digest(&format!("imported key {number}"));
    json!({ "digest": digest, "name": format!("key {number}"), "environment": "live", "entropy_bits": 128 }).to_string()
}

fn lines(numbers: std::ops::Range<u32>) -> Vec<u8> {
    numbers.map(|number| line(number) + "\n").collect::<String>().into_bytes()
}

on_both!(an_import_repeated_is_an_import_resumed);
async fn an_import_repeated_is_an_import_resumed(app: TestApp) {
    let import = async |range| app.client.import_keys(ImportOptions::default(), lines(range)).await.unwrap();
    let first = import(0..30).await;
    assert_eq!((first.created, first.existing, first.errors), (30, 0, vec![]));
    let second = import(20..50).await;
    assert_eq!((second.created, second.existing), (20, 10));
    assert!(app.verify(&"imported key 49".into()).await.allowed);
    let audit = app.get("/v1/audit?action=key.imported").send().await.json();
    let rows = audit["items"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "one row a request");
    let after = &rows[0]["after"];
    let body_hash: String = Sha256::digest(lines(20..50)).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(after.to_string().contains(&body_hash), "{after}");
    app.stop().await;
}

on_both!(s2_17_a_revoked_key_is_not_revived_by_importing_it_again);
async fn s2_17_a_revoked_key_is_not_revived_by_importing_it_again(app: TestApp) {
    let text = line(1);
    let import = async || app.client.import_keys(ImportOptions::default(), text.clone().into_bytes()).await.unwrap();
    import().await;
    let key = app.get("/v1/keys?q=key%201").send().await.json()["items"][0].clone();
    assert_eq!((&key["imported"], &key["weak"]), (&json!(true), &json!(false)));
    let id = key["id"].as_str().unwrap();
    app.post(&format!("/v1/keys/{id}/revoke"), json!({ "reason": "r" })).send().await;
    assert_eq!(import().await.existing, 1);
    assert_eq!(app.client.key(id).await.unwrap().value.state, KeyState::Revoked);
    assert!(!app.verify(&"imported key 1".into()).await.allowed);
    app.stop().await;
}

on_both!(bad_lines_are_told_by_number_and_the_rest_is_imported);
async fn bad_lines_are_told_by_number_and_the_rest_is_imported(app: TestApp) {
    let bad = [
        "{".to_owned(),
        "[]".to_owned(),
        json!({ "digest": digest("x"), "name": "n", "environment": "live", "surprise": 1 }).to_string(),
        json!({ "digest": "zz", "name": "n", "environment": "live", "entropy_bits": 128 }).to_string(),
        json!({ "digest": digest("x"), "name": "n", "environment": "live" }).to_string(),
        json!({ "digest": digest("x"), "name": "", "environment": "live", "entropy_bits": 128 }).to_string(),
        json!({ "digest": digest("x"), "name": "n", "environment": "live", "entropy_bits": 128, "principal": "prn_9" }).to_string(),
        json!({ "digest": digest("x"), "name": "n", "environment": "live", "entropy_bits": 128, "expires_at": "2020-01-01T00:00:00Z" }).to_string(),
        json!({ "digest": digest("x"), "key": "x", "name": "n", "environment": "live", "entropy_bits": 128 }).to_string(),
        json!({ "key": "nl_live_damaged", "name": "n", "environment": "live", "entropy_bits": 128 }).to_string(),
    ];
    let body = format!("{}\n\n{}\n{}", line(1), bad.join("\n"), line(2));
    let expected = [
        (3, "invalid_request"),
        (4, "invalid_request"),
        (5, "invalid_request"),
        (6, "value_invalid"),
        (7, "rotate_by_required"),
        (8, "value_invalid"),
        (9, "principal_unknown"),
        (10, "expiry_in_past"),
        (11, "invalid_request"),
        (12, "value_invalid"),
    ];
    let told = |errors: &[LineError]| errors.iter().map(|e| (e.line, e.code.clone())).collect::<Vec<_>>();
    let expected: Vec<_> = expected.into_iter().map(|(line, code)| (line, code.to_owned())).collect();
    let before = app.footprint().await;
    let strict = ImportOptions { strict: true, ..ImportOptions::default() };
    let report = app.client.import_keys(strict, body.clone().into_bytes()).await.unwrap();
    assert_eq!((report.created, told(&report.errors)), (0, expected.clone()), "with one bad line nothing is imported");
    let dry = ImportOptions { dry_run: true, ..ImportOptions::default() };
    let report = app.client.import_keys(dry, body.clone().into_bytes()).await.unwrap();
    assert_eq!((report.created, told(&report.errors)), (2, expected.clone()));
    assert_eq!(app.footprint().await, before);
    let report = app.client.import_keys(ImportOptions::default(), body.into_bytes()).await.unwrap();
    assert_eq!((report.created, told(&report.errors)), (2, expected));
    app.stop().await;
}

#[tokio::test]
async fn an_import_of_the_wrong_type_or_size_is_refused() {
    let app = TestApp::sqlite().await;
    let call = || app.call(reqwest::Method::POST, PATH);
    call().body("application/json", lines(0..1)).send().await.is_problem(415, "unsupported_media_type");
    call().body(NDJSON, vec![b'\n'; (8 << 20) + 1]).send().await.is_problem(413, "body_too_large");
    call().body(NDJSON, "{}\n".repeat(10_001)).send().await.is_problem(422, "too_many_lines");
    let query = app.call(reqwest::Method::POST, &format!("{PATH}?strict=yes")).body(NDJSON, lines(0..1)).send().await;
    query.is_problem(400, "invalid_request");
    let empty = call().body(NDJSON, "").send().await.json();
    assert_eq!(empty, json!({ "created": 0, "existing": 0, "errors": [] }));
    app.stop().await;
}

on_both!(imports_at_the_same_time_take_turns_and_all_come_in);
async fn imports_at_the_same_time_take_turns_and_all_come_in(app: TestApp) {
    let import = |from: u32| app.client.import_keys(ImportOptions::default(), lines(from..from + 100));
    let reports = futures::future::join_all((0..12).map(|number| import(number * 50))).await;
    let reports: Vec<_> = reports.into_iter().map(Result::unwrap).collect();
    assert_eq!(reports.iter().map(|report| report.created).sum::<u64>(), 650);
    assert_eq!(reports.iter().map(|report| report.existing).sum::<u64>(), 550);
    app.stop().await;
}

#[tokio::test]
async fn an_import_brings_so_many_names_at_most() {
    let app = TestApp::sqlite().await;
    let line = |number: u32| {
        let digest = digest(&format!("named {number}"));
        let line = json!({
            "digest": digest, "name": "n", "environment": "live", "entropy_bits": 128,
            "scopes": [format!("s{number}"), "all"], "tier": format!("t{number}"),
        });
        line.to_string() + "\n"
    };
    let before = app.footprint().await;
    let body = (0..1_000).map(line).collect::<String>();
    for query in ["", "?dry_run=true"] {
        let call = app.call(reqwest::Method::POST, &format!("{PATH}{query}")).body(NDJSON, body.clone());
        let problem = call.send().await.is_problem(422, "value_invalid");
        assert_eq!(problem["errors"][0]["field"], "scopes");
        assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("line 1000"), "{problem}");
    }
    assert_eq!(app.footprint().await, before);
    let body: String = (0..999).map(line).collect();
    let report = app.client.import_keys(ImportOptions::default(), body.into_bytes()).await.unwrap();
    assert_eq!(report.created, 999);
    app.stop().await;
}

#[tokio::test]
async fn ten_thousand_lines_go_in_one_request() {
    let app = TestApp::sqlite().await;
    let report = app.client.import_keys(ImportOptions::default(), lines(0..10_000)).await.unwrap();
    assert_eq!(report.created, 10_000);
    app.stop().await;
}

#[tokio::test]
async fn an_import_with_an_idempotency_key_is_answered_again() {
    let app = TestApp::sqlite().await;
    let call =
        || app.call(reqwest::Method::POST, PATH).body(NDJSON, lines(0..3)).header("idempotency-key", "once").send();
    let (first, second) = (call().await, call().await);
    assert_eq!(first.json(), second.json());
    assert_eq!(second.header("idempotency-replayed"), "true");
    let other = app.call(reqwest::Method::POST, &format!("{PATH}?strict=true")).body(NDJSON, lines(0..3));
    other.header("idempotency-key", "once").send().await.is_problem(422, "idempotency_mismatch");
    app.stop().await;
}
