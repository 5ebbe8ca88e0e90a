//! Finding a byte among many: vector comparisons where the build's target has them.

use core::hint::black_box;

use wide::u8x16;

/// Bytes looked at together: nearly every bucket has fewer keys, so that there is no loop for a processor to guess wrong.
pub(crate) const WIDTH: usize = 32;

/// Which of the bytes are `byte`: the first is the lowest bit.
#[inline]
pub(crate) fn positions(bytes: &[u8; WIDTH], byte: u8) -> u32 {
    let (Some(low), Some(high)) = (bytes.first_chunk(), bytes.last_chunk()) else { return 0 };
    // LLVM would take two masks that are put together apart again, bit by bit: some three hundred instructions.
    positions_of_16(*low, byte) | black_box(positions_of_16(*high, byte)) << 16
}

#[inline]
fn positions_of_16(bytes: [u8; 16], byte: u8) -> u32 {
    u8x16::new(bytes).simd_eq(u8x16::splat(byte)).to_bitmask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_found() {
        for at in 0..WIDTH {
            let mut bytes = [7; WIDTH];
            bytes[at] = 200;
            assert_eq!(positions(&bytes, 200), 1 << at);
            assert_eq!(positions(&bytes, 7), u32::MAX ^ 1 << at);
        }
        assert_eq!(positions(&[0; WIDTH], 0), u32::MAX);
    }
}
