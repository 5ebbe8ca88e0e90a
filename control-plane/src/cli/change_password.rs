//! `nightlatch change-password`.

use std::path::PathBuf;

use clap::Args;
use nightlatch_api::ChangePassword;
use serde_json::json;

use super::exit::Failure;
use super::remote::Remote;
use super::session::Person;
use super::{ask, output};

const EXAMPLE: &str = "\
Example:
  nightlatch change-password bo@example.com
Password, code and new password are asked for; from a program they are lines of standard input.";

/// Change the password of your account, and end its sessions.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct ChangePasswordCommand {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    person: Person,
    /// A file of mode 0600 with the new password; it is asked for when absent.
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
}

impl ChangePasswordCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let entered = self.person.enter(&self.remote).await?;
        let new = ask::new_secret("new password", "--new-password-file", self.new_password_file.as_deref());
        let changed = match new {
            Ok(new) => {
                let request = ChangePassword { current: Some(entered.password), new };
                entered.client.change_password(&request).await.map_err(Failure::from)
            }
            Err(failure) => Err(failure),
        };
        let session = match &changed {
            Ok((_, Some(renewed))) => renewed,
            _ => &entered.client,
        };
        let signed_out = session.sign_out().await;
        changed?;
        signed_out?;
        if self.remote.json {
            return output::json(&json!({ "email": self.person.email(), "changed": true }));
        }
        output::line("The password is changed, and all sessions have ended.")
    }
}
