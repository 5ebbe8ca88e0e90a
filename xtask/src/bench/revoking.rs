//! From the call that revokes a key to the first 401 at the edge.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nightlatch_api::client::Client;
use nightlatch_api::{IssuedKey, RevokeKey};
use nightlatch_tests::caller::Caller;
use nightlatch_tests::load::{Consumer, Load};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::numbers::quantile;
use super::row::{Row, Target};
use super::scene::{PATH, Scene};
use super::workerd::{Code, Workerd};
use super::{Effort, ms, say};

const ORIGIN: &str = r#"export default { fetch() { return new Response("Hello World!"); } };"#;
/// Requests a second of other keys meanwhile.
const PACE: u32 = 200;
/// Between two tries of the revoked key: what is measured may be this much too long.
const LOOK: Duration = Duration::from_millis(5);
/// How long a revoked key may pass.
const PATIENCE: Duration = Duration::from_secs(30);

/// Revokes keys at uneven moments, so that every phase of the edge's poll is met, and tries each until it is refused.
pub(super) async fn measure(scene: &Scene<'_>, effort: Effort) -> Result<Vec<Row>> {
    let (revokes, pause) = if effort.quick { (20, Duration::from_millis(250)) } else { (100, Duration::from_secs(1)) };
    let origin = Code::Script(ORIGIN.into());
    let origin = Workerd::start(&scene.cores.load(&scene.programs.workerd), vec![("origin", origin)]).await?;
    let workers = vec![("edge", scene.edge(&origin.url("origin")?).await?)];
    let workerd = Workerd::start(&scene.cores.server(&scene.programs.workerd), workers).await?;
    let caller = Caller::new(&workerd.url("edge")?)?;

    let kept = scene.issue("kept").await?;
    let mut doomed = Vec::new();
    for number in 0..revokes {
        doomed.push(scene.issue(&format!("to be revoked, {number}")).await?);
    }
    scene.let_through(&workerd.url("edge")?, doomed.last().context("nothing to revoke")?).await?;
    let load = Load::start(std::slice::from_ref(&caller), vec![Consumer::new(PATH, &Arc::new(kept.secret))], PACE)?;

    let mut tries = JoinSet::new();
    for (number, key) in doomed.into_iter().enumerate() {
        // From half to one and a half of the pause. Steps of the golden ratio meet every phase of the poll evenly.
        sleep(pause.mul_f64(0.5 + (number as f64 * 0.618_034).fract())).await;
        tries.spawn(revoke(scene.client().clone(), caller.clone(), key));
    }
    let mut took = Vec::new();
    while let Some(done) = tries.join_next().await {
        took.push(ms(done??));
    }
    let traffic = load.finish().await?;
    say(&format!("meanwhile {} requests with another key, {} failed", traffic.sent(), traffic.failures.len()));
    traffic.without_failure()?;
    let count = took.len();
    Ok(vec![
        Row::new(
            format!("revoke call → first 401 at the edge, {count} revokes, 1 s poll (p50, ms)"),
            quantile(&took, 0.5),
        ),
        Row::new(
            format!("revoke call → first 401 at the edge, {count} revokes, 1 s poll (p99, ms)"),
            quantile(&took, 0.99),
        )
        .target(Target::AtMost(1_500.0)),
    ])
}

/// Revokes a key and tries it until it is refused.
async fn revoke(client: Client, caller: Caller, key: IssuedKey) -> Result<Duration> {
    caller.get(PATH, key.secret.expose()).await?.allowed()?;
    let start = Instant::now();
    client.revoke_key(&key.key.id, &RevokeKey::new("measured")).await?;
    loop {
        let answer = caller.get(PATH, key.secret.expose()).await?;
        if answer.status == 401 {
            let took = start.elapsed();
            answer.refused("key_revoked")?;
            return Ok(took);
        }
        ensure!(start.elapsed() < PATIENCE, "a revoked key still passes: {answer:?}");
        sleep(LOOK).await;
    }
}
