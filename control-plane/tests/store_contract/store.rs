//! Transactions: all or nothing, one mutation not disturbing another.

use nightlatch::domain::KeyRef;
use nightlatch::store::{Error, Store, keys, os_random};

use crate::arena::{Arena, on_both, request};

on_both! {
    a_failing_mutation_undoes_only_itself,
    a_panicking_mutation_undoes_only_itself,
    what_is_acknowledged_survives_a_restart,
    a_read_is_a_snapshot,
    a_reader_that_goes_away_leaves_nothing_behind,
    a_closed_store_says_so,
}

async fn a_failing_mutation_undoes_only_itself(arena: Arena) {
    let mut writes = Vec::new();
    for number in 0..60 {
        let (store, context) = (arena.store.clone(), arena.context.clone());
        writes.push(tokio::spawn(async move {
            store
                .write(move |tx| {
                    Box::pin(async move {
                        let issued = keys::issue(tx, &context, request("k"), &mut os_random).await?;
                        if number % 3 == 0 {
                            // After its writes.
                            return Err(Error::NotFound("reason to go on"));
                        }
                        Ok(issued.key.id)
                    })
                })
                .await
        }));
    }
    let mut kept = Vec::new();
    for (number, write) in writes.into_iter().enumerate() {
        let result = write.await.unwrap();
        assert_eq!(result.is_err(), number % 3 == 0);
        kept.extend(result);
    }
    for id in &kept {
        arena.get(id).await;
    }
    for table in ["keys", "changes", "audit"] {
        assert_eq!(arena.number(format!("SELECT COUNT(*) FROM {table}")).await, 40, "{table}");
    }
}

async fn a_panicking_mutation_undoes_only_itself(arena: Arena) {
    let (store, context) = (arena.store.clone(), arena.context.clone());
    let broken = tokio::spawn(async move {
        store
            .write::<(), Error, _>(move |tx| {
                Box::pin(async move {
                    keys::issue(tx, &context, request("k"), &mut os_random).await?;
                    panic!("a bug");
                })
            })
            .await
    });
    let panic = broken.await.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"a bug"), "the panic is the caller's");
    assert_eq!(arena.number("SELECT COUNT(*) FROM keys WHERE workspace_id <> 'ws_management'").await, 0);
    arena.issue(request("after")).await.unwrap();
}

async fn what_is_acknowledged_survives_a_restart(arena: Arena) {
    let issued = arena.issue(request("billing")).await.unwrap();
    arena.revoke(&issued.key.id).await;
    arena.store.close().await;
    let again = Store::connect(&arena.url).await.unwrap();
    let mut read = again.read().await.unwrap();
    let view = keys::get(&mut read, &arena.workspace, &KeyRef::Number(1)).await.unwrap();
    assert!(view.key.revoked_at(view.now).is_some());
}

async fn a_read_is_a_snapshot(arena: Arena) {
    let issued = arena.issue(request("billing")).await.unwrap();
    let mut read = arena.read().await;
    let key = KeyRef::Id(issued.key.id.clone());
    let before = keys::get(&mut read, &arena.workspace, &key).await.unwrap();
    arena.revoke(&issued.key.id).await;
    let still = keys::get(&mut read, &arena.workspace, &key).await.unwrap();
    assert_eq!(before.key, still.key);
    drop(read);
    assert_ne!(arena.get(&issued.key.id).await.key, before.key);
}

async fn a_reader_that_goes_away_leaves_nothing_behind(arena: Arena) {
    // Given up after ever more steps, and so somewhere within the beginning of its transaction, more than once.
    for steps in (0..60).cycle().take(180) {
        let mut reading = Box::pin(arena.store.read());
        for _ in 0..steps {
            if futures::poll!(reading.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(reading);
        // Whoever gets that connection next can write.
        arena.issue(request("k")).await.unwrap();
    }
}

async fn a_closed_store_says_so(arena: Arena) {
    let other = arena.store.clone();
    arena.store.close().await;
    assert!(other.read().await.is_err());
    assert!(arena.issue(request("late")).await.is_err());
    // Closing what is closed changes nothing.
    other.close().await;
}

/// Guarantee 9. A process that stalls in the middle of a transaction loses it, and what it had locked is free again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_ends_a_transaction_that_stalls() {
    let arena = Arena::postgres().await;
    let key = arena.issue(request("k")).await.unwrap().key.id;
    let (store, context, id) = (arena.store.clone(), arena.context.clone(), KeyRef::Id(key.clone()));
    let (locked, waits) = tokio::sync::oneshot::channel();
    let (resume, resumed) = tokio::sync::oneshot::channel::<()>();
    let stalled = tokio::spawn(async move {
        store
            .write::<(), Error, _>(move |tx| {
                Box::pin(async move {
                    keys::disable(tx, &context, &id, None).await?;
                    locked.send(()).unwrap();
                    resumed.await.unwrap();
                    Ok(())
                })
            })
            .await
    });
    waits.await.unwrap();
    assert!(arena.revoke(&key).await.changed);
    resume.send(()).unwrap();
    assert!(stalled.await.unwrap().is_err());
}
