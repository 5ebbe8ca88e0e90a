//! Building a base from keys in any order.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::BaseInfo;
use crate::codec::Malformed;
use crate::layout::{Columns, Layout};
use crate::pepper::Tag;
use crate::row::{self, Change, MAX_PROFILES};
use crate::segment::{Assembler, BaseFiles, SegmentWriter};

/// Collects a set's keys into the files of a base. The same keys give the same files, in whatever order they came.
///
/// Keys wait packed, each with the others of its segment, in a few bytes more than they will have in the base; segments are
/// then written one by one and their keys let go, so that the whole takes little more than the base itself.
#[derive(Debug)]
pub struct BaseBuilder {
    info: BaseInfo,
    layout: Layout,
    /// Encoded profiles, by number of arrival.
    profiles: Vec<Vec<u8>>,
    numbers: BTreeMap<Vec<u8>, u32>,
    /// Of each segment: tag and row of each key, packed.
    waiting: Vec<Vec<u8>>,
    /// Bytes to reserve for a segment when its first key comes.
    reserve: usize,
    keys: usize,
}

impl BaseBuilder {
    /// Begins a base with that layout, of about `expected_keys`.
    ///
    /// # Errors
    /// [`Malformed::Value`] where an id is not one.
    pub fn new(info: BaseInfo, layout: Layout, expected_keys: u64) -> Result<Self, Malformed> {
        info.check()?;
        let segments = layout.segments();
        let mean = expected_keys as usize / segments + 1;
        // Four standard deviations above the mean: nearly no segment then grows a second time.
        let keys = mean + 4 * mean.isqrt();
        let mut waiting = Vec::with_capacity(segments);
        waiting.resize_with(segments, Vec::new);
        Ok(Self {
            info,
            layout,
            profiles: Vec::new(),
            numbers: BTreeMap::new(),
            waiting,
            reserve: keys * packed_len(layout.columns()),
            keys: 0,
        })
    }

    /// How many keys have been added.
    pub fn len(&self) -> usize {
        self.keys
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// Adds a key.
    ///
    /// # Errors
    /// [`Malformed`] where its profile cannot be encoded, or it is foreign and the layout has no key numbers.
    pub fn push(&mut self, change: &Change<'_>) -> Result<(), Malformed> {
        if change.foreign && !self.layout.columns().number {
            return Err(Malformed::Value("columns"));
        }
        let encoded = change.profile.encode()?;
        let number = match self.numbers.get(&encoded) {
            Some(number) => *number,
            None => {
                let number = self.profiles.len();
                if number == MAX_PROFILES {
                    return Err(Malformed::Value("profile count"));
                }
                self.profiles.push(encoded.clone());
                self.numbers.insert(encoded, number as u32);
                number as u32
            }
        };
        let segment = self.layout.segment_of(self.layout.split(&change.tag).bucket);
        let waiting = &mut self.waiting[segment];
        if waiting.capacity() == 0 {
            waiting.reserve_exact(self.reserve);
        }
        let at = waiting.len();
        let len = packed_len(self.layout.columns());
        if waiting.capacity() - at < len {
            waiting.reserve_exact(self.reserve / 8 + len);
        }
        waiting.extend_from_slice(change.tag.as_bytes());
        waiting.resize(at + len, 0);
        row::encode(&change.record(number), self.layout.columns(), &mut waiting[at + Tag::LEN..]);
        self.keys += 1;
        Ok(())
    }

    /// The base's files.
    ///
    /// # Errors
    /// [`Malformed::Order`] where two keys have the same tag, [`Malformed::Value`] where there are too many.
    pub fn finish(self) -> Result<BaseFiles, Malformed> {
        let Self { info, layout, mut profiles, waiting, keys, .. } = self;
        // Numbers were given in order of arrival; what counts is the order of bytes.
        let mut order: Vec<usize> = (0..profiles.len()).collect();
        order.sort_by(|&a, &b| profiles[a].cmp(&profiles[b]));
        let mut renumbered = alloc::vec![0; profiles.len()];
        for (number, &arrived) in order.iter().enumerate() {
            renumbered[arrived] = number as u32;
        }
        profiles.sort();

        let columns = layout.columns();
        let mut assembler = Assembler::new(info, layout, keys)?;
        for (segment, packed) in waiting.into_iter().enumerate() {
            let mut rows: Vec<&[u8]> = packed.chunks_exact(packed_len(columns)).collect();
            rows.sort_unstable_by_key(|row| &row[..Tag::LEN]);
            let mut writer = SegmentWriter::new(layout, segment, rows.len());
            for packed in rows {
                let mut tag = [0; Tag::LEN];
                tag.copy_from_slice(&packed[..Tag::LEN]);
                let mut record = row::decode(&packed[Tag::LEN..], columns, renumbered.len())?;
                record.profile = renumbered[record.profile as usize];
                writer.push(&Tag::from_bytes(tag), &record)?;
            }
            let (block, directory) = writer.finish()?;
            assembler.push(&block, &directory)?;
        }
        assembler.finish(profiles.len(), &profiles.concat())
    }
}

/// Bytes of a key that waits.
fn packed_len(columns: Columns) -> usize {
    Tag::LEN + 7 + 4 * (usize::from(columns.subject) + usize::from(columns.number))
}
