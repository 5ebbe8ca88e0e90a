//! `nightlatch join`.

use std::path::PathBuf;

use clap::Args;
use nightlatch_api::client::ClientError;
use nightlatch_api::{AcceptInvitation, Code};

use super::exit::Failure;
use super::remote::Remote;
use super::{ask, output};

const EXAMPLES: &str = "\
With the code that an owner or admin handed you, or that `nightlatch enrol` gave you:
  nightlatch join --url https://keys.example.com
  nightlatch join --code-file code --name Bo
The password is the one you choose; where your address has an account here, it is that account's.
From a program, code and password are lines of standard input. Then:
  nightlatch sign-in bo@example.com --secret-out token";

/// Take up an invitation: make an account, or join with the one you have.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Join {
    #[command(flatten)]
    remote: Remote,
    /// A file of mode 0600 with the code; it is asked for when absent.
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    /// A file of mode 0600 with the password; it is asked for when absent.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// What you are to be called.
    #[arg(long)]
    name: Option<String>,
}

impl Join {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.remote.anonymous()?;
        let code = ask::secret("code", "--code-file", self.code_file.as_deref())?;
        let password = ask::new_secret("password", "--password-file", self.password_file.as_deref())?;
        let mut request = AcceptInvitation { code, name: self.name, password: Some(password), totp: None };
        let joined = match client.accept_invitation(&request).await {
            Err(error) if wants_code(&error) => {
                request.totp = Some(ask::code("authenticator's code")?);
                client.accept_invitation(&request).await?
            }
            other => other?,
        };
        if self.remote.json {
            return output::json(&joined);
        }
        output::line(&format!(
            "Joined {} as {} ({}).\nTo work from here: nightlatch sign-in ADDRESS --url {} --secret-out FILE",
            output::printable(&joined.workspace.name),
            joined.member.role,
            joined.member.id,
            self.remote.url(),
        ))
    }
}

/// Whether all was right but that the account has an authenticator.
fn wants_code(error: &ClientError) -> bool {
    error.is(Code::ValueInvalid)
        && error.problem().is_some_and(|problem| problem.errors.iter().any(|fault| fault.field == "totp"))
}
