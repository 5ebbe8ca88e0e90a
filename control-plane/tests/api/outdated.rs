//! A server of a version that the database has left behind.

use std::time::Duration;

use nightlatch::publisher::Role;
use nightlatch::serve::Server;
use serde_json::json;

use crate::app::TestApp;
use crate::on_both;

on_both!(s3_10_a_server_that_the_database_has_left_behind_changes_nothing);
async fn s3_10_a_server_that_the_database_has_left_behind_changes_nothing(app: TestApp) {
    let issued = app.issue("kept", &[]).await;
    app.server.publisher().flush().await.unwrap();
    // A newer version has narrowed the schema.
    app.sql("UPDATE schema_floor SET version = 9002").await;

    let refused = app.post("/v1/keys", json!({ "name": "more", "environment": "live" })).send().await;
    assert_eq!(refused.header("retry-after"), "1");
    refused.is_problem(503, "outdated");
    let path = format!("/v1/keys/{}/revoke", issued.key.id);
    app.post(&path, json!({ "reason": "leaked" })).send().await.is_problem(503, "outdated");
    assert_eq!(app.number("SELECT COUNT(*) FROM keys WHERE name IN ('kept', 'more') AND state <> 'revoked'").await, 1);
    // Reading goes on.
    let keys = app.get("/v1/keys").send().await;
    assert_eq!((keys.status.as_u16(), keys.json()["items"].as_array().unwrap().len()), (200, 1));

    let ready = app.get("/readyz").without_token().send().await;
    let checks = ready.json()["checks"].clone();
    let schema = checks.as_array().unwrap().iter().find(|check| check["name"] == "schema").unwrap();
    assert_eq!((ready.status.as_u16(), &schema["ok"]), (503, &json!(false)));
    assert!(schema["detail"].as_str().unwrap().contains("nightlatch schema status"), "{schema}");
    let status = app.server.publisher().wait(|status| status.refused).await.unwrap();
    assert_eq!(status.role, Role::Standby);

    let TestApp { server, config, data, .. } = app;
    server.stop(Duration::from_secs(5)).await;
    let why = Server::start(&config).await.unwrap_err().to_string();
    assert!(why.contains("nightlatch schema status"), "{why}");
    drop(data);
}
