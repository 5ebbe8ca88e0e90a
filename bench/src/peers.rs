//! What else could hold the same keys.

use std::collections::HashMap;

use anyhow::{Result, anyhow};
use foldhash::fast::RandomState;
use nightlatch_keyset::Tag;
use xorf::{BinaryFuse8, BinaryFuse16, Filter};

/// A key of the peers: as many bits of the tag as a set matches at least.
pub(crate) type Key = [u8; 16];
/// What is known of a key: meta, deadline and subject.
pub(crate) type Payload = [u32; 3];
/// The map to be measured against.
pub(crate) type Fast = hashbrown::HashMap<Key, Payload, RandomState>;

/// All of them, filled with the same keys.
pub(crate) struct Peers {
    pub(crate) fast: Fast,
    pub(crate) std: HashMap<Key, Payload>,
    pub(crate) sorted: Vec<Key>,
    pub(crate) fuse8: BinaryFuse8,
    pub(crate) fuse16: BinaryFuse16,
}

impl Peers {
    pub(crate) fn of(tags: &[Tag]) -> Result<Self> {
        let payload = |number: usize| [number as u32, 1, 2];
        let mut fast = Fast::default();
        let mut std = HashMap::new();
        for (number, tag) in tags.iter().enumerate() {
            fast.insert(key(tag), payload(number));
            std.insert(key(tag), payload(number));
        }
        let mut sorted: Vec<Key> = tags.iter().map(key).collect();
        sorted.sort_unstable();
        let hashes: Vec<u64> = tags.iter().map(|tag| hash(&key(tag))).collect();
        let fuse8 = BinaryFuse8::try_from(hashes.as_slice()).map_err(|error| anyhow!("{error}"))?;
        let fuse16 = BinaryFuse16::try_from(hashes.as_slice()).map_err(|error| anyhow!("{error}"))?;
        Ok(Self { fast, std, sorted, fuse8, fuse16 })
    }

    /// Bytes of what could reject.
    pub(crate) fn filter_bytes(&self) -> [usize; 2] {
        [self.fuse8.len(), 2 * self.fuse16.len()]
    }
}

/// A tag as the peers hold it.
pub(crate) fn key(tag: &Tag) -> Key {
    let mut key = [0; 16];
    key.copy_from_slice(&tag.as_bytes()[..16]);
    key
}

/// A tag as filters take it.
pub(crate) fn hash(key: &Key) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&key[..8]);
    u64::from_le_bytes(bytes)
}
