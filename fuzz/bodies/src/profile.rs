//! Profiles, as they stand in an index and in a delta.

use nightlatch_keyset::{Base, Delta, Hash};

use crate::delta::signed;
use crate::stand::stand;

/// The input is how many profiles there are, in one byte, and their bytes. An index and a delta take the same ones.
pub fn profile(input: &[u8]) {
    let Some((&count, profiles)) = input.split_first() else { return };
    let (index, root) = in_index(count.into(), profiles);
    let of_base = Base::load(index, Vec::new(), &root);
    let of_delta = Delta::open(&signed(&in_delta(count.into(), profiles)).0, &stand().verifiers);
    assert_eq!(of_base.is_ok(), of_delta.is_ok(), "an index and a delta disagree on a profile");
    if let Ok(base) = of_base {
        assert_eq!(base.profiles().len(), usize::from(count));
        for profile in base.profiles() {
            assert!(profile.scopes.iter().all(|scope| profile.has_scope(scope)));
        }
    }
}

/// The index of a base of no keys with that profile section, and its root.
pub fn in_index(count: u32, profiles: &[u8]) -> (Vec<u8>, Hash) {
    let mut index = stand().base.index[..192].to_vec();
    index[40..44].fill(0);
    index[44..48].copy_from_slice(&count.to_le_bytes());
    index[48..52].copy_from_slice(&(profiles.len() as u32).to_le_bytes());
    index[52] = 0;
    index.extend_from_slice(profiles);
    index.extend_from_slice(&[0; 8]);
    let directory = [0; 4];
    let leaf = Hash::of(&[&[0; 5][..], &directory].concat());
    index.extend_from_slice(&Hash::of(&[&[1][..], &leaf.0].concat()).0);
    let root = Hash::of(&index);
    index.extend_from_slice(&leaf.0);
    index.extend_from_slice(&directory);
    (index, root)
}

/// The body of a delta that does nothing but bring those profiles.
pub fn in_delta(count: u32, profiles: &[u8]) -> Vec<u8> {
    let mut body = crate::delta::body(&stand().delta).unwrap_or_default()[..36].to_vec();
    body[24..28].copy_from_slice(&count.to_le_bytes());
    body[28..32].fill(0);
    body[32..36].copy_from_slice(&(profiles.len() as u32).to_le_bytes());
    body.extend_from_slice(profiles);
    // Three counts of nothing.
    body.push(0b111);
    body
}
