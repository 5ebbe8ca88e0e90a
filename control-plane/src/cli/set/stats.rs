//! `nightlatch set stats`.

use std::f64::consts::{LOG2_E, TAU};

use nightlatch_keyset::{FileName, Status};
use serde_json::json;

use super::opened::Opened;
use super::{Failure, output};

/// Where a set's bytes and keys are.
struct Stats {
    keys: u64,
    base_keys: u64,
    /// Active, retiring, disabled, revoked.
    statuses: [u64; 4],
    with_deadline: u64,
    foreign: u64,
    /// Bytes of a key in the base: everything, and what tells keys apart.
    per_key: f64,
    per_key_hash: f64,
    /// The bound for the latter, at the matched bits.
    bound: f64,
    fullest_bucket: usize,
}

/// Shows what a set takes.
pub(super) fn run(opened: &Opened, as_json: bool) -> Result<(), Failure> {
    let stats = measure(opened)?;
    let (index, layout) = (opened.base.index(), opened.replica.layout());
    let delta_bytes: u64 = opened.deltas.iter().map(|delta| delta.bytes).sum();
    let changes: u64 = opened.deltas.iter().map(|delta| delta.changes).sum();
    let additions: u64 = opened.deltas.iter().map(|delta| delta.additions).sum();
    let [active, retiring, disabled, revoked] = stats.statuses;
    let policy: u64 =
        opened.files.iter().filter(|(name, _)| matches!(name, FileName::Policy(_))).map(|(_, len)| len).sum();
    if as_json {
        return output::json(&json!({
            "set": opened.head.set,
            "version": opened.head.version,
            "keys": stats.keys,
            "active": active, "retiring": retiring, "disabled": disabled, "revoked": revoked,
            "with_deadline": stats.with_deadline,
            "foreign": stats.foreign,
            "profiles": opened.replica.profiles().len(),
            "base": {
                "keys": stats.base_keys,
                "bytes": opened.head.base_bytes(),
                "index_bytes": opened.head.base_len,
                "parts": opened.head.base_parts,
                "bucket_bits": layout.bucket_bits(),
                "matched_bits": layout.tag_bits(),
                "subject_column": layout.columns().subject,
                "number_column": layout.columns().number,
                "bytes_per_key": stats.per_key,
                "hash_bytes_per_key": stats.per_key_hash,
                "bound_bytes_per_key": stats.bound,
                "fullest_bucket": stats.fullest_bucket,
            },
            "deltas": opened.deltas.iter().map(|delta| json!({
                "from": delta.from, "to": delta.to, "bytes": delta.bytes,
                "changes": delta.changes, "additions": delta.additions,
            })).collect::<Vec<_>>(),
            "policy_bytes": policy,
            "memory_bytes": opened.replica.memory(),
        }));
    }
    let per = |bytes: f64| if stats.base_keys == 0 { "-".to_owned() } else { format!("{bytes:.3}") };
    let ratio = stats.per_key_hash / stats.bound;
    output::facts([
        ("set", Some(opened.head.set.clone())),
        ("version", Some(format!("{}, base at {}", opened.head.version, opened.head.base_version))),
        ("keys", Some(format!("{} ({} in the base, {} added since)", stats.keys, stats.base_keys, additions))),
        ("status", Some(format!("{active} active, {retiring} retiring, {disabled} disabled, {revoked} revoked"))),
        ("with deadline", Some(stats.with_deadline.to_string())),
        ("foreign", Some(stats.foreign.to_string())),
        ("profiles", Some(opened.replica.profiles().len().to_string())),
        (
            "base bytes",
            Some(format!("{} in {} parts and an index", opened.head.base_bytes(), opened.head.base_parts.len())),
        ),
        ("matched bits", Some(format!("{} ({} choose the bucket)", layout.tag_bits(), layout.bucket_bits()))),
        ("bytes a key", Some(per(stats.per_key))),
        (
            "  of them hash",
            (stats.base_keys > 0)
                .then(|| format!("{:.3}, bound {:.3}, ratio {ratio:.3}", stats.per_key_hash, stats.bound)),
        ),
        ("fullest bucket", Some(format!("{} keys", stats.fullest_bucket))),
        ("index bytes", Some(index.as_bytes().len().to_string())),
        ("deltas", Some(format!("{} files, {delta_bytes} bytes, {changes} changes", opened.deltas.len()))),
        ("policy bytes", Some(policy.to_string())),
        ("memory", Some(format!("{} bytes", opened.replica.memory()))),
    ])
}

fn measure(opened: &Opened) -> Result<Stats, Failure> {
    let mut stats = Stats {
        keys: opened.replica.len() as u64,
        base_keys: opened.base.len() as u64,
        statuses: [0; 4],
        with_deadline: 0,
        foreign: 0,
        per_key: 0.0,
        per_key_hash: 0.0,
        bound: 0.0,
        fullest_bucket: 0,
    };
    let bucket_bits = u32::from(opened.replica.layout().bucket_bits());
    let (mut bucket, mut in_bucket) = (None, 0);
    for key in opened.base.iter() {
        let (tag, _) = key.map_err(|error| Failure::other(error.to_string()))?;
        let first = tag.as_bytes().first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        let this = if bucket_bits == 0 { 0 } else { first >> (32 - bucket_bits) };
        in_bucket = if bucket.replace(this) == Some(this) { in_bucket + 1 } else { 1 };
        stats.fullest_bucket = stats.fullest_bucket.max(in_bucket);
    }
    for key in opened.replica.iter() {
        let (_, record) = key.map_err(|error| Failure::other(error.to_string()))?;
        let place = match record.status {
            Status::Active => 0,
            Status::Retiring => 1,
            Status::Disabled => 2,
            Status::Revoked => 3,
        };
        stats.statuses[place] += 1;
        stats.with_deadline += u64::from(record.deadline.is_some());
        stats.foreign += u64::from(record.foreign);
    }
    if stats.base_keys > 0 {
        let layout = opened.replica.layout();
        let keys = stats.base_keys as f64;
        stats.per_key = opened.head.base_bytes() as f64 / keys;
        let matched = f64::from(layout.tag_bits() - bucket_bits) / 8.0;
        stats.per_key_hash = matched + 2.0 * f64::from(1_u32 << bucket_bits) / keys;
        stats.bound = bound(keys, f64::from(layout.tag_bits())) / 8.0;
    }
    Ok(stats)
}

/// The bits a key that a set of `keys` uniform hashes of `bits` bits needs: log2 of how many such sets there are, a key.
/// While the hashes are far more than the keys, that is bits − log2(keys!) / keys, the factorial after Stirling.
fn bound(keys: f64, bits: f64) -> f64 {
    let log_factorial = keys * keys.log2() - keys * LOG2_E + 0.5 * (TAU * keys).log2();
    bits - log_factorial / keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_that_of_the_literature() {
        // Bytes a key of a set of 128-bit hashes: a million keys, ten million keys.
        assert!((bound(1e6, 128.0) / 8.0 - 13.689).abs() < 0.001);
        assert!((bound(1e7, 128.0) / 8.0 - 13.274).abs() < 0.001);
    }
}
