//! A key that was left out stays left out, whichever root key is here.

use std::sync::Arc;

use nightlatch::publisher::CutReason;
use nightlatch::trust::{self, put_into_force, sign, standing};
use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{Head, Trust};

use crate::on_both;
use crate::signers::{another, establish, root, rotate};
use crate::world::World;

on_both! {
    /// SECURITY.md: the head-signing key is stolen, and the root that left it out is replaced.
    a_stolen_key_stops_nothing_after_the_root_was_replaced
}

/// Puts the next note into force, signed by those roots of the note before and of its own that are here.
async fn put(world: &World, change: impl FnOnce(&mut Trust) + Send + 'static) {
    let (workspace, set, keys) = (world.workspace.clone(), world.set.clone(), world.config().keys);
    let put = world.store.write::<_, trust::Error, _>(move |tx| {
        Box::pin(async move {
            let now = standing(tx, &set).await?.unwrap();
            let mut next = now.next();
            change(&mut next);
            let note = sign(&next, &now.trust.roots, &keys.roots)?;
            put_into_force(tx, &workspace, &set, note, &keys, "a test").await
        })
    });
    put.await.unwrap();
}

fn hold_roots(world: &World, roots: Vec<Arc<Signer>>) {
    world.keys_held.lock().unwrap().roots = roots;
}

async fn a_stolen_key_stops_nothing_after_the_root_was_replaced(world: World) {
    establish(&world).await;
    let publisher = world.publisher();
    world.issue(&[]).await;
    publisher.flush().await.unwrap();
    let signer = another(9);
    rotate(&world, &signer, true).await;
    publisher.wait(|status| status.last_cut_reason == Some(CutReason::Signer)).await.unwrap();
    let fresh = Arc::new(root(18));
    hold_roots(&world, vec![Arc::new(root(8)), Arc::clone(&fresh)]);
    let listed = fresh.verifier();
    put(&world, |next| next.roots.push(listed)).await;
    hold_roots(&world, vec![fresh]);
    put(&world, |next| drop(next.roots.remove(0))).await;
    world.issue(&[]).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;

    // The thief's head is ahead of whatever is going to be signed.
    let honest = Head::open(&world.directory.head().unwrap().unwrap(), &[signer.verifier()]).unwrap();
    let forged = Head { incarnation: u64::MAX, ..honest.clone() }.sign(&World::signer());
    assert_eq!(world.config().keys.signers.len(), 2, "the stolen key is held, too");
    world.directory.put_head(&forged).unwrap();
    let publisher = world.publisher();
    world.issue(&[]).await;
    let status = publisher.wait(|status| status.refused || status.version > honest.version).await.unwrap();
    assert!(!status.refused, "{status:?}");
    publisher.flush().await.unwrap();
    // While it leads, likewise.
    world.directory.put_head(&forged).unwrap();
    world.issue(&[]).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let head = Head::open(&world.directory.head().unwrap().unwrap(), &[signer.verifier()]).unwrap();
    assert!(head.incarnation == honest.incarnation && head.version > honest.version);
}
