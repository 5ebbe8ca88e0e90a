//! A base's index: who it is, its profiles, and where everything is. FORMAT.md draws its bytes.

use alloc::string::String;
use alloc::vec::Vec;

use sha2::{Digest as _, Sha256};

use crate::codec::{Malformed, Reader, is_id, put_id};
use crate::layout::{Columns, Layout};
use crate::profile::{FLAGS, FLAGS_BEFORE, Profile, decode_section};
use crate::{Hash, MAX_ID_LEN};

/// The version of the base's format.
pub const BASE_FORMAT: u16 = 3;
/// The version before it, which is still read. Its profiles have no flag *refused*.
pub(crate) const BASE_FORMAT_BEFORE: u16 = 2;
/// The most bytes of a part.
pub const MAX_PART_LEN: usize = 24 << 20;
/// The most parts of a base.
pub const MAX_PARTS: usize = 64;

const MAGIC: &[u8; 6] = b"NLBASE";
const HEADER_LEN: usize = 64 + 4 * MAX_ID_LEN;
/// Leaves under one node.
const LEAVES_PER_NODE: usize = 64;

/// Which base this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseInfo {
    /// The set's id.
    pub set: String,
    /// The workspace it belongs to.
    pub workspace: String,
    /// The pepper its tags are made with.
    pub pepper: String,
    /// How often the set was recovered.
    pub incarnation: u64,
    /// The base's number.
    pub epoch: u64,
    /// The version at which the epoch begins.
    pub version: u64,
    /// Unix seconds: keys that had ended before were left out.
    pub cutoff: u64,
}

impl BaseInfo {
    /// Whether all ids are ids.
    pub(crate) fn check(&self) -> Result<(), Malformed> {
        let ids = [&self.set, &self.workspace, &self.pepper];
        if ids.iter().all(|id| is_id(id.as_bytes())) { Ok(()) } else { Err(Malformed::Value("id")) }
    }
}

/// An index whose core has the signed hash. The leaves and the directory after it are checked by whoever uses them.
#[derive(Clone)]
pub struct Index {
    info: BaseInfo,
    format: u16,
    layout: Layout,
    profiles: Vec<Profile>,
    bytes: Vec<u8>,
    ranks_at: usize,
    nodes_at: usize,
    leaves_at: usize,
    directory_at: usize,
    root: Hash,
}

impl Index {
    /// Reads an index. Beside its bytes, which are kept as they are, it allocates for the profiles only, less than 16 times
    /// their bytes.
    ///
    /// # Errors
    /// [`Malformed`] where the core does not have the hash `root`, or this is no index.
    pub fn open(bytes: Vec<u8>, root: &Hash) -> Result<Self, Malformed> {
        let mut reader = Reader::new(&bytes);
        if &reader.array::<6>("header")? != MAGIC {
            return Err(Malformed::Magic);
        }
        let format = reader.u16("header")?;
        let flags = match format {
            BASE_FORMAT => FLAGS,
            BASE_FORMAT_BEFORE => FLAGS_BEFORE,
            other => return Err(Malformed::Version(other)),
        };
        let (incarnation, epoch) = (reader.u64("header")?, reader.u64("header")?);
        let (version, cutoff) = (reader.u64("header")?, reader.u64("header")?);
        let keys = reader.u32("header")?;
        let profile_count = reader.u32("header")? as usize;
        let profiles_len = reader.u32("header")? as usize;
        let bucket_bits = reader.u8("header")?;
        let columns = Columns::from_code(reader.u8("header")?).ok_or(Malformed::Value("columns"))?;
        let layout = Layout::new(bucket_bits, columns)?;
        reader.zeros(10, "header")?;
        let (set, workspace) = (reader.id("set id")?, reader.id("workspace id")?);
        let pepper = reader.id("pepper id")?;
        reader.zeros(MAX_ID_LEN, "header")?;
        let profiles = reader.take(profiles_len, "profiles")?;

        let segments = layout.segments();
        let ranks_at = HEADER_LEN + profiles_len;
        let ranks = reader.take(4 * (segments + 1), "ranks")?;
        let nodes_at = ranks_at + 4 * (segments + 1);
        reader.take(32 * segments.div_ceil(LEAVES_PER_NODE), "nodes")?;
        let leaves_at = nodes_at + 32 * segments.div_ceil(LEAVES_PER_NODE);
        // Nothing of what was read so far is believed before this.
        if Hash::of(&bytes[..leaves_at]) != *root {
            return Err(Malformed::Hash("the base's index"));
        }
        reader.take(32 * segments, "leaves")?;
        let directory_at = leaves_at + 32 * segments;
        reader.take(layout.directory_len(), "directory")?;
        reader.finish()?;
        check_ranks(ranks, keys)?;
        let profiles = decode_section(profiles, profile_count, flags)?;
        let info = BaseInfo { set, workspace, pepper, incarnation, epoch, version, cutoff };
        Ok(Self { info, format, layout, profiles, bytes, ranks_at, nodes_at, leaves_at, directory_at, root: *root })
    }

    /// Which base this is.
    pub fn info(&self) -> &BaseInfo {
        &self.info
    }

    /// Its bytes and its root as the program of the format before writes them: with another number, which the root covers.
    /// `None` where that one knows no such profiles.
    pub(crate) fn in_format_before(self) -> Option<(Vec<u8>, Hash)> {
        if self.profiles.iter().any(|profile| profile.refused) {
            return None;
        }
        let mut bytes = self.bytes;
        bytes[6..8].copy_from_slice(&BASE_FORMAT_BEFORE.to_le_bytes());
        let root = Hash::of(&bytes[..self.leaves_at]);
        Some((bytes, root))
    }

    /// The version of its format.
    pub(crate) fn format(&self) -> u16 {
        self.format
    }

    /// How its keys are laid out.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// How many keys it has.
    pub fn keys(&self) -> u64 {
        u64::from(self.rank(self.layout.segments()))
    }

    /// Its profiles, by number.
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// The hash of its core.
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The slot that a segment begins with; for the number of segments, the number of keys.
    pub(crate) fn rank(&self, segment: usize) -> u32 {
        let at = self.ranks_at + 4 * segment;
        self.bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// How many keys a segment has.
    pub(crate) fn segment_len(&self, segment: usize) -> usize {
        (self.rank(segment + 1) - self.rank(segment)) as usize
    }

    /// The segment of a slot, which must be one.
    pub(crate) fn segment_of_slot(&self, slot: u32) -> usize {
        let (mut low, mut high) = (0, self.layout.segments());
        while high - low > 1 {
            let middle = (low + high) / 2;
            if self.rank(middle) <= slot { low = middle } else { high = middle }
        }
        low
    }

    /// Where in its segment a bucket's keys are.
    #[inline]
    pub(crate) fn bucket(&self, layout: Layout, bucket: usize, segment: usize) -> core::ops::Range<usize> {
        debug_assert_eq!(layout.segment_of(bucket), segment);
        let at = self.directory_at + 2 * (bucket + segment);
        let Some(&[a, b, c, d]) = self.bytes.get(at..).and_then(<[u8]>::first_chunk) else { return 0..0 };
        usize::from(u16::from_le_bytes([a, b]))..usize::from(u16::from_le_bytes([c, d]))
    }

    /// A segment's piece of the directory.
    pub(crate) fn directory(&self, segment: usize) -> &[u8] {
        &self.bytes[self.directory_range(segment)]
    }

    /// The same, to be replaced.
    pub(crate) fn directory_mut(&mut self, segment: usize) -> &mut [u8] {
        let range = self.directory_range(segment);
        &mut self.bytes[range]
    }

    /// The whole directory.
    pub(crate) fn whole_directory(&self) -> &[u8] {
        &self.bytes[self.directory_at..]
    }

    fn directory_range(&self, segment: usize) -> core::ops::Range<usize> {
        let stride = self.layout.directory_stride();
        let at = self.directory_at + segment * stride;
        at..at + stride
    }

    /// Which of the nodes a segment's leaf belongs to.
    pub(crate) fn node_of(segment: usize) -> usize {
        segment / LEAVES_PER_NODE
    }

    /// Checks a node's leaves, which lie outside the core.
    pub(crate) fn check_node(&self, node: usize) -> Result<(), Malformed> {
        let leaves = &self.bytes[self.leaves_at..self.directory_at];
        let first = node * 32 * LEAVES_PER_NODE;
        let leaves = &leaves[first..leaves.len().min(first + 32 * LEAVES_PER_NODE)];
        let at = self.nodes_at + 32 * node;
        if node_hash(leaves) == self.bytes[at..at + 32] { Ok(()) } else { Err(Malformed::Hash("a node of the base")) }
    }

    /// Checks a segment's block against its leaf, which [`Self::check_node`] has found good.
    pub(crate) fn check_leaf(&self, segment: usize, block: &[u8]) -> Result<(), Malformed> {
        let at = self.leaves_at + 32 * segment;
        if leaf_hash(segment, self.directory(segment), block) != self.bytes[at..at + 32] {
            return Err(Malformed::Hash("a segment of the base"));
        }
        self.check_directory(segment)
    }

    /// Whether a segment's piece of the directory is one: a lookup takes for granted that it is.
    fn check_directory(&self, segment: usize) -> Result<(), Malformed> {
        let places = self.directory(segment).as_chunks::<2>().0.iter().map(|b| usize::from(u16::from_le_bytes(*b)));
        let ends_right = places.clone().next_back() == Some(self.segment_len(segment));
        if ends_right && places.clone().next() == Some(0) && places.is_sorted() {
            Ok(())
        } else {
            Err(Malformed::Order("directory"))
        }
    }

    /// The segments that each part holds.
    pub(crate) fn parts(&self) -> impl Iterator<Item = core::ops::Range<usize>> + '_ {
        let lens = (0..self.layout.segments()).map(|segment| self.layout.block_len(self.segment_len(segment)));
        cut_parts(lens)
    }

    /// The bytes of each part.
    pub fn part_lens(&self) -> Vec<u64> {
        let len = |part: core::ops::Range<usize>| {
            let keys = (self.rank(part.end) - self.rank(part.start)) as usize;
            self.layout.block_len(keys) as u64
        };
        self.parts().map(len).filter(|&len| len > 0).collect()
    }

    /// How a part can be cut into pieces of about `len` bytes, none of which ends within a segment: the bytes of each.
    pub fn piece_lens(&self, part: usize, len: usize) -> Vec<usize> {
        let mut pieces: Vec<usize> = Vec::new();
        // As `cut_parts` does, in fewer bytes of code: edges need nothing else of it.
        let (mut number, mut filled) = (0, 0);
        for segment in 0..self.layout.segments() {
            let block = self.layout.block_len(self.segment_len(segment));
            if filled + block > MAX_PART_LEN {
                (number, filled) = (number + 1, 0);
            }
            filled += block;
            if number == part && block > 0 {
                match pieces.last_mut() {
                    Some(piece) if *piece + block <= len => *piece += block,
                    _ => pieces.push(block),
                }
            }
        }
        pieces
    }

    /// Checks every segment of a part.
    ///
    /// # Errors
    /// [`Malformed`] where it is not that part of this base.
    pub fn check_part(&self, part: usize, bytes: &[u8]) -> Result<(), Malformed> {
        let segments = self.parts().nth(part).ok_or(Malformed::Value("part"))?;
        let mut reader = Reader::new(bytes);
        let mut checked = None;
        for segment in segments {
            let node = Self::node_of(segment);
            if checked.replace(node) != Some(node) {
                self.check_node(node)?;
            }
            let len = self.layout.block_len(self.segment_len(segment));
            self.check_leaf(segment, reader.take(len, "part")?)?;
        }
        reader.finish()
    }
}

fn check_ranks(ranks: &[u8], keys: u32) -> Result<(), Malformed> {
    let ranks = ranks.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
    if ranks.clone().next() != Some(0) || ranks.clone().next_back() != Some(keys) || !ranks.clone().is_sorted() {
        return Err(Malformed::Order("ranks"));
    }
    if ranks.clone().zip(ranks.skip(1)).any(|(rank, next)| next - rank > u32::from(u16::MAX)) {
        return Err(Malformed::Value("ranks"));
    }
    Ok(())
}

/// Which segments go into each part: as many whole blocks as fit.
pub(crate) fn cut_parts(lens: impl Iterator<Item = usize>) -> impl Iterator<Item = core::ops::Range<usize>> {
    let mut lens = lens.enumerate().peekable();
    core::iter::from_fn(move || {
        let (first, mut len) = lens.next()?;
        let mut end = first + 1;
        while let Some((segment, more)) = lens.next_if(|(_, more)| len + more <= MAX_PART_LEN) {
            (len, end) = (len + more, segment + 1);
        }
        Some(first..end)
    })
}

/// The hash of a segment.
pub(crate) fn leaf_hash(segment: usize, directory: &[u8], block: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update((segment as u32).to_le_bytes());
    hash.update(directory);
    hash.update(block);
    hash.finalize().into()
}

fn node_hash(leaves: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(leaves);
    hash.finalize().into()
}

/// What an index is written from.
pub(crate) struct IndexDraft<'a> {
    pub(crate) format: u16,
    pub(crate) info: &'a BaseInfo,
    pub(crate) layout: Layout,
    pub(crate) profile_count: usize,
    pub(crate) profiles: &'a [u8],
    /// Of each segment, its number of keys.
    pub(crate) lens: &'a [u32],
    pub(crate) leaves: &'a [[u8; 32]],
    pub(crate) directory: &'a [u8],
}

impl IndexDraft<'_> {
    /// The index's bytes, and the hash of its core.
    pub(crate) fn encode(&self) -> Result<(Vec<u8>, Hash), Malformed> {
        let len = |len: usize, what| u32::try_from(len).map_err(|_| Malformed::Value(what));
        let keys = self.lens.iter().try_fold(0_u32, |sum, &len| sum.checked_add(len));
        let keys = keys.ok_or(Malformed::Value("key count"))?;
        let mut out = Vec::with_capacity(
            HEADER_LEN + self.profiles.len() + 4 + 36 * self.lens.len() + self.directory.len() + 32 * self.leaves.len(),
        );
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.format.to_le_bytes());
        for number in [self.info.incarnation, self.info.epoch, self.info.version, self.info.cutoff] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [keys, len(self.profile_count, "profiles")?, len(self.profiles.len(), "profiles")?] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&[self.layout.bucket_bits(), self.layout.columns().code()]);
        out.resize(64, 0);
        put_id(&mut out, &self.info.set);
        put_id(&mut out, &self.info.workspace);
        put_id(&mut out, &self.info.pepper);
        out.resize(HEADER_LEN, 0);
        out.extend_from_slice(self.profiles);
        let mut rank = 0_u32;
        for len in self.lens {
            out.extend_from_slice(&rank.to_le_bytes());
            rank += len;
        }
        out.extend_from_slice(&rank.to_le_bytes());
        for leaves in self.leaves.chunks(LEAVES_PER_NODE) {
            out.extend_from_slice(&node_hash(leaves.as_flattened()));
        }
        let root = Hash::of(&out);
        out.extend_from_slice(self.leaves.as_flattened());
        out.extend_from_slice(self.directory);
        Ok((out, root))
    }
}
