//! `nightlatch enrol`.

use std::io::{IsTerminal as _, Read as _, stdin};
use std::path::PathBuf;

use clap::Args;
use nightlatch_api::{Enrol as Request, Secret};
use zeroize::Zeroizing;

use super::exit::Failure;
use super::output;
use super::remote::Remote;
use super::secret_out::SecretOut;
use crate::secrets::read_private;

const EXAMPLES: &str = "\
On the server's machine:
  nightlatch enrol --name Ana --email ana@example.com --secret-out management-token
  export NIGHTLATCH_TOKEN=$(cat management-token)

From elsewhere, with the token on standard input:
  ssh server cat nightlatch-data/enrolment-token | nightlatch enrol --url https://keys.example.com --enrolment-file - --secret-out management-token";

/// Trade the one-time enrolment token for an owner and its management token.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Enrol {
    #[command(flatten)]
    remote: Remote,
    /// The file with the enrolment token; - reads standard input.
    #[arg(long, value_name = "FILE", default_value = "nightlatch-data/enrolment-token")]
    enrolment_file: PathBuf,
    /// What the workspace's first owner is to be called.
    #[arg(long)]
    name: Option<String>,
    /// The owner's address.
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    #[command(flatten)]
    secret_out: SecretOut,
}

impl Enrol {
    pub(super) async fn run(self) -> Result<(), Failure> {
        self.secret_out.prepare(self.remote.json)?;
        let token =
            if self.enrolment_file.as_os_str() == "-" { from_stdin()? } else { read_private(&self.enrolment_file)? };
        let request = Request { token: Secret::from(token.trim()), name: self.name, email: self.email };
        let enrolled = self.remote.anonymous()?.enrol_as(&request).await?;
        self.secret_out.deliver(self.remote.json, &enrolled, &enrolled.secret, || {
            let (member, token) = (&enrolled.member, &enrolled.token);
            output::line(&format!("Enrolled: owner {}, management token {} ({}).", member.id, token.id, token.prefix))
        })
    }
}

fn from_stdin() -> Result<Zeroizing<String>, Failure> {
    if stdin().is_terminal() {
        eprintln!("Paste the enrolment token and press Enter, then Ctrl-D:");
    }
    let mut text = Zeroizing::new(String::new());
    stdin().take(4096).read_to_string(&mut text)?;
    Ok(text)
}
