//! `nightlatch edge add`, `enrol`, `list`, `show`, `rotate`, `remove`.

use std::io::{IsTerminal as _, Read as _, stdin};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use futures::TryStreamExt as _;
use jiff::SignedDuration;
use nightlatch_api::{CreateEdge, Edge, EdgeClass, EnrolEdge, RotateCredential, Secret};
use zeroize::Zeroizing;

use super::exit::Failure;
use super::output::{self, maybe_time, printable};
use super::remote::Remote;
use super::secret_out::SecretOut;
use super::time::duration;
use crate::secrets::read_private;

pub(super) const ADD: &str = "\
Example:
  nightlatch edge add 'gate, Frankfurt' --class durable --secret-out code
The code is good once and for an hour. Bring it to the edge's machine and run `nightlatch edge enrol` there.";

pub(super) const ENROL: &str = "\
Example, on the edge's machine:
  nightlatch edge enrol --url https://keys.example.com --code-file code --runtime sidecar --secret-out credential

With the code on standard input:
  ssh admin cat code | nightlatch edge enrol --url https://keys.example.com --code-file - --runtime sidecar --secret-out credential";

pub(super) const ROTATE: &str = "\
Example:
  nightlatch edge rotate edge_1hTq3e9fKz2m4n6p --overlap 1h --secret-out credential.new
Give the edge the new credential, and let it reload. Its first call with the new one ends the old one.";

/// Make an edge.
#[derive(Debug, Args)]
pub(super) struct Add {
    #[command(flatten)]
    remote: Remote,
    /// What people are to call it.
    name: String,
    /// Whether it keeps its high-water mark on disk.
    #[arg(long, value_enum)]
    class: Class,
    /// The set it reads; the workspace's only one when absent.
    #[arg(long, value_name = "SET_ID")]
    set: Option<String>,
    #[command(flatten)]
    secret_out: SecretOut,
}

/// Whether an edge remembers.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Class {
    /// It keeps its high-water mark on disk: it confirms revocations, and receipts wait for it.
    Durable,
    /// It forgets, as Worker isolates do: it cannot be counted.
    Ephemeral,
}

/// Enrol an edge.
#[derive(Debug, Args)]
pub(super) struct Enrol {
    #[command(flatten)]
    remote: Remote,
    /// The file of mode 0600 with the one-time code; - reads standard input.
    #[arg(long, value_name = "FILE")]
    code_file: PathBuf,
    /// What the edge runs on, such as `sidecar`.
    #[arg(long, value_name = "NAME")]
    runtime: String,
    /// The version of the edge's software, shown until its first report says it.
    #[arg(long, value_name = "VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    edge_version: String,
    #[command(flatten)]
    secret_out: SecretOut,
}

/// List edges.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    remote: Remote,
}

/// Show an edge.
#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    remote: Remote,
    /// The edge: `edge_…`.
    edge: String,
}

/// Make a new credential.
#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    remote: Remote,
    /// The edge: `edge_…`.
    edge: String,
    /// How long the old credential works at most; 24 hours when absent.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    overlap: Option<SignedDuration>,
    #[command(flatten)]
    secret_out: SecretOut,
}

/// Remove an edge.
#[derive(Debug, Args)]
pub(super) struct Remove {
    #[command(flatten)]
    remote: Remote,
    /// The edge: `edge_…`.
    edge: String,
}

impl Add {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let kept = self.secret_out.prepare(self.remote.json)?;
        let class = match self.class {
            Class::Durable => EdgeClass::Durable,
            Class::Ephemeral => EdgeClass::Ephemeral,
        };
        let request = CreateEdge { name: self.name, class, set: self.set };
        let created = self.remote.client()?.create_edge(&request).await?;
        kept.deliver_as("code", &created, &created.code, || {
            output::facts([
                ("edge", Some(created.edge.id.clone())),
                ("class", Some(created.edge.class.as_str().to_owned())),
                ("set", Some(created.edge.set.clone())),
                ("code ends", Some(output::time(created.code_expires_at))),
            ])
        })
    }
}

impl Enrol {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let kept = self.secret_out.prepare(self.remote.json)?;
        let code = code_from(&self.code_file)?;
        let request = EnrolEdge { code: Secret::from(code.trim()), runtime: self.runtime, version: self.edge_version };
        let mut enrolled = self.remote.anonymous()?.enrol_edge(&request).await?;
        // Relative to the address that was called: that is this one.
        let url = self.remote.url();
        enrolled.config.source.insert_str(0, url);
        enrolled.config.report_url.insert_str(0, url);
        kept.deliver_as("credential", &enrolled, &enrolled.credential, || {
            let config = &enrolled.config;
            output::facts([
                ("edge", Some(enrolled.edge.id.clone())),
                ("set", Some(config.set.clone())),
                ("source", Some(config.source.clone())),
                ("reports to", Some(config.report_url.clone())),
                ("roots", (!config.roots.is_empty()).then(|| config.roots.join(" "))),
                ("verifiers", config.roots.is_empty().then(|| config.verifiers.join(" "))),
            ])
        })
    }
}

impl List {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (client, json) = (self.remote.client()?, self.remote.json);
        let mut table = output::table([
            "edge",
            "name",
            "class",
            "state",
            "runtime",
            "version",
            "applied",
            "data age",
            "clock",
            "last contact",
        ]);
        let mut edges = std::pin::pin!(client.edges());
        while let Some(edge) = edges.try_next().await? {
            if json {
                output::json_line(&edge)?;
            } else {
                table.add_row(row(&edge));
            }
        }
        if json { Ok(()) } else { output::print(&table, "No edges.") }
    }
}

impl Show {
    pub(super) async fn run(self) -> Result<(), Failure> {
        show(self.remote.json, &self.remote.client()?.edge(&self.edge).await?)
    }
}

impl Rotate {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let kept = self.secret_out.prepare(self.remote.json)?;
        let seconds = |overlap: SignedDuration| {
            u64::try_from(overlap.as_secs()).map_err(|_| Failure::usage("--overlap cannot be negative"))
        };
        let request = RotateCredential { overlap_seconds: self.overlap.map(seconds).transpose()? };
        let rotated = self.remote.client()?.rotate_edge_credential(&self.edge, &request).await?;
        kept.deliver_as("credential", &rotated, &rotated.credential, || {
            output::line(&format!(
                "{} has a new credential. The old one ends at its first use, or at {}.",
                rotated.edge.id,
                output::time(rotated.old_ends_by)
            ))
        })
    }
}

impl Remove {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let removed = self.remote.client()?.remove_edge(&self.edge).await?;
        if self.remote.json {
            return output::json(&removed);
        }
        output::line(&format!("Removed {} \"{}\". Its credentials have ended.", removed.id, printable(&removed.name)))
    }
}

fn row(edge: &Edge) -> Vec<String> {
    vec![
        edge.id.clone(),
        printable(&edge.name),
        edge.class.as_str().to_owned(),
        edge.state.as_str().to_owned(),
        edge.runtime.clone().unwrap_or_default(),
        edge.version.clone().unwrap_or_default(),
        applied(edge),
        edge.data_age_ms.map_or_else(|| "-".to_owned(), seconds),
        clock(edge),
        maybe_time(edge.last_contact),
    ]
}

fn show(json: bool, edge: &Edge) -> Result<(), Failure> {
    if json {
        return output::json(edge);
    }
    let words = |words: &[String]| (!words.is_empty()).then(|| words.join(" "));
    output::facts([
        ("edge", Some(edge.id.clone())),
        ("name", Some(edge.name.clone())),
        ("class", Some(edge.class.as_str().to_owned())),
        ("state", Some(edge.state.as_str().to_owned())),
        ("set", Some(edge.set.clone())),
        ("runtime", edge.runtime.clone()),
        ("version", edge.version.clone()),
        ("formats", words(&edge.formats)),
        ("applied", Some(applied(edge))),
        ("data age", edge.data_age_ms.map(seconds)),
        ("clock", Some(clock(edge))),
        ("peppers", words(&edge.peppers)),
        ("trust note", edge.trust.map(|version| version.to_string())),
        ("failure", edge.failure.clone()),
        ("instances", Some(edge.instances.to_string())),
        ("created", Some(output::time(edge.created_at))),
        ("enrolled", Some(maybe_time(edge.enrolled_at))),
        ("last contact", Some(maybe_time(edge.last_contact))),
        ("removed", edge.removed_at.map(output::time)),
    ])
}

/// `incarnation/epoch/version`.
fn applied(edge: &Edge) -> String {
    let ahead = if edge.ahead { " (ahead of the database)" } else { "" };
    let state = edge.applied.as_ref();
    state.map_or_else(|| "-".to_owned(), |a| format!("{}/{}/{}{ahead}", a.incarnation, a.epoch, a.version))
}

fn clock(edge: &Edge) -> String {
    let offset = edge.clock_offset_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:+} ms"));
    if edge.clock_refused { format!("{offset}, refused") } else { offset }
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// A one-time code from a private file, or from standard input.
pub(super) fn code_from(file: &Path) -> Result<Zeroizing<String>, Failure> {
    if file.as_os_str() == "-" { from_stdin() } else { Ok(read_private(file)?) }
}

fn from_stdin() -> Result<Zeroizing<String>, Failure> {
    if stdin().is_terminal() {
        eprintln!("Paste the code and press Enter, then Ctrl-D:");
    }
    let mut text = Zeroizing::new(String::new());
    stdin().take(4096).read_to_string(&mut text)?;
    Ok(text)
}
