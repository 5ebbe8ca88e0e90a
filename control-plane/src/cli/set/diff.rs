//! `nightlatch set diff`.

use std::collections::BTreeMap;

use nightlatch_keyset::{Profile, Record, Tag};
use serde_json::{Value, json};

use super::opened::Opened;
use super::{Failure, output};

/// What is said of a key, its profile spelt out: numbers of profiles are an epoch's own.
type Said<'a> = (Record, &'a Profile);

/// Shows which keys two places say different things of.
pub(super) fn run(from: &Opened, to: &Opened, limit: usize, as_json: bool) -> Result<(), Failure> {
    if from.head.set != to.head.set || from.head.pepper != to.head.pepper {
        return Err(Failure::other("the two are not of one set and one pepper: their tags cannot be compared"));
    }
    // Tags are compared as far as both places store them.
    let bits = from.replica.layout().tag_bits().min(to.replica.layout().tag_bits());
    let before = keys(from, bits)?;
    let mut differences = Differences { limit, ..Differences::default() };
    for key in to.replica.iter() {
        let (tag, record) = key.map_err(corrupt)?;
        let now = (record, profile(to, &record)?);
        match before.get(&cut(&tag, bits)) {
            None => differences.add("added", &tag, None, Some(&now)),
            Some(then) if said(then) != said(&now) => differences.add("changed", &tag, Some(then), Some(&now)),
            Some(_) => differences.same += 1,
        }
    }
    let still_there = keys(to, bits)?;
    for (tag, then) in before.iter().filter(|(tag, _)| !still_there.contains_key(*tag)) {
        differences.add("removed", &Tag::from_bytes(*tag), Some(then), None);
    }
    differences.print(from, to, as_json)
}

fn keys(opened: &Opened, bits: u32) -> Result<BTreeMap<[u8; Tag::LEN], Said<'_>>, Failure> {
    let keys = opened.replica.iter().map(|key| {
        let (tag, record) = key.map_err(corrupt)?;
        Ok((cut(&tag, bits), (record, profile(opened, &record)?)))
    });
    keys.collect()
}

fn profile<'a>(opened: &'a Opened, record: &Record) -> Result<&'a Profile, Failure> {
    opened.replica.profile(record.profile).ok_or_else(|| Failure::other("a key has a profile that is not there"))
}

fn corrupt(error: nightlatch_keyset::Malformed) -> Failure {
    Failure::other(error.to_string())
}

/// The first bits of a tag, 128 or more.
fn cut(tag: &Tag, bits: u32) -> [u8; Tag::LEN] {
    let mut bytes = *tag.as_bytes();
    bytes[Tag::LEN - 1] &= (0xff_u32 << (136 - bits)) as u8;
    bytes
}

/// What a key's state says, without its profile's number.
fn said<'a>((record, profile): &Said<'a>) -> (Record, &'a Profile) {
    (Record { profile: 0, ..*record }, profile)
}

#[derive(Default)]
struct Differences {
    limit: usize,
    counts: BTreeMap<&'static str, u64>,
    same: u64,
    shown: Vec<Value>,
}

impl Differences {
    fn add(&mut self, what: &'static str, tag: &Tag, then: Option<&Said<'_>>, now: Option<&Said<'_>>) {
        *self.counts.entry(what).or_default() += 1;
        if self.shown.len() < self.limit {
            let tag: String = tag.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            self.shown.push(json!({"what": what, "tag": tag, "from": then.map(value), "to": now.map(value)}));
        }
    }

    fn print(&self, from: &Opened, to: &Opened, as_json: bool) -> Result<(), Failure> {
        let count = |what| self.counts.get(what).copied().unwrap_or_default();
        let (added, removed, changed) = (count("added"), count("removed"), count("changed"));
        if as_json {
            return output::json(&json!({
                "set": to.head.set,
                "from_version": from.head.version,
                "to_version": to.head.version,
                "added": added, "removed": removed, "changed": changed, "same": self.same,
                "keys": self.shown,
            }));
        }
        output::line(&format!(
            "version {} to {}: {added} added, {removed} removed, {changed} changed, {} the same",
            from.head.version, to.head.version, self.same
        ))?;
        let mut table = output::table(["", "tag", "from", "to"]);
        for shown in &self.shown {
            let text = |field: &str| shown[field].as_object().map_or_else(|| "-".to_owned(), describe);
            let tag = shown["tag"].as_str().unwrap_or_default();
            table.add_row([shown["what"].as_str().unwrap_or_default(), tag, &text("from"), &text("to")]);
        }
        if self.shown.is_empty() { Ok(()) } else { output::print(&table, "") }
    }
}

fn value((record, profile): &Said<'_>) -> Value {
    json!({
        "status": record.status.as_str(),
        "deadline": record.deadline,
        "subject": record.subject,
        "number": record.number,
        "foreign": record.foreign,
        "kind": profile.kind.as_str(),
        "environment": profile.environment.as_str(),
        "tier": profile.tier,
        "scopes": profile.scopes,
    })
}

/// One line for people.
fn describe(said: &serde_json::Map<String, Value>) -> String {
    let status = said["status"].as_str().unwrap_or_default();
    let deadline = said["deadline"].as_u64().map_or_else(String::new, |at| format!(" until {at}"));
    let scopes = said["scopes"].as_array().map_or(0, Vec::len);
    output::printable(&format!("{status}{deadline}, prn_{}, {scopes} scopes", said["subject"]))
}
