//! `nightlatch set inspect` and `verify`.

use jiff::Timestamp;
use nightlatch_keyset::{FileName, Head, levels};
use serde_json::{Value, json};

use super::opened::{Opened, head};
use super::{Failure, Reader, output};

/// Shows a head, and the names of what it implies.
pub(super) async fn run(reader: &Reader, place: &str, as_json: bool) -> Result<(), Failure> {
    let source = reader.source(place)?;
    let head = head(&source, &reader.verifiers).await.map_err(|failure| failure.about(place))?;
    let deltas: Vec<FileName> = levels::path(0, head.version - head.base_version)
        .map(|(from, to)| head.delta_name(head.base_version + from, head.base_version + to))
        .collect();
    if as_json {
        return output::json(&with_files(&head, &deltas));
    }
    facts(&head)?;
    output::line("")?;
    let mut table = output::table(["file", "bytes"]);
    for (name, len) in files(&head, &deltas) {
        table.add_row([name.to_text(), len.map_or_else(|| "-".to_owned(), |len| len.to_string())]);
    }
    output::print(&table, "No files.")
}

fn facts(head: &Head) -> Result<(), Failure> {
    output::facts([
        ("set", Some(head.set.clone())),
        ("workspace", Some(head.workspace.clone())),
        ("version", Some(format!("{} (incarnation {}, epoch {})", head.version, head.incarnation, head.epoch))),
        ("keys", Some(head.keys.to_string())),
        ("base", Some(format!("version {}, {} bytes", head.base_version, head.base_bytes()))),
        ("rebase record", Some(head.rebase.map_or_else(|| "none".to_owned(), |(_, len)| format!("{len} bytes")))),
        ("commitment", Some(head.commitment.to_string())),
        ("pepper", Some(head.pepper.clone())),
        ("foreign keys", Some(if head.accepts_foreign { "accepted" } else { "refused" }.to_owned())),
        ("issued", Some(time(head.issued))),
        ("valid until", Some(time(head.valid_until))),
        ("skew", Some(format!("{} ms", head.skew))),
    ])
}

fn files(head: &Head, deltas: &[FileName]) -> Vec<(FileName, Option<u64>)> {
    let parts = head.part_names().zip(head.base_parts.iter().copied().map(Some));
    let record = head.rebase.map(|(_, len)| (head.rebase_name(), Some(len)));
    [(head.policy_name(), Some(head.policy_len)), (head.base_name(), Some(head.base_len))]
        .into_iter()
        .chain(parts)
        .chain(record)
        .chain(deltas.iter().map(|name| (*name, None)))
        .collect()
}

fn with_files(head: &Head, deltas: &[FileName]) -> Value {
    let files: Vec<Value> =
        files(head, deltas).iter().map(|(name, len)| json!({"name": name.to_text(), "bytes": len})).collect();
    let mut value = as_value(head);
    value["files"] = files.into();
    value
}

/// A head, for programs.
pub(super) fn as_value(head: &Head) -> Value {
    json!({
        "set": head.set,
        "workspace": head.workspace,
        "incarnation": head.incarnation,
        "epoch": head.epoch,
        "version": head.version,
        "commitment": head.commitment.to_string(),
        "keys": head.keys,
        "base_version": head.base_version,
        "base_root": head.base_root.to_hex(),
        "base_bytes": head.base_bytes(),
        "pepper": head.pepper,
        "accepts_foreign": head.accepts_foreign,
        "issued": time(head.issued),
        "valid_until": time(head.valid_until),
        "skew_ms": head.skew,
    })
}

/// Checks everything.
pub(super) async fn verify(reader: &Reader, place: &str, as_json: bool) -> Result<(), Failure> {
    let opened = reader.open(place).await?;
    let Opened { head, files, deltas, policy, .. } = &opened;
    let bytes: u64 = files.iter().map(|(_, len)| len).sum();
    if as_json {
        let mut value = as_value(head);
        value["files"] = files.len().into();
        value["bytes"] = bytes.into();
        value["verified"] = true.into();
        return output::json(&value);
    }
    output::facts([
        ("verified", Some(format!("{} files, {bytes} bytes, signed and whole", files.len()))),
        ("set", Some(head.set.clone())),
        ("version", Some(format!("{} (incarnation {}, epoch {})", head.version, head.incarnation, head.epoch))),
        ("keys", Some(head.keys.to_string())),
        ("deltas", Some(format!("{} from version {}", deltas.len(), head.base_version))),
        ("routes", Some(policy.routes().len().to_string())),
        ("valid until", Some(time(head.valid_until))),
    ])
}

fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{ms} ms"), |time| time.to_string())
}
