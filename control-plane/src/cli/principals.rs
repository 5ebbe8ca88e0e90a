//! `nightlatch service-accounts`, and what `nightlatch partners` has in common with it.

use clap::{Args, Subcommand, ValueEnum};
use futures::TryStreamExt as _;
use nightlatch_api::client::Principals;
use nightlatch_api::{
    ChangedPrincipal, CreatePrincipal, EndPrincipal, Principal, PrincipalFilter, PrincipalState, TurnPrincipal,
    UpdatePrincipal,
};

use super::confirm::confirmed;
use super::exit::Failure;
use super::output::{self, printable};
use super::remote::Remote;

/// Make, suspend and remove service accounts: programs of the workspace's own that keys act for.
#[derive(Debug, Args)]
pub(super) struct ServiceAccounts {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

impl ServiceAccounts {
    pub(super) async fn run(self) -> Result<(), Failure> {
        self.command.run(&self.remote, Principals::ServiceAccounts).await
    }
}

/// What is done to principals.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List them, newest first.
    List {
        /// Only those in this state.
        #[arg(long, value_enum)]
        state: Option<State>,
    },
    /// Show one.
    Show {
        /// Which: `prn_…`.
        id: String,
    },
    /// Make one.
    #[command(
        after_help = "Examples:\n  nightlatch service-accounts create 'metrics exporter' --scope metrics:read --description 'nightly export'\n  nightlatch partners create 'Agency Ltd' --scope orders:place\n\nThe scopes are a ceiling: keys issued for it carry no other."
    )]
    Create {
        /// What people are to call it.
        name: String,
        /// What it is for.
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// A scope that its keys may carry; may be given several times. Without any, a service account has no ceiling, and
        /// a partner's keys carry nothing.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
    },
    /// Change its name, description or ceiling.
    Update(Update),
    /// Disable all its keys until it is resumed.
    Suspend {
        /// Which: `prn_…`.
        id: String,
        /// Why, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Let its keys work again.
    Resume {
        /// Which: `prn_…`.
        id: String,
        /// Why, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Revoke all its keys and end it, for ever.
    #[command(after_help = "There is no way back. On a terminal it asks first; elsewhere it needs --yes.")]
    Remove {
        /// Which: `prn_…`.
        id: String,
        /// Why, for the audit log and its keys.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// Change a principal.
#[derive(Debug, Args)]
pub(super) struct Update {
    /// Which: `prn_…`.
    id: String,
    /// Another name.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Another description.
    #[arg(long, value_name = "TEXT", conflicts_with = "clear_description")]
    description: Option<String>,
    /// Take the description away.
    #[arg(long)]
    clear_description: bool,
    /// A scope that keys issued from now on may carry, in place of those there are; may be given several times.
    #[arg(long = "scope", value_name = "SCOPE", conflicts_with = "no_ceiling")]
    scopes: Vec<String>,
    /// Let keys issued from now on carry any scope. Service accounts only.
    #[arg(long)]
    no_ceiling: bool,
}

/// Where a principal stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum State {
    /// Its keys work.
    Active,
    /// Its keys are disabled.
    Suspended,
    /// Its keys are revoked.
    Removed,
}

impl Command {
    pub(super) async fn run(self, remote: &Remote, of: Principals) -> Result<(), Failure> {
        let (client, json) = (remote.client()?, remote.json);
        match self {
            Self::List { state } => list(remote, of, state).await,
            Self::Show { id } => show(json, &client.principal(of, &id).await?.value),
            Self::Create { name, description, scopes } => {
                let scopes = (!scopes.is_empty()).then_some(scopes);
                let request = CreatePrincipal { name, description, scopes };
                show(json, &client.create_principal(of, &request).await?)
            }
            Self::Update(update) => {
                let Update { id, name, description, clear_description, scopes, no_ceiling } = update;
                let change = UpdatePrincipal {
                    name,
                    description: if clear_description { Some(None) } else { description.map(Some) },
                    scopes: if no_ceiling { Some(None) } else { (!scopes.is_empty()).then_some(Some(scopes)) },
                };
                let tag = client.principal(of, &id).await?.etag;
                show(json, &client.update_principal(of, &id, &tag, &change).await?.value)
            }
            Self::Suspend { id, reason } => {
                let changed = client.suspend_principal(of, &id, &TurnPrincipal { reason }).await?;
                changed_line(json, &changed, "is suspended", "disabled")
            }
            Self::Resume { id, reason } => {
                let changed = client.resume_principal(of, &id, &TurnPrincipal { reason }).await?;
                changed_line(json, &changed, "is active", "enabled")
            }
            Self::Remove { id, reason, yes } => {
                if !yes {
                    let found = client.principal(of, &id).await?.value;
                    let (name, keys) = (printable(&found.name), found.usable_keys);
                    if !confirmed(&format!("Remove \"{name}\" and revoke its {keys} working keys, for ever? [y/N] "))? {
                        return Err(Failure::other("nothing was removed"));
                    }
                }
                let changed = client.remove_principal(of, &id, &EndPrincipal::new(reason)).await?;
                changed_line(json, &changed, "is removed", "revoked")
            }
        }
    }
}

async fn list(remote: &Remote, of: Principals, state: Option<State>) -> Result<(), Failure> {
    let (client, json) = (remote.client()?, remote.json);
    let state = state.map(|state| match state {
        State::Active => PrincipalState::Active,
        State::Suspended => PrincipalState::Suspended,
        State::Removed => PrincipalState::Removed,
    });
    let mut table = output::table(["id", "name", "state", "keys", "scopes", "description", "created"]);
    let mut found = std::pin::pin!(client.principals(of, PrincipalFilter { state, ..PrincipalFilter::default() }));
    while let Some(principal) = found.try_next().await? {
        if json {
            output::json_line(&principal)?;
        } else {
            table.add_row(row(&principal));
        }
    }
    if json { Ok(()) } else { output::print(&table, "None.") }
}

fn row(principal: &Principal) -> Vec<String> {
    vec![
        principal.id.clone(),
        printable(&principal.name),
        principal.state.as_str().to_owned(),
        keys(principal),
        ceiling(principal),
        principal.description.as_deref().map(printable).unwrap_or_default(),
        output::time(principal.created_at),
    ]
}

fn show(json: bool, principal: &Principal) -> Result<(), Failure> {
    if json {
        return output::json(principal);
    }
    output::facts([
        ("id", Some(principal.id.clone())),
        ("name", Some(principal.name.clone())),
        ("description", principal.description.clone()),
        ("state", Some(principal.state.as_str().to_owned())),
        ("scopes", Some(ceiling(principal))),
        ("working keys", Some(keys(principal))),
        ("created", Some(output::time(principal.created_at))),
        ("suspended", principal.suspended_at.map(output::time)),
        ("removed", principal.removed_at.map(output::time)),
    ])
}

/// The server counts to a thousand.
fn keys(principal: &Principal) -> String {
    if principal.usable_keys >= 1000 { "1000 or more".to_owned() } else { principal.usable_keys.to_string() }
}

fn ceiling(principal: &Principal) -> String {
    match principal.scopes.as_deref() {
        None => "any".to_owned(),
        Some([]) => "none".to_owned(),
        Some(scopes) => scopes.join(" "),
    }
}

fn changed_line(json: bool, changed: &ChangedPrincipal, is: &str, keys_are: &str) -> Result<(), Failure> {
    if json {
        return output::json(changed);
    }
    let (name, count) = (printable(&changed.principal.name), changed.keys);
    let by = output::time(changed.in_force_by);
    output::line(&format!("\"{name}\" {is}. Keys {keys_are}: {count}; in force everywhere by {by}."))
}
