//! An edge that was away: how many files lead back, and how many bytes.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow};
use nightlatch_keyset::levels::path;
use nightlatch_keyset::{Change, Delta, FileName};

use crate::changes::Changes;
use crate::facts::fact;
use crate::random::Random;
use crate::world::{NOW, Tags, World};

/// Changes in a version.
const COUNT: u64 = 50;
/// Versions before the edge goes away: an odd place, from which the greatest levels do not lead on.
const OFFSET: u64 = 997;
/// Places from which paths are counted.
const PLACES: u64 = 100_000;

/// Publishes `versions` versions, and follows them by levels, one by one, and as one delta.
pub(crate) fn measure(keys: u32, versions: u64) -> Result<()> {
    let mut random = Random(NOW);
    let lengths = (0..PLACES).map(|_| random.below(1 << 30)).map(|from| path(from, from + versions).count());
    let lengths: Vec<usize> = lengths.collect();
    fact("catch_up.versions", versions as f64);
    fact("catch_up.fetches_max", lengths.iter().max().copied().unwrap_or_default() as f64);
    fact("catch_up.fetches_mean", lengths.iter().sum::<usize>() as f64 / PLACES as f64);

    let world = World::new(Tags::Random, true)?;
    let files = world.base(keys)?;
    let (mut away, mut author) = world.start(&files)?;
    let (_, mut merging) = world.start(&files)?;
    drop(files);
    let verifiers = [world.signer.verifier()];
    let wanted: BTreeSet<(u64, u64)> = path(OFFSET, OFFSET + versions).collect();
    let mut changes = Changes::new(&world, keys);
    let mut missed: Vec<Change<'_>> = Vec::new();
    let (mut levels, mut linear, mut followed) = (0, 0, Vec::new());
    for offset in 1..=OFFSET + versions {
        let batch = changes.next(COUNT);
        if offset > OFFSET {
            missed.extend(batch.iter().cloned());
        }
        let authored = author.next(&batch, &[], &world.signer)?;
        let lowest = Delta::open(&authored.bytes, &verifiers)?;
        if offset <= OFFSET {
            let refused = |error| anyhow!("{error}");
            away.advance_to(&[lowest], offset + 1, &authored.commitment).map_err(refused)?;
            merging.replay(&Delta::open(&authored.bytes, &verifiers)?, authored.bytes.len()).map_err(refused)?;
            continue;
        }
        linear += authored.bytes.len();
        if wanted.contains(&(offset - 1, offset)) {
            levels += authored.bytes.len();
            followed.push(lowest);
        }
        if !wanted.iter().any(|&(from, to)| to == offset && from + 1 < to) {
            continue;
        }
        for (name, bytes) in author.levels(&world.signer)? {
            // Offsets count from the base, which is version 1.
            if matches!(name, FileName::Delta { from, to, .. } if wanted.contains(&(from - 1, to - 1))) {
                levels += bytes.len();
                followed.push(Delta::open(&bytes, &verifiers)?);
            }
        }
    }
    let (version, commitment) = (author.replica().version(), *author.replica().commitment());
    away.advance_to(&followed, version, &commitment).map_err(|error| anyhow!("{error}"))?;
    let merged = merging.next(&missed, &[], &world.signer)?;
    fact("catch_up.fetches", followed.len() as f64);
    fact("catch_up.bytes", levels as f64);
    fact("catch_up.linear", linear as f64);
    fact("catch_up.merged", merged.bytes.len() as f64);
    Ok(())
}
