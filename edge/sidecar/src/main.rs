//! `nightlatch-sidecar`: the native, durable edge.
//!
//! Threads that answer ([`serve`]) judge requests ([`verdict`]) from a state they share ([`shared`]); one task
//! ([`refresh`]) keeps that state fresh, has its mark on the disk ([`store`]) before anybody is told ([`report`]), and
//! another ([`mirror`]) keeps what the next start needs ([`warm`]).

mod admin;
mod cli;
mod clock;
mod config;
mod http;
mod mark;
mod metrics;
mod mirror;
mod refresh;
mod reload;
mod report;
mod run;
mod secret_file;
mod serve;
mod settings;
mod shared;
mod source;
mod store;
mod supply;
mod verdict;
mod warm;
mod worker;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
