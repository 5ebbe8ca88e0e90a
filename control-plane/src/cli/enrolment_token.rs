//! `nightlatch enrolment-token`.

use clap::Args;
use serde_json::json;

use super::exit::Failure;
use super::home::Home;
use super::output;
use crate::serve::make_enrolment;

const EXAMPLE: &str = "\
On the server's machine, when the last management token is lost (the server may go on running):
  nightlatch enrolment-token
  nightlatch enrol --email ana@example.com --secret-out management-token --code-out code
  nightlatch join --code-file code      (an account, to sign in with from then on)
  nightlatch tokens list
  nightlatch tokens revoke tok_…        (the lost one)

Where there are several workspaces, say whose:
  nightlatch enrolment-token --workspace ws_…";

/// Make a new one-time enrolment token, where the management token is lost.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct EnrolmentToken {
    #[command(flatten)]
    home: Home,
    /// Say what would be done, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON for programs instead of text for people.
    #[arg(long)]
    json: bool,
}

impl EnrolmentToken {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let opened = self.home.open().await?;
        let file = opened.enrolment_file();
        if !self.dry_run {
            make_enrolment(&opened.store, &opened.workspace, &file).await?;
        }
        if self.json {
            return output::json(&json!({ "file": file, "dry_run": self.dry_run }));
        }
        let (would, file) = (if self.dry_run { "would be" } else { "is" }, file.display());
        output::line(&format!(
            "a one-time token {would} in {file}, good for an hour\n  nightlatch enrol --enrolment-file {file} --email \
             ADDRESS --secret-out management-token --code-out code\n  nightlatch join --code-file code\nThen revoke the lost token: nightlatch tokens list"
        ))
    }
}
