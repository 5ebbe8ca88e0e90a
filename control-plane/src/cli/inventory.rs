//! `nightlatch keys list`, `export` and `revoke-many`: the whole inventory.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use nightlatch_api::client::Client;
use nightlatch_api::{ExportFormat, Key, KeyFilter, PrincipalKind, RefusedKey, RevokeMany, RevokedMany};

use super::confirm::confirmed;
use super::exit::{Failure, Kind};
use super::key_filter::Filter;
use super::output::{self, maybe_time, printable, time};
use super::progress::Progress;
use super::rows::Rows;
use super::whole_file;

const COLUMNS: [&str; 8] = ["key", "prefix", "name", "state", "scopes", "owner", "expires", "last used"];
const COLUMNS_WITH_REASON: [&str; 9] =
    ["key", "prefix", "name", "state", "scopes", "owner", "expires", "last used", "why"];

pub(super) const LIST: &str = "\
Examples:
  Abandoned but active:   nightlatch keys list --state active --last-used-before 2026-01-01
  Due for rotation:       nightlatch keys list --rotate-by-before 2026-02-01
  All that somebody knew: nightlatch keys list --touched-by mem_1hTq3e9fKz2m4n6p
  Of one team:            nightlatch keys list --label team=payments

It shows a hundred keys and says so where there are more; with --touched-by all.";

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
    #[command(flatten)]
    rows: Rows,
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
        let filter = self.filter.known(client).await?;
        let touched = filter.touched_by.is_some();
        // What somebody may know the secret of is asked for on the day they leave: a part of it must not pass for all.
        let rows = if touched { self.rows.whole() } else { self.rows };
        let filter = KeyFilter { limit: Some(rows.page()), ..filter };
        let mut table = match touched {
            true => output::table(COLUMNS_WITH_REASON),
            false => output::table(COLUMNS),
        };
        let show = |key: Key| {
            if json {
                return output::json_line(&key);
            }
            table.add_row(row(&key, touched));
            Ok(())
        };
        rows.each(client.keys(filter), show).await?;
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
    pub(super) async fn run(self, client: &Client, json: bool) -> Result<(), Failure> {
        if json && self.out.is_none() {
            return Err(Failure::usage(
                "--json says what was written where; give --out, or --format ndjson without --json",
            ));
        }
        let format = match self.format {
            Format::Csv => ExportFormat::Csv,
            Format::Ndjson => ExportFormat::Ndjson,
        };
        let mut response = client.export_keys(&self.filter.known(client).await?, format).await?;
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
        let written = whole_file::write(&path, async |file| {
            let (progress, mut written) = (Progress::new(), 0);
            while let Some(bytes) = response.chunk().await.map_err(broke_off)? {
                file.write_all(&bytes).map_err(|error| whole_file::about(&path, error))?;
                written += bytes.len() as u64;
                if !json {
                    progress.show("bytes", written, 0);
                }
            }
            Ok(written)
        });
        let written = written.await?;
        if json {
            return output::json(&serde_json::json!({ "file": path, "bytes": written }));
        }
        whole_file::tell(&path, &format!("{written} bytes are in {}.", path.display()))
    }
}

impl Many {
    pub(super) async fn run(self, client: &Client, json: bool) -> Result<(), Failure> {
        let filter = self.filter.known(client).await?;
        let mut request = RevokeMany { filter, reason: self.reason, dry_run: true, expect: None };
        let mut found = client.revoke_many(&request).await?;
        if !json {
            advise(client, &mut found.refusals).await;
        }
        if self.dry_run {
            return if json { output::json(&found) } else { output::text(&described(&found)) };
        }
        if found.remaining == 0 {
            match json {
                true => output::json(&found)?,
                false => output::text(&format!("No key was revoked.\n{}", refusals(&found)))?,
            }
            return all_of_them(&found);
        }
        if !self.yes {
            // For the person who is asked: standard output is for what comes of it.
            eprint!("{}", described(&found));
            if !confirmed(&format!("Revoke {} keys for ever? [y/N] ", found.remaining))? {
                return Err(Failure::other("nothing was revoked"));
            }
        }
        request.dry_run = false;
        let (progress, total) = (Progress::new(), found.remaining);
        let advised = found.refusals.clone();
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
            output::json(&done)?;
            return all_of_them(&done);
        }
        output::line(&format!("Revoked {} keys.", done.revoked))?;
        if let Some(at) = done.in_force_by {
            output::line(&format!("No edge accepts them after {}.", time(at)))?;
        }
        done.refusals = advised;
        output::text(&refusals(&done))?;
        all_of_them(&done)
    }
}

/// Fails where keys that were meant go on working: whoever revokes all that somebody knew must not believe it done.
fn all_of_them(done: &RevokedMany) -> Result<(), Failure> {
    match done.refused {
        0 => Ok(()),
        1 => Err(Failure::new(Kind::InPart, "1 key was not revoked and goes on working")),
        keys => Err(Failure::new(Kind::InPart, format!("{keys} keys were not revoked and go on working"))),
    }
}

/// Says by which command the keys end that this one leaves, where there is one.
async fn advise(client: &Client, refusals: &mut [RefusedKey]) {
    for refused in refusals {
        // Advice only: where the key cannot be looked at, what the server said has to do.
        let Ok(key) = client.key(&refused.key).await else { continue };
        let (kind, principal) = (key.value.kind, &key.value.principal);
        let (detail, call) = match kind {
            PrincipalKind::Gateway => {
                ("a gateway's key ends with its pairing", format!("nightlatch gateways unpair {principal} --reason …"))
            }
            PrincipalKind::Partner => (
                "a partner's key is revoked by its own staff; what stops all of the partner's",
                format!("nightlatch partners suspend {principal}"),
            ),
            _ => continue,
        };
        (refused.detail, refused.call) = (detail.to_owned(), Some(call));
    }
}

/// What would be revoked, for a person.
fn described(found: &RevokedMany) -> String {
    let mut lines = vec![format!("{} keys would be revoked.", found.remaining)];
    let mut table = output::table(COLUMNS_WITH_REASON);
    for key in &found.keys {
        table.add_row(row(key, true));
    }
    if !found.keys.is_empty() {
        lines.push(table.to_string());
    }
    if found.remaining > found.keys.len() as u64 {
        lines.push(format!("… and more, {} in all.", found.remaining));
    }
    for owner in &found.owners {
        let name = owner.owner.as_deref().map(printable).or_else(|| owner.owner_member.clone());
        lines.push(match name {
            Some(name) => format!("{} are looked after by {name}.", owner.keys),
            None => format!("{} have no owner.", owner.keys),
        });
    }
    for route in &found.routes {
        lines.push(format!("They get through {} {}.", route.method, route.pattern));
    }
    lines.join("\n") + "\n" + &refusals(found)
}

/// What stays as it is.
fn refusals(found: &RevokedMany) -> String {
    let mut lines = Vec::new();
    if found.refused > 0 {
        let keys = if found.refused == 1 { "1 key".to_owned() } else { format!("{} keys", found.refused) };
        lines.push(format!("{keys} cannot be revoked by this:\n"));
    }
    for refused in &found.refusals {
        let call = refused.call.as_ref().filter(|call| !refused.detail.contains(*call));
        let call = call.map(|call| format!(": {call}")).unwrap_or_default();
        lines.push(format!("  {}: {}{call}\n", refused.key, refused.detail));
    }
    lines.concat()
}
