//! Rotations from start to end.

use nightlatch::domain::rotation::{Order, Outcome, Start, SuccessorFate};
use nightlatch::domain::{
    Issue, KeyId, KeyPatch, KeyRef, Name, Owner, Reason, RotationId, Scopes, State, Tier, Warning,
};
use nightlatch::store::rotations::{Changed, RotationFilter, Started};
use nightlatch::store::{Error, PageRequest, keys, rotations};

use crate::arena::{Arena, on_both, overlap, refusal, request, revoke_first};

on_both! {
    s0_03_a_successor_takes_over_and_both_are_valid_meanwhile,
    s2_03_a_successor_of_the_same_name_is_warned_of,
    an_overlap_shorter_than_the_bound_is_refused,
    an_expiry_cuts_the_overlap_short,
    one_open_rotation_per_predecessor,
    two_starts_at_once_make_one_rotation,
    s4_19_an_extended_or_cancelled_rotation_turns_around_in_time,
    a_cancelled_successor_can_be_revoked_with_its_own_rotation,
    s4_08_a_predecessor_in_use_is_completed_only_by_force,
    s1_13_revoke_first_revokes_and_replaces_in_one_step,
    revoke_first_replaces_what_is_gone_already,
    revoking_the_predecessor_completes,
    revoking_the_successor_leaves_the_deadline,
    s1_16_a_passed_deadline_is_final_without_any_job,
    a_disabled_key_is_not_replaced_by_a_usable_one,
    a_dry_run_says_what_would_happen,
    an_earlier_expiry_moves_the_deadline,
    opposite_calls_at_once_leave_one_truth,
}

async fn issue(arena: &Arena, name: &str) -> KeyId {
    arena.issue(request(name)).await.unwrap().key.id
}

async fn extend(arena: &Arena, id: &RotationId, seconds: i64) -> Result<Changed, Error> {
    let id = id.clone();
    arena
        .write(move |tx, context| Box::pin(async move { rotations::extend(tx, &context, &id, seconds, None).await }))
        .await
}

async fn cancel(arena: &Arena, id: &RotationId, fate: SuccessorFate) -> Result<Changed, Error> {
    let id = id.clone();
    arena
        .write(move |tx, context| Box::pin(async move { rotations::cancel(tx, &context, &id, fate, None).await }))
        .await
}

async fn complete(arena: &Arena, id: &RotationId, force: bool, reason: Option<&str>) -> Result<Changed, Error> {
    let (id, reason) = (id.clone(), reason.map(|text| Reason::new(text).unwrap()));
    arena
        .write(move |tx, context| Box::pin(async move { rotations::complete(tx, &context, &id, force, reason).await }))
        .await
}

/// Moves a rotation's deadline to now.
async fn let_deadline_pass(arena: &Arena, started: &Started) {
    let now = arena.second().await;
    arena.execute(format!("UPDATE keys SET deadline = {now} WHERE id = '{}'", started.predecessor.id)).await;
    arena.execute(format!("UPDATE rotations SET deadline = {now} WHERE id = '{}'", started.rotation.id)).await;
}

async fn open(arena: &Arena) -> Vec<RotationId> {
    let filter = RotationFilter { open: Some(true), ..RotationFilter::default() };
    let page = PageRequest { limit: 100, after: None };
    let list = rotations::list(&mut arena.read().await, &arena.workspace, &filter, &page).await.unwrap();
    list.items.into_iter().map(|rotation| rotation.id).collect()
}

async fn s0_03_a_successor_takes_over_and_both_are_valid_meanwhile(arena: Arena) {
    let old = arena
        .issue(Issue {
            tier: Some(Tier::new("gold").unwrap()),
            owner: Some(Owner::new("ada").unwrap()),
            rotate_by: Some(arena.second().await + 1000),
            ..request("billing")
        })
        .await
        .unwrap();
    let started = arena.rotate(&old.key.id, overlap(3600)).await.unwrap();
    let (predecessor, successor) = (arena.get(&old.key.id).await, arena.get(&started.successor.id).await);
    assert_eq!((&predecessor.key, &successor.key), (&started.predecessor, &started.successor));
    assert_eq!(predecessor.key.state(predecessor.now), State::Retiring);
    assert_eq!(successor.key.state(successor.now), State::Active);
    assert_eq!(predecessor.rotation.as_ref(), Some(&started.rotation));
    // S2-02, S0-13: same scopes, same tier; and the same owner, principal and line.
    assert_eq!(successor.key.scopes, old.key.scopes);
    assert_eq!(successor.key.tier, old.key.tier);
    assert_eq!(successor.key.owner, old.key.owner);
    assert_eq!(successor.key.subject, old.key.subject);
    assert_eq!(successor.key.lineage, old.key.id);
    assert_eq!(successor.key.predecessor.as_ref(), Some(&old.key.id));
    assert_eq!(predecessor.key.successor.as_ref(), Some(&successor.key.id));
    assert_eq!(successor.key.name, "billing (v2)");
    let cadence = successor.key.rotate_by.unwrap() - successor.key.created_at / 1000;
    assert!((cadence - 1000).abs() <= 1, "the next rotation is due after as long again");
    assert!(started.warnings.is_empty());
    let overlap_left = started.rotation.deadline.unwrap() * 1000 - started.now;
    assert!((3_600_000..3_601_000).contains(&overlap_left));
    assert_eq!(arena.actions().await, ["key.issued", "key.issued", "rotation.started"]);
    assert_eq!(arena.number("SELECT COUNT(*) FROM changes WHERE status = 1 AND deadline IS NOT NULL").await, 1);
    assert_eq!(open(&arena).await, [started.rotation.id]);
}

async fn s2_03_a_successor_of_the_same_name_is_warned_of(arena: Arena) {
    let key = issue(&arena, "billing").await;
    let start = Start {
        name: Some(Name::new("billing").unwrap()),
        scopes: Some(Scopes::new(["invoices:read"]).unwrap()),
        ..overlap(3600)
    };
    let started = arena.rotate(&key, start).await.unwrap();
    let codes: Vec<_> = started.warnings.iter().map(Warning::code).collect();
    assert_eq!(codes, ["same_name", "scopes_lost"]);
    assert_eq!(started.successor.scopes.to_stored(), "invoices:read");
}

async fn an_overlap_shorter_than_the_bound_is_refused(arena: Arena) {
    let key = issue(&arena, "billing").await;
    assert_eq!(refusal(arena.rotate(&key, overlap(64)).await), "overlap_below_bound");
    assert_eq!(refusal(arena.rotate(&key, overlap(i64::MAX)).await), "value_invalid");
    assert_eq!(arena.actions().await, ["key.issued"]);
    arena.rotate(&key, overlap(65)).await.unwrap();
}

async fn an_expiry_cuts_the_overlap_short(arena: Arena) {
    let expiry = arena.second().await + 30;
    let key = arena.issue(Issue { expires_at: Some(expiry), ..request("billing") }).await.unwrap().key.id;
    let started = arena.rotate(&key, overlap(3600)).await.unwrap();
    assert_eq!(started.rotation.deadline, Some(expiry));
    assert_eq!(started.warnings, [Warning::OverlapBelowBound, Warning::ExpiryNotInherited]);
    assert_eq!(started.successor.expires_at, None);
    // The expiry is too near to be moved: an edge that has not heard of it would refuse the key.
    assert_eq!(refusal(extend(&arena, &started.rotation.id, 7200).await), "too_late");
    assert_eq!(refusal(cancel(&arena, &started.rotation.id, SuccessorFate::Keep).await), "too_late");
}

async fn one_open_rotation_per_predecessor(arena: Arena) {
    let key = issue(&arena, "billing").await;
    let started = arena.rotate(&key, overlap(3600)).await.unwrap();
    assert_eq!(refusal(arena.rotate(&key, overlap(3600)).await), "rotation_open");
    // The successor's own rotation is another matter.
    arena.rotate(&started.successor.id, overlap(3600)).await.unwrap();
    complete(&arena, &started.rotation.id, false, None).await.unwrap();
    assert_eq!(refusal(arena.rotate(&key, overlap(3600)).await), "key_revoked");
}

async fn two_starts_at_once_make_one_rotation(arena: Arena) {
    let key = issue(&arena, "billing").await;
    let starts = (0..8).map(|_| arena.rotate(&key, overlap(3600)));
    let results = futures::future::join_all(starts).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(arena.number("SELECT COUNT(*) FROM keys WHERE workspace_id <> 'ws_management'").await, 2);
    assert_eq!(arena.number("SELECT COUNT(*) FROM rotations").await, 1);
}

async fn s4_19_an_extended_or_cancelled_rotation_turns_around_in_time(arena: Arena) {
    let key = issue(&arena, "billing").await;
    let started = arena.rotate(&key, overlap(3600)).await.unwrap();
    let extended = extend(&arena, &started.rotation.id, 7200).await.unwrap();
    assert!(extended.rotation.deadline > started.rotation.deadline);
    assert_eq!(extended.predecessor.deadline(), extended.rotation.deadline);
    assert_eq!(refusal(extend(&arena, &started.rotation.id, 3600).await), "deadline_not_later");

    let cancelled = cancel(&arena, &started.rotation.id, SuccessorFate::Keep).await.unwrap();
    assert_eq!(cancelled.predecessor.state(cancelled.now), State::Active);
    assert_eq!(cancelled.successor.state(cancelled.now), State::Active);
    assert_eq!(cancelled.rotation.end.unwrap().outcome, Outcome::SuccessorKept);
    assert_eq!(refusal(cancel(&arena, &started.rotation.id, SuccessorFate::Keep).await), "rotation_closed");
    assert_eq!(refusal(complete(&arena, &started.rotation.id, false, None).await), "rotation_closed");
    let actions = arena.actions().await;
    assert_eq!(actions[3..], ["rotation.extended", "rotation.cancelled"]);
    // And it can be rotated again.
    arena.rotate(&key, overlap(3600)).await.unwrap();
}

async fn a_cancelled_successor_can_be_revoked_with_its_own_rotation(arena: Arena) {
    let key = issue(&arena, "billing").await;
    let first = arena.rotate(&key, overlap(3600)).await.unwrap();
    let second = arena.rotate(&first.successor.id, overlap(3600)).await.unwrap();
    let cancelled = cancel(&arena, &first.rotation.id, SuccessorFate::Revoke).await.unwrap();
    assert_eq!(cancelled.successor.state(cancelled.now), State::Revoked);
    let own = rotations::get(&mut arena.read().await, &arena.workspace, &second.rotation.id).await.unwrap();
    assert_eq!(own.end.unwrap().outcome, Outcome::PredecessorRevoked);
    assert!(open(&arena).await.is_empty());
    let last = arena.get(&second.successor.id).await;
    assert_eq!(last.key.state(last.now), State::Active);
}

async fn s4_08_a_predecessor_in_use_is_completed_only_by_force(arena: Arena) {
    let key = issue(&arena, "billing").await;
    let started = arena.rotate(&key, overlap(3600)).await.unwrap();
    let seen = arena.store.now().await.unwrap() - 60_000;
    arena.execute(format!("UPDATE keys SET last_used_at = {seen} WHERE id = '{key}'")).await;
    let id = started.rotation.id;
    let refused = complete(&arena, &id, false, None).await;
    assert!(matches!(
        refused,
        Err(Error::Refused(nightlatch::domain::Refusal::PredecessorInUse { last_used_at })) if last_used_at == seen
    ));
    assert_eq!(refusal(complete(&arena, &id, true, None).await), "reason_required");
    let done = complete(&arena, &id, true, Some("the caller is gone")).await.unwrap();
    assert_eq!(done.predecessor.state(done.now), State::Revoked);
    assert_eq!(done.predecessor.revoke_reason(), Some("the caller is gone"));
    assert_eq!(done.rotation.end.unwrap().outcome, Outcome::Forced);
    let again = complete(&arena, &id, false, None).await.unwrap();
    assert!(!again.changed);
    assert_eq!(arena.actions().await[3..], ["rotation.completed", "key.revoked"]);

    // One that was not seen for two minutes goes without force.
    let key = issue(&arena, "reports").await;
    let started = arena.rotate(&key, overlap(3600)).await.unwrap();
    let seen = arena.store.now().await.unwrap() - 121_000;
    arena.execute(format!("UPDATE keys SET last_used_at = {seen} WHERE id = '{key}'")).await;
    let done = complete(&arena, &started.rotation.id, false, None).await.unwrap();
    assert_eq!(done.rotation.end.unwrap().outcome, Outcome::Completed);
}

async fn s1_13_revoke_first_revokes_and_replaces_in_one_step(arena: Arena) {
    let key = issue(&arena, "billing").await;
    // Even in the middle of an ordinary rotation.
    let ordinary = arena.rotate(&key, overlap(3600)).await.unwrap();
    let started = arena.rotate(&key, revoke_first()).await.unwrap();
    assert_eq!(started.predecessor.state(started.now), State::Revoked);
    assert_eq!(started.rotation.deadline, None);
    assert_eq!(started.rotation.order, Order::RevokeFirst);
    let replaced = rotations::get(&mut arena.read().await, &arena.workspace, &ordinary.rotation.id).await.unwrap();
    assert_eq!(replaced.end.unwrap().outcome, Outcome::PredecessorRevoked);
    assert!(open(&arena).await.is_empty());
    assert_eq!(arena.actions().await[3..], ["key.issued", "rotation.started", "key.revoked", "rotation.completed"]);
}

async fn revoke_first_replaces_what_is_gone_already(arena: Arena) {
    let revoked = issue(&arena, "revoked").await;
    let before = arena.revoke(&revoked).await;
    let started = arena.rotate(&revoked, revoke_first()).await.unwrap();
    assert_eq!(started.predecessor.revoked_at(started.now), before.key.revoked_at(before.now), "once is enough");

    let expired = issue(&arena, "expired").await;
    let now = arena.second().await;
    arena.execute(format!("UPDATE keys SET expires_at = {now} WHERE id = '{expired}'")).await;
    arena.rotate(&expired, revoke_first()).await.unwrap();

    // Its deadline passed and nobody recorded it.
    let lapsed = issue(&arena, "lapsed").await;
    let ordinary = arena.rotate(&lapsed, overlap(3600)).await.unwrap();
    let_deadline_pass(&arena, &ordinary).await;
    arena.rotate(&lapsed, revoke_first()).await.unwrap();
    let ended = rotations::get(&mut arena.read().await, &arena.workspace, &ordinary.rotation.id).await.unwrap();
    assert_eq!(ended.end.unwrap().outcome, Outcome::Lapsed);
}

async fn revoking_the_predecessor_completes(arena: Arena) {
    let key = issue(&arena, "billing").await;
    let started = arena.rotate(&key, overlap(3600)).await.unwrap();
    let revoked = arena.revoke(&key).await;
    let rotation = revoked.rotation.unwrap();
    assert_eq!(rotation.id, started.rotation.id);
    assert_eq!(rotation.end.unwrap().outcome, Outcome::PredecessorRevoked);
    // S0-07: the other key does not notice.
    let successor = arena.get(&started.successor.id).await;
    assert_eq!(successor.key.state(successor.now), State::Active);
}

async fn revoking_the_successor_leaves_the_deadline(arena: Arena) {
    let key = issue(&arena, "billing").await;
    let started = arena.rotate(&key, overlap(3600)).await.unwrap();
    let revoked = arena.revoke(&started.successor.id).await;
    assert_eq!(revoked.warnings, [Warning::NoSuccessor]);
    let predecessor = arena.get(&key).await;
    assert_eq!(predecessor.key.deadline(), started.rotation.deadline);
    assert_eq!(predecessor.rotation.unwrap().id, started.rotation.id);
}

async fn s1_16_a_passed_deadline_is_final_without_any_job(arena: Arena) {
    let key = issue(&arena, "billing").await;
    let started = arena.rotate(&key, overlap(3600)).await.unwrap();
    let_deadline_pass(&arena, &started).await;
    let id = &started.rotation.id;
    let view = arena.get(&key).await;
    assert_eq!(view.key.state(view.now), State::Revoked);
    assert!(view.rotation.is_none());
    assert!(open(&arena).await.is_empty());
    for settled in [false, true] {
        let shown = rotations::get(&mut arena.read().await, &arena.workspace, id).await.unwrap();
        assert_eq!(shown.end.unwrap().outcome, Outcome::Lapsed, "{settled}");
        assert_eq!(refusal(extend(&arena, id, 7200).await), "too_late");
        assert_eq!(refusal(cancel(&arena, id, SuccessorFate::Keep).await), "too_late");
        assert!(!complete(&arena, id, false, None).await.unwrap().changed);
        assert!(!arena.revoke(&key).await.changed);
        assert_eq!(refusal(arena.rotate(&key, overlap(3600)).await), "key_revoked");
        let closed = arena.write(|tx, _| Box::pin(async move { rotations::settle_lapsed(tx, 10).await })).await;
        assert_eq!(closed.unwrap(), u64::from(!settled));
    }
    assert_eq!(arena.actions().await[3..], ["rotation.completed"]);
}

async fn a_disabled_key_is_not_replaced_by_a_usable_one(arena: Arena) {
    let key = issue(&arena, "billing").await;
    let disable = KeyRef::Id(key.clone());
    arena
        .write(move |tx, context| Box::pin(async move { keys::disable(tx, &context, &disable, None).await }))
        .await
        .unwrap();
    assert_eq!(refusal(arena.rotate(&key, overlap(3600)).await), "key_disabled");
    arena.rotate(&key, revoke_first()).await.unwrap();
}

async fn a_dry_run_says_what_would_happen(arena: Arena) {
    let key = issue(&arena, "billing").await;
    let start = overlap(3600);
    let reference = KeyRef::Id(key.clone());
    let plan = rotations::plan(&mut arena.read().await, &arena.context, &reference, &start).await.unwrap();
    assert_eq!(arena.actions().await, ["key.issued"]);
    let started = arena.rotate(&key, start).await.unwrap();
    assert_eq!(plan.name, started.successor.name);
    assert_eq!(plan.scopes, started.successor.scopes);
    assert!(started.rotation.deadline.unwrap() - plan.deadline.unwrap() <= 10);
}

async fn an_earlier_expiry_moves_the_deadline(arena: Arena) {
    let key = issue(&arena, "billing").await;
    let started = arena.rotate(&key, overlap(3600)).await.unwrap();
    let expiry = arena.second().await + 600;
    let patch = KeyPatch { expires_at: Some(Some(expiry)), ..KeyPatch::default() };
    let reference = KeyRef::Id(key.clone());
    arena
        .write(move |tx, context| Box::pin(async move { keys::patch(tx, &context, &reference, None, patch).await }))
        .await
        .unwrap();
    let view = arena.get(&key).await;
    assert_eq!(view.key.deadline(), Some(expiry));
    assert_eq!(view.rotation.unwrap().deadline, Some(expiry));
    assert!(started.rotation.deadline > Some(expiry));
}

async fn opposite_calls_at_once_leave_one_truth(arena: Arena) {
    for round in 0..12 {
        let key = issue(&arena, &format!("k{round}")).await;
        let started = arena.rotate(&key, overlap(3600)).await.unwrap();
        let id = &started.rotation.id;
        let (_, cancelled, extended, completed) = tokio::join!(
            arena.revoke(&key),
            cancel(&arena, id, SuccessorFate::Revoke),
            extend(&arena, id, 7200),
            complete(&arena, id, false, None),
        );
        // Whatever came first, each call that was accepted was possible in its turn, and the end is consistent.
        let view = arena.get(&key).await;
        assert_eq!(view.key.state(view.now), State::Revoked);
        assert!(view.rotation.is_none());
        let rotation = rotations::get(&mut arena.read().await, &arena.workspace, id).await.unwrap();
        let outcome = rotation.end.unwrap().outcome;
        assert_eq!(outcome.is_cancelled(), cancelled.is_ok());
        if outcome == Outcome::Completed {
            assert!(completed.is_ok_and(|completed| completed.changed));
        }
        for result in [extended.map(drop), cancelled.map(drop)] {
            assert!(matches!(result, Ok(()) | Err(Error::Refused(_))), "{result:?}");
        }
    }
}
