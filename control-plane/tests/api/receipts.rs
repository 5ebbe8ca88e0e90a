//! Receipts: what is said of a revocation, and what must not be believed.

use nightlatch::domain::receipt::{Receipt as Text, State};
use nightlatch_api::{
    AppliedState, CancelRotation, CompleteRotation, EdgeClass, EdgeClock, EdgeProof, EdgeReport, Key, Receipt,
    ReceiptState, RevokeKey, RotationOrder, RouteDocument, RouteRule, StartRotation, SuccessorFate,
};
use nightlatch_keyset::note::{self, Verifier};
use reqwest::Method;
use serde_json::json;

use crate::app::TestApp;
use crate::durable::FakeEdge;
use crate::on_both;

async fn revoked(app: &TestApp) -> Key {
    let key = app.issue("to go", &[]).await.key;
    app.server.publisher().flush().await.unwrap();
    app.client.revoke_key(&key.id, &RevokeKey::new("leaked")).await.unwrap();
    key
}

/// Revokes a key and waits until a head says so.
async fn published(app: &TestApp) -> Key {
    let key = revoked(app).await;
    app.server.publisher().published(key.number).await.unwrap();
    key
}

async fn receipt(app: &TestApp, key: &Key) -> Receipt {
    app.client.receipt(&key.id, None).await.unwrap()
}

/// Lets the bound of a revocation pass: its commit moves into the past.
async fn elapse(app: &TestApp, key: &Key) {
    let bound = app.set.bound_ms;
    app.sql(&format!("UPDATE receipts SET committed_by = committed_by - {bound} WHERE key_id = '{}'", key.id)).await;
}

fn signed(app: &TestApp, receipt: &Receipt) -> Text {
    let verifier = Verifier::from_vkey(&app.set.verifier).unwrap();
    let note = receipt.note.as_deref().unwrap();
    Text::parse(note::open(note, &[verifier]).unwrap()).unwrap()
}

on_both!(s3_10_every_durable_edge_confirms_a_revocation);
async fn s3_10_every_durable_edge_confirms_a_revocation(app: TestApp) {
    let (mut one, mut two) = (FakeEdge::durable(&app, "one").await, FakeEdge::durable(&app, "two").await);
    let key = published(&app).await;
    let pending = receipt(&app, &key).await;
    assert_eq!((pending.state, pending.counted, pending.proven), (ReceiptState::Pending, 2, 0));
    assert_eq!(pending.note, None);
    assert_eq!(pending.bound_ms, app.set.bound_ms);
    assert_eq!(pending.in_force_by.as_millisecond() - pending.committed_by.as_millisecond(), 65_000);
    assert!(pending.committed_by >= pending.revoked_at);
    one.follow(&app).await;
    let half = receipt(&app, &key).await;
    assert_eq!((half.state, half.proven), (ReceiptState::Pending, 1));
    assert_eq!((half.edges[0].name.as_str(), half.edges[0].state), ("two", EdgeProof::Waiting));
    assert_eq!((half.edges[1].state, half.edges[1].clock), (EdgeProof::Confirmed, EdgeClock::Ok));
    two.follow(&app).await;
    let done = receipt(&app, &key).await;
    assert_eq!((done.state, done.proven), (ReceiptState::Confirmed, 2));
    let text = signed(&app, &done);
    assert_eq!((text.state, text.key.as_str(), text.set.as_str()), (State::Confirmed, key.id.as_str(), &*app.set.id));
    assert_eq!(text.edges.len(), 2);
    // It never changes again, whoever asks how, whatever comes.
    app.client.remove_edge(&one.id).await.unwrap();
    elapse(&app, &key).await;
    let by_number = app.client.receipt(&format!("kn_{}", key.number), Some(&app.set.id)).await.unwrap();
    assert_eq!(by_number.note, done.note);
    assert_eq!(by_number.edges, done.edges);
    app.stop().await;
}

on_both!(s3_10_where_an_edge_is_silent_the_bound_has_to_pass);
async fn s3_10_where_an_edge_is_silent_the_bound_has_to_pass(app: TestApp) {
    let (mut one, two) = (FakeEdge::durable(&app, "one").await, FakeEdge::durable(&app, "two").await);
    let key = published(&app).await;
    one.follow(&app).await;
    assert_eq!(receipt(&app, &key).await.state, ReceiptState::Pending);
    app.sql(&format!("UPDATE edges SET enrolled_at = enrolled_at - 70000 WHERE id = '{}'", two.id)).await;
    let silent = receipt(&app, &key).await;
    assert_eq!((silent.state, silent.edges[0].state), (ReceiptState::Pending, EdgeProof::Silent));
    elapse(&app, &key).await;
    let done = receipt(&app, &key).await;
    assert_eq!((done.state, done.counted, done.proven), (ReceiptState::BoundElapsed, 2, 0), "the report came too late");
    assert_eq!(signed(&app, &done).state, State::BoundElapsed);
    app.stop().await;
}

/// With real time: nothing can confirm, and the call returns when the bound has passed.
#[tokio::test]
async fn s3_10_a_revoke_waits_for_the_bound_where_nobody_can_confirm() {
    let app = TestApp::short().await;
    let key = app.issue("k", &[]).await.key;
    let revoked =
        app.client.revoke_key(&key.id, &RevokeKey { wait: Some(30), ..RevokeKey::new("leaked") }).await.unwrap();
    let receipt = revoked.receipt.unwrap();
    assert_eq!((receipt.state, receipt.bound_ms, receipt.counted), (ReceiptState::BoundElapsed, 3_000, 0));
    assert!(receipt.at >= receipt.in_force_by);
    assert_eq!(receipt.in_force_by, revoked.in_force_by);
    assert!(receipt.published_version.is_some());
    app.stop().await;
}

on_both!(s3_10_a_revoke_waits_for_the_edges);
async fn s3_10_a_revoke_waits_for_the_edges(app: TestApp) {
    let mut edge = FakeEdge::durable(&app, "one").await;
    let key = app.issue("k", &[]).await.key;
    let waiting = tokio::spawn({
        let (client, id) = (app.client.clone(), key.id.clone());
        async move { client.revoke_key(&id, &RevokeKey { wait: Some(30), ..RevokeKey::new("leaked") }).await.unwrap() }
    });
    while app.client.key(&key.id).await.unwrap().value.revoked_at.is_none() {
        tokio::task::yield_now().await;
    }
    app.server.publisher().published(key.number).await.unwrap();
    edge.follow(&app).await;
    let revoked = waiting.await.unwrap();
    assert_eq!(revoked.receipt.unwrap().state, ReceiptState::Confirmed);
    app.stop().await;
}

on_both!(a_wait_that_is_too_short_says_where_the_receipt_is);
async fn a_wait_that_is_too_short_says_where_the_receipt_is(app: TestApp) {
    let key = app.issue("k", &[]).await.key;
    let path = format!("/v1/keys/{}/revoke", key.id);
    let census = app.footprint().await;
    for wait in [json!(31), json!(u64::MAX)] {
        let problem = app.post(&path, json!({ "reason": "r", "wait": wait })).send().await;
        let problem = problem.is_problem(422, "value_invalid");
        assert_eq!(problem["errors"][0]["field"], "wait");
    }
    app.post(&path, json!({ "reason": "r", "wait": -1 })).send().await.is_problem(400, "invalid_request");
    assert_eq!(app.footprint().await, census, "a refused call changed something");
    app.get(&format!("/v1/keys/{}/receipt", key.id)).send().await.is_problem(404, "key_not_revoked");
    let answer = app.post(&path, json!({ "reason": "r", "wait": 0 })).send().await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["receipt"]["state"], "pending");
    let found = app.get(answer.header("location")).send().await;
    assert_eq!((found.status.as_u16(), &found.json()["state"]), (200, &json!("pending")));
    // Repeating it waits for the same receipt.
    elapse(&app, &key).await;
    let answer = app.post(&path, json!({ "reason": "again", "wait": 5 })).send().await;
    assert_eq!((answer.status.as_u16(), &answer.json()["receipt"]["state"]), (200, &json!("bound_elapsed")));
    app.stop().await;
}

on_both!(
    /// S2-14: and on every later one.
    s0_08_verify_refuses_a_revoked_key_on_the_next_call
);
async fn s0_08_verify_refuses_a_revoked_key_on_the_next_call(app: TestApp) {
    let issued = app.issue("k", &[]).await;
    assert!(app.verify(&issued.secret).await.allowed);
    app.client.revoke_key(&issued.key.id, &RevokeKey::new("leaked")).await.unwrap();
    for _ in 0..3 {
        let verdict = app.verify(&issued.secret).await;
        assert_eq!((verdict.allowed, verdict.status, verdict.code.as_deref()), (false, 401, Some("key_revoked")));
    }
    app.stop().await;
}

on_both!(s3_12_what_a_rotation_revokes_has_a_receipt_too);
async fn s3_12_what_a_rotation_revokes_has_a_receipt_too(app: TestApp) {
    let start = |emergency: bool| StartRotation {
        overlap_seconds: (!emergency).then_some(86_400),
        reason: "leaked".into(),
        name: None,
        scopes: None,
        order: if emergency { RotationOrder::RevokeFirst } else { RotationOrder::IssueFirst },
        dry_run: false,
        acknowledge_sensitive: false,
        expires_at: None,
    };
    let (one, two, three) =
        (app.issue("1", &[]).await.key, app.issue("2", &[]).await.key, app.issue("3", &[]).await.key);
    app.client.start_rotation(&one.id, &start(true)).await.unwrap();
    assert_eq!(receipt(&app, &one).await.state, ReceiptState::Pending);
    let rotation = app.client.start_rotation(&two.id, &start(false)).await.unwrap().rotation.id;
    app.get(&format!("/v1/keys/{}/receipt", two.id)).send().await.is_problem(404, "key_not_revoked");
    app.client.complete_rotation(&rotation, &CompleteRotation::default()).await.unwrap();
    assert_eq!(receipt(&app, &two).await.state, ReceiptState::Pending);
    let started = app.client.start_rotation(&three.id, &start(false)).await.unwrap();
    let cancel = CancelRotation { successor: SuccessorFate::Revoke, reason: None };
    app.client.cancel_rotation(&started.rotation.id, &cancel).await.unwrap();
    assert_eq!(receipt(&app, &started.key).await.state, ReceiptState::Pending);
    assert_eq!(app.number("SELECT COUNT(*) FROM receipts WHERE committed_by IS NULL").await, 0);
    // A deadline that passes is nobody's revocation: edges enforce it themselves.
    let four = app.issue("4", &[]).await.key;
    app.client.start_rotation(&four.id, &start(false)).await.unwrap();
    app.sql(&format!("UPDATE keys SET deadline = 1 WHERE id = '{}'", four.id)).await;
    let lapsed = app.get(&format!("/v1/keys/{}/receipt", four.id)).send().await;
    assert!(lapsed.is_problem(404, "key_not_revoked")["detail"].as_str().unwrap().contains("deadline"));
    app.stop().await;
}

on_both!(
    /// Reports from the future, of another incarnation, repeated, out of order: none of them moves a receipt.
    c3_what_cannot_be_true_confirms_nothing
);
async fn c3_what_cannot_be_true_confirms_nothing(app: TestApp) {
    let mut edge = FakeEdge::durable(&app, "one").await;
    let before = edge.newest(&app).await;
    let key = published(&app).await;
    let truth = edge.newest(&app).await;
    let applied = truth.applied.clone().unwrap();
    let lies = [
        AppliedState { version: applied.version + 1, ..applied.clone() },
        AppliedState { version: i64::MAX as u64, ..applied.clone() },
        AppliedState { incarnation: applied.incarnation + 1, ..applied.clone() },
        AppliedState { incarnation: u32::MAX, epoch: u32::MAX, version: 0, issued: 0 },
        AppliedState { epoch: applied.epoch + 1, ..applied.clone() },
        AppliedState { issued: applied.issued + 60_000, ..applied.clone() },
    ];
    for (number, lie) in (10..).zip(lies) {
        let report = EdgeReport { applied: Some(lie), sequence: number, ..truth.clone() };
        assert!(edge.client.report(&report).await.unwrap().accepted);
        assert_eq!(receipt(&app, &key).await.state, ReceiptState::Pending, "{report:?}");
        assert!(app.client.edge(&edge.id).await.unwrap().ahead, "{report:?}");
    }
    // The truth, but with a number that has been used; and what was true before.
    assert!(!edge.client.report(&truth).await.unwrap().accepted);
    let late = EdgeReport { sequence: 30, ..before };
    assert!(edge.client.report(&late).await.unwrap().accepted);
    let nothing = EdgeReport { applied: None, sequence: 31, ..truth.clone() };
    assert!(edge.client.report(&nothing).await.unwrap().accepted);
    assert_eq!(receipt(&app, &key).await.state, ReceiptState::Pending);
    edge.sequence = 40;
    edge.follow(&app).await;
    let done = receipt(&app, &key).await;
    assert_eq!(done.state, ReceiptState::Confirmed);
    // An older report that arrives afterwards takes nothing back.
    assert!(!edge.client.report(&late).await.unwrap().accepted);
    assert_eq!(receipt(&app, &key).await, done);
    app.stop().await;
}

on_both!(who_forgets_is_not_counted);
async fn who_forgets_is_not_counted(app: TestApp) {
    let mut worker = FakeEdge::enrol(&app, "worker", EdgeClass::Ephemeral).await;
    let token = app.edge_token().await;
    let key = published(&app).await;
    worker.follow(&app).await;
    let report = worker.newest(&app).await;
    assert_eq!(app.post("/v1/edges/reports", json!(report)).token(&token).send().await.status, 200);
    let pending = receipt(&app, &key).await;
    assert_eq!((pending.state, pending.counted, pending.uncounted), (ReceiptState::Pending, 0, 2));
    assert_eq!(pending.edges, []);
    app.stop().await;
}

on_both!(bad_clocks_are_named_and_prove_nothing);
async fn bad_clocks_are_named_and_prove_nothing(app: TestApp) {
    let (mut slow, mut refusing) = (FakeEdge::durable(&app, "slow").await, FakeEdge::durable(&app, "refusing").await);
    let key = published(&app).await;
    let report = slow.newest(&app).await;
    let behind = report.sent_at.map(|at| at - 60_000);
    slow.client.report(&EdgeReport { sent_at: behind, ..report }).await.unwrap();
    let report = refusing.newest(&app).await;
    refusing.client.report(&EdgeReport { clock_refused: true, ..report }).await.unwrap();
    let pending = receipt(&app, &key).await;
    assert_eq!((pending.state, pending.counted, pending.proven), (ReceiptState::Pending, 2, 0));
    assert!(pending.edges.iter().all(|edge| edge.clock == EdgeClock::Bad && edge.state == EdgeProof::Confirmed));
    let shown = app.client.edge(&slow.id).await.unwrap();
    assert!(shown.clock_offset_ms.is_some_and(|offset| offset < -50_000), "{shown:?}");
    // Clocks are judged by the last report.
    slow.follow(&app).await;
    refusing.follow(&app).await;
    assert_eq!(receipt(&app, &key).await.state, ReceiptState::Confirmed);
    app.stop().await;
}

on_both!(two_processes_with_one_credential_both_have_to_confirm);
async fn two_processes_with_one_credential_both_have_to_confirm(app: TestApp) {
    let mut edge = FakeEdge::durable(&app, "one").await;
    edge.follow(&app).await;
    let first = edge.newest(&app).await;
    let key = published(&app).await;
    // A copy starts, confirms, and the first one speaks again: it is no restart.
    (edge.instance, edge.sequence) = ("two".into(), 0);
    edge.follow(&app).await;
    edge.client.report(&first).await.unwrap();
    assert_eq!(receipt(&app, &key).await.state, ReceiptState::Pending);
    (edge.instance, edge.sequence) = ("one".into(), first.sequence);
    edge.follow(&app).await;
    assert_eq!(receipt(&app, &key).await.state, ReceiptState::Confirmed);
    app.stop().await;
}

on_both!(a_removed_edge_is_named_and_confirms_nothing);
async fn a_removed_edge_is_named_and_confirms_nothing(app: TestApp) {
    let (mut one, two) = (FakeEdge::durable(&app, "one").await, FakeEdge::durable(&app, "two").await);
    let key = published(&app).await;
    one.follow(&app).await;
    assert_eq!(receipt(&app, &key).await.state, ReceiptState::Pending);
    app.client.remove_edge(&two.id).await.unwrap();
    // Its credential has ended; what it holds, it may serve for a bound.
    let open = receipt(&app, &key).await;
    assert_eq!((open.state, open.counted, open.proven), (ReceiptState::Pending, 1, 1));
    assert!(open.edges.iter().any(|edge| edge.id == two.id && edge.state == EdgeProof::Removed));
    app.sql(&format!("UPDATE edges SET removed_at = removed_at - 600000 WHERE id = '{}'", two.id)).await;
    let done = receipt(&app, &key).await;
    assert_eq!((done.state, done.counted, done.edges.len()), (ReceiptState::Confirmed, 1, 1));
    app.stop().await;
}

on_both!(an_edge_that_confirmed_and_was_removed_holds_nothing_up);
async fn an_edge_that_confirmed_and_was_removed_holds_nothing_up(app: TestApp) {
    let (mut one, mut two) = (FakeEdge::durable(&app, "one").await, FakeEdge::durable(&app, "two").await);
    let key = published(&app).await;
    two.follow(&app).await;
    app.client.remove_edge(&two.id).await.unwrap();
    assert_eq!(receipt(&app, &key).await.state, ReceiptState::Pending, "one has said nothing");
    one.follow(&app).await;
    let done = receipt(&app, &key).await;
    assert_eq!((done.state, done.counted, done.proven), (ReceiptState::Confirmed, 1, 1));
    app.stop().await;
}

on_both!(routes_with_rules_of_their_own_are_listed);
async fn routes_with_rules_of_their_own_are_listed(app: TestApp) {
    let stream = RouteRule { max_connection_age: Some(60), ..RouteRule::new("GET", "/events") };
    let open = RouteRule { open: true, ..RouteRule::new("GET", "/status") };
    let document = RouteDocument { routes: vec![stream, open], ..RouteDocument::default() };
    app.client.put_routes(None, "\"0\"", &document).await.unwrap();
    // Replaced by now, and so lately that an edge may still go by it.
    app.client.put_routes(None, "\"1\"", &RouteDocument::default()).await.unwrap();
    let key = published(&app).await;
    let receipt = receipt(&app, &key).await;
    let routes = &receipt.connection_routes;
    assert_eq!((routes.len(), routes[0].pattern.as_str(), routes[0].max_connection_age), (1, "/events", 60));
    // Open routes are only open where heads say until when.
    let head = app.get(&format!("/v1/sets/{}/head", app.set.id)).send().await.text;
    assert_eq!(receipt.open_routes.is_empty(), head.contains("\nopen-until -\n"));
    app.stop().await;
}

on_both!(a_revocation_from_before_there_were_receipts_has_one);
async fn a_revocation_from_before_there_were_receipts_has_one(app: TestApp) {
    let key = published(&app).await;
    app.sql("DELETE FROM receipts").await;
    assert_eq!(receipt(&app, &key).await.state, ReceiptState::Pending, "it may have been committed just now");
    app.sql(&format!("UPDATE keys SET revoked_at = revoked_at - 4000000 WHERE id = '{}'", key.id)).await;
    let done = receipt(&app, &key).await;
    assert_eq!(done.state, ReceiptState::BoundElapsed);
    assert_eq!(receipt(&app, &key).await.note, done.note, "kept");
    app.stop().await;
}

on_both!(receipts_of_one_workspace_are_nothing_to_another);
async fn receipts_of_one_workspace_are_nothing_to_another(app: TestApp) {
    let key = published(&app).await;
    let foreign = crate::tenants::foreign(&app).await;
    let path = format!("/v1/keys/{}/receipt", key.id);
    app.get(&path).token(&foreign.token).send().await.is_problem(404, "not_found");
    app.get(&format!("{path}?set={}", foreign.set)).send().await.is_problem(404, "not_found");
    app.call(Method::HEAD, &path).token(&foreign.token).send().await;
    app.stop().await;
}
