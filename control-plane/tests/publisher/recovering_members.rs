//! A backup does not know who was suspended or removed since. What edges were told counts.

use nightlatch::domain::MemberId;
use nightlatch::recover::{Recovery, Report};
use nightlatch::store::{Error, members};
use nightlatch::sync_job::Source;
use nightlatch_keyset::Status;

use crate::on_both;
use crate::reader::load;
use crate::world::World;

on_both! {
    /// S0-14, guarantee 6.
    s0_14_members_that_were_published_as_refused_are_suspended
    /// S0-14: what was taken from a member, or its role, is named.
    s0_14_members_that_get_something_back_are_named
    /// S0-14: the workspace keeps an owner, and the keys are disabled one by one.
    s0_14_the_last_owners_keys_are_disabled
}

async fn recover(world: &World) -> Report {
    let place = world.directory.path().display().to_string();
    let (store, workspace) = (&world.store, &world.workspace);
    let recovery = Recovery { store, workspace, config: world.config(), progress: &|_, _, _| {} };
    recovery.run(Source::open(&place, None).unwrap(), false).await.unwrap()
}

fn id(subject: u32) -> MemberId {
    MemberId::parse(&format!("mem_{subject:010}")).unwrap()
}

/// Publishes what there is and copies the database.
async fn back_up(world: &mut World) -> String {
    publish(world).await;
    world.back_up().await
}

async fn publish(world: &World) {
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    publisher.stop().await;
}

async fn s0_14_members_that_were_published_as_refused_are_suspended(mut world: World) {
    let mut keys = Vec::new();
    for subject in [7, 8, 9] {
        world.member(subject, "viewer", "a:read").await;
        keys.push(world.issue_to(subject).await);
        world.issue_to(subject).await;
    }
    world.execute("UPDATE members SET joined_at = created_at").await;
    let backup = back_up(&mut world).await;
    world.set_member(7, "state = 'suspended'").await;
    // Its keys were revoked for good; edges were told of the member alone so far.
    world.remove_member(8).await;
    publish(&world).await;
    world.restore(backup).await;

    let done = recover(&world).await;
    let mut found: Vec<_> = done.findings.members_refused.iter().map(|member| member.id.clone()).collect();
    found.sort_by_key(|id| id.as_str().to_owned());
    assert_eq!(found, [id(7), id(8)]);
    assert!(done.findings.disabled.is_empty() && done.findings.profiles_wider.is_empty());
    let suspended = "SELECT COUNT(*) FROM members WHERE state = 'suspended' AND subject IN (7, 8)";
    assert_eq!(world.count(suspended).await, 2);
    let replica = load(&world.directory).replica;
    world.assert_same_verdicts(&replica).await;
    let refused = |of: usize| {
        let record = replica.lookup(&world.pepper("p1").tag(&keys[of].digest)).unwrap().unwrap();
        replica.profile(record.profile).unwrap().refused
    };
    assert_eq!([0, 1, 2].map(refused), [true, true, false]);

    // A member that was only suspended has all its keys back when it is resumed.
    let context = world.context();
    let resumed = world.store.write::<_, Error, _>(move |tx| {
        Box::pin(async move { members::resume(tx, &context, &id(7), None).await.map(drop) })
    });
    resumed.await.unwrap();
    publish(&world).await;
    let replica = load(&world.directory).replica;
    let record = replica.lookup(&world.pepper("p1").tag(&keys[0].digest)).unwrap().unwrap();
    assert_eq!(record.status, Status::Active);
    assert!(!replica.profile(record.profile).unwrap().refused);
    assert!(!recover(&world).await.ahead);
}

async fn s0_14_members_that_get_something_back_are_named(mut world: World) {
    world.member(7, "viewer", "a:read b:write").await;
    world.issue_to(7).await;
    let backup = back_up(&mut world).await;
    world.set_member(7, "scopes = 'a:read'").await;
    publish(&world).await;
    world.restore(backup).await;
    let done = recover(&world).await;
    let found: Vec<_> = done.findings.profiles_wider.iter().map(|one| (one.principal.as_str(), &one.scopes)).collect();
    assert_eq!(found, [("prn_7", &vec!["b:write".to_owned()])]);
    assert_eq!(done.findings.profiles_wider[0].environment, "live");
    assert!(done.findings.members_refused.is_empty());
}

async fn s0_14_the_last_owners_keys_are_disabled(mut world: World) {
    world.member(7, "owner", "a:read").await;
    let key = world.issue_to(7).await;
    let backup = back_up(&mut world).await;
    // Another owner came after the backup.
    world.member(8, "owner", "").await;
    world.set_member(7, "state = 'suspended'").await;
    publish(&world).await;
    world.restore(backup).await;
    let done = recover(&world).await;
    assert_eq!(done.findings.members_refused[0].id, id(7));
    assert_eq!(done.findings.disabled, [key.id.to_string()]);
    assert_eq!(world.count("SELECT COUNT(*) FROM members WHERE subject = 7 AND state = 'active'").await, 1);
    let replica = load(&world.directory).replica;
    let record = replica.lookup(&world.pepper("p1").tag(&key.digest)).unwrap().unwrap();
    assert_eq!(record.status, Status::Disabled);
}
