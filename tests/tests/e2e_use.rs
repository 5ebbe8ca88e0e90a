//! What the edge reports back: which keys are in use.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nightlatch_api::{Code, CompleteRotation, RotationOrder, StartRotation};
use nightlatch_tests::clock::{before, now};
use nightlatch_tests::control_plane::Database;
use nightlatch_tests::on_both_databases;
use nightlatch_tests::wait::eventually;
use nightlatch_tests::world::World;

/// S1-07: within a minute of the first request.
const MINUTE: Duration = Duration::from_secs(60);

on_both_databases!(
    s1_07_s0_10_last_used_moves_within_a_minute_of_the_first_request,
    s1_07_a_rotation_is_not_completed_while_its_predecessor_is_in_use,
);

/// A key that nobody uses has no last use; one request, and within a minute it has. A revoked key leaves no trace of use.
async fn s1_07_s0_10_last_used_moves_within_a_minute_of_the_first_request(database: Database) -> Result<()> {
    let world = World::start(database).await?;
    let [used, idle] = [world.issue("used", &[]).await?, world.issue("idle", &[]).await?];
    ensure!(used.key.last_used_at.is_none());
    let answer = world.allowed_soon(used.secret.expose()).await?;
    let last_used_at = eventually("last_used_at moves", MINUTE, async || {
        world.api().key(&used.key.id).await?.value.last_used_at.context("no use is known")
    })
    .await?;
    ensure!(last_used_at >= before(answer.sent, Duration::from_secs(world.timing.skew)), "{last_used_at}");
    ensure!(last_used_at <= now());
    ensure!(world.api().key(&idle.key.id).await?.value.last_used_at.is_none());

    world.revoke(&used.key.id).await?;
    world.refused_soon(used.secret.expose(), "key_revoked").await?;
    let at_the_end = world.api().key(&used.key.id).await?.value.last_used_at;
    for _ in 0..20 {
        world.caller.get("/status", used.secret.expose()).await?.refused("key_revoked")?;
    }
    // A report that came after those requests shows that none of them was counted.
    world.allowed_soon(idle.secret.expose()).await?;
    eventually("the next report arrives", MINUTE, async || {
        world.api().key(&idle.key.id).await?.value.last_used_at.context("no use is known")
    })
    .await?;
    ensure!(world.api().key(&used.key.id).await?.value.last_used_at == at_the_end);
    Ok(())
}

/// Completing asks for force and a reason while the predecessor was seen within two minutes, and says when it was.
async fn s1_07_a_rotation_is_not_completed_while_its_predecessor_is_in_use(database: Database) -> Result<()> {
    let world = World::start(database).await?;
    let old = world.issue_and_use("still in use", &[]).await?;
    eventually("the use is known", MINUTE, async || {
        world.api().key(&old.key.id).await?.value.last_used_at.context("no use is known")
    })
    .await?;
    let request = StartRotation {
        overlap_seconds: Some(600),
        reason: "scheduled".into(),
        name: None,
        scopes: None,
        order: RotationOrder::IssueFirst,
        dry_run: false,
        acknowledge_sensitive: false,
        expires_at: None,
    };
    let rotation = world.api().start_rotation(&old.key.id, &request).await?.rotation;
    let refused = world.api().complete_rotation(&rotation.id, &CompleteRotation::default()).await.unwrap_err();
    ensure!(refused.is(Code::PredecessorInUse), "{refused}");
    ensure!(refused.problem().is_some_and(|problem| problem.more.contains_key("last_used_at")), "{refused}");
    world.caller.get("/status", old.secret.expose()).await?.allowed()?;

    let force = CompleteRotation { force: true, reason: Some("it is ours, and it can wait".into()) };
    world.api().complete_rotation(&rotation.id, &force).await?;
    world.refused_soon(old.secret.expose(), "key_revoked").await?;
    Ok(())
}
