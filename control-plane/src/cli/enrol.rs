//! `nightlatch enrol`.

use std::io::{IsTerminal as _, Read as _, stdin, stdout};
use std::path::{Path, PathBuf};

use clap::Args;
use nightlatch_api::{Enrol as Request, Member, Secret};
use zeroize::Zeroizing;

use super::exit::Failure;
use super::output;
use super::remote::Remote;
use super::secret_out::SecretOut;
use crate::secrets::{read_private, write_private};

const EXAMPLES: &str = "\
On the server's machine:
  nightlatch enrol --name Ana --email ana@example.com --secret-out management-token --code-out code
  export NIGHTLATCH_TOKEN=$(cat management-token)
  nightlatch join --code-file code

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
    /// Write the owner's code, with which they make their account, to this new file of mode 0600. Without it the code is
    /// shown on a terminal only.
    #[arg(long, value_name = "FILE", requires = "email", help_heading = "Output")]
    code_out: Option<PathBuf>,
}

impl Enrol {
    pub(super) async fn run(self) -> Result<(), Failure> {
        self.secret_out.prepare(self.remote.json)?;
        if let Some(path) = self.code_out.as_deref().filter(|path| path.exists()) {
            return Err(Failure::usage(format!("{} exists; a code goes to a new file", path.display())));
        }
        let token =
            if self.enrolment_file.as_os_str() == "-" { from_stdin()? } else { read_private(&self.enrolment_file)? };
        let request = Request { token: Secret::from(token.trim()), name: self.name, email: self.email };
        let mut enrolled = self.remote.anonymous()?.enrol_as(&request).await?;
        if let (Some(path), Some(code)) = (&self.code_out, &enrolled.code) {
            write_private(path, code.expose().as_bytes())?;
            enrolled.code = None;
        } else if self.remote.json && self.secret_out.is_file() {
            // Who has the token put away does not want the code shown either; another is made at any time.
            enrolled.code = None;
        }
        self.secret_out.deliver(self.remote.json, &enrolled, &enrolled.secret, || {
            let (member, token) = (&enrolled.member, &enrolled.token);
            output::line(&format!("Enrolled: owner {}, management token {} ({}).", member.id, token.id, token.prefix))?;
            output::line(&way_in(member, self.code_out.as_deref(), enrolled.code.as_ref(), self.remote.url()))
        })
    }
}

/// How the owner comes to sign in.
fn way_in(member: &Member, file: Option<&Path>, code: Option<&Secret>, url: &str) -> String {
    let another = |email: &str| format!("nightlatch members reinvite {}{email} --secret-out code", member.id);
    match (&member.email, file, code) {
        (None, ..) => format!("They sign in with an address only. To give them one: {}", another(" --email ADDRESS")),
        (Some(_), Some(file), _) => {
            format!("To sign in they make an account: nightlatch join --url {url} --code-file {}", file.display())
        }
        (Some(_), None, Some(code)) if stdout().is_terminal() => {
            format!(
                "To sign in they make an account: nightlatch join --url {url}\nwith this code, once: {}",
                code.expose()
            )
        }
        (Some(_), None, _) => format!("To sign in they need a code and an account: {}", another("")),
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
