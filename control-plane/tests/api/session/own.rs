//! One's own sessions and password.

use serde_json::json;

use super::{Browser, PASSWORD, join};
use crate::app::TestApp;
use crate::on_both;

on_both!(sessions_are_ones_own);
async fn sessions_are_ones_own(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    join(&app, "bob@example.com", "owner").await;
    let mut ada = Browser::new(&app).signed_in("ada@example.com").await;
    let mut phone = Browser::from_address(&app.server.url(), [127, 0, 0, 9]).signed_in("ada@example.com").await;
    let mut bob = Browser::new(&app).signed_in("bob@example.com").await;
    let listed = ada.get("/v1/sessions").await.json()["items"].as_array().unwrap().clone();
    assert_eq!(listed.len(), 2, "{listed:?}");
    let of_phone = listed.iter().find(|one| one["current"] == false).unwrap();
    assert_eq!((of_phone["source"].as_str(), of_phone["state"].as_str()), (Some("127.0.0.9"), Some("active")));
    let path = format!("/v1/sessions/{}/end", of_phone["id"].as_str().unwrap());
    // Somebody else's is as one that does not exist.
    let theirs = bob.post(&path, json!({})).await.is_problem(404, "not_found");
    let none = bob.post("/v1/sessions/ses_0000000000000000/end", json!({})).await.is_problem(404, "not_found");
    assert_eq!(theirs["detail"], none["detail"]);
    assert!(phone.is_signed_in().await);
    let ended = ada.post(&path, json!({})).await.json();
    assert_eq!(ended["state"], "ended");
    assert_eq!(ada.post(&path, json!({})).await.json(), ended, "repeating it changes nothing");
    assert!(!phone.is_signed_in().await && ada.is_signed_in().await && bob.is_signed_in().await);
    let one = ada.get("/v1/sessions?limit=1").await.json();
    let cursor = one["next_cursor"].as_str().unwrap();
    let path = format!("/v1/sessions?cursor={cursor}");
    assert_eq!(ada.get(&path).await.json()["items"].as_array().unwrap().len(), 1);
    bob.get(&path).await.is_problem(400, "invalid_request");
    app.stop().await;
}

on_both!(another_password_ends_the_other_sessions);
async fn another_password_ends_the_other_sessions(app: TestApp) {
    join(&app, "ada@example.com", "owner").await;
    let mut ada = Browser::new(&app).signed_in("ada@example.com").await;
    let mut phone = Browser::new(&app).signed_in("ada@example.com").await;
    let mut thief = ada.copy();
    let change = |current: &str, new: &str| json!({ "current": current, "new": new });
    for (body, status, code) in [
        (change("wrong wrong wrong", "a new password"), 401, "sign_in_failed"),
        (change(PASSWORD, "short"), 422, "value_invalid"),
        (change(PASSWORD, &"x".repeat(1025)), 422, "value_invalid"),
        (change(PASSWORD, "ada@example.com"), 422, "value_invalid"),
        (json!({ "new": "a new password" }), 422, "value_invalid"),
    ] {
        ada.post("/v1/session/password", body).await.is_problem(status, code);
    }
    assert!(phone.is_signed_in().await);
    let changed = ada.post("/v1/session/password", change(PASSWORD, "a new password")).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert!(ada.is_signed_in().await);
    assert!(!phone.is_signed_in().await && !thief.is_signed_in().await);
    Browser::new(&app).sign_in("ada@example.com", PASSWORD).await.is_problem(401, "sign_in_failed");
    assert_eq!(Browser::new(&app).sign_in("ada@example.com", "a new password").await.status, 200);
    let rows = app.get("/v1/audit?action=account.password_changed").send().await.json();
    assert_eq!(rows["items"].as_array().unwrap().len(), 1);
    app.stop().await;
}
