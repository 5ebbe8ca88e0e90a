//! Rebase records.

use nightlatch_keyset::{Hash, Head};

use crate::stand::{stand, tag};

/// The input is a rebase record, named by a head that follows on the stand's version 2. One that is taken leads to the very
/// base that the head signs, or leaves the replica unfit; one that is refused changes nothing.
pub fn rebase(input: &[u8]) {
    let mut replica = stand().replica.clone();
    let head = named_by_head(input);
    if replica.begin_rebase(input, &head).is_err() {
        assert!(!replica.is_rebasing() && !replica.is_corrupt() && replica.version() == 2);
        return;
    }
    loop {
        match replica.rebase_step() {
            Ok(false) => assert!(replica.lookup(&tag(0)).is_ok(), "it goes on answering"),
            Ok(true) => {
                assert_eq!((replica.version(), replica.epoch()), (3, 2));
                assert_eq!(replica.len() as u64, head.keys);
                assert_eq!(replica.iter().filter(Result::is_ok).count(), replica.len());
                return;
            }
            Err(_) => {
                assert!(replica.is_corrupt() && replica.lookup(&tag(0)).is_err(), "unfit, and it answers");
                return;
            }
        }
    }
}

/// The head of the stand's version 3, naming another record.
pub fn named_by_head(record: &[u8]) -> Head {
    Head { rebase: Some((Hash::of(record), record.len() as u64)), ..stand().rebased.clone() }
}
