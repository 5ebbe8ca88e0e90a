//! Exports that are still being read when their reader is shown out.

use nightlatch_api::ImportOptions;
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::joining::{Person, join};
use crate::on_both;

/// Labels that make a key some kilobytes: more of them than the buffers on the way hold are read only as they are taken.
fn labels() -> Value {
    (0..32).map(|number| (format!("label{number}"), Value::from("x".repeat(200)))).collect()
}

/// Begins to read an export, has its reader shown out, and reads on: whether it came to its end.
async fn is_whole(app: &TestApp, path: &str, reader: &Person, shown_out: Option<&str>) -> bool {
    let url = format!("{}{path}", app.server.url());
    let request = reqwest::Client::new().get(url).bearer_auth(&reader.token);
    let mut export = request.send().await.unwrap().error_for_status().unwrap();
    assert!(export.chunk().await.unwrap().is_some());
    if let Some(how) = shown_out {
        app.done(&format!("/v1/members/{}/{how}", reader.id), json!({})).await;
    }
    loop {
        match export.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

on_both!(
    /// S3-14: what somebody began to read while they were let in ends with that.
    s3_14_an_export_of_keys_breaks_off_when_its_reader_is_shown_out
);
async fn s3_14_an_export_of_keys_breaks_off_when_its_reader_is_shown_out(app: TestApp) {
    for batch in 0..3 {
        let line = |number: u32| {
            let digest = format!("{batch:032x}{number:032x}");
            let line = json!({
                "digest": digest, "name": "n", "environment": "live", "entropy_bits": 128, "labels": labels(),
            });
            line.to_string() + "\n"
        };
        let lines: String = (0..1_000).map(line).collect();
        let report = app.client.import_keys(ImportOptions::default(), lines.into_bytes()).await.unwrap();
        assert_eq!(report.created, 1_000);
    }
    let (ana, bo) = (join(&app, "ana", "admin").await, join(&app, "bo", "admin").await);
    for format in ["csv", "ndjson"] {
        let path = format!("/v1/keys/export?format={format}");
        assert!(is_whole(&app, &path, &ana, None).await);
    }
    assert!(!is_whole(&app, "/v1/keys/export?format=csv", &ana, Some("suspend")).await);
    assert!(!is_whole(&app, "/v1/keys/export?format=ndjson", &bo, Some("remove")).await);
    app.stop().await;
}

/// S3-14: the log, too.
#[tokio::test]
async fn s3_14_an_export_of_the_log_breaks_off_when_its_reader_is_shown_out() {
    let app = TestApp::sqlite().await;
    let key = app.issue("much changed", &[]).await.key.id;
    let path = format!("/v1/keys/{key}");
    // Each entry has the labels of before or after.
    for number in 0..1_600 {
        let body = if number % 2 == 0 { json!({ "labels": labels() }) } else { json!({ "labels": {} }) };
        let changed = app.call(reqwest::Method::PATCH, &path).header("if-match", "*").json(&body).send().await;
        assert_eq!(changed.status, 200, "{changed:?}");
    }
    while app.client.audit_checkpoint().await.unwrap().checkpoint.is_none_or(|signed| signed.count < 1_600) {
        tokio::task::yield_now().await;
    }
    let ana = join(&app, "ana", "admin").await;
    assert!(is_whole(&app, "/v1/audit/export", &ana, None).await);
    assert!(!is_whole(&app, "/v1/audit/export", &ana, Some("suspend")).await);
    app.stop().await;
}
