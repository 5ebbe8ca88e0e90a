//! What comes after a revocation: nothing brings the key back, anywhere, and nobody else notices.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use nightlatch_tests::control_plane::{Database, Timing};
use nightlatch_tests::load::{Consumer, Load};
use nightlatch_tests::on_both_databases;
use nightlatch_tests::wait::eventually;
use nightlatch_tests::world::{SOON, World};

on_both_databases!(s2_14_s3_12_every_later_request_is_refused_and_nobody_else_notices,);

/// Two isolates under continuous load with another key. Once an isolate has refused the revoked key, it refuses it for good:
/// through other changes, and through a restart of the control plane. No request with the other key fails.
async fn s2_14_s3_12_every_later_request_is_refused_and_nobody_else_notices(database: Database) -> Result<()> {
    let mut world = World::start_with(database, Timing { validity: 60, ..Timing::SHORT }, 2).await?;
    let kept = Arc::new(world.issue_and_use("kept", &[]).await?.secret);
    let doomed = world.issue_and_use("revoked", &[]).await?;
    let secret = doomed.secret.expose();
    for caller in &world.callers {
        for key in [kept.expose(), secret] {
            eventually("every isolate knows the keys", SOON, async || caller.get("/status", key).await?.allowed())
                .await?;
        }
    }
    let load = Load::start(&world.callers, vec![Consumer::new("/status", &kept)], 100)?;
    world.revoke(&doomed.key.id).await?;
    for caller in &world.callers {
        let refused = async || caller.get("/status", secret).await?.refused("key_revoked");
        eventually("the isolate refuses the key", SOON, refused).await?;
    }
    let stays_out = async |world: &World| -> Result<()> {
        for caller in &world.callers {
            for _ in 0..50 {
                caller.get("/status", secret).await?.refused("key_revoked").context("it came back")?;
            }
        }
        Ok(())
    };
    stays_out(&world).await?;
    world.issue_and_use("another", &[]).await?;
    stays_out(&world).await?;
    world.control_plane.stop()?;
    stays_out(&world).await?;
    world.control_plane.restart().await?;
    world.issue_and_use("after the restart", &[]).await?;
    stays_out(&world).await?;
    let report = load.finish().await?;
    println!("{}: {report}", database.as_str());
    report.without_failure()
}
