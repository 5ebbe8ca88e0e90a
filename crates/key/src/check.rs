//! The checksum: CRC-32/ISO-HDLC (polynomial 0x04C11DB7 reflected, as in IEEE 802.3 and RFC 1952), in base62.
//!
//! The usual table would be indexed by secret characters. A CRC is linear over GF(2), so a step over four bytes is a
//! product with a constant 32 × 32 bit matrix: 32 masked XORs that depend on no address and no branch, and that a
//! compiler turns into vector code.

use crate::{CHECK_LEN, base62};

const POLYNOMIAL: u32 = 0xEDB8_8320;

/// What each bit of the register becomes after 8 steps, and after 32.
const AFTER_8: [u32; 8] = matrix::<8>();
const AFTER_32: [u32; 32] = matrix::<32>();

const fn matrix<const BITS: usize>() -> [u32; BITS] {
    let mut rows = [0; BITS];
    let mut bit = 0;
    while bit < BITS {
        let mut register = 1u32 << bit;
        let mut step = 0;
        while step < BITS {
            register = (register >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(register & 1));
            step += 1;
        }
        rows[bit] = register;
        bit += 1;
    }
    rows
}

fn product<const BITS: usize>(rows: &[u32; BITS], value: u32) -> u32 {
    let mut sum = 0;
    for (bit, row) in rows.iter().enumerate() {
        sum ^= row & 0u32.wrapping_sub((value >> bit) & 1);
    }
    sum
}

/// The CRC-32 of `data`.
pub(crate) fn crc32(data: &[u8]) -> u32 {
    let (words, rest) = data.as_chunks::<4>();
    let mut register = u32::MAX;
    for word in words {
        register = product(&AFTER_32, register ^ u32::from_le_bytes(*word));
    }
    for &byte in rest {
        register = (register >> 8) ^ product(&AFTER_8, (register ^ u32::from(byte)) & 0xff);
    }
    !register
}

/// The checksum characters of `data`.
pub(crate) fn check_of(data: &[u8]) -> [u8; CHECK_LEN] {
    let mut text = [0; CHECK_LEN];
    base62::encode(u64::from(crc32(data)), &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, a bit at a time.
    fn slow(data: &[u8]) -> u32 {
        !data.iter().fold(u32::MAX, |mut register, &byte| {
            register ^= u32::from(byte);
            for _ in 0..8 {
                register = if register & 1 == 1 { (register >> 1) ^ POLYNOMIAL } else { register >> 1 };
            }
            register
        })
    }

    #[test]
    fn the_published_check_value() {
        // The "check" of CRC-32/ISO-HDLC in the CRC catalogue.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    proptest! {
        #[test]
        fn equals_the_definition(data in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(crc32(&data), slow(&data));
        }
    }
}
