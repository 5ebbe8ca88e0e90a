//! What edges report.

use nightlatch::domain::{EdgeClass, EdgeId, KeyRef, SetId, TokenId};
use nightlatch::store::edges::{self, Applied, Enrolment, Facts, NewEdge, Report};
use nightlatch::store::tokens::{self, NewToken, Token, TokenKind};
use nightlatch::store::{Error, receipts};
use nightlatch_key::Digest;

use crate::arena::{Arena, on_both, request};

on_both! {
    s1_07_a_sighting_moves_last_used_forward_only,
    a_repeated_report_is_taken_once,
    s2_08_a_revoked_key_is_no_longer_seen,
    a_report_about_another_set_is_refused,
    reports_at_once_do_not_wait_for_each_other_in_a_circle,
    silent_instances_are_forgotten,
    the_last_word_of_an_edge_is_kept,
    what_nobody_noted_of_a_revocation_is_noted_later,
    instances_without_a_trust_note_are_counted_while_they_run,
    receipts_noted_at_once_do_not_wait_for_each_other_in_a_circle,
}

async fn edge(arena: &Arena) -> Token {
    let token = NewToken {
        id: TokenId::generate([1; 10]),
        kind: TokenKind::Edge,
        set: Some(arena.set.clone()),
        name: "edge".to_owned(),
        digest: Digest::of(b"edge"),
        prefix: "nle_live_0000000000".to_owned(),
        scopes: Vec::new(),
        expires_at: None,
    };
    arena.write(move |tx, context| Box::pin(async move { tokens::create(tx, &context, &token).await })).await.unwrap()
}

fn report(arena: &Arena, sequence: i64, seen: Vec<(KeyRef, i64)>) -> Report {
    Report {
        set: arena.set.clone(),
        instance: "isolate-1".to_owned(),
        sequence,
        runtime: "cloudflare".to_owned(),
        version: "0.1.0".to_owned(),
        applied: Some(Applied { incarnation: 0, epoch: 1, version: sequence, issued: 1_800_000_000_000 }),
        facts: Facts::default(),
        seen,
    }
}

async fn send(arena: &Arena, token: &Token, report: Report) -> Result<bool, Error> {
    let token = token.clone();
    arena.write(move |tx, _| Box::pin(async move { Ok(edges::report(tx, &token, &report).await?.accepted) })).await
}

async fn s1_07_a_sighting_moves_last_used_forward_only(arena: Arena) {
    let token = edge(&arena).await;
    let one = arena.issue(request("one")).await.unwrap().key;
    let two = arena.issue(request("two")).await.unwrap().key;
    let now = arena.store.now().await.unwrap();
    let by_id = |key: &nightlatch::domain::Key| KeyRef::Id(key.id.clone());
    let seen = vec![
        (by_id(&one), now - 1_000),
        (KeyRef::Number(two.number), now - 500),
        (KeyRef::Number(one.number), now - 2_000),
        (KeyRef::parse("key_nobodyKnow").unwrap(), now),
        (KeyRef::Number(99), now),
    ];
    assert!(send(&arena, &token, report(&arena, 1, seen)).await.unwrap());
    assert_eq!(arena.get(&one.id).await.key.last_used_at, Some(now - 1_000));
    assert_eq!(arena.get(&two.id).await.key.last_used_at, Some(now - 500));
    // A late report does not move it back, an edge's fast clock not into the future.
    let seen = vec![(by_id(&one), now - 3_000), (by_id(&two), now + 3_600_000)];
    assert!(send(&arena, &token, report(&arena, 2, seen)).await.unwrap());
    assert_eq!(arena.get(&one.id).await.key.last_used_at, Some(now - 1_000));
    let moved = arena.get(&two.id).await;
    assert!((now..=moved.now).contains(&moved.key.last_used_at.unwrap()));
    // It is an observation: no revision, no change for edges, no audit entry.
    assert_eq!(moved.key.revision, 1);
    assert_eq!(arena.number("SELECT COUNT(*) FROM changes").await, 2);
    let listed = edges::instances(&mut arena.read().await, &arena.workspace).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].sequence, listed[0].applied.unwrap().version), (2, 2));
}

async fn a_repeated_report_is_taken_once(arena: Arena) {
    let token = edge(&arena).await;
    let key = arena.issue(request("one")).await.unwrap().key;
    let now = arena.store.now().await.unwrap();
    assert!(send(&arena, &token, report(&arena, 5, Vec::new())).await.unwrap());
    for sequence in [5, 4] {
        let seen = vec![(KeyRef::Number(key.number), now)];
        assert!(!send(&arena, &token, report(&arena, sequence, seen)).await.unwrap());
    }
    assert_eq!(arena.get(&key.id).await.key.last_used_at, None);
    let other = Report { instance: "isolate-2".to_owned(), ..report(&arena, 1, Vec::new()) };
    assert!(send(&arena, &token, other).await.unwrap());
}

async fn s2_08_a_revoked_key_is_no_longer_seen(arena: Arena) {
    let token = edge(&arena).await;
    let key = arena.issue(request("one")).await.unwrap().key;
    arena.revoke(&key.id).await;
    let lapsed = arena.issue(request("two")).await.unwrap().key;
    arena.rotate(&lapsed.id, crate::arena::overlap(3600)).await.unwrap();
    arena.execute(format!("UPDATE keys SET deadline = {} WHERE deadline IS NOT NULL", arena.second().await)).await;
    let now = arena.store.now().await.unwrap();
    let seen = vec![(KeyRef::Id(key.id.clone()), now), (KeyRef::Number(lapsed.number), now)];
    assert!(send(&arena, &token, report(&arena, 1, seen)).await.unwrap());
    assert_eq!(arena.get(&key.id).await.key.last_used_at, None);
    assert_eq!(arena.get(&lapsed.id).await.key.last_used_at, None);
}

async fn a_report_about_another_set_is_refused(arena: Arena) {
    let token = edge(&arena).await;
    let foreign = Report { set: SetId::generate([9; 10]), ..report(&arena, 1, Vec::new()) };
    assert!(matches!(send(&arena, &token, foreign).await, Err(Error::NotFound("set"))));
}

async fn reports_at_once_do_not_wait_for_each_other_in_a_circle(arena: Arena) {
    let token = edge(&arena).await;
    let mut keys = Vec::new();
    for number in 0..40 {
        keys.push(arena.issue(request(&format!("k{number}"))).await.unwrap().key);
    }
    for round in 0..5 {
        let now = arena.store.now().await.unwrap();
        let sends = (0..8_usize).map(|edge| {
            let mut seen: Vec<_> = keys
                .iter()
                .map(|key| if edge % 2 == 0 { KeyRef::Id(key.id.clone()) } else { KeyRef::Number(key.number) })
                .map(|key| (key, now))
                .collect();
            seen.rotate_left(edge * 5);
            if edge % 3 == 0 {
                seen.reverse();
            }
            let report = Report { instance: format!("isolate-{edge}"), ..report(&arena, round + 1, seen) };
            send(&arena, &token, report)
        });
        for result in futures::future::join_all(sends).await {
            assert!(result.unwrap());
        }
    }
}

async fn silent_instances_are_forgotten(arena: Arena) {
    let token = edge(&arena).await;
    send(&arena, &token, report(&arena, 1, Vec::new())).await.unwrap();
    let forget = || arena.write(|tx, _| Box::pin(async move { edges::forget_silent(tx).await }));
    assert_eq!(forget().await.unwrap(), 0);
    arena.execute("UPDATE edge_instances SET reported_at = reported_at - 90000000").await;
    assert_eq!(forget().await.unwrap(), 1);
}

async fn durable(arena: &Arena) -> Token {
    let edge = NewEdge {
        id: EdgeId::generate([3; 10]),
        set: arena.set.clone(),
        name: "gate".to_owned(),
        class: EdgeClass::Durable,
        code: Digest::of(b"code"),
    };
    arena.write(move |tx, context| Box::pin(async move { edges::create(tx, &context, &edge).await })).await.unwrap();
    let enrolment = Enrolment {
        code: Digest::of(b"code"),
        runtime: "sidecar".to_owned(),
        version: "1".to_owned(),
        request_id: "req_2".to_owned(),
        source: None,
    };
    let mint = |edge: &edges::Edge| NewToken {
        id: TokenId::generate([4; 10]),
        kind: TokenKind::Edge,
        set: Some(edge.set.clone()),
        name: edge.name.clone(),
        digest: Digest::of(b"credential"),
        prefix: "nle_live_1111111111".to_owned(),
        scopes: Vec::new(),
        expires_at: None,
    };
    arena.write(move |tx, _| Box::pin(async move { edges::enrol(tx, &enrolment, mint).await })).await.unwrap();
    tokens::by_digest(&mut arena.read().await, &Digest::of(b"credential")).await.unwrap().unwrap().0.token
}

async fn the_last_word_of_an_edge_is_kept(arena: Arena) {
    let token = durable(&arena).await;
    assert!(matches!(&token.edge, Some((_, EdgeClass::Durable))));
    arena.execute("UPDATE sets SET epoch = 1, version = 30, head_issued = 1800000000000").await;
    for version in [10, 20, 15, 30, 31] {
        // Number and version are the same; 15 is overtaken, 31 is more than the set has.
        send(&arena, &token, report(&arena, version, Vec::new())).await.unwrap();
    }
    let marks = "SELECT CAST(SUM(version) AS BIGINT) FROM edge_marks";
    assert_eq!(arena.number(marks).await, 60);
    arena.execute("UPDATE edge_marks SET at = at - 7200000").await;
    arena.execute("UPDATE edge_instances SET reported_at = reported_at - 90000000").await;
    let forgotten = arena.write(|tx, _| Box::pin(async move { edges::forget_silent(tx).await })).await.unwrap();
    assert_eq!(forgotten, 2, "two marks; the instance is the edge's last");
    assert_eq!(arena.number("SELECT MIN(version) FROM edge_marks").await, 30);
    // It starts again: the mark of the instance before goes with that instance.
    let restarted = Report { instance: "isolate-2".to_owned(), ..report(&arena, 30, Vec::new()) };
    send(&arena, &token, restarted).await.unwrap();
    let forgotten = arena.write(|tx, _| Box::pin(async move { edges::forget_silent(tx).await })).await.unwrap();
    assert_eq!(forgotten, 2, "the instance, and its mark");
    assert_eq!(arena.number("SELECT COUNT(*) FROM edge_marks WHERE instance = 'isolate-2'").await, 1);
    assert_eq!(arena.number("SELECT COUNT(*) FROM edge_marks").await, 1);
}

async fn instances_without_a_trust_note_are_counted_while_they_run(arena: Arena) {
    let token = edge(&arena).await;
    let count = async || edges::without_trust(&mut arena.read().await, &arena.set).await.unwrap();
    let cold = Report { applied: None, instance: "cold".to_owned(), ..report(&arena, 1, Vec::new()) };
    let facts = Facts { trust: Some(1), ..Facts::default() };
    let told = Report { facts, instance: "told".to_owned(), ..report(&arena, 1, Vec::new()) };
    for report in [cold, told] {
        send(&arena, &token, report).await.unwrap();
    }
    assert_eq!(count().await, 0);
    send(&arena, &token, report(&arena, 1, Vec::new())).await.unwrap();
    assert_eq!(count().await, 1);
    arena.execute("UPDATE edge_instances SET reported_at = reported_at - 3600001").await;
    assert_eq!(count().await, 0);
}

async fn receipts_noted_at_once_do_not_wait_for_each_other_in_a_circle(arena: Arena) {
    let mut keys = Vec::new();
    for number in 0..40 {
        let key = arena.issue(request(&format!("k{number}"))).await.unwrap().key;
        arena.revoke(&key.id).await;
        keys.push(key.id);
    }
    for _ in 0..5 {
        arena.execute("UPDATE receipts SET committed_by = NULL").await;
        let found = receipts::unnoted(&mut arena.read().await).await.unwrap();
        assert_eq!(found.len(), 40);
        // As several servers see them: in any order.
        let notes = (0..8_usize).map(|server| {
            let mut found = found.clone();
            found.rotate_left(server * 5);
            if server % 2 == 0 {
                found.reverse();
            }
            arena.write(move |tx, _| Box::pin(async move { receipts::note(tx, &found).await }))
        });
        for noted in futures::future::join_all(notes).await {
            assert_eq!(noted.unwrap(), 40);
        }
    }
    let workspace = arena.workspace.clone();
    let key = keys[0].clone();
    arena.execute("UPDATE receipts SET committed_by = NULL").await;
    let noted = arena.write(move |tx, _| Box::pin(async move { receipts::note_commit(tx, &workspace, &key).await }));
    assert!(noted.await.unwrap().is_some());
    assert_eq!(arena.number("SELECT COUNT(*) FROM receipts WHERE committed_by IS NULL").await, 39);
}

async fn what_nobody_noted_of_a_revocation_is_noted_later(arena: Arena) {
    let key = arena.issue(request("one")).await.unwrap().key;
    arena.revoke(&key.id).await;
    let unnoted = async || receipts::unnoted(&mut arena.read().await).await.unwrap();
    let note = async || {
        let found = unnoted().await;
        arena.write(move |tx, _| Box::pin(async move { receipts::note(tx, &found).await })).await.unwrap()
    };
    let missing = "SELECT COUNT(*) FROM receipts WHERE committed_by IS NULL";
    assert_eq!((arena.number(missing).await, note().await), (1, 1));
    assert_eq!((arena.number(missing).await, unnoted().await.len()), (0, 0));
    let committed = "SELECT COUNT(*) FROM receipts WHERE committed_by < revoked_at";
    assert_eq!(arena.number(committed).await, 0);
    arena.execute("UPDATE changes SET version = 7, position = seq").await;
    assert_eq!(note().await, 1);
    assert_eq!(arena.number("SELECT version FROM receipts").await, 7);
    assert_eq!(unnoted().await.len(), 0);
    // Revoking again opens no other receipt.
    arena.revoke(&key.id).await;
    assert_eq!(arena.number("SELECT COUNT(*) FROM receipts").await, 1);
}
