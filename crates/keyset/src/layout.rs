//! How a base lays its keys out: how many bits of a tag choose the bucket, and which columns a row has.

use crate::codec::Malformed;
use crate::pepper::Tag;

/// Keys a bucket holds on average, at most, when a layout is chosen.
const KEYS_PER_BUCKET: u64 = 24;
/// Keys a bucket may come to hold on average, and to be left with, before the layout is to be chosen anew.
const TOLERATED: core::ops::RangeInclusive<u64> = 8..=32;
/// The most bucket bits: 400 million keys.
pub(crate) const MAX_BUCKET_BITS: u8 = 24;
/// log2 of the buckets in a segment.
const SEGMENT_BITS: u8 = 9;
/// Bytes of a row beside rest and columns: meta 3, deadline 4.
const FIXED_LEN: usize = 7;

/// What a row says beside status, profile and deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Whom the key acts for.
    pub subject: bool,
    /// The key's number in its workspace: what edges call an imported key, whose text has no id.
    pub number: bool,
}

impl Columns {
    /// Both.
    pub const ALL: Self = Self { subject: true, number: true };

    pub(crate) const fn code(self) -> u8 {
        self.subject as u8 | (self.number as u8) << 1
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        if code > 3 { None } else { Some(Self { subject: code & 1 != 0, number: code & 2 != 0 }) }
    }

    const fn len(self) -> usize {
        4 * (self.subject as usize + self.number as usize)
    }
}

/// A base's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    bucket_bits: u8,
    columns: Columns,
    /// What follows from the two, worked out once: every lookup asks for it.
    rest_len: u8,
    stride: u8,
    segment_shift: u8,
    back_mask: u64,
}

/// A tag, taken apart as a layout says.
#[derive(Clone, Copy)]
pub(crate) struct Parts {
    pub(crate) bucket: usize,
    pub(crate) tag_byte: u8,
    /// The first 64 bits of the rest.
    pub(crate) front: u64,
    /// All further bits of it, and zeros to 64.
    pub(crate) back: u64,
}

impl Layout {
    /// The layout for that many keys: the fewest buckets that hold 24 keys each on average.
    pub fn for_keys(keys: u64, columns: Columns) -> Self {
        let mut bucket_bits = 0;
        while bucket_bits < MAX_BUCKET_BITS && keys > KEYS_PER_BUCKET << bucket_bits {
            bucket_bits += 1;
        }
        Self::of(bucket_bits, columns)
    }

    const fn of(bucket_bits: u8, columns: Columns) -> Self {
        let rest_len = match bucket_bits {
            0..=7 => 15,
            8..=15 => 14,
            _ => 13,
        };
        Self {
            bucket_bits,
            columns,
            rest_len: rest_len as u8,
            stride: (rest_len + FIXED_LEN + columns.len()) as u8,
            segment_shift: if bucket_bits < SEGMENT_BITS { bucket_bits } else { SEGMENT_BITS },
            back_mask: u64::MAX << (128 - 8 * rest_len),
        }
    }

    /// A layout with that many bucket bits, 0 to 24.
    ///
    /// # Errors
    /// [`Malformed::Value`] for more.
    pub fn new(bucket_bits: u8, columns: Columns) -> Result<Self, Malformed> {
        if bucket_bits > MAX_BUCKET_BITS {
            return Err(Malformed::Value("bucket bits"));
        }
        Ok(Self::of(bucket_bits, columns))
    }

    /// Bits of a tag that choose the bucket.
    pub const fn bucket_bits(self) -> u8 {
        self.bucket_bits
    }

    /// The columns of a row.
    pub const fn columns(self) -> Columns {
        self.columns
    }

    /// Whether a set that has come to hold that many keys may keep this layout.
    pub fn still_suits(self, keys: u64) -> bool {
        let per_bucket = keys >> self.bucket_bits;
        per_bucket <= *TOLERATED.end() && (self.bucket_bits == 0 || per_bucket >= *TOLERATED.start())
    }

    /// Bits of a tag that are matched: at least 128.
    pub const fn tag_bits(self) -> u32 {
        self.bucket_bits as u32 + 8 + 8 * self.rest_len() as u32
    }

    /// Bytes of a tag that a row stores.
    #[inline]
    pub(crate) const fn rest_len(self) -> usize {
        self.rest_len as usize
    }

    /// Bytes of a row.
    #[inline]
    pub(crate) const fn stride(self) -> usize {
        self.stride as usize
    }

    pub(crate) const fn buckets(self) -> usize {
        1 << self.bucket_bits
    }

    pub(crate) const fn segments(self) -> usize {
        1 << self.bucket_bits.saturating_sub(SEGMENT_BITS)
    }

    /// Buckets of one segment.
    pub(crate) const fn segment_buckets(self) -> usize {
        self.buckets() / self.segments()
    }

    /// The segment of a bucket.
    #[inline]
    pub(crate) const fn segment_of(self, bucket: usize) -> usize {
        bucket >> self.segment_shift
    }

    /// The least tag that can be in a segment.
    pub(crate) const fn first_tag(self, segment: usize) -> Tag {
        let bits = self.bucket_bits as u32;
        let bucket = (segment * self.segment_buckets()) as u64;
        Tag::from_words(if bits == 0 { 0 } else { bucket << (64 - bits) }, 0, 0)
    }

    /// Bytes of the directory, for all segments.
    pub(crate) const fn directory_len(self) -> usize {
        2 * (self.buckets() + self.segments())
    }

    /// Bytes of one segment's piece of the directory.
    pub(crate) const fn directory_stride(self) -> usize {
        2 * (self.segment_buckets() + 1)
    }

    /// Bytes of the block of that many keys.
    pub const fn block_len(self, keys: usize) -> usize {
        keys * (1 + self.stride())
    }

    /// Bytes of a whole base of that many keys, but for its profiles and header.
    pub fn base_len(self, keys: u64) -> u64 {
        let fixed = self.directory_len() + 36 * self.segments() + 32 * self.segments().div_ceil(64);
        keys.saturating_mul(1 + self.stride() as u64).saturating_add(fixed as u64)
    }

    /// Takes a tag apart.
    #[inline]
    pub(crate) const fn split(self, tag: &Tag) -> Parts {
        let (high, middle, low) = tag.words();
        let bits = self.bucket_bits as u32;
        // 8 to 32 bits are dropped, so no shift below is by 0 or 64.
        let dropped = bits + 8;
        let front = high << dropped | middle >> (64 - dropped);
        let after = middle << dropped | ((low as u64) << 56) >> (64 - dropped);
        Parts {
            // In two steps, because there may be no bits at all.
            bucket: (high >> 1 >> (63 - bits)) as usize,
            tag_byte: (high >> (56 - bits)) as u8,
            front,
            back: after & self.back_mask,
        }
    }

    /// Puts a tag together again: its first [`Self::tag_bits`], then zeros.
    pub(crate) const fn join(self, parts: &Parts) -> Tag {
        let bits = self.bucket_bits as u32;
        let dropped = bits + 8;
        let after = parts.back;
        let bucket = if bits == 0 { 0 } else { (parts.bucket as u64) << (64 - bits) };
        let high = bucket | (parts.tag_byte as u64) << (56 - bits) | parts.front >> dropped;
        let middle = parts.front << (64 - dropped) | after >> dropped;
        let low = (after << (64 - dropped)) >> 56;
        Tag::from_words(high, middle, low as u8)
    }

    /// The tag without the bits that are not matched.
    pub(crate) const fn cut(self, tag: &Tag) -> Tag {
        let (high, middle, low) = tag.words();
        let spare = 136 - self.tag_bits();
        Tag::from_words(high, middle, ((low as u32 >> spare) << spare) as u8)
    }

    /// Whether a row begins with that rest, in a time that does not depend on where it differs.
    #[inline]
    pub(crate) const fn same_rest(self, row: &[u8; REST_SPAN], parts: &Parts) -> bool {
        let (front, back) = split_rest(row);
        (front ^ parts.front) | ((back ^ parts.back) & self.back_mask) == 0
    }

    /// Reads a row's rest.
    pub(crate) const fn read_rest(self, row: &[u8; REST_SPAN]) -> (u64, u64) {
        let (front, back) = split_rest(row);
        (front, back & self.back_mask)
    }
}

/// Bytes from the beginning of a row that hold its rest, of which the last few may be something else. No row is shorter.
pub(crate) const REST_SPAN: usize = 16;

#[inline]
const fn split_rest(row: &[u8; REST_SPAN]) -> (u64, u64) {
    let both = u128::from_be_bytes(*row);
    ((both >> 64) as u64, both as u64)
}

/// Writes a rest into the beginning of a row.
pub(crate) fn write_rest(row: &mut [u8], rest_len: usize, parts: &Parts) {
    let both = u128::from(parts.front) << 64 | u128::from(parts.back);
    row[..rest_len].copy_from_slice(&both.to_be_bytes()[..rest_len]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_128_bits_are_matched_from_none_to_16_million_keys() {
        for keys in [0, 1, 24, 25, 5_000, 100_000, 786_432, 786_433, 1_000_000, 16_000_000] {
            let layout = Layout::for_keys(keys, Columns::ALL);
            assert!((128..=136).contains(&layout.tag_bits()), "{keys}: {}", layout.tag_bits());
            assert!(layout.still_suits(keys), "{keys}");
            assert!(keys <= 24 || keys >> layout.bucket_bits() >= 12, "{keys}");
        }
    }

    #[test]
    fn a_tag_can_be_taken_apart_and_put_together_at_every_size() {
        let tag = Tag::from_bytes(core::array::from_fn(|i| (i as u8).wrapping_mul(73).wrapping_add(0x9c)));
        for bits in 0..=MAX_BUCKET_BITS {
            let layout = Layout::new(bits, Columns::default()).unwrap();
            let parts = layout.split(&tag);
            assert_eq!(layout.join(&parts).as_bytes(), layout.cut(&tag).as_bytes(), "{bits} bucket bits");
            let mut row = [0xff; REST_SPAN];
            write_rest(&mut row, layout.rest_len(), &parts);
            assert!(layout.same_rest(&row, &parts));
            assert_eq!(layout.read_rest(&row), (parts.front, parts.back));
        }
    }

    #[test]
    fn s2_14_every_single_bit_of_a_stored_rest_counts() {
        for bits in [0, 8, 16, MAX_BUCKET_BITS] {
            let layout = Layout::new(bits, Columns::default()).unwrap();
            let parts = layout.split(&Tag::from_bytes([0xa5; Tag::LEN]));
            let mut row = [0; REST_SPAN];
            write_rest(&mut row, layout.rest_len(), &parts);
            for bit in 0..8 * layout.rest_len() {
                row[bit / 8] ^= 1 << (bit % 8);
                assert!(!layout.same_rest(&row, &parts), "{bits} bucket bits, bit {bit}");
                row[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}
