//! The way from what an edge has to a head: which files it fetches.
//!
//! There are three ways. Within an epoch, *deltas* lead on from the replica's own version. Into the next epoch, the
//! replica is brought to the last version of its own and *rebases* itself by a record. In every other case, and wherever
//! one of these fails, the *base* is fetched, and the deltas that lead on from it.

use alloc::vec::Vec;

use nightlatch_keyset::{FileName, Head, MAX_DELTA_LEN, Replica, levels};

use crate::Refusal;

/// The most files on the way to a head, parts of a base aside; an edge that would need more takes the base. From one
/// version of an epoch to the `n`th after it, there are at most `2·log2(n)`.
pub const MAX_FILES: usize = 96;
/// The smallest base, in bytes, that is worth a rebase; a smaller one is sooner fetched than computed.
pub const REBASE_FROM: u64 = 1 << 20;
/// Bytes that a set takes beside its base: profiles, changes since, deltas on their way in.
pub const OVERHEAD: u64 = 1 << 20;
/// The largest route policy an edge takes, in bytes.
const MAX_POLICY_LEN: u64 = 4 << 20;

/// A file to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Which.
    pub name: FileName,
    /// The most bytes it may have; a longer answer is to be cut off and refused.
    pub max_len: u64,
}

impl Fetch {
    /// Whether `max_len` is what the file has to the byte. Of a delta it is only a bound, far above the usual.
    pub fn is_exact(&self) -> bool {
        !matches!(self.name, FileName::Delta { .. })
    }
}

/// How an attempt gets to its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Base,
    Deltas,
    Rebase,
}

/// A believed head on its way into force.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub(crate) head: Head,
    /// The id of the key that signed it.
    pub(crate) signer: [u8; 4],
    pub(crate) way: Way,
    pub(crate) fetches: Vec<Fetch>,
    /// The new base has no room beside the old one.
    pub(crate) alone: bool,
}

impl Attempt {
    /// The files to fetch, in the order in which [`crate::Edge::finish`] takes them. A base's parts come last.
    pub fn fetches(&self) -> &[Fetch] {
        &self.fetches
    }

    /// The fetches that come before a base's parts; all, where none come.
    pub fn small(&self) -> &[Fetch] {
        &self.fetches[..self.before_parts()]
    }

    /// The parts of a base, which fill memory. Before the first is asked for, [`crate::Edge::make_room`] is due.
    pub fn parts(&self) -> &[Fetch] {
        &self.fetches[self.before_parts()..]
    }

    fn before_parts(&self) -> usize {
        let is_part = |fetch: &Fetch| matches!(fetch.name, FileName::BasePart { .. });
        self.fetches.iter().position(is_part).unwrap_or(self.fetches.len())
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }
}

/// What a plan starts from: the replica, and the head it is served under.
#[derive(Clone, Copy)]
pub(crate) struct Held<'a> {
    pub(crate) head: &'a Head,
    pub(crate) replica: &'a Replica,
}

/// What a plan has to keep to, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) room: u64,
    pub(crate) rebase_from: u64,
}

/// Plans the way from `held` to `head`, through the base wherever `by_base` says so.
pub(crate) fn plan(
    head: Head,
    signer: [u8; 4],
    held: Option<Held<'_>>,
    by_base: bool,
    limits: Limits,
) -> Result<Attempt, Refusal> {
    let shorter = held.filter(|_| !by_base).and_then(|held| without_base(&head, held.replica, limits));
    let (way, files) = shorter.unwrap_or((Way::Base, Vec::new()));
    if way != Way::Deltas {
        check_room(&head, limits)?;
    }
    let alone = way == Way::Base
        && held.is_some_and(|held| {
            let both = head.base_bytes().saturating_add(held.replica.memory() as u64);
            both.saturating_add(OVERHEAD) > limits.room
        });

    let mut fetches = Vec::new();
    // Whoever makes room drops its policy with its replica.
    if alone || held.is_none_or(|held| held.head.policy != head.policy) {
        if head.policy_len > MAX_POLICY_LEN {
            let (needed, allowed) = (head.policy_len, MAX_POLICY_LEN);
            return Err(Refusal::TooLarge { what: "bytes of the route policy", needed, allowed });
        }
        fetches.push(Fetch { name: head.policy_name(), max_len: head.policy_len });
    }
    fetches.extend(files);
    if way == Way::Base {
        fetches.extend(deltas(epoch_of(&head), head.base_version, head.version));
        if fetches.len() > MAX_FILES {
            let (needed, allowed) = (fetches.len() as u64, MAX_FILES as u64);
            return Err(Refusal::TooLarge { what: "files between base and head", needed, allowed });
        }
        fetches.push(Fetch { name: head.base_name(), max_len: head.base_len });
        let parts = head.part_names().zip(&head.base_parts);
        fetches.extend(parts.map(|(name, len)| Fetch { name, max_len: *len }));
    }
    Ok(Attempt { head, signer, way, fetches, alone })
}

/// The way that needs no base, where there is one.
fn without_base(head: &Head, replica: &Replica, limits: Limits) -> Option<(Way, Vec<Fetch>)> {
    let held = Epoch { incarnation: replica.incarnation(), number: replica.epoch(), base: replica.base_version() };
    let (way, last) = if held == epoch_of(head) {
        (Way::Deltas, head.version)
    } else if (held.incarnation, held.number + 1) == (head.incarnation, head.epoch) {
        (Way::Rebase, head.base_version.saturating_sub(1))
    } else {
        return None;
    };
    if replica.version() > last {
        return None;
    }
    let mut files: Vec<Fetch> = deltas(held, replica.version(), last).collect();
    if way == Way::Rebase {
        let (_, max_len) = head.rebase.filter(|_| head.base_bytes() >= limits.rebase_from)?;
        files.push(Fetch { name: head.rebase_name(), max_len });
        files.extend(deltas(epoch_of(head), head.base_version, head.version));
    }
    (files.len() <= MAX_FILES).then_some((way, files))
}

/// An epoch, by its numbers and the version it begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Epoch {
    incarnation: u64,
    number: u64,
    base: u64,
}

fn epoch_of(head: &Head) -> Epoch {
    Epoch { incarnation: head.incarnation, number: head.epoch, base: head.base_version }
}

/// The deltas that lead from one version of an epoch to a later one.
fn deltas(epoch: Epoch, from: u64, to: u64) -> impl Iterator<Item = Fetch> {
    let Epoch { incarnation, number, base } = epoch;
    levels::path(from - base, to - base).map(move |(from, to)| Fetch {
        name: FileName::Delta { incarnation, epoch: number, from: base + from, to: base + to },
        max_len: MAX_DELTA_LEN as u64,
    })
}

fn check_room(head: &Head, limits: Limits) -> Result<(), Refusal> {
    let needed = head.base_bytes().saturating_add(OVERHEAD);
    if needed > limits.room {
        return Err(Refusal::TooLarge { what: "bytes of memory for the set", needed, allowed: limits.room });
    }
    Ok(())
}
