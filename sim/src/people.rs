//! People: they issue, rotate, extend, cancel, revoke, and restore from backups. Each call is a transaction that writes its
//! rows at one moment and commits at a later one; not everybody hears the answer.

use std::rc::Rc;

use nightlatch_keyset::{Delta, FileName, Record, Replica, Status};
use rand::{Rng as _, RngExt as _};

use crate::database::{ChangeRow, KeyRow, Mutation, SetEdit};
use crate::members::{MEMBERS, ProfileRow};
use crate::plan::{Act, START};
use crate::world::{Event, World};

/// The routine change of the key that signs, step by step; the numbers are the old key and the new one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SignerStep {
    /// The new one signs.
    Switch(usize, usize, u64),
    /// The old one is believed no more.
    Drop(usize, usize),
}

impl World {
    /// Begins a person's transaction, where the control plane is there to take the call and the rules allow it.
    pub(crate) fn person(&mut self, act: Act) {
        let now = self.now;
        let reachable = self.replicas.iter().any(|replica| replica.up && replica.stalled_until <= now);
        if !reachable || now < self.database.down_until {
            return;
        }
        let clock = self.database.clock(now);
        let (rows, set) = match act {
            Act::Issue => (vec![self.new_key(clock, 0)], None),
            Act::Rotate { pick, overlap_s } => (self.rotate(pick, overlap_s, clock), None),
            Act::Extend { pick, by_s } => (self.extend(pick, by_s, clock), None),
            Act::Cancel { pick } => (self.cancel(pick, clock), None),
            Act::Revoke { pick } => (self.revoke(pick, 1), None),
            Act::RevokeMany { pick, count } => (self.revoke(pick, count), None),
            Act::Disable { pick } => (self.change(pick, |row| !row.disabled, |row| row.disabled = true), None),
            Act::Enable { pick } => (self.change(pick, |row| row.disabled, |row| row.disabled = false), None),
            Act::Policy { pick } => (Vec::new(), Some(SetEdit::Policy(pick as usize % self.kit.policies.len()))),
            Act::Validity { ms } => (Vec::new(), Some(SetEdit::Validity(ms))),
            Act::Member { member, act } => return self.change_member(member, act),
            _ => return,
        };
        if rows.is_empty() && set.is_none() {
            return;
        }
        self.database.locked.extend(rows.iter().map(|(key, _)| *key));
        let first = self.database.data.next_seq;
        self.database.data.next_seq += rows.len() as u64;
        let seqs = (first..self.database.data.next_seq).collect();
        let id = self.database.id();
        self.database.mutations.insert(id, Mutation { rows, member: None, seqs, created_at: clock, set });
        let long = self.rng.random_ratio(1, 8);
        let wait = self.rng.random_range(1..if long { 3_000 } else { 30 });
        self.push(now + wait, Event::Commit(id));
    }

    /// Commits it.
    pub(crate) fn commit(&mut self, id: u64) {
        let now = self.now;
        let Some(mutation) = self.database.mutations.remove(&id) else { return };
        let committed_clock = self.database.highest(now);
        let heard = now >= self.database.mute_until;
        match mutation.set {
            Some(SetEdit::Policy(policy)) => self.database.data.set.policy = policy,
            Some(SetEdit::Validity(ms)) => self.database.data.set.validity = ms,
            None => {}
        }
        if let (Some((member, contents)), Some(&seq)) = (mutation.member, mutation.seqs.first()) {
            let created_at = mutation.created_at;
            self.commit_member(ProfileRow { seq, member, contents, created_at, committed_clock, version: None });
        }
        for ((key, row), seq) in mutation.rows.into_iter().zip(mutation.seqs) {
            let image = row.image();
            if row.revoked {
                self.revoked.push(key);
            }
            self.database.locked.remove(&key);
            self.database.data.keys.insert(key, row);
            let created_at = mutation.created_at;
            self.database.data.changes.push(ChangeRow { seq, key, image, created_at, committed_clock, version: None });
            self.truth.committed(key, image, self.is_refused(image.profile), now, heard);
        }
        self.counts.commits += 1;
    }

    fn free(&self, usable: impl Fn(&KeyRow) -> bool) -> Vec<u32> {
        let keys = self.database.data.keys.iter();
        keys.filter(|(key, row)| !row.revoked && !self.database.locked.contains(key) && usable(row))
            .map(|(key, _)| *key)
            .collect()
    }

    fn change(&self, pick: u32, fits: impl Fn(&KeyRow) -> bool, change: impl Fn(&mut KeyRow)) -> Vec<(u32, KeyRow)> {
        let free = self.free(fits);
        let Some(&key) = free.get(pick as usize % free.len().max(1)) else { return Vec::new() };
        let mut row = self.database.data.keys[&key].clone();
        change(&mut row);
        vec![(key, row)]
    }

    /// A key that nobody had before.
    pub(crate) fn new_key(&mut self, clock: u64, profile: usize) -> (u32, KeyRow) {
        let number = self.keys.len() as u32;
        let key = self.kit.key(&mut self.rng, clock / 1000);
        self.keys.push(key);
        self.truth.add();
        let profile = (profile + number as usize) % (self.kit.profiles.len() + MEMBERS);
        let row = KeyRow { revoked: false, retiring: false, disabled: false, deadline: None, profile, successor: None };
        (number, row)
    }

    /// Milliseconds after a commit by which it is in force everywhere.
    pub(crate) fn bound(&self) -> u64 {
        self.truth.largest_validity + self.setup.skew
    }

    fn rotate(&mut self, pick: u32, overlap_s: u64, clock: u64) -> Vec<(u32, KeyRow)> {
        let bound = self.bound();
        if overlap_s * 1000 < bound {
            return Vec::new();
        }
        let deadline = clock / 1000 + overlap_s;
        let mut rows = self.change(
            pick,
            |row| row.successor.is_none() && row.deadline.is_none(),
            |row| {
                (row.retiring, row.deadline) = (true, Some(deadline));
            },
        );
        if rows.is_empty() {
            return rows;
        }
        let (successor, row) = self.new_key(clock, rows[0].1.profile);
        rows[0].1.successor = Some(successor);
        rows.push((successor, KeyRow { profile: rows[0].1.profile, ..row }));
        rows
    }

    fn extend(&mut self, pick: u32, by_s: u64, clock: u64) -> Vec<(u32, KeyRow)> {
        let bound = self.bound();
        let in_time = |row: &KeyRow| row.retiring && row.deadline.is_some_and(|at| clock + bound < at * 1000);
        self.change(pick, in_time, |row| row.deadline = row.deadline.map(|at| at + by_s))
    }

    fn cancel(&mut self, pick: u32, clock: u64) -> Vec<(u32, KeyRow)> {
        let bound = self.bound();
        let in_time = |row: &KeyRow| row.retiring && row.deadline.is_some_and(|at| clock + bound < at * 1000);
        let mut rows = self.change(pick, in_time, |row| (row.retiring, row.deadline) = (false, None));
        let successor = rows.first().and_then(|(_, row)| row.successor);
        if let Some(successor) = successor {
            rows[0].1.successor = None;
            let held = &self.database.data.keys[&successor];
            if pick.is_multiple_of(2) && !held.revoked && !self.database.locked.contains(&successor) {
                rows.push((successor, KeyRow { revoked: true, ..held.clone() }));
            }
        }
        rows
    }

    fn revoke(&mut self, pick: u32, count: u32) -> Vec<(u32, KeyRow)> {
        let free = self.free(|_| true);
        let mut rows = Vec::new();
        for step in 0..count.min(free.len() as u32) {
            let key = free[(pick.wrapping_add(step)) as usize % free.len()];
            rows.push((key, KeyRow { revoked: true, ..self.database.data.keys[&key].clone() }));
        }
        rows
    }

    /// Puts the last backup in the database's place. The control plane is stopped for it.
    pub(crate) fn restore(&mut self, recover_after: u64) {
        let Some(backup) = self.database.backup.clone() else { return };
        for replica in 0..self.replicas.len() {
            self.replicas[replica].kill();
            let wait = self.rng.random_range(500..4_000);
            self.push(self.now + wait, Event::Revive(replica));
        }
        self.database.end_all();
        self.restored_at = self.now;
        self.database.data = backup;
        // Texts of keys issued since are in somebody's hands; no number is given twice.
        let members = self.database.data.members.clone();
        let refused = |profile| self.kit.profile(profile, &members).refused;
        self.truth.restored(&self.database.data, refused, self.now);
        self.counts.restores += 1;
        self.push(self.now + recover_after, Event::Recover);
    }

    /// What `nightlatch recover` does, once a publisher has refused: takes over what was published of revoked and disabled
    /// keys, gives all that waits a version above what was published, and raises the incarnation.
    pub(crate) fn recover(&mut self) {
        let refused = self.replicas.iter().any(|replica| replica.refuses);
        if !refused || self.now < self.database.down_until || !self.database.mutations.is_empty() {
            // Nothing was published since the backup; or nobody has looked yet; or somebody's transaction has the keys.
            let end = START + self.setup.length;
            if self.now < self.restored_at.max(end) + 30_000 {
                self.push(self.now + 200, Event::Recover);
            }
            return;
        }
        let published = self.published_states();
        let clock = self.database.clock(self.now);
        let committed_clock = self.database.highest(self.now);
        let mut taken = Vec::new();
        for (key, row) in &mut self.database.data.keys {
            let tag = &self.keys[*key as usize].tag;
            let last = published.last().and_then(|replica| replica.lookup(tag).ok().flatten());
            let is_revoked =
                |replica: &Replica| matches!(replica.lookup(tag), Ok(Some(record)) if record.status == Status::Revoked);
            let revoke = !row.revoked && published.iter().any(is_revoked);
            let is_refused = |profile| published.last().and_then(|replica| Some(replica.profile(profile)?.refused));
            let disabled =
                |record: &Record| record.status == Status::Disabled || is_refused(record.profile).unwrap_or_default();
            let disable = !row.disabled && last.as_ref().is_some_and(disabled);
            if revoke || disable {
                (row.revoked, row.disabled) = (row.revoked || revoke, row.disabled || disable);
                taken.push((*key, row.image()));
            }
        }
        let above = published.last().map_or((0, 0, 0), |last| (last.incarnation(), last.epoch(), last.version()));
        let issued = self.heads_published.values().map(|head| head.issued).max().unwrap_or_default();
        // The key that signed what is published, and the note that lists it.
        let signer = self.signed_last;
        let taken: Vec<_> =
            taken.into_iter().map(|(key, image)| (key, image, self.is_refused(image.profile))).collect();
        let data = &mut self.database.data;
        for (key, image, refused) in taken {
            let seq = data.next_seq;
            data.next_seq += 1;
            data.changes.push(ChangeRow { seq, key, image, created_at: clock, committed_clock, version: None });
            self.truth.committed(key, image, refused, self.now, true);
        }
        let set = &mut data.set;
        set.incarnation = set.incarnation.max(above.0) + 1;
        (set.epoch, set.version) = (set.epoch.max(above.1), set.version.max(above.2) + 1);
        (set.head, set.note, set.head_issued) = (None, None, set.head_issued.max(issued));
        (set.signer, set.trust) = signer;
        // What waits is in the incarnation's first base, not behind it: else that base would have revoked keys alive.
        for row in data.changes.iter_mut().filter(|row| row.version.is_none()) {
            row.version = Some(set.version);
        }
        for row in data.profiles.iter_mut().filter(|row| row.version.is_none()) {
            row.version = Some(set.version);
        }
        self.counts.recoveries += 1;
        for replica in &mut self.replicas {
            replica.refuses = false;
        }
    }

    /// Every state that the publisher's store leads to: of each head's and each delta's end there.
    fn published_states(&self) -> Vec<Replica> {
        let store = &self.stores[0];
        let mut states = Vec::new();
        for head in self.heads_published.values() {
            let index = store.files.get(&head.base_name());
            let parts: Option<Vec<_>> = head.part_names().map(|name| store.files.get(&name)).collect();
            let (Some(index), Some(parts)) = (index, parts) else { continue };
            let parts = parts.into_iter().map(|part| part.to_vec()).collect();
            let Ok(mut replica) = Replica::load(index.to_vec(), parts, head) else { continue };
            loop {
                let at = replica.version();
                let name = FileName::Delta { incarnation: head.incarnation, epoch: head.epoch, from: at, to: at + 1 };
                let Some(bytes) = store.files.get(&name) else { break };
                let Ok(delta) = Delta::open(bytes, &self.kit.verifiers) else { break };
                let end = *delta.to_commitment();
                if replica.advance_to(&[delta], at + 1, &end).is_err() {
                    break;
                }
            }
            states.push(replica);
        }
        states.sort_by_key(|replica| (replica.incarnation(), replica.epoch(), replica.version()));
        states
    }

    /// Changes the key that signs heads. As a routine: both are listed, then, when every edge must know, the new one signs,
    /// then the old one goes. Where the old one may be a thief's, all at once.
    pub(crate) fn rotate_signer(&mut self, urgent: bool, wait: u64) {
        if self.now < self.database.down_until || self.rotating_until > self.now {
            return;
        }
        let old = self.database.data.set.signer;
        let new = (old + 1) % self.kit.signers.len();
        if urgent {
            let set = &self.database.data.set;
            self.say_trust(&[new], [set.incarnation, set.epoch, set.version]);
            self.database.data.set.signer = new;
        } else {
            self.rotating_until = self.now + 3 * wait;
            self.say_trust(&[old, new], [0; 3]);
            self.push(self.now + wait, Event::Signer(SignerStep::Switch(old, new, wait)));
        }
        self.counts.rotations_of_signers += 1;
    }

    pub(crate) fn change_signer(&mut self, step: SignerStep) {
        let set = &mut self.database.data.set;
        match step {
            // A restore has undone what was begun: begin again another time.
            SignerStep::Switch(old, new, wait) if set.signer == old && self.restored_at + 2 * wait < self.now => {
                set.signer = new;
                self.push(self.now + wait, Event::Signer(SignerStep::Drop(old, new)));
            }
            SignerStep::Drop(old, new) if set.signer == new && old != new => self.say_trust(&[new], [0; 3]),
            _ => {}
        }
    }

    fn say_trust(&mut self, signers: &[usize], floor: [u64; 3]) {
        let version = self.trust_notes.len() as u64 + 1;
        self.trust_notes.push(Rc::new(self.kit.trust(version, signers, floor)));
        self.database.data.set.trust = version;
    }

    /// The control plane is down, and a key must die: its owner writes a deny note where edges read.
    pub(crate) fn emergency_deny(&mut self, pick: u32, ms: u64) {
        for replica in 0..self.replicas.len() {
            self.replicas[replica].kill();
            self.push(self.now + ms, Event::Revive(replica));
        }
        self.database.tx = None;
        let alive = self.free(|_| true);
        let Some(&key) = alive.get(pick as usize % alive.len().max(1)) else { return };
        if !self.denied.contains(&key) {
            self.denied.push(key);
        }
        let digests = self.denied.iter().map(|key| self.keys[*key as usize].digest).collect();
        let number = self.stores[0].deny.as_ref().map_or(0, |(number, _)| *number) + 1;
        self.stores[0].deny = Some((number, Rc::new(self.kit.deny(number, digests))));
        self.counts.denials += 1;
    }

    /// What a deny note names is revoked before anything is signed. False where that has to wait.
    pub(crate) fn import_denied(&mut self) -> bool {
        if self.now < self.database.down_until || self.denied.iter().any(|key| self.database.locked.contains(key)) {
            return false;
        }
        let (created_at, committed_clock) = (self.database.clock(self.now), self.database.highest(self.now));
        for key in self.denied.clone() {
            let Some(row) = self.database.data.keys.get_mut(&key).filter(|row| !row.revoked) else { continue };
            row.revoked = true;
            let (image, seq) = (row.image(), self.database.data.next_seq);
            self.database.data.next_seq += 1;
            let row = ChangeRow { seq, key, image, created_at, committed_clock, version: None };
            self.database.data.changes.push(row);
            self.revoked.push(key);
            let refused = self.is_refused(image.profile);
            self.truth.committed(key, image, refused, self.now, true);
        }
        true
    }

    /// A number for whoever needs one.
    pub(crate) fn draw(&mut self) -> u64 {
        self.rng.next_u64()
    }
}
