//! Rotations over HTTP. Their rules are tested with the domain and the store; here is what a caller sees.

use std::time::Duration;

use nightlatch_api::client::ClientError;
use nightlatch_api::{
    CancelRotation, Code, CompleteRotation, Environment, ExtendRotation, IssueKey, KeyState, RevokeKey, RotationFilter,
    RotationOrder, RotationOutcome, RotationState, StartRotation, StartedRotation, SuccessorFate,
};
use serde_json::json;

use crate::app::{TestApp, now};
use crate::on_both;

fn asked(overlap_seconds: u64) -> StartRotation {
    StartRotation {
        overlap_seconds: Some(overlap_seconds),
        reason: "scheduled".into(),
        name: None,
        scopes: None,
        order: RotationOrder::IssueFirst,
        dry_run: false,
        acknowledge_sensitive: false,
        expires_at: None,
    }
}

async fn start(app: &TestApp, key: &str, overlap: u64) -> StartedRotation {
    app.client.start_rotation(key, &asked(overlap)).await.unwrap()
}

fn code(result: Result<impl std::fmt::Debug, ClientError>) -> String {
    result.unwrap_err().problem().expect("a problem").code.clone()
}

on_both!(s2_01_s4_03_s4_04_s4_05_both_keys_work_through_the_overlap);
async fn s2_01_s4_03_s4_04_s4_05_both_keys_work_through_the_overlap(app: TestApp) {
    let old = app.issue("client", &["a"]).await;
    let started = start(&app, &old.key.id, 3600).await;
    assert_eq!(started.rotation.state, RotationState::Open);
    assert_eq!(started.rotation.predecessor, old.key.id);
    assert_eq!(started.rotation.successor, started.key.id);
    assert!(app.verify(&old.secret).await.allowed && app.verify(&started.secret).await.allowed);
    let predecessor = app.client.key(&old.key.id).await.unwrap().value;
    assert_eq!(predecessor.state, KeyState::Retiring);
    assert_eq!(predecessor.successor.as_ref(), Some(&started.key.id));
    assert_eq!(predecessor.rotation.as_ref(), Some(&started.rotation.id));
    assert_eq!(predecessor.deadline, started.rotation.deadline);
    assert_eq!(started.key.predecessor.as_ref(), Some(&old.key.id));
    assert_eq!(started.key.lineage, old.key.lineage);
    // The deadline passes, whether or not a job has run.
    app.sql(&format!("UPDATE keys SET deadline = 1700000000 WHERE id = '{}'", old.key.id)).await;
    assert_eq!(app.verify(&old.secret).await.code.as_deref(), Some("key_retired_grace_over"));
    assert!(app.verify(&started.secret).await.allowed);
    app.stop().await;
}

on_both!(s2_02_s0_13_the_successor_has_scopes_tier_and_owner_of_the_predecessor);
async fn s2_02_s0_13_the_successor_has_scopes_tier_and_owner_of_the_predecessor(app: TestApp) {
    let request = IssueKey {
        scopes: vec!["a".into(), "b".into()],
        tier: Some("gold".into()),
        owner: Some("ana".into()),
        ..IssueKey::new("client", Environment::Live)
    };
    let old = app.client.issue_key(&request).await.unwrap().key;
    let key = start(&app, &old.id, 3600).await.key;
    assert_eq!((&key.scopes, &key.tier, &key.owner), (&old.scopes, &old.tier, &old.owner));
    assert_eq!((key.environment, &key.principal), (old.environment, &old.principal));
    assert_ne!(key.name, old.name, "the name shows the succession");
    let narrower = StartRotation { scopes: Some(vec!["a".into()]), name: Some(key.name.clone()), ..asked(3600) };
    let started = app.client.start_rotation(&key.id, &narrower).await.unwrap();
    let warnings: Vec<_> = started.warnings.iter().map(|warning| warning.code.as_str()).collect();
    assert!(warnings.contains(&"same_name") && warnings.contains(&"scopes_lost"), "{warnings:?}");
    app.stop().await;
}

on_both!(an_end_is_the_keys_own_and_its_successor_may_have_another);
async fn an_end_is_the_keys_own_and_its_successor_may_have_another(app: TestApp) {
    let end = |days: i64| Some(now() + jiff::SignedDuration::from_hours(24 * days));
    let request = IssueKey { expires_at: end(90), ..IssueKey::new("client", Environment::Live) };
    let old = app.client.issue_key(&request).await.unwrap().key;
    let past = StartRotation { expires_at: end(-1), ..asked(3600) };
    for dry_run in [true, false] {
        let refused = app.client.start_rotation(&old.id, &StartRotation { dry_run, ..past.clone() }).await.unwrap_err();
        assert_eq!(refused.problem().unwrap().code, "expiry_in_past");
    }
    let plan = app.client.plan_rotation(&old.id, &asked(3600)).await.unwrap();
    assert_eq!(plan.warnings[0].code, "expiry_not_inherited");
    let second =
        app.client.start_rotation(&old.id, &StartRotation { expires_at: end(30), ..asked(3600) }).await.unwrap();
    assert!(second.warnings.is_empty() && second.key.expires_at.unwrap() < end(31).unwrap(), "{second:?}");
    let third = app.client.start_rotation(&second.key.id, &asked(3600)).await.unwrap();
    assert_eq!((third.warnings[0].code.as_str(), third.key.expires_at), ("expiry_not_inherited", None));
    // One without an end has nothing to warn of.
    assert!(app.client.start_rotation(&third.key.id, &asked(3600)).await.unwrap().warnings.is_empty());
    app.stop().await;
}

on_both!(an_overlap_below_the_bound_is_refused_with_the_least_that_would_do);
async fn an_overlap_below_the_bound_is_refused_with_the_least_that_would_do(app: TestApp) {
    let old = app.issue("client", &[]).await.key;
    let path = format!("/v1/keys/{}/rotations", old.id);
    let answer = app.post(&path, json!({ "overlap_seconds": 10, "reason": "r" })).send().await;
    assert_eq!(answer.is_problem(422, "overlap_below_bound")["minimum_seconds"], 65);
    app.post(&path, json!({ "reason": "r" })).send().await.is_problem(400, "invalid_request");
    app.post(&path, json!({ "overlap_seconds": 1e30, "reason": "r" })).send().await.is_problem(400, "invalid_request");
    app.post(&path, json!({ "overlap_seconds": u64::MAX, "reason": "r" }))
        .send()
        .await
        .is_problem(422, "value_invalid");
    let both = json!({ "overlap_seconds": 3600, "order": "revoke_first", "reason": "r" });
    app.post(&path, both).send().await.is_problem(422, "value_invalid");
    assert_eq!(app.client.key(&old.id).await.unwrap().value.state, KeyState::Active);
    app.stop().await;
}

on_both!(s0_21_revoke_first_ends_the_leaked_key_at_once);
async fn s0_21_revoke_first_ends_the_leaked_key_at_once(app: TestApp) {
    let old = app.issue("leaked", &["a"]).await;
    let request = StartRotation { overlap_seconds: None, order: RotationOrder::RevokeFirst, ..asked(0) };
    let started = app.client.start_rotation(&old.key.id, &request).await.unwrap();
    assert_eq!(started.rotation.state, RotationState::Completed);
    assert_eq!(app.verify(&old.secret).await.code.as_deref(), Some("key_revoked"));
    assert!(app.verify(&started.secret).await.allowed);
    app.stop().await;
}

on_both!(s4_19_a_rotation_is_extended_and_taken_back);
async fn s4_19_a_rotation_is_extended_and_taken_back(app: TestApp) {
    let old = app.issue("client", &[]).await;
    let started = start(&app, &old.key.id, 3600).await;
    let id = &started.rotation.id;
    let extend = |overlap_seconds| ExtendRotation { overlap_seconds, reason: None };
    let extended = app.client.extend_rotation(id, &extend(7200)).await.unwrap();
    assert!(extended.rotation.deadline > started.rotation.deadline);
    assert_eq!(code(app.client.extend_rotation(id, &extend(600)).await), "deadline_not_later");
    let cancel = CancelRotation { successor: SuccessorFate::Revoke, reason: None };
    let cancelled = app.client.cancel_rotation(id, &cancel).await.unwrap();
    assert_eq!(cancelled.rotation.state, RotationState::Cancelled);
    assert_eq!(cancelled.rotation.outcome, Some(RotationOutcome::SuccessorRevoked));
    assert_eq!(app.client.key(&old.key.id).await.unwrap().value.state, KeyState::Active);
    assert!(!app.verify(&started.secret).await.allowed);
    assert_eq!(code(app.client.extend_rotation(id, &extend(7200)).await), "rotation_closed");
    app.stop().await;
}

on_both!(s4_18_complete_waits_until_the_predecessor_is_unused);
async fn s4_18_complete_waits_until_the_predecessor_is_unused(app: TestApp) {
    let old = app.issue("client", &[]).await;
    let started = start(&app, &old.key.id, 3600).await;
    let id = &started.rotation.id;
    let used = now().as_millisecond();
    app.sql(&format!("UPDATE keys SET last_used_at = {used} WHERE id = '{}'", old.key.id)).await;
    let path = format!("/v1/rotations/{id}/complete");
    let refused = app.call(reqwest::Method::POST, &path).send().await;
    assert!(refused.is_problem(409, "predecessor_in_use")["last_used_at"].is_string());
    app.post(&path, json!({ "force": true })).send().await.is_problem(422, "reason_required");
    let forced = CompleteRotation { force: true, reason: Some("the last user is gone".into()) };
    let completed = app.client.complete_rotation(id, &forced).await.unwrap();
    assert_eq!(completed.rotation.outcome, Some(RotationOutcome::Forced));
    assert_eq!(app.verify(&old.secret).await.code.as_deref(), Some("key_revoked"));
    app.stop().await;
}

on_both!(one_rotation_at_a_time_and_revokes_in_between);
async fn one_rotation_at_a_time_and_revokes_in_between(app: TestApp) {
    let old = app.issue("client", &[]).await.key;
    let started = start(&app, &old.id, 3600).await;
    let refused = app.client.start_rotation(&old.id, &asked(3600)).await.unwrap_err();
    assert!(refused.is(Code::RotationOpen), "{refused}");
    assert_eq!(refused.problem().unwrap().more["rotation"], started.rotation.id.as_str());
    // Revoking the successor always succeeds, and warns.
    let revoke = RevokeKey::new("r");
    let revoked = app.client.revoke_key(&started.key.id, &revoke).await.unwrap();
    assert_eq!(revoked.warnings[0].code, "no_successor");
    // Revoking the predecessor completes the rotation.
    app.client.revoke_key(&old.id, &revoke).await.unwrap();
    let rotation = app.client.rotation(&started.rotation.id).await.unwrap();
    assert_eq!(rotation.outcome, Some(RotationOutcome::PredecessorRevoked));
    app.stop().await;
}

on_both!(rotations_are_listed_by_state_and_key);
async fn rotations_are_listed_by_state_and_key(app: TestApp) {
    let one = app.issue("one", &[]).await.key;
    let two = app.issue("two", &[]).await.key;
    let first = start(&app, &one.id, 3600).await;
    let second = start(&app, &two.id, 3600).await;
    let keep = CancelRotation { successor: SuccessorFate::Keep, reason: None };
    app.client.cancel_rotation(&second.rotation.id, &keep).await.unwrap();
    let third = start(&app, &second.key.id, 3600).await;
    app.client.complete_rotation(&third.rotation.id, &CompleteRotation::default()).await.unwrap();
    let ids = async |filter: RotationFilter| {
        let page = app.client.list_rotations(&filter).await.unwrap();
        page.items.into_iter().map(|rotation| rotation.id).collect::<Vec<_>>()
    };
    let state = |state| RotationFilter { state: Some(state), ..RotationFilter::default() };
    assert_eq!(ids(state(RotationState::Open)).await, [first.rotation.id]);
    assert_eq!(ids(state(RotationState::Cancelled)).await, [second.rotation.id]);
    assert_eq!(ids(state(RotationState::Completed)).await, [third.rotation.id]);
    let of_key = RotationFilter { key: Some(second.key.id), ..RotationFilter::default() };
    assert_eq!(ids(of_key).await.len(), 2);
    assert_eq!(ids(RotationFilter::default()).await.len(), 3);
    app.stop().await;
}

on_both!(s4_16_a_dry_run_says_what_would_happen_and_changes_nothing);
async fn s4_16_a_dry_run_says_what_would_happen_and_changes_nothing(app: TestApp) {
    let old = app.issue("client", &["a"]).await.key;
    let before = app.footprint().await;
    let plan = app.client.plan_rotation(&old.id, &asked(3600)).await.unwrap();
    assert_ne!(plan.name, "client");
    let lead = plan.deadline.unwrap().duration_since(now()).unsigned_abs();
    assert!(lead <= Duration::from_secs(3601) && lead > Duration::from_secs(3590), "{lead:?}");
    let body = json!({ "overlap_seconds": 3600, "reason": "r", "dry_run": true });
    let answer = app.post(&format!("/v1/keys/{}/rotations", old.id), body).send().await;
    assert_eq!(answer.status, 200);
    assert!(answer.json().get("secret").is_none());
    assert_eq!(app.footprint().await, before);
    app.stop().await;
}
