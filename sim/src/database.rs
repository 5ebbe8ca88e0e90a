//! The database: one serialisable history. What is committed stays; whoever asked may not hear of it.

use std::collections::{BTreeMap, BTreeSet};

use nightlatch_keyset::{Commitment, Hash, Head, Layout, Status};
use nightlatch_publish::lease::LeaseRow;

use crate::kit::Image;
use crate::members::{Contents, Members, ProfileRow};
use crate::store::Bytes;

/// A key's row.
#[derive(Clone, Debug)]
pub(crate) struct KeyRow {
    pub(crate) revoked: bool,
    pub(crate) retiring: bool,
    pub(crate) disabled: bool,
    pub(crate) deadline: Option<u64>,
    pub(crate) profile: usize,
    /// The successor, while a rotation is open.
    pub(crate) successor: Option<u32>,
}

impl KeyRow {
    pub(crate) fn image(&self) -> Image {
        let status = match self {
            Self { revoked: true, .. } => Status::Revoked,
            Self { disabled: true, .. } => Status::Disabled,
            Self { retiring: true, .. } => Status::Retiring,
            _ => Status::Active,
        };
        Image { status, deadline: self.deadline, profile: self.profile }
    }
}

/// A change of one key, whole.
#[derive(Clone, Debug)]
pub(crate) struct ChangeRow {
    pub(crate) seq: u64,
    pub(crate) key: u32,
    pub(crate) image: Image,
    /// The database clock when it was written.
    pub(crate) created_at: u64,
    /// The highest reading of the database clock before it was committed.
    pub(crate) committed_clock: u64,
    pub(crate) version: Option<u64>,
}

/// How far the set has been published, and how it is to be.
#[derive(Clone, Debug)]
pub(crate) struct SetRow {
    pub(crate) incarnation: u64,
    pub(crate) epoch: u64,
    pub(crate) version: u64,
    pub(crate) commitment: Commitment,
    pub(crate) head: Option<Head>,
    /// The last head's text.
    pub(crate) note: Option<Bytes>,
    pub(crate) head_issued: u64,
    /// Which key signs, and the version of the trust note that lists it.
    pub(crate) signer: usize,
    pub(crate) trust: u64,
    pub(crate) validity: u64,
    pub(crate) policy: usize,
}

/// A base that was published.
#[derive(Clone, Debug)]
pub(crate) struct EpochRow {
    pub(crate) incarnation: u64,
    pub(crate) epoch: u64,
    pub(crate) version: u64,
    pub(crate) commitment: Commitment,
    pub(crate) root: Hash,
    pub(crate) cutoff: u64,
    pub(crate) layout: Layout,
    pub(crate) record: Option<Hash>,
    /// Which key signs its deltas.
    pub(crate) signer: usize,
}

/// Everything that a backup holds.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    pub(crate) lease: LeaseRow,
    pub(crate) set: SetRow,
    pub(crate) keys: BTreeMap<u32, KeyRow>,
    pub(crate) changes: Vec<ChangeRow>,
    pub(crate) members: Members,
    pub(crate) profiles: Vec<ProfileRow>,
    pub(crate) epochs: Vec<EpochRow>,
    /// The link of each version that is a delta.
    pub(crate) links: BTreeMap<u64, Hash>,
    pub(crate) next_seq: u64,
}

/// A person's transaction under way.
pub(crate) struct Mutation {
    pub(crate) rows: Vec<(u32, KeyRow)>,
    /// What is said of a member.
    pub(crate) member: Option<(usize, Contents)>,
    /// The numbers of its change rows, given when they were written.
    pub(crate) seqs: Vec<u64>,
    pub(crate) created_at: u64,
    pub(crate) set: Option<SetEdit>,
}

/// What people change of a set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SetEdit {
    Policy(usize),
    Validity(u64),
}

/// A leader's transaction. It holds the lease's row.
#[derive(Clone, Debug)]
pub(crate) struct Tx {
    pub(crate) id: u64,
    pub(crate) replica: usize,
    /// When its client was last heard.
    pub(crate) heard: u64,
}

/// The database.
pub(crate) struct Database {
    pub(crate) data: Data,
    pub(crate) backup: Option<Data>,
    pub(crate) mutations: BTreeMap<u64, Mutation>,
    pub(crate) locked: BTreeSet<u32>,
    pub(crate) locked_members: BTreeSet<usize>,
    pub(crate) tx: Option<Tx>,
    pub(crate) next_id: u64,
    pub(crate) down_until: u64,
    /// Until then what it answers is lost on the way.
    pub(crate) mute_until: u64,
    clock_set: (u64, i64),
    highest: u64,
}

impl Database {
    pub(crate) fn new(data: Data) -> Self {
        Self {
            data,
            backup: None,
            mutations: BTreeMap::new(),
            locked: BTreeSet::new(),
            locked_members: BTreeSet::new(),
            tx: None,
            next_id: 0,
            down_until: 0,
            mute_until: 0,
            clock_set: (0, 0),
            highest: 0,
        }
    }

    /// The database clock. After a failover the new server's is off, and is put right slowly.
    pub(crate) fn clock(&mut self, now: u64) -> u64 {
        let (since, offset) = self.clock_set;
        let mended = (now.saturating_sub(since) / 2) as i64;
        let off = if offset < 0 { (offset + mended).min(0) } else { (offset - mended).max(0) };
        let clock = (now as i64 + off) as u64;
        self.highest = self.highest.max(clock);
        clock
    }

    /// The highest reading there can have been.
    pub(crate) fn highest(&mut self, now: u64) -> u64 {
        self.clock(now);
        self.highest
    }

    /// Everything that is under way is lost; the next server takes over.
    pub(crate) fn fail_over(&mut self, now: u64, down: u64, clock: i64) {
        self.end_all();
        self.down_until = now + down;
        self.clock_set = (now + down, clock);
    }

    pub(crate) fn end_all(&mut self) {
        self.mutations.clear();
        self.locked.clear();
        self.locked_members.clear();
        self.tx = None;
    }

    /// Whether somebody's transaction keeps others from the lease. One whose client has long been silent is ended.
    pub(crate) fn is_busy(&mut self, now: u64, idle_timeout: Option<u64>) -> bool {
        if let (Some(tx), Some(timeout)) = (&self.tx, idle_timeout)
            && now > tx.heard + timeout
        {
            self.tx = None;
        }
        self.tx.is_some()
    }

    /// Gives `next_id`.
    pub(crate) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl Data {
    /// The last state of each key up to a version, with the time of the row.
    pub(crate) fn images(&self, through: u64) -> BTreeMap<u32, (Image, u64)> {
        let mut rows: Vec<_> = self.changes.iter().filter(|row| row.version.is_some_and(|v| v <= through)).collect();
        rows.sort_by_key(|row| (row.version, row.seq));
        rows.into_iter().map(|row| (row.key, (row.image, row.created_at))).collect()
    }

    /// A version's rows, in the order in which they were written.
    pub(crate) fn rows_of(&self, version: u64) -> Vec<&ChangeRow> {
        let mut rows: Vec<_> = self.changes.iter().filter(|row| row.version == Some(version)).collect();
        rows.sort_by_key(|row| row.seq);
        rows
    }
}
