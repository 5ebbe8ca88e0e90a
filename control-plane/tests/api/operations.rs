//! Health, metrics, starting and stopping.

use std::time::Duration;

use nightlatch::serve::{DataDirError, ServeError, Server};
use serde_json::json;

use crate::app::TestApp;
use crate::on_both;

on_both!(readiness_tells_the_truth);
async fn readiness_tells_the_truth(app: TestApp) {
    app.server.publisher().flush().await.unwrap();
    assert_eq!(app.get("/healthz").without_token().send().await.json(), json!({ "status": "ok" }));
    let ready = app.get("/readyz").without_token().send().await;
    assert_eq!(ready.status, 200, "{ready:?}");
    assert_eq!(ready.json()["ready"], true);
    app.stop().await;
}

#[tokio::test]
async fn metrics_speak_of_routes_and_publishing() {
    let app = TestApp::sqlite().await;
    app.issue("k", &[]).await;
    app.get("/v1/keys/key_somebody").send().await;
    app.get("/v1/somewhere/else").send().await;
    app.server.publisher().flush().await.unwrap();
    let answer = app.get("/metrics").without_token().send().await;
    assert_eq!(answer.status, 200);
    for line in [
        r#"nightlatch_http_requests_total{method="GET",route="/v1/keys/{id}",status="404"} 1"#,
        r#"nightlatch_http_requests_total{method="GET",route="unmatched",status="404"} 1"#,
        "nightlatch_http_request_duration_seconds_bucket",
        "nightlatch_head_age_seconds{",
        "nightlatch_heartbeat_lag_seconds{",
        "nightlatch_unpublished_changes{",
        "nightlatch_lease_term{",
        "nightlatch_publish_duration_seconds_count",
        "nightlatch_audit_unchained_age_seconds{",
        "# EOF",
    ] {
        assert!(answer.text.contains(line), "{line} is missing:\n{}", answer.text);
    }
    assert!(!answer.text.contains("somebody") && !answer.text.contains("somewhere"), "paths are not labels");
    app.stop().await;
}

#[tokio::test]
async fn a_request_has_an_id_that_its_sender_may_choose() {
    let app = TestApp::sqlite().await;
    assert_eq!(app.get("/healthz").header("x-request-id", "mine-1").send().await.header("x-request-id"), "mine-1");
    let replaced = app.get("/healthz").header("x-request-id", "not \"sane\"").send().await;
    assert!(replaced.header("x-request-id").starts_with("req_"));
    app.stop().await;
}

#[tokio::test]
async fn a_data_directory_serves_one_process() {
    let app = TestApp::sqlite().await;
    let second = Server::start(&app.config).await.unwrap_err();
    assert!(matches!(second, ServeError::DataDir(DataDirError::InUse(_))), "{second}");
    app.stop().await;
}

on_both!(a_restart_finds_everything_as_it_was);
async fn a_restart_finds_everything_as_it_was(app: TestApp) {
    let issued = app.issue("k", &["a"]).await;
    let set = app.client.set(&app.set.id).await.unwrap();
    let (config, token, data) = (app.config.clone(), app.token.clone(), app.data);
    app.server.stop(Duration::from_secs(5)).await;
    let server = Server::start(&config).await.unwrap();
    assert!(server.enrolment().is_none(), "somebody has enrolled");
    let client = nightlatch_api::client::Client::new(&server.url()).unwrap().with_token(token);
    assert_eq!(client.key(&issued.key.id).await.unwrap().value.id, issued.key.id);
    let after = client.set(&set.id).await.unwrap();
    assert_eq!((after.verifier, after.pepper, after.bound_ms), (set.verifier, set.pepper, set.bound_ms));
    server.stop(Duration::from_secs(5)).await;
    // Without its secrets it does not start, and does not make new ones.
    std::fs::rename(data.path().join("data/secrets"), data.path().join("lost")).unwrap();
    let refused = Server::start(&config).await.unwrap_err();
    assert!(matches!(refused, ServeError::Secrets(_)), "{refused}");
    assert!(!data.path().join("data/secrets").exists());
}

#[tokio::test]
async fn a_start_makes_owners_only_where_none_can_get_in() {
    let app = TestApp::sqlite().await;
    crate::session::join(&app, "ada@example.com", "owner").await;
    // Ada has a password; nobody has a token.
    app.sql("UPDATE tokens SET revoked_at = 1").await;
    let file = app.data.path().join("data/enrolment-token");
    let app = app.restarted().await;
    assert!(app.server.enrolment().is_none() && !file.exists(), "an owner signs in");
    // An operator's token makes no owner.
    let people = crate::people::People::of(&app).await;
    people.person(nightlatch::domain::Role::Operator, None, "op@example.com").await;
    app.sql("UPDATE members SET state = 'suspended' WHERE email = 'ada@example.com'").await;
    app.sql("UPDATE members SET role = 'viewer' WHERE email IS NULL").await;
    let app = app.restarted().await;
    assert!(app.server.enrolment().is_some() && file.exists());
    app.stop().await;
}

#[tokio::test]
async fn an_unused_enrolment_token_survives_a_restart_and_a_lost_one_is_replaced() {
    let app = TestApp::sqlite().await;
    app.sql("UPDATE tokens SET revoked_at = 1").await;
    let (config, data) = (app.config.clone(), app.data);
    app.server.stop(Duration::from_secs(5)).await;
    let file = data.path().join("data/enrolment-token");
    let server = Server::start(&config).await.unwrap();
    let first = std::fs::read_to_string(&file).expect("nobody can administer: a new token");
    server.stop(Duration::from_secs(5)).await;
    let server = Server::start(&config).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), first);
    assert!(server.enrolment().unwrap().fresh.is_none());
    server.stop(Duration::from_secs(5)).await;
    std::fs::remove_file(&file).unwrap();
    let server = Server::start(&config).await.unwrap();
    assert_ne!(std::fs::read_to_string(&file).unwrap(), first);
    let stranger = nightlatch_api::client::Client::new(&server.url()).unwrap();
    assert!(stranger.enrol(first.trim().into()).await.is_err(), "the lost one is worth nothing");
    server.stop(Duration::from_secs(5)).await;
}

/// What the leader does not chain is seen to wait.
#[tokio::test]
async fn metrics_tell_how_long_audit_entries_wait_to_be_chained() {
    let app = TestApp::sqlite().await;
    let waits = async || {
        let text = app.get("/metrics").without_token().send().await.text;
        let name = format!("nightlatch_audit_unchained_age_seconds{{set=\"{}\"}} ", app.set.id);
        let line = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_else(|| panic!("{text}"));
        line.parse::<f64>().unwrap()
    };
    app.issue("k", &[]).await;
    app.server.publisher().flush().await.unwrap();
    assert!(waits().await < f64::EPSILON);
    // Its history is not what was signed: nothing is chained any more.
    app.sql("UPDATE audit SET at = 1000, seq = NULL WHERE seq = (SELECT MAX(seq) FROM audit)").await;
    app.server.publisher().flush().await.unwrap();
    assert!(waits().await > 1_000_000.0);
    app.stop().await;
}
