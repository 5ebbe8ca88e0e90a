//! The native half of `cargo xtask bench set`: measures the set at its limits and prints what came of it.
//!
//! Every command prints facts, one JSON object a line, `{"name", "value"}`, and narrates on standard error. What a fact is
//! held against, and what is asked of it, `xtask` knows. Commands are processes of their own, so that what one leaves in
//! memory does not weigh on the next.

mod build;
mod catch_up;
mod changes;
mod deltas;
mod facts;
mod fixture;
mod instructions;
mod lookup;
mod peers;
mod probes;
mod random;
mod rebase;
mod rounds;
mod size;
mod world;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

/// What to measure.
#[derive(Parser)]
enum Command {
    /// Bytes per key against the information bound, and loading
    Size {
        #[arg(long)]
        keys: u32,
    },
    /// Lookups and memory against maps, searches and filters
    Lookup {
        #[arg(long)]
        keys: u32,
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Random probes and mutated tags: none may be accepted
    Probes {
        #[arg(long)]
        keys: u32,
        #[arg(long)]
        probes: u64,
    },
    /// Instructions per lookup, counted by callgrind
    Instructions {
        #[arg(long)]
        keys: u32,
    },
    /// What callgrind looks at
    #[command(hide = true)]
    Counted {
        #[arg(long)]
        keys: u32,
        #[arg(long)]
        who: instructions::Who,
        #[arg(long)]
        lookups: u32,
    },
    /// Bytes of deltas, and applying them
    Deltas {
        #[arg(long)]
        keys: u32,
        /// Also what zstd makes of it, which takes minutes
        #[arg(long)]
        zstd: bool,
    },
    /// Catching up over many versions
    CatchUp {
        #[arg(long)]
        keys: u32,
        #[arg(long)]
        versions: u64,
    },
    /// The next epoch, built by a replica
    Rebase {
        #[arg(long)]
        keys: u32,
    },
    /// A base from unsorted changes
    Build {
        #[arg(long)]
        keys: u32,
        #[arg(long)]
        who: build::Who,
    },
    /// Writes the files that the measures in JavaScript read
    Fixture {
        #[arg(long)]
        keys: u32,
        /// With a subject column
        #[arg(long)]
        subject: bool,
        #[arg(long)]
        out: PathBuf,
    },
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Size { keys } => size::measure(keys),
        Command::Lookup { keys, rounds } => lookup::measure(keys, rounds),
        Command::Probes { keys, probes } => probes::measure(keys, probes),
        Command::Instructions { keys } => instructions::measure(keys),
        Command::Counted { keys, who, lookups } => instructions::counted(keys, who, lookups),
        Command::Deltas { keys, zstd } => deltas::measure(keys, zstd),
        Command::CatchUp { keys, versions } => catch_up::measure(keys, versions),
        Command::Rebase { keys } => rebase::measure(keys),
        Command::Build { keys, who } => build::measure(keys, who),
        Command::Fixture { keys, subject, out } => fixture::write(keys, subject, &out),
    }
}
