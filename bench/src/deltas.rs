//! Deltas of a thousand changes: their bytes, and what applying them takes.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};
use nightlatch_keyset::{Change, Delta};

use crate::changes::{Changes, bound};
use crate::facts::{fact, ms};
use crate::rounds::median;
use crate::world::{Tags, World};

/// Changes in a delta.
const COUNT: u64 = 1_000;
/// Deltas that are made and applied.
const DELTAS: usize = 12;

/// Bytes against the bound and against others, and times.
pub(crate) fn measure(keys: u32, zstd: bool) -> Result<()> {
    let world = World::new(Tags::Random, true)?;
    let files = world.base(keys)?;
    let (mut replica, mut author) = world.start(&files)?;
    drop(files);
    let verifiers = [world.signer.verifier()];
    let mut changes = Changes::new(&world, keys);
    let (mut made, mut opened, mut applied) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..DELTAS {
        let batch = changes.next(COUNT);
        if number == 0 && zstd {
            fact(format!("delta.{keys}.zstd"), patch(&world, keys, &batch)? as f64);
        }
        let start = Instant::now();
        let authored = author.next(&batch, &[], &world.signer)?;
        made.push(ms(start.elapsed()));
        if number == 0 {
            let bits = author.replica().layout().tag_bits();
            fact(format!("delta.{keys}.file"), authored.bytes.len() as f64);
            fact(format!("delta.{keys}.payload"), body_len(&authored.bytes)? as f64);
            fact(format!("delta.{keys}.bound"), bound(COUNT, keys, bits, true));
        }
        let start = Instant::now();
        let delta = Delta::open(&authored.bytes, &verifiers)?;
        opened.push(ms(start.elapsed()));
        let (version, commitment) = (author.replica().version(), authored.commitment);
        let start = Instant::now();
        replica.advance_to(&[delta], version, &commitment).map_err(|error| anyhow!("{error}"))?;
        applied.push(ms(start.elapsed()));
    }
    ensure!(replica.commitment() == author.replica().commitment(), "the replica is not where the publisher is");
    fact(format!("apply.{keys}.first"), applied[0]);
    fact(format!("apply.{keys}.warm"), median(&mut applied[1..]));
    fact(format!("apply.{keys}.open"), median(&mut opened));
    fact(format!("author.{keys}.delta"), median(&mut made));
    Ok(())
}

/// Bytes of a delta without the signed statement before it.
pub(crate) fn body_len(file: &[u8]) -> Result<usize> {
    let note = file.first_chunk::<4>().context("a delta begins with its note's length")?;
    Ok(file.len() - 4 - u32::from_le_bytes(*note) as usize)
}

/// What `zstd -19 --patch-from` makes of sorted plain rows, before and after the changes.
fn patch(world: &World, keys: u32, changes: &[Change<'_>]) -> Result<u64> {
    // Without subjects, which is to zstd's advantage: beyond 128 MiB it forgets where the old rows began.
    const ROW: usize = 16 + 3 + 4;
    let row = |change: &Change<'_>| {
        let mut row = [0; ROW];
        row[..16].copy_from_slice(&change.tag.as_bytes()[..16]);
        row[16] = change.status as u8;
        let profile: u16 = change.profile.scopes[0][6..10].parse().unwrap_or_default();
        row[17..19].copy_from_slice(&profile.to_le_bytes());
        row[19..].copy_from_slice(&(change.deadline.unwrap_or_default() as u32).to_le_bytes());
        row
    };
    let mut rows: Vec<[u8; ROW]> = (0..u64::from(keys)).map(|number| row(&world.key(number))).collect();
    rows.sort_unstable();
    let before = rows.concat();
    let mut added = Vec::new();
    for change in changes {
        let changed = row(change);
        match rows.binary_search_by(|row| row[..16].cmp(&changed[..16])) {
            Ok(at) => rows[at] = changed,
            Err(_) => added.push(changed),
        }
    }
    rows.append(&mut added);
    rows.sort_unstable();
    let after = rows.concat();

    let place = std::env::temp_dir().join(format!("nightlatch-bench-{}", std::process::id()));
    fs::create_dir_all(&place)?;
    fs::write(place.join("before"), before)?;
    fs::write(place.join("after"), after)?;
    let command = ["-19", "-qq", "--force", "--patch-from=before", "after", "-o", "patch"];
    let status = Command::new("zstd").args(command).current_dir(&place).status().context("running zstd");
    let patch = fs::metadata(place.join("patch"));
    fs::remove_dir_all(&place)?;
    ensure!(status?.success(), "zstd failed");
    Ok(patch?.len())
}
