//! Keys that had to die while nothing could be signed, and strangers who write to where edges read.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use nightlatch::publisher::Publisher;
use nightlatch_key::Digest;
use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{Deny, Status};
use nightlatch_sync::Refusal;

use nightlatch_tests::follower::Follower;

use crate::on_both;
use crate::world::World;

on_both! {
    /// SECURITY.md: the control plane is down when a key must die.
    a_deny_note_kills_a_key_at_edges_and_then_in_the_database
    /// SECURITY.md: a bucket that a stranger can write to.
    what_strangers_write_beside_the_set_changes_nothing
    a_deny_note_that_cannot_be_read_is_told_and_stops_nothing
}

fn deny(world: &World, number: u64, digests: &[Digest], signer: &Signer) -> String {
    let mut digests = digests.to_vec();
    digests.sort_by_key(|digest| *digest.as_bytes());
    Deny { set: world.set.to_string(), number, issued: 1, digests }.sign(signer)
}

fn follower(world: &World) -> Follower {
    Follower::new(world.set.as_str(), Vec::new(), World::verifiers().to_vec(), vec![world.pepper("p1")])
}

async fn a_deny_note_kills_a_key_at_edges_and_then_in_the_database(world: World) {
    let publisher = world.publisher();
    let [leaked, other] = [world.issue(&[]).await, world.issue(&[]).await];
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let mut edge = follower(&world);
    edge.poll(world.directory.path()).unwrap();
    assert_eq!(edge.status(&leaked.digest), Some(Status::Active));

    // Nobody publishes. A note, signed offline, is all it takes.
    let unknown = Digest::of(b"import-5");
    let note = deny(&world, 1, &[leaked.digest, unknown], &World::signer());
    world.directory.put_note("deny", &note).unwrap();
    assert!(edge.poll_deny(world.directory.path()).unwrap());
    assert_eq!(edge.status(&leaked.digest), Some(Status::Revoked));
    assert_eq!(edge.status(&other.digest), Some(Status::Active));

    // Whoever publishes next takes it over before anything is signed.
    let (gate, config) = crate::gate::Gate::at(nightlatch::publisher::Step::Signed, world.config());
    let publisher = nightlatch::publisher::Publisher::spawn(world.store.clone(), config);
    gate.reached().await;
    let revoked = format!("SELECT COUNT(*) FROM keys WHERE state = 'revoked' AND id = '{}'", leaked.id);
    assert_eq!(world.count(&revoked).await, 1);
    gate.open();
    publisher.flush().await.unwrap();
    let mut cold = follower(&world);
    cold.poll(world.directory.path()).unwrap();
    assert_eq!(cold.status(&leaked.digest), Some(Status::Revoked));
    assert_eq!(cold.status(&other.digest), Some(Status::Active));
    let audited = "SELECT COUNT(*) FROM audit WHERE action = 'key.revoked' AND actor_type = 'system' \
                   AND request_id = 'emergency-deny'";
    assert_eq!(world.count(audited).await, 1);

    // A text that had no key is not taken in any more, its neighbours are.
    let import = world.try_import(4, 3).await;
    assert_eq!((import.created, import.errors), (2, vec![(2, nightlatch::domain::Refusal::KeyRevoked)]));

    // While it runs, a further note is found, too. The import is published first, so that only the note
    // can raise the version.
    publisher.flush().await.unwrap();
    cold.poll(world.directory.path()).unwrap();
    assert_eq!(cold.status(&other.digest), Some(Status::Active));
    let note = deny(&world, 2, &[leaked.digest, other.digest], &World::signer());
    world.directory.put_note("deny", &note).unwrap();
    publisher.wait(|status| status.version > cold.edge.mark().unwrap().version).await.unwrap();
    cold.poll(world.directory.path()).unwrap();
    assert_eq!(cold.status(&other.digest), Some(Status::Revoked));
    publisher.stop().await;
}

async fn what_strangers_write_beside_the_set_changes_nothing(world: World) {
    let publisher = world.publisher();
    let key = world.issue(&[]).await;
    publisher.flush().await.unwrap();
    let mut edge = follower(&world);
    edge.poll(world.directory.path()).unwrap();
    publisher.stop().await;
    let honest = world.directory.head().unwrap().unwrap();
    let stranger = Arc::new(Signer::new("nightlatch/tests", &[66; 32]).unwrap());

    let bad_heads = ["".to_owned(), "x".repeat(20_000), honest.replace("version", "vers1on"), honest[..40].to_owned()];
    for head in bad_heads {
        world.directory.put_head(&head).unwrap();
        assert!(edge.poll(world.directory.path()).is_err(), "{head:.40}");
        assert_eq!(edge.status(&key.digest), Some(Status::Active));
    }
    let garbage = ["", "no note", &"y".repeat(30_000), &deny(&world, 9, std::slice::from_ref(&key.digest), &stranger)];
    for note in garbage {
        world.directory.put_note("deny", note).unwrap();
        world.directory.put_note("trust", note).unwrap();
        assert!(matches!(edge.poll_deny(world.directory.path()), Err(Refusal::Statement(_))));
        // It goes on publishing, and mends the head.
        let publisher = world.publisher();
        publisher.flush().await.unwrap();
        publisher.stop().await;
        edge.poll(world.directory.path()).unwrap();
        assert_eq!(edge.status(&key.digest), Some(Status::Active));
    }
    // Files that no head implies, and one that a head does.
    let base = nightlatch_keyset::FileName::Base { incarnation: 0, epoch: 1 };
    world.directory.put(&base, b"garbage").unwrap();
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let mut cold = follower(&world);
    cold.poll(world.directory.path()).unwrap();
    assert_eq!(cold.status(&key.digest), Some(Status::Active));
}

async fn a_deny_note_that_cannot_be_read_is_told_and_stops_nothing(world: World) {
    let publisher = world.publisher();
    let key = world.issue(&[]).await;
    publisher.flush().await.unwrap();
    let path = world.directory.path().join("deny");
    let told = async |publisher: &Publisher, told: bool| {
        let status = publisher.wait(|status| status.deny_unreadable.is_some() == told).await.unwrap();
        assert!(!status.refused && status.error.is_none(), "{status:?}");
        publisher.flush().await.unwrap();
    };
    fs::create_dir(&path).unwrap();
    told(&publisher, true).await;
    fs::remove_dir(&path).unwrap();
    told(&publisher, false).await;
    // Nobody ever writes into it.
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    told(&publisher, true).await;
    publisher.stop().await;
    // Nor is it in the way of a start.
    let publisher = world.publisher();
    told(&publisher, true).await;

    // Once it can be read, it counts.
    fs::remove_file(&path).unwrap();
    world.directory.put_note("deny", &deny(&world, 1, std::slice::from_ref(&key.digest), &World::signer())).unwrap();
    told(&publisher, false).await;
    publisher.published(key.number).await.unwrap();
    let mut edge = follower(&world);
    edge.poll(world.directory.path()).unwrap();
    assert_eq!(edge.status(&key.digest), Some(Status::Revoked));
    publisher.stop().await;
}
