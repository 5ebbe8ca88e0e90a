//! From the call that revokes a key to the first 401 at the edge.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nightlatch_api::client::Client;
use nightlatch_api::{IssuedKey, RevokeKey};
use nightlatch_tests::caller::Caller;
use nightlatch_tests::load::{Consumer, Load};
use nightlatch_tests::wait::eventually;
use tempfile::TempDir;
use tokio::process::{Child, Command};
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
/// What the sync job shows the Worker.
const PUSH_TOKEN: &str = "the push token of the bench";
/// How long a revoked key may pass, and a sync job may take to begin.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures the Worker by its poll alone, then with push.
pub(super) async fn measure(scene: &Scene<'_>, effort: Effort) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (pushed, how, goal) in [(false, "1 s poll", 1_500.0), (true, "push", 300.0)] {
        let took = revokes(scene, effort, pushed).await?;
        let what = format!("revoke call → first 401 at the edge, {} revokes, {how}", took.len());
        rows.push(Row::new(format!("{what} (p50, ms)"), quantile(&took, 0.5)));
        rows.push(Row::new(format!("{what} (p99, ms)"), quantile(&took, 0.99)).target(Target::AtMost(goal)));
    }
    Ok(rows)
}

/// Revokes keys at uneven moments, so that every phase of the edge's poll is met, and tries each until it is refused; how
/// many milliseconds that took.
async fn revokes(scene: &Scene<'_>, effort: Effort, pushed: bool) -> Result<Vec<f64>> {
    let (revokes, pause) = if effort.quick { (20, Duration::from_millis(250)) } else { (100, Duration::from_secs(1)) };
    let origin = Code::Script(ORIGIN.into());
    let origin = Workerd::start(&scene.cores.load(&scene.programs.workerd), vec![("origin", origin)]).await?;
    let edge = scene.edge(&origin.url("origin")?).await?;
    let (edge, job) = match edge {
        Code::Edge(build, mut variables) if pushed => {
            let job = variables.clone();
            variables.insert("NIGHTLATCH_PUSH_TOKEN".into(), PUSH_TOKEN.into());
            (Code::PushedEdge(build, variables), Some(job))
        }
        edge => (edge, None),
    };
    let workerd = Workerd::start(&scene.cores.server(&scene.programs.workerd), vec![("edge", edge)]).await?;
    let _pusher = match job {
        Some(variables) => Some(Pusher::start(scene, &variables, &workerd.url("edge")?).await?),
        None => None,
    };
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
    Ok(took)
}

/// A sync job that pushes every head to the Worker, the way it is done where edges do not read from the control plane. It
/// ends when dropped.
struct Pusher {
    _process: Child,
    _target: TempDir,
}

impl Pusher {
    /// Starts one for the set that a Worker with these variables reads, and waits until it has copied a head.
    async fn start(scene: &Scene<'_>, variables: &BTreeMap<String, String>, edge: &str) -> Result<Self> {
        let set = variables.get("NIGHTLATCH_SET").context("the Worker's set")?;
        let address = edge.replace("http://", "ws://");
        let target = TempDir::with_prefix_in("pushed-", &scene.programs.scratch)?;
        let words = scene.cores.load(&scene.programs.nightlatch);
        // What names whom to believe, where to read and with which token is named alike for edges and for the job.
        let known = ["NIGHTLATCH_SOURCE", "NIGHTLATCH_TOKEN", "NIGHTLATCH_ROOT", "NIGHTLATCH_VERIFIER"];
        let process = Command::new(&words[0])
            .args(&words[1..])
            .arg("sync")
            .arg("--target")
            .arg(target.path())
            .args(["--push", &format!("{address}/.well-known/nightlatch/push/{set}")])
            .envs(variables.iter().filter(|(name, value)| known.contains(&name.as_str()) && !value.is_empty()))
            .env("NIGHTLATCH_PUSH_TOKEN", PUSH_TOKEN)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("running the sync job")?;
        let head = target.path().join("head");
        eventually("the sync job copies a head", PATIENCE, async || Ok(fs::metadata(&head).map(drop)?)).await?;
        Ok(Self { _process: process, _target: target })
    }
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
