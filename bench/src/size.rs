//! How large a base is, and how long a replica takes to be ready.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, anyhow};
use nightlatch_keyset::Replica;
use serde_json::Value;

use crate::facts::{choose_of_bits, fact, ms};
use crate::rounds::median;
use crate::world::{Tags, World};

/// How often a base is loaded.
const LOADS: usize = 15;
/// Meta and deadline of a row.
const META: u64 = 3 + 4;
/// Subject of a row.
const SUBJECT: u64 = 4;

/// Bytes per key with and without metadata, and the time to load.
pub(crate) fn measure(keys: u32) -> Result<()> {
    let world = World::new(Tags::Random, true)?;
    let files = world.base(keys)?;
    let count = f64::from(keys);
    let with_subject = files.len() as f64 / count;
    // Everything else is what keys alone take: the index with its hashes and profiles too.
    let keys_only = (files.len() - u64::from(keys) * (META + SUBJECT)) as f64 / count;
    fact(format!("size.{keys}.keys_only"), keys_only);
    fact(format!("size.{keys}.bound"), choose_of_bits(128, keys.into()) / 8.0 / count);
    fact(format!("size.{keys}.meta"), with_subject - SUBJECT as f64);
    fact(format!("size.{keys}.subject"), with_subject);

    let head = world.head(&files)?;
    let mut times = Vec::new();
    for _ in 0..LOADS {
        let (index, parts) = (files.index.clone(), files.parts.clone());
        let start = Instant::now();
        let replica = Replica::load(index, parts, &head).map_err(|error| anyhow!("{error}"))?;
        times.push(ms(start.elapsed()));
        black_box(&replica);
    }
    fact(format!("load.{keys}.native"), median(&mut times));
    if keys == 1_000_000 {
        let json = json(&world, keys);
        let start = Instant::now();
        let parsed: Value = serde_json::from_str(&json)?;
        fact(format!("load.{keys}.json"), ms(start.elapsed()));
        black_box(parsed);
    }
    Ok(())
}

/// The same keys the way JSON has them: `{"tag": [profile, deadline, subject], …}`.
fn json(world: &World, keys: u32) -> String {
    let mut out = String::from("{");
    for number in 0..u64::from(keys) {
        let key = world.key(number);
        let hex: String = key.tag.as_bytes()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let end = if number + 1 == u64::from(keys) { "}" } else { "," };
        out += &format!("\"{hex}\":[{},{},{}]{end}", number % 1_024, key.deadline.unwrap_or_default(), key.subject);
    }
    out
}
