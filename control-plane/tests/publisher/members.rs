//! Keys of members: what they may do is their member's, and edges learn of it as one change of one profile.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use nightlatch::domain::{Key, MemberPatch, PrincipalKind, Role, State};
use nightlatch::publisher::{Limits, rebuild};
use nightlatch::store::profiles::{self, Contents};
use nightlatch::store::roles::{self, Granted};
use nightlatch::store::{Context, Error, members};
use nightlatch_keyset::{FileName, Replica, Status};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::on_both;
use crate::people::{Fate, member_id, scopes};
use crate::reader::{Witness, base, load, path};
use crate::world::{Change, World};

on_both! {
    /// S0-14, DESIGN 7.3: whatever is changed of members, of roles and of keys, a replica says what the database says.
    s0_14_a_replica_says_of_members_what_the_database_says
    /// S0-14: whatever the number of keys.
    s0_14_a_suspension_is_one_small_change_of_one_profile
    /// S0-14: whatever is done to a member, and whatever it has.
    s0_14_what_becomes_of_a_member_is_told_once_for_all_its_keys
    /// S0-25: files that are lost come back from the same rows, byte for byte.
    s0_25_profiles_come_back_byte_for_byte
    /// S0-14: a removed member's keys are refused by its profile at once, and revoked one by one later.
    s0_14_a_removed_members_keys_have_receipts_and_leave
    s0_14_profiles_come_before_keys_in_small_versions
    s0_14_superseded_rows_of_profiles_go
}

impl World {
    /// The replica lets through the keys that the database lets through, with the same scopes, and no others.
    pub(crate) async fn assert_same_verdicts(&self, replica: &Replica) {
        let pepper = self.pepper("p1");
        let now = self.store.read().await.unwrap().now().await.unwrap();
        let all = self.keys().await;
        assert_eq!(replica.len(), all.len());
        for key in all {
            let record =
                replica.lookup(&pepper.tag(&key.digest)).unwrap().unwrap_or_else(|| panic!("{} is missing", key.id));
            let profile = replica.profile(record.profile).unwrap();
            let passes = matches!(record.status, Status::Active | Status::Retiring) && !profile.refused;
            let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
            let mut usable = matches!(key.state(now), State::Active | State::Retiring);
            if key.kind == PrincipalKind::User {
                let contents = contents(self, key.subject).await;
                assert_eq!(profile.live, Some(key.subject));
                assert_eq!(profile.refused, contents.refused, "{}", key.id);
                usable &= !contents.refused;
            } else {
                assert_eq!(profile.live, None);
            }
            assert_eq!(passes, usable, "{}", key.id);
            // Reading a key shows what its member may do now.
            assert_eq!(profile.scopes, scopes, "{}", key.id);
            assert_eq!(profile.tier.as_deref(), key.tier.as_ref().map(|tier| tier.as_str()));
            assert_eq!((profile.kind, profile.environment), (key.kind, key.environment));
        }
    }
}

async fn contents(world: &World, subject: u32) -> Contents {
    profiles::contents(&mut world.store.read().await.unwrap(), &world.workspace, subject).await.unwrap()
}

async fn s0_14_a_replica_says_of_members_what_the_database_says(world: World) {
    let mut rng = ChaCha8Rng::seed_from_u64(14);
    let mut members = Vec::new();
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    let mut witness = Witness::default();
    let mut followed: Option<(nightlatch_keyset::Head, Replica)> = None;
    for _ in 0..50 {
        for _ in 0..rng.random_range(1..4) {
            world.live(&mut rng, &mut members).await;
        }
        publisher.flush().await.unwrap();
        witness.look(&world.directory);
        let edge = load(&world.directory);
        world.assert_same_verdicts(&edge.replica).await;
        // One that follows within the epoch is where one that starts anew is.
        if let Some((head, mut replica)) = followed.take().filter(|(head, _)| head.epoch == edge.head.epoch) {
            replica.advance(&path(&world.directory, &edge.head, head.version, edge.head.version), &edge.head).unwrap();
            world.assert_same_verdicts(&replica).await;
        }
        followed = Some((edge.head, edge.replica));
    }
    while world.sweep().await > 0 {
        publisher.flush().await.unwrap();
    }
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let head = load(&world.directory).head;
    assert!(head.epoch > 3, "{}", head.epoch);
    assert!(load(&world.directory).replica.profiles().iter().any(|profile| profile.refused));
}

async fn s0_14_a_suspension_is_one_small_change_of_one_profile(world: World) {
    const KEYS: i64 = 10_000;
    world.member(2, Role::Admin, "invoices:read").await;
    let first = world.issue_to(2).await;
    // As many again, as an import would write them.
    let copies = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)";
    let digest = if world.url.starts_with("sqlite:") {
        "CAST(printf('%032d', n.i) AS BLOB)"
    } else {
        "convert_to(lpad(n.i::text, 32, '0'), 'UTF8')"
    };
    world
        .execute(&format!(
            "INSERT INTO changes (set_id, workspace_id, key_number, digest, status, imported, kind, environment, scopes, \
             subject, is_new, created_at) {copies} SELECT c.set_id, c.workspace_id, 100 + n.i, {digest}, 0, 0, c.kind, \
             c.environment, '', c.subject, 1, c.created_at FROM changes c, n WHERE c.key_number = {}",
            first.number
        ))
        .await;
    let limits = Limits { max_versions: 1000, min_overlay: 100_000, pace: Duration::ZERO, ..Limits::default() };
    let world = World { limits, ..world };
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    assert_eq!(load(&world.directory).head.keys, u64::try_from(KEYS).unwrap());
    let before = load(&world.directory).head.version;
    let rows = world.count("SELECT COUNT(*) FROM profile_changes").await;
    world.becomes(2, Fate::Suspended).await;
    publisher.flush().await.unwrap();
    assert_eq!(world.count("SELECT COUNT(*) FROM profile_changes").await, rows + 1);
    let edge = load(&world.directory);
    assert_eq!(edge.head.version, before + 1);
    let delta = world.directory.file(&edge.head.delta_name(before, before + 1), 1 << 20).unwrap().unwrap();
    let note = u32::from_le_bytes(*delta.first_chunk().unwrap()) as usize;
    // The header, the profile's number, and what FORMAT.md draws of one with a scope and no tier; three counts of nothing.
    assert_eq!(delta.len(), 4 + note + 36 + 4 + (3 + 4 + 1 + 2 + 1 + "invoices:read".len()) + 1);
    assert!(note < 700, "{note}");
    let refused = |replica: &Replica| {
        replica.iter().filter(|row| replica.profile(row.as_ref().unwrap().1.profile).unwrap().refused).count()
    };
    assert_eq!(refused(&edge.replica), 10_000);
    world.becomes(2, Fate::Resumed).await;
    publisher.flush().await.unwrap();
    assert_eq!(refused(&load(&world.directory).replica), 0);
    // What changes nothing is not told.
    let rows = world.count("SELECT COUNT(*) FROM profile_changes").await;
    world.becomes(2, Fate::Name("another")).await;
    world.member(3, Role::Viewer, "a:read").await;
    world.becomes(3, Fate::Scopes("b:read")).await;
    assert_eq!(world.count("SELECT COUNT(*) FROM profile_changes").await, rows, "member 3 has no keys");
    publisher.stop().await;
}

/// What becomes of a member; what its keys may do then, and whether they are refused; profiles that edges are told of; rows
/// of keys that are written.
type Told = (Option<Fate>, &'static [&'static str], bool, i64, i64);

async fn s0_14_what_becomes_of_a_member_is_told_once_for_all_its_keys(world: World) {
    const KEYS: usize = 500;
    world.member(2, Role::Operator, "invoices:read").await;
    futures::future::join_all((0..KEYS).map(|_| world.issue_to(2))).await;
    let limits = Limits { max_versions: 1000, min_overlay: 100_000, pace: Duration::ZERO, ..Limits::default() };
    let world = World { limits, ..world };
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    let rows = async |table: &str| world.count(&format!("SELECT COUNT(*) FROM {table}")).await;
    let revisions = "SELECT CAST(SUM(revision) AS BIGINT) FROM keys WHERE subject = 2";
    let all = KEYS as i64;
    let fates: [Told; 9] = [
        (Some(Fate::Scopes("orders:read")), &["orders:read"], false, 1, 0),
        (None, &["a:read", "orders:read"], false, 1, 0),
        (Some(Fate::Role(Role::Viewer)), &["orders:read"], false, 1, 0),
        (Some(Fate::Tier("gold")), &["orders:read"], false, 1, 0),
        (Some(Fate::Name("Ada")), &["orders:read"], false, 0, 0),
        // In the database each key says for itself that it is disabled, for whoever lists keys; edges hear of none.
        (Some(Fate::Suspended), &["orders:read"], true, 1, all),
        (Some(Fate::Suspended), &["orders:read"], true, 0, 0),
        (Some(Fate::Resumed), &["orders:read"], false, 1, all),
        (Some(Fate::Removed), &[], true, 1, all),
    ];
    for (fate, may, refused, told, written) in fates {
        let before = (rows("changes").await, rows("profile_changes").await, world.count(revisions).await);
        let version = load(&world.directory).head.version;
        match fate {
            Some(fate) => world.becomes(2, fate).await,
            None => world.set_role(Role::Operator, "a:read").await,
        }
        assert_eq!(rows("changes").await, before.0, "{fate:?}");
        assert_eq!(rows("profile_changes").await, before.1 + told, "{fate:?}");
        assert_eq!(world.count(revisions).await, before.2 + written, "{fate:?}");
        publisher.flush().await.unwrap();
        let edge = load(&world.directory);
        assert_eq!(edge.head.version, version + u64::try_from(told).unwrap(), "{fate:?}");
        assert_eq!(edge.replica.len(), KEYS);
        for row in edge.replica.iter() {
            let profile = edge.replica.profile(row.unwrap().1.profile).unwrap();
            assert_eq!(
                (profile.refused, profile.scopes.as_slice()),
                (refused, may.iter().map(|&scope| scope.to_owned()).collect::<Vec<_>>().as_slice())
            );
        }
    }
    publisher.stop().await;
}

async fn s0_25_profiles_come_back_byte_for_byte(world: World) {
    let mut rng = ChaCha8Rng::seed_from_u64(25);
    let mut members = Vec::new();
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    while publisher.status().borrow().epoch < 3 || publisher.status().borrow().version.is_multiple_of(2) {
        world.live(&mut rng, &mut members).await;
        publisher.flush().await.unwrap();
    }
    publisher.stop().await;
    let head = load(&world.directory).head;
    let mut files: BTreeMap<FileName, Vec<u8>> = BTreeMap::new();
    for name in nightlatch_sync::implied_files(&head) {
        files.insert(name, fs::read(world.directory.file_path(&name)).unwrap());
    }
    for name in files.keys() {
        fs::remove_file(world.directory.file_path(name)).unwrap();
    }
    let mended = rebuild(&world.store, &world.config()).await.unwrap().files;
    assert_eq!(mended.len(), files.len());
    for (name, bytes) in &files {
        assert!(fs::read(world.directory.file_path(name)).unwrap() == *bytes, "{name}");
    }
    world.assert_same_verdicts(&load(&world.directory).replica).await;
}

async fn s0_14_a_removed_members_keys_have_receipts_and_leave(world: World) {
    world.member(2, Role::Admin, "a:read").await;
    let (first, second, third) = (world.issue_to(2).await, world.issue_to(2).await, world.issue_to(2).await);
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    // Suspended for a while, and one key revoked by itself.
    world.becomes(2, Fate::Suspended).await;
    publisher.flush().await.unwrap();
    world.becomes(2, Fate::Resumed).await;
    publisher.flush().await.unwrap();
    world.change(&third, Change::Revoke).await;
    let alone = publisher.published(third.number).await.unwrap();
    assert_eq!(world.evidence(&third).await.revocation.published.unwrap().version, i64::try_from(alone).unwrap());

    world.becomes(2, Fate::Removed).await;
    assert_eq!(world.count("SELECT COUNT(*) FROM receipts WHERE by_profile = 1").await, 2);
    // Who waits for a key of the member waits for the profile.
    let version = publisher.published(first.number).await.unwrap();
    assert_eq!(version, alone + 1);
    publisher.flush().await.unwrap();
    for key in [&first, &second] {
        let facts = world.evidence(key).await;
        assert_eq!(facts.revocation.published.unwrap().version, i64::try_from(version).unwrap(), "{}", key.id);
    }
    let replica = load(&world.directory).replica;
    let statuses = |replica: &Replica| {
        let tag = |key: &Key| world.pepper("p1").tag(&key.digest);
        [&first, &second, &third].map(|key| replica.lookup(&tag(key)).unwrap().unwrap().status)
    };
    assert_eq!(statuses(&replica), [Status::Active, Status::Active, Status::Revoked]);
    world.assert_same_verdicts(&replica).await;
    assert_eq!(world.sweep().await, 2);
    assert_eq!(world.sweep().await, 0, "once");
    publisher.flush().await.unwrap();
    assert_eq!(statuses(&load(&world.directory).replica), [Status::Revoked; 3]);
    for key in [&first, &second] {
        let facts = world.evidence(key).await;
        assert_eq!(facts.revocation.published.unwrap().version, i64::try_from(version).unwrap(), "{}", key.id);
    }
    assert_eq!(world.evidence(&third).await.revocation.published.unwrap().version, i64::try_from(alone).unwrap());
    publisher.stop().await;
}

async fn s0_14_profiles_come_before_keys_in_small_versions(world: World) {
    for subject in 2..9 {
        world.member(subject, Role::Admin, &format!("s{subject}:read")).await;
        world.issue_to(subject).await;
        world.issue_to(subject).await;
    }
    let limits = Limits { max_changes: 3, max_versions: 1000, pace: Duration::ZERO, ..Limits::default() };
    let world = World { limits, ..world };
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    let head = load(&world.directory).head;
    // A version of an edge on its way is never without the profile of a key.
    for version in head.base_version..=head.version {
        let mut replica = base(&world.directory, &head);
        let deltas = path(&world.directory, &head, head.base_version, version);
        let end = deltas.last().map_or(head.base_commitment, |delta| *delta.to_commitment());
        replica.advance_to(&deltas, version, &end).unwrap();
        for row in replica.iter() {
            let (_, record) = row.unwrap();
            let profile = replica.profile(record.profile).unwrap();
            assert_eq!(profile.scopes, [format!("s{}:read", record.subject)]);
            assert!(!profile.refused);
        }
    }
    world.assert_same_verdicts(&load(&world.directory).replica).await;
    publisher.stop().await;
}

async fn s0_14_superseded_rows_of_profiles_go(world: World) {
    world.member(2, Role::Admin, "a:read").await;
    world.issue_to(2).await;
    let publisher = world.publisher();
    for round in 0..40 {
        world.becomes(2, Fate::Scopes(["even:read", "odd:read"][round % 2])).await;
        publisher.flush().await.unwrap();
    }
    publisher.wait(|status| status.epoch > 5).await.unwrap();
    // Chores are done while nothing is to be published, and each turn of the publisher does one.
    let mut rows = i64::MAX;
    for _ in 0..200 {
        publisher.flush().await.unwrap();
        rows = world.count("SELECT COUNT(*) FROM profile_changes").await;
        if rows < 20 {
            break;
        }
    }
    assert!((1..20).contains(&rows), "{rows}");
    assert_eq!(world.rebuilt(publisher).await, Vec::<String>::new());
}

/// S0-14: a member comes into a role while that loses a scope. PostgreSQL only: SQLite has one writer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s0_14_whoever_comes_into_a_role_keeps_nothing_that_was_taken_from_it() {
    let world = World::postgres().await;
    world.member(2, Role::Viewer, "").await;
    world.issue_to(2).await;
    world.set_role(Role::Operator, "a:read b:write").await;
    let id = member_id(2);
    for round in 0..3 {
        // Its profile is written, and not committed.
        let (written, ready) = tokio::sync::oneshot::channel();
        let (decide, decision) = tokio::sync::oneshot::channel();
        let (store, context, id) = (world.store.clone(), Context::system(world.workspace.clone(), "req"), id.clone());
        let patching = tokio::spawn(async move {
            let work = store.write(move |tx| {
                Box::pin(async move {
                    let patch = MemberPatch { role: Some(Role::Operator), ..MemberPatch::default() };
                    members::patch(tx, &context, &id, None, patch).await?;
                    written.send(()).unwrap();
                    decision.await.unwrap();
                    Ok::<_, Error>(())
                })
            });
            work.await
        });
        ready.await.unwrap();
        let (store, context) = (world.store.clone(), Context::system(world.workspace.clone(), "req"));
        let replacing = tokio::spawn(async move {
            let granted = Granted { everything: false, scopes: scopes("a:read") };
            let work = store
                .write(move |tx| Box::pin(async move { roles::replace(tx, &context, Role::Operator, granted).await }));
            work.await
        });
        let waits = "SELECT COUNT(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                     WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()";
        while world.count(waits).await == 0 {
            assert!(!replacing.is_finished(), "it does not wait for the member");
            tokio::task::yield_now().await;
        }
        decide.send(()).unwrap();
        patching.await.unwrap().unwrap();
        replacing.await.unwrap().unwrap();
        let last = "SELECT COUNT(*) FROM profile_changes p WHERE p.subject = 2 AND p.scopes = 'a:read' \
                    AND p.seq = (SELECT MAX(n.seq) FROM profile_changes n WHERE n.subject = 2)";
        assert_eq!(world.count(last).await, 1, "round {round}");
        world.becomes(2, Fate::Role(Role::Viewer)).await;
        world.set_role(Role::Operator, "a:read b:write").await;
    }
}
