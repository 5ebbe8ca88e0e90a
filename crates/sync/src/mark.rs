//! How far a set has got.

use nightlatch_keyset::Head;

/// A head's place in the order of all heads of a set: recovery count, then base number, then change counter, then the
/// time it was issued. Whoever has accepted one refuses every lesser one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Recovery count.
    pub incarnation: u64,
    /// Base number.
    pub epoch: u64,
    /// Change counter.
    pub version: u64,
    /// Unix milliseconds.
    pub issued: u64,
}

impl Mark {
    /// The place of a head.
    pub fn of(head: &Head) -> Self {
        Self { incarnation: head.incarnation, epoch: head.epoch, version: head.version, issued: head.issued }
    }

    /// The place without the time: the state that a head signs.
    pub fn state(&self) -> (u64, u64, u64) {
        (self.incarnation, self.epoch, self.version)
    }
}
