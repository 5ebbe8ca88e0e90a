//! Bases: an index and the blocks behind it.

use std::collections::BTreeSet;

use nightlatch_keyset::{Base, BaseBuilder, Change, Hash, Index, Layout, Malformed};

use crate::stand::{BASE_KEYS, tag};

const HEADER_LEN: usize = 192;

/// The input is an index and the one part behind it; every hash in it is put right first. A base that is taken and in order
/// finds each of its keys, and built anew from them it is the same.
pub fn base(input: &[u8]) {
    let (index, parts, root) = rehashed(input);
    let opened = Index::open(index.clone(), &root);
    let loaded = Base::load(index.clone(), parts.clone(), &root);
    let Ok(base) = loaded else { return };
    let opened = opened.expect("whoever loads a base opens its index");
    let whole = parts.iter().enumerate().all(|(number, part)| opened.check_part(number, part).is_ok());
    assert_eq!(opened.part_lens(), parts.iter().map(|part| part.len() as u64).collect::<Vec<_>>());
    for number in 0..BASE_KEYS {
        let _ = base.lookup(&tag(number));
    }
    if base.check().is_err() {
        return;
    }
    assert!(whole, "a base is in order and a part of it is not");
    let found: Vec<_> = base.iter().map(|key| key.expect("it was in order")).collect();
    assert_eq!(found.len(), base.len());
    for (tag, record) in &found {
        assert_eq!(base.lookup(tag), Ok(Some(*record)));
    }
    let used: BTreeSet<u32> = found.iter().map(|(_, record)| record.profile).collect();
    if used.len() == base.profiles().len() {
        assert!(rebuilt(&base, &found).is_ok_and(|again| again == (index, parts)), "a base with two spellings");
    }
}

type Files = (Vec<u8>, Vec<Vec<u8>>);

fn rebuilt(base: &Base, keys: &[(nightlatch_keyset::Tag, nightlatch_keyset::Record)]) -> Result<Files, Malformed> {
    let mut builder = BaseBuilder::new(base.info().clone(), base.index().layout(), keys.len() as u64)?;
    for (tag, record) in keys {
        builder.push(&Change {
            tag: *tag,
            status: record.status,
            foreign: record.foreign,
            deadline: record.deadline,
            profile: &base.profiles()[record.profile as usize],
            subject: record.subject,
            number: record.number,
        })?;
    }
    let mut files = builder.finish()?;
    // One of the version before differs in its number only.
    files.index[6] = base.index().as_bytes()[6];
    Ok((files.index, files.parts))
}

/// Cuts an input into an index and a part, as the index's header has it, and makes leaves, nodes and root those of what
/// is there. An input that is too short for that is an index as it stands.
pub fn rehashed(input: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>, Hash) {
    let as_it_stands = || (input.to_vec(), Vec::new(), Hash::of(input));
    let word = |at: usize| input.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize);
    let (Some(profiles), Some(&bucket_bits)) = (word(48), input.get(52)) else { return as_it_stands() };
    let columns = input.get(53).map_or(0, |code| (code & 3).count_ones() as usize);
    let Ok(layout) = Layout::new(bucket_bits, Default::default()) else { return as_it_stands() };
    let segments = 1 << bucket_bits.saturating_sub(9);
    let piece = 2 * ((1 << bucket_bits) / segments + 1);
    let ranks = HEADER_LEN + profiles;
    let nodes = ranks + 4 * (segments + 1);
    let leaves = nodes + 32 * usize::div_ceil(segments, 64);
    let directory = leaves + 32 * segments;
    let end = directory + segments * piece;
    if input.len() < end {
        return as_it_stands();
    }
    let (mut index, part) = (input[..end].to_vec(), &input[end..]);
    let key_len = layout.block_len(1) + 4 * columns;
    let mut rest = part;
    for segment in 0..segments {
        let rank = |segment: usize| word(ranks + 4 * segment).unwrap_or_default();
        let keys = rank(segment + 1).saturating_sub(rank(segment));
        let block = rest.split_off(..(keys.saturating_mul(key_len)).min(rest.len())).unwrap_or_default();
        let at = directory + segment * piece;
        let leaf = [&[0][..], &(segment as u32).to_le_bytes(), &index[at..at + piece], block].concat();
        index[leaves + 32 * segment..][..32].copy_from_slice(&Hash::of(&leaf).0);
    }
    for node in 0..usize::div_ceil(segments, 64) {
        let first = leaves + 32 * 64 * node;
        let hash = Hash::of(&[&[1][..], &index[first..directory.min(first + 32 * 64)]].concat());
        index[nodes + 32 * node..][..32].copy_from_slice(&hash.0);
    }
    let root = Hash::of(&index[..leaves]);
    let parts = if part.is_empty() { Vec::new() } else { vec![part.to_vec()] };
    (index, parts, root)
}
