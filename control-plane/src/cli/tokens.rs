//! `nightlatch tokens`.

use clap::{Args, Subcommand};
use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};
use nightlatch_api::client::Client;
use nightlatch_api::{CreateToken, CreatedToken, RotateToken, Token, TokenFilter, TokenKind, TokenState};

use super::confirm::Sure;
use super::exit::Failure;
use super::key_filter::require_member;
use super::output::{self, maybe_time, printable};
use super::remote::Remote;
use super::secret_out::SecretOut;
use super::time::{duration, from_now, moment};

/// Make, rotate and revoke management and edge tokens.
#[derive(Debug, Args)]
pub(super) struct Tokens {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token and show its text, once.
    #[command(
        after_help = "Examples:\n  nightlatch tokens create 'deploy pipeline' --scope keys:read --scope keys:rotate --expires-in 90d\n  nightlatch tokens create 'nightly export' --service-account prn_7 --scope keys:export\n  nightlatch tokens create 'edge, Frankfurt' --edge set_0123456789ab --secret-out edge-token"
    )]
    Create(Create),
    /// Replace a management token of yours by another of the same scopes. Both work until the overlap has passed.
    #[command(
        after_help = "Example:\n  nightlatch tokens rotate tok_1hTq3e9fKz2m4n6p --overlap 1h --reason scheduled --secret-out management-token.new\nThe new token does not end the old one: its time does, or `nightlatch tokens revoke`."
    )]
    Rotate(Rotate),
    /// List tokens, newest first: all for owners and admins, one's own for others and for service accounts.
    List {
        /// Service accounts' tokens whose text this member may know, `mem_…`: to be rotated or revoked when they leave.
        #[arg(long, value_name = "MEMBER_ID")]
        maker: Option<String>,
    },
    /// End a token for ever.
    Revoke {
        /// The token: `tok_…`.
        token: String,
        #[command(flatten)]
        sure: Sure,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// What the token is for.
    name: String,
    /// Make an edge token, which reads this set and reports about it.
    #[arg(long, value_name = "SET_ID")]
    edge: Option<String>,
    /// Something that it may do, such as `keys:read`; may be given several times. All that its maker may when absent.
    #[arg(long = "scope", value_name = "SCOPE", conflicts_with = "edge")]
    scopes: Vec<String>,
    /// Make it a token of this service account, `prn_…`, which then acts itself and may exactly what `--scope` says.
    #[arg(long, value_name = "ID", conflicts_with = "edge", requires = "scopes")]
    service_account: Option<String>,
    /// When it stops working.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    expires_at: Option<Timestamp>,
    /// After how long it stops working.
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "expires_at")]
    expires_in: Option<SignedDuration>,
    #[command(flatten)]
    secret_out: SecretOut,
}

#[derive(Debug, Args)]
struct Rotate {
    /// The token: `tok_…`.
    token: String,
    /// How long the old token works beside the new one.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    overlap: SignedDuration,
    /// Why, for the audit log.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    secret_out: SecretOut,
}

impl Tokens {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let json = self.remote.json;
        match self.command {
            Command::Create(create) => create.run(&self.remote).await,
            Command::Rotate(rotate) => rotate.run(&self.remote).await,
            Command::List { maker } => list(&self.remote.client()?, json, maker).await,
            Command::Revoke { token, sure } => {
                sure.or_ask(&format!("Revoke the token {token} for ever?"))?;
                let token = self.remote.client()?.revoke_token(&token).await?;
                if json { output::json(&token) } else { output::line(&format!("Revoked {}.", token.prefix)) }
            }
        }
    }
}

impl Create {
    async fn run(self, remote: &Remote) -> Result<(), Failure> {
        let kept = self.secret_out.prepare(remote.json)?;
        let expires_at = match self.expires_in {
            Some(duration) => Some(from_now(duration).map_err(Failure::usage)?),
            None => self.expires_at,
        };
        let kind = if self.edge.is_some() { TokenKind::Edge } else { TokenKind::Management };
        let scopes = (!self.scopes.is_empty()).then_some(self.scopes);
        let (name, set, service_account) = (self.name, self.edge, self.service_account);
        let request = CreateToken { name, kind, set, scopes, service_account, expires_at };
        let created = remote.client()?.create_token(&request).await?;
        kept.deliver(&created, &created.secret, || facts(&created))
    }
}

impl Rotate {
    async fn run(self, remote: &Remote) -> Result<(), Failure> {
        let kept = self.secret_out.prepare(remote.json)?;
        let overlap_seconds = u32::try_from(self.overlap.as_secs())
            .map_err(|_| Failure::usage("--overlap is longer than tokens are kept"))?;
        let request = RotateToken { overlap_seconds, reason: self.reason };
        let created = remote.client()?.rotate_token(&self.token, &request).await?;
        kept.deliver(&created, &created.secret, || facts(&created))
    }
}

/// What people are told of a token that was made.
pub(super) fn facts(created: &CreatedToken) -> Result<(), Failure> {
    let token = &created.token;
    output::facts([
        ("token", Some(token.id.clone())),
        ("prefix", Some(token.prefix.clone())),
        ("kind", Some(token.kind.as_str().to_owned())),
        ("set", token.set.clone()),
        ("member", token.member.clone()),
        ("service account", token.service_account.clone()),
        ("maker", token.maker.clone()),
        ("scopes", Some(token.scopes.join(" "))),
        ("expires", token.expires_at.map(output::time)),
    ])
}

async fn list(client: &Client, json: bool, maker: Option<String>) -> Result<(), Failure> {
    let mut table = output::table([
        "token",
        "prefix",
        "name",
        "kind",
        "of",
        "maker",
        "set",
        "scopes",
        "state",
        "expires",
        "last used",
    ]);
    if let Some(maker) = &maker {
        require_member(client, maker).await?;
    }
    let filter = TokenFilter { maker, ..TokenFilter::default() };
    let mut tokens = std::pin::pin!(client.tokens(filter));
    while let Some(token) = tokens.try_next().await? {
        if json {
            output::json_line(&token)?;
        } else {
            table.add_row(row(&token));
        }
    }
    if json { Ok(()) } else { output::print(&table, "No tokens.") }
}

fn row(token: &Token) -> Vec<String> {
    let state = match token.state {
        TokenState::Active => "active",
        TokenState::Expired => "expired",
        TokenState::Revoked => "revoked",
    };
    vec![
        token.id.clone(),
        token.prefix.clone(),
        printable(&token.name),
        token.kind.as_str().to_owned(),
        token.member.clone().or_else(|| token.service_account.clone()).unwrap_or_default(),
        token.maker.clone().unwrap_or_default(),
        token.set.clone().unwrap_or_default(),
        token.scopes.join(" "),
        state.to_owned(),
        maybe_time(token.expires_at),
        maybe_time(token.last_used_at),
    ]
}
