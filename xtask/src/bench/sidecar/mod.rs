//! `cargo xtask bench sidecar`: verdicts of the sidecar on one core, alone against HAProxy with a map of SHA-256 digests,
//! and behind nginx against nginx asking a server that always says yes.

mod peers;
mod stand;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;

use self::peers::{haproxy, memory_of, nginx, yes};
use self::stand::Stand;
use super::cores::Cores;
use super::numbers::median;
use super::row::{Row, Target};
use super::wrk::{CONNECTIONS, Load};
use super::{Effort, say, table, told_to_stop};
use crate::node_tools::repository_root;
use crate::tools::{ensure_nginx, ensure_program, run as run_command};

/// Options of `bench sidecar`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fewer rounds
    #[arg(long)]
    quick: bool,
    /// One JSON object a line in place of the table
    #[arg(long)]
    json: bool,
    /// How many keys the set has
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=5_000_000))]
    keys: u32,
}

/// Builds what is needed, measures and prints.
///
/// # Errors
/// When something cannot be built, installed or started. A missed goal is no error.
pub(crate) fn run(args: &Args) -> Result<()> {
    for (program, package) in [("wrk", "wrk"), ("taskset", "util-linux"), ("haproxy", "haproxy")] {
        ensure_program(program, package)?;
    }
    ensure_nginx()?;
    let sidecar = program()?;
    let cores = Cores::of_this_machine();
    cores.describe();
    let effort = if args.quick { Effort::QUICK } else { Effort::FULL };
    let rows = Runtime::new()?.block_on(async {
        tokio::select! {
            rows = measure(&sidecar, cores, effort, args.keys) => rows,
            stopped = told_to_stop() => stopped,
        }
    })?;
    if args.json {
        return table::print_json(&rows);
    }
    table::print(&rows);
    Ok(())
}

/// The sidecar: what `NIGHTLATCH_SIDECAR_BIN` names, else a release build.
pub(super) fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("NIGHTLATCH_SIDECAR_BIN") {
        return Ok(path.into());
    }
    say("building the sidecar for release");
    let root = repository_root();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    run_command(build.args(["build", "--quiet", "--release", "--package", "nightlatch-sidecar"]).current_dir(&root))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(root.join(target).join("release/nightlatch-sidecar"))
}

async fn measure(program: &std::path::Path, cores: Cores, effort: Effort, keys: u32) -> Result<Vec<Row>> {
    say(&format!("making a set of {keys} keys"));
    let stand = Stand::prepare(keys)?;
    let load =
        |url: String| Load { cores, url, connections: CONNECTIONS, headers: Vec::new(), script: Some(stand.script()) };

    let haproxy = haproxy(&cores.server("haproxy".as_ref()), stand.map()).await?;
    let sidecar = stand.sidecar(&cores.server(program)).await?;
    let pid = sidecar.pid().context("the sidecar runs")?;
    let mut alone = Pair { ours: load(sidecar.url()), theirs: load(haproxy.url()), rounds: Vec::new() };
    alone.measure("alone", effort).await?;
    let (our_memory, their_memory) = (memory_of(pid)?, memory_of(haproxy.pid())?);
    drop(haproxy);

    let yes = yes(&cores.server("nginx".as_ref())).await?;
    let before_yes = nginx(&cores.server("nginx".as_ref()), &yes.address()).await?;
    let before_ours = nginx(&cores.server("nginx".as_ref()), &sidecar.address()).await?;
    let mut behind = Pair { ours: load(before_ours.url()), theirs: load(before_yes.url()), rounds: Vec::new() };
    behind.measure("behind nginx", effort).await?;

    let row = |goal: &str, [ours, theirs]: [f64; 2]| Row::new(goal.to_owned(), ours).against(theirs);
    Ok(vec![
        row(&format!("sidecar, {keys} keys, one core / HAProxy with a map of digests (requests/s)"), alone.medians())
            .target(Target::RatioAtLeast(0.8, 0.8)),
        row("sidecar / HAProxy with a map of digests (resident MB)", [our_memory, their_memory])
            .target(Target::RatioAtMost(0.15)),
        row("nginx asking the sidecar / nginx asking a server that says 204 (requests/s)", behind.medians())
            .target(Target::RatioAtLeast(0.9, 0.9)),
    ])
}

/// Two that are measured in turn.
struct Pair<'a> {
    ours: Load<'a>,
    theirs: Load<'a>,
    rounds: Vec<[f64; 2]>,
}

impl Pair<'_> {
    async fn measure(&mut self, name: &str, effort: Effort) -> Result<()> {
        for load in [&self.ours, &self.theirs] {
            load.run(effort.warm_up).await?;
        }
        for round in 1..=effort.rounds {
            let theirs = self.theirs.run(effort.seconds).await?.per_second;
            let ours = self.ours.run(effort.seconds).await?.per_second;
            say(&format!("{name}, round {round}: {ours:.0} requests/s, the other {theirs:.0}"));
            self.rounds.push([ours, theirs]);
        }
        Ok(())
    }

    fn medians(&self) -> [f64; 2] {
        [0, 1].map(|side| median(&self.rounds.iter().map(|round| round[side]).collect::<Vec<_>>()))
    }
}
