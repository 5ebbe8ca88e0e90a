//! `nightlatch scopes`.

use clap::{Args, Subcommand};
use futures::TryStreamExt as _;
use nightlatch_api::client::Client;
use nightlatch_api::{PutScope, Scope};

use super::exit::Failure;
use super::output::{self, maybe_time, printable};
use super::remote::Remote;

/// Show, describe and mark scopes, and groups of them.
#[derive(Debug, Args)]
pub(super) struct Scopes {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List scopes and groups by name.
    List,
    /// Say what a scope or a group is, in place of what was said before.
    #[command(
        after_help = "Examples:\n  nightlatch scopes set READ_SENSITIVE --sensitive true --description 'salaries, health'\n  nightlatch scopes set 'pay:*' --sensitive true\n  nightlatch scopes set pay:status --sensitive false"
    )]
    Set(Set),
    /// Take a scope that no usable key carries out of the catalogue, or a group.
    Remove {
        /// The scope, or the group with its `*`.
        name: String,
    },
}

#[derive(Debug, Args)]
struct Set {
    /// The scope; or a group: a scope's beginning and one `*`, in quotes.
    name: String,
    /// What it is.
    #[arg(long)]
    description: Option<String>,
    /// Whether granting it has to be acknowledged; when absent the groups it is in decide.
    #[arg(long, value_name = "BOOL")]
    sensitive: Option<bool>,
}

impl Scopes {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (client, json) = (self.remote.client()?, self.remote.json);
        match self.command {
            Command::List => list(&client, json).await,
            Command::Set(Set { name, description, sensitive }) => {
                let scope = client.put_scope(&name, &PutScope { description, sensitive }).await?;
                if json { output::json(&scope) } else { facts(&scope) }
            }
            Command::Remove { name } => {
                client.remove_scope(&name).await?;
                if json {
                    return output::json(&serde_json::json!({ "removed": name }));
                }
                output::line(&format!("Removed {}.", printable(&name)))
            }
        }
    }
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let mut table = output::table(["scope", "description", "sensitive", "groups", "first used", "usable keys"]);
    let mut scopes = std::pin::pin!(client.scopes());
    while let Some(scope) = scopes.try_next().await? {
        if json {
            output::json_line(&scope)?;
            continue;
        }
        table.add_row(vec![
            scope.name.clone(),
            scope.description.as_deref().map(printable).unwrap_or_default(),
            sensitive(&scope).to_owned(),
            scope.groups.join(" "),
            maybe_time(scope.first_used_at),
            usable(&scope),
        ]);
    }
    if json { Ok(()) } else { output::print(&table, "No scopes.") }
}

fn facts(scope: &Scope) -> Result<(), Failure> {
    output::facts([
        ("scope", Some(scope.name.clone())),
        ("description", scope.description.clone()),
        ("sensitive", Some(sensitive(scope).to_owned())),
        ("groups", (!scope.groups.is_empty()).then(|| scope.groups.join(" "))),
        ("first used", scope.first_used_at.map(output::time)),
        ("usable keys", scope.usable_keys.map(|_| usable(scope))),
    ])
}

fn sensitive(scope: &Scope) -> &'static str {
    match (scope.sensitive, scope.marked_sensitive) {
        (true, Some(true)) => "yes",
        (true, _) => "yes, by its group",
        (false, Some(false)) => "no, by its own mark",
        (false, _) => "no",
    }
}

fn usable(scope: &Scope) -> String {
    let count = scope.usable_keys.map(|count| count.to_string()).unwrap_or_default();
    if scope.more_keys { format!("{count} of the newest 100") } else { count }
}
