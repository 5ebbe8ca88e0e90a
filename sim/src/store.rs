//! Where files lie, and the caches before them.

use std::collections::BTreeMap;
use std::rc::Rc;

use nightlatch_keyset::FileName;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::plan::{StoreKind, Transport};

/// Bytes that are kept once.
pub(crate) type Bytes = Rc<Vec<u8>>;
/// The longest that a location of a key-value store shows what is old, or absent, in milliseconds.
const KV_LAG: u64 = 60_000;
/// How long a cache keeps a head, in milliseconds; files are kept for ever.
const CDN_TTL: u64 = 2_000;

/// What lies in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Object {
    Head,
    Trust,
    Deny,
    File(FileName),
}

/// A store.
pub(crate) struct Store {
    pub(crate) kind: StoreKind,
    pub(crate) files: BTreeMap<FileName, Bytes>,
    head: Option<Bytes>,
    /// Notes beside the head, with their numbers.
    pub(crate) trust: Option<(u64, Bytes)>,
    pub(crate) deny: Option<(u64, Bytes)>,
    /// Changes with every write of the head.
    tag: u64,
    pub(crate) down_until: u64,
    /// Until then caches before it ask nobody.
    pub(crate) stuck_until: u64,
    caches: BTreeMap<(Transport, u8, Object), (Option<Bytes>, u64)>,
}

impl Store {
    pub(crate) fn new(kind: StoreKind) -> Self {
        let (files, caches) = (BTreeMap::new(), BTreeMap::new());
        Self { kind, files, head: None, trust: None, deny: None, tag: 0, down_until: 0, stuck_until: 0, caches }
    }

    /// The head as a writer sees it, and the tag to replace it by.
    pub(crate) fn head(&self) -> (Option<Bytes>, u64) {
        (self.head.clone(), self.tag)
    }

    /// Replaces the head. False where the store compares and somebody else was faster.
    pub(crate) fn put_head(&mut self, note: Bytes, seen: u64) -> bool {
        if self.kind == (StoreKind::Object { cas: true }) && seen != self.tag {
            return false;
        }
        (self.head, self.tag) = (Some(note), self.tag + 1);
        true
    }

    pub(crate) fn put(&mut self, name: FileName, bytes: Bytes) {
        self.files.insert(name, bytes);
    }

    /// What an edge of a location is given. `None` in the outer place: no answer.
    pub(crate) fn read(
        &mut self,
        object: Object,
        transport: Transport,
        location: u8,
        now: u64,
        rng: &mut ChaCha8Rng,
    ) -> Option<Option<Bytes>> {
        let down = now < self.down_until;
        let bytes = match object {
            Object::Head => self.head.clone(),
            Object::Trust => self.trust.clone().map(|(_, note)| note),
            Object::Deny => self.deny.clone().map(|(_, note)| note),
            Object::File(name) => self.files.get(&name).cloned(),
        };
        let keep = match transport {
            Transport::Kv => rng.random_range(0..KV_LAG),
            // What is there does not change; what is not may come.
            Transport::Cdn if matches!(object, Object::File(_)) && bytes.is_some() => u64::MAX >> 1,
            Transport::Cdn => CDN_TTL,
            _ => return (!down).then_some(bytes),
        };
        // A location of a cache is several servers, each with what it has itself; not all of them get stuck.
        let location = if transport == Transport::Cdn { location * 4 + rng.random_range(0..3) } else { location };
        let stuck = now < self.stuck_until && transport == Transport::Cdn && location % 2 == 1;
        if let Some((bytes, until)) = self.caches.get(&(transport, location, object))
            && (now < *until || stuck || down)
        {
            return Some(bytes.clone());
        }
        if down {
            return None;
        }
        self.caches.insert((transport, location, object), (bytes.clone(), now + keep));
        Some(bytes)
    }
}
