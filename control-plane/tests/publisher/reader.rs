//! An edge, in a few lines: it believes nothing but what the published files prove.

use std::collections::BTreeMap;

use nightlatch::domain::Key;
use nightlatch::publisher::SetDirectory;
use nightlatch_gate::policy::Policy;
use nightlatch_keyset::{Delta, FileName, Hash, Head, MAX_DELTA_LEN, Pepper, Replica, levels};
use nightlatch_sync::{Mark, implied_files};

use crate::world::World;

/// What the files lead to.
pub(crate) struct Edge {
    pub(crate) head: Head,
    pub(crate) replica: Replica,
    pub(crate) policy: Policy,
}

/// Loads a set from its files, from nothing.
pub(crate) fn load(directory: &SetDirectory) -> Edge {
    let note = directory.head().unwrap().expect("there is a head");
    let head = Head::open(&note, &World::verifiers()).unwrap();
    let policy = directory.file(&head.policy_name(), head.policy_len).unwrap().expect("the policy is there");
    assert_eq!((Hash::of(&policy), policy.len() as u64), (head.policy, head.policy_len));
    let mut replica = base(directory, &head);
    let deltas = path(directory, &head, head.base_version, head.version);
    replica.advance(&deltas, &head).unwrap();
    assert_eq!(replica.len() as u64, head.keys);
    Edge { policy: Policy::decode(&policy).unwrap(), head, replica }
}

/// A replica of a head's base.
pub(crate) fn base(directory: &SetDirectory, head: &Head) -> Replica {
    let read = |name: FileName, len: u64| {
        let bytes = directory.file(&name, len).unwrap().unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(bytes.len() as u64, len, "{name}");
        bytes
    };
    let parts = head.part_names().zip(&head.base_parts).map(|(name, len)| read(name, *len)).collect();
    Replica::load(read(head.base_name(), head.base_len), parts, head).unwrap()
}

/// The deltas that lead from one version of a head's epoch to another.
pub(crate) fn path(directory: &SetDirectory, head: &Head, from: u64, to: u64) -> Vec<Delta> {
    let base = head.base_version;
    let open = |(from, to): (u64, u64)| {
        let name = head.delta_name(base + from, base + to);
        let bytes = directory.file(&name, MAX_DELTA_LEN as u64).unwrap().unwrap_or_else(|| panic!("{name} is missing"));
        Delta::open(&bytes, &World::verifiers()).unwrap()
    };
    levels::path(from - base, to - base).map(open).collect()
}

/// The replica is exactly these keys.
pub(crate) fn assert_equals(replica: &Replica, pepper: &Pepper, keys: &[Key]) {
    assert_eq!(replica.len(), keys.len());
    for key in keys {
        let image = key.edge_image();
        let record =
            replica.lookup(&pepper.tag(&key.digest)).unwrap().unwrap_or_else(|| panic!("{} is missing", key.id));
        let profile = replica.profile(record.profile).unwrap();
        assert_eq!(record.status, image.status, "{}", key.id);
        assert_eq!(record.deadline, image.deadline.map(|at| u64::try_from(at).unwrap()), "{}", key.id);
        assert_eq!((record.subject, record.number, record.foreign), (image.subject, key.number, key.imported));
        assert_eq!((profile.kind, profile.environment), (image.kind, image.environment));
        assert_eq!(profile.tier.as_deref(), image.tier.as_ref().map(|tier| tier.as_str()));
        let scopes: Vec<_> = image.scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
        assert_eq!(profile.scopes, scopes);
    }
}

/// Remembers every file ever seen, and refuses what an edge would call a contradiction.
#[derive(Default)]
pub(crate) struct Witness {
    files: BTreeMap<FileName, Vec<u8>>,
    mark: Option<(Mark, Head)>,
}

impl Witness {
    /// Looks at the files as they are now.
    pub(crate) fn look(&mut self, directory: &SetDirectory) {
        // The head first: everything it implies was there before it.
        let note = directory.head().unwrap();
        for name in directory.list().unwrap() {
            // Old ones may have been removed since they were listed.
            let Some(bytes) = directory.file(&name, 1 << 30).unwrap() else { continue };
            let before = self.files.entry(name).or_insert_with(|| bytes.clone());
            assert!(*before == bytes, "{name} has other bytes than before");
        }
        let Some(note) = note else { return };
        let head = Head::open(&note, &World::verifiers()).unwrap();
        for name in implied_files(&head) {
            assert!(self.files.contains_key(&name), "the head names {name}, which is not there");
        }
        let mark = Mark::of(&head);
        if let Some((before, earlier)) = &self.mark {
            assert!(mark >= *before, "the head went back from {before:?} to {mark:?}");
            if mark.state() == before.state() {
                assert_eq!(head.commitment, earlier.commitment);
            }
            if mark == *before {
                assert_eq!(head, *earlier);
            }
        }
        self.mark = Some((mark, head));
    }
}
