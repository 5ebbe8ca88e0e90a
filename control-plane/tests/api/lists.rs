//! Lists: filters, pages, cursors.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::TryStreamExt as _;
use nightlatch_api::{AuditFilter, Environment, IssueKey, KeyFilter, KeyState, RevokeKey};
use serde_json::json;

use crate::app::{TestApp, now};
use crate::on_both;

on_both!(pages_hold_every_key_once_newest_first);
async fn pages_hold_every_key_once_newest_first(app: TestApp) {
    let mut issued = Vec::new();
    for number in 0..7 {
        issued.push(app.issue(&format!("key {number}"), &[]).await.key.id);
    }
    let filter = KeyFilter { limit: Some(3), ..KeyFilter::default() };
    let first = app.client.list_keys(&filter).await.unwrap();
    assert_eq!(first.items.len(), 3);
    assert!(first.next_cursor.is_some());
    let all: Vec<_> = app.client.keys(filter).map_ok(|key| key.id).try_collect().await.unwrap();
    issued.reverse();
    // Keys of one millisecond may come in either order, but each comes once.
    assert_eq!(all.len(), 7);
    assert_eq!(all.iter().collect::<BTreeSet<_>>(), issued.iter().collect());
    app.stop().await;
}

on_both!(a_cursor_is_good_for_its_own_list_and_filters_only);
async fn a_cursor_is_good_for_its_own_list_and_filters_only(app: TestApp) {
    for name in ["a", "b", "c"] {
        app.issue(name, &["x"]).await;
    }
    let page = app.get("/v1/keys?limit=1&scope=x").send().await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(app.get(&format!("/v1/keys?limit=2&scope=x&cursor={cursor}")).send().await.status, 200);
    for path in [
        format!("/v1/keys?limit=1&cursor={cursor}"),
        format!("/v1/keys?limit=1&scope=y&cursor={cursor}"),
        format!("/v1/audit?cursor={cursor}"),
        format!("/v1/keys?scope=x&cursor={}", &cursor[1..]),
    ] {
        app.get(&path).send().await.is_problem(400, "invalid_request");
    }
    assert!(!cursor.contains("key"), "a cursor tells nothing");
    app.stop().await;
}

on_both!(s4_01_the_inventory_is_found_by_every_filter);
async fn s4_01_the_inventory_is_found_by_every_filter(app: TestApp) {
    let soon = now() + Duration::from_secs(3600);
    let request = IssueKey {
        scopes: vec!["reports:read".into()],
        owner: Some("ana".into()),
        labels: [("team".to_owned(), "billing".to_owned())].into(),
        expires_at: Some(soon),
        rotate_by: Some(soon),
        ..IssueKey::new("Quarterly export", Environment::Test)
    };
    let wanted = app.client.issue_key(&request).await.unwrap().key;
    let other = app.issue("other", &["x"]).await.key;
    app.client.revoke_key(&other.id, &RevokeKey::new("r")).await.unwrap();
    let later = (soon + Duration::from_secs(1)).to_string();
    let found = [
        "state=active".to_owned(),
        "owner=ana".into(),
        "scope=reports:read".into(),
        "environment=test".into(),
        format!("expires_before={later}"),
        format!("rotate_by_before={later}"),
        "q=quarterly".into(),
        format!("q={}", wanted.prefix),
        format!("state=active&owner=ana&q=export&environment=test&expires_before={later}&principal=prn_1"),
    ];
    for query in &found {
        let page = app.get(&format!("/v1/keys?{query}")).send().await.json();
        let ids: Vec<_> = page["items"].as_array().unwrap().iter().map(|key| key["id"].clone()).collect();
        assert_eq!(ids, [json!(wanted.id)], "{query}");
    }
    let missed =
        ["owner=bo", "scope=reports", "state=expired", "q=zzz", "principal=prn_7", "principal=x", "issued_by=tok_x"];
    for query in missed {
        assert_eq!(app.get(&format!("/v1/keys?{query}")).send().await.json()["items"], json!([]), "{query}");
    }
    assert_eq!(wanted.labels["team"], "billing");
    app.stop().await;
}

on_both!(s0_10_s0_11_abandoned_keys_are_found_by_last_use);
async fn s0_10_s0_11_abandoned_keys_are_found_by_last_use(app: TestApp) {
    let used = app.issue("used", &[]).await.key;
    let abandoned = app.issue("abandoned", &[]).await.key;
    let never = app.issue("never used", &[]).await.key;
    app.sql("UPDATE keys SET created_at = 1000").await;
    app.sql(&format!("UPDATE keys SET last_used_at = 2000000000000 WHERE id = '{}'", used.id)).await;
    app.sql(&format!("UPDATE keys SET last_used_at = 1600000000000 WHERE id = '{}'", abandoned.id)).await;
    let filter = KeyFilter {
        state: Some(KeyState::Active),
        last_used_before: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        ..KeyFilter::default()
    };
    let found: BTreeSet<_> = app.client.keys(filter).map_ok(|key| key.id).try_collect().await.unwrap();
    assert_eq!(found, BTreeSet::from([abandoned.id.clone(), never.id]));
    let shown = app.client.key(&abandoned.id).await.unwrap().value;
    assert_eq!(shown.last_used_at.unwrap().to_string(), "2020-09-13T12:26:40Z");
    app.stop().await;
}

on_both!(the_audit_trail_is_filtered_by_actor_action_key_and_time);
async fn the_audit_trail_is_filtered_by_actor_action_key_and_time(app: TestApp) {
    let one = app.issue("one", &[]).await.key;
    let two = app.issue("two", &[]).await.key;
    app.client.revoke_key(&one.id, &RevokeKey::new("r")).await.unwrap();
    let count = async |filter: AuditFilter| app.client.audit(filter).try_collect::<Vec<_>>().await.unwrap().len();
    let all = AuditFilter::default();
    assert_eq!(count(AuditFilter { key: Some(one.id.clone()), ..all.clone() }).await, 2);
    assert_eq!(count(AuditFilter { key: Some(format!("kn_{}", two.number)), ..all.clone() }).await, 1);
    assert_eq!(count(AuditFilter { key: Some("nonsense".into()), ..all.clone() }).await, 0);
    assert_eq!(count(AuditFilter { action: Some("key.issued".into()), limit: Some(1), ..all.clone() }).await, 2);
    assert_eq!(count(AuditFilter { actor_type: Some("token".into()), ..all.clone() }).await, 3);
    assert_eq!(count(AuditFilter { actor_type: Some("service_account".into()), ..all.clone() }).await, 0);
    let actor = one.issued_by.id.clone();
    assert_eq!(count(AuditFilter { actor: Some(actor), ..all.clone() }).await, 3);
    let future = now() + Duration::from_secs(60);
    let past = now() - Duration::from_secs(3600);
    assert_eq!(count(AuditFilter { from: Some(future), ..all.clone() }).await, 0);
    assert_eq!(count(AuditFilter { to: Some(past), ..all.clone() }).await, 0);
    // Beside the three: the enrolment, its owner and token, and the trust note of the first start.
    assert_eq!(count(AuditFilter { from: Some(past), to: Some(future), ..all }).await, 7);
    app.stop().await;
}
