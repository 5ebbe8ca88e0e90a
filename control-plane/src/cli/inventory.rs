//! `nightlatch keys list`, `export` and `revoke-many`: the whole inventory.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use futures::TryStreamExt as _;
use nightlatch_api::client::Client;
use nightlatch_api::{ExportFormat, Key, KeyFilter, RevokeMany, RevokedMany};
use tempfile::NamedTempFile;

use super::confirm::confirmed;
use super::exit::Failure;
use super::key_filter::Filter;
use super::output::{self, maybe_time, printable, time};
use super::progress::Progress;

const COLUMNS: [&str; 8] = ["key", "prefix", "name", "state", "scopes", "owner", "expires", "last used"];
const COLUMNS_WITH_REASON: [&str; 9] =
    ["key", "prefix", "name", "state", "scopes", "owner", "expires", "last used", "why"];

pub(super) const LIST: &str = "\
Examples:
  Abandoned but active:   nightlatch keys list --state active --last-used-before 2026-01-01
  Due for rotation:       nightlatch keys list --rotate-by-before 2026-02-01
  All that somebody knew: nightlatch keys list --touched-by mem_1hTq3e9fKz2m4n6p";

pub(super) const EXPORT: &str = "\
Example:
  nightlatch keys export --format csv --state active --out keys.csv";

pub(super) const REVOKE_MANY: &str = "\
Example, when an engineer has left:
  nightlatch keys revoke-many --touched-by mem_1hTq3e9fKz2m4n6p --reason 'left the company' --dry-run
  nightlatch keys revoke-many --touched-by mem_1hTq3e9fKz2m4n6p --reason 'left the company'

There is no way back. It says what it found and asks first; off a terminal it needs --yes. Interrupted, it is repeated.";

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    filter: Filter,
    /// At most this many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// How to write it.
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// The file to write, complete or not at all; standard output when absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For spreadsheets.
    Csv,
    /// For programs: a key a line.
    Ndjson,
}

#[derive(Debug, Args)]
pub(super) struct Many {
    #[command(flatten)]
    filter: Filter,
    /// Why, for the audit trail.
    #[arg(long)]
    reason: String,
    /// Only say what would be revoked.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

impl List {
    pub(super) async fn run(self, client: &Client, json: bool) -> Result<(), Failure> {
        let limit = u32::try_from(self.limit.clamp(1, 200)).ok();
        let filter = KeyFilter { limit, ..self.filter.into() };
        let touched = filter.touched_by.is_some();
        let mut table = match touched {
            true => output::table(COLUMNS_WITH_REASON),
            false => output::table(COLUMNS),
        };
        let mut keys = std::pin::pin!(client.keys(filter));
        let mut shown = 0;
        while shown < self.limit
            && let Some(key) = keys.try_next().await?
        {
            shown += 1;
            if json {
                output::json_line(&key)?;
            } else {
                table.add_row(row(&key, touched));
            }
        }
        if json { Ok(()) } else { output::print(&table, "No keys.") }
    }
}

fn row(key: &Key, touched: bool) -> Vec<String> {
    let mut row = vec![
        key.id.clone(),
        key.prefix.clone(),
        printable(&key.name),
        key.state.as_str().to_owned(),
        key.scopes.join(" "),
        key.owner.as_deref().map(printable).or_else(|| key.owner_member.clone()).unwrap_or_default(),
        maybe_time(key.deadline.or(key.expires_at)),
        maybe_time(key.last_used_at),
    ];
    if touched {
        row.push(key.touched.join(", "));
    }
    row
}

impl Export {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let format = match self.format {
            Format::Csv => ExportFormat::Csv,
            Format::Ndjson => ExportFormat::Ndjson,
        };
        let mut response = client.export_keys(&self.filter.into(), format).await?;
        let broke_off =
            |error: reqwest::Error| Failure::other(format!("the export broke off: {}", error.without_url()));
        let Some(path) = self.out else {
            let mut out = io::stdout().lock();
            while let Some(bytes) = response.chunk().await.map_err(broke_off)? {
                out.write_all(&bytes)?;
            }
            out.flush()?;
            return Ok(());
        };
        // Beside the file it becomes: half an inventory never has its name.
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut file = NamedTempFile::new_in(directory.unwrap_or_else(|| ".".as_ref()))?;
        let (progress, mut written) = (Progress::new(), 0);
        while let Some(bytes) = response.chunk().await.map_err(broke_off)? {
            file.write_all(&bytes)?;
            written += bytes.len() as u64;
            progress.show("bytes", written, 0);
        }
        file.persist(&path).map_err(|error| Failure::other(format!("{}: {}", path.display(), error.error)))?;
        Ok(())
    }
}

impl Many {
    pub(super) async fn run(self, client: &Client, json: bool) -> Result<(), Failure> {
        let mut request = RevokeMany { filter: self.filter.into(), reason: self.reason, dry_run: true, expect: None };
        let found = client.revoke_many(&request).await?;
        if self.dry_run {
            return if json { output::json(&found) } else { describe(&found) };
        }
        if found.remaining == 0 {
            return if json { output::json(&found) } else { describe(&found) };
        }
        if !self.yes {
            describe(&found)?;
            if !confirmed(&format!("Revoke {} keys for ever? [y/N] ", found.remaining))? {
                return Err(Failure::other("nothing was revoked"));
            }
        }
        request.dry_run = false;
        let (progress, total) = (Progress::new(), found.remaining);
        let mut done = RevokedMany { revoked: 0, ..found };
        while done.remaining > 0 {
            request.expect = Some(done.plan.clone());
            let mut answer = client.revoke_many(&request).await?;
            if answer.revoked == 0 {
                return Err(Failure::other(format!(
                    "{} keys have changed meanwhile and were left alone; repeat the command to look again",
                    answer.remaining
                )));
            }
            answer.revoked += done.revoked;
            answer.revoked_keys.splice(0..0, std::mem::take(&mut done.revoked_keys));
            answer.matched = total;
            // What was affected is what the dry run found.
            answer.owners = std::mem::take(&mut done.owners);
            answer.routes = std::mem::take(&mut done.routes);
            progress.show("keys revoked", answer.revoked, total);
            done = answer;
        }
        drop(progress);
        if json {
            return output::json(&done);
        }
        output::line(&format!("Revoked {} keys.", done.revoked))?;
        if let Some(at) = done.in_force_by {
            output::line(&format!("No edge accepts them after {}.", time(at)))?;
        }
        refusals(&done)
    }
}

/// What would be revoked, for a person.
fn describe(found: &RevokedMany) -> Result<(), Failure> {
    output::line(&format!("{} keys would be revoked.", found.remaining))?;
    let mut table = output::table(COLUMNS_WITH_REASON);
    for key in &found.keys {
        table.add_row(row(key, true));
    }
    if !found.keys.is_empty() {
        output::line(&table.to_string())?;
    }
    if found.remaining > found.keys.len() as u64 {
        output::line(&format!("… and more, {} in all.", found.remaining))?;
    }
    for owner in &found.owners {
        let name = owner.owner.as_deref().map(printable).or_else(|| owner.owner_member.clone());
        output::line(&format!("{} of {}", owner.keys, name.unwrap_or_else(|| "nobody in particular".to_owned())))?;
    }
    for route in &found.routes {
        output::line(&format!("They get through {} {}.", route.method, route.pattern))?;
    }
    refusals(found)
}

/// What stays as it is.
fn refusals(found: &RevokedMany) -> Result<(), Failure> {
    if found.refused > 0 {
        output::line(&format!("{} keys cannot be revoked by this:", found.refused))?;
    }
    for refused in &found.refusals {
        let call = refused.call.as_ref().map(|call| format!("; use {call}")).unwrap_or_default();
        output::line(&format!("  {}: {}{call}", refused.key, refused.detail))?;
    }
    Ok(())
}
