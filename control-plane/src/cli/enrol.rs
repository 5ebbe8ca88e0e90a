//! `nightlatch enrol`.

use std::io::{ErrorKind, IsTerminal as _, Read as _, stdin, stdout};
use std::path::{Path, PathBuf};

use clap::Args;
use nightlatch_api::{Enrol as Request, Member, Secret};
use zeroize::Zeroizing;

use super::exit::Failure;
use super::output;
use super::remote::Remote;
use super::secret_out::{self, SecretOut};
use crate::secrets::{SecretsError, read_private};

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
        if self.code_out.is_some() && self.code_out == self.secret_out.path() {
            return Err(Failure::usage("the token and the code go to files of their own"));
        }
        // Before the token is used up.
        let kept = self.secret_out.prepare(self.remote.json)?;
        let code_file = self.code_out.as_deref().map(secret_out::begin).transpose()?;
        let token =
            if self.enrolment_file.as_os_str() == "-" { from_stdin()? } else { from_file(&self.enrolment_file)? };
        let request = Request { token: Secret::from(token.trim()), name: self.name, email: self.email };
        let mut enrolled = self.remote.anonymous()?.enrol_as(&request).await?;
        let code = enrolled.code.take();
        if code_file.is_none() && !(self.remote.json && kept.is_file()) {
            // Who has the token put away does not want the code shown either; another is made at any time.
            enrolled.code.clone_from(&code);
        }
        let shown = kept.deliver(&enrolled, &enrolled.secret, || {
            let (member, token) = (&enrolled.member, &enrolled.token);
            output::line(&format!("Enrolled: owner {}, management token {} ({}).", member.id, token.id, token.prefix))?;
            output::line(&way_in(member, self.code_out.as_deref(), enrolled.code.as_ref(), self.remote.url()))
        });
        if let (Some(file), Some(path), Some(code)) = (code_file, &self.code_out, &code) {
            secret_out::put(file, path, code)?;
        }
        shown
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

fn from_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    read_private(path).map_err(|error| match error {
        SecretsError::Io { source, .. } if source.kind() == ErrorKind::NotFound => Failure::other(format!(
            "{} is not there. The server makes it at its first start in its data directory, and it goes when somebody has \
             enrolled: then sign in, or make another on the server's machine with `nightlatch enrolment-token`, or \
             `nightlatch admin recover` where no owner can get in",
            path.display()
        )),
        error => error.into(),
    })
}

fn from_stdin() -> Result<Zeroizing<String>, Failure> {
    if stdin().is_terminal() {
        eprintln!("Paste the enrolment token and press Enter, then Ctrl-D:");
    }
    let mut text = Zeroizing::new(String::new());
    stdin().take(4096).read_to_string(&mut text)?;
    Ok(text)
}
