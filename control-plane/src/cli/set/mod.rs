//! `nightlatch set`: a look into a set's published files, wherever they are.

mod diff;
mod inspect;
mod opened;
mod stats;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use nightlatch_keyset::note::Verifier;
use secrecy::SecretString;

use super::exit::{Failure, Kind};
use super::output;
use crate::secrets::read_private;
use crate::sync_job::{Source, SyncError};
use opened::Opened;

const EXAMPLES: &str = "\
A place is a directory with `head` and `files/`, or an address such as https://keys.example.com/v1/sets/set_….

Examples:
  export NIGHTLATCH_VERIFIER=$(nightlatch sets show set_1hTq3e9fKz --json | jq -r .verifier)
  nightlatch set verify ./nightlatch-data/sets/set_1hTq3e9fKz
  nightlatch set stats https://keys.example.com/v1/sets/set_1hTq3e9fKz
  nightlatch set diff ./edge-copy https://keys.example.com/v1/sets/set_1hTq3e9fKz

A set's files name keys by keyed hashes only, so these commands need no pepper and show no key.";

/// Look into a set's published files.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Set {
    /// The public key that heads and deltas are signed with, as `nightlatch sets show` prints it.
    #[arg(long, global = true, env = "NIGHTLATCH_VERIFIER", value_name = "VKEY", value_delimiter = ',')]
    verifier: Vec<String>,
    /// A file of mode 0600 with an edge token of the set, for addresses; the variable NIGHTLATCH_TOKEN when absent.
    #[arg(long, global = true, env = "NIGHTLATCH_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print JSON for programs instead of text for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what a head says and which files it implies.
    Inspect {
        /// Where the set is.
        place: String,
    },
    /// Read every file that a head implies, and check all of it: signatures, hashes, order, and where the deltas lead.
    Verify {
        /// Where the set is.
        place: String,
    },
    /// Compare the keys of two places, or of one place at two times.
    Diff {
        /// Where the set was.
        from: String,
        /// Where it is now.
        to: String,
        /// Show at most so many keys; all are counted.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Show what a set takes: bytes a key beside the bound of information theory, and how its keys are spread.
    Stats {
        /// Where the set is.
        place: String,
    },
}

impl Set {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if self.verifier.is_empty() {
            return Err(Failure::usage(
                "nothing can be believed without the set's public key: give --verifier, or set NIGHTLATCH_VERIFIER \
                 (`nightlatch sets show SET` prints it)",
            ));
        }
        let verifiers = self.verifier.iter().map(|text| {
            let text = text.trim();
            Verifier::from_vkey(text).map_err(|error| Failure::usage(format!("--verifier {text}: {error}")))
        });
        let reader =
            Reader { verifiers: verifiers.collect::<Result<_, _>>()?, token: token(self.token_file.as_ref())? };
        match self.command {
            Command::Inspect { place } => inspect::run(&reader, &place, self.json).await,
            Command::Verify { place } => inspect::verify(&reader, &place, self.json).await,
            Command::Diff { from, to, limit } => {
                let (from, to) = (reader.open(&from).await?, reader.open(&to).await?);
                diff::run(&from, &to, limit, self.json)
            }
            Command::Stats { place } => stats::run(&reader.open(&place).await?, self.json),
        }
    }
}

/// How places are read.
struct Reader {
    verifiers: Vec<Verifier>,
    token: Option<SecretString>,
}

impl Reader {
    fn source(&self, place: &str) -> Result<Source, Failure> {
        Ok(Source::open(place, self.token.clone())?)
    }

    async fn open(&self, place: &str) -> Result<Opened, Failure> {
        Opened::read(self.source(place)?, &self.verifiers).await.map_err(|failure| failure.about(place))
    }
}

fn token(file: Option<&PathBuf>) -> Result<Option<SecretString>, Failure> {
    let text = match file {
        Some(path) => read_private(path)?.trim().to_owned(),
        None => std::env::var("NIGHTLATCH_TOKEN").unwrap_or_default(),
    };
    Ok(if text.is_empty() { None } else { Some(SecretString::from(text)) })
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        let kind = match &error {
            SyncError::Usage(_) => Kind::Usage,
            SyncError::Source(_) => Kind::Unavailable,
            _ => Kind::Other,
        };
        Self::new(kind, error.to_string())
    }
}
