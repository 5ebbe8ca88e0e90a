//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use serde_json::json;

use crate::config::Config;
use crate::run;
use crate::settings::Settings;

const ABOUT: &str = "Checks API keys beside nginx (auth_request) or in front of an origin (reverse proxy), from a signed \
                     copy of the key set that it keeps up to date by itself.";

const EXAMPLES: &str = "\
Settings come from flags, then from environment variables, then from the TOML file, whose keys are the flags' names with
underscores. Secrets are in files of mode 0600 only.

Examples:
  nightlatch-sidecar --config /etc/nightlatch/sidecar.toml
  nightlatch-sidecar check --config /etc/nightlatch/sidecar.toml
  kill -HUP $(pidof nightlatch-sidecar)    # read configuration and secrets again
  kill -TERM $(pidof nightlatch-sidecar)   # finish requests, then end";

#[derive(Debug, Parser)]
#[command(name = "nightlatch-sidecar", version, about = ABOUT, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    given: Given,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what is wrong with a configuration, and start nothing
    Check {
        #[command(flatten)]
        given: Given,
        /// One JSON object: {"ok": …, "flaws": […]}
        #[arg(long)]
        json: bool,
    },
}

/// Where the settings are.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Given {
    /// The TOML file
    #[arg(long, short, env = "NIGHTLATCH_SIDECAR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write where it listens to this file as JSON, once it does
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

impl Given {
    /// Reads and checks what is set now: the file and the secret files may have changed since the start.
    ///
    /// # Errors
    /// Everything that is wrong, a line each.
    pub(crate) fn read(&self) -> Result<Config, String> {
        self.flaws_or_config().map_err(|flaws| flaws.join("\n"))
    }

    pub(crate) fn ready_file(&self) -> Option<&Path> {
        self.ready_file.as_deref()
    }

    fn flaws_or_config(&self) -> Result<Config, Vec<String>> {
        let file = match &self.config {
            Some(path) => Settings::read(path).map_err(|error| vec![error])?,
            None => Settings::default(),
        };
        Config::check(self.settings.clone().over(file)).map_err(|flaws| flaws.0)
    }
}

impl Cli {
    /// Does what was asked for.
    pub(crate) fn run(self) -> ExitCode {
        match self.command {
            Some(Command::Check { given, json }) => check(&given, json),
            None => match run::run(Arc::new(self.given)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("nightlatch-sidecar: {error}");
                    ExitCode::FAILURE
                }
            },
        }
    }
}

fn check(given: &Given, as_json: bool) -> ExitCode {
    let flaws = given.flaws_or_config().err().unwrap_or_default();
    if as_json {
        println!("{}", json!({ "ok": flaws.is_empty(), "flaws": flaws }));
    } else if flaws.is_empty() {
        println!("The configuration is in order.");
    } else {
        flaws.iter().for_each(|flaw| eprintln!("{flaw}"));
    }
    if flaws.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
