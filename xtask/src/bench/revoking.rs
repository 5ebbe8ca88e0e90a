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
use nightlatch_tests::origin::Origin;
use nightlatch_tests::sidecar::{Sidecar, SidecarConfig};
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
pub(super) const PACE: u32 = 200;
/// Between two tries of the revoked key: what is measured may be this much too long.
pub(super) const LOOK: Duration = Duration::from_millis(5);
/// What the sync job shows the Worker.
const PUSH_TOKEN: &str = "the push token of the bench";
/// How long a revoked key may pass, and a sync job may take to begin.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Measures the Worker by its poll alone, then with push.
pub(super) async fn measure(scene: &Scene<'_>, effort: Effort) -> Result<Vec<Row>> {
    let mut measured = Vec::new();
    for (pushed, edge, most) in [(false, "the Worker, 1 s poll", 1_500.0), (true, "the Worker with push", 300.0)] {
        let gated = Gated::start(scene, pushed).await?;
        measured.extend(rows(edge, &revoke_many(scene, effort, &gated.url).await?, most));
    }
    Ok(measured)
}

/// A Worker that gates an origin with the scene's set.
pub(super) struct Gated {
    /// Where callers find it.
    pub(super) url: String,
    _workers: [Workerd; 2],
    _pusher: Option<Pusher>,
}

impl Gated {
    /// Starts one that polls every second, and has heads pushed to it or not.
    pub(super) async fn start(scene: &Scene<'_>, pushed: bool) -> Result<Self> {
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
        let url = workerd.url("edge")?;
        let pusher = match job {
            Some(variables) => Some(Pusher::start(scene, &variables, &url).await?),
            None => None,
        };
        Ok(Self { url, _workers: [origin, workerd], _pusher: pusher })
    }
}

/// At a sidecar whose question for the head the control plane holds open.
pub(super) async fn measure_sidecar(scene: &Scene<'_>, effort: Effort) -> Result<Vec<Row>> {
    let program = super::sidecar::program()?;
    let origin = Origin::start().await?;
    let config = SidecarConfig::beside(&scene.control_plane.worker(&origin.url()).await?)?
        .program(scene.cores.server(&program))
        .setting("mode", "proxy")
        .number("threads", 1);
    let sidecar = Sidecar::start(config).await?;
    let took = revoke_many(scene, effort, &sidecar.url()).await?;
    Ok(rows("the sidecar, long poll", &took, 300.0))
}

fn rows(edge: &str, took: &[f64], most: f64) -> Vec<Row> {
    let row = |share, name| {
        let goal = format!("revoke call → first 401 at {edge}, {} revokes ({name}, ms)", took.len());
        Row::new(goal, quantile(took, share))
    };
    vec![row(0.5, "p50"), row(0.99, "p99").target(Target::AtMost(most))]
}

/// Revokes keys at uneven moments, so that every phase of the edge's poll is met, tries each until it is refused, and says
/// how many milliseconds each took.
async fn revoke_many(scene: &Scene<'_>, effort: Effort, edge: &str) -> Result<Vec<f64>> {
    let (revokes, pause) = if effort.quick { (20, Duration::from_millis(250)) } else { (100, Duration::from_secs(1)) };
    let caller = Caller::new(edge)?;
    let kept = scene.issue("kept").await?;
    let mut doomed = Vec::new();
    for number in 0..revokes {
        doomed.push(scene.issue(&format!("to be revoked, {number}")).await?);
    }
    scene.let_through(edge, doomed.last().context("nothing to revoke")?).await?;
    let load = Load::start(std::slice::from_ref(&caller), vec![Consumer::new(PATH, &Arc::new(kept.secret))], PACE)?;

    let mut tries = JoinSet::new();
    for (number, key) in doomed.into_iter().enumerate() {
        sleep(uneven(pause, number)).await;
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

/// From half to one and a half of a pause. Steps of the golden ratio meet every phase of a poll evenly.
pub(super) fn uneven(pause: Duration, number: usize) -> Duration {
    pause.mul_f64(0.5 + (number as f64 * 0.618_034).fract())
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
