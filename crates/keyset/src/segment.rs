//! Writing segments, and putting them together into a base's files.

use alloc::vec::Vec;

use crate::codec::Malformed;
use crate::index::{BASE_FORMAT, Index, IndexDraft, MAX_PART_LEN, MAX_PARTS, leaf_hash};
use crate::layout::{Layout, write_rest};
use crate::pepper::Tag;
use crate::row::{self, Record};
use crate::{BaseInfo, Hash};

/// A base's files.
#[derive(Clone, Debug)]
pub struct BaseFiles {
    /// The index.
    pub index: Vec<u8>,
    /// The parts, in order.
    pub parts: Vec<Vec<u8>>,
    /// The hash of the index's core: what a head names.
    pub root: Hash,
    /// How many keys it has.
    pub keys: u64,
}

impl BaseFiles {
    /// The same base as the program of the format before writes it, for files of a state that it has signed. `None` where
    /// that format cannot say all that is in there.
    ///
    /// # Errors
    /// [`Malformed`] where this is no base.
    pub fn in_format_before(self) -> Result<Option<Self>, Malformed> {
        let Self { index, parts, root, keys } = self;
        let before = Index::open(index, &root)?.in_format_before();
        Ok(before.map(|(index, root)| Self { index, parts, root, keys }))
    }

    /// Bytes of all files together.
    pub fn len(&self) -> u64 {
        self.parts.iter().chain([&self.index]).map(|bytes| bytes.len() as u64).sum()
    }

    /// Whether there is nothing in them, which is never so.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }
}

/// One segment on its way into bytes.
pub(crate) struct SegmentWriter {
    layout: Layout,
    segment: usize,
    /// The tag bytes, later the whole block.
    tags: Vec<u8>,
    rows: Vec<u8>,
    directory: Vec<u8>,
    last: Option<Tag>,
}

impl SegmentWriter {
    /// Begins a segment of that many keys.
    pub(crate) fn new(layout: Layout, segment: usize, keys: usize) -> Self {
        Self {
            layout,
            segment,
            tags: Vec::with_capacity(layout.block_len(keys)),
            rows: Vec::with_capacity(keys * layout.stride()),
            directory: Vec::with_capacity(layout.directory_stride()),
            last: None,
        }
    }

    /// Appends a key, which must come after the one before.
    pub(crate) fn push(&mut self, tag: &Tag, record: &Record) -> Result<(), Malformed> {
        let tag = self.layout.cut(tag);
        if self.last.replace(tag).is_some_and(|last| last >= tag) {
            return Err(Malformed::Order("rows"));
        }
        let parts = self.layout.split(&tag);
        self.begin_buckets(parts.bucket - self.segment * self.layout.segment_buckets() + 1);
        self.tags.push(parts.tag_byte);
        let (at, rest_len) = (self.rows.len(), self.layout.rest_len());
        self.rows.resize(at + self.layout.stride(), 0);
        write_rest(&mut self.rows[at..], rest_len, &parts);
        row::encode(record, self.layout.columns(), &mut self.rows[at + rest_len..]);
        Ok(())
    }

    /// Notes that the first `count` buckets begin here or before.
    fn begin_buckets(&mut self, count: usize) {
        let place = (self.tags.len() as u16).to_le_bytes();
        while self.directory.len() < 2 * count {
            self.directory.extend_from_slice(&place);
        }
    }

    /// The segment's block and its piece of the directory.
    pub(crate) fn finish(mut self) -> Result<(Vec<u8>, Vec<u8>), Malformed> {
        if self.tags.len() > usize::from(u16::MAX) {
            return Err(Malformed::Value("segment"));
        }
        self.begin_buckets(self.layout.segment_buckets() + 1);
        self.tags.extend_from_slice(&self.rows);
        Ok((self.tags, self.directory))
    }
}

/// Segments on their way into files.
pub(crate) struct Assembler {
    info: BaseInfo,
    layout: Layout,
    parts: Vec<Vec<u8>>,
    /// Bytes of blocks that are expected to follow.
    expected: usize,
    lens: Vec<u32>,
    leaves: Vec<[u8; 32]>,
    directory: Vec<u8>,
}

impl Assembler {
    /// Begins a base of about that many keys.
    pub(crate) fn new(info: BaseInfo, layout: Layout, keys: usize) -> Result<Self, Malformed> {
        info.check()?;
        let segments = layout.segments();
        Ok(Self {
            info,
            layout,
            parts: Vec::new(),
            expected: layout.block_len(keys),
            lens: Vec::with_capacity(segments),
            leaves: Vec::with_capacity(segments),
            directory: Vec::with_capacity(layout.directory_len()),
        })
    }

    /// Appends the next segment.
    pub(crate) fn push(&mut self, block: &[u8], directory: &[u8]) -> Result<(), Malformed> {
        self.leaves.push(leaf_hash(self.lens.len(), directory, block));
        self.lens.push((block.len() / self.layout.block_len(1)) as u32);
        self.directory.extend_from_slice(directory);
        let fits = self.parts.last().is_some_and(|part| part.len() + block.len() <= MAX_PART_LEN);
        if !fits && !block.is_empty() {
            if self.parts.len() == MAX_PARTS {
                return Err(Malformed::Value("key count"));
            }
            self.parts.push(Vec::with_capacity(self.expected.clamp(block.len(), MAX_PART_LEN)));
        }
        if let Some(part) = self.parts.last_mut() {
            part.extend_from_slice(block);
        }
        self.expected = self.expected.saturating_sub(block.len());
        Ok(())
    }

    /// The files, with these profiles.
    pub(crate) fn finish(self, profile_count: usize, profiles: &[u8]) -> Result<BaseFiles, Malformed> {
        let Self { info, layout, parts, lens, leaves, directory, .. } = self;
        let draft = IndexDraft {
            format: BASE_FORMAT,
            info: &info,
            layout,
            profile_count,
            profiles,
            lens: &lens,
            leaves: &leaves,
            directory: &directory,
        };
        let (index, root) = draft.encode()?;
        Ok(BaseFiles { index, parts, root, keys: lens.iter().map(|&len| u64::from(len)).sum() })
    }
}
