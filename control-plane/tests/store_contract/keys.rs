//! Issue, read, change, revoke.

use std::collections::BTreeMap;

use nightlatch::domain::{Cause, Issue, KeyPatch, KeyRef, Labels, Name, Owner, Reason, Refusal, Scopes, State, Tier};
use nightlatch::store::keys::Changed;
use nightlatch::store::{Error, keys};
use nightlatch_key::Digest;

use crate::arena::{Arena, BOUND_MS, on_both, refusal, request};

on_both! {
    an_issued_key_is_there_with_its_change_and_its_audit_entry,
    s0_06_any_number_of_keys_at_once,
    s0_15_a_secret_is_in_no_table,
    a_taken_id_is_drawn_again,
    a_refused_issue_changes_nothing,
    a_key_is_found_by_id_number_and_digest_and_only_at_home,
    a_patch_changes_what_it_names,
    a_patch_of_a_changed_key_is_stale,
    s1_17_an_expiry_can_be_changed_while_it_can_reach_every_edge,
    a_disabled_key_comes_back_only_when_enabled,
    s2_17_a_revoked_key_stays_revoked,
    an_expired_key_is_final_without_any_job,
    edges_hear_of_what_concerns_them_and_of_nothing_else,
}

async fn an_issued_key_is_there_with_its_change_and_its_audit_entry(arena: Arena) {
    let issued = arena
        .issue(Issue {
            tier: Some(Tier::new("gold").unwrap()),
            owner: Some(Owner::new("ada").unwrap()),
            labels: Labels::new(BTreeMap::from([("team".to_owned(), "billing, \"east\"".to_owned())])).unwrap(),
            ..request("billing")
        })
        .await
        .unwrap();
    let view = arena.get(&issued.key.id).await;
    assert_eq!(view.key, issued.key);
    assert_eq!(view.key.number, 1);
    assert_eq!(view.key.state(view.now), State::Active);
    assert_eq!(view.key.lineage, view.key.id);
    assert_eq!(issued.bound.ms(), BOUND_MS);
    assert_eq!(issued.secret.parts().prefix(), view.key.prefix);
    assert_eq!(issued.secret.digest(), view.key.digest);
    let changes = "SELECT COUNT(*) FROM changes WHERE version IS NULL AND is_new = 1 AND status = 0 AND key_number = 1 \
                   AND scopes = 'invoices:read invoices:write' AND tier = 'gold' AND subject = 1";
    assert_eq!(arena.number(changes).await, 1);
    assert_eq!(arena.actions().await, ["key.issued"]);
}

async fn s0_06_any_number_of_keys_at_once(arena: Arena) {
    let mut issues = Vec::new();
    for number in 0..200 {
        let (store, context) = (arena.store.clone(), arena.context.clone());
        issues.push(tokio::spawn(async move {
            let request = request(&format!("key {number}"));
            store
                .write(|tx| {
                    Box::pin(async move { keys::issue(tx, &context, request, &mut nightlatch::store::os_random).await })
                })
                .await
        }));
    }
    let mut numbers = Vec::new();
    for issue in issues {
        numbers.push(issue.await.unwrap().unwrap().key.number);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    assert_eq!(arena.number("SELECT COUNT(*) FROM changes").await, 200);
    assert_eq!(arena.number("SELECT COUNT(*) FROM audit").await, 200);
}

async fn s0_15_a_secret_is_in_no_table(arena: Arena) {
    let issued = arena.issue(request("billing")).await.unwrap();
    let secret = &issued.secret.expose()[issued.key.prefix.len()..];
    arena.rotate(&issued.key.id, crate::arena::overlap(3600)).await.unwrap();
    let dump = match arena.directory() {
        Some(directory) => {
            let mut bytes = Vec::new();
            for file in std::fs::read_dir(directory).unwrap() {
                bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
            }
            bytes
        }
        None => {
            let mut bytes = Vec::new();
            for table in ["keys", "changes", "audit", "rotations", "key_scopes"] {
                use sqlx::Connection as _;
                let mut conn = sqlx::PgConnection::connect(&arena.url).await.unwrap();
                let sql = sqlx::AssertSqlSafe(format!("SELECT string_agg(t::text, '|') FROM {table} t"));
                let text: String = sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap();
                bytes.extend(text.into_bytes());
            }
            bytes
        }
    };
    let holds = |part: &str| dump.windows(part.len()).any(|window| window == part.as_bytes());
    assert!(holds(&issued.key.prefix), "the search finds what is there");
    assert!(!holds(secret));
}

async fn a_taken_id_is_drawn_again(arena: Arena) {
    let draw = |seed: u8| {
        let mut calls = 0_u8;
        move |buffer: &mut [u8]| {
            // The first text is the same for every seed, within one second.
            let base = if calls == 0 { 0 } else { seed.wrapping_add(calls) };
            buffer.iter_mut().enumerate().for_each(|(at, byte)| *byte = base.wrapping_add(at as u8) % 200);
            calls += 1;
        }
    };
    let mut taken = 0;
    // Two issues in one second are needed; a second may end between them, but not every time.
    for round in 0..20 {
        let mut ids = Vec::new();
        for seed in [50, 90] {
            let mut random = draw(seed + round);
            let issued = arena
                .write(move |tx, context| {
                    Box::pin(async move {
                        let issued = keys::issue(tx, &context, request("twin"), &mut random).await;
                        if let Err(error) = &issued {
                            // The digest of the same text is taken too; only the id conflict is drawn again.
                            panic!("{error:?}");
                        }
                        issued
                    })
                })
                .await;
            ids.push(issued.unwrap().key.id);
        }
        if ids[0].tail()[..6] == ids[1].tail()[..6] {
            assert_ne!(ids[0], ids[1]);
            taken += 1;
        }
        if taken > 0 {
            return;
        }
    }
    panic!("no two keys were issued within one second");
}

async fn a_refused_issue_changes_nothing(arena: Arena) {
    let past = arena.second().await - 1;
    let result = arena.issue(Issue { expires_at: Some(past), ..request("late") }).await;
    assert_eq!(refusal(result), "expiry_in_past");
    let result = arena.issue(Issue { subject: Some(7), ..request("nobody's") }).await;
    assert_eq!(refusal(result), "principal_unknown");
    for table in ["keys", "changes", "audit", "scopes"] {
        assert_eq!(arena.number(format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
    }
    assert_eq!(arena.issue(request("first")).await.unwrap().key.number, 1);
}

async fn a_key_is_found_by_id_number_and_digest_and_only_at_home(arena: Arena) {
    let issued = arena.issue(request("billing")).await.unwrap();
    let mut read = arena.read().await;
    let by_number = keys::get(&mut read, &arena.workspace, &KeyRef::Number(1)).await.unwrap();
    assert_eq!(by_number.key, issued.key);
    let digest = Digest::of(issued.secret.expose().as_bytes());
    let by_digest = keys::by_digest(&mut read, &arena.workspace, &digest).await.unwrap().unwrap();
    assert_eq!(by_digest.key, issued.key);
    assert!(keys::by_digest(&mut read, &arena.workspace, &Digest::of(b"other")).await.unwrap().is_none());

    let stranger = nightlatch::domain::WorkspaceId::generate([7; 10]);
    for key in [KeyRef::Id(issued.key.id.clone()), KeyRef::Number(1)] {
        assert!(matches!(keys::get(&mut read, &stranger, &key).await, Err(Error::NotFound("key"))));
    }
    assert!(keys::by_digest(&mut read, &stranger, &digest).await.unwrap().is_none());
    drop(read);
    let mut context = arena.context.clone();
    context.workspace = stranger;
    let revoked = arena
        .store
        .write(move |tx| Box::pin(async move { keys::revoke(tx, &context, &KeyRef::Number(1), None).await }))
        .await;
    assert!(matches!(revoked, Err(Error::NotFound("key"))));
}

async fn patch(arena: &Arena, key: &KeyRef, revision: Option<i64>, patch: KeyPatch) -> Result<Changed, Error> {
    let key = key.clone();
    arena
        .write(move |tx, context| Box::pin(async move { keys::patch(tx, &context, &key, revision, patch).await }))
        .await
}

async fn a_patch_changes_what_it_names(arena: Arena) {
    let issued = arena.issue(request("billing")).await.unwrap();
    let key = KeyRef::Id(issued.key.id.clone());
    let labels = Labels::new(BTreeMap::from([("a".to_owned(), "b".to_owned())])).unwrap();
    let changes = KeyPatch {
        name: Some(Name::new("billing, Berlin").unwrap()),
        labels: Some(labels.clone()),
        owner: Some(Some(Owner::new("grace").unwrap())),
        tier: Some(Some(Tier::new("silver").unwrap())),
        rotate_by: Some(Some(arena.second().await + 90)),
        ..KeyPatch::default()
    };
    let changed = patch(&arena, &key, Some(1), changes).await.unwrap();
    assert!(changed.changed);
    assert_eq!(changed.key, arena.get(&issued.key.id).await.key);
    assert_eq!(changed.key.name, "billing, Berlin");
    assert_eq!(changed.key.labels, labels);
    assert_eq!(changed.key.owner.as_deref(), Some("grace"));
    assert_eq!(changed.key.revision, 2);
    let mut read = arena.read().await;
    let tiers = nightlatch::store::catalogue::tiers(&mut read, &arena.workspace).await.unwrap();
    assert_eq!(tiers.iter().map(|tier| tier.name.as_str()).collect::<Vec<_>>(), ["silver"]);
    drop(read);

    let cleared = KeyPatch { owner: Some(None), tier: Some(None), ..KeyPatch::default() };
    let changed = patch(&arena, &key, None, cleared).await.unwrap();
    assert_eq!((changed.key.owner, changed.key.tier), (None, None));
    // What is already so is no change.
    let same = patch(&arena, &key, None, KeyPatch { owner: Some(None), ..KeyPatch::default() }).await.unwrap();
    assert!(!same.changed);
    assert_eq!(same.key.revision, 3);
    assert_eq!(arena.actions().await, ["key.issued", "key.updated", "key.updated"]);
}

async fn a_patch_of_a_changed_key_is_stale(arena: Arena) {
    let issued = arena.issue(request("billing")).await.unwrap();
    let key = KeyRef::Id(issued.key.id.clone());
    let rename = |name: &str| KeyPatch { name: Some(Name::new(name).unwrap()), ..KeyPatch::default() };
    let (one, two) =
        tokio::join!(patch(&arena, &key, Some(1), rename("one")), patch(&arena, &key, Some(1), rename("two")));
    let stale = |result: &Result<Changed, Error>| matches!(result, Err(Error::Stale(2)));
    assert_eq!([stale(&one), stale(&two)].iter().filter(|stale| **stale).count(), 1);
    assert_eq!(arena.actions().await, ["key.issued", "key.updated"]);
}

async fn s1_17_an_expiry_can_be_changed_while_it_can_reach_every_edge(arena: Arena) {
    let issued = arena.issue(request("billing")).await.unwrap();
    let key = KeyRef::Id(issued.key.id.clone());
    let expire = |at: Option<i64>| KeyPatch { expires_at: Some(at), ..KeyPatch::default() };
    let now = arena.second().await;
    let changed = patch(&arena, &key, None, expire(Some(now + 7 * 86_400))).await.unwrap();
    assert_eq!(changed.key.expires_at, Some(now + 7 * 86_400));
    patch(&arena, &key, None, expire(Some(now + 14 * 86_400))).await.unwrap();
    let near = patch(&arena, &key, None, expire(Some(now + 30))).await.unwrap();
    assert_eq!(near.warnings.iter().map(|warning| warning.code()).collect::<Vec<_>>(), ["expiry_below_bound"]);
    assert_eq!(refusal(patch(&arena, &key, None, expire(Some(now + 3600))).await), "too_late");
    assert_eq!(refusal(patch(&arena, &key, None, expire(None)).await), "too_late");
    assert_eq!(refusal(patch(&arena, &key, None, expire(Some(now - 1))).await), "expiry_in_past");
}

async fn a_disabled_key_comes_back_only_when_enabled(arena: Arena) {
    let issued = arena.issue(request("billing")).await.unwrap();
    let key = KeyRef::Id(issued.key.id.clone());
    for (repeat, changes) in [(0, true), (1, false)] {
        let key = key.clone();
        let changed = arena
            .write(move |tx, context| {
                Box::pin(async move {
                    let reason = Reason::new("under review").unwrap();
                    keys::disable(tx, &context, &key, Some(reason)).await
                })
            })
            .await
            .unwrap();
        assert_eq!(changed.changed, changes, "{repeat}");
        assert_eq!(changed.key.state(changed.now), State::Disabled);
        assert_eq!(changed.key.disabled_by.iter().collect::<Vec<_>>(), [Cause::Admin]);
    }
    let enabled =
        arena.write(move |tx, context| Box::pin(async move { keys::enable(tx, &context, &key, None).await })).await;
    let enabled = enabled.unwrap();
    assert_eq!(enabled.key.state(enabled.now), State::Active);
    assert_eq!(arena.actions().await, ["key.issued", "key.disabled", "key.enabled"]);
    assert_eq!(arena.number("SELECT COUNT(*) FROM changes").await, 3);
}

async fn s2_17_a_revoked_key_stays_revoked(arena: Arena) {
    let issued = arena.issue(request("billing")).await.unwrap();
    let first = arena.revoke(&issued.key.id).await;
    assert!(first.changed);
    let again = arena.revoke(&issued.key.id).await;
    assert!(!again.changed);
    assert_eq!(again.key, first.key, "repeating a revoke changes nothing");
    assert_eq!(again.key.revoke_reason(), Some("leaked"));
    assert_eq!(arena.number("SELECT COUNT(*) FROM changes").await, 2);
    assert_eq!(arena.actions().await, ["key.issued", "key.revoked"]);

    let key = KeyRef::Id(issued.key.id.clone());
    let later = KeyPatch { expires_at: Some(Some(arena.second().await + 3600)), ..KeyPatch::default() };
    assert_eq!(refusal(patch(&arena, &key, None, later).await), "key_revoked");
    let enable = key.clone();
    let enabled =
        arena.write(move |tx, context| Box::pin(async move { keys::enable(tx, &context, &enable, None).await })).await;
    assert!(matches!(enabled, Err(Error::Refused(Refusal::KeyRevoked))));
    // S2-16: the record stays, and can still be described.
    let note = KeyPatch { name: Some(Name::new("billing (leaked in May)").unwrap()), ..KeyPatch::default() };
    let described = patch(&arena, &key, None, note).await.unwrap();
    assert_eq!(described.key.state(described.now), State::Revoked);
    assert_eq!(described.key.name, "billing (leaked in May)");
}

async fn an_expired_key_is_final_without_any_job(arena: Arena) {
    let expiry = arena.second().await + 3600;
    let issued = arena.issue(Issue { expires_at: Some(expiry), ..request("billing") }).await.unwrap();
    arena.execute(format!("UPDATE keys SET expires_at = {}", arena.second().await)).await;
    let view = arena.get(&issued.key.id).await;
    assert_eq!(view.key.state(view.now), State::Expired);
    let key = KeyRef::Id(issued.key.id.clone());
    let later = KeyPatch { expires_at: Some(Some(expiry)), ..KeyPatch::default() };
    assert_eq!(refusal(patch(&arena, &key, None, later).await), "key_expired");
    assert_eq!(refusal(arena.rotate(&issued.key.id, crate::arena::overlap(3600)).await), "key_expired");
    // It can still be revoked: that is said of it then.
    assert!(arena.revoke(&issued.key.id).await.changed);
}

async fn edges_hear_of_what_concerns_them_and_of_nothing_else(arena: Arena) {
    let issued = arena.issue(Issue { scopes: Scopes::default(), ..request("billing") }).await.unwrap();
    let key = KeyRef::Id(issued.key.id.clone());
    let mut commits = arena.store.commits();
    commits.mark_unchanged();
    patch(&arena, &key, None, KeyPatch { name: Some(Name::new("renamed").unwrap()), ..KeyPatch::default() })
        .await
        .unwrap();
    assert_eq!(arena.number("SELECT COUNT(*) FROM changes").await, 1, "a name stays here");
    assert!(!commits.has_changed().unwrap(), "and wakes nobody");
    let tier = KeyPatch { tier: Some(Some(Tier::new("gold").unwrap())), ..KeyPatch::default() };
    patch(&arena, &key, None, tier).await.unwrap();
    let changes = "SELECT COUNT(*) FROM changes WHERE tier = 'gold' AND is_new = 0 AND version IS NULL";
    assert_eq!(arena.number(changes).await, 1);
    assert!(commits.has_changed().unwrap());
}
