//! Tokens, enrolment, idempotent answers, routes.

use nightlatch::domain::authority::Seat;
use nightlatch::domain::{Authority, Reason, Role, TokenId, WorkspaceId};
use nightlatch::store::audit::{self, AuditFilter, Entry};
use nightlatch::store::enrolment::{self, Enrolled, Founder};
use nightlatch::store::idempotency::{self, Answer, Found, Secret, Slot};
use nightlatch::store::tokens::{self, NewToken, Token, TokenKind};
use nightlatch::store::{Error, PageRequest, members, os_random, routes};
use nightlatch_key::Digest;

use crate::arena::{Arena, on_both, refusal};

on_both! {
    a_token_is_found_by_its_digest_until_it_is_revoked,
    tokens_of_a_foreign_set_are_refused,
    a_token_is_touched_once_a_minute,
    the_log_says_why_a_token_was_replaced_or_ended,
    an_enrolment_is_exchanged_once,
    an_enrolment_ends_with_the_next,
    a_repeated_create_finds_its_answer,
    two_repeats_at_once_make_one_answer,
    routes_are_replaced_only_by_who_has_read_them,
}

fn token(number: u8, kind: TokenKind) -> NewToken {
    NewToken {
        id: TokenId::generate([number; 10]),
        kind,
        set: None,
        name: format!("token {number}"),
        digest: Digest::of(&[number]),
        prefix: format!("nlm_live_{number:010}"),
        scopes: vec!["*".to_owned()],
        expires_at: None,
    }
}

async fn create(arena: &Arena, token: NewToken) -> Result<Token, Error> {
    arena.write(move |tx, context| Box::pin(async move { tokens::create(tx, &context, &token).await })).await
}

async fn a_token_is_found_by_its_digest_until_it_is_revoked(arena: Arena) {
    // Neither a service account's token nor one for named actions makes anybody an owner.
    create(&arena, token(7, TokenKind::Management)).await.unwrap();
    arena.execute("UPDATE tokens SET subject = 1").await;
    let narrow = NewToken { scopes: vec!["keys:read".to_owned()], ..token(8, TokenKind::Management) };
    create(&arena, narrow).await.unwrap();
    assert!(!tokens::any_owner(&mut arena.read().await, &arena.workspace).await.unwrap());
    arena.execute("DELETE FROM tokens").await;
    let made = create(&arena, token(1, TokenKind::Management)).await.unwrap();
    let edge = NewToken { set: Some(arena.set.clone()), ..token(2, TokenKind::Edge) };
    create(&arena, edge).await.unwrap();
    let mut read = arena.read().await;
    assert!(tokens::any_owner(&mut read, &arena.workspace).await.unwrap());
    let (found, now) = tokens::by_digest(&mut read, &Digest::of(&[1])).await.unwrap().unwrap();
    let found = found.token;
    assert!(found.is_usable(now));
    assert_eq!((found.id, found.scopes, found.workspace), (made.id.clone(), made.scopes, arena.workspace.clone()));
    assert!(tokens::by_digest(&mut read, &Digest::of(&[9])).await.unwrap().is_none());
    let page = PageRequest { limit: 1, after: None };
    let first = tokens::list(&mut read, &arena.workspace, &Authority::System, None, &page).await.unwrap();
    let page = PageRequest { limit: 1, after: first.next };
    let second = tokens::list(&mut read, &arena.workspace, &Authority::System, None, &page).await.unwrap();
    assert!(second.next.is_none());
    drop(read);

    for _ in 0..2 {
        let id = made.id.clone();
        arena.write(move |tx, context| Box::pin(async move { tokens::revoke(tx, &context, &id).await })).await.unwrap();
    }
    let (found, now) = tokens::by_digest(&mut arena.read().await, &Digest::of(&[1])).await.unwrap().unwrap();
    assert!(!found.token.is_usable(now));
    assert_eq!(arena.actions().await[2..], ["token.created", "token.created", "token.revoked"]);
}

async fn tokens_of_a_foreign_set_are_refused(arena: Arena) {
    let foreign = nightlatch::domain::SetId::generate([1; 10]);
    let result = create(&arena, NewToken { set: Some(foreign), ..token(1, TokenKind::Edge) }).await;
    assert!(matches!(result, Err(Error::NotFound("set"))));
    let past = Some(arena.second().await);
    let result = create(&arena, NewToken { expires_at: past, ..token(1, TokenKind::Edge) }).await;
    assert_eq!(refusal(result), "expiry_in_past");
    assert!(arena.actions().await.is_empty());
}

async fn a_token_is_touched_once_a_minute(arena: Arena) {
    let made = create(&arena, token(1, TokenKind::Management)).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let token = made.clone();
        arena.write(move |tx, _| Box::pin(async move { tokens::touch(tx, &token).await })).await.unwrap();
        let (found, now) = tokens::by_digest(&mut arena.read().await, &Digest::of(&[1])).await.unwrap().unwrap();
        assert!(!tokens::wants_touch(&found.token, now));
        seen.push(found.token.last_used_at);
    }
    assert!(seen[0].is_some());
    assert_eq!(seen[0], seen[1]);
}

/// The entries about one token, newest first.
async fn entries(arena: &Arena, token: &TokenId) -> Vec<Entry> {
    let page = PageRequest { limit: 100, after: None };
    let list = audit::list(&mut arena.read().await, &arena.workspace, &AuditFilter::default(), &page).await.unwrap();
    list.items.into_iter().filter(|entry| entry.target_id == token.as_str()).collect()
}

/// S1-10, S3-14: what was said when a token was replaced, or its member removed, stands with the token.
async fn the_log_says_why_a_token_was_replaced_or_ended(arena: Arena) {
    let digest = Digest::of(b"one-time");
    open(&arena, digest, 3_600_000).await;
    exchange(&arena, digest).await.unwrap();
    open(&arena, Digest::of(b"another"), 3_600_000).await;
    let Enrolled { member, token: old, .. } = exchange(&arena, Digest::of(b"another")).await.unwrap();
    let (id, end) = (old.id.clone(), arena.second().await + 86_400);
    let rotate = arena.write(move |tx, context| {
        Box::pin(async move {
            let why = Reason::new("laptop lost").unwrap();
            tokens::rotate(tx, &context, &id, 600, why, &mut os_random).await.map(|(token, _)| token)
        })
    });
    let new = rotate.await.unwrap();
    let told = entries(&arena, &old.id).await;
    assert_eq!((told[0].action.as_str(), told[0].reason.as_deref()), ("token.rotated", Some("laptop lost")));
    let after: serde_json::Value = serde_json::from_str(told[0].after.as_deref().unwrap()).unwrap();
    assert_eq!(after["successor"], new.id.as_str());
    assert!(after["expires_at"].as_i64().unwrap() < end);
    assert_eq!(told[0].before.as_deref(), Some(r#"{"expires_at":null}"#));

    let id = member.id.clone();
    let remove = arena.write(move |tx, context| {
        Box::pin(async move {
            let why = Reason::new("left the company").unwrap();
            members::remove(tx, &context, &id, Some(&why)).await
        })
    });
    remove.await.unwrap();
    for token in [&old.id, &new.id] {
        let told = entries(&arena, token).await;
        assert_eq!((told[0].action.as_str(), told[0].reason.as_deref()), ("token.revoked", Some("left the company")));
    }
}

async fn open(arena: &Arena, digest: Digest, lifetime_ms: i64) {
    let workspace = arena.workspace.clone();
    arena
        .write(move |tx, _| {
            Box::pin(
                async move { enrolment::open(tx, &workspace, digest, lifetime_ms, enrolment::Why::Enrolment).await },
            )
        })
        .await
        .unwrap();
}

async fn exchange(arena: &Arena, digest: Digest) -> Result<Enrolled, Error> {
    arena
        .store
        .write(move |tx| {
            Box::pin(
                async move { enrolment::exchange(tx, digest, Founder::default(), "req_2", None, &mut os_random).await },
            )
        })
        .await
}

async fn an_enrolment_is_exchanged_once(arena: Arena) {
    let digest = Digest::of(b"one-time");
    open(&arena, digest, 3_600_000).await;
    assert!(enrolment::is_open(&mut arena.read().await, &arena.workspace).await.unwrap());
    assert!(matches!(exchange(&arena, Digest::of(b"guess")).await, Err(Error::NotFound(_))));
    let tries = futures::future::join_all((0..6).map(|_| exchange(&arena, digest))).await;
    assert_eq!(tries.iter().filter(|result| result.is_ok()).count(), 1);
    let made = tries.into_iter().find_map(Result::ok).unwrap();
    assert_eq!(made.token.workspace, arena.workspace);
    assert_eq!(made.token.created_by.kind, "enrolment");
    assert_eq!((made.member.role, made.token.member.as_ref()), (Role::Owner, Some(&made.member.id)));
    let (held, _) = tokens::by_digest(&mut arena.read().await, &made.secret.digest()).await.unwrap().unwrap();
    assert_eq!(held.standing.unwrap().seat, Seat::Role(Role::Owner));
    assert_eq!(held.key.unwrap().key.workspace, WorkspaceId::reserved());
    assert!(!enrolment::is_open(&mut arena.read().await, &arena.workspace).await.unwrap());
    assert_eq!(arena.actions().await, ["member.joined", "token.created", "workspace.enrolled"]);
}

async fn an_enrolment_ends_with_the_next(arena: Arena) {
    let (first, second) = (Digest::of(b"first"), Digest::of(b"second"));
    open(&arena, first, 3_600_000).await;
    open(&arena, second, 3_600_000).await;
    assert!(exchange(&arena, first).await.is_err());
    arena.execute(format!("UPDATE enrolments SET expires_at = {}", arena.store.now().await.unwrap())).await;
    assert!(!enrolment::is_open(&mut arena.read().await, &arena.workspace).await.unwrap());
    assert!(exchange(&arena, second).await.is_err());
}

fn slot(workspace: &WorkspaceId, request: u8) -> Slot {
    Slot {
        workspace: workspace.clone(),
        caller: "tok_1".to_owned(),
        route: "POST /v1/keys",
        key_hash: [3; 32],
        request_hash: [request; 32],
    }
}

async fn find(arena: &Arena, request: u8) -> Found {
    let slot = slot(&arena.workspace, request);
    arena.write(move |tx, _| Box::pin(async move { idempotency::find(tx, &slot).await })).await.unwrap()
}

async fn a_repeated_create_finds_its_answer(arena: Arena) {
    assert!(matches!(find(&arena, 1).await, Found::Nothing));
    let kept = slot(&arena.workspace, 1);
    arena
        .write(move |tx, _| {
            Box::pin(async move {
                let secret = Secret::Sealed(vec![1, 2, 3]);
                idempotency::keep(tx, &kept, &Answer { status: 201, body: "{}".to_owned(), secret }).await
            })
        })
        .await
        .unwrap();
    let secret = |found| match found {
        Found::Answer(Answer { status: 201, secret, .. }) => secret,
        other => panic!("{other:?}"),
    };
    assert_eq!(secret(find(&arena, 1).await), Secret::Sealed(vec![1, 2, 3]));
    assert!(matches!(find(&arena, 2).await, Found::Mismatch));

    // After 15 minutes the secret is gone, whether or not it has been swept.
    let age = |minutes: i64| format!("UPDATE idempotency SET created_at = created_at - {}", minutes * 60_000);
    arena.execute(age(15)).await;
    assert_eq!(secret(find(&arena, 1).await), Secret::Erased);
    let sweep = || arena.write(|tx, _| Box::pin(async move { idempotency::sweep(tx).await }));
    assert_eq!(sweep().await.unwrap(), 1);
    assert_eq!(arena.number("SELECT COUNT(*) FROM idempotency WHERE sealed_secret IS NOT NULL").await, 0);
    assert_eq!(secret(find(&arena, 1).await), Secret::Erased);
    // After a day the key is free again.
    arena.execute(age(24 * 60)).await;
    assert!(matches!(find(&arena, 2).await, Found::Nothing));
    assert_eq!(sweep().await.unwrap(), 0);
}

async fn two_repeats_at_once_make_one_answer(arena: Arena) {
    let attempts = (0..8).map(|_| {
        let slot = slot(&arena.workspace, 1);
        arena.write(move |tx, _| {
            Box::pin(async move {
                let first = matches!(idempotency::find(tx, &slot).await?, Found::Nothing);
                if first {
                    let answer = Answer { status: 201, body: String::new(), secret: Secret::None };
                    idempotency::keep(tx, &slot, &answer).await?;
                }
                Ok(first)
            })
        })
    });
    let first = futures::future::join_all(attempts).await;
    assert_eq!(first.into_iter().filter(|first| *first.as_ref().unwrap()).count(), 1);
}

async fn replace(arena: &Arena, revision: i64, document: &str) -> Result<routes::Routes, Error> {
    let (set, document) = (arena.set.clone(), document.to_owned());
    arena
        .write(move |tx, context| {
            Box::pin(async move { routes::replace(tx, &context, &set, revision, &document, b"policy", [5; 32]).await })
        })
        .await
}

async fn routes_are_replaced_only_by_who_has_read_them(arena: Arena) {
    let mut read = arena.read().await;
    assert!(routes::current(&mut read, &arena.workspace, &arena.set).await.unwrap().is_none());
    drop(read);
    let mut commits = arena.store.commits();
    commits.mark_unchanged();
    let first = replace(&arena, 0, "{\"routes\":[]}").await.unwrap();
    assert_eq!((first.revision, first.policy_hash.as_slice()), (1, [5; 32].as_slice()));
    assert!(commits.has_changed().unwrap());
    assert!(matches!(replace(&arena, 0, "{}").await, Err(Error::Stale(1))));
    let (one, two) = tokio::join!(replace(&arena, 1, "one"), replace(&arena, 1, "two"));
    assert!(one.is_ok() != two.is_ok());
    let mut read = arena.read().await;
    let current = routes::current(&mut read, &arena.workspace, &arena.set).await.unwrap().unwrap();
    assert_eq!(current.revision, 2);
    assert_eq!(current.document, if one.is_ok() { "one" } else { "two" });
}
