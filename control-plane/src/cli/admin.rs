//! `nightlatch admin`: what only who has the server's machine may do.

use clap::{Args, Subcommand};
use serde_json::json;

use super::accounts::{OfAccount, ResetPassword};
use super::exit::Failure;
use super::home::Home;
use super::output;
use crate::serve::make_recovery;

const EXAMPLE: &str = "\
On the server's machine, when no owner can sign in and no owner's token is left (the server may go on running):
  nightlatch admin recover
  nightlatch enrol --email ana@example.com --secret-out management-token --code-out code
  nightlatch join --code-file code
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
    /// Take away a second factor that somebody has lost, with its recovery codes.
    #[command(
        after_help = "Example:\n  nightlatch admin reset-second-factor bo@example.com\nMake sure that it is they who ask: whoever has the password gets in. It is in the audit log as admin.second_factor_reset."
    )]
    ResetSecondFactor(OfAccount),
    /// Draw another password for somebody who has lost theirs.
    #[command(
        after_help = "Example:\n  nightlatch admin reset-password bo@example.com --secret-out password\nA second factor stays. It is in the audit log as admin.password_reset."
    )]
    ResetPassword(ResetPassword),
    /// Let somebody sign in whom the identity provider has come to know as somebody else.
    #[command(
        after_help = "Example:\n  nightlatch admin unlink bo@example.com\nFor another provider, or an address that it made anew. It is in the audit log as admin.identity_unlinked."
    )]
    Unlink(OfAccount),
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
            Command::ResetSecondFactor(command) => command.reset_second_factor().await,
            Command::ResetPassword(command) => command.run().await,
            Command::Unlink(command) => command.unlink().await,
        }
    }
}

impl Recover {
    async fn run(self) -> Result<(), Failure> {
        let opened = self.home.open().await?;
        let workspace = opened.workspace.clone();
        let file = opened.enrolment_file();
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
             --enrolment-file {file} --email ADDRESS --secret-out management-token --code-out code\n  nightlatch join \
             --code-file code",
            workspace.as_str()
        ))
    }
}
