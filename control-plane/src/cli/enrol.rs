//! `nightlatch enrol`.

use std::io::{IsTerminal as _, Read as _, stdin};
use std::path::PathBuf;

use clap::Args;
use nightlatch_api::Secret;
use zeroize::Zeroizing;

use super::exit::Failure;
use super::output;
use super::remote::Remote;
use super::secret_out::SecretOut;
use crate::secrets::read_private;

const EXAMPLES: &str = "\
On the server's machine:
  nightlatch enrol --secret-out management-token
  export NIGHTLATCH_TOKEN=$(cat management-token)

From elsewhere, with the token on standard input:
  ssh server cat nightlatch-data/enrolment-token | nightlatch enrol --url https://keys.example.com --enrolment-file - --secret-out management-token";

/// Trade the one-time enrolment token for a management token.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Enrol {
    #[command(flatten)]
    remote: Remote,
    /// The file with the enrolment token; - reads standard input.
    #[arg(long, value_name = "FILE", default_value = "nightlatch-data/enrolment-token")]
    enrolment_file: PathBuf,
    #[command(flatten)]
    secret_out: SecretOut,
}

impl Enrol {
    pub(super) async fn run(self) -> Result<(), Failure> {
        self.secret_out.prepare(self.remote.json)?;
        let token =
            if self.enrolment_file.as_os_str() == "-" { from_stdin()? } else { read_private(&self.enrolment_file)? };
        let enrolled = self.remote.anonymous()?.enrol(Secret::from(token.trim())).await?;
        self.secret_out.deliver(self.remote.json, &enrolled, &enrolled.secret, || {
            output::line(&format!("Enrolled: management token {} ({}).", enrolled.token.id, enrolled.token.prefix))
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
