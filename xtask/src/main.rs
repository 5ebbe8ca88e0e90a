//! The repository's own commands. `cargo xtask --help` lists them.
//!
//! This file only picks the command; each has a module of its own.

mod bench;
mod crash;
mod demo;
mod fuzz;
mod node_tools;
mod npm_build;
mod probes;
mod simulate;
mod test;
mod tools;
mod wasm;
mod worker_build;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Nightlatch's build, test and demo commands")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure how fast everything is on this machine
    Bench(bench::Args),
    /// Build the verifier core as an npm package into edge/npm/pkg
    BuildNpm(npm_build::Args),
    /// Build the Cloudflare Worker into edge/cloudflare/build
    BuildWorker(worker_build::Args),
    /// Kill the control plane at random, many times, and look for anything lost or contradicted
    Crash(crash::Args),
    /// Start everything on this machine and walk through it
    Demo(demo::Args),
    /// Try to break every parser with libFuzzer
    Fuzz(fuzz::Args),
    /// Look for a tag that a set of a million keys takes for another
    Probes(probes::Args),
    /// Live simulated worlds full of faults and look for a broken guarantee
    Simulate(simulate::Args),
    /// Run every test of every language
    Test(test::Args),
}

fn main() -> Result<ExitCode> {
    match Cli::parse().task {
        Task::Bench(args) => bench::run(&args),
        Task::BuildNpm(args) => npm_build::run(&args),
        Task::BuildWorker(args) => worker_build::run(&args),
        Task::Crash(args) => crash::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Probes(args) => probes::run(&args),
        Task::Simulate(args) => return Ok(simulate::run_worlds(&args)),
        Task::Test(args) => test::run_all(&args),
    }?;
    Ok(ExitCode::SUCCESS)
}
