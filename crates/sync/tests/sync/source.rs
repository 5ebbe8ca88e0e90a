//! An edge's runtime in a few lines: it fetches from a map, and works until there is nothing left to do.

use std::collections::BTreeMap;

use nightlatch_keyset::FileName;
use nightlatch_sync::{Attempt, Edge, EdgeConfig, Offer, Outcome, Refusal, Work};

use crate::common::{self, POLICY, Publisher, pepper};

pub(crate) type Policy = Vec<u8>;
pub(crate) type Files = BTreeMap<FileName, Vec<u8>>;

/// Any base is worth a rebase, and there is room for all.
pub(crate) fn config(publisher: &Publisher) -> EdgeConfig {
    EdgeConfig {
        set: common::SET.into(),
        roots: Vec::new(),
        verifiers: vec![publisher.verifier()],
        peppers: vec![pepper()],
        poll_ms: 1_000,
        room: 1 << 30,
        rebase_from: 0,
    }
}

pub(crate) fn edge(publisher: &Publisher) -> Edge<Policy> {
    Edge::new(config(publisher), None)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Policy, &'static str> {
    if bytes == POLICY { Ok(bytes.to_vec()) } else { Err("not the policy") }
}

/// What it takes to put a head into force, which must be news.
pub(crate) fn attempt(edge: &mut Edge<Policy>, note: &str, now: u64) -> Attempt {
    match edge.offer(note, now) {
        Ok(Offer::News(attempt)) => attempt,
        other => panic!("it should be news: {other:?}"),
    }
}

pub(crate) fn names(attempt: &Attempt) -> Vec<FileName> {
    attempt.fetches().iter().map(|fetch| fetch.name).collect()
}

/// An attempt's files; the name of the first that is missing.
pub(crate) fn fetch(attempt: &Attempt, files: &Files) -> Result<Vec<Vec<u8>>, FileName> {
    attempt.fetches().iter().map(|fetch| files.get(&fetch.name).cloned().ok_or(fetch.name)).collect()
}

/// Works until nothing is left.
pub(crate) fn settle(edge: &mut Edge<Policy>, now: u64) -> Result<(), Refusal> {
    while edge.work(now)? == Work::Left {}
    Ok(())
}

/// Offers a head at `now` and does what a runtime does, up to where work begins. `None` where a file is missing on every
/// way.
pub(crate) fn begin(edge: &mut Edge<Policy>, note: &str, files: &Files, now: u64) -> Result<Option<Outcome>, Refusal> {
    let mut attempt = match edge.offer(note, now)? {
        Offer::Known => return Ok(Some(Outcome::InForce)),
        Offer::NeedsTrust => return Err(Refusal::TrustMissing),
        Offer::Working => return Ok(Some(Outcome::Working)),
        Offer::News(attempt) => attempt,
    };
    loop {
        match fetch(&attempt, files) {
            Ok(fetched) => {
                edge.make_room(&attempt);
                return edge.finish(attempt, fetched, now, decode).map(Some);
            }
            Err(missing) => match edge.by_base(attempt, &missing)? {
                Some(other) => attempt = other,
                None => return Ok(None),
            },
        }
    }
}

/// Offers a head at `now` and does all it takes to have it in force.
pub(crate) fn take(edge: &mut Edge<Policy>, note: &str, files: &Files, now: u64) -> Result<Outcome, Refusal> {
    match begin(edge, note, files, now)?.expect("every file is there") {
        Outcome::Working => settle(edge, now).map(|()| Outcome::InForce),
        other => Ok(other),
    }
}
