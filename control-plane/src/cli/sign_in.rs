//! `nightlatch sign-in`.

use clap::Args;
use jiff::SignedDuration;
use nightlatch_api::{CreateToken, TokenKind};

use super::exit::Failure;
use super::remote::Remote;
use super::secret_out::SecretOut;
use super::session::Person;
use super::time::{duration, from_now};
use super::tokens;

const EXAMPLES: &str = "\
For today's work:
  nightlatch sign-in bo@example.com --secret-out ~/.nightlatch-token
  export NIGHTLATCH_TOKEN_FILE=~/.nightlatch-token

For a program of yours, with no more than it needs:
  nightlatch sign-in bo@example.com --token-name backup --scope keys:read --expires-in 90d --secret-out token
Password and code are asked for; from a program they are lines of standard input. Who signs in through an identity provider
makes tokens in the browser's session.";

/// Sign in with your password, and have a management token of yours made.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SignInCommand {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    person: Person,
    /// What the token is called.
    #[arg(long, value_name = "NAME", default_value = "signed in by command")]
    token_name: String,
    /// Something that the token may do, such as `keys:read`; may be given several times. All that you may when absent.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// After how long the token stops working.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "12h")]
    expires_in: SignedDuration,
    #[command(flatten)]
    secret_out: SecretOut,
}

impl SignInCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let kept = self.secret_out.prepare(self.remote.json)?;
        let expires_at = Some(from_now(self.expires_in).map_err(Failure::usage)?);
        let session = self.person.enter(&self.remote).await?.client;
        let request = CreateToken {
            service_account: None,
            name: self.token_name,
            kind: TokenKind::Management,
            set: None,
            scopes: (!self.scopes.is_empty()).then_some(self.scopes),
            expires_at,
        };
        let created = session.create_token(&request).await;
        // Whatever came of it, nobody holds the session any more.
        let signed_out = session.sign_out().await;
        let created = created?;
        kept.deliver(&created, &created.secret, || tokens::facts(&created))?;
        Ok(signed_out?)
    }
}
