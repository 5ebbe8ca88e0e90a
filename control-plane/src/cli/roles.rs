//! `nightlatch roles`.

use clap::{Args, Subcommand};
use nightlatch_api::client::Client;
use nightlatch_api::{ReplaceRole, Role, RoleScopes};

use super::exit::Failure;
use super::members::role;
use super::output;
use super::remote::Remote;

const SET: &str = "\
Examples:
  nightlatch roles set operator --scope invoices:read --scope invoices:write
  nightlatch roles set admin --any
  nightlatch roles set viewer --none
The keys of all members of the role may do it at once, or no longer.";

/// Say what members of a role have beside their own scopes.
#[derive(Debug, Args)]
pub(super) struct Roles {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what every role brings.
    List,
    /// Replace what a role brings.
    #[command(after_help = SET)]
    Set(Set),
}

#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = true)]
struct What {
    /// Something that its members' own keys may do; may be given several times.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Its members may grant every scope there is; no key gets it by that.
    #[arg(long)]
    any: bool,
    /// It brings nothing.
    #[arg(long, conflicts_with_all = ["scopes", "any"])]
    none: bool,
}

#[derive(Debug, Args)]
struct Set {
    /// The role: owner, admin, operator or viewer.
    #[arg(value_parser = role)]
    role: Role,
    #[command(flatten)]
    what: What,
    /// Grant sensitive scopes knowingly.
    #[arg(long)]
    acknowledge_sensitive: bool,
}

impl Roles {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let json = self.remote.json;
        match self.command {
            Command::List => list(&self.remote.client()?, json).await,
            Command::Set(set) => set.run(&self.remote.client()?, json).await,
        }
    }
}

impl Set {
    async fn run(self, client: &Client, json: bool) -> Result<(), Failure> {
        let mut scopes = self.what.scopes;
        if self.what.any {
            scopes.push("*".to_owned());
        }
        let request = ReplaceRole { scopes, acknowledge_sensitive: self.acknowledge_sensitive };
        let set = client.replace_role(self.role, &request).await?;
        if json {
            return output::json(&set);
        }
        output::facts([("role", Some(set.role.as_str().to_owned())), ("brings", Some(brings(&set)))])
    }
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let roles = client.list_roles().await?.items;
    if json {
        return roles.iter().try_for_each(output::json_line);
    }
    let mut table = output::table(["role", "brings"]);
    for role in &roles {
        table.add_row([role.role.as_str().to_owned(), brings(role)]);
    }
    output::print(&table, "No roles.")
}

fn brings(role: &RoleScopes) -> String {
    if role.scopes.is_empty() { "nothing".to_owned() } else { role.scopes.join(" ") }
}
