//! The next epoch: what it takes the publisher, and what a replica that builds it from what it has.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use nightlatch_keyset::{Author, Delta, Hash, Head, Rebased, Replica, Status, Tag};

use crate::changes::Changes;
use crate::facts::{fact, ms};
use crate::rounds::median;
use crate::world::{NOW, Tags, World, lengths};

/// Changes before the rebase.
const CHANGES: u64 = 20_000;

/// How often a replica does it.
const ROUNDS: usize = 5;

/// Times of the whole and of the longest slice.
pub(crate) fn measure(keys: u32) -> Result<()> {
    let world = World::new(Tags::Random, true)?;
    let files = world.base(keys)?;
    let (_, mut author) = world.start(&files)?;
    let mut head = world.head(&files)?;
    let before = head.clone();
    let batch = Changes::new(&world, keys).next(CHANGES);
    let ended = batch.iter().filter(|change| change.status == Status::Revoked).map(|change| change.tag).collect();
    let authored = author.next(&batch, &[], &world.signer)?;
    let delta = Delta::open(&authored.bytes, &[world.signer.verifier()])?;
    let version = author.replica().version();

    let start = Instant::now();
    let rebased = rebase(&author, &ended)?;
    fact(format!("rebase.{keys}.publisher"), ms(start.elapsed()));
    fact(format!("rebase.{keys}.record"), rebased.record.as_ref().map_or(f64::NAN, |record| record.len() as f64));
    follow(&mut head, &author, &rebased);
    let record = rebased.record.context("the layout stays, so there is a record")?;

    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let refused = |error| anyhow!("{error}");
        let mut replica = Replica::load(files.index.clone(), files.parts.clone(), &before).map_err(refused)?;
        replica.advance_to(core::slice::from_ref(&delta), version, &authored.commitment).map_err(refused)?;
        rounds.push(slices(&mut replica, &record, &head)?);
    }
    // A slice counts with the median of its rounds: the longest is then one that takes long, and not one that was
    // interrupted.
    let slices = rounds[0].len();
    let medians = (0..slices).map(|slice| median(&mut rounds.iter().map(|round| round[slice]).collect::<Vec<_>>()));
    let medians: Vec<f64> = medians.collect();
    fact(format!("rebase.{keys}.native"), medians.iter().sum());
    fact(format!("rebase.{keys}.native_longest"), medians.iter().copied().fold(0.0, f64::max));
    Ok(())
}

/// The base after the one that the author publishes from, without the ended keys.
pub(crate) fn rebase(author: &Author, ended: &BTreeSet<Tag>) -> Result<Rebased> {
    Ok(author.rebase(NOW / 1_000, author.replica().layout(), ended)?)
}

/// Makes `head` that of the new base.
pub(crate) fn follow(head: &mut Head, author: &Author, rebased: &Rebased) {
    let files = &rebased.files;
    head.epoch += 1;
    head.version = author.replica().version() + 1;
    head.commitment = author.replica().commitment().then(&files.root);
    head.keys = files.keys;
    (head.base_version, head.base_commitment) = (head.version, head.commitment);
    (head.base_root, head.base_len, head.base_parts) = (files.root, files.index.len() as u64, lengths(files));
    head.rebase = rebased.record.as_ref().map(|record| (Hash::of(record), record.len() as u64));
}

/// Runs all slices, and says how many milliseconds each took.
fn slices(replica: &mut Replica, record: &[u8], head: &Head) -> Result<Vec<f64>> {
    let refused = |error| anyhow!("{error}");
    let start = Instant::now();
    replica.begin_rebase(record, head).map_err(refused)?;
    let mut slices = vec![ms(start.elapsed())];
    loop {
        let start = Instant::now();
        let done = replica.rebase_step().map_err(refused)?;
        slices.push(ms(start.elapsed()));
        if done {
            return Ok(slices);
        }
    }
}
