//! `cargo xtask simulate`: lives many simulated worlds and looks for one in which a guarantee is broken.

use std::io::Write as _;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use indicatif::{ProgressBar, ProgressStyle};
use nightlatch_sim::{Counts, Outcome, Plant, measure, run, shrink};
use serde_json::json;

/// Seeds of a bounded run, as every test run lives them.
const BOUNDED: u64 = 600;

/// Options of the simulation.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many worlds to live
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// Worlds at a time; as many as there are processors when absent
    #[arg(long, value_name = "J")]
    jobs: Option<NonZero<usize>>,
    /// Live one world again; where it breaks a guarantee, show the inputs that it takes
    #[arg(long, value_name = "SEED")]
    replay: Option<u64>,
    /// Measure in one calm world of that many edges how long revocations take, by transport
    #[arg(long, value_name = "EDGES", conflicts_with_all = ["replay", "plant"])]
    measure: Option<usize>,
    /// Plant a known bug, and look for the seed that finds it: exit code 1 with the seed, 2 where none does
    #[arg(long, value_name = "NAME")]
    plant: Option<String>,
    /// List the bugs that can be planted
    #[arg(long)]
    list_plants: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What came of many worlds.
struct Found {
    worlds: u64,
    counts: Counts,
    /// The lowest seed that broke a guarantee.
    broken: Option<Outcome>,
}

/// Lives the worlds. The exit code is 0 where all guarantees hold, 1 where one is broken, 2 for any error; with a planted
/// bug 1 where it is found and 2 where it is not.
pub(crate) fn run_worlds(args: &Args) -> ExitCode {
    match choose(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn choose(args: &Args) -> Result<ExitCode> {
    if args.list_plants {
        list_plants(args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let plant = args.plant.as_deref().map(by_name).transpose()?;
    if let Some(seed) = args.replay {
        return replay(seed, plant, args.json);
    }
    if let Some(edges) = args.measure {
        let outcome = measure(args.from, edges);
        print(args.json, 1, &outcome.counts, outcome.violation.is_none())?;
        return verdict(&outcome, None);
    }
    let jobs = args.jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
    let start = Instant::now();
    let seeds = if plant.is_some() && args.seeds == 1_000 { plant.map_or(0, Plant::bound) } else { args.seeds };
    let found = live(args.from, seeds, jobs, plant);
    if let (Some(plant), None) = (plant, &found.broken) {
        anyhow::bail!("{seeds} worlds have not found the planted bug {plant}: the simulation has become blind to it");
    }
    if plant.is_none() {
        print(args.json, found.worlds, &found.counts, found.broken.is_none())?;
        eprintln!("{:.0} s, {jobs} at a time", start.elapsed().as_secs_f64());
    }
    found.broken.map_or(Ok(ExitCode::SUCCESS), |outcome| verdict(&outcome, plant))
}

/// A bounded run, and every planted bug found: what a test run asks of the simulation.
///
/// # Errors
/// Where a guarantee is broken, or a planted bug is not found.
pub(crate) fn check() -> Result<()> {
    let jobs = thread::available_parallelism().map_or(1, NonZero::get);
    let found = live(0, BOUNDED, jobs, None);
    if let Some(Outcome { seed, .. }) = found.broken {
        let story = shrink(seed, None).map_or_else(|| format!("seed {seed}"), |story| story.to_string());
        anyhow::bail!("a simulated world breaks a guarantee\n{story}");
    }
    println!("{} worlds, {} events: every guarantee holds", found.worlds, found.counts.events);
    for plant in Plant::ALL {
        let found = live(0, plant.bound(), jobs, Some(plant));
        let seed = found.broken.with_context(|| format!("the planted bug {plant} is not found"))?.seed;
        println!("planted bug {plant}: found by seed {seed}");
    }
    Ok(())
}

fn by_name(name: &str) -> Result<Plant> {
    let names = Plant::ALL.map(Plant::as_str).join(", ");
    Plant::from_name(name).with_context(|| format!("there is no planted bug {name}; there are {names}"))
}

fn list_plants(as_json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        let plants = Plant::ALL.map(|plant| json!({"name": plant.as_str(), "about": plant.about()}));
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&plants)?)?);
    }
    for plant in Plant::ALL {
        writeln!(out, "{:<18} {}", plant.as_str(), plant.about())?;
    }
    Ok(())
}

/// Lives the worlds of `seeds` seeds, some at a time, until one breaks a guarantee.
fn live(from: u64, seeds: u64, jobs: usize, plant: Option<Plant>) -> Found {
    let (next, stop) = (AtomicU64::new(from), AtomicU64::new(from.saturating_add(seeds)));
    let found = Mutex::new(Found { worlds: 0, counts: Counts::default(), broken: None });
    let bar = progress(seeds);
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    // Lower seeds than the one that failed are lived to the end, so that always the same one is named.
                    if seed >= stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let outcome = run(seed, plant);
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.worlds += 1;
                    found.counts.add(&outcome.counts);
                    if outcome.violation.is_some() {
                        stop.fetch_min(seed, Ordering::Relaxed);
                        if found.broken.as_ref().is_none_or(|broken| seed < broken.seed) {
                            found.broken = Some(outcome);
                        }
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Drawn on terminals only.
fn progress(seeds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos} of {len} worlds, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(seeds).with_style(style)
}

fn replay(seed: u64, plant: Option<Plant>, as_json: bool) -> Result<ExitCode> {
    let outcome = run(seed, plant);
    if outcome.violation.is_none() {
        print(as_json, 1, &outcome.counts, true)?;
    }
    verdict(&outcome, plant)
}

/// Says what is broken, with as little as it takes: the story on stderr, for a planted bug the seed on stdout.
fn verdict(outcome: &Outcome, plant: Option<Plant>) -> Result<ExitCode> {
    if outcome.violation.is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    if plant.is_some() {
        writeln!(std::io::stdout(), "{}", outcome.seed)?;
    }
    if let Some(story) = shrink(outcome.seed, plant) {
        eprintln!("{story}");
    }
    Ok(ExitCode::from(1))
}

fn print(as_json: bool, worlds: u64, counts: &Counts, holds: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let delays = counts.delays.iter().map(|(transport, delays)| {
        let [p50, p99, max] = [500, 990, 1_000].map(|share| delays.permille(share));
        (transport.as_str(), delays.len(), p50, p99, max)
    });
    if as_json {
        let delays: Vec<_> = delays
            .map(|(transport, count, p50, p99, max)| {
                json!({"transport": transport, "count": count, "p50_ms": p50, "p99_ms": p99, "max_ms": max})
            })
            .collect();
        let summary = json!({"worlds": worlds, "holds": holds, "counts": counts, "delays": delays});
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&summary)?)?);
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["revocation in force", "count", "p50 ms", "p99 ms", "max ms"]);
    for (transport, count, p50, p99, max) in delays {
        table.add_row([transport.to_owned(), count.to_string(), p50.to_string(), p99.to_string(), max.to_string()]);
    }
    writeln!(out, "{worlds} worlds\n{counts}\n{table}")?;
    Ok(())
}
