//! `cargo xtask probes`: looks for a tag that a large set takes for another, and checks that comparing them takes the same
//! time wherever they differ.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::node_tools::repository_root;
use crate::tools::{ensure_program, run as run_command};

/// Bucket bits at which the rest of a tag has 15, 14 and 13 bytes.
const LAYOUTS: [&str; 3] = ["0", "8", "16"];

/// Options of the probes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Keys in the set's base
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Random tags to look up
    #[arg(long, default_value_t = 100_000_000)]
    probes: u64,
    /// Keys of which every matched bit is changed, one at a time
    #[arg(long, default_value_t = 20_000)]
    sample: u64,
}

/// Looks for false accepts and says how much was tried.
///
/// # Errors
/// When one is found.
pub(crate) fn run(args: &Args) -> Result<()> {
    let program = example(&repository_root(), "probes")?;
    let numbers = [args.keys, args.probes, args.sample].map(|number| number.to_string());
    run_command(Command::new(program).args(numbers)).context("a tag was taken for another, or a key was lost")
}

/// Counts the instructions of lookups that meet a key which differs in one byte of its rest, each byte in turn.
///
/// # Errors
/// When one takes more than another, or nothing can be counted.
pub(crate) fn check_timing(root: &Path) -> Result<()> {
    ensure_program("valgrind", "valgrind")?;
    let program = example(root, "probe_timing")?;
    // With other keys behind it, and as the last of all, where a lookup looks at fewer tags at once.
    for (bucket_bits, others) in LAYOUTS.into_iter().flat_map(|bits| [(bits, "40"), (bits, "0")]) {
        let counts = instructions(&program, [bucket_bits, others])?;
        ensure!(counts.len() >= 12, "only {} lookups were counted", counts.len());
        let same = counts.iter().all(|count| *count > 0 && *count == counts[0]);
        ensure!(
            same,
            "a lookup's instructions depend on the byte that differs ({bucket_bits} bucket bits, {others} others): {counts:?}"
        );
        eprintln!(
            "{} lookups of {} instructions each, with {bucket_bits} bucket bits and {others} other keys",
            counts.len(),
            counts[0]
        );
    }
    Ok(())
}

/// The instructions of each call of the example's `probe`.
fn instructions(program: &Path, arguments: [&str; 2]) -> Result<Vec<u64>> {
    let directory = tempfile::tempdir()?;
    let counted = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--quiet",
            "--toggle-collect=probe_timing::probe",
            "--dump-after=probe_timing::probe",
        ])
        .arg(format!("--callgrind-out-file={}/calls", directory.path().display()))
        .arg(program)
        .args(arguments)
        .status()
        .context("starting valgrind")?;
    ensure!(counted.success(), "valgrind failed ({counted})");
    // One file per call, numbered, and one of what came after the last.
    let mut counts = Vec::new();
    for number in 1.. {
        let file = directory.path().join(format!("calls.{number}"));
        if !file.exists() {
            break;
        }
        let profile = fs::read_to_string(&file)?;
        let count =
            profile.lines().find_map(|line| line.strip_prefix("totals: ")).context("a profile without totals")?;
        counts.push(count.trim().parse()?);
    }
    Ok(counts)
}

/// Builds an example of the key set's crate as it is shipped.
fn example(root: &Path, name: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run_command(
        Command::new(cargo)
            .args(["build", "--release", "--package", "nightlatch-keyset", "--example", name])
            .current_dir(root),
    )
    .with_context(|| format!("building {name}"))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(root.join(target).join("release/examples").join(name))
}
