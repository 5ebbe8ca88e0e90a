//! Files that are lost, damaged, ahead or foreign.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use nightlatch::publisher::{CutReason, Error, PublisherConfig, SetDirectory, rebuild};
use nightlatch::secrets::Keyring;
use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{FileName, Head, levels};
use rand::seq::IteratorRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::on_both;
use crate::reader::{assert_equals, load};
use crate::signers::{another, establish, rotate};
use crate::world::{Change, World};

on_both! {
    lost_and_damaged_files_come_back_byte_for_byte
    a_lost_directory_comes_back
    a_database_that_contradicts_is_not_published_from
    a_restored_database_is_not_published_from
    a_foreign_key_does_not_take_over_a_set
    /// DESIGN 5.3: unknown signers are passed over.
    what_a_stranger_puts_among_the_files_stops_nothing
    /// SECURITY.md: the head-signing key is stolen; the thief can write to where edges read.
    what_a_replaced_key_signs_stops_nothing
    a_clock_that_went_back_is_waited_for
}

fn snapshot(directory: &SetDirectory) -> BTreeMap<String, Vec<u8>> {
    let mut files: BTreeMap<_, _> = directory
        .list()
        .unwrap()
        .into_iter()
        .map(|name| (name.to_text(), fs::read(directory.file_path(&name)).unwrap()))
        .collect();
    files.insert("head".into(), fs::read(directory.head_path()).unwrap());
    files
}

/// The second epoch, with a base of several keys and four deltas; the publisher stopped.
pub(crate) async fn published(world: &World) {
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let mut keys = Vec::new();
    for scope in ["a:read", "b:read", "c:read", "d:read", "e:read", "f:read", "g:read", "h:read", "i:read"] {
        keys.push(world.issue(&[scope]).await);
    }
    let publisher = world.publisher();
    publisher.wait(|status| status.epoch == 2).await.unwrap();
    for (key, scopes) in keys.iter().zip([["new:one", "new:two"], ["new:three", "a:read"]]) {
        world.change(key, Change::Tier("gold")).await;
        publisher.flush().await.unwrap();
        world.issue(&scopes).await;
        publisher.flush().await.unwrap();
    }
    publisher.stop().await;
    let head = load(&world.directory).head;
    assert_eq!((head.epoch, head.base_version, head.version), (2, 3, 7));
    assert!(head.rebase.is_some());
}

/// What the head implies, and all deltas that end at it.
fn needed(head: &Head) -> BTreeSet<FileName> {
    let base = head.base_version;
    let ends = levels::levels_at(head.version - base).map(|(from, to)| head.delta_name(base + from, base + to));
    nightlatch_sync::implied_files(head).chain(ends).collect()
}

async fn lost_and_damaged_files_come_back_byte_for_byte(world: World) {
    published(&world).await;
    let good = snapshot(&world.directory);
    let head = load(&world.directory).head;
    let needed: Vec<FileName> = needed(&head).into_iter().collect();
    assert_eq!(needed.len(), 7, "{needed:?}");
    assert_eq!(rebuild(&world.store, &world.config()).await.unwrap().files, Vec::<String>::new());

    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..25 {
        let count = rng.random_range(1..=needed.len());
        let mut hit: Vec<_> = needed.iter().sample(&mut rng, count).iter().map(ToString::to_string).collect();
        for name in &hit {
            let path = world.directory.path().join("files").join(name);
            let mut bytes = fs::read(&path).unwrap();
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..3) {
                0 => fs::remove_file(&path).unwrap(),
                1 => {
                    bytes[at] ^= 1 << rng.random_range(0..8);
                    fs::write(&path, &bytes).unwrap();
                }
                _ => fs::write(&path, &bytes[..at]).unwrap(),
            }
        }
        if rng.random_bool(0.3) {
            fs::write(world.directory.head_path(), "not a note").unwrap();
            hit.push("head".into());
        }
        let mut mended = rebuild(&world.store, &world.config()).await.unwrap().files;
        mended.sort();
        hit.sort();
        assert_eq!(mended, hit);
        assert!(snapshot(&world.directory) == good);
    }
}

async fn a_lost_directory_comes_back(world: World) {
    published(&world).await;
    let good = snapshot(&world.directory);
    fs::remove_dir_all(world.directory.path()).unwrap();
    rebuild(&world.store, &world.config()).await.unwrap();
    let mended = snapshot(&world.directory);
    assert_eq!(mended.len(), needed(&load(&world.directory).head).len() + 1);
    // Files of the epoch before are not made again, nor deltas that lead on from versions long past.
    for (name, bytes) in &mended {
        assert!(bytes == &good[name], "{name}");
    }
    assert_equals(&load(&world.directory).replica, &world.pepper("p1"), &world.keys().await);
}

async fn a_database_that_contradicts_is_not_published_from(world: World) {
    published(&world).await;
    let head = load(&world.directory).head;
    let (base, delta) = (head.base_name(), head.delta_name(head.version - 1, head.version));
    let changed = [
        (base, format!("UPDATE changes SET status = 3 WHERE key_number = 5 AND version <= {}", head.base_version)),
        (delta, format!("UPDATE changes SET status = 3 WHERE version = {}", head.version)),
    ];
    for (name, tampering) in changed {
        world.execute(&tampering).await;
        // As long as the files are whole, they are what counts.
        rebuild(&world.store, &world.config()).await.unwrap();
        fs::remove_file(world.directory.file_path(&name)).unwrap();
        let error = rebuild(&world.store, &world.config()).await.unwrap_err();
        assert!(matches!(&error, Error::Contradiction { what } if what.contains(&name.to_text())), "{error}");

        let publisher = world.publisher();
        let status = publisher.wait(|status| status.error.is_some()).await.unwrap();
        assert!(status.refused);
        assert!(status.readiness(0).unwrap_err().contains("contradict"));
        publisher.stop().await;
        assert!(!world.directory.file_path(&name).exists());
        // Put back for the next.
        world.execute("UPDATE changes SET status = 0 WHERE status = 3").await;
        rebuild(&world.store, &world.config()).await.unwrap();
    }
}

async fn a_restored_database_is_not_published_from(mut world: World) {
    world.limits.max_versions = 8;
    published(&world).await;
    let earlier = fs::read_to_string(world.directory.head_path()).unwrap();
    let state = load(&world.directory).head;
    world.issue(&["late:read"]).await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let published = snapshot(&world.directory);

    // The set's state as a backup would have it.
    world
        .execute(&format!(
            "UPDATE sets SET version = {}, head = '{earlier}', head_issued = {}, commitment = {}",
            state.version,
            state.issued,
            world.blob(&state.commitment.0.to_hex()),
        ))
        .await;
    let publisher = world.publisher();
    let status = publisher.wait(|status| status.error.is_some()).await.unwrap();
    assert!(status.refused);
    assert!(status.error.unwrap().contains("nightlatch recover"));
    publisher.stop().await;
    assert!(snapshot(&world.directory) == published);

    // Even where only a file, and not the head, is left to show it.
    fs::write(world.directory.head_path(), &earlier).unwrap();
    let error = rebuild(&world.store, &world.config()).await.unwrap_err();
    assert!(matches!(&error, Error::Ahead { what } if what.starts_with("delta-")), "{error}");
    // Or where the database knows of nothing at all.
    world.execute("UPDATE sets SET version = 0, epoch = 0, head = NULL, head_issued = NULL").await;
    fs::remove_dir_all(world.directory.path().join("files")).unwrap();
    let error = rebuild(&world.store, &world.config()).await.unwrap_err();
    assert!(matches!(&error, Error::Ahead { what } if what.contains("head")), "{error}");
    assert_eq!(fs::read_to_string(world.directory.head_path()).unwrap(), earlier);
}

async fn a_foreign_key_does_not_take_over_a_set(world: World) {
    published(&world).await;
    let good = snapshot(&world.directory);
    let stranger = Signer::new("nightlatch/tests", &[8; 32]).unwrap();
    let keys = Keyring { signers: Vec::new(), ..world.config().keys };
    let config = PublisherConfig { signer: Arc::new(stranger), keys, ..world.config() };
    let error = rebuild(&world.store, &config).await.unwrap_err();
    assert!(error.is_refusal() && matches!(error, Error::StoredHead(_)), "{error}");
    assert!(snapshot(&world.directory) == good);
}

async fn what_a_stranger_puts_among_the_files_stops_nothing(world: World) {
    published(&world).await;
    let good = snapshot(&world.directory);
    let honest = load(&world.directory).head;
    // A head far ahead of everything, and files that would lead there: none of it signed by a key of the set.
    let stranger = Signer::new("nightlatch/tests", &[8; 32]).unwrap();
    let far = Head { incarnation: 9, version: honest.version + 100, ..honest.clone() };
    let strays = [
        FileName::Base { incarnation: 9, epoch: 1 },
        FileName::BasePart { incarnation: 9, epoch: 1, part: 0 },
        FileName::Rebase { incarnation: 9, epoch: 1 },
        FileName::Delta { incarnation: 9, epoch: 1, from: 1, to: 2 },
        honest.delta_name(honest.version, honest.version + 1),
    ];
    for name in &strays {
        world.directory.put(name, b"").unwrap();
    }
    rebuild(&world.store, &world.config()).await.unwrap();
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    world.directory.put_head(&far.sign(&stranger)).unwrap();
    publisher.flush().await.unwrap();
    assert!(!publisher.status().borrow().refused);
    publisher.stop().await;
    assert!(Head::open(&world.directory.head().unwrap().unwrap(), &World::verifiers()).is_ok());

    // At a start, too.
    for name in &strays {
        world.directory.remove(name).unwrap();
    }
    fs::write(world.directory.head_path(), far.sign(&stranger)).unwrap();
    assert_eq!(rebuild(&world.store, &world.config()).await.unwrap().files, ["head"]);
    assert!(good.iter().all(|(name, bytes)| name == "head" || snapshot(&world.directory)[name] == *bytes));

    // What a key of the set has signed counts, however it came there; and bases count where no head says otherwise.
    let ahead = Head { version: honest.version + 100, ..honest.clone() };
    fs::write(world.directory.head_path(), ahead.sign(&World::signer())).unwrap();
    let error = rebuild(&world.store, &world.config()).await.unwrap_err();
    assert!(matches!(&error, Error::Ahead { what } if what.contains("head")), "{error}");
    fs::write(world.directory.head_path(), far.sign(&stranger)).unwrap();
    world.directory.put(&strays[0], b"").unwrap();
    let error = rebuild(&world.store, &world.config()).await.unwrap_err();
    assert!(matches!(&error, Error::Ahead { what } if what.starts_with("base-")), "{error}");
}

async fn what_a_replaced_key_signs_stops_nothing(world: World) {
    establish(&world).await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    let fresh = another(9);
    rotate(&world, &fresh, true).await;
    publisher.wait(|status| status.last_cut_reason == Some(CutReason::Signer)).await.unwrap();
    let note = world.directory.head().unwrap().unwrap();
    let honest = Head::open(&note, &[fresh.verifier()]).unwrap();
    // The thief still has the key that this process holds as well.
    let far = Head { incarnation: 9, ..honest.clone() };
    world.directory.put_head(&far.sign(&World::signer())).unwrap();
    publisher.flush().await.unwrap();
    assert!(publisher.status().borrow().error.is_none());
    publisher.stop().await;
    world.directory.put_head(&far.sign(&World::signer())).unwrap();
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    assert!(Head::open(&world.directory.head().unwrap().unwrap(), &[fresh.verifier()]).is_ok());

    // The key in force counts, also where only the published trust note lists it: the database was restored.
    world.directory.put_head(&far.sign(&fresh)).unwrap();
    let error = rebuild(&world.store, &world.config()).await.unwrap_err();
    assert!(matches!(error, Error::Ahead { .. }), "{error}");
    world.execute("DELETE FROM trust_notes WHERE version = 2").await;
    let old = Head { trust: Some(1), ..honest }.sign(&World::signer());
    world.execute(&format!("UPDATE sets SET head = '{old}'")).await;
    let keys = Keyring { signers: vec![Arc::new(World::signer())], ..world.config().keys };
    let error = rebuild(&world.store, &PublisherConfig { keys, ..world.config() }).await.unwrap_err();
    assert!(matches!(error, Error::Ahead { .. }), "{error}");
}

async fn a_clock_that_went_back_is_waited_for(world: World) {
    published(&world).await;
    // A head from an hour ahead: what a database clock that is then set right leaves behind.
    let mut head = load(&world.directory).head;
    head.issued += 3_600_000;
    head.valid_until += 3_600_000;
    let note = head.sign(&World::signer());
    fs::write(world.directory.head_path(), &note).unwrap();
    world.execute(&format!("UPDATE sets SET head = '{note}', head_issued = {}", head.issued)).await;
    let publisher = world.publisher();
    let status = publisher.wait(|status| status.error.is_some()).await.unwrap();
    assert!(status.error.unwrap().contains("clock"));
    assert!(!status.refused);
    publisher.stop().await;
    assert_eq!(fs::read_to_string(world.directory.head_path()).unwrap(), note);
}
