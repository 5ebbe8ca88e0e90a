//! `nightlatch gateways`: pairing, pairing again, unpairing.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use futures::TryStreamExt as _;
use nightlatch_api::{
    CreateGateway, Environment, Gateway, OfferPairing, OfferedPairing, PairGateway, RotationOrder, Secret,
    UnpairGateway,
};

use super::confirm::Sure;
use super::edges::code_from;
use super::exit::Failure;
use super::output::{self, maybe_time, printable};
use super::remote::Remote;
use super::secret_out::{Kept, SecretOut};

/// Pair devices with their keys, and unpair them.
#[derive(Debug, Args)]
pub(super) struct Gateways {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List gateways, newest first.
    List,
    /// Show a gateway.
    Show {
        /// The gateway: `prn_…`.
        gateway: String,
    },
    /// Make a gateway, and show the code with which it pairs within the hour, once.
    Create {
        /// What people are to call it.
        name: String,
        /// Where its keys are meant to be used.
        #[arg(long, value_enum, default_value = "live")]
        environment: Where,
        /// A scope of its keys; may be given several times.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        /// Say that sensitive scopes are meant.
        #[arg(long)]
        acknowledge_sensitive: bool,
        #[command(flatten)]
        secret_out: SecretOut,
    },
    /// Make another code: the next pairing replaces the gateway's key.
    Code {
        /// The gateway: `prn_…`.
        gateway: String,
        /// What the pairing does to the key that is there.
        #[arg(long, value_enum, default_value = "issue-first")]
        order: Order,
        #[command(flatten)]
        secret_out: SecretOut,
    },
    /// Trade a code for the gateway's key, on the device. The code is the proof: no token is sent.
    #[command(
        after_help = "Example, on the device:\n  nightlatch gateways pair --url https://keys.example.com --code-file code --secret-out key"
    )]
    Pair {
        /// The file of mode 0600 with the one-time code; - reads standard input.
        #[arg(long, value_name = "FILE")]
        code_file: PathBuf,
        #[command(flatten)]
        secret_out: SecretOut,
    },
    /// End a gateway's key and code.
    Unpair {
        /// The gateway: `prn_…`.
        gateway: String,
        /// Why, for the audit log and the key.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        sure: Sure,
    },
}

/// Where keys are meant to be used.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Where {
    /// Real traffic.
    Live,
    /// Trials.
    Test,
}

/// What a pairing does to the key that is there.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    /// It works until every edge knows the new one.
    IssueFirst,
    /// It ends at once.
    RevokeFirst,
}

impl Gateways {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (json, remote) = (self.remote.json, self.remote);
        match self.command {
            Command::List => list(&remote).await,
            Command::Show { gateway } => show(json, &remote.client()?.gateway(&gateway).await?),
            Command::Create { name, environment, scopes, acknowledge_sensitive, secret_out } => {
                let kept = secret_out.prepare(json)?;
                let environment = match environment {
                    Where::Live => Environment::Live,
                    Where::Test => Environment::Test,
                };
                let request = CreateGateway { name, environment, scopes, acknowledge_sensitive };
                offered(kept, &remote.client()?.create_gateway(&request).await?)
            }
            Command::Code { gateway, order, secret_out } => {
                let kept = secret_out.prepare(json)?;
                let order = match order {
                    Order::IssueFirst => RotationOrder::IssueFirst,
                    Order::RevokeFirst => RotationOrder::RevokeFirst,
                };
                let request = OfferPairing { order: Some(order) };
                offered(kept, &remote.client()?.offer_pairing(&gateway, &request).await?)
            }
            Command::Pair { code_file, secret_out } => {
                let kept = secret_out.prepare(json)?;
                let code = code_from(&code_file)?;
                let request = PairGateway { code: Secret::from(code.trim()) };
                let paired = remote.anonymous()?.pair_gateway(&request).await?;
                kept.deliver(&paired, &paired.secret, || {
                    output::facts([
                        ("gateway", Some(paired.gateway.id.clone())),
                        ("key", Some(paired.key.id.clone())),
                        ("prefix", Some(paired.key.prefix.clone())),
                        ("usable from", Some(output::time(paired.key.usable_from))),
                        ("old key ends", paired.old_ends_by.map(output::time)),
                    ])
                })
            }
            Command::Unpair { gateway, reason, sure } => {
                sure.or_ask(&format!("Unpair {gateway} and revoke its key, for ever?"))?;
                let unpaired = remote.client()?.unpair_gateway(&gateway, &UnpairGateway { reason }).await?;
                if json {
                    return output::json(&unpaired);
                }
                let (id, keys, by) = (&unpaired.gateway.id, unpaired.keys, output::time(unpaired.in_force_by));
                output::line(&format!("{id} is unpaired. Keys revoked: {keys}; in force everywhere by {by}."))
            }
        }
    }
}

fn offered(kept: Kept, offered: &OfferedPairing) -> Result<(), Failure> {
    kept.deliver_as("code", offered, &offered.code, || {
        output::facts([
            ("gateway", Some(offered.gateway.id.clone())),
            ("name", Some(offered.gateway.name.clone())),
            ("code ends", Some(output::time(offered.code_expires_at))),
        ])
    })
}

async fn list(remote: &Remote) -> Result<(), Failure> {
    let (client, json) = (remote.client()?, remote.json);
    let mut table = output::table(["gateway", "name", "environment", "scopes", "state", "key", "paired"]);
    let mut found = std::pin::pin!(client.gateways());
    while let Some(gateway) = found.try_next().await? {
        if json {
            output::json_line(&gateway)?;
        } else {
            table.add_row(row(&gateway));
        }
    }
    if json { Ok(()) } else { output::print(&table, "No gateways.") }
}

fn row(gateway: &Gateway) -> Vec<String> {
    vec![
        gateway.id.clone(),
        printable(&gateway.name),
        gateway.environment.as_str().to_owned(),
        gateway.scopes.join(" "),
        gateway.state.as_str().to_owned(),
        gateway.key.clone().unwrap_or_default(),
        maybe_time(gateway.paired_at),
    ]
}

fn show(json: bool, gateway: &Gateway) -> Result<(), Failure> {
    if json {
        return output::json(gateway);
    }
    output::facts([
        ("gateway", Some(gateway.id.clone())),
        ("name", Some(gateway.name.clone())),
        ("environment", Some(gateway.environment.as_str().to_owned())),
        ("scopes", Some(gateway.scopes.join(" "))),
        ("state", Some(gateway.state.as_str().to_owned())),
        ("key", gateway.key.clone()),
        ("code ends", gateway.code_expires_at.map(output::time)),
        ("created", Some(output::time(gateway.created_at))),
        ("paired", gateway.paired_at.map(output::time)),
        ("unpaired", gateway.unpaired_at.map(output::time)),
    ])
}
