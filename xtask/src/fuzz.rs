//! `cargo xtask fuzz`: every parser against libFuzzer, for as long as one likes. `cargo xtask test` tries the stored inputs and
//! a few thousand mutations of them without it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::node_tools::repository_root;
use crate::tools::{ensure_nightly, run as run_command};

/// What libFuzzer needs to know of a program. There is no address sanitizer: no crate under test has `unsafe` code.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cdebug-assertions -Ccodegen-units=1";

/// Options of the fuzzers.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to try each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// This target only; they are the names in `fuzz/fuzz_targets`
    target: Option<String>,
}

/// Builds the fuzzers with the nightly compiler and runs one after the other. What they find on the way is kept in
/// `target/fuzz/found`, and what a parser does not survive in `target/fuzz/artifacts`.
///
/// # Errors
/// When a parser does not survive an input, there is no such target, or the fuzzers cannot be built.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = repository_root();
    let targets = targets(&root)?;
    if let Some(target) = &args.target {
        ensure!(targets.contains(target), "there is no target {target}; there are {}", targets.join(", "));
    }
    ensure_nightly()?;
    let programs = build(&root)?;
    for target in targets.iter().filter(|target| args.target.as_ref().is_none_or(|wanted| wanted == *target)) {
        fuzz(&root, &programs.join(target), target, args.seconds)?;
    }
    Ok(())
}

fn targets(root: &Path) -> Result<Vec<String>> {
    let files = fs::read_dir(root.join("fuzz/fuzz_targets")).context("reading fuzz/fuzz_targets")?;
    let stem = |file: fs::DirEntry| Some(file.path().file_stem()?.to_str()?.to_owned());
    let mut targets: Vec<String> = files.flatten().filter_map(stem).collect();
    targets.sort();
    Ok(targets)
}

/// Builds all fuzzers and gives the directory they are in.
fn build(root: &Path) -> Result<PathBuf> {
    let (directory, host) = (root.join("target/fuzz"), host()?);
    // With the target named, the flags are not for build scripts.
    run_command(
        nightly("cargo")
            .args(["build", "--release", "--target", &host, "--target-dir"])
            .arg(&directory)
            .env("RUSTFLAGS", FLAGS)
            .current_dir(root.join("fuzz")),
    )
    .context("building the fuzzers")?;
    Ok(directory.join(host).join("release"))
}

fn fuzz(root: &Path, program: &Path, target: &str, seconds: u32) -> Result<()> {
    let out = root.join("target/fuzz");
    let (found, artifacts) = (out.join("found").join(target), out.join("artifacts"));
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&artifacts)?;
    let log = out.join(format!("{target}.log"));
    let fuzzed = run_command(
        Command::new(program)
            .arg(format!("-max_total_time={seconds}"))
            .args(["-max_len=8192", "-rss_limit_mb=2048", "-timeout=10", "-print_final_stats=1"])
            .arg(format!("-artifact_prefix={}/{target}-", artifacts.display()))
            .arg(&found)
            .arg(root.join("fuzz/corpus").join(target))
            .stderr(fs::File::create(&log)?),
    );
    fuzzed.with_context(|| {
        format!("{target} does not survive an input: see {} and {}", log.display(), artifacts.display())
    })?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let tried = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")).unwrap_or(" ?");
    println!("{target}: {} inputs in {seconds} s", tried.trim());
    Ok(())
}

fn nightly(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", program]);
    command
}

/// The machine's own target.
fn host() -> Result<String> {
    let output = nightly("rustc").arg("-vV").output().context("asking the nightly compiler for its host")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("the nightly compiler does not say its host")
}
