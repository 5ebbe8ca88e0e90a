//! `nightlatch keys`.

use std::io::{IsTerminal as _, Read as _, stdin};

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use nightlatch_api::client::Client;
use nightlatch_api::{DisableKey, EnableKey, Environment, IssueKey, Key, RevokeKey, Secret, UpdateKey, VerifyKey};
use zeroize::Zeroizing;

use super::confirm::confirmed;
use super::exit::Failure;
use super::import::Import;
use super::inventory;
use super::output::{self, maybe_time, printable, time};
use super::receipt;
use super::remote::Remote;
use super::secret_out::SecretOut;
use super::time::{duration, from_now, moment, moment_or_never};

const ISSUE: &str = "\
Examples:
  nightlatch keys issue 'billing export v2, replaces v1' --scope invoices:read --owner ana --expires-in 90d
  nightlatch keys issue 'my laptop' --principal prn_4                      (of one's own)
  nightlatch keys issue 'order feed' --principal prn_7 --scope orders:read (of a partner's: its own staff)

`nightlatch members show MEMBER` prints a member's own principal; such a key has no scopes but the member's live ones.
`nightlatch partners list` and `service-accounts list` print the others.";

/// Issue, list, change, import, verify and revoke keys.
#[derive(Debug, Args)]
pub(super) struct Keys {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Issue a key and show its secret, once.
    #[command(
        after_help = ISSUE
    )]
    Issue(Issue),
    /// List keys, newest first.
    #[command(after_help = inventory::LIST)]
    List(inventory::List),
    /// Export all keys, or some, as a file.
    #[command(after_help = inventory::EXPORT)]
    Export(inventory::Export),
    /// Show a key.
    Show {
        /// The key: `key_…`, or `kn_` and its number.
        key: String,
    },
    /// Change name, labels, owner, tier, expiry or rotate-by.
    #[command(after_help = "Example:\n  nightlatch keys update key_1hTq3e9fKz --expires-at 2026-12-31 --owner ana")]
    Update(Update),
    /// Stop a key until it is enabled again.
    Disable {
        /// The key: `key_…`, or `kn_` and its number.
        key: String,
        /// Why, for the audit trail.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a disabled key work again.
    Enable {
        /// The key: `key_…`, or `kn_` and its number.
        key: String,
        /// Why, for the audit trail.
        #[arg(long)]
        reason: Option<String>,
    },
    /// End a key for ever.
    #[command(
        after_help = "Example:\n  nightlatch keys revoke key_1hTq3e9fKz --reason 'leaked in a log' --wait 30\n\nThere is no way back. On a terminal it asks first; elsewhere it needs --yes."
    )]
    Revoke {
        /// The key: `key_…`, or `kn_` and its number.
        key: String,
        /// Why, for the audit trail.
        #[arg(long)]
        reason: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
        /// Wait at most so many seconds, 30 at the most, for every durable edge to confirm or the bound to pass.
        #[arg(long, value_name = "SECONDS")]
        wait: Option<u64>,
    },
    /// End every key that passes a filter, for ever: when a person left or a machine was lost.
    #[command(after_help = inventory::REVOKE_MANY)]
    RevokeMany(inventory::Many),
    /// Show what is proven of a revocation.
    #[command(after_help = receipt::GET)]
    Receipt(receipt::Get),
    /// Import keys that were minted elsewhere, from a file of JSON lines.
    Import(Import),
    /// Ask whether a key, read from standard input, would be let through.
    #[command(after_help = "Example:\n  nightlatch keys verify --method GET --path /invoices < key.txt")]
    Verify {
        /// The method of the request to judge.
        #[arg(long, requires = "path")]
        method: Option<String>,
        /// The path of the request to judge.
        #[arg(long, requires = "method")]
        path: Option<String>,
        /// The set whose routes apply.
        #[arg(long)]
        set: Option<String>,
    },
}

#[derive(Debug, Args)]
struct Issue {
    /// What the key is for, and what it replaces.
    name: String,
    /// Issue a key for trials instead of real traffic.
    #[arg(long)]
    test: bool,
    /// What the key may do; may be given several times.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A named rate limit.
    #[arg(long)]
    tier: Option<String>,
    /// Whom it acts for; the workspace's default service account when absent.
    #[arg(long, value_name = "PRN_ID")]
    principal: Option<String>,
    /// Of a partner's key: the link to a client that it ends with.
    #[arg(long, value_name = "LINK_ID")]
    link: Option<String>,
    /// Whoever looks after it.
    #[arg(long)]
    owner: Option<String>,
    /// The member who looks after it.
    #[arg(long, value_name = "MEM_ID")]
    owner_member: Option<String>,
    /// Say that sensitive scopes are meant.
    #[arg(long)]
    acknowledge_sensitive: bool,
    /// A label; may be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// When it stops working.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    expires_at: Option<Timestamp>,
    /// After how long it stops working.
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "expires_at")]
    expires_in: Option<SignedDuration>,
    /// When it should be rotated.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    rotate_by: Option<Timestamp>,
    /// Makes repeating this command after a failure safe: the same text, the same key.
    #[arg(long, value_name = "TEXT")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    secret_out: SecretOut,
}

#[derive(Debug, Args)]
struct Update {
    /// The key: `key_…`, or `kn_` and its number.
    key: String,
    /// A new label.
    #[arg(long)]
    name: Option<String>,
    /// A new owner; an empty text removes the old one.
    #[arg(long)]
    owner: Option<String>,
    /// Another member who looks after it; an empty text removes the old one.
    #[arg(long, value_name = "MEM_ID")]
    owner_member: Option<String>,
    /// Another rate limit; an empty text removes the old one.
    #[arg(long)]
    tier: Option<String>,
    /// A label, in place of all old ones; may be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Another expiry, or `never`.
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// Another date to rotate by, or `never`.
    #[arg(long, value_name = "TIME")]
    rotate_by: Option<String>,
}

impl Keys {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let json = self.remote.json;
        match self.command {
            Command::Issue(issue) => issue.run(&self.remote).await,
            Command::List(list) => list.run(&self.remote.client()?, json).await,
            Command::Export(export) => export.run(&self.remote.client()?, json).await,
            Command::RevokeMany(many) => many.run(&self.remote.client()?, json).await,
            Command::Show { key } => show(json, &self.remote.client()?.key(&key).await?.value),
            Command::Update(update) => update.run(&self.remote.client()?, json).await,
            Command::Disable { key, reason } => {
                show(json, &self.remote.client()?.disable_key(&key, &DisableKey { reason }).await?)
            }
            Command::Enable { key, reason } => {
                show(json, &self.remote.client()?.enable_key(&key, &EnableKey { reason }).await?)
            }
            Command::Revoke { key, reason, yes, wait } => {
                let request = RevokeKey { reason, wait };
                revoke(&self.remote.client()?, json, &key, &request, yes).await
            }
            Command::Receipt(get) => get.run(&self.remote.client()?, json).await,
            Command::Import(import) => import.run(&self.remote.client()?, json).await,
            Command::Verify { method, path, set } => verify(&self.remote.client()?, json, method, path, set).await,
        }
    }
}

impl Issue {
    async fn run(self, remote: &Remote) -> Result<(), Failure> {
        let kept = self.secret_out.prepare(remote.json)?;
        let expires_at = match self.expires_in {
            Some(duration) => Some(from_now(duration).map_err(Failure::usage)?),
            None => self.expires_at,
        };
        let environment = if self.test { Environment::Test } else { Environment::Live };
        let request = IssueKey {
            principal: self.principal,
            link: self.link,
            scopes: self.scopes,
            tier: self.tier,
            owner: self.owner,
            owner_member: self.owner_member,
            acknowledge_sensitive: self.acknowledge_sensitive,
            labels: self.labels.into_iter().collect(),
            expires_at,
            rotate_by: self.rotate_by,
            ..IssueKey::new(self.name, environment)
        };
        let mut client = remote.client()?;
        if let Some(key) = self.idempotency_key {
            client = client.with_idempotency_key(key);
        }
        let issued = client.issue_key(&request).await?;
        kept.deliver(&issued, &issued.secret, || {
            facts(&issued.key)?;
            output::line(&format!("Every edge accepts it from {} on.", time(issued.key.usable_from)))
        })
    }
}

impl Update {
    async fn run(self, client: &Client, json: bool) -> Result<(), Failure> {
        let clearable = |text: Option<String>| text.map(|text| (!text.is_empty()).then_some(text));
        let times = |text: Option<String>| text.map(|text| moment_or_never(&text)).transpose().map_err(Failure::usage);
        let change = UpdateKey {
            name: self.name,
            labels: (!self.labels.is_empty()).then(|| self.labels.into_iter().collect()),
            owner: clearable(self.owner),
            owner_member: clearable(self.owner_member),
            tier: clearable(self.tier),
            expires_at: times(self.expires_at)?,
            rotate_by: times(self.rotate_by)?,
        };
        if change == UpdateKey::default() {
            return Err(Failure::usage("nothing to change; see --help"));
        }
        let etag = client.key(&self.key).await?.etag;
        show(json, &client.update_key(&self.key, &etag, &change).await?.value)
    }
}

async fn revoke(client: &Client, json: bool, id: &str, request: &RevokeKey, yes: bool) -> Result<(), Failure> {
    if !yes {
        let key = client.key(id).await?.value;
        let replacement = match &key.successor {
            Some(successor) => format!("its successor {successor} takes over"),
            None => "nothing takes its place".to_owned(),
        };
        let question = format!(
            "Revoke {} \"{}\", last used {}, for ever? ({replacement}) [y/N] ",
            key.prefix,
            printable(&key.name),
            maybe_time(key.last_used_at),
        );
        if !confirmed(&question)? {
            return Err(Failure::other("nothing was revoked"));
        }
    }
    let revoked = client.revoke_key(id, request).await?;
    if json {
        return output::json(&revoked);
    }
    output::line(&format!("Revoked {} at {}.", revoked.key.prefix, time(revoked.revoked_at)))?;
    output::line(&format!("No edge accepts it after {}.", time(revoked.in_force_by)))?;
    revoked.warnings.iter().try_for_each(|warning| output::line(&format!("Note: {}", warning.detail)))?;
    match &revoked.receipt {
        Some(receipt) => output::line("").and_then(|()| receipt::show(receipt)),
        None => Ok(()),
    }
}

async fn verify(
    client: &Client,
    json: bool,
    method: Option<String>,
    path: Option<String>,
    set: Option<String>,
) -> Result<(), Failure> {
    if stdin().is_terminal() {
        eprintln!("Paste the key and press Enter, then Ctrl-D:");
    }
    let mut text = Zeroizing::new(String::new());
    stdin().take(8192).read_to_string(&mut text)?;
    let verdict = client.verify_key(&VerifyKey { key: Secret::from(text.trim()), method, path, set }).await?;
    if json {
        output::json(&verdict)?;
    } else {
        let key = verdict.key.as_ref().map(|key| format!("{} \"{}\"", key.prefix, printable(&key.name)));
        output::facts([
            ("allowed", Some(if verdict.allowed { "yes" } else { "no" }.to_owned())),
            ("status", Some(verdict.status.to_string())),
            ("code", verdict.code.clone()),
            ("detail", verdict.detail.clone()),
            ("key", key),
        ])?;
    }
    if verdict.allowed { Ok(()) } else { Err(Failure::other("the key would be refused")) }
}

fn show(json: bool, key: &Key) -> Result<(), Failure> {
    if json { output::json(key) } else { facts(key) }
}

/// Prints everything worth knowing about a key.
fn facts(key: &Key) -> Result<(), Failure> {
    let labels: Vec<_> = key.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let flags = [(key.imported, "imported"), (key.weak, "weak")];
    let flags: Vec<_> = flags.into_iter().filter_map(|(set, name)| set.then_some(name)).collect();
    output::facts([
        ("key", Some(format!("{} (kn_{})", key.id, key.number))),
        ("prefix", Some(key.prefix.clone())),
        ("name", Some(key.name.clone())),
        ("state", Some(key.state.as_str().to_owned())),
        ("disabled by", (!key.disabled_by.is_empty()).then(|| key.disabled_by.join(", "))),
        ("environment", Some(key.environment.as_str().to_owned())),
        ("principal", Some(format!("{} ({})", key.principal, key.kind.as_str()))),
        ("scopes", Some(if key.scopes.is_empty() { "none".to_owned() } else { key.scopes.join(" ") })),
        ("tier", key.tier.clone()),
        ("owner", key.owner.clone()),
        ("owner member", key.owner_member.clone()),
        ("labels", (!labels.is_empty()).then(|| labels.join(" "))),
        ("flags", (!flags.is_empty()).then(|| flags.join(", "))),
        ("issued by", Some(format!("{} {}", key.issued_by.kind, key.issued_by.id))),
        ("created", Some(time(key.created_at))),
        ("expires", key.expires_at.map(time)),
        ("rotate by", key.rotate_by.map(time)),
        ("deadline", key.deadline.map(time)),
        ("last used", key.last_used_at.map(time)),
        ("revoked", key.revoked_at.map(time)),
        ("reason", key.revoke_reason.clone()),
        ("predecessor", key.predecessor.clone()),
        ("successor", key.successor.clone()),
        ("rotation", key.rotation.clone()),
    ])
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("give NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
