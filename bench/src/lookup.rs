//! Lookups and memory, ours and others'.

use std::hint::black_box;

use anyhow::Result;
use nightlatch_keyset::{Replica, Tag};
use xorf::Filter;

use crate::facts::fact;
use crate::peers::{Key, Peers, hash, key};
use crate::random::Random;
use crate::rounds::{Contender, interleaved, per_step};
use crate::world::{Tags, World, random_tag};

/// Distinct queries of a round, at most.
const QUERIES: usize = 1_000_000;

/// Nanoseconds per lookup and bytes per key.
pub(crate) fn measure(keys: u32, rounds: usize) -> Result<()> {
    let world = World::new(Tags::Random, true)?;
    let files = world.base(keys)?;
    let (replica, _) = world.start(&files)?;
    drop(files);
    let tags: Vec<Tag> = (0..u64::from(keys)).map(random_tag).collect();
    let peers = Peers::of(&tags)?;

    let per_key = |bytes: usize| bytes as f64 / f64::from(keys);
    let [fuse8, fuse16] = peers.filter_bytes();
    for (who, bytes) in [
        ("ours", replica.memory()),
        ("fast", peers.fast.allocation_size()),
        ("sorted", size_of_val(peers.sorted.as_slice())),
        ("fuse8", fuse8),
        ("fuse16", fuse16),
    ] {
        fact(format!("ram.{keys}.{who}"), per_key(bytes));
    }

    let mut random = Random(7);
    let count = QUERIES.min(keys as usize);
    let mut order: Vec<usize> = (0..keys as usize).collect();
    random.shuffle(&mut order);
    let hits: Vec<Tag> = order[..count].iter().map(|&number| tags[number]).collect();
    let misses: Vec<Tag> = (0..count as u64).map(|number| random_tag(u64::from(keys) * 16 + number)).collect();
    drop((tags, order));
    for (kind, queries) in [("hit", hits.as_slice()), ("miss", &misses)] {
        let mut contenders = independent(&replica, &peers, queries);
        for (who, ns) in interleaved(rounds, &mut contenders) {
            fact(format!("lookup.{keys}.{kind}.{who}"), ns);
        }
    }
    for (who, ns) in interleaved(rounds, &mut dependent(&replica, &peers, &hits)) {
        fact(format!("lookup.{keys}.dependent.{who}"), ns);
    }
    Ok(())
}

/// Lookups that know nothing of each other: the processor runs several at once.
fn independent<'a>(replica: &'a Replica, peers: &'a Peers, queries: &'a [Tag]) -> Vec<Contender<'a>> {
    let count = queries.len();
    let keys: Vec<Key> = queries.iter().map(key).collect();
    let with = |ask: Box<dyn Fn(&Key) -> u64 + 'a>| {
        let keys = keys.clone();
        Box::new(move || per_step(count, || keys.iter().map(&ask).sum()))
    };
    // A call through a box costs a peer nanoseconds that it does not owe, so the two maps have loops of their own.
    let (fast, std) = (keys.clone(), keys.clone());
    vec![
        ("ours", Box::new(move || per_step(count, || queries.iter().map(|tag| ours(replica, tag)).sum()))),
        ("fast", Box::new(move || per_step(count, || fast.iter().map(|key| value(peers.fast.get(key))).sum()))),
        ("std", Box::new(move || per_step(count, || std.iter().map(|key| value(peers.std.get(key))).sum()))),
        ("sorted", with(Box::new(|key| peers.sorted.binary_search(key).map_or(0, |at| at as u64)))),
        ("fuse8", with(Box::new(|key| peers.fuse8.contains(&hash(key)).into()))),
        ("fuse16", with(Box::new(|key| peers.fuse16.contains(&hash(key)).into()))),
    ]
}

/// Lookups of which each must have the result of the one before: what one request waits for.
fn dependent<'a>(replica: &'a Replica, peers: &'a Peers, queries: &'a [Tag]) -> Vec<Contender<'a>> {
    let count = queries.len();
    let keys: Vec<Key> = queries.iter().map(key).collect();
    let (fast, std) = (keys.clone(), keys);
    // Zero, which the compiler cannot know.
    let none = black_box(0_u64);
    vec![
        ("ours", Box::new(move || per_step(count, || chain(count, none, |at| ours(replica, &queries[at]))))),
        ("fast", Box::new(move || per_step(count, || chain(count, none, |at| value(peers.fast.get(&fast[at])))))),
        ("std", Box::new(move || per_step(count, || chain(count, none, |at| value(peers.std.get(&std[at])))))),
    ]
}

fn chain(count: usize, none: u64, ask: impl Fn(usize) -> u64) -> u64 {
    (0..count).fold(0, |last, at| ask(at + (last & none) as usize))
}

fn ours(replica: &Replica, tag: &Tag) -> u64 {
    match replica.lookup(tag) {
        Ok(Some(record)) => u64::from(record.subject) + u64::from(record.profile),
        _ => 0,
    }
}

fn value(payload: Option<&[u32; 3]>) -> u64 {
    payload.map_or(0, |payload| u64::from(payload[0]) + u64::from(payload[2]))
}
