//! The repository's own commands. `cargo xtask --help` lists them.
//!
//! This file only picks the command; each has a module of its own.

mod bench;
mod crash;
mod demo;
mod node_tools;
mod test;
mod tools;
mod worker_build;

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
    /// Build the Cloudflare Worker into edge/cloudflare/build
    BuildWorker(worker_build::Args),
    /// Kill the control plane at random, many times, and look for anything lost or contradicted
    Crash(crash::Args),
    /// Start everything on this machine and walk through it
    Demo(demo::Args),
    /// Run every test of every language
    Test(test::Args),
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Bench(args) => bench::run(&args),
        Task::BuildWorker(args) => worker_build::run(&args),
        Task::Crash(args) => crash::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Test(args) => test::run_all(&args),
    }
}
