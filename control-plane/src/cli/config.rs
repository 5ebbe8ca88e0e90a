//! `nightlatch config`.

use clap::Subcommand;

use super::exit::{Failure, Kind};
use super::output;
use super::settings::Settings;
use crate::config::{Finding, check, check_source};

/// Check the configuration before anything starts.
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Say everything that is wrong at once: settings, directories, permissions, address, database.
    #[command(
        after_help = "Examples:\n  nightlatch config check --config nightlatch.toml\n  nightlatch config check --source https://keys.example.com/v1/sets/set_1hTq3e9fKz --source https://bucket.example.com/set"
    )]
    Check {
        #[command(flatten)]
        settings: Settings,
        /// An address where edges read the set: refused if it answers without credentials. May be given several times.
        #[arg(long = "source", value_name = "URL")]
        sources: Vec<String>,
    },
}

impl Config {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self::Check { settings, sources } = self;
        let mut findings = check(&settings.load()?).await;
        for source in &sources {
            findings.extend(check_source(source).await);
        }
        let mut faults = 0;
        for finding in &findings {
            match finding {
                Finding::Fault(fault) => {
                    faults += 1;
                    output::line(&format!("wrong: {fault}"))?;
                }
                Finding::Note(note) => output::line(&format!("note:  {note}"))?,
            }
        }
        match faults {
            0 => output::line("The configuration is fine."),
            count => Err(Failure::new(Kind::Configuration, format!("{count} things are wrong"))),
        }
    }
}
