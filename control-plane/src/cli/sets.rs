//! `nightlatch sets`.

use clap::{Args, Subcommand};
use nightlatch_api::Set;

use super::exit::Failure;
use super::output;
use super::remote::{Remote, set_or_only};

/// Show the published key sets.
#[derive(Debug, Args)]
pub(super) struct Sets {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the sets.
    List,
    /// Show a set: its timing, its verifier, how far it has come.
    Show {
        /// The set: `set_…`; the workspace's only one when absent.
        set: Option<String>,
    },
}

impl Sets {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        match self.command {
            Command::List => {
                let sets = client.list_sets().await?.items;
                if self.remote.json {
                    return sets.iter().try_for_each(output::json_line);
                }
                let mut table = output::table(["set", "name", "version", "keys", "bound", "head age"]);
                for set in &sets {
                    let age = set.published.as_ref().map_or_else(|| "-".to_owned(), |head| seconds(head.age_ms));
                    let (version, keys) = (set.version.to_string(), set.keys.to_string());
                    table.add_row([&set.id, &set.name, &version, &keys, &seconds(set.bound_ms), &age]);
                }
                output::print(&table, "No sets.")
            }
            Command::Show { set } => {
                let set = set_or_only(&client, set.as_deref()).await?;
                if self.remote.json { output::json(&set) } else { facts(&set) }
            }
        }
    }
}

fn facts(set: &Set) -> Result<(), Failure> {
    output::facts([
        ("set", Some(set.id.clone())),
        ("name", Some(set.name.clone())),
        ("workspace", Some(set.workspace.clone())),
        ("keys", Some(set.keys.to_string())),
        ("version", Some(format!("{} (incarnation {}, epoch {})", set.version, set.incarnation, set.epoch))),
        ("heartbeat", Some(seconds(set.heartbeat_ms))),
        ("validity", Some(seconds(set.validity_ms))),
        ("skew", Some(seconds(set.skew_ms))),
        ("bound", Some(seconds(set.bound_ms))),
        ("head age", set.published.as_ref().map(|head| seconds(head.age_ms))),
        ("valid until", set.published.as_ref().map(|head| output::time(head.valid_until))),
        ("verifier", Some(set.verifier.clone())),
        ("pepper id", Some(set.pepper.clone())),
        ("foreign keys", Some(if set.accepts_foreign { "accepted" } else { "refused" }.to_owned())),
    ])
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}
