//! Keys that were added since the base: a hash table whose entries are in the order of their tags.
//!
//! Tags are uniformly distributed, so a tag's place in a sorted table can be guessed from its first bits. Entries are kept
//! as near behind that place as order allows (sorted linear probing: Amble and Knuth, "Ordered hash tables", 1974). Adding
//! and finding cost as in any hash table, and ranks, by which deltas name added keys, come from counting.

use alloc::vec;
use alloc::vec::Vec;

use crate::layout::Columns;
use crate::pepper::Tag;
use crate::row::{self, Record};

/// Bytes of an entry: tag 17, meta 3, deadline 4, subject 4, key number 4.
const ENTRY_LEN: usize = 32;
/// Places beyond the last home: room for the last run.
const TAIL: usize = 64;
/// Homes in the smallest table.
const LEAST: usize = 64;

type Entry = [u8; ENTRY_LEN];

/// The added keys.
#[derive(Clone, Default)]
pub(crate) struct Overlay {
    homes: usize,
    entries: Vec<Entry>,
    /// One bit per entry: whether there is one.
    taken: Vec<u64>,
    len: usize,
}

impl Overlay {
    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes it takes in memory.
    pub(crate) fn memory(&self) -> usize {
        self.entries.capacity() * ENTRY_LEN + self.taken.capacity() * 8
    }

    /// Looks a key up.
    #[inline]
    pub(crate) fn get(&self, tag: &Tag) -> Option<Record> {
        if self.len == 0 {
            return None;
        }
        let at = self.place(tag);
        let entry = self.entries.get(at).filter(|_| self.is_taken(at))?;
        if same(&tag_of(entry), tag) { read(entry) } else { None }
    }

    /// Adds a key; false where it is there.
    pub(crate) fn insert(&mut self, tag: &Tag, record: &Record) -> bool {
        // At most three of four homes are taken: beyond, runs become long, and a new entry moves half of one.
        if self.len * 4 >= self.homes * 3 {
            self.grow();
        }
        let at = self.place(tag);
        if self.is_taken(at) && same(&tag_of(&self.entries[at]), tag) {
            return false;
        }
        let free = (at..self.entries.len()).find(|&place| !self.is_taken(place)).unwrap_or(self.entries.len());
        self.make_room(free);
        self.entries.copy_within(at..free, at + 1);
        self.entries[at] = entry(tag, record);
        self.taken[free / 64] |= 1 << (free % 64);
        self.len += 1;
        true
    }

    /// Makes sure that there is a place of that number: more of them behind the last home, where tags crowd there.
    fn make_room(&mut self, place: usize) {
        if place >= self.entries.len() {
            self.entries.resize(place + TAIL, [0; ENTRY_LEN]);
            self.taken.resize(self.entries.len().div_ceil(64), 0);
        }
    }

    /// Every key, ascending by tag.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Tag, Record)> + '_ {
        self.places().filter_map(|at| Some((tag_of(&self.entries[at]), read(&self.entries[at])?)))
    }

    /// The keys from a tag on, ascending.
    pub(crate) fn from(&self, tag: &Tag) -> impl Iterator<Item = (Tag, Record)> + '_ {
        let start = if self.len == 0 { 0 } else { self.place(tag) };
        (start..self.entries.len())
            .filter(|&at| self.is_taken(at))
            .filter_map(|at| Some((tag_of(&self.entries[at]), read(&self.entries[at])?)))
    }

    /// Finds places by rank. Ranks are asked for in ascending order and lie below [`Self::len`].
    pub(crate) fn ranks(&self) -> Ranks<'_> {
        Ranks { taken: &self.taken, word: 0, before: 0 }
    }

    /// The key at a place that [`Self::ranks`] has found.
    pub(crate) fn at(&self, place: usize) -> Option<(Tag, Record)> {
        let entry = self.entries.get(place)?;
        Some((tag_of(entry), read(entry)?))
    }

    /// Replaces what is said of the key at a place.
    pub(crate) fn replace(&mut self, place: usize, record: &Record) {
        if let Some(entry) = self.entries.get_mut(place) {
            row::encode(record, Columns::ALL, &mut entry[Tag::LEN..]);
        }
    }

    /// The first place at or behind a tag's home that is free or holds no lesser tag.
    #[inline]
    fn place(&self, tag: &Tag) -> usize {
        let mut at = self.home(tag);
        while self.is_taken(at) && less(&tag_of(&self.entries[at]), tag) {
            at += 1;
        }
        at
    }

    fn home(&self, tag: &Tag) -> usize {
        (((tag.words().0 >> 32) * self.homes as u64) >> 32) as usize
    }

    fn is_taken(&self, at: usize) -> bool {
        self.taken.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 != 0)
    }

    fn places(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.entries.len()).filter(|&at| self.is_taken(at))
    }

    fn grow(&mut self) {
        let homes = (self.homes + self.homes / 2).max(LEAST);
        let mut grown = Self {
            homes,
            entries: vec![[0; ENTRY_LEN]; homes + TAIL],
            taken: vec![0; (homes + TAIL).div_ceil(64)],
            len: self.len,
        };
        // In order, so each goes to its home or right behind the one before.
        let mut next = 0;
        for at in self.places() {
            let place = grown.home(&tag_of(&self.entries[at])).max(next);
            grown.make_room(place);
            grown.entries[place] = self.entries[at];
            grown.taken[place / 64] |= 1 << (place % 64);
            next = place + 1;
        }
        *self = grown;
    }
}

/// Finds the places of ascending ranks.
pub(crate) struct Ranks<'a> {
    taken: &'a [u64],
    word: usize,
    before: u32,
}

impl Ranks<'_> {
    /// The place of the key of that rank.
    pub(crate) fn place(&mut self, rank: u32) -> Option<usize> {
        loop {
            let word = *self.taken.get(self.word)?;
            if self.before + word.count_ones() > rank {
                let mut left = word;
                for _ in self.before..rank {
                    left &= left - 1;
                }
                return Some(self.word * 64 + left.trailing_zeros() as usize);
            }
            self.before += word.count_ones();
            self.word += 1;
        }
    }
}

fn entry(tag: &Tag, record: &Record) -> Entry {
    let mut entry = [0; ENTRY_LEN];
    entry[..Tag::LEN].copy_from_slice(tag.as_bytes());
    row::encode(record, Columns::ALL, &mut entry[Tag::LEN..]);
    entry
}

fn tag_of(entry: &Entry) -> Tag {
    let mut tag = [0; Tag::LEN];
    tag.copy_from_slice(&entry[..Tag::LEN]);
    Tag::from_bytes(tag)
}

fn read(entry: &Entry) -> Option<Record> {
    row::decode(&entry[Tag::LEN..], Columns::ALL, usize::MAX).ok()
}

/// Whether two tags are the same, in a time that does not depend on where they differ.
fn same(a: &Tag, b: &Tag) -> bool {
    let (a, b) = (a.words(), b.words());
    (a.0 ^ b.0) | (a.1 ^ b.1) | u64::from(a.2 ^ b.2) == 0
}

/// Whether one tag comes before another. Whole words are compared: only two tags with the same 64 bits take longer.
fn less(a: &Tag, b: &Tag) -> bool {
    a.words() < b.words()
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::row::Status;

    fn record(number: u32) -> Record {
        Record { status: Status::Active, foreign: false, deadline: None, profile: number & 7, subject: number, number }
    }

    proptest! {
        /// A plain sorted map beside it. Few distinct first bytes crowd the same homes.
        #[test]
        fn it_is_a_sorted_map(keys in proptest::collection::vec((any::<u8>(), any::<u16>()), 0..600), crowd in any::<bool>()) {
            let (mut overlay, mut model) = (Overlay::default(), BTreeMap::new());
            for (number, (first, last)) in keys.into_iter().enumerate() {
                let mut bytes = [0; Tag::LEN];
                bytes[0] = if crowd { first & 1 | 0xfe } else { first };
                bytes[1..3].copy_from_slice(&last.to_be_bytes());
                let (tag, record) = (Tag::from_bytes(bytes), record(number as u32));
                let fresh = !model.contains_key(&tag);
                prop_assert_eq!(overlay.insert(&tag, &record), fresh);
                model.entry(tag).or_insert(record);
            }
            prop_assert_eq!(overlay.len(), model.len());
            prop_assert!(overlay.iter().eq(model.iter().map(|(tag, record)| (*tag, *record))));
            let mut ranks = overlay.ranks();
            for (rank, (tag, record)) in model.iter().enumerate() {
                prop_assert_eq!(overlay.get(tag), Some(*record));
                let place = ranks.place(rank as u32).unwrap();
                prop_assert_eq!(overlay.at(place), Some((*tag, *record)));
            }
            prop_assert!(overlay.get(&Tag::from_bytes([3; Tag::LEN])).is_none());
        }
    }
}
