//! `cargo xtask test`: every test of every language, with what they need installed first.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::node_tools::{ensure_installed, program, repository_root};
use crate::tools::{ensure_moto, ensure_nextest, ensure_nginx, ensure_postgres, ensure_wasm_target, run};
use crate::{npm_build, probes, simulate, worker_build};

/// What to leave out.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Skip formatting and lints
    #[arg(long)]
    no_lints: bool,
}

/// Runs everything, stopping at the first part that fails.
///
/// # Errors
/// When a part fails.
pub(crate) fn run_all(args: &Args) -> Result<()> {
    let root = repository_root();
    part("tools", || {
        ensure_wasm_target()?;
        ensure_nextest()?;
        ensure_postgres()?;
        ensure_nginx()?;
        ensure_installed(&root)
    })?;
    if !args.no_lints {
        part("formatting and lints", || lints(&root))?;
    }
    part("the Worker", || worker_build::run(&worker_build::Args { check_size: true }))?;
    let moto = ensure_moto(&root)?;
    part("the control plane", || run(cargo(&root).args(["build", "--package", "nightlatch"])))?;
    part("the sidecar", || run(cargo(&root).args(["build", "--package", "nightlatch-sidecar"])))?;
    part("Rust tests", || {
        run(cargo(&root).args(["nextest", "run", "--workspace", "--no-fail-fast"]).env("NIGHTLATCH_MOTO_SERVER", &moto))
    })?;
    part("the simulated world", simulate::check)?;
    part("constant time", || probes::check_timing(&root))?;
    part("documentation tests", || run(cargo(&root).args(["test", "--workspace", "--doc", "--quiet"])))?;
    part("the npm package", || npm_build::build(&root, true).map(drop))?;
    part("JavaScript tests", || {
        run(Command::new("node").args(["--test", "edge/cloudflare/js/", "edge/npm/test/"]).current_dir(&root))
    })?;
    part("wrangler deploy --dry-run", || dry_run(&root))
}

fn lints(root: &Path) -> Result<()> {
    run(cargo(root).args(["fmt", "--all", "--check"])).context("run `cargo fmt --all`")?;
    run(cargo(root).args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]))
}

fn dry_run(root: &Path) -> Result<()> {
    let out = root.join("target/wrangler");
    run(Command::new(program(root, "wrangler")?)
        .args(["deploy", "--dry-run", "--outdir"])
        .arg(out)
        .env("WRANGLER_SEND_METRICS", "false")
        .env("CI", "1")
        .current_dir(root))
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

fn part(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    eprintln!("── {name}");
    let start = Instant::now();
    work().with_context(|| format!("{name} failed"))?;
    eprintln!("── {name}: {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
