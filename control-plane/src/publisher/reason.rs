//! Why an epoch ends: the next version is then a base.

use std::fmt;
use std::time::Duration;

use super::config::Limits;

/// Bytes that a changed key takes beside the base in an edge's memory, all told.
const OVERLAY_BYTES: u64 = 48;
/// Fewer keys beside the base never end an epoch for the memory they take: it would end too often.
const OVERLAY_FLOOR: u64 = 16_384;
/// The most bytes of deltas of level 0. A delta that leads over a whole epoch is not longer than those it replaces, and has
/// to stay within what a delta may have, also with one more version.
const MAX_DELTAS: u64 = 12 << 20;

/// Why an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CutReason {
    /// There was none before.
    First,
    /// The set is to be made with another pepper.
    Pepper,
    /// Rows are to have other columns.
    Columns,
    /// The files were written by a program before this one: they are made anew from the database.
    Format,
    /// Heads are to be signed with another key.
    Signer,
    /// The set was recovered: it is made anew from the database.
    Recovery,
    /// Too many keys beside the base: lookups and memory suffer.
    Overlay,
    /// Base and changes together are more than the smallest edge holds.
    Memory,
    /// The deltas have become longer than the base, or than one delta may be.
    DeltaBytes,
    /// Too many versions.
    Versions,
    /// The epoch is old.
    Age,
}

impl CutReason {
    /// Its name in logs, metrics and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Pepper => "pepper",
            Self::Columns => "columns",
            Self::Format => "format",
            Self::Signer => "signer",
            Self::Recovery => "recovery",
            Self::Overlay => "overlay",
            Self::Memory => "memory",
            Self::DeltaBytes => "delta_bytes",
            Self::Versions => "versions",
            Self::Age => "age",
        }
    }
}

impl fmt::Display for CutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far an epoch has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Keys of the set.
    pub(super) keys: u64,
    /// Bytes of the base.
    pub(super) base: u64,
    /// Keys beside the base.
    pub(super) overlay: u64,
    /// Bytes of the deltas of level 0.
    pub(super) deltas: u64,
    /// Versions beside the base.
    pub(super) versions: u64,
    pub(super) age: Duration,
}

impl Extent {
    /// Why the set is to be folded into a new base, if it is.
    pub(super) fn reason(&self, limits: &Limits) -> Option<CutReason> {
        let Self { keys, base, overlay, deltas, versions, age } = *self;
        let memory = base.saturating_add(overlay.saturating_mul(OVERLAY_BYTES));
        if versions == 0 {
            None
        } else if overlay > limits.min_overlay.max(keys / 8) {
            Some(CutReason::Overlay)
        } else if overlay >= OVERLAY_FLOOR && base < limits.edge_memory && memory > limits.edge_memory {
            Some(CutReason::Memory)
        } else if deltas > limits.min_delta_bytes.max(base).min(MAX_DELTAS) {
            Some(CutReason::DeltaBytes)
        } else if versions > limits.max_versions {
            Some(CutReason::Versions)
        } else if age > limits.max_age {
            Some(CutReason::Age)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const HOUR: Duration = Duration::from_secs(3600);

    fn small() -> Extent {
        Extent { keys: 1000, base: 30_000, overlay: 10, deltas: 3000, versions: 10, age: HOUR }
    }

    fn reason(extent: Extent) -> Option<CutReason> {
        extent.reason(&Limits::default())
    }

    #[test]
    fn each_reason_alone_ends_an_epoch() {
        assert_eq!(reason(small()), None);
        assert_eq!(reason(Extent { overlay: 65_536, ..small() }), None);
        assert_eq!(reason(Extent { overlay: 65_537, ..small() }), Some(CutReason::Overlay));
        assert_eq!(reason(Extent { overlay: 65_537, keys: 1_000_000, ..small() }), None);
        assert_eq!(reason(Extent { overlay: 125_001, keys: 1_000_000, ..small() }), Some(CutReason::Overlay));
        assert_eq!(reason(Extent { deltas: 4 * MIB, ..small() }), None);
        assert_eq!(reason(Extent { deltas: 4 * MIB + 1, ..small() }), Some(CutReason::DeltaBytes));
        assert_eq!(reason(Extent { deltas: 5 * MIB, base: 5 * MIB, ..small() }), None);
        assert_eq!(reason(Extent { deltas: 12 * MIB + 1, base: 50 * MIB, ..small() }), Some(CutReason::DeltaBytes));
        assert_eq!(reason(Extent { versions: 65_537, ..small() }), Some(CutReason::Versions));
        assert_eq!(reason(Extent { age: 25 * HOUR, ..small() }), Some(CutReason::Age));
        // Nothing has changed: nothing to fold.
        assert_eq!(reason(Extent { age: 25 * HOUR, versions: 0, ..small() }), None);
    }

    #[test]
    fn memory_counts_where_the_base_alone_would_fit() {
        let large = Extent { keys: 5_000_000, base: 99 * MIB, overlay: 30_000, ..small() };
        assert_eq!(reason(large), Some(CutReason::Memory));
        assert_eq!(reason(Extent { overlay: 16_383, ..large }), None);
        assert_eq!(reason(Extent { overlay: 20_000, ..large }), None);
        assert_eq!(reason(Extent { base: 101 * MIB, ..large }), None);
    }
}
