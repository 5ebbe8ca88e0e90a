//! Head-signing keys and root keys are replaced while edges poll, and none of them refuses anything in between.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nightlatch::publisher::{CutReason, Probe, Publisher, PublisherConfig, Role, Step, rebuild};
use nightlatch::store::{Error, peppers};
use nightlatch::trust::{self, put_into_force, sign, standing};
use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{BaseBuilder, BaseInfo, Columns, Head, Layout, Status, Trust};
use nightlatch_sync::Refusal;
use nightlatch_tests::follower::Follower;
use nightlatch_tests::wait::eventually;

use crate::gate::Gate;
use crate::on_both;
use crate::world::{Change, World};

const SOON: Duration = Duration::from_secs(30);

on_both! {
    /// Zero downtime: the routine, from the first note to the last.
    a_head_signing_key_is_replaced_while_edges_poll
    /// SECURITY.md: the head-signing key is stolen.
    a_stolen_head_signing_key_is_worth_nothing_after_the_next_note
    a_root_key_is_replaced_by_co_signing
    /// SECURITY.md: the pepper is stolen.
    a_pepper_is_replaced_while_edges_poll
    a_killed_leader_goes_on_with_the_key_that_signed
    a_key_that_is_replaced_while_a_base_is_made_does_not_sign_it
    a_trust_note_is_never_taken_back
}

pub(crate) fn root(seed: u8) -> Signer {
    Signer::new("nightlatch/tests/root", &[seed; 32]).unwrap()
}

pub(crate) fn another(seed: u8) -> Arc<Signer> {
    Arc::new(Signer::new("nightlatch/tests", &[seed; 32]).unwrap())
}

/// Has the first note made, as the first start does.
pub(crate) async fn establish(world: &World) {
    let keys = {
        let mut keys = world.keys_held.lock().unwrap();
        keys.roots = vec![Arc::new(root(8))];
        keys.clone()
    };
    let (set, vkey) = (world.set.clone(), World::signer().verifier().to_vkey());
    let named = world.store.write::<_, Error, _>(move |tx| {
        Box::pin(async move { nightlatch::store::trust::name_signer(tx, &set, &vkey).await })
    });
    named.await.unwrap();
    let made = trust::establish(&world.store, &world.workspace, &world.set, &keys).await.unwrap();
    assert_eq!(made, Some(1));
}

pub(crate) fn follower(world: &World) -> Follower {
    Follower::new(
        world.set.as_str(),
        vec![root(8).verifier()],
        Vec::new(),
        vec![world.pepper("p1"), world.pepper("p2")],
    )
}

/// Has another key sign, as `nightlatch trust rotate-signer` does.
pub(crate) async fn rotate(world: &World, signer: &Arc<Signer>, compromised: bool) {
    let keys = {
        let mut keys = world.keys_held.lock().unwrap();
        keys.signers.push(Arc::clone(signer));
        keys.clone()
    };
    let (workspace, set, verifier) = (world.workspace.clone(), world.set.clone(), signer.verifier());
    let epoch = world.count("SELECT epoch FROM sets").await.unsigned_abs();
    let put = world.store.write::<_, trust::Error, _>(move |tx| {
        Box::pin(async move {
            let now = standing(tx, &set).await?.unwrap();
            let next = now.with_signer(verifier, (0, epoch), compromised);
            let note = sign(&next, &now.trust.roots, &keys.roots)?;
            put_into_force(tx, &workspace, &set, note, &keys, "a test").await
        })
    });
    put.await.unwrap();
}

/// Polls until the edge holds a trust note; whatever is refused meanwhile is an error.
async fn follow_until(world: &World, edge: &mut Follower, publisher: &Publisher, trust: u64) {
    let key = world.issue(&["a:read"]).await;
    eventually("the edge has followed", SOON, async || {
        edge.poll(world.directory.path()).unwrap();
        assert!(edge.answers());
        let head = edge.edge.loaded().unwrap().head().clone();
        anyhow::ensure!(head.trust == Some(trust) && edge.status(&key.digest).is_some(), "at {head:?}");
        Ok(())
    })
    .await
    .unwrap();
    assert!(!publisher.status().borrow().refused);
}

async fn a_head_signing_key_is_replaced_while_edges_poll(world: World) {
    establish(&world).await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    let mut edge = follower(&world);
    edge.poll(world.directory.path()).unwrap();
    follow_until(&world, &mut edge, &publisher, 1).await;
    let old_head = world.directory.head().unwrap().unwrap();

    let signer = another(9);
    rotate(&world, &signer, false).await;
    follow_until(&world, &mut edge, &publisher, 2).await;
    let note = world.directory.head().unwrap().unwrap();
    assert!(Head::open(&note, &[signer.verifier()]).is_ok(), "the new key signs");
    assert!(world.count("SELECT COUNT(*) FROM set_epochs WHERE reason = 'signer'").await >= 1);
    assert_eq!(edge.edge.trust().unwrap().signers.len(), 2);

    // Nobody relies on the old key's heads any more: the running publisher leaves it out by itself.
    world.execute("UPDATE sets SET signed_since = signed_since - 300000").await;
    follow_until(&world, &mut edge, &publisher, 3).await;
    assert_eq!(edge.edge.trust().unwrap().signers, [signer.verifier()]);
    // An edge that starts now knows the new key alone.
    let mut cold = follower(&world);
    cold.poll(world.directory.path()).unwrap();
    assert!(
        cold.edge
            .offer(&old_head, nightlatch_tests::clock::now_ms())
            .is_ok_and(|offer| { matches!(offer, nightlatch_sync::Offer::NeedsTrust) })
    );
    // A head that is signed anew and nothing else works, too, and so does a restart.
    publisher.stop().await;
    let publisher = world.publisher();
    follow_until(&world, &mut edge, &publisher, 3).await;
    publisher.stop().await;
}

async fn a_stolen_head_signing_key_is_worth_nothing_after_the_next_note(world: World) {
    establish(&world).await;
    let publisher = world.publisher();
    let revoked = world.issue(&[]).await;
    world.change(&revoked, Change::Revoke).await;
    publisher.flush().await.unwrap();
    let (mut edge, mut other) = (follower(&world), follower(&world));
    edge.poll(world.directory.path()).unwrap();
    other.poll(world.directory.path()).unwrap();

    // The thief writes a set of their own to where one edge reads, far ahead of the real one.
    let stolen = world.other_directory();
    forge(&world, &stolen);
    edge.poll(stolen.path()).unwrap();
    assert_eq!(edge.status(&revoked.digest), None);
    // The real head is behind what that edge has accepted.
    assert!(matches!(edge.poll(world.directory.path()), Err(Refusal::Rollback)));

    let signer = another(9);
    rotate(&world, &signer, true).await;
    // Whoever was not deceived goes on without a gap; who was, comes back.
    follow_until(&world, &mut other, &publisher, 2).await;
    edge.poll(world.directory.path()).unwrap();
    assert_eq!(edge.status(&revoked.digest), Some(Status::Revoked));
    assert_eq!(publisher.status().borrow().last_cut_reason, Some(CutReason::Signer));
    // The thief's heads are refused from now on, by everybody.
    assert!(edge.poll(stolen.path()).is_err() && other.poll(stolen.path()).is_err());
    assert_eq!(edge.status(&revoked.digest), Some(Status::Revoked));
    publisher.stop().await;
}

/// A set without keys, signed with the key that the world's publisher began with.
fn forge(world: &World, directory: &nightlatch::publisher::SetDirectory) {
    let honest = Head::open(&world.directory.head().unwrap().unwrap(), &World::verifiers()).unwrap();
    let info = BaseInfo {
        set: honest.set.clone(),
        workspace: honest.workspace.clone(),
        pepper: honest.pepper.clone(),
        incarnation: 1 << 40,
        epoch: 1,
        version: 1,
        cutoff: 0,
    };
    let layout = Layout::for_keys(0, Columns { subject: true, number: true });
    let files = BaseBuilder::new(info, layout, 0).unwrap().finish().unwrap();
    let head = Head {
        incarnation: 1 << 40,
        epoch: 1,
        version: 1,
        keys: 0,
        base_version: 1,
        base_commitment: honest.commitment,
        base_root: files.root,
        base_len: files.index.len() as u64,
        base_parts: files.parts.iter().map(|part| part.len() as u64).collect(),
        rebase: None,
        ..honest
    };
    directory.create().unwrap();
    directory.put(&head.base_name(), &files.index).unwrap();
    let policy = world.directory.file(&head.policy_name(), head.policy_len).unwrap().unwrap();
    directory.put(&head.policy_name(), &policy).unwrap();
    directory.put_note("trust", &world.directory.note("trust").unwrap().unwrap()).unwrap();
    directory.put_head(&head.sign(&World::signer())).unwrap();
}

async fn a_root_key_is_replaced_by_co_signing(world: World) {
    establish(&world).await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    let mut edge = follower(&world);
    edge.poll(world.directory.path()).unwrap();
    let fresh = Arc::new(root(18));
    let change = async |retire: bool| {
        let (workspace, set, keys) = (world.workspace.clone(), world.set.clone(), world.config().keys);
        let fresh = Arc::clone(&fresh);
        let put = world.store.write::<_, trust::Error, _>(move |tx| {
            Box::pin(async move {
                let now = standing(tx, &set).await?.unwrap();
                let mut next = now.next();
                if retire {
                    next.roots.remove(0);
                } else {
                    next.roots.push(fresh.verifier());
                }
                let note = sign(&next, &now.trust.roots, &keys.roots)?;
                put_into_force(tx, &workspace, &set, note, &keys, "a test").await
            })
        });
        put.await.unwrap();
    };
    world.keys_held.lock().unwrap().roots.push(Arc::clone(&fresh));
    change(false).await;
    follow_until(&world, &mut edge, &publisher, 2).await;
    change(true).await;
    // Edges that pin the old root still go by it as long as its holder signs, too; those that pin the new one need no other.
    follow_until(&world, &mut edge, &publisher, 3).await;
    let mut anew = Follower::new(world.set.as_str(), vec![fresh.verifier()], Vec::new(), vec![world.pepper("p1")]);
    anew.poll(world.directory.path()).unwrap();
    assert_eq!(anew.edge.trust().unwrap().roots, [fresh.verifier()]);
    // The old root alone may not sign the next one.
    let now = standing(&mut world.store.read().await.unwrap(), &world.set).await.unwrap().unwrap();
    assert!(matches!(sign(&now.next(), &now.trust.roots, &[Arc::new(root(8))]), Err(trust::Error::NoRoot)));
    publisher.stop().await;
}

async fn a_pepper_is_replaced_while_edges_poll(world: World) {
    let publisher = world.publisher();
    let key = world.issue(&[]).await;
    publisher.flush().await.unwrap();
    let verifiers = World::verifiers().to_vec();
    let both = vec![world.pepper("p1"), world.pepper("p2")];
    let mut ready = Follower::new(world.set.as_str(), Vec::new(), verifiers.clone(), both);
    let mut lacking = Follower::new(world.set.as_str(), Vec::new(), verifiers, vec![world.pepper("p1")]);
    ready.poll(world.directory.path()).unwrap();
    lacking.poll(world.directory.path()).unwrap();

    let (context, set) = (world.context(), world.set.clone());
    let switched = world
        .store
        .write::<_, Error, _>(move |tx| Box::pin(async move { peppers::switch(tx, &context, &set, "p2").await }));
    switched.await.unwrap();
    eventually("the set is made with the other pepper", SOON, async || {
        ready.poll(world.directory.path()).unwrap();
        assert_eq!(ready.status(&key.digest), Some(Status::Active));
        let pepper = ready.edge.loaded().unwrap().head().pepper.clone();
        anyhow::ensure!(pepper == "p2", "{pepper}");
        Ok(())
    })
    .await
    .unwrap();
    // Who lacks it answers from what it has as long as that is good, says what is wrong, and calls no good key bad.
    assert!(matches!(lacking.poll(world.directory.path()), Err(Refusal::PepperMissing { .. })));
    assert_eq!(lacking.status(&key.digest), Some(Status::Active));
    publisher.stop().await;
}

async fn a_killed_leader_goes_on_with_the_key_that_signed(world: World) {
    establish(&world).await;
    for (number, step) in [Step::BaseBuilt, Step::CutConcluded, Step::PartsWritten].into_iter().enumerate() {
        let publisher = world.publisher();
        world.issue(&[]).await;
        publisher.flush().await.unwrap();
        publisher.stop().await;
        let mut edge = follower(&world);
        edge.poll(world.directory.path()).unwrap();

        rotate(&world, &another(30 + u8::try_from(number).unwrap()), false).await;
        let killed = world.probed(move |at| at != step);
        assert!(killed.reached(u64::MAX).await.is_err(), "{step:?}");
        edge.poll(world.directory.path()).unwrap();
        let publisher = world.publisher();
        follow_until(&world, &mut edge, &publisher, 2 + number as u64).await;
        publisher.stop().await;
    }
}

async fn a_key_that_is_replaced_while_a_base_is_made_does_not_sign_it(world: World) {
    establish(&world).await;
    // In the first epoch, where there is no head before, and in a later one.
    for round in 1..=2 {
        let (gate, config) = Gate::at(Step::BaseBuilt, world.config());
        let (heads, directory, hold) =
            (Arc::new(Mutex::new(Vec::new())), world.directory.clone(), config.probe.unwrap());
        let seen = Arc::clone(&heads);
        let probe: Probe = Arc::new(move |step| {
            if step == Step::HeadWritten {
                seen.lock().unwrap().push(directory.head().unwrap().unwrap());
            }
            hold(step)
        });
        let publisher = Publisher::spawn(world.store.clone(), PublisherConfig { probe: Some(probe), ..world.config() });
        if round > 1 {
            for _ in 0..9 {
                world.issue(&[]).await;
            }
        }
        gate.reached().await;
        let signer = another(40 + round);
        rotate(&world, &signer, true).await;
        gate.open();
        let by_new = |note: &String| Head::open(note, &[signer.verifier()]).is_ok();
        eventually("the new key signs", SOON, async || {
            anyhow::ensure!(heads.lock().unwrap().iter().any(by_new));
            Ok(())
        })
        .await
        .unwrap();
        publisher.stop().await;
        // Every head is signed by a key that the note it names lists.
        let heads = heads.lock().unwrap().clone();
        for note in &heads {
            let named = note.lines().find_map(|line| line.strip_prefix("trust ")).unwrap().parse().unwrap();
            let trust = nightlatch::store::trust::note(&mut world.store.read().await.unwrap(), &world.set, named).await;
            let trust = Trust::open(&trust.unwrap().unwrap(), &[root(8).verifier()]).unwrap();
            assert!(Head::open(note, &trust.signers).is_ok(), "round {round}: {note}");
        }
        let mut edge = follower(&world);
        edge.poll(world.directory.path()).unwrap();
        assert_eq!(edge.edge.trust().unwrap().signers, [signer.verifier()]);
    }
}

async fn a_trust_note_is_never_taken_back(mut world: World) {
    world.limits.lease = Duration::from_millis(300);
    establish(&world).await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let in_place = |world: &World| {
        let note = world.directory.note("trust").unwrap().unwrap();
        Trust::open(&note, &[root(8).verifier()]).unwrap().version
    };

    // A leader stands still between its head and its files, long enough to lose the lease. Both share the directory.
    let (gate, config) = Gate::at(Step::Signed, world.config());
    let first = Publisher::spawn(world.store.clone(), config);
    gate.reached().await;
    let config = PublisherConfig { holder: "instance-two".into(), ..world.config() };
    let second = Publisher::spawn(world.store.clone(), config);
    second.wait(|status| matches!(status.role, Role::Leading(_))).await.unwrap();
    rotate(&world, &another(9), false).await;
    let mut edge = follower(&world);
    follow_until(&world, &mut edge, &second, 2).await;
    second.stop().await;
    gate.open();
    first.wait(|status| status.error.is_some()).await.unwrap();
    assert_eq!(in_place(&world), 2);

    // What somebody puts back is replaced with the next head, and a later note of a listed root is left alone.
    first.flush().await.unwrap();
    let mut read = world.store.read().await.unwrap();
    let old = nightlatch::store::trust::note(&mut read, &world.set, 1).await.unwrap().unwrap();
    let next = standing(&mut read, &world.set).await.unwrap().unwrap().next();
    drop(read);
    world.directory.put_note("trust", &old).unwrap();
    first.flush().await.unwrap();
    assert_eq!(in_place(&world), 2);
    world.directory.put_note("trust", &next.sign(&root(8))).unwrap();
    first.flush().await.unwrap();
    assert_eq!(in_place(&world), 3);
    first.stop().await;
    rebuild(&world.store, &world.config()).await.unwrap();
    assert_eq!(in_place(&world), 3);
}
