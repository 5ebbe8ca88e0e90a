//! Base62 (`0-9A-Za-z`, most significant digit first), written so that neither a branch nor an address depends on the
//! characters read: the same code serves ids, which are public, and secrets, which are not.

/// The digits in value order, which is also byte order: sorting texts of one length sorts their values.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The digit of a value below 62, by arithmetic alone.
pub(crate) fn digit(value: u8) -> u8 {
    let past_nines = mask(u32::from(value) >= 10);
    let past_upper = mask(u32::from(value) >= 36);
    // '0' + v, then 'A' - '9' - 1 = 7 more after ten digits, then 'a' - 'Z' - 1 = 6 more after the upper case.
    b'0' + value + (7 & past_nines) + (6 & past_upper)
}

/// `0xff` where every byte is a base62 digit, `0` otherwise, in a time that depends on the length only.
pub(crate) fn all_digits(text: &[u8]) -> bool {
    let mut bad = 0u32;
    for &byte in text {
        let byte = u32::from(byte);
        bad |= 1 ^ (in_range(byte, b'0', b'9') | in_range(byte, b'A', b'Z') | in_range(byte, b'a', b'z'));
    }
    bad == 0
}

/// 1 where `low <= byte <= high`, else 0, without a comparison the compiler could turn into a branch.
fn in_range(byte: u32, low: u8, high: u8) -> u32 {
    let above = byte.wrapping_sub(u32::from(low)) >> 31;
    let below = u32::from(high).wrapping_sub(byte) >> 31;
    1 ^ (above | below)
}

fn mask(condition: bool) -> u8 {
    0u8.wrapping_sub(u8::from(condition))
}

/// Writes `value` into the whole of `out`, zero-padded. The value must fit; higher digits are dropped.
pub(crate) fn encode(mut value: u64, out: &mut [u8]) {
    for place in out.iter_mut().rev() {
        *place = digit((value % 62) as u8);
        value /= 62;
    }
}

/// Reads public base62 digits (an id's time), or `None` where one is not a digit or the value overflows.
pub(crate) fn decode(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |value, byte| {
        let digit = DIGITS.binary_search(byte).ok()?;
        value.checked_mul(62)?.checked_add(digit as u64)
    })
}

/// Fills `out` with uniform digits from a source of random bytes.
///
/// A byte is used where it is below 248 = 4 × 62, so that each digit is equally likely; others are drawn again. What is
/// rejected says nothing about what is kept.
pub(crate) fn fill_random(out: &mut [u8], random: &mut dyn FnMut(&mut [u8])) {
    let mut pool = zeroize::Zeroizing::new([0u8; 64]);
    let mut used = pool.len();
    for place in out.iter_mut() {
        *place = loop {
            if used == pool.len() {
                random(pool.as_mut_slice());
                used = 0;
            }
            let byte = pool[used];
            used += 1;
            if byte < 248 {
                break digit(byte % 62);
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_by_arithmetic_equal_the_alphabet() {
        for value in 0..62 {
            assert_eq!(digit(value), DIGITS[usize::from(value)]);
        }
        for byte in 0..=255u8 {
            assert_eq!(all_digits(&[byte]), DIGITS.contains(&byte), "{byte}");
        }
    }

    #[test]
    fn numbers_come_back() {
        for value in [0, 1, 61, 62, 3843, u64::from(u32::MAX), 62u64.pow(6) - 1] {
            let mut text = [0; 6];
            encode(value, &mut text);
            assert_eq!(decode(&text), Some(value));
        }
        assert_eq!(decode(b"00_000"), None);
        assert_eq!(decode(b"zzzzzzzzzzzz"), None);
    }

    #[test]
    fn random_digits_are_uniform() {
        // Every byte value equally often in, every digit exactly equally often out.
        let mut next = 0u8;
        let mut counts = [0u32; 62];
        let mut out = [0u8; 248 * 4];
        fill_random(&mut out, &mut |buf| {
            for byte in buf {
                *byte = next;
                next = next.wrapping_add(1);
            }
        });
        for byte in out {
            counts[DIGITS.binary_search(&byte).unwrap()] += 1;
        }
        assert!(counts.iter().all(|&c| c == 16), "{counts:?}");
    }
}
