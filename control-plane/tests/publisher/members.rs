//! Keys of members: what they may do is their member's, and edges learn of it as one change of one profile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use nightlatch::domain::{
    Issue, Key, KeyRef, Labels, MemberId, MemberPatch, Name, PrincipalKind, Role, Scopes, State, Tier,
};
use nightlatch::publisher::{Limits, Publisher, rebuild};
use nightlatch::store::profiles::{self, Contents};
use nightlatch::store::receipts::{self, Evidence};
use nightlatch::store::roles::{self, Granted};
use nightlatch::store::{Context, Error, keys, members, os_random};
use nightlatch_key::Environment;
use nightlatch_keyset::{FileName, Replica, Status};
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::on_both;
use crate::reader::{Witness, base, load, path};
use crate::world::{Change, World};

on_both! {
    /// S0-14, DESIGN 7.3: whatever is changed of members, of roles and of keys, a replica says what the database says.
    s0_14_a_replica_says_of_members_what_the_database_says
    /// S0-14: whatever the number of keys.
    s0_14_a_suspension_is_one_small_change_of_one_profile
    /// S0-25: files that are lost come back from the same rows, byte for byte.
    s0_25_profiles_come_back_byte_for_byte
    /// S0-14: a removed member's keys are refused by its profile at once, and revoked one by one later.
    s0_14_a_removed_members_keys_have_receipts_and_leave
    s0_14_profiles_come_before_keys_in_small_versions
    s0_14_superseded_rows_of_profiles_go
}

impl World {
    /// A member of that role, active, with scopes of its own.
    pub(crate) async fn member(&self, subject: u32, role: &str, scopes: &str) {
        let workspace = &self.workspace;
        self.execute(&format!(
            "INSERT INTO principals (workspace_id, subject, kind, name, created_at) \
             VALUES ('{workspace}', {subject}, 'user', 'a member', 0)"
        ))
        .await;
        self.execute(&format!(
            "INSERT INTO members (id, workspace_id, subject, role, name, state, scopes, invited_by_type, invited_by_id, \
             created_at, revision) VALUES ('mem_{subject:010}', '{workspace}', {subject}, '{role}', 'a member', 'active', \
             '{scopes}', 'system', 'tests', 0, 1)"
        ))
        .await;
    }

    /// Changes a member, and tells edges of it.
    pub(crate) async fn set_member(&self, subject: u32, what: &str) {
        let workspace = &self.workspace;
        self.execute(&format!("UPDATE members SET {what} WHERE workspace_id = '{workspace}' AND subject = {subject}"))
            .await;
        self.tell(subject).await;
    }

    /// Gives a role's members scopes, and tells edges of it.
    async fn set_role(&self, role: &str, scopes: &str, members: &BTreeSet<u32>) {
        let workspace = &self.workspace;
        self.execute(&format!(
            "INSERT INTO role_scopes (workspace_id, role, scopes, updated_at) VALUES ('{workspace}', '{role}', '{scopes}', 0) \
             ON CONFLICT (workspace_id, role) DO UPDATE SET scopes = excluded.scopes"
        ))
        .await;
        for member in members {
            self.tell(*member).await;
        }
    }

    async fn tell(&self, subject: u32) {
        let workspace = self.workspace.clone();
        let told = self.store.write(move |tx| {
            Box::pin(async move {
                let now = tx.now().await?;
                profiles::changed(tx, &workspace, subject, now).await
            })
        });
        told.await.unwrap();
    }

    async fn try_issue_to(
        &self,
        subject: u32,
        environment: Environment,
        scopes: &[&str],
        tier: Option<&str>,
    ) -> Result<Key, Error> {
        let context = self.context();
        let issue = Issue {
            name: Name::new("a key").unwrap(),
            environment,
            subject: Some(subject),
            scopes: Scopes::new(scopes.iter().copied()).unwrap(),
            tier: tier.map(|tier| Tier::new(tier).unwrap()),
            owner: None,
            owner_member: None,
            link: None,
            labels: Labels::default(),
            expires_at: None,
            rotate_by: None,
        };
        let issued =
            self.store.write(move |tx| Box::pin(async move { keys::issue(tx, &context, issue, &mut os_random).await }));
        Ok(issued.await?.key)
    }

    pub(crate) async fn issue_to(&self, subject: u32) -> Key {
        self.try_issue_to(subject, Environment::Live, &[], None).await.unwrap()
    }

    /// Removes a member, and revokes its keys without telling edges of each. Returns how many.
    pub(crate) async fn remove_member(&self, subject: u32) -> u64 {
        let now = self.store.read().await.unwrap().now().await.unwrap();
        let mine = format!("workspace_id = '{}' AND subject = {subject} AND state <> 'revoked'", self.workspace);
        let revoked = self.count(&format!("SELECT COUNT(*) FROM keys WHERE {mine}")).await;
        self.execute(&format!(
            "INSERT INTO receipts (set_id, key_id, workspace_id, key_number, revoked_at) \
             SELECT '{}', id, workspace_id, number, {now} FROM keys WHERE {mine}",
            self.set
        ))
        .await;
        self.execute(&format!("UPDATE keys SET state = 'revoked', deadline = NULL, revoked_at = {now} WHERE {mine}"))
            .await;
        self.set_member(subject, "state = 'removed'").await;
        u64::try_from(revoked).unwrap()
    }

    /// Notes of revocations what can be known, and publishes those that came with a member's removal.
    async fn sweep(&self) -> u64 {
        let unnoted = receipts::unnoted(&mut self.store.read().await.unwrap()).await.unwrap();
        self.store.write(move |tx| Box::pin(async move { receipts::note(tx, &unnoted).await })).await.unwrap();
        self.store.write(|tx| Box::pin(receipts::publish_revoked(tx))).await.unwrap()
    }

    async fn contents(&self, subject: u32) -> Contents {
        profiles::contents(&mut self.store.read().await.unwrap(), &self.workspace, subject).await.unwrap()
    }

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
                let contents = self.contents(key.subject).await;
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

async fn random_change(world: &World, rng: &mut ChaCha8Rng, members: &mut BTreeMap<u32, &'static str>) {
    let roles = ["admin", "viewer"];
    let scopes = ["", "*", "a:read", "a:read b:write", "* c:read", "b:write z:last"];
    let some: Vec<u32> = members.keys().copied().collect();
    let member = some.choose(rng).copied();
    let known = world.keys().await;
    match (rng.random_range(0..20), member) {
        (0..2, _) | (_, None) => {
            let last = world.count("SELECT MAX(subject) FROM principals").await;
            let (subject, role) = (u32::try_from(last).unwrap() + 1, *roles.choose(rng).unwrap());
            world.member(subject, role, scopes.choose(rng).unwrap()).await;
            members.insert(subject, role);
        }
        (2..7, Some(member)) => {
            let environment = *[Environment::Live, Environment::Live, Environment::Test].choose(rng).unwrap();
            // Not while the member is suspended.
            drop(world.try_issue_to(member, environment, &[], None).await);
        }
        (7, Some(_)) => drop(world.issue(&["a:read"]).await),
        (8..10, Some(member)) => world.set_member(member, &format!("scopes = '{}'", scopes.choose(rng).unwrap())).await,
        (10, Some(member)) => {
            let role = *roles.choose(rng).unwrap();
            members.insert(member, role);
            world.set_member(member, &format!("role = '{role}'")).await;
        }
        (11, Some(_)) => {
            let role = *roles.choose(rng).unwrap();
            let its = members.iter().filter(|(_, of)| **of == role).map(|(member, _)| *member).collect();
            world.set_role(role, scopes.choose(rng).unwrap(), &its).await;
        }
        (12, Some(member)) => world.set_member(member, "tier = 'gold'").await,
        (13..15, Some(member)) => world.set_member(member, "state = 'suspended'").await,
        (15..17, Some(member)) => world.set_member(member, "state = 'active'").await,
        (17, Some(member)) => {
            world.remove_member(member).await;
            members.remove(&member);
        }
        (18, Some(_)) => drop(world.sweep().await),
        _ => {
            if let Some(key) = known.choose(rng) {
                let how = [Change::Disable, Change::Enable, Change::Revoke].choose(rng).unwrap().clone();
                world.try_change(key, how).await;
            }
        }
    }
}

async fn s0_14_a_replica_says_of_members_what_the_database_says(world: World) {
    let mut rng = ChaCha8Rng::seed_from_u64(14);
    let mut members = BTreeMap::new();
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    let mut witness = Witness::default();
    let mut followed: Option<(nightlatch_keyset::Head, Replica)> = None;
    for _ in 0..50 {
        for _ in 0..rng.random_range(1..4) {
            random_change(&world, &mut rng, &mut members).await;
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
    world.member(2, "admin", "invoices:read").await;
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
    world.set_member(2, "state = 'suspended'").await;
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
    world.set_member(2, "state = 'active'").await;
    publisher.flush().await.unwrap();
    assert_eq!(refused(&load(&world.directory).replica), 0);
    // What changes nothing is not told.
    let rows = world.count("SELECT COUNT(*) FROM profile_changes").await;
    world.set_member(2, "name = 'another'").await;
    world.member(3, "viewer", "a:read").await;
    world.set_member(3, "scopes = 'b:read'").await;
    assert_eq!(world.count("SELECT COUNT(*) FROM profile_changes").await, rows, "member 3 has no keys");
    publisher.stop().await;
}

async fn s0_25_profiles_come_back_byte_for_byte(world: World) {
    let mut rng = ChaCha8Rng::seed_from_u64(25);
    let mut members = BTreeMap::new();
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    while publisher.status().borrow().epoch < 3 || publisher.status().borrow().version.is_multiple_of(2) {
        random_change(&world, &mut rng, &mut members).await;
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

async fn evidence(world: &World, key: &Key) -> receipts::Facts {
    let mut read = world.store.read().await.unwrap();
    let found = receipts::evidence(&mut read, &world.workspace, &world.set, &KeyRef::Id(key.id.clone())).await.unwrap();
    match found.unwrap() {
        Evidence::Open(facts) => *facts,
        Evidence::Decided(note) => panic!("{note}"),
    }
}

async fn s0_14_a_removed_members_keys_have_receipts_and_leave(world: World) {
    world.member(2, "admin", "a:read").await;
    let (first, second, third) = (world.issue_to(2).await, world.issue_to(2).await, world.issue_to(2).await);
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    // Suspended for a while, and one key revoked by itself.
    world.set_member(2, "state = 'suspended'").await;
    publisher.flush().await.unwrap();
    world.set_member(2, "state = 'active'").await;
    publisher.flush().await.unwrap();
    world.change(&third, Change::Revoke).await;
    let alone = publisher.published(third.number).await.unwrap();
    assert_eq!(evidence(&world, &third).await.revocation.published.unwrap().version, i64::try_from(alone).unwrap());

    assert_eq!(world.remove_member(2).await, 2);
    // Who waits for a key of the member waits for the profile.
    let version = publisher.published(first.number).await.unwrap();
    assert_eq!(version, alone + 1);
    publisher.flush().await.unwrap();
    for key in [&first, &second] {
        let facts = evidence(&world, key).await;
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
        let facts = evidence(&world, key).await;
        assert_eq!(facts.revocation.published.unwrap().version, i64::try_from(version).unwrap(), "{}", key.id);
    }
    assert_eq!(evidence(&world, &third).await.revocation.published.unwrap().version, i64::try_from(alone).unwrap());
    publisher.stop().await;
}

async fn s0_14_profiles_come_before_keys_in_small_versions(world: World) {
    for subject in 2..9 {
        world.member(subject, "admin", &format!("s{subject}:read")).await;
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
    world.member(2, "admin", "a:read").await;
    world.issue_to(2).await;
    let publisher = world.publisher();
    for round in 0..40 {
        world.set_member(2, &format!("scopes = 's{round}:read'")).await;
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
    assert_eq!(rebuild_of(&world, publisher).await, Vec::<String>::new());
}

/// Stops a publisher and lets its files be checked, its base made anew.
async fn rebuild_of(world: &World, publisher: Publisher) -> Vec<String> {
    publisher.stop().await;
    let head = load(&world.directory).head;
    let name = head.base_name();
    let bytes = fs::read(world.directory.file_path(&name)).unwrap();
    fs::remove_file(world.directory.file_path(&name)).unwrap();
    let mut mended = rebuild(&world.store, &world.config()).await.unwrap().files;
    assert!(fs::read(world.directory.file_path(&name)).unwrap() == bytes);
    mended.retain(|file| *file != name.to_text());
    mended
}

/// S0-14: a member comes into a role while that loses a scope. PostgreSQL only: SQLite has one writer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s0_14_whoever_comes_into_a_role_keeps_nothing_that_was_taken_from_it() {
    let world = World::postgres().await;
    world.member(7, "viewer", "").await;
    world.issue_to(7).await;
    world.set_role("operator", "a:read b:write", &BTreeSet::new()).await;
    let id = MemberId::parse("mem_0000000007").unwrap();
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
            let granted = Granted { everything: false, scopes: Scopes::new(["a:read"]).unwrap() };
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
        let last = "SELECT COUNT(*) FROM profile_changes p WHERE p.subject = 7 AND p.scopes = 'a:read' \
                    AND p.seq = (SELECT MAX(n.seq) FROM profile_changes n WHERE n.subject = 7)";
        assert_eq!(world.count(last).await, 1, "round {round}");
        world.set_member(7, "role = 'viewer'").await;
        world.set_role("operator", "a:read b:write", &BTreeSet::new()).await;
    }
}
