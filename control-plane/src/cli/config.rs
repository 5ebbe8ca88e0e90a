//! `nightlatch config`.

use clap::Subcommand;

use super::exit::{Failure, Kind};
use super::output;
use super::settings::Settings;
use crate::config::{Finding, check};

/// Check the configuration before anything starts.
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Say everything that is wrong at once: settings, directories, permissions, address, database.
    #[command(after_help = "Example:\n  nightlatch config check --config nightlatch.toml")]
    Check {
        #[command(flatten)]
        settings: Settings,
    },
}

impl Config {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self::Check { settings } = self;
        let findings = check(&settings.load()?).await;
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
