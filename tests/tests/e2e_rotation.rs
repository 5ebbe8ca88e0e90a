//! The product's promise: keys rotate under traffic without one failed request, and old ones die in time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use nightlatch_api::VerifyKey;
use nightlatch_tests::clock::between;
use nightlatch_tests::control_plane::{Database, Timing};
use nightlatch_tests::load::{Consumer, Load};
use nightlatch_tests::on_both_databases;
use nightlatch_tests::rotation::{Deployment, Ending, Retired, rotate};
use nightlatch_tests::seed::seed;
use nightlatch_tests::world::World;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// Requests a second.
const PACE: u32 = 200;
/// Edges the requests go to.
const ISOLATES: usize = 2;
/// Programs that hold each key.
const CONSUMERS: usize = 8;
/// How the rotations of each key end, one after the other: ten rotations on five keys.
const ENDINGS: [[Ending; 2]; 5] = [
    [Ending::Revoke, Ending::Deadline],
    [Ending::Deadline, Ending::Revoke],
    [Ending::Complete, Ending::Revoke],
    [Ending::Revoke, Ending::Complete],
    [Ending::Deadline, Ending::Deadline],
];

on_both_databases!(
    s0_03_to_07_s2_01_s3_10_s4_03_05_ten_rotations_under_load_without_a_failed_request,
    s0_08_s3_10_every_revoked_key_is_refused_within_the_bound,
);

/// Ten rotations on five keys while 200 requests a second come in. Each of the 40 consumers swaps at a random moment
/// between `usable_from` and the deadline. No request fails; after each revoke and each deadline the old key gets 401
/// within the bound and for ever after, at each of two edges.
///
/// S0-03, S0-04, S0-05, S0-06, S0-07; S2-01; S3-10; S4-03, S4-05.
async fn s0_03_to_07_s2_01_s3_10_s4_03_05_ten_rotations_under_load_without_a_failed_request(
    database: Database,
) -> Result<()> {
    let seed = seed()?;
    let world = World::start_with(database, Timing::SHORT, ISOLATES).await?;
    let mut deployments = Vec::new();
    for number in 0..ENDINGS.len() {
        // All with the same scopes: revoking one has no effect on another.
        let issued = world.issue_and_use(&format!("consumer {number}"), &["invoices:read"]).await?;
        let secret = Arc::new(issued.secret);
        let consumers = (0..CONSUMERS).map(|_| Consumer::new("/invoices", &secret)).collect();
        deployments.push(Deployment { id: issued.key.id, secret, consumers });
    }
    let consumers = deployments.iter().flat_map(|deployment| deployment.consumers.iter().cloned()).collect();
    let load = Load::start(&world.callers, consumers, PACE)?;

    let rotations = deployments.iter_mut().zip(ENDINGS).enumerate().map(|(number, (deployment, endings))| {
        let (world, mut random) = (&world, ChaCha8Rng::seed_from_u64(seed + number as u64));
        async move {
            let mut retired = Vec::new();
            for ending in endings {
                let rotated = rotate(world, deployment, ending, &mut random).await;
                retired.push(rotated.with_context(|| format!("{ending:?} of key {number}, seed {seed}"))?);
            }
            anyhow::Ok(retired)
        }
    });
    let retired: Vec<Retired> = try_join_all(rotations).await?.into_iter().flatten().collect();
    let report = load.finish().await?;
    println!("seed {seed}, {}: {report}", database.as_str());
    report.without_failure().with_context(|| format!("seed {seed}"))?;
    for Retired { secret, code, delay } in &retired {
        println!("  {code} after {delay:?}");
        for edge in &world.callers {
            edge.get("/invoices", secret.expose()).await?.refused(code).context("an old key, at the end")?;
        }
    }
    for deployment in &deployments {
        world.caller.get("/invoices", deployment.secret.expose()).await?.allowed()?;
    }
    Ok(())
}

/// Ten keys are revoked one after the other; the edge refuses each within the bound, and at `/v1/verify` the next
/// call does.
async fn s0_08_s3_10_every_revoked_key_is_refused_within_the_bound(database: Database) -> Result<()> {
    let world = World::start(database).await?;
    let mut delays = Vec::new();
    for number in 0..10 {
        let issued = world.issue_and_use(&format!("short-lived {number}"), &[]).await?;
        let revoked = world.revoke(&issued.key.id).await?;
        let verify = VerifyKey { key: issued.secret.clone(), method: None, path: None, set: None };
        let verdict = world.api().verify_key(&verify).await?;
        ensure!(verdict.code.as_deref() == Some("key_revoked"), "{verdict:?}");
        let refused = world.refused_soon(issued.secret.expose(), "key_revoked").await?;
        ensure!(refused.sent < revoked.in_force_by, "refused first at {}, {revoked:?}", refused.sent);
        delays.push(between(revoked.revoked_at, refused.received));
    }
    delays.sort_unstable();
    println!("{}: revoke to 401 p50 {:?}, worst {:?}", database.as_str(), delays[5], delays[9]);
    ensure!(delays[9] < Duration::from_secs(5), "{delays:?}");
    Ok(())
}
