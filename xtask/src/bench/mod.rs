//! `cargo xtask bench`: how fast the product is on this machine, as one table of goals.
//!
//! What is compared is measured in the same run, in interleaved rounds, and stated as the median of the rounds: absolute
//! numbers are the machine's, ratios are ours. A goal that is missed is printed like one that is met.

mod audit_share;
mod cores;
mod forwarding;
mod inventory;
mod issuing;
mod listing;
mod membership;
mod numbers;
mod programs;
mod publishing;
mod revoking;
mod row;
mod scene;
mod set;
mod sidecar;
mod size;
mod table;
mod verdicts;
mod waiting;
mod workerd;
mod wrk;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use cores::Cores;
use programs::Programs;
use row::Row;
use scene::Scene;

/// Options of the bench.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// Fewer rounds and samples, and without what takes longer: under a minute once everything is built
    #[arg(long)]
    quick: bool,
    /// One JSON object a line in place of the table
    #[arg(long)]
    json: bool,
    /// Measure only these
    #[arg(long, value_enum, num_args = 1.., value_name = "NAME")]
    only: Vec<Measure>,
    /// How many keys to import before measuring
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    keys: u32,
    /// Of `inventory`: how many seconds one list is walked, where it does not end before
    #[arg(long, value_name = "SECONDS")]
    walk: Option<u64>,
}

/// Parts that are measured apart from the rest.
#[derive(clap::Subcommand)]
enum Part {
    /// The set at its limits: sizes, lookups, deltas, rebase, memory, against bounds and peers
    Set(set::Args),
    /// The sidecar on one core: against HAProxy, and behind nginx
    Sidecar(sidecar::Args),
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// Verdicts a second of the Worker, against a JavaScript hello-world
    Worker,
    /// What the Worker adds to the latency of forwarding
    Forward,
    /// Keys issued a second
    Issue,
    /// From a mutation to the published head
    Publish,
    /// From the call that revokes to the first refusal at the Worker
    Revoke,
    /// The same at a sidecar
    RevokeSidecar,
    /// From the call that changes a member to the new verdict of its keys at the Worker, and the bytes of the change
    Member,
    /// Pages of the list of keys
    List,
    /// Pages of every list of a large workspace, on both databases
    Inventory,
    /// What the audit log adds to issuing
    AuditShare,
    /// Edges that wait at the control plane for the next head
    Wait,
    /// The Worker's size
    Size,
}

impl Measure {
    /// In the order in which they run: what loads the machine's disk comes last.
    const ALL: [Self; 12] = [
        Self::Size,
        Self::Worker,
        Self::Forward,
        Self::Publish,
        Self::Revoke,
        Self::RevokeSidecar,
        Self::List,
        Self::Member,
        Self::Wait,
        Self::Inventory,
        Self::AuditShare,
        Self::Issue,
    ];

    /// Whether it is measured on the shared control plane with imported keys.
    fn on_scene(self) -> bool {
        !matches!(self, Self::Size | Self::Issue | Self::Wait | Self::Inventory | Self::AuditShare)
    }
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    quick: bool,
    /// Rounds of what is compared.
    rounds: usize,
    /// Seconds of load in a round.
    seconds: u32,
    /// Seconds of load before the first round.
    warm_up: u32,
    /// How long one list is walked, where it does not end before.
    walk: Duration,
}

impl Effort {
    const FULL: Self = Self { quick: false, rounds: 5, seconds: 4, warm_up: 4, walk: Duration::from_secs(60) };
    const QUICK: Self = Self { quick: true, rounds: 2, seconds: 2, warm_up: 1, walk: Duration::from_secs(2) };
}

/// Builds what is needed, measures and prints.
///
/// # Errors
/// When something cannot be built or started, or a measure could not be taken. A missed goal is no error.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.part {
        Some(Part::Set(args)) => return set::run(args),
        Some(Part::Sidecar(args)) => return sidecar::run(args),
        None => {}
    }
    let programs = Programs::prepare()?;
    let cores = Cores::of_this_machine();
    cores.describe();
    let (rows, failed) = Runtime::new()?.block_on(async {
        tokio::select! {
            outcome = measure_all(args, &programs, cores) => outcome,
            stopped = told_to_stop() => stopped,
        }
    })?;
    if args.json {
        table::print_json(&rows)?;
    } else {
        table::print(&rows);
    }
    if failed > 0 {
        bail!("{failed} of the measures could not be taken; the reasons are above");
    }
    Ok(())
}

async fn measure_all(args: &Args, programs: &Programs, cores: Cores) -> Result<(Vec<Row>, usize)> {
    let effort = if args.quick { Effort::QUICK } else { Effort::FULL };
    let effort = Effort { walk: args.walk.map_or(effort.walk, Duration::from_secs), ..effort };
    let wanted: Vec<Measure> =
        Measure::ALL.into_iter().filter(|measure| args.only.is_empty() || args.only.contains(measure)).collect();
    let (mut rows, mut failed) = (Vec::new(), 0);
    let mut scene = None;
    for measure in wanted {
        if !measure.on_scene() {
            // What is idle but alive would still cost a little.
            scene = None;
        } else if scene.is_none() {
            scene = Some(Scene::start(programs, cores, args.keys).await?);
        }
        let start = Instant::now();
        let outcome = match (measure, &scene) {
            (Measure::Size, _) => size::measure(programs),
            (Measure::Wait, _) => waiting::measure(programs, cores, effort).await,
            (Measure::Inventory, _) => inventory::measure(programs, cores, effort).await,
            (Measure::AuditShare, _) => audit_share::measure(programs, cores, effort).await,
            (Measure::Issue, _) => issuing::measure(programs, cores, effort).await,
            (Measure::Worker, Some(scene)) => verdicts::measure(scene, effort).await,
            (Measure::Forward, Some(scene)) => forwarding::measure(scene, effort).await,
            (Measure::Publish, Some(scene)) => publishing::measure(scene, effort).await,
            (Measure::Revoke, Some(scene)) => revoking::measure(scene, effort).await,
            (Measure::RevokeSidecar, Some(scene)) => revoking::measure_sidecar(scene, effort).await,
            (Measure::Member, Some(scene)) => membership::measure(scene, effort).await,
            (Measure::List, Some(scene)) => listing::measure(scene, effort).await,
            (_, None) => bail!("{measure:?} needs a control plane"),
        };
        match outcome {
            Ok(measured) => rows.extend(measured),
            Err(error) => {
                failed += 1;
                say(&format!("{measure:?} could not be measured: {error:#}"));
            }
        }
        say(&format!("{measure:?} took {:.0} s", start.elapsed().as_secs_f64()));
    }
    Ok((rows, failed))
}

/// Ends when somebody asks the bench to; everything it started ends with what holds it.
async fn told_to_stop<T>() -> Result<T> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    bail!("interrupted")
}

/// A line of the narration.
fn say(text: &str) {
    eprintln!("bench: {text}");
}

/// Milliseconds as the table shows them.
fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
