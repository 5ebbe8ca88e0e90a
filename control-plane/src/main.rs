//! The `nightlatch` program.

use std::process::ExitCode;

use clap::Parser as _;
use nightlatch::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
