//! `nightlatch schema`.

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::exit::Failure;
use super::home::{self, Home};
use super::output;
use crate::store::replicas::{self, ALIVE_MS, Replica};
use crate::store::schema;
use crate::store::{self, Store};

const EXAMPLES: &str = "\
To upgrade several control planes on one database, one after the other:
  1. stop one, start its new version (it widens the schema; the others go on), wait for its /readyz; then the next
  2. nightlatch schema status                 (when the last one is done: all know the newest number)
  3. nightlatch schema contract --dry-run     (only where the release notes say that there is something to take away)
  4. nightlatch schema contract

Versions that do not announce themselves here (they are shown as knowing number 0, or not at all) do not go on beside this
one and cannot be started again after it: stop all of them before the first start of this version, and keep a backup of the
database from before. Of versions that announce themselves the old one can be started again until step 4. A control plane
that was killed counts as running for a minute.";

/// Show which control planes run on the database and which schema each knows, and take away what none needs any more.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Schema {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the schema and the control planes that run.
    Status(Common),
    /// Apply the migrations that take something away, where every control plane that runs knows them.
    Contract(Contract),
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    home: Home,
    /// Print JSON for programs instead of text for people.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Contract {
    #[command(flatten)]
    common: Common,
    /// Say what would be done and who would break, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Schema {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Status(common) => common.status().await,
            Command::Contract(contract) => contract.run().await,
        }
    }
}

impl Common {
    async fn status(self) -> Result<(), Failure> {
        let store = self.home.store().await?;
        let mut read = store.read().await?;
        let (floor, now, all) = (schema::floor(&mut read).await?, read.now().await?, replicas::all(&mut read).await?);
        drop(read);
        let runs = |one: &Replica| one.seen_at > now - ALIVE_MS;
        if self.json {
            let shown = all.iter().map(|one| {
                json!({
                    "id": one.id, "schema": one.schema, "started_at_ms": one.started_at, "seen_at_ms": one.seen_at,
                    "running": runs(one),
                })
            });
            return output::json(&json!({
                "known": store.schema(), "floor": floor, "replicas": shown.collect::<Vec<_>>(),
            }));
        }
        output::line(&format!("this program knows the schema up to number {}", store.schema()))?;
        output::line(&format!("a program must know number {floor} to use the database"))?;
        let mut table = output::table(["control plane", "knows", "running", "last seen"]);
        for one in &all {
            let seen = format!("{} s ago", (now - one.seen_at).max(0) / 1000);
            let running = if runs(one) { "yes" } else { "no" };
            table.add_row([one.id.clone(), one.schema.to_string(), running.to_owned(), seen]);
        }
        output::print(&table, "No control plane runs.")
    }
}

impl Contract {
    async fn run(self) -> Result<(), Failure> {
        let config = self.common.home.config()?;
        // Widened first: what is taken away may have moved to where that puts it.
        home::store(&config).await?.close().await;
        let url = config.store_url();
        let migrations = Store::migrations(url.expose_secret())?;
        let found = schema::narrow(url.expose_secret(), &migrations, self.dry_run).await?;
        let blocked = !found.in_the_way.is_empty();
        if self.common.json {
            output::json(&json!({
                "pending": found.pending.iter().map(|(number, name)| json!({ "number": number, "name": name }))
                    .collect::<Vec<_>>(),
                "in_the_way": found.in_the_way.iter().map(|one| json!({ "id": one.id, "schema": one.schema }))
                    .collect::<Vec<_>>(),
                "done": found.done,
            }))?;
        } else if found.pending.is_empty() {
            return output::line("There is nothing to take away.");
        } else {
            let would = if found.done { "was applied" } else { "is to be applied" };
            found.pending.iter().try_for_each(|(number, name)| output::line(&format!("{number} {name} {would}")))?;
        }
        if blocked {
            let names: Vec<_> = found.in_the_way.iter().map(known).collect();
            return Err(Failure::other(format!(
                "these control planes run and would break: {}. Upgrade or stop them; one that was killed counts for a minute",
                names.join(", ")
            )));
        }
        Ok(())
    }
}

fn known(replica: &Replica) -> String {
    match replica.schema {
        0 => format!("{} (of a version that does not say what it knows)", replica.id),
        schema => format!("{} (knows up to {schema})", replica.id),
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::other(home::with_causes(&error))
    }
}
