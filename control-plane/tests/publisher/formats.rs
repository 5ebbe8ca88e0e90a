//! The first start of a program whose files have a new format: what it finds is of the format before.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use nightlatch::domain::Role;
use nightlatch::publisher::{CutReason, Publisher, Step, rebuild};
use nightlatch_keyset::{Commitment, FileName, Hash, Head};

use crate::gate::Gate;
use crate::on_both;
use crate::people::Fate;
use crate::reader::{assert_equals, load};
use crate::rebuilding::published;
use crate::signers::{another, establish, rotate};
use crate::world::World;

on_both! {
    /// S0-25: a base of the format before is made anew from the database.
    s0_25_a_base_of_the_format_before_is_made_anew
    /// S0-25: the older program was killed after the database had a version, or an epoch, and before its files were there.
    s0_25_files_of_the_format_before_that_were_never_written_are_written
    /// S0-25: this program goes on in an epoch of the format before, and is killed there.
    s0_25_an_epoch_of_two_formats_is_mended
    /// S0-25, SECURITY.md: a stolen key does not sign until a base of this format is built.
    s0_25_another_key_signs_at_once_in_this_format
}

async fn s0_25_a_base_of_the_format_before_is_made_anew(world: World) {
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
    // The first base as the program before wrote it: it differs in its number, and so in its root and all that follows.
    let edge = load(&world.directory);
    let mut index = fs::read(world.directory.file_path(&edge.head.base_name())).unwrap();
    index[6] = 2;
    let core = index.len() - 32 - 2 * 2;
    let root = nightlatch_keyset::Hash::of(&index[..core]);
    let commitment = nightlatch_keyset::Commitment::START.then(&root);
    let head = nightlatch_keyset::Head {
        commitment,
        base_commitment: commitment,
        base_root: root,
        version: edge.head.base_version,
        keys: 0,
        ..edge.head.clone()
    };
    fs::write(world.directory.file_path(&head.base_name()), &index).unwrap();
    let note = head.sign(&World::signer());
    fs::write(world.directory.head_path(), &note).unwrap();
    let (root, commitment) = (hex(&root.0), hex(&commitment.0.0));
    world
        .execute(&format!(
            "UPDATE set_epochs SET root = {0}, commitment = {1}",
            world.blob(&root),
            world.blob(&commitment)
        ))
        .await;
    world
        .execute(&format!(
            "UPDATE set_versions SET link = {}, commitment = {}",
            world.blob(&root),
            world.blob(&commitment)
        ))
        .await;
    world.execute(&format!("UPDATE sets SET head = '{note}', commitment = {}", world.blob(&commitment))).await;

    world.member(2, Role::Admin, "a:read").await;
    world.issue_to(2).await;
    world.becomes(2, Fate::Suspended).await;
    let publisher = world.publisher();
    let status = publisher.wait(|status| status.epoch == 2).await.unwrap();
    assert_eq!(status.last_cut_reason, Some(CutReason::Format));
    publisher.flush().await.unwrap();
    let edge = load(&world.directory);
    assert!(edge.replica.has_current_format() && edge.head.rebase.is_none());
    world.assert_same_verdicts(&edge.replica).await;
    publisher.stop().await;
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Turns two published epochs into what the program of the format before had made: the files differ in their numbers, and so
/// the database and the head in all hashes. Returns the files.
async fn as_before(world: &World) -> BTreeMap<FileName, Vec<u8>> {
    let head = load(&world.directory).head;
    let first = FileName::Base { incarnation: 0, epoch: 1 };
    let read = |name: &FileName| fs::read(world.directory.file_path(name)).unwrap();
    let mut files = BTreeMap::new();
    let mut commitment = Commitment::START;
    let base = |name: FileName, files: &mut BTreeMap<_, _>| {
        let mut index = read(&name);
        index[6] = 2;
        // One segment, of one bucket.
        let root = Hash::of(&index[..index.len() - 32 - 2 * 2]);
        files.insert(name, index);
        root
    };
    let mut links = vec![base(first, &mut files)];
    for version in 2..=head.version {
        if version == head.base_version {
            links.push(base(head.base_name(), &mut files));
            continue;
        }
        let epoch = if version < head.base_version { 1 } else { head.epoch };
        let file = read(&FileName::Delta { incarnation: 0, epoch, from: version - 1, to: version });
        let note = u32::from_le_bytes(*file.first_chunk().unwrap()) as usize;
        let mut body = file[4 + note..].to_vec();
        body[6] = 2;
        links.push(Hash::of(&body));
    }
    let mut new = Head { ..head.clone() };
    for (version, link) in (1..).zip(&links) {
        if version == head.base_version {
            let mut record = read(&head.rebase_name());
            record[40..72].copy_from_slice(&commitment.0.0);
            new.rebase = Some((Hash::of(&record), record.len() as u64));
            files.insert(head.rebase_name(), record);
        }
        commitment = commitment.then(link);
        let (link, now) = (world.blob(&link.to_hex()), world.blob(&commitment.0.to_hex()));
        let set = format!("UPDATE set_versions SET link = {link}, commitment = {now} WHERE version = {version}");
        world.execute(&set).await;
        let set = format!("UPDATE set_epochs SET root = {link}, commitment = {now} WHERE version = {version}");
        world.execute(&set).await;
        if version == head.base_version {
            (new.base_root, new.base_commitment) = (links[version as usize - 1], commitment);
            let record = world.blob(&new.rebase.unwrap().0.to_hex());
            world.execute(&format!("UPDATE set_epochs SET rebase = {record} WHERE version = {version}")).await;
        }
    }
    new.commitment = commitment;
    let note = new.sign(&World::signer());
    let set = format!("UPDATE sets SET head = '{note}', commitment = {}", world.blob(&commitment.0.to_hex()));
    world.execute(&set).await;
    for (part, name) in head.part_names().map(|name| (read(&name), name)) {
        files.insert(name, part);
    }
    fs::remove_dir_all(world.directory.path()).unwrap();
    files.remove(&first);
    files
}

/// A publisher goes on, and its next epoch is of this format.
async fn goes_on(world: &World) {
    let publisher = world.publisher();
    let status = publisher.wait(|status| status.refused || status.epoch == 3).await.unwrap();
    assert_eq!((status.error, status.last_cut_reason), (None, Some(CutReason::Format)));
    world.issue(&["late:read"]).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let edge = load(&world.directory);
    assert!(edge.replica.has_current_format());
    assert_equals(&edge.replica, &world.pepper("p1"), &world.keys().await);
}

async fn s0_25_files_of_the_format_before_that_were_never_written_are_written(world: World) {
    published(&world).await;
    let files = as_before(&world).await;
    // Nothing is left but the database: all that the head implies comes back as the older program has made it.
    rebuild(&world.store, &world.config()).await.unwrap();
    let edge = load(&world.directory);
    assert!(!edge.replica.has_current_format() && edge.head.rebase.is_some());
    for (name, bytes) in &files {
        assert!(fs::read(world.directory.file_path(name)).unwrap() == *bytes, "{name}");
    }
    assert_equals(&edge.replica, &world.pepper("p1"), &world.keys().await);
    // A base part, the record, and the last version with its head.
    let mut lost = vec![edge.head.rebase_name(), edge.head.delta_name(6, 7), edge.head.delta_name(5, 7)];
    lost.extend(edge.head.part_names());
    for name in &lost {
        let _ = fs::remove_file(world.directory.file_path(name));
    }
    fs::remove_file(world.directory.head_path()).unwrap();
    goes_on(&world).await;
}

async fn s0_25_an_epoch_of_two_formats_is_mended(mut world: World) {
    published(&world).await;
    as_before(&world).await;
    world.limits.max_versions = 1_000;
    // The next base is on its way, and the epoch goes on meanwhile.
    let (gate, config) = Gate::at(Step::PageRead, world.config());
    let killed = std::sync::Arc::new(AtomicBool::new(false));
    let (probe, kill) = (config.probe.clone().unwrap(), killed.clone());
    let probe: nightlatch::publisher::Probe =
        std::sync::Arc::new(move |step| probe(step) && !(step == Step::Signed && kill.load(Ordering::SeqCst)));
    rebuild(&world.store, &world.config()).await.unwrap();
    let publisher =
        Publisher::spawn(world.store.clone(), nightlatch::publisher::PublisherConfig { probe: Some(probe), ..config });
    gate.reached().await;
    world.issue(&["late:read"]).await;
    publisher.flush().await.unwrap();
    let head = load(&world.directory).head;
    assert_eq!((head.epoch, head.version), (2, 8));
    // Killed before the next version's files are there.
    killed.store(true, Ordering::SeqCst);
    world.issue(&["later:read"]).await;
    assert!(publisher.flush().await.is_err());
    gate.open();
    assert_eq!(world.count("SELECT version FROM sets").await, 9);
    goes_on(&world).await;
}

async fn s0_25_another_key_signs_at_once_in_this_format(world: World) {
    published(&world).await;
    as_before(&world).await;
    establish(&world).await;
    let fresh = another(9);
    rotate(&world, &fresh, true).await;
    let publisher = world.publisher();
    let status = publisher.wait(|status| status.refused || status.epoch == 3).await.unwrap();
    assert_eq!((status.error, status.last_cut_reason), (None, Some(CutReason::Signer)));
    publisher.stop().await;
    let head = Head::open(&world.directory.head().unwrap().unwrap(), &[fresh.verifier()]).unwrap();
    let index = fs::read(world.directory.file_path(&head.base_name())).unwrap();
    assert_eq!((head.rebase, index[6]), (None, 3));
}
