//! `nightlatch admin`: what only who has the server's machine may do.

use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::Failure;
use super::home::Home;
use super::output;
use crate::serve::make_recovery;

const EXAMPLE: &str = "\
On the server's machine, when no owner can sign in and no owner's token is left (the server may go on running):
  nightlatch admin recover
  nightlatch enrol --secret-out management-token
Both are in the audit log: admin.recovery_opened, admin.recovery_used. Then see who has what:
  nightlatch members list
  nightlatch tokens list";

/// What only who has the server's machine may do.
#[derive(Debug, Args)]
pub(super) struct Admin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a one-time token that makes whoever holds it an owner, also where there are owners.
    Recover(Recover),
}

/// Make a one-time token that makes whoever holds it an owner, also where there are owners.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
struct Recover {
    #[command(flatten)]
    home: Home,
    /// Say what would be done, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON for programs instead of text for people.
    #[arg(long)]
    json: bool,
}

impl Admin {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Recover(command) => command.run().await,
        }
    }
}

impl Recover {
    async fn run(self) -> Result<(), Failure> {
        let opened = self.home.open().await?;
        let workspace = opened.workspace.clone();
        let file = opened.config.data_dir.join("enrolment-token");
        if !self.dry_run {
            make_recovery(&opened.store, &workspace, &file).await?;
        }
        if self.json {
            let answer = json!({ "file": file, "workspace": workspace.as_str(), "dry_run": self.dry_run });
            return output::json(&answer);
        }
        let (would, file) = (if self.dry_run { "would be" } else { "is" }, file.display());
        output::line(&format!(
            "a one-time token for an owner of {} {would} in {file}, good for an hour\n  nightlatch enrol \
             --enrolment-file {file} --secret-out management-token",
            workspace.as_str()
        ))
    }
}
