//! Which deltas there are, and which of them lead from one version to another.
//!
//! Everything here is in offsets: versions since the base's. A delta of level l ends at a multiple of 2^l and leads over
//! 2^l versions, so that any two offsets are connected by at most two deltas of each level.

/// The deltas that end at an offset, as (from, to), the finest first. None for 0.
pub fn levels_at(offset: u64) -> impl Iterator<Item = (u64, u64)> {
    let levels = if offset == 0 { 0 } else { offset.trailing_zeros() + 1 };
    (0..levels).map(move |level| (offset - (1 << level), offset))
}

/// The deltas that lead from one offset to a later one, in order: each as great as where it begins allows, and none
/// beyond the end.
pub fn path(from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut at = from;
    core::iter::from_fn(move || {
        let left = to.checked_sub(at).filter(|&left| left > 0)?;
        // 2^63 from the beginning: no set has that many versions.
        let aligned = if at == 0 { 63 } else { at.trailing_zeros() };
        let step = 1_u64 << aligned.min(left.ilog2());
        at += step;
        Some((at - step, at))
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_path_is_short_and_made_of_deltas_that_exist(from in 0_u64..1 << 40, lag in 0_u64..1 << 24) {
            let to = from + lag;
            let steps: Vec<_> = path(from, to).collect();
            let mut at = from;
            for &(start, end) in &steps {
                prop_assert_eq!(start, at);
                prop_assert!(levels_at(end).any(|level| level == (start, end)));
                at = end;
            }
            prop_assert_eq!(at, to);
            prop_assert!(lag == 0 || steps.len() as u32 <= 2 * (lag.ilog2() + 1));
        }
    }

    #[test]
    fn a_day_of_versions_is_a_handful_of_files() {
        assert_eq!(path(0, 17_280).count(), 4);
        assert!((1..2_000).all(|from| path(from, from + 17_280).count() <= 28));
        assert_eq!(levels_at(12).collect::<Vec<_>>(), [(11, 12), (10, 12), (8, 12)]);
        assert_eq!(levels_at(0).count(), 0);
    }
}
