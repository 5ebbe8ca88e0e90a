//! Which control plane a command speaks to, and as whom.

use std::path::PathBuf;

use clap::Args;
use nightlatch_api::Set;
use nightlatch_api::client::Client;

use super::exit::{Failure, Kind};
use super::output::printable;
use crate::secrets::read_private;

/// Where a control plane listens that was told nothing else.
pub(super) const DEFAULT_URL: &str = "http://127.0.0.1:8717";

/// Where the control plane is and how to print what it says.
#[derive(Debug, Clone, Args)]
pub(super) struct Remote {
    /// The control plane's address.
    #[arg(
        long,
        global = true,
        env = "NIGHTLATCH_URL",
        default_value = DEFAULT_URL,
        help_heading = "Connection"
    )]
    url: String,
    /// A file of mode 0600 with the management token; the variable NIGHTLATCH_TOKEN when absent.
    #[arg(long, global = true, env = "NIGHTLATCH_TOKEN_FILE", value_name = "FILE", help_heading = "Connection")]
    token_file: Option<PathBuf>,
    /// Print JSON for programs instead of text for people.
    #[arg(long, global = true, help_heading = "Output")]
    pub(super) json: bool,
}

impl Remote {
    /// A client that proves itself with the token.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let token = match &self.token_file {
            Some(path) => read_private(path)?.trim().to_owned(),
            // Not a flag: the arguments of a program are visible to everybody on the machine.
            None => std::env::var("NIGHTLATCH_TOKEN").unwrap_or_default(),
        };
        if token.is_empty() {
            let advice =
                "no token; set NIGHTLATCH_TOKEN, or give --token-file (a first one comes from `nightlatch enrol`)";
            return Err(Failure::new(Kind::Token, advice));
        }
        Ok(self.anonymous()?.with_token(token))
    }

    /// A client without a token.
    pub(super) fn anonymous(&self) -> Result<Client, Failure> {
        Ok(Client::new(&self.url)?)
    }

    /// The address, without a slash at its end.
    pub(super) fn url(&self) -> &str {
        self.url.trim_end_matches('/')
    }
}

/// The set of that id; the workspace's only one where none is given. Where there are several, the error lists them.
pub(super) async fn set_or_only(client: &Client, id: Option<&str>) -> Result<Set, Failure> {
    if let Some(id) = id {
        return Ok(client.set(id).await?);
    }
    let mut sets = client.list_sets().await?.items;
    match (sets.len(), sets.pop()) {
        (1, Some(set)) => Ok(set),
        (_, None) => Err(Failure::other("the workspace has no set")),
        (_, Some(last)) => {
            sets.push(last);
            let choices: Vec<_> = sets.iter().map(|set| format!("  {}  {}", set.id, printable(&set.name))).collect();
            Err(Failure::usage(format!("the workspace has several sets; say which one:\n{}", choices.join("\n"))))
        }
    }
}
