//! Small mutations, the same for the same seed.

/// A stream of numbers: xorshift64*, after Vigna ("An experimental exploration of Marsaglia's xorshift generators", 2014).
pub struct Numbers(u64);

impl Numbers {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

/// Changes an input in one to four places. `other` is another input, of which pieces may be taken.
pub fn mutate(input: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut out = input.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(out.len() + 1);
        let run = 1 + numbers.below(16);
        let end = (at + run).min(out.len());
        match numbers.below(9) {
            0 => out.truncate(at),
            1 => drop(out.drain(at..end)),
            2 => drop(out.splice(at..at, std::iter::repeat_n(numbers.below(256) as u8, run))),
            3 => {
                let piece = out[at..end].to_vec();
                drop(out.splice(at..at, piece));
            }
            4 => {
                let from = numbers.below(other.len() + 1);
                let piece = other[from..(from + run).min(other.len())].iter().copied();
                drop(out.splice(at..end, piece));
            }
            5 => {
                // A count, a length or a number at the edge of what it can be.
                let extreme =
                    [0, 1, 0xff, 0xffff, 0x1f_ffff, 0x20_0000, 0x7fff_ffff, 0xffff_ffff_u32][numbers.below(8)];
                out.iter_mut().skip(at).zip(extreme.to_le_bytes()).for_each(|(byte, new)| *byte = new);
            }
            6 => out.iter_mut().skip(at).take(1).for_each(|byte| *byte = byte.wrapping_add(1)),
            _ => out.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << numbers.below(8)),
        }
    }
    out
}
