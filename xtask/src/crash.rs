//! `cargo xtask crash`: kills the control plane at random while clients change things, many times over.

use anyhow::Result;
use indicatif::ProgressBar;
use nightlatch_tests::control_plane::Database;
use nightlatch_tests::{crash, seed};
use tokio::runtime::Runtime;

use crate::tools::ensure_postgres;

/// Options of the crash test.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often to kill, on each database
    #[arg(long, default_value_t = 1_000)]
    rounds: u32,
    /// Repeat the run of that seed; a new one when absent
    #[arg(long)]
    seed: Option<u64>,
    /// On this database only
    #[arg(long)]
    database: Option<Choice>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Choice {
    Sqlite,
    Postgres,
}

/// Runs the rounds and says what they saw.
///
/// # Errors
/// On the first thing lost or contradicted.
pub(crate) fn run(args: &Args) -> Result<()> {
    let seed = args.seed.map_or_else(seed::seed, Ok)?;
    for (choice, database) in [(Choice::Sqlite, Database::Sqlite), (Choice::Postgres, Database::Postgres)] {
        if args.database.is_some_and(|wanted| wanted != choice) {
            continue;
        }
        if choice == Choice::Postgres {
            ensure_postgres()?;
        }
        println!("{} rounds on {}, seed {seed}", args.rounds, database.as_str());
        let progress = ProgressBar::new(args.rounds.into());
        let run = crash::run(args.rounds, seed, database, |_| progress.inc(1));
        let report = Runtime::new()?.block_on(run)?;
        progress.finish_and_clear();
        println!("  {report}");
    }
    Ok(())
}
