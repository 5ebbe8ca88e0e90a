//! `nightlatch keys receipt` and `nightlatch receipt verify`.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use jiff::Timestamp;
use nightlatch_api::client::Client;
use nightlatch_api::{Receipt, ReceiptState};
use nightlatch_keyset::Trust;
use nightlatch_keyset::note::{self, MAX_NOTE_LEN, Verifier};

use super::exit::Failure;
use super::output::{self, maybe_time, printable, time};
use crate::domain::receipt::{Receipt as Signed, State};

/// Between two looks at a receipt that is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) const GET: &str = "\
Examples:
  nightlatch keys receipt key_1hTq3e9fKz
  nightlatch keys receipt key_1hTq3e9fKz --wait 90 --out receipt.txt --trust-out trust

It ends with 0 once the revocation is confirmed or its bound has passed, and with 5 while it is pending.";

const VERIFY: &str = "\
Examples:
  nightlatch receipt verify receipt.txt --verifier \"$(nightlatch sets show --json | jq -r .verifier)\"
  nightlatch receipt verify receipt.txt --root \"$ROOT\" --trust trust

With --root the receipt's signer has to be listed in the trust note, which the root has signed. Keep the trust note of the
receipt's time beside it (`nightlatch keys receipt --trust-out`): a later one may list other signers. Nothing is asked over the network.";

/// Show what is proven of a revocation.
#[derive(Debug, Args)]
pub(super) struct Get {
    /// The key: `key_…`, or `kn_` and its number.
    key: String,
    /// The set; the workspace's only one when absent.
    #[arg(long, value_name = "SET_ID")]
    set: Option<String>,
    /// Ask again for so many seconds while it is pending.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// Write the signed receipt to this file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the set's trust note to this file, for `nightlatch receipt verify --trust`.
    #[arg(long, value_name = "FILE", requires = "out")]
    trust_out: Option<PathBuf>,
}

impl Get {
    pub(super) async fn run(self, client: &Client, json: bool) -> Result<(), Failure> {
        let until = tokio::time::Instant::now() + Duration::from_secs(self.wait.unwrap_or_default());
        let receipt = loop {
            let receipt = client.receipt(&self.key, self.set.as_deref()).await?;
            if receipt.state != ReceiptState::Pending || tokio::time::Instant::now() >= until {
                break receipt;
            }
            tokio::time::sleep_until(until.min(tokio::time::Instant::now() + LOOK_EVERY)).await;
        };
        if let (Some(path), Some(note)) = (&self.out, &receipt.note) {
            let keep = |path: &Path, bytes: &[u8]| {
                fs::write(path, bytes).map_err(|error| Failure::other(format!("{}: {error}", path.display())))
            };
            keep(path, note.as_bytes())?;
            if let Some(path) = &self.trust_out {
                keep(path, &client.trust(&receipt.set).await?)?;
            }
        }
        if json {
            output::json(&receipt)?;
        } else {
            show(&receipt)?;
        }
        if receipt.note.is_some() {
            return Ok(());
        }
        let advice = format!("nothing is proven yet; it is by {} at the latest", time(receipt.in_force_by));
        Err(Failure::new(super::exit::Kind::Unavailable, advice))
    }
}

/// Prints a receipt for people.
pub(super) fn show(receipt: &Receipt) -> Result<(), Failure> {
    let uncounted = |count: u64| format!("{count} (ephemeral; for them only `in force by` speaks)");
    output::facts([
        ("receipt", Some(receipt.state.as_str().replace('_', " "))),
        ("key", Some(receipt.key.clone())),
        ("set", Some(receipt.set.clone())),
        ("revoked", Some(time(receipt.revoked_at))),
        ("published", receipt.published_version.map(|version| format!("version {version}"))),
        ("in force by", Some(format!("{} (bound {} ms)", time(receipt.in_force_by), receipt.bound_ms))),
        ("confirmed", Some(format!("{} of {} durable edges", receipt.proven, receipt.counted))),
        ("not counted", (receipt.uncounted > 0).then(|| uncounted(receipt.uncounted))),
    ])?;
    if !receipt.edges.is_empty() {
        let mut table = output::table(["edge", "name", "state", "confirmed at", "clock"]);
        for edge in &receipt.edges {
            let offset = edge.clock_offset_ms.map(|ms| format!(" ({ms:+} ms)")).unwrap_or_default();
            table.add_row([
                edge.id.clone(),
                printable(&edge.name),
                edge.state.as_str().to_owned(),
                maybe_time(edge.confirmed_at),
                format!("{}{offset}", edge.clock.as_str()),
            ]);
        }
        output::line("")?;
        output::print(&table, "")?;
    }
    for route in &receipt.open_routes {
        let (method, pattern) = (&route.method, printable(&route.pattern));
        output::line(&format!("Open route {method} {pattern}: until {}.", time(route.open_until_bound)))?;
    }
    for route in &receipt.connection_routes {
        let (method, pattern, age) = (&route.method, printable(&route.pattern), route.max_connection_age);
        output::line(&format!("Connections of {method} {pattern} may live on for {age} s."))?;
    }
    Ok(())
}

/// Check receipts.
#[derive(Debug, Subcommand)]
pub(super) enum Receipts {
    /// Check a signed receipt, offline, and show what it says.
    #[command(after_help = VERIFY)]
    Verify(Verify),
}

/// Check a signed receipt.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("believed").args(["verifier", "root"]).required(true).multiple(true)))]
pub(super) struct Verify {
    /// The receipt; - reads standard input.
    file: PathBuf,
    /// The public half of the key that signs the set's heads.
    #[arg(long, value_name = "VKEY", value_delimiter = ',')]
    verifier: Vec<String>,
    /// The public half of the set's root key; the signer is then looked up in the trust note.
    #[arg(long, value_name = "VKEY", value_delimiter = ',', requires = "trust")]
    root: Vec<String>,
    /// The set's trust note.
    #[arg(long, value_name = "FILE", requires = "root")]
    trust: Option<PathBuf>,
    /// Print JSON for programs instead of text for people.
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl Receipts {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self::Verify(verify) = self;
        let receipt = verify.checked()?;
        if verify.json { output::json(&facts(&receipt)) } else { tell(&receipt) }
    }
}

impl Verify {
    fn checked(&self) -> Result<Signed, Failure> {
        let about = |path: &Path, what: &dyn std::fmt::Display| Failure::other(format!("{}: {what}", path.display()));
        let mut signers = verifiers(&self.verifier, "--verifier")?;
        let mut set = None;
        if let Some(path) = &self.trust {
            let roots = verifiers(&self.root, "--root")?;
            let trust = Trust::open(&read(path)?, &roots).map_err(|error| about(path, &error))?;
            signers.extend(trust.signers);
            set = Some(trust.set);
        }
        let note = read(&self.file)?;
        let text = note::open(&note, &signers).map_err(|error| about(&self.file, &error))?;
        let receipt = Signed::parse(text).map_err(|error| about(&self.file, &error))?;
        match set {
            Some(set) if set != receipt.set => {
                Err(about(&self.file, &format!("it is about set {}, the trust note about {set}", receipt.set)))
            }
            _ => Ok(receipt),
        }
    }
}

pub(super) fn verifiers(texts: &[String], flag: &str) -> Result<Vec<Verifier>, Failure> {
    let read = |text: &String| {
        Verifier::from_vkey(text.trim()).map_err(|error| Failure::usage(format!("{flag} {}: {error}", text.trim())))
    };
    texts.iter().map(read).collect()
}

/// A note's text. One byte more than a note may have shows that it is too long.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let limit = MAX_NOTE_LEN as u64 + 1;
    let result = if path.as_os_str() == "-" {
        std::io::stdin().take(limit).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text))
    };
    result.map_err(|error| Failure::other(format!("{}: {error}", path.display())))?;
    Ok(text)
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

fn tell(receipt: &Signed) -> Result<(), Failure> {
    output::line("The signature is good.")?;
    let mark = receipt.published.map(|mark| format!("version {} (incarnation {})", mark.version, mark.incarnation));
    output::facts([
        ("receipt", Some(receipt.state.as_str().replace('_', " "))),
        ("key", Some(receipt.key.clone())),
        ("set", Some(receipt.set.clone())),
        ("workspace", Some(receipt.workspace.clone())),
        ("found", Some(time(at(receipt.at)))),
        ("revoked", Some(time(at(receipt.revoked_at)))),
        ("published", mark),
        ("in force by", Some(format!("{} (bound {} ms)", time(at(receipt.in_force_by())), receipt.bound_ms))),
        ("confirmed", Some(format!("{} of {} durable edges", receipt.proven, receipt.counted))),
        ("not counted", (receipt.uncounted > 0).then(|| receipt.uncounted.to_string())),
    ])?;
    for line in &receipt.edges {
        let confirmed = line.confirmed_at.map(|ms| format!(" at {}", time(at(ms)))).unwrap_or_default();
        let (edge, state, clock) = (printable(&line.edge), line.state.as_str(), line.clock.as_str());
        output::line(&format!("{edge}: {state}{confirmed}, clock {clock}"))?;
    }
    for route in &receipt.open_routes {
        let (method, pattern) = (printable(&route.method), printable(&route.pattern));
        output::line(&format!("Open route {method} {pattern}: until {}.", time(at(route.until))))?;
    }
    for route in &receipt.connection_routes {
        let (method, pattern, age) = (printable(&route.method), printable(&route.pattern), route.max_connection_age);
        output::line(&format!("Connections of {method} {pattern} may live on for {age} s."))?;
    }
    match receipt.state {
        State::Pending => Err(Failure::other("the receipt says that nothing was proven")),
        State::Confirmed | State::BoundElapsed => Ok(()),
    }
}

fn facts(receipt: &Signed) -> serde_json::Value {
    let edges = receipt.edges.iter().map(|line| {
        serde_json::json!({
            "id": line.edge,
            "state": line.state.as_str(),
            "confirmed_at": line.confirmed_at.map(at),
            "clock_offset_ms": line.clock_offset_ms,
            "clock": line.clock.as_str(),
        })
    });
    let open = receipt.open_routes.iter().map(|route| {
        serde_json::json!({ "method": route.method, "pattern": route.pattern, "open_until_bound": at(route.until) })
    });
    let connections = receipt.connection_routes.iter().map(|route| {
        serde_json::json!({
            "method": route.method, "pattern": route.pattern, "max_connection_age": route.max_connection_age,
        })
    });
    serde_json::json!({
        "state": receipt.state.as_str(),
        "key": receipt.key,
        "set": receipt.set,
        "workspace": receipt.workspace,
        "at": at(receipt.at),
        "revoked_at": at(receipt.revoked_at),
        "committed_by": at(receipt.committed_by),
        "published_version": receipt.published.map(|mark| mark.version),
        "bound_ms": receipt.bound_ms,
        "in_force_by": at(receipt.in_force_by()),
        "counted": receipt.counted,
        "proven": receipt.proven,
        "uncounted": receipt.uncounted,
        "edges": edges.collect::<Vec<_>>(),
        "open_routes": open.collect::<Vec<_>>(),
        "connection_routes": connections.collect::<Vec<_>>(),
    })
}
