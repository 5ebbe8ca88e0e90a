//! Streams of bits, and the codes FORMAT.md names: counts, ascending numbers, frames.
//!
//! Golomb's code with a power of two, after Rice ("Some Practical Universal Noiseless Coding Techniques", 1979), comes
//! within a twentieth of a bit of the bound for gaps between uniformly distributed numbers.

use alloc::vec::Vec;

use crate::codec::Malformed;

/// Writes bits, the lowest first.
#[derive(Debug, Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that do not fill a byte yet.
    pending: u128,
    count: u32,
}

impl BitWriter {
    /// Appends the low `width` bits of a number, 64 at most.
    pub(crate) fn bits(&mut self, value: u64, width: u32) {
        debug_assert!(width == 64 || value >> width == 0);
        self.pending |= u128::from(value) << self.count;
        self.count += width;
        while self.count >= 8 {
            self.bytes.push(self.pending as u8);
            self.pending >>= 8;
            self.count -= 8;
        }
    }

    fn zeros(&mut self, mut count: u64) {
        while count > 0 {
            let step = count.min(64);
            self.bits(0, step as u32);
            count -= step;
        }
    }

    /// Appends how many of something follow.
    pub(crate) fn count(&mut self, count: usize) {
        let number = count as u64 + 1;
        let width = number.ilog2();
        self.bits(0, width);
        self.bits(1, 1);
        self.bits(number ^ 1 << width, width);
    }

    fn rice(&mut self, gap: u64, parameter: u32) {
        self.zeros(gap >> parameter);
        self.bits(1, 1);
        self.bits(gap & low_bits(parameter), parameter);
    }

    /// Appends strictly ascending numbers, at least one.
    pub(crate) fn ascending(&mut self, numbers: &[u32]) {
        let before = core::iter::once(-1).chain(numbers.iter().map(|&n| i64::from(n)));
        let gaps = numbers.iter().zip(before).map(|(&number, before)| (i64::from(number) - before - 1) as u64);
        let parameter = best_parameter(&gaps);
        self.bits(u64::from(parameter), 6);
        gaps.for_each(|gap| self.rice(gap, parameter));
    }

    /// Appends tags: the gaps between their first 64 bits, and of each the next 64 and the last `spare` bits.
    pub(crate) fn tags(&mut self, gaps: &[u64], lows: impl Iterator<Item = (u64, u64)>, spare: u32) {
        let parameter = best_parameter(&gaps.iter().copied());
        self.bits(u64::from(parameter), 6);
        for (gap, (middle, low)) in gaps.iter().zip(lows) {
            self.rice(*gap, parameter);
            self.bits(middle, 64);
            self.bits(low, spare);
        }
    }

    /// Appends numbers of at most `width` bits as what they have beyond the least.
    pub(crate) fn frame(&mut self, width: u32, numbers: impl Iterator<Item = u32> + Clone) {
        let (Some(least), Some(most)) = (numbers.clone().min(), numbers.clone().max()) else { return };
        let narrow = 32 - (most - least).leading_zeros();
        self.bits(u64::from(least), width);
        self.bits(u64::from(narrow), 6);
        numbers.for_each(|number| self.bits(u64::from(number - least), narrow));
    }

    /// The bytes, the last one filled up with zeros.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.bytes.push(self.pending as u8);
        }
        self.bytes
    }
}

fn low_bits(count: u32) -> u64 {
    if count == 0 { 0 } else { u64::MAX >> (64 - count) }
}

/// The cheapest Rice parameter, the least of equals.
fn best_parameter(gaps: &(impl Iterator<Item = u64> + Clone)) -> u32 {
    let cost = |k: u32| gaps.clone().fold(0_u64, |sum, gap| sum.saturating_add(gap >> k).saturating_add(k.into()));
    (0..64).min_by_key(|&k| cost(k)).unwrap_or(0)
}

/// Reads bits at any place. Every read says what it is for, so that a short file can be refused by name.
#[derive(Clone, Copy)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    at: u64,
}

/// Where a frame's numbers are, so that each can be read by itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Frame {
    least: u32,
    width: u32,
    at: u64,
}

impl Frame {
    /// What no number of the frame is below.
    pub(crate) fn least(&self) -> u32 {
        self.least
    }
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The place of the next bit.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// The same stream, from another place on.
    pub(crate) fn at(&self, position: u64) -> Self {
        Self { bytes: self.bytes, at: position }
    }

    /// Bits that are left.
    pub(crate) fn left(&self) -> u64 {
        (self.bytes.len() as u64 * 8).saturating_sub(self.at)
    }

    /// The next 64 bits, with zeros beyond the end.
    fn peek(&self) -> u64 {
        let (byte, shift) = ((self.at / 8) as usize, (self.at % 8) as u32);
        let rest = self.bytes.get(byte..).unwrap_or_default();
        if let Some(eight) = rest.first_chunk() {
            let low = u64::from_le_bytes(*eight) >> shift;
            let ninth = u64::from(rest.get(8).copied().unwrap_or_default());
            return if shift == 0 { low } else { low | ninth << (64 - shift) };
        }
        rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)) >> shift
    }

    /// Reads a number of `width` bits, 64 at most.
    pub(crate) fn bits(&mut self, width: u32, what: &'static str) -> Result<u64, Malformed> {
        if u64::from(width) > self.left() {
            return Err(Malformed::Truncated(what));
        }
        let value = self.peek() & low_bits(width);
        self.at += u64::from(width);
        Ok(value)
    }

    /// Reads zeros up to a one, and says how many.
    fn unary(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let mut zeros = 0;
        loop {
            let word = self.peek();
            if word != 0 {
                let run = u64::from(word.trailing_zeros());
                self.at += run + 1;
                return Ok(zeros + run);
            }
            if self.left() < 64 {
                return Err(Malformed::Truncated(what));
            }
            self.at += 64;
            zeros += 64;
        }
    }

    /// Reads how many of something follow, each of which has at least one bit.
    pub(crate) fn count(&mut self, what: &'static str) -> Result<usize, Malformed> {
        let width = self.unary(what)?;
        if width > 31 {
            return Err(Malformed::Value(what));
        }
        let number = 1 << width | self.bits(width as u32, what)?;
        let count = number - 1;
        if count > self.left() { Err(Malformed::Truncated(what)) } else { Ok(count as usize) }
    }

    /// Reads the parameter of Rice's code.
    pub(crate) fn parameter(&mut self, what: &'static str) -> Result<u32, Malformed> {
        Ok(self.bits(6, what)? as u32)
    }

    /// Reads one gap.
    pub(crate) fn rice(&mut self, parameter: u32, what: &'static str) -> Result<u64, Malformed> {
        let high = self.unary(what)?;
        if high > u64::MAX >> parameter {
            return Err(Malformed::Value(what));
        }
        Ok(high << parameter | self.bits(parameter, what)?)
    }

    /// Reads strictly ascending numbers below `limit`, one after the other; the reader stands behind them at the end.
    pub(crate) fn ascending(
        &mut self,
        count: usize,
        limit: u32,
        what: &'static str,
        mut each: impl FnMut(u32),
    ) -> Result<(), Malformed> {
        let parameter = self.parameter(what)?;
        let mut next = 0_u64;
        for _ in 0..count {
            let number = next.checked_add(self.rice(parameter, what)?).filter(|&number| number < u64::from(limit));
            let number = number.ok_or(Malformed::Value(what))?;
            each(number as u32);
            next = number + 1;
        }
        Ok(())
    }

    /// Reads where a frame's numbers are, and that each is below `limit`.
    pub(crate) fn frame(
        &mut self,
        width: u32,
        count: usize,
        limit: u64,
        what: &'static str,
    ) -> Result<Frame, Malformed> {
        if count == 0 {
            return Ok(Frame::default());
        }
        let least = self.bits(width, what)? as u32;
        let narrow = self.bits(6, what)? as u32;
        if narrow > width {
            return Err(Malformed::Value(what));
        }
        let frame = Frame { least, width: narrow, at: self.at };
        for _ in 0..count {
            if u64::from(least) + self.bits(narrow, what)? >= limit {
                return Err(Malformed::Value(what));
            }
        }
        Ok(frame)
    }

    /// A number of a frame that was read before.
    pub(crate) fn framed(&self, frame: &Frame, number: usize) -> u32 {
        let mut reader = self.at(frame.at + number as u64 * u64::from(frame.width));
        frame.least.saturating_add(reader.bits(frame.width, "frame").unwrap_or_default() as u32)
    }

    /// Makes sure that nothing follows but zeros up to a whole byte.
    pub(crate) fn finish(mut self, what: &'static str) -> Result<(), Malformed> {
        let left = self.left();
        if left >= 8 {
            return Err(Malformed::Trailing);
        }
        if self.bits(left as u32, what)? == 0 { Ok(()) } else { Err(Malformed::Value(what)) }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(mut numbers in proptest::collection::vec(any::<u32>(), 1..300), low in any::<u64>()) {
            numbers.sort_unstable();
            numbers.dedup();
            numbers.retain(|&n| n < u32::MAX);
            prop_assume!(!numbers.is_empty());
            let mut writer = BitWriter::default();
            writer.bits(low, 64);
            writer.count(numbers.len());
            writer.ascending(&numbers);
            writer.frame(32, numbers.iter().copied());
            let bytes = writer.finish();
            let mut reader = BitReader::new(&bytes);
            prop_assert_eq!(reader.bits(64, "t").unwrap(), low);
            let count = reader.count("t").unwrap();
            let mut back = vec![];
            reader.ascending(count, u32::MAX, "t", |n| back.push(n)).unwrap();
            prop_assert_eq!(&back, &numbers);
            let frame = reader.frame(32, count, 1 << 32, "t").unwrap();
            let framed: Vec<u32> = (0..count).map(|i| reader.framed(&frame, i)).collect();
            prop_assert_eq!(&framed, &numbers);
            prop_assert!(reader.finish("t").is_ok());
        }

        #[test]
        fn no_bytes_make_a_reader_fail_otherwise_than_by_saying_so(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = BitReader::new(&bytes);
            while let Ok(count) = reader.count("t") {
                prop_assert!(count <= bytes.len() * 8);
                if reader.ascending(count, 1000, "t", |_| {}).is_err() || reader.left() == 0 {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_count_beyond_the_bits_that_are_left_is_refused() {
        let mut writer = BitWriter::default();
        writer.count(1_000_000);
        assert_eq!(BitReader::new(&writer.finish()).count("t"), Err(Malformed::Truncated("t")));
    }
}
