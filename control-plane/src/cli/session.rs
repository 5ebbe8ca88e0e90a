//! A person's session, for commands that need one for a moment.

use std::path::PathBuf;

use clap::Args;
use nightlatch_api::client::Client;
use nightlatch_api::{Secret, SessionNeed, SignIn};

use super::exit::{Failure, Kind};
use super::remote::Remote;
use super::{ask, output};

/// Who signs in, and where.
#[derive(Debug, Args)]
pub(super) struct Person {
    /// Your address.
    email: String,
    /// The workspace, `ws_…`, where you are a member of several.
    #[arg(long, value_name = "WORKSPACE_ID")]
    workspace: Option<String>,
    /// A file of mode 0600 with the password; it is asked for when absent.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Somebody who is signed in.
pub(super) struct Entered {
    /// Makes its calls in the session.
    pub(super) client: Client,
    /// The password that was right.
    pub(super) password: Secret,
}

impl Person {
    /// The address, as it was given.
    pub(super) fn email(&self) -> &str {
        &self.email
    }

    /// Signs in, and asks for what that takes.
    pub(super) async fn enter(&self, remote: &Remote) -> Result<Entered, Failure> {
        let client = remote.anonymous()?;
        let password = ask::secret("password", "--password-file", self.password_file.as_deref())?;
        let mut request = SignIn {
            email: self.email.clone(),
            password: password.clone(),
            totp: None,
            recovery_code: None,
            workspace: self.workspace.clone(),
        };
        let (mut answer, mut entered) = client.sign_in(&request).await?;
        if entered.is_none() && answer.needs.contains(&SessionNeed::Totp) {
            let code = ask::code("authenticator's or recovery code")?;
            // Authenticators show them in two groups.
            let mut characters = code.expose().chars().filter(|character| !character.is_whitespace());
            let is_totp = characters.clone().count() == 6 && characters.all(|character| character.is_ascii_digit());
            *(if is_totp { &mut request.totp } else { &mut request.recovery_code }) = Some(code);
            (answer, entered) = client.sign_in(&request).await?;
        }
        if let Some(client) = entered {
            return Ok(Entered { client, password });
        }
        let choices: Vec<_> =
            answer.workspaces.iter().map(|one| format!("  {}  {}", one.id, output::printable(&one.name))).collect();
        let several = "you are a member of several workspaces; say with --workspace which is meant";
        Err(Failure::new(Kind::Usage, format!("{several}:\n{}", choices.join("\n"))))
    }
}
