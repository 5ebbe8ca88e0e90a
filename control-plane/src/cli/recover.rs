//! `nightlatch recover`.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;

use super::exit::{Failure, Kind};
use super::home::Home;
use super::output;
use super::progress::Progress;
use crate::recover::{Error, Recovery, Report};
use crate::secrets::read_private;
use crate::serve::DataDir;
use crate::sync_job::{Source, SyncError};

const EXAMPLES: &str = "\
With every control plane on the database stopped, the database and the secrets restored, and the published files as they
were (never delete those):
  nightlatch recover --dry-run
  nightlatch recover

Where the published files of this machine are lost too, from a copy that edges read:
  nightlatch recover --from /mnt/edge-copy
  nightlatch recover --from https://edge-files.example.com/set --token-file edge-token

Then start the control plane. Keys that were issued after the backup are unknown to the database: their tags are listed,
and they end with the first head. Management tokens that were revoked after the backup are valid again: see
`nightlatch tokens list`.";

/// Take over what was published, after the database was restored from a backup.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Recover {
    #[command(flatten)]
    home: Home,
    /// Where to read the published set: a directory or an address; the control plane's own directory when absent.
    #[arg(long, value_name = "DIR|URL")]
    from: Option<String>,
    /// A file of mode 0600 with an edge token of the set, for addresses; the variable NIGHTLATCH_TOKEN when absent.
    #[arg(long, env = "NIGHTLATCH_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Say what would be done, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON for programs instead of text for people.
    #[arg(long)]
    json: bool,
}

impl Recover {
    pub(super) async fn run(self) -> Result<(), Failure> {
        // No server of this directory may run, and none may start meanwhile.
        let config = self.home.config()?;
        let data_dir = DataDir::open(&config.data_dir).map_err(|error| Failure::other(error.to_string()))?;
        let opened = self.home.open().await?;
        let publisher = opened.publisher(data_dir.instance()).await?;
        let token = match &self.token_file {
            Some(path) => Some(SecretString::from(read_private(path)?.trim_end())),
            None => std::env::var("NIGHTLATCH_TOKEN").ok().filter(|text| !text.is_empty()).map(SecretString::from),
        };
        let place = self.from.clone().unwrap_or_else(|| opened.directory().path().display().to_string());
        let source = Source::open(&place, token)?;
        let progress = Progress::new();
        let show = |what: &'static str, done, total| progress.show(what, done, total);
        let recovery =
            Recovery { store: &opened.store, workspace: &opened.workspace, config: publisher, progress: &show };
        let report = recovery.run(source, self.dry_run).await?;
        drop(progress);
        if self.json { output::json(&report) } else { tell(&report) }
    }
}

fn tell(report: &Report) -> Result<(), Failure> {
    let Report { published, database, findings, .. } = report;
    let at =
        |at: &crate::recover::At| format!("incarnation {}, epoch {}, version {}", at.incarnation, at.epoch, at.version);
    output::line(&format!("published: {}\ndatabase:  {}", at(published), at(database)))?;
    if !report.ahead {
        return output::line("The published set is not ahead of the database: there is nothing to recover.");
    }
    if report.forked {
        output::line(
            "warning: what is published is not in this database's history: it was restored from a backup, and has \
             published elsewhere since. What was published is taken over all the same.",
        )?;
    }
    let would = if report.dry_run { "would be " } else { "" };
    output::line(&format!("{} keys compared.", findings.compared))?;
    let mut revoked = output::table(["revoked", "published as"]);
    for found in &findings.revoked {
        let why = serde_json::to_value(found.why).map_err(|error| Failure::other(error.to_string()))?;
        revoked.add_row([found.key.as_str(), why.as_str().unwrap_or_default()]);
    }
    output::line(&format!("{} {would}revoked.", findings.revoked.len()))?;
    if !findings.revoked.is_empty() {
        output::print(&revoked, "")?;
    }
    if !findings.disabled.is_empty() {
        output::line(&format!("{} {would}disabled: {}", findings.disabled.len(), findings.disabled.join(", ")))?;
    }
    for member in &findings.members_refused {
        output::line(&format!(
            "warning: {} ({}) was published with all its keys refused, and {would}suspended. If it was removed after the \
             backup, its keys were revoked for good: remove it again, and do not resume it",
            member.id, member.principal
        ))?;
    }
    for (key, end) in &findings.ends_unknown {
        output::line(&format!(
            "warning: {key} was published with an end at {} that the database does not know of; look at it",
            jiff::Timestamp::from_second(i64::try_from(*end).unwrap_or(i64::MAX)).unwrap_or_default()
        ))?;
    }
    for wider in &findings.profiles_wider {
        output::line(&format!(
            "warning: {} was published without what the database gives it in {}: {}; look at the member and its role before \
             you start the control plane",
            wider.principal,
            wider.environment,
            wider.scopes.join(" ")
        ))?;
    }
    if !findings.unknown.is_empty() {
        output::line(&format!(
            "warning: {} published keys are unknown to the database: they end with its first head. Issue their holders new \
             ones. Their tags:",
            findings.unknown.len()
        ))?;
        if findings.unknown_ended > 0 {
            output::line(&format!(
                "{} of them were ended or had an end: once it has passed, imports refuse them.",
                findings.unknown_ended
            ))?;
        }
        findings.unknown.iter().try_for_each(|tag| output::line(&format!("  {tag}")))?;
    }
    match &report.now {
        Some(now) => output::line(&format!(
            "published now: {}. Start the control plane. Management tokens revoked since the backup are valid again: see \
             `nightlatch tokens list`.",
            at(now)
        )),
        None => output::line("Nothing was changed. The set's incarnation would be raised, and the set made anew."),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Source(SyncError::Usage(_)) => Kind::Usage,
            Error::Source(SyncError::Source(_)) | Error::Store(_) => Kind::Unavailable,
            _ => Kind::Other,
        };
        Self::new(kind, error.to_string())
    }
}
