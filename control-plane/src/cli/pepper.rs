//! `nightlatch pepper`.

use clap::{Args, Subcommand};
use nightlatch_api::Secret;
use serde_json::json;
use zeroize::Zeroizing;

use super::exit::Failure;
use super::home::{Home, Opened};
use super::output;
use super::secret_out::SecretOut;
use crate::secrets::{PepperFile, Secrets};
use crate::store::peppers::{self, Holder};
use crate::store::{self, Context, publication};

const EXAMPLES: &str = "\
On the server's machine, while it runs:
  nightlatch pepper next
  nightlatch edge config …      (for every edge: NIGHTLATCH_PEPPERS, or --peppers-out, then holds both; deploy it)
  nightlatch pepper status      (which edges hold the next one)
  nightlatch pepper switch

Keys stay as they are. An edge that does not hold the next pepper after the switch answers 503 pepper_missing when the
head it has runs out, and never calls a good key bad.";

/// Replace the pepper, which edges need to find keys in the published set.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Pepper {
    #[command(subcommand)]
    command: PepperCommand,
}

#[derive(Debug, Subcommand)]
enum PepperCommand {
    /// Make the next pepper, for edges to be given before it is used.
    Next(Change),
    /// Show the peppers there are, and which edges hold them.
    Status(Common),
    /// Make the set with the next pepper from now on.
    Switch(Switch),
    /// Write the peppers that one set's edges need, one a line, as a sidecar's peppers_file takes them; in a Worker's
    /// NIGHTLATCH_PEPPERS commas stand between them. What the edges of one workspace hold is of no use against another's.
    Export(Export),
}

#[derive(Debug, Args)]
struct Export {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    secret_out: SecretOut,
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
struct Change {
    #[command(flatten)]
    common: Common,
    /// Say what would be done, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct Switch {
    #[command(flatten)]
    change: Change,
    /// Switch also where a durable edge has not reported to hold the pepper: it will answer 503.
    #[arg(long)]
    force: bool,
    /// Which pepper to switch to; the only one that is not in force when absent.
    #[arg(long, value_name = "ID")]
    to: Option<String>,
}

impl Pepper {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.command {
            PepperCommand::Next(change) => change.next().await,
            PepperCommand::Status(common) => common.status().await,
            PepperCommand::Switch(switch) => switch.run().await,
            PepperCommand::Export(export) => export.run().await,
        }
    }
}

/// What there is.
struct Found {
    opened: Opened,
    secrets: Secrets,
    in_force: String,
    holders: Vec<Holder>,
}

impl Found {
    async fn read(home: &Home) -> Result<Self, Failure> {
        let opened = home.open().await?;
        let secrets = opened.vault.open().await?;
        let mut read = opened.store.read().await?;
        let in_force = publication::state(&mut read, &opened.set).await?.pepper_id;
        let holders = peppers::holders(&mut read, &opened.set).await?;
        drop(read);
        Ok(Self { opened, secrets, in_force, holders })
    }

    /// The peppers that are not in force.
    fn others(&self) -> Vec<&str> {
        let ids = self.secrets.peppers().iter().map(|pepper| pepper.id.as_str());
        ids.filter(|id| *id != self.in_force).collect()
    }
}

impl Change {
    async fn next(self) -> Result<(), Failure> {
        let found = Found::read(&self.common.home).await?;
        if self.dry_run {
            return output::line("The next pepper would be made and kept beside the one in force.");
        }
        let made = found.opened.vault.add_pepper().await?;
        if self.common.json {
            return output::json(&json!({ "pepper": made.id, "in_force": found.in_force }));
        }
        output::line(&format!(
            "pepper {} is made; {} stays in force. Give it to every edge (nightlatch edge config prints both), then run:\n  \
             nightlatch pepper switch --to {0}",
            made.id, found.in_force
        ))
    }
}

impl Common {
    async fn status(self) -> Result<(), Failure> {
        let found = Found::read(&self.home).await?;
        if self.json {
            let edges = found.holders.iter().map(|one| {
                json!({
                    "edge": one.edge, "name": one.name, "durable": one.durable, "instance": one.instance,
                    "peppers": one.peppers(),
                })
            });
            return output::json(&json!({
                "in_force": found.in_force, "others": found.others(), "edges": edges.collect::<Vec<_>>(),
            }));
        }
        output::line(&format!("in force: {}", found.in_force))?;
        output::line(&format!("others:   {}", found.others().join(", ")))?;
        let mut table = output::table(["edge", "name", "class", "instance", "holds"]);
        for one in &found.holders {
            let class = if one.durable { "durable" } else { "ephemeral" };
            let holds = one.peppers().join(", ");
            table.add_row([
                &one.edge,
                &output::printable(&one.name),
                class,
                one.instance.as_deref().unwrap_or("-"),
                &holds,
            ]);
        }
        output::print(&table, "No edge is enrolled: look after each edge's NIGHTLATCH_PEPPERS yourself.")
    }
}

impl Export {
    async fn run(self) -> Result<(), Failure> {
        let kept = self.secret_out.prepare(self.common.json)?;
        let Found { opened, secrets, in_force, .. } = Found::read(&self.common.home).await?;
        let held = secrets.peppers_of(opened.set.as_str(), opened.published.own_pepper);
        let texts: Vec<_> = held.iter().map(PepperFile::to_text).collect();
        let joined = Zeroizing::new(texts.iter().map(|text| text.as_str()).collect::<Vec<_>>().join("\n"));
        let peppers = Secret::from(joined.as_str());
        let ids: Vec<_> = held.iter().map(|pepper| pepper.id.as_str()).collect();
        let answer = json!({
            "set": opened.set.as_str(), "workspace": opened.workspace.as_str(), "in_force": in_force, "ids": ids,
            "peppers": peppers,
        });
        kept.deliver_as("peppers", &answer, &peppers, || {
            output::facts([
                ("set", Some(opened.set.to_string())),
                ("workspace", Some(opened.workspace.to_string())),
                ("in force", Some(in_force.clone())),
                ("ids", Some(ids.join(", "))),
            ])
        })
    }
}

impl Switch {
    async fn run(self) -> Result<(), Failure> {
        let Change { common, dry_run } = self.change;
        let found = Found::read(&common.home).await?;
        let to = match (&self.to, found.others().as_slice()) {
            (Some(id), others) if others.contains(&id.as_str()) => id.clone(),
            (Some(id), _) if *id == found.in_force => return Err(Failure::other(format!("{id} is in force already"))),
            (Some(id), _) => return Err(Failure::other(format!("there is no pepper {id}: nightlatch pepper status"))),
            (None, [only]) => (*only).to_owned(),
            (None, []) => return Err(Failure::other("there is no other pepper: run nightlatch pepper next first")),
            (None, _) => return Err(Failure::usage("there are several other peppers; name one with --to")),
        };
        let lacking: Vec<_> = found.holders.iter().filter(|one| one.durable && !one.holds(&to)).collect();
        if !lacking.is_empty() && !self.force {
            let names: Vec<_> =
                lacking.iter().map(|one| format!("{} ({})", one.edge, output::printable(&one.name))).collect();
            return Err(Failure::other(format!(
                "these durable edges have not reported to hold pepper {to} and would answer 503: {}. Give it to them, remove \
                 those that are gone, or use --force",
                names.join(", ")
            )));
        }
        if !dry_run {
            let (set, pepper) = (found.opened.set.clone(), to.clone());
            let context = Context::system(found.opened.workspace.clone(), "pepper");
            let switched = found.opened.store.write::<_, store::Error, _>(move |tx| {
                Box::pin(async move { peppers::switch(tx, &context, &set, &pepper).await })
            });
            switched.await?;
        }
        if common.json {
            return output::json(&json!({ "from": found.in_force, "to": to, "dry_run": dry_run }));
        }
        let would = if dry_run { "would be" } else { "is" };
        output::line(&format!(
            "the set {would} made with pepper {to} from its next epoch on, which the control plane begins by itself; {} edges \
             lack it",
            lacking.len()
        ))
    }
}
