//! The control plane is down: the edge serves as long as the last head allows, then refuses, and recovers by itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nightlatch_keyset::Head;
use nightlatch_keyset::note::Verifier;
use nightlatch_tests::clock::{at_ms, before, now};
use nightlatch_tests::control_plane::{ControlPlane, Database, Timing};
use nightlatch_tests::load::{Consumer, Load};
use nightlatch_tests::on_both_databases;
use nightlatch_tests::world::World;

on_both_databases!(the_edge_outlives_the_control_plane_until_valid_until_and_recovers, a_stop_and_a_start_go_unnoticed,);

/// SIGKILL: every request succeeds until shortly before the head's `valid_until`, every one after it is a 503 with
/// `Retry-After`, never a 401; a restart is all it takes.
async fn the_edge_outlives_the_control_plane_until_valid_until_and_recovers(database: Database) -> Result<()> {
    let mut world = World::start(database).await?;
    let key = world.issue_and_use("outage", &[]).await?;
    let key = key.secret.expose();
    world.control_plane.kill()?;
    let valid_until = at_ms(published_head(&world.control_plane)?.valid_until);
    // The edge may have missed the very last head: it asks every second, and one is signed every second.
    let sure_until = before(valid_until, Duration::from_secs(1 + world.timing.heartbeat));

    let (mut served, mut refused) = (0, 0);
    while refused < 20 {
        let answer = world.caller.get("/status", key).await?;
        if answer.status == 200 {
            ensure!(answer.sent < valid_until, "served beyond {valid_until}: {answer:?}");
            served += 1;
        } else {
            ensure!(answer.received >= sure_until, "refused before {sure_until}: {answer:?}");
            let answer = answer.expect(503, Some("set_stale"))?;
            ensure!(!answer.header("retry-after").is_empty(), "{:?}", answer.headers);
            refused += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(served > 0 && now() < valid_until + jiff::SignedDuration::from_secs(30));

    world.control_plane.restart().await?;
    world.allowed_soon(key).await?;
    let issued = world.issue_and_use("after the outage", &[]).await?;
    world.caller.get("/status", issued.secret.expose()).await?.allowed()?;
    Ok(())
}

/// An upgrade: the control plane is stopped and started again within the heads' validity, and no request at the edge
/// fails for it.
async fn a_stop_and_a_start_go_unnoticed(database: Database) -> Result<()> {
    let mut world = World::start_with(database, Timing { validity: 60, ..Timing::SHORT }, 1).await?;
    let issued = world.issue_and_use("through the upgrade", &[]).await?;
    let secret = Arc::new(issued.secret);
    let consumers = vec![Consumer::new("/status", &secret)];
    let load = Load::start(&world.callers, consumers, 100)?;
    world.control_plane.stop()?;
    world.control_plane.restart().await?;
    world.issue_and_use("after the upgrade", &[]).await?;
    let report = load.finish().await?;
    println!("{}: {report}", database.as_str());
    report.without_failure()?;
    world.revoke(&issued.key.id).await?;
    world.refused_soon(secret.expose(), "key_revoked").await?;
    Ok(())
}

/// The head as it lies in the data directory.
fn published_head(control_plane: &ControlPlane) -> Result<Head> {
    let verifier = Verifier::from_vkey(&control_plane.set().verifier).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let note = std::fs::read_to_string(control_plane.published().join("head")).context("the published head")?;
    Ok(Head::open(&note, &[verifier])?)
}
