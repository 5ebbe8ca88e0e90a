//! The tree, against the vectors of Certificate Transparency and against the definition of RFC 9162 itself.

use nightlatch_audit::{BAND, Block, Span, Tree, block_of, is_included, leaf, mountain};
use nightlatch_keyset::Hash;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// RFC 9162, 2.1.1, word by word.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of(&[]),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            join(&root(left), &root(right))
        }
    }
}

/// RFC 9162, 2.1.3.1.
fn path(at: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut path, other) =
        if at < left.len() { (path(at, left), root(right)) } else { (path(at - left.len(), right), root(left)) };
    path.push(other);
    path
}

/// The largest power of two below.
fn split(len: usize) -> usize {
    len.next_power_of_two() / 2
}

fn join(left: &Hash, right: &Hash) -> Hash {
    Hash::of(&[&[1][..], &left.0, &right.0].concat())
}

fn entries(count: u64) -> Vec<Hash> {
    (0..count).map(|number| Hash::of(&number.to_le_bytes())).collect()
}

/// A tree with the nodes that a log keeps of it.
struct Log {
    tree: Tree,
    entries: Vec<Hash>,
    kept: BTreeMap<(u32, u64), Hash>,
}

impl Log {
    fn new(count: u64) -> Self {
        let (mut tree, mut kept) = (Tree::default(), BTreeMap::new());
        let entries = entries(count);
        for entry in &entries {
            tree.push(entry, |level, place, hash| assert!(kept.insert((level, place), hash).is_none()));
        }
        Self { tree, entries, kept }
    }

    fn nodes(&self, span: Span) -> Vec<Hash> {
        let node = |place| match span.level {
            0 => leaf(&self.entries[place as usize]),
            level => self.kept[&(level, place)],
        };
        (span.first..span.first + span.len).map(node).collect()
    }

    fn tree_at(&self, count: u64) -> Tree {
        let spans: Vec<_> = Span::of_peaks(count).into_iter().map(|span| self.nodes(span)).collect();
        Tree::from_spans(count, &spans).unwrap()
    }

    fn path(&self, index: u64, count: u64) -> Vec<Hash> {
        let (height, _) = mountain(index, count).unwrap();
        let blocks = (0..height).step_by(BAND as usize).map(|level| {
            let span = block_of(index, level, height);
            Block::new(span.first, self.nodes(span)).unwrap()
        });
        let blocks: Vec<_> = blocks.collect();
        self.tree_at(count).path(index, &blocks.iter().collect::<Vec<_>>()).unwrap()
    }
}

/// The roots that Certificate Transparency's own tests have for their eight leaves. Ours are hashes of entries, so here the
/// leaves are made by hand.
#[test]
fn the_definition_here_is_certificate_transparencys() {
    let inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let leaves: Vec<Hash> = inputs.iter().map(|hex| Hash::of(&[&[0][..], &bytes(hex)].concat())).collect();
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    for (count, expected) in roots.iter().enumerate() {
        assert_eq!(root(&leaves[..=count]).to_hex(), *expected);
    }
    assert_eq!(leaf(&Hash([7; 32])), Hash::of(&[&[0][..], &[7; 32]].concat()));
}

#[test]
fn every_small_tree_is_the_definitions() {
    let log = Log::new(70);
    let leaves: Vec<Hash> = log.entries.iter().map(leaf).collect();
    let mut tree = Tree::default();
    assert_eq!(tree.root(), root(&[]));
    for count in 1..=leaves.len() {
        tree.push(&log.entries[count - 1], |_, _, _| {});
        assert_eq!(tree.root(), root(&leaves[..count]));
        for at in 0..count {
            let path = path(at, &leaves[..count]);
            assert_eq!(log.path(at as u64, count as u64), path);
            assert!(is_included(&log.entries[at], at as u64, count as u64, &path, &tree.root()));
        }
    }
}

/// Over several bands, and at every earlier size, from what is kept.
#[test]
fn what_is_kept_is_enough_for_every_size_and_entry() {
    let log = Log::new(66_100);
    let leaves: Vec<Hash> = log.entries.iter().map(leaf).collect();
    assert!(log.kept.len() < 260 && log.kept.keys().any(|(level, _)| *level == 16));
    for count in [1, 255, 256, 257, 511, 512, 5_000, 65_535, 65_536, 65_537, 65_793, 66_100] {
        let tree = log.tree_at(count);
        assert_eq!(tree.root(), root(&leaves[..count as usize]), "{count}");
        for index in [0, 1, 254, 255, 256, 4_999, 65_535, 65_536, 66_099].into_iter().filter(|index| *index < count) {
            assert_eq!(log.path(index, count), path(index as usize, &leaves[..count as usize]), "{index} of {count}");
        }
    }
    assert_eq!(log.tree_at(66_100), log.tree);
}

proptest! {
    /// Another entry, place, size, path or root is not proven.
    #[test]
    fn nothing_else_is_included(count in 1_u64..600, at in any::<prop::sample::Index>(), flip in any::<u8>()) {
        let log = Log::new(count);
        let index = at.index(count as usize) as u64;
        let (path, root) = (log.path(index, count), log.tree.root());
        let entry = log.entries[index as usize];
        prop_assert!(is_included(&entry, index, count, &path, &root));
        prop_assert!(!is_included(&Hash::of(b"other"), index, count, &path, &root));
        prop_assert!(!is_included(&entry, count, count, &path, &root));
        if count > 1 {
            prop_assert!(!is_included(&entry, (index + 1) % count, count, &path, &root));
            let mut other = path.clone();
            let len = other.len();
            other[flip as usize % len].0[0] ^= 1;
            prop_assert!(!is_included(&entry, index, count, &other, &root));
            prop_assert!(!is_included(&entry, index, count, &path[1..], &root));
        }
        let longer = [path.clone(), vec![root]].concat();
        prop_assert!(!is_included(&entry, index, count, &longer, &root));
        prop_assert!(!is_included(&entry, index, count, &path, &Hash::of(b"other")));
    }
}
