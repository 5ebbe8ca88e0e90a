//! Edges that wait at the control plane for the next head: what they cost it, and how soon they hear.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nightlatch_api::UpdateKey;
use nightlatch_api::client::Client;
use nightlatch_tests::control_plane::{ControlPlane, ControlPlaneConfig, Database};
use reqwest::StatusCode;
use reqwest::header::{ETAG, IF_NONE_MATCH};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::cores::Cores;
use super::numbers::quantile;
use super::programs::Programs;
use super::row::Row;
use super::scene::issue;
use super::{Effort, ms, say};

/// Edges that wait.
const EDGES: usize = 2_000;
/// Seconds that each asks the control plane to keep it waiting.
const WAIT: &str = "wait=25";
/// Between two changes.
const PAUSE: Duration = Duration::from_secs(1);
/// Clock ticks a second in `/proc/PID/stat`; the kernel's ABI fixes them on every platform we run on.
const TICKS: f64 = 100.0;
/// How long a change may take to reach everyone.
const PATIENCE: Duration = Duration::from_secs(20);

/// Changes a key once a second while 2,000 edges wait for heads, all on connections of their own.
pub(super) async fn measure(programs: &Programs, cores: Cores, effort: Effort) -> Result<Vec<Row>> {
    let changes = if effort.quick { 5 } else { 30 };
    let config = ControlPlaneConfig::new(Database::Sqlite).program(cores.server(&programs.nightlatch));
    let control_plane = ControlPlane::start(config).await?;
    let key = issue(control_plane.client(), "changed").await?;
    let (heard, mut hears) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicU64::new(0));
    let mut edges = JoinSet::new();
    for _ in 0..EDGES {
        edges.spawn(follow(Edge::of(&control_plane)?, heard.clone(), waiting.clone()));
    }
    drop(heard);
    say(&format!("{EDGES} edges are connecting"));
    timeout(PATIENCE, settle(&waiting)).await.context("not every edge got its first head")?;

    let pid = control_plane.pid().context("the control plane has ended")?;
    let (before, start) = (processor_seconds(pid)?, Instant::now());
    let mut delays = Vec::new();
    for turn in 0..changes {
        let next = start + PAUSE * turn;
        sleep(next.saturating_duration_since(Instant::now())).await;
        while hears.try_recv().is_ok() {}
        let changed = change(control_plane.client(), &key.key.id, turn).await?;
        delays.extend(timeout(PATIENCE, everybody(&mut hears, changed)).await.context("not every edge heard of it")??);
    }
    let share = (processor_seconds(pid)? - before) / start.elapsed().as_secs_f64();
    Ok(vec![
        Row::new(
            format!("{EDGES} edges waiting, a change a second: control plane, share of a core (%)"),
            share * 100.0,
        ),
        Row::new(format!("{EDGES} edges waiting: change called → head at an edge (p50, ms)"), quantile(&delays, 0.5)),
        Row::new(format!("{EDGES} edges waiting: change called → head at an edge (p99, ms)"), quantile(&delays, 0.99)),
    ])
}

/// Until every edge has a head.
async fn settle(waiting: &AtomicU64) {
    while waiting.load(Ordering::Relaxed) < EDGES as u64 {
        sleep(Duration::from_millis(20)).await;
    }
}

/// Changes the key, and says when the call began.
async fn change(client: &Client, id: &str, turn: u32) -> Result<Instant> {
    let tier = if turn.is_multiple_of(2) { "gold" } else { "silver" };
    let change = UpdateKey { tier: Some(Some(tier.into())), ..UpdateKey::default() };
    let etag = client.key(id).await?.etag;
    let start = Instant::now();
    client.update_key(id, &etag, &change).await?;
    Ok(start)
}

/// How long after `changed` each edge had a head of a later version, in milliseconds.
async fn everybody(hears: &mut mpsc::UnboundedReceiver<Heard>, changed: Instant) -> Result<Vec<f64>> {
    let mut delays = Vec::with_capacity(EDGES);
    while delays.len() < EDGES {
        let heard = hears.recv().await.context("the edges have ended")?;
        if heard.newer && heard.at > changed {
            delays.push(ms(heard.at - changed));
        }
    }
    Ok(delays)
}

/// A head has come.
struct Heard {
    at: Instant,
    /// Its version is higher than that of the head before.
    newer: bool,
}

/// An edge that does nothing but ask for heads.
struct Edge {
    client: reqwest::Client,
    url: String,
    token: String,
}

impl Edge {
    fn of(control_plane: &ControlPlane) -> Result<Self> {
        Ok(Self {
            client: reqwest::Client::builder().http1_only().no_proxy().build()?,
            url: format!("{}/v1/sets/{}/head", control_plane.url(), control_plane.set().id),
            token: control_plane.token().to_owned(),
        })
    }
}

async fn follow(edge: Edge, heard: mpsc::UnboundedSender<Heard>, waiting: Arc<AtomicU64>) -> Result<()> {
    let (mut tag, mut version) = (None, 0);
    loop {
        let mut request = edge.client.get(&edge.url).bearer_auth(&edge.token).header("prefer", WAIT);
        if let Some(tag) = &tag {
            request = request.header(IF_NONE_MATCH, tag);
        }
        let answer = request.send().await?;
        if answer.status() == StatusCode::NOT_MODIFIED {
            continue;
        }
        ensure!(answer.status() == StatusCode::OK, "the head was answered with {}", answer.status());
        let first = tag.is_none();
        tag = answer.headers().get(ETAG).cloned();
        let text = answer.text().await?;
        let line = text.lines().find_map(|line| line.strip_prefix("version ")).context("a head without a version")?;
        let newest: u64 = line.parse()?;
        let newer = newest > version && !first;
        version = newest;
        if first {
            waiting.fetch_add(1, Ordering::Relaxed);
        }
        if heard.send(Heard { at: Instant::now(), newer }).is_err() {
            return Ok(());
        }
    }
}

/// Seconds of processor time a process has had, of all its threads.
fn processor_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name of the program stands in parentheses and may hold blanks.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat is not what it was")?;
    let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS)
}
