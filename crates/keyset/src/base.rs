//! The base: a whole set at the version where an epoch begins, its bytes used where they lie.

use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::codec::Malformed;
use crate::index::Index;
use crate::layout::{Layout, Parts, REST_SPAN};
use crate::pepper::Tag;
use crate::row::{self, Record};
use crate::scan::{WIDTH, positions};
use crate::{BaseInfo, Hash, Profile};

/// A base in memory. A segment is hashed when it is first touched, and answers nothing before that.
pub struct Base {
    pub(crate) index: Index,
    /// The bytes of the parts; after a rebase, of single segments.
    pub(crate) pieces: Vec<Vec<u8>>,
    /// Where each segment's block begins.
    pub(crate) blocks: Vec<Block>,
    nodes_checked: Marks,
    /// How many segments have been checked.
    checks: AtomicU32,
}

impl Clone for Base {
    fn clone(&self) -> Self {
        Self {
            index: self.index.clone(),
            pieces: self.pieces.clone(),
            blocks: self.blocks.clone(),
            nodes_checked: self.nodes_checked.clone(),
            checks: AtomicU32::new(self.checks()),
        }
    }
}

/// Where a block is.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) piece: u32,
    pub(crate) at: u32,
    /// Keys in it.
    pub(crate) keys: u32,
    /// Whether it has been found to be what was signed. Hashing it twice does no harm.
    pub(crate) checked: AtomicBool,
}

impl Clone for Block {
    fn clone(&self) -> Self {
        let Self { piece, at, keys, ref checked } = *self;
        Self { piece, at, keys, checked: AtomicBool::new(checked.load(Ordering::Acquire)) }
    }
}

/// Where a key was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) segment: usize,
    /// Its place in the segment.
    pub(crate) place: usize,
}

impl Base {
    /// Takes the bytes of a base's files. They are kept as they are, and of the parts only the lengths are looked at.
    ///
    /// A part may come in several pieces, in order, cut between segments ([`Index::piece_lens`]). A rebase gives pieces back
    /// one by one; where memory is scarce they should be small.
    ///
    /// # Errors
    /// [`Malformed`] where the index does not have the hash `root`, or the parts do not have its lengths.
    pub fn load(index: Vec<u8>, parts: Vec<Vec<u8>>, root: &Hash) -> Result<Self, Malformed> {
        let index = Index::open(index, root)?;
        let layout = index.layout();
        // Blocks of no keys are somewhere too: a rebase puts the new ones beside that piece, not into its place.
        let pieces = if parts.is_empty() { vec![Vec::new()] } else { parts };
        let mut blocks = Vec::with_capacity(layout.segments());
        let (mut piece, mut at) = (0, 0);
        for segment in 0..layout.segments() {
            let keys = index.segment_len(segment);
            let len = layout.block_len(keys);
            if at > 0 && at == pieces[piece].len() && len > 0 && piece + 1 < pieces.len() {
                (piece, at) = (piece + 1, 0);
            }
            if len > pieces[piece].len() - at {
                return Err(Malformed::Truncated("part"));
            }
            blocks.push(Block {
                piece: piece as u32,
                at: at as u32,
                keys: keys as u32,
                checked: AtomicBool::new(false),
            });
            at += len;
        }
        if at < pieces[piece].len() || piece + 1 < pieces.len() {
            return Err(Malformed::Trailing);
        }
        let nodes_checked = Marks::new(Index::node_of(layout.segments()) + 1);
        Ok(Self { index, pieces, blocks, nodes_checked, checks: AtomicU32::new(0) })
    }

    /// Its index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Which base this is.
    pub fn info(&self) -> &BaseInfo {
        self.index.info()
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.index.keys() as usize
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its profiles, by number.
    pub fn profiles(&self) -> &[Profile] {
        self.index.profiles()
    }

    /// Looks a key up.
    ///
    /// # Errors
    /// [`Malformed`] where the key's segment is not what was signed, or the row found is not one.
    pub fn lookup(&self, tag: &Tag) -> Result<Option<Record>, Malformed> {
        let layout = self.index.layout();
        match self.find(layout, &layout.split(tag))? {
            Some((_, row)) => row::decode(row, layout.columns(), self.profiles().len()).map(Some),
            None => Ok(None),
        }
    }

    /// Finds a tag: where it is, and what its row has behind the rest. Which bucket and which tag bytes are looked at follows
    /// from a keyed hash and tells nothing of a key; the rest is compared whole.
    #[inline]
    pub(crate) fn find(&self, layout: Layout, parts: &Parts) -> Result<Option<(Found, &[u8])>, Malformed> {
        let segment = layout.segment_of(parts.bucket);
        let block = &self.blocks[segment];
        if !block.checked.load(Ordering::Acquire) {
            self.check_segment(segment)?;
        }
        let bytes = self.bytes(block);
        let (first_row, stride) = (block.keys as usize, layout.stride());
        let range = self.index.bucket(layout, parts.bucket, segment);
        let mut at = range.start;
        while at < range.end {
            let left = (range.end - at).min(WIDTH);
            let mut candidates = match bytes.get(at..).and_then(<[u8]>::first_chunk) {
                Some(chunk) => positions(chunk, parts.tag_byte),
                None => near_the_end(bytes.get(at..).unwrap_or_default(), parts.tag_byte),
            } & (u32::MAX >> (WIDTH - left));
            while candidates != 0 {
                let place = at + candidates.trailing_zeros() as usize;
                candidates &= candidates - 1;
                let row = first_row + place * stride;
                if let Some(row) = bytes.get(row..row + stride)
                    && row.first_chunk::<REST_SPAN>().is_some_and(|rest| layout.same_rest(rest, parts))
                {
                    return Ok(Some((Found { segment, place }, &row[layout.rest_len()..])));
                }
            }
            at += WIDTH;
        }
        Ok(None)
    }

    /// Reads the row of a key that was found.
    pub(crate) fn record(&self, found: Found, profiles: usize) -> Result<Record, Malformed> {
        let layout = self.index.layout();
        let row = self.row(found).get(layout.rest_len()..).unwrap_or_default();
        row::decode(row, layout.columns(), profiles)
    }

    fn row(&self, found: Found) -> &[u8] {
        let block = &self.blocks[found.segment];
        let stride = self.index.layout().stride();
        let at = block.keys as usize + found.place * stride;
        self.bytes(block).get(at..at + stride).unwrap_or_default()
    }

    /// A row's bytes behind its rest, to be changed.
    pub(crate) fn row_mut(&mut self, found: Found) -> &mut [u8] {
        let layout = self.index.layout();
        let Block { piece, at, keys, .. } = self.blocks[found.segment];
        let at = at as usize + keys as usize + found.place * layout.stride() + layout.rest_len();
        &mut self.pieces[piece as usize][at..at + layout.stride() - layout.rest_len()]
    }

    /// The tag of a key, by its place.
    pub(crate) fn tag(&self, found: Found, bucket: usize) -> Tag {
        let layout = self.index.layout();
        let tag_byte = self.bytes(&self.blocks[found.segment])[found.place];
        let rest = self.row(found).first_chunk::<REST_SPAN>().copied().unwrap_or_default();
        let (front, back) = layout.read_rest(&rest);
        layout.join(&Parts { bucket, tag_byte, front, back })
    }

    /// Where a slot is.
    pub(crate) fn slot(&self, slot: u32) -> Found {
        let segment = self.index.segment_of_slot(slot);
        Found { segment, place: (slot - self.index.rank(segment)) as usize }
    }

    /// A block, and whatever follows it in the same piece.
    #[inline]
    fn bytes(&self, block: &Block) -> &[u8] {
        self.pieces.get(block.piece as usize).and_then(|piece| piece.get(block.at as usize..)).unwrap_or_default()
    }

    /// A segment's block alone.
    pub(crate) fn whole_block(&self, segment: usize) -> &[u8] {
        let len = self.index.layout().block_len(self.blocks[segment].keys as usize);
        self.bytes(&self.blocks[segment]).get(..len).unwrap_or_default()
    }

    /// Whether a segment has been found to be what was signed. Only such a one may be changed.
    pub(crate) fn is_checked(&self, segment: usize) -> bool {
        self.blocks[segment].checked.load(Ordering::Acquire)
    }

    /// Hashes a segment.
    #[cold]
    pub(crate) fn check_segment(&self, segment: usize) -> Result<(), Malformed> {
        let node = Index::node_of(segment);
        if !self.nodes_checked.is_set(node) {
            self.index.check_node(node)?;
            self.nodes_checked.set(node);
        }
        self.index.check_leaf(segment, self.whole_block(segment))?;
        self.blocks[segment].checked.store(true, Ordering::Release);
        self.checks.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// A number that changes whenever a segment is checked.
    pub(crate) fn checks(&self) -> u32 {
        self.checks.load(Ordering::Acquire)
    }

    /// Every key of a segment that has been checked: its place and its bucket.
    pub(crate) fn places(&self, segment: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let layout = self.index.layout();
        let first = segment * layout.segment_buckets();
        (first..first + layout.segment_buckets())
            .flat_map(move |bucket| self.index.bucket(layout, bucket, segment).map(move |place| (place, bucket)))
    }

    /// Every key, ascending by tag. What is beyond the matched bits of a tag is zero.
    ///
    /// # Errors
    /// Each item is [`Malformed`] where its segment is not what was signed.
    pub fn iter(&self) -> impl Iterator<Item = Result<(Tag, Record), Malformed>> + '_ {
        self.keys().map(|key| {
            let (tag, found) = key?;
            Ok((tag, self.record(found, self.profiles().len())?))
        })
    }

    /// Every key and where it is, ascending by tag.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Result<(Tag, Found), Malformed>> + '_ {
        (0..self.index.layout().segments()).flat_map(move |segment| {
            let checked = if self.is_checked(segment) { Ok(()) } else { self.check_segment(segment) };
            let places = checked.is_ok().then(|| self.places(segment)).into_iter().flatten();
            let keys = places.map(move |(place, bucket)| {
                let found = Found { segment, place };
                Ok((self.tag(found, bucket), found))
            });
            checked.err().map(Err).into_iter().chain(keys)
        })
    }

    /// Reads everything once: hashes, rows, and their order, which a lookup takes for granted because the publisher signed
    /// them so.
    ///
    /// # Errors
    /// [`Malformed`] names what is wrong.
    pub fn check(&self) -> Result<(), Malformed> {
        let mut before: Option<Tag> = None;
        for key in self.iter() {
            let (tag, record) = key?;
            if before.replace(tag).is_some_and(|before| before >= tag) {
                return Err(Malformed::Order("rows"));
            }
            if record.foreign && !self.index.layout().columns().number {
                return Err(Malformed::Value("row"));
            }
        }
        let profiles = self.profiles().iter().map(Profile::encode).collect::<Result<Vec<_>, _>>()?;
        if profiles.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(Malformed::Order("profiles")) }
    }

    /// Bytes it takes in memory.
    pub fn memory(&self) -> usize {
        let pieces: usize = self.pieces.iter().map(Vec::capacity).sum();
        pieces + self.index.as_bytes().len() + self.blocks.len() * size_of::<Block>()
    }
}

/// The same where a block ends within a chunk: it has one key, or the bytes are not what they should be.
#[cold]
fn near_the_end(bytes: &[u8], byte: u8) -> u32 {
    let mut chunk = [0; WIDTH];
    let len = bytes.len().min(WIDTH);
    chunk[..len].copy_from_slice(&bytes[..len]);
    positions(&chunk, byte)
}

/// A set of marks that can be set through a shared reference: hashing a segment twice does no harm.
struct Marks(Vec<AtomicU32>);

impl Marks {
    fn new(len: usize) -> Self {
        let mut words = vec![];
        words.resize_with(len.div_ceil(32), || AtomicU32::new(0));
        Self(words)
    }

    #[inline]
    fn is_set(&self, mark: usize) -> bool {
        self.0.get(mark / 32).is_some_and(|word| word.load(Ordering::Acquire) >> (mark % 32) & 1 != 0)
    }

    fn set(&self, mark: usize) {
        if let Some(word) = self.0.get(mark / 32) {
            word.fetch_or(1 << (mark % 32), Ordering::Release);
        }
    }
}

impl Clone for Marks {
    fn clone(&self) -> Self {
        Self(self.0.iter().map(|word| AtomicU32::new(word.load(Ordering::Acquire))).collect())
    }
}
