//! The tree over all entries of a log: RFC 9162, section 2.1, with SHA-256.
//!
//! A log only grows, so what is kept of its tree are the roots of the perfect trees that it is made of, its *peaks*: one for
//! each bit of the count. For proofs, the roots of all perfect trees of 2^8, 2^16, … entries are kept beside the
//! entries' own hashes: any node is then at most a [`Block`] of 256 away from nodes that are kept.

use alloc::vec::Vec;

use nightlatch_keyset::Hash;
use sha2::{Digest as _, Sha256};

/// Levels between nodes that are kept.
pub const BAND: u32 = 8;

/// The leaf of an entry with this hash.
pub fn leaf(entry: &Hash) -> Hash {
    Hash(Sha256::new_with_prefix([0]).chain_update(entry.0).finalize().into())
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Hash(Sha256::new_with_prefix([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The tree of a log's first entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    count: u64,
    /// The largest first.
    peaks: Vec<Hash>,
}

impl Tree {
    /// From the peaks that [`Self::peaks`] gave; `None` where there cannot be so many.
    pub fn new(count: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == count.count_ones() as usize).then_some(Self { count, peaks })
    }

    /// From kept nodes: those of each [`Span`] of [`Span::of_peaks`], in that order. `None` where one has others.
    pub fn from_spans(count: u64, spans: &[Vec<Hash>]) -> Option<Self> {
        let wanted = Span::of_peaks(count);
        if wanted.len() != spans.len() || wanted.iter().zip(spans).any(|(span, nodes)| span.len != nodes.len() as u64) {
            return None;
        }
        let mut peaks = Vec::new();
        for nodes in spans {
            // A span begins where all of its nodes are the left ones of what comes above.
            let mut own = Vec::new();
            for (index, hash) in nodes.iter().enumerate() {
                rise(&mut own, index as u64, *hash, |_, _, _| {});
            }
            peaks.append(&mut own);
        }
        Self::new(count, peaks)
    }

    /// How many entries it has.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The roots of the perfect trees that it is made of, the largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Appends an entry by its hash. `kept` hears of every node to be kept: its level, its place among those, its hash.
    pub fn push(&mut self, entry: &Hash, kept: impl FnMut(u32, u64, Hash)) {
        rise(&mut self.peaks, self.count, leaf(entry), kept);
        self.count += 1;
    }

    /// The root: the hash of nothing where there are no entries.
    pub fn root(&self) -> Hash {
        bag(&self.peaks).unwrap_or_else(|| Hash::of(&[]))
    }

    /// How to get from an entry, counted from 0, to the root. `blocks` are those of [`block_of`] for each band, from the
    /// entry's up. `None` where the tree does not have it, or blocks are missing.
    pub fn path(&self, index: u64, blocks: &[&Block]) -> Option<Vec<Hash>> {
        let (height, place) = mountain(index, self.count)?;
        let mut path = Vec::new();
        for (band, block) in (0..height).step_by(BAND as usize).zip(blocks) {
            block.siblings(index >> band, (height - band).min(BAND), &mut path)?;
        }
        if path.len() != height as usize {
            return None;
        }
        path.extend(bag(self.peaks.get(place + 1..)?));
        path.extend(self.peaks.get(..place)?.iter().rev());
        Some(path)
    }
}

/// Puts the node of level 0 at `index` on the peaks before it, and joins what is whole by it.
fn rise(peaks: &mut Vec<Hash>, index: u64, mut hash: Hash, mut kept: impl FnMut(u32, u64, Hash)) {
    let (mut level, mut place) = (0, index);
    while place & 1 == 1
        && let Some(left) = peaks.pop()
    {
        hash = node(&left, &hash);
        level += 1;
        place >>= 1;
        if level % BAND == 0 {
            kept(level, place, hash);
        }
    }
    peaks.push(hash);
}

/// The root over peaks; `None` over none.
fn bag(peaks: &[Hash]) -> Option<Hash> {
    let (last, rest) = peaks.split_last()?;
    Some(rest.iter().rev().fold(*last, |right, left| node(left, &right)))
}

/// In which of a tree's perfect trees an entry is, counted from 0: that one's height, and its place among the peaks.
pub fn mountain(index: u64, count: u64) -> Option<(u32, usize)> {
    if index >= count {
        return None;
    }
    let mut begin = 0;
    let bits = (0..u64::BITS).rev().filter(|bit| count >> bit & 1 == 1);
    bits.enumerate().find_map(|(place, height)| {
        begin += 1 << height;
        (index < begin).then_some((height, place))
    })
}

/// Kept nodes next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Their level: a multiple of [`BAND`]; at 0 they are leaves.
    pub level: u32,
    /// The first one's place in its level.
    pub first: u64,
    /// How many: at most 256.
    pub len: u64,
}

impl Span {
    /// What a tree's peaks are made from: for every band the nodes that no node above covers.
    pub fn of_peaks(count: u64) -> Vec<Self> {
        let bands = (0..u64::BITS).step_by(BAND as usize).rev();
        let span = |level| {
            let there = count >> level;
            let len = there & ((1 << BAND) - 1);
            Self { level, first: there - len, len }
        };
        bands.map(span).filter(|span| span.len > 0).collect()
    }
}

/// The nodes at `level`, a multiple of [`BAND`], that an entry's way to the top of its perfect tree of height `height` leads
/// through: itself, and those it is joined with before the next kept level.
pub fn block_of(index: u64, level: u32, height: u32) -> Span {
    let width = height.saturating_sub(level).min(BAND);
    Span { level, first: (index >> level) >> width << width, len: 1 << width }
}

/// A perfect tree over kept nodes.
#[derive(Clone, Debug)]
pub struct Block {
    first: u64,
    /// The nodes, then those above, up to the root.
    rows: Vec<Vec<Hash>>,
}

impl Block {
    /// Over the nodes from `first` on; `None` where there are not 1, 2, 4, … or 256.
    pub fn new(first: u64, nodes: Vec<Hash>) -> Option<Self> {
        if !nodes.len().is_power_of_two() || nodes.len() > 1 << BAND {
            return None;
        }
        let mut rows = Vec::new();
        let mut row = nodes;
        while row.len() > 1 {
            let above = row.as_chunks::<2>().0.iter().map(|[left, right]| node(left, right)).collect();
            rows.push(core::mem::replace(&mut row, above));
        }
        rows.push(row);
        Some(Self { first, rows })
    }

    /// What the node at `index` of its level is joined with on its way through `levels` levels.
    fn siblings(&self, index: u64, levels: u32, path: &mut Vec<Hash>) -> Option<()> {
        let mut at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        for row in self.rows.get(..levels as usize)? {
            path.push(*row.get(at ^ 1)?);
            at >>= 1;
        }
        Some(())
    }
}

/// Whether the entry with this hash, at `index` counted from 0, is in the tree of `count` entries with this root. RFC 9162,
/// section 2.1.3.2.
pub fn is_included(entry: &Hash, index: u64, count: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= count {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, count - 1, leaf(entry));
    for other in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(other, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, other);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}
