//! A backup does not know who was suspended or removed since. What edges were told counts.

use nightlatch::domain::{PrincipalState, Role};
use nightlatch::recover::{Recovery, Report};
use nightlatch::store::Error;
use nightlatch::sync_job::Source;
use nightlatch_keyset::Status;

use crate::on_both;
use crate::partner_staff::AGENCY;
use crate::people::{Fate, member_id};
use crate::reader::load;
use crate::world::World;

on_both! {
    /// S0-14, guarantee 6.
    s0_14_members_that_were_published_as_refused_are_suspended
    /// S0-14: by the database, they have yet to join.
    s0_14_the_code_of_a_member_that_was_published_as_refused_lets_nobody_in
    /// S0-14: by the database, their organisation is suspended and they are not.
    s0_14_staff_that_were_published_as_refused_do_not_come_back_with_their_organisation
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
    for subject in [2, 3, 4] {
        world.member(subject, Role::Viewer, "a:read").await;
        keys.push(world.issue_to(subject).await);
        world.issue_to(subject).await;
    }
    let backup = back_up(&mut world).await;
    world.becomes(2, Fate::Suspended).await;
    // Its keys were revoked for good; edges were told of the member alone so far.
    world.becomes(3, Fate::Removed).await;
    publish(&world).await;
    world.restore(backup).await;

    let done = recover(&world).await;
    let found: Vec<_> = done.findings.members_refused.iter().map(|member| member.id.clone()).collect();
    assert_eq!(found, [member_id(2), member_id(3)]);
    assert!(done.findings.disabled.is_empty() && done.findings.profiles_wider.is_empty());
    let suspended = "SELECT COUNT(*) FROM members WHERE state = 'suspended' AND subject IN (2, 3)";
    assert_eq!(world.count(suspended).await, 2);
    let replica = load(&world.directory).replica;
    world.assert_same_verdicts(&replica).await;
    let refused = |of: usize| {
        let record = replica.lookup(&world.pepper("p1").tag(&keys[of].digest)).unwrap().unwrap();
        replica.profile(record.profile).unwrap().refused
    };
    assert_eq!([0, 1, 2].map(refused), [true, true, false]);

    // A member that was only suspended has all its keys back when it is resumed.
    world.becomes(2, Fate::Resumed).await;
    publish(&world).await;
    let replica = load(&world.directory).replica;
    let record = replica.lookup(&world.pepper("p1").tag(&keys[0].digest)).unwrap().unwrap();
    assert_eq!(record.status, Status::Active);
    assert!(!replica.profile(record.profile).unwrap().refused);
    assert!(!recover(&world).await.ahead);
}

async fn s0_14_the_code_of_a_member_that_was_published_as_refused_lets_nobody_in(mut world: World) {
    for subject in [2, 3, 4] {
        world.invited(subject, Role::Viewer, "a:read").await;
    }
    let backup = back_up(&mut world).await;
    // Others who came after the backup are unknown to it, whatever became of them.
    world.invited(5, Role::Viewer, "a:read").await;
    for subject in [2, 3, 4, 5] {
        world.joins(subject).await.unwrap();
        world.issue_to(subject).await;
    }
    world.becomes(2, Fate::Suspended).await;
    for subject in [3, 5] {
        world.becomes(subject, Fate::Removed).await;
    }
    publish(&world).await;
    world.restore(backup).await;

    let done = recover(&world).await;
    let found: Vec<_> = done.findings.members_refused.iter().map(|member| member.id.clone()).collect();
    assert_eq!(found, [member_id(2), member_id(3)]);
    for subject in [2, 3] {
        assert!(matches!(world.joins(subject).await, Err(Error::NotFound("invitation"))));
    }
    world.joins(4).await.unwrap();
    // Somebody who has looked lets them.
    world.becomes(2, Fate::Resumed).await;
    world.joins(2).await.unwrap();
    assert!(!recover(&world).await.ahead);
}

async fn s0_14_staff_that_were_published_as_refused_do_not_come_back_with_their_organisation(mut world: World) {
    world.partner().await;
    let mut keys = Vec::new();
    for subject in [2, 3] {
        world.member(subject, Role::Viewer, "a:read").await;
        keys.push(world.issue_to(subject).await);
    }
    world.execute(&format!("UPDATE members SET role = 'partner_staff', partner = {AGENCY}")).await;
    world.turn(PrincipalState::Suspended).await;
    let backup = back_up(&mut world).await;
    world.turn(PrincipalState::Active).await;
    world.becomes(2, Fate::Suspended).await;
    publish(&world).await;
    world.restore(backup).await;

    let done = recover(&world).await;
    let found: Vec<_> = done.findings.members_refused.iter().map(|member| member.id.clone()).collect();
    assert_eq!(found, [member_id(2)]);
    world.turn(PrincipalState::Active).await;
    publish(&world).await;
    let replica = load(&world.directory).replica;
    let refused = |of: usize| {
        let record = replica.lookup(&world.pepper("p1").tag(&keys[of].digest)).unwrap().unwrap();
        assert_eq!(record.status, Status::Active);
        replica.profile(record.profile).unwrap().refused
    };
    assert_eq!([0, 1].map(refused), [true, false]);
}

async fn s0_14_members_that_get_something_back_are_named(mut world: World) {
    world.member(2, Role::Viewer, "a:read b:write").await;
    world.issue_to(2).await;
    let backup = back_up(&mut world).await;
    world.becomes(2, Fate::Scopes("a:read")).await;
    publish(&world).await;
    world.restore(backup).await;
    let done = recover(&world).await;
    let found: Vec<_> = done.findings.profiles_wider.iter().map(|one| (one.principal.as_str(), &one.scopes)).collect();
    assert_eq!(found, [("prn_2", &vec!["b:write".to_owned()])]);
    assert_eq!(done.findings.profiles_wider[0].environment, "live");
    assert!(done.findings.members_refused.is_empty());
}

async fn s0_14_the_last_owners_keys_are_disabled(mut world: World) {
    world.member(2, Role::Owner, "a:read").await;
    let key = world.issue_to(2).await;
    let backup = back_up(&mut world).await;
    // Another owner came after the backup.
    world.member(3, Role::Owner, "").await;
    world.becomes(2, Fate::Suspended).await;
    publish(&world).await;
    world.restore(backup).await;
    let done = recover(&world).await;
    assert_eq!(done.findings.members_refused[0].id, member_id(2));
    assert_eq!(done.findings.disabled, [key.id.to_string()]);
    assert_eq!(world.count("SELECT COUNT(*) FROM members WHERE subject = 2 AND state = 'active'").await, 1);
    let replica = load(&world.directory).replica;
    let record = replica.lookup(&world.pepper("p1").tag(&key.digest)).unwrap().unwrap();
    assert_eq!(record.status, Status::Disabled);
}
