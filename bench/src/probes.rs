//! Whether anything is accepted that is no key.

use anyhow::Result;
use nightlatch_keyset::Tag;

use crate::facts::fact;
use crate::random::Random;
use crate::world::{Tags, World, random_tag};

/// Keys of which every bit is turned.
const MUTATED: u64 = 1_000;

/// Counts what random probes and single turned bits get past the set.
pub(crate) fn measure(keys: u32, probes: u64) -> Result<()> {
    let world = World::new(Tags::Random, false)?;
    let files = world.base(keys)?;
    let (replica, author) = world.start(&files)?;
    let bits = author.replica().layout().tag_bits();
    let accepted = |tag: &Tag| !matches!(replica.lookup(tag), Ok(None));

    let mut random = Random(11);
    let mut false_accepts = 0_u64;
    for _ in 0..probes {
        let mut bytes = [0; Tag::LEN];
        bytes[..8].copy_from_slice(&random.next().to_le_bytes());
        bytes[8..16].copy_from_slice(&random.next().to_le_bytes());
        false_accepts += u64::from(accepted(&Tag::from_bytes(bytes)));
    }
    fact("probes.asked", probes as f64);
    fact("probes.accepted", false_accepts as f64);

    let mut turned = 0_u64;
    for number in 0..MUTATED.min(keys.into()) {
        for bit in 0..bits as usize {
            let mut bytes = *random_tag(number).as_bytes();
            bytes[bit / 8] ^= 0x80 >> (bit % 8);
            turned += u64::from(accepted(&Tag::from_bytes(bytes)));
        }
    }
    fact("probes.turned_accepted", turned as f64);
    Ok(())
}
