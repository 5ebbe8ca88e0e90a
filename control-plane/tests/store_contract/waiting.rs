//! Mutations that want the same rows at once: in which order they take them, who waits for whom, and what happens where two
//! wait for each other. SQLite has one writer, so most of this is of PostgreSQL alone.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use nightlatch::domain::catalogue::EntryName;
use nightlatch::domain::{KeyId, KeyRef, Name, Reason, SessionId};
use nightlatch::signin::Email;
use nightlatch::signin::limits::{ACCOUNT, ADDRESS};
use nightlatch::store::sessions::{self, Method, NewSession, Which};
use nightlatch::store::sign_in_guesses::{self, Asked, Buckets};
use nightlatch::store::tokens::{self, NewManagement, Token};
use nightlatch::store::{Error, accounts, catalogue, keys, members, os_random, rotations};
use nightlatch_key::Digest;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::sync::Notify;

use crate::arena::{Arena, on_both, overlap, refusal, request};

on_both! {
    lapsed_rotations_are_closed_for_one_workspace_at_a_time,
}

/// Somebody else at the same database.
async fn another(arena: &Arena) -> PgConnection {
    PgConnection::connect(&arena.url).await.unwrap()
}

/// Returns once so many wait for a lock.
async fn until_waiting(arena: &Arena, count: i64) {
    let sql = "SELECT COUNT(*) FROM pg_locks l JOIN pg_database d ON d.datname = current_database() \
               WHERE NOT l.granted AND l.pid IN (SELECT pid FROM pg_stat_activity WHERE datid = d.oid)";
    while arena.number(sql).await < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn token(arena: &Arena, member: &nightlatch::domain::MemberId) -> Token {
    let new = NewManagement {
        name: Name::new("laptop").unwrap(),
        rights: None,
        expires_at: None,
        member: Some(member.clone()),
        service_account: None,
    };
    let made = arena.write(|tx, context| {
        Box::pin(
            async move { tokens::create_management(tx, &context, new, &mut os_random).await.map(|(token, _)| token) },
        )
    });
    made.await.unwrap()
}

async fn founder(arena: &Arena) -> nightlatch::domain::MemberId {
    let found = arena.write(|tx, context| {
        Box::pin(async move { members::found(tx, &context, None, None, None, &mut os_random).await })
    });
    found.await.unwrap().id
}

fn lock(id: &KeyId, how: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("SELECT 1 FROM keys WHERE id = '{id}' FOR UPDATE {how}"))
}

/// S3-14. Whoever goes holds the keys that are their tokens by number, whatever the tokens' ids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_takes_the_keys_of_tokens_by_number() {
    let arena = Arena::postgres().await;
    founder(&arena).await;
    // Somebody whose older token has the greater id.
    let (member, low, high) = loop {
        let member = founder(&arena).await;
        let (first, second) = (token(&arena, &member).await, token(&arena, &member).await);
        if first.id.as_str() > second.id.as_str() {
            break (member, first.key.unwrap(), second.key.unwrap());
        }
    };
    let mut other = another(&arena).await;
    let mut held = other.begin().await.unwrap();
    held.execute(lock(&low, "")).await.unwrap();
    let id = member.clone();
    let removal = arena.write(|tx, context| Box::pin(async move { members::remove(tx, &context, &id, None).await }));
    let second = async {
        until_waiting(&arena, 1).await;
        held.execute(lock(&high, "NOWAIT")).await.expect("whoever waits for a key holds none of a greater number");
        held.commit().await.unwrap();
    };
    let (removed, ()) = tokio::join!(removal, second);
    removed.unwrap();
    let left = "SELECT COUNT(*) FROM keys k JOIN tokens t ON t.key_id = k.id WHERE t.member_id = '";
    assert_eq!(arena.number(format!("{left}{member}' AND k.state = 'revoked'")).await, 2);
}

/// S3-14. Whoever changes their password ends their other sessions while somebody removes them: both take sessions by id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_takes_the_sessions_of_an_account_by_id() {
    let arena = Arena::postgres().await;
    let member = founder(&arena).await;
    let made = arena.write(move |tx, context| {
        Box::pin(async move {
            let account =
                accounts::create(tx, &Email::parse("a@b.c").unwrap(), None, None, &mut os_random).await?.unwrap();
            let now = tx.now().await?;
            let mut ids = Vec::new();
            for cookie in [b"one", b"two"] {
                let new = NewSession {
                    account: account.clone(),
                    member: member.clone(),
                    method: Method::Password,
                    digest: Digest::of(cookie),
                    signed_in_at: now,
                    elevated_until: None,
                };
                ids.push(sessions::start(tx, &context, &new, now, &mut os_random).await?);
            }
            ids.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
            Ok((account, ids))
        })
    });
    let (account, ids) = made.await.unwrap();
    let lock = |id: usize, how: &str| {
        AssertSqlSafe(format!("SELECT 1 FROM sessions WHERE id = '{}' FOR UPDATE {how}", ids[id].as_str()))
    };
    let mut other = another(&arena).await;
    let mut held = other.begin().await.unwrap();
    held.execute(lock(0, "")).await.unwrap();
    let of = account.clone();
    let change = arena.write(move |tx, context| {
        Box::pin(async move {
            sessions::hold(tx, &of).await?;
            sessions::end(tx, &context, Which::Others(&of, &SessionId::generate([0; 10])), "changed").await
        })
    });
    let second = async {
        until_waiting(&arena, 1).await;
        held.execute(lock(1, "NOWAIT")).await.expect("whoever waits for a session holds none of a greater id");
        held.commit().await.unwrap();
    };
    let (ended, ()) = tokio::join!(change, second);
    assert_eq!(ended.unwrap(), 2);
}

/// A guess that is taken back takes its buckets as one that is counted does: the address first, whatever their names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_takes_the_bucket_of_an_address_first() {
    let arena = Arena::postgres().await;
    let buckets = Buckets { address: ([9; 32], ADDRESS), known: ([5; 32], ACCOUNT), account: ([1; 32], ACCOUNT) };
    let asked = arena.write(|tx, _| Box::pin(async move { sign_in_guesses::ask(tx, buckets).await })).await.unwrap();
    let Asked::Counted(counted) = asked else { panic!("{asked:?}") };
    let lock = |byte: &str, how: &str| {
        let bucket = byte.repeat(32);
        AssertSqlSafe(format!("SELECT 1 FROM sign_in_guesses WHERE bucket = '\\x{bucket}' FOR UPDATE {how}"))
    };
    let mut other = another(&arena).await;
    let mut held = other.begin().await.unwrap();
    held.execute(lock("09", "")).await.unwrap();
    let back = arena.write(move |tx, _| Box::pin(async move { sign_in_guesses::give_back(tx, &counted).await }));
    let second = async {
        until_waiting(&arena, 1).await;
        assert_eq!(held.execute(lock("01", "NOWAIT")).await.expect("it holds no account's").rows_affected(), 1);
        held.commit().await.unwrap();
    };
    let (given, ()) = tokio::join!(back, second);
    given.unwrap();
    assert_eq!(arena.number("SELECT CAST(SUM(failures) AS BIGINT) FROM sign_in_guesses").await, 0);
}

/// S1-16. Keys of one workspace are held at a time: somebody who goes holds some of two.
async fn lapsed_rotations_are_closed_for_one_workspace_at_a_time(arena: Arena) {
    let own = arena.issue(request("billing")).await.unwrap().key.id;
    arena.rotate(&own, overlap(3600)).await.unwrap();
    let token = token(&arena, &founder(&arena).await).await;
    let rotate = arena.write(|tx, context| {
        Box::pin(async move {
            let why = Reason::new("quarterly").unwrap();
            tokens::rotate(tx, &context, &token.id, 3600, why, &mut os_random).await.map(drop)
        })
    });
    rotate.await.unwrap();
    let now = arena.second().await;
    for table in ["keys", "rotations"] {
        arena.execute(format!("UPDATE {table} SET deadline = {now} WHERE deadline IS NOT NULL")).await;
    }
    for closed in [1, 1, 0] {
        let settled = arena.write(|tx, _| Box::pin(async move { rotations::settle_lapsed(tx, 10).await }));
        assert_eq!(settled.await.unwrap(), closed);
    }
    assert_eq!(arena.number("SELECT COUNT(*) FROM rotations WHERE state = 'open'").await, 0);
}

/// Guarantee 9. A revocation that the database undid, because it and another waited for each other, is done all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_tries_again_what_gave_way() {
    let arena = Arena::postgres().await;
    let first = arena.issue(request("first")).await.unwrap().key.id;
    let second = arena.issue(request("second")).await.unwrap().key.id;
    let mut other = another(&arena).await;
    // The mutation is the one that gives way.
    other.execute("SET deadlock_timeout = '100s'").await.unwrap();
    let mut held = other.begin().await.unwrap();
    held.execute(lock(&first, "")).await.unwrap();
    let (tries, has_second, go_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let work = {
        let (context, tries) = (arena.context.clone(), Arc::clone(&tries));
        let (has_second, go_on) = (Arc::clone(&has_second), Arc::clone(&go_on));
        let (first, second) = (first.clone(), second.clone());
        arena.store.insist(move |tx| {
            let (context, tries) = (context.clone(), Arc::clone(&tries));
            let (has_second, go_on) = (Arc::clone(&has_second), Arc::clone(&go_on));
            let (first, second) = (KeyRef::Id(first.clone()), KeyRef::Id(second.clone()));
            Box::pin(async move {
                let is_first_try = tries.fetch_add(1, Ordering::SeqCst) == 0;
                keys::revoke(tx, &context, &second, None).await?;
                if is_first_try {
                    has_second.notify_one();
                    go_on.notified().await;
                }
                keys::revoke(tx, &context, &first, None).await
            })
        })
    };
    let cross = async {
        has_second.notified().await;
        let wants = held.execute(lock(&second, ""));
        let ((), wanted) = tokio::join!(
            async {
                until_waiting(&arena, 1).await;
                go_on.notify_one();
            },
            wants
        );
        wanted.unwrap();
        held.commit().await.unwrap();
    };
    let (revoked, ()) = tokio::join!(work, cross);
    assert!(revoked.unwrap().changed);
    assert_eq!(tries.load(Ordering::SeqCst), 2);
    assert_eq!(arena.number("SELECT COUNT(*) FROM keys WHERE state = 'revoked'").await, 2);
    assert_eq!(arena.actions().await, ["key.issued", "key.issued", "key.revoked", "key.revoked"]);
}

/// Takes the scope out of the catalogue.
async fn forget(arena: &Arena) -> Result<(), Error> {
    let name = EntryName::new("invoices:read").unwrap();
    arena.write(move |tx, context| Box::pin(async move { catalogue::remove(tx, &context, &name).await })).await
}

/// S1-04. A key never carries a scope that the catalogue does not have, whichever comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_a_scope_that_a_key_is_getting() {
    let arena = Arena::postgres().await;
    let known = arena.issue(request("before")).await.unwrap().key.id;
    arena.revoke(&known).await;
    // A key is being issued.
    let (issued, commit) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, go_on) = (Arc::clone(&issued), Arc::clone(&commit));
    let issue = arena.write(move |tx, context| {
        Box::pin(async move {
            let made = keys::issue(tx, &context, request("now"), &mut os_random).await?;
            told.notify_one();
            go_on.notified().await;
            Ok(made.key.id)
        })
    });
    let removal = async {
        issued.notified().await;
        let mut removal = Box::pin(forget(&arena));
        // It begins, and waits.
        assert!(poll_fn(|context| Poll::Ready(removal.as_mut().poll(context).is_pending())).await);
        tokio::select! {
            early = &mut removal => panic!("it did not wait: {early:?}"),
            () = until_waiting(&arena, 1) => {}
        }
        commit.notify_one();
        removal.await
    };
    let (key, removed) = tokio::join!(issue, removal);
    assert_eq!(refusal(removed), "scope_in_use");
    // The other way round: the scope is being taken out.
    arena.revoke(&key.unwrap()).await;
    let (gone, commit) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, go_on) = (Arc::clone(&gone), Arc::clone(&commit));
    let name = EntryName::new("invoices:read").unwrap();
    let removal = arena.write(move |tx, context| {
        Box::pin(async move {
            catalogue::remove(tx, &context, &name).await?;
            told.notify_one();
            go_on.notified().await;
            Ok(())
        })
    });
    let issue = async {
        gone.notified().await;
        let issue = arena.issue(request("after"));
        let ((), issued) = tokio::join!(
            async {
                until_waiting(&arena, 1).await;
                commit.notify_one();
            },
            issue
        );
        issued.unwrap();
    };
    let (removed, ()) = tokio::join!(removal, issue);
    removed.unwrap();
    assert_eq!(arena.number("SELECT COUNT(*) FROM scopes WHERE name = 'invoices:read'").await, 1);
}
