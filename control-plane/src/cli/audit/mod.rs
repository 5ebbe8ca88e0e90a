//! `nightlatch audit`.

mod filter;
mod verify;

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use futures::TryStreamExt as _;
use nightlatch_api::client::Client;
use nightlatch_api::{AuditEntry, EraseAudit};

use super::confirm::confirmed;
use super::exit::{Failure, Kind};
use super::output::{self, printable, time};
use super::remote::Remote;
use super::rows::Rows;
use super::whole_file;
use filter::Filter;
use verify::Verify;

const LIST: &str = "\
Examples:
  nightlatch audit list --key key_1hTq3e9fKz --from 2026-01-01
  nightlatch audit list --actor mem_1hTq3e9fKz --json";

const EXPORT: &str = "\
Examples:
  nightlatch audit export --out audit.ndjson
  nightlatch audit export --after 120000 --out audit-2.ndjson
  nightlatch audit export --key key_1hTq3e9fKz > of-one-key.ndjson

Without a filter the export proves that nothing is missing. With one, each entry brings its own proof. That somebody
exported is an entry of the log itself.";

const CHECKPOINT: &str = "\
Examples:
  nightlatch audit checkpoint --out audit-head-$(date +%F)

Keep such files where nobody who can write to the database can: `nightlatch audit verify --checkpoint FILE` then shows that
nothing before them was changed.";

const ERASE: &str = "\
Example:
  nightlatch audit erase mem_1hTq3e9fKz --yes

Addresses that the member acted from, and its e-mail and name in entries, go for ever. What was done stays, and stays
provable. On a terminal it asks first; elsewhere it needs --yes.";

/// Show, export and prove what was done, by whom, when.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = LIST)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what was done, newest first: what `nightlatch audit` alone does.
    #[command(after_help = LIST)]
    List(List),
    /// Write the log to a file, with what proves it.
    #[command(after_help = EXPORT)]
    Export(Export),
    /// Show how far the log is signed, and keep the head that signs it.
    #[command(after_help = CHECKPOINT)]
    Checkpoint(Checkpoint),
    /// Prove an export, offline, or name its first break.
    Verify(Verify),
    /// Erase what is personal about a member from the log.
    #[command(after_help = ERASE)]
    Erase(Erase),
}

impl Audit {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.command {
            None => self.list.run().await,
            Some(Command::List(list)) => list.run().await,
            Some(Command::Export(export)) => export.run().await,
            Some(Command::Checkpoint(checkpoint)) => checkpoint.run().await,
            Some(Command::Verify(verify)) => verify.run(),
            Some(Command::Erase(erase)) => erase.run().await,
        }
    }
}

/// Show what was done.
#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    rows: Rows,
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let json = self.remote.json;
        let mut table = output::table(["seq", "time", "action", "actor", "target", "prefix", "reason"]);
        let show = |entry: AuditEntry| {
            if json {
                return output::json_line(&entry);
            }
            table.add_row(row(&entry));
            Ok(())
        };
        self.rows.each(client.audit(self.filter.list(self.rows.page())), show).await?;
        if json { Ok(()) } else { output::print(&table, "Nothing was done.") }
    }
}

fn row(entry: &AuditEntry) -> Vec<String> {
    let behalf = entry.on_behalf_of.as_ref().map(|member| format!(" for {member}")).unwrap_or_default();
    vec![
        // A row that the leader has not chained yet is as good as done, and not proven.
        entry.sequence.map_or_else(|| "unchained".to_owned(), |number| number.to_string()),
        time(entry.at),
        entry.action.clone(),
        format!("{} {}{behalf}", entry.actor.kind, entry.actor.id),
        entry.target.id.clone(),
        entry.prefix.clone().unwrap_or_default(),
        entry.reason.as_deref().map(printable).unwrap_or_default(),
    ]
}

/// Write the log to a file.
#[derive(Debug, Args)]
struct Export {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    filter: Filter,
    /// Only what comes after this entry: where an earlier export ended.
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// The file; standard output when absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Export {
    async fn run(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let wanted = self.filter.export(self.after);
        let mut pieces = std::pin::pin!(client.export_audit(&wanted).await?);
        let Some(path) = self.out else {
            let mut out = io::stdout().lock();
            while let Some(piece) = pieces.try_next().await? {
                out.write_all(&piece)?;
            }
            return Ok(out.flush()?);
        };
        let bytes = whole_file::write(&path, async |file| {
            let mut bytes = 0;
            while let Some(piece) = pieces.try_next().await? {
                file.write_all(&piece).map_err(|error| whole_file::about(&path, error))?;
                bytes += piece.len() as u64;
            }
            Ok(bytes)
        });
        let bytes: u64 = bytes.await?;
        if self.remote.json {
            return output::json(&serde_json::json!({ "file": path, "bytes": bytes }));
        }
        let told = format!("{bytes} bytes are in {}. Prove them: nightlatch audit verify --help", path.display());
        whole_file::tell(&path, &told)
    }
}

/// Show how far the log is signed.
#[derive(Debug, Args)]
struct Checkpoint {
    #[command(flatten)]
    remote: Remote,
    /// Write the signed head to this file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Checkpoint {
    async fn run(self) -> Result<(), Failure> {
        let standing = self.remote.client()?.audit_checkpoint().await?;
        match (&self.out, &standing.checkpoint) {
            (Some(path), Some(signed)) => {
                std::fs::write(path, &signed.head).map_err(|error| whole_file::about(path, error))?;
            }
            // Whoever keeps checkpoints must not believe to have one.
            (Some(path), None) => {
                let why = "no head has signed the log yet, so nothing was written; repeat it once one is published";
                return Err(Failure::new(Kind::Unavailable, why).about(&path.display().to_string()));
            }
            (None, _) => {}
        }
        if self.remote.json {
            return output::json(&standing);
        }
        let signed = standing.checkpoint.as_ref();
        output::facts([
            ("chained", Some(standing.chained.to_string())),
            ("waiting", Some(standing.unchained.to_string())),
            ("signed", signed.map(|signed| signed.count.to_string())),
            ("root", signed.map(|signed| signed.root.clone())),
            ("set", signed.map(|signed| signed.set.clone())),
        ])
    }
}

/// Erase what is personal about a member.
#[derive(Debug, Args)]
struct Erase {
    #[command(flatten)]
    remote: Remote,
    /// The member: mem_…; one that has been removed, too.
    member: String,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

impl Erase {
    async fn run(self) -> Result<(), Failure> {
        let question = format!("Erase what is personal about {} from the log, for ever? [y/N] ", self.member);
        if !self.yes && !confirmed(&question)? {
            return Err(Failure::other("nothing was erased"));
        }
        let client: Client = self.remote.client()?;
        let erased = client.erase_audit(&EraseAudit { about: self.member }).await?;
        if self.remote.json {
            return output::json(&erased);
        }
        output::line(&format!("{} values about {} are erased.", erased.erased, erased.about))?;
        if erased.record_kept {
            let id = &erased.about;
            output::line(&format!(
                "The member is not removed and its record stays. To forget it, too: nightlatch members remove {id}, then \
                 erase again."
            ))?;
        }
        Ok(())
    }
}
