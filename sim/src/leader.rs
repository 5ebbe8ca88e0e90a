//! A control-plane process that publishes: the lease, one transaction at a time, then files, then the head. It is stalled,
//! killed and cut off anywhere; what it has sent arrives all the same.

use std::collections::VecDeque;

use nightlatch_keyset::{Author, FileName, Head};
use nightlatch_publish::published::{Standing, may_replace};
use nightlatch_publish::{issued, numbering};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::Plant;
use crate::database::{ChangeRow, SetRow, Tx};
use crate::members::ProfileRow;
use crate::plan::Node;
use crate::signing::Signing;
use crate::store::Bytes;
use crate::world::{Event, World};

/// Milliseconds that a lease lasts without being renewed.
const LEASE: u64 = 10_000;
/// Milliseconds between looks at what is due.
const LOOK: u64 = 250;
/// Milliseconds after which an answer is no longer waited for.
const TIMEOUT: u64 = 2_000;
/// Milliseconds until another attempt after a refusal.
const REFUSED: u64 = 5_000;

/// A process.
pub(crate) struct Replica {
    pub(crate) rng: ChaCha8Rng,
    pub(crate) generation: u32,
    pub(crate) up: bool,
    pub(crate) stalled_until: u64,
    tenure: Option<Tenure>,
    /// It has found the published files ahead of the database.
    pub(crate) refuses: bool,
}

pub(crate) struct Tenure {
    term: u64,
    pub(crate) known: Option<Known>,
    pub(crate) writes: VecDeque<Write>,
    pub(crate) signed_at: u64,
    pub(crate) numbered_at: u64,
    pub(crate) more: bool,
}

/// What the leader holds in memory of what is published.
pub(crate) struct Known {
    pub(crate) set: SetRow,
    pub(crate) author: Option<Author>,
    pub(crate) cutoff: u64,
    /// The database clock at the beginning of the transaction, before its snapshot.
    pub(crate) reading: u64,
}

#[derive(Clone)]
pub(crate) enum Write {
    File(FileName, Bytes),
    Trust(u64, Bytes),
    Head(Box<Head>, Bytes),
}

/// What it asks of the database or its store.
pub(crate) enum Request {
    Acquire,
    Renew(u64),
    List,
    Begin(u64),
    Number(u64),
    Commit(Box<Signing>),
    Put(FileName, Bytes),
    PutTrust(u64, Bytes),
    ReadHead,
    PutHead(Bytes, u64),
}

/// Rows without a version: of keys, and of profiles.
pub(crate) struct Rows {
    pub(crate) keys: Vec<ChangeRow>,
    pub(crate) profiles: Vec<ProfileRow>,
}

/// What it hears, or its own time to look.
pub(crate) enum Turn {
    Look,
    Failed,
    Acquired(Option<u64>),
    Renewed(Option<Box<SetRow>>),
    Listed { head: Option<Bytes>, names: Vec<FileName>, deny: bool },
    Begun(Option<(u64, Box<SetRow>, u64)>),
    Numbered { tx: u64, set: Box<SetRow>, clock: u64, rows: Rows, waiting: Vec<(u64, u64)> },
    Committed(bool),
    Put,
    HeadRead(Option<Bytes>, u64),
    HeadPut(bool),
}

impl Replica {
    pub(crate) fn new(rng: ChaCha8Rng) -> Self {
        Self { rng, generation: 0, up: true, stalled_until: 0, tenure: None, refuses: false }
    }

    /// Everything that it had in memory is gone.
    pub(crate) fn kill(&mut self) {
        self.generation += 1;
        self.up = false;
        (self.tenure, self.stalled_until) = (None, 0);
    }
}

impl World {
    fn later(&mut self, replica: usize, wait: u64, turn: Turn) {
        let generation = self.replicas[replica].generation;
        self.push(self.now + wait, Event::Turn(replica, generation, Box::new(turn)));
    }

    fn ask(&mut self, replica: usize, request: Request) {
        let generation = self.replicas[replica].generation;
        match self.travel(Node::Replica(replica)) {
            Some(wait) => {
                let sent = self.now;
                let again = match &request {
                    Request::Put(name, bytes) => Some(Request::Put(*name, bytes.clone())),
                    Request::PutHead(note, tag) => Some(Request::PutHead(note.clone(), *tag)),
                    _ => None,
                };
                if let Some(again) = again
                    && self.arrives_twice(Node::Replica(replica))
                    && let Some(wait) = self.travel(Node::Replica(replica))
                {
                    // Nobody waits for its answer.
                    self.push(sent + wait, Event::Arrive(replica, u32::MAX, sent, Box::new(again)));
                }
                self.push(self.now + wait, Event::Arrive(replica, generation, sent, Box::new(request)));
            }
            None => self.later(replica, TIMEOUT, Turn::Failed),
        }
    }

    fn answer(&mut self, replica: usize, generation: u32, turn: Turn) {
        let lost = self.now < self.database.mute_until;
        let (wait, turn) = match self.travel(Node::Replica(replica)).filter(|_| !lost) {
            Some(wait) => (wait, turn),
            None => (TIMEOUT, Turn::Failed),
        };
        self.push(self.now + wait, Event::Turn(replica, generation, Box::new(turn)));
    }

    /// A request arrives: at the database, or at the store.
    pub(crate) fn arrive(&mut self, replica: usize, generation: u32, request: Request) {
        let turn = match request {
            Request::Put(..) | Request::PutTrust(..) | Request::List | Request::ReadHead | Request::PutHead(..) => {
                self.at_store(request)
            }
            _ => self.at_database(replica, request),
        };
        self.answer(replica, generation, turn);
    }

    fn at_store(&mut self, request: Request) -> Turn {
        let now = self.now;
        if now < self.stores[0].down_until {
            return Turn::Failed;
        }
        match request {
            Request::List => {
                let names = self.stores[0].files.keys().copied().collect();
                Turn::Listed { head: self.stores[0].head().0, names, deny: self.stores[0].deny.is_some() }
            }
            Request::PutTrust(version, note) => {
                let held = self.stores[0].trust.as_ref().map(|(held, _)| *held);
                if held < Some(version) {
                    self.stores[0].trust = Some((version, note));
                }
                Turn::Put
            }
            Request::Put(name, bytes) => {
                self.put_file(0, name, bytes);
                Turn::Put
            }
            Request::ReadHead => {
                let (head, tag) = self.stores[0].head();
                Turn::HeadRead(head, tag)
            }
            Request::PutHead(note, tag) => Turn::HeadPut(self.put_head(0, &note, tag)),
            _ => Turn::Failed,
        }
    }

    fn at_database(&mut self, replica: usize, request: Request) -> Turn {
        let now = self.now;
        if now < self.database.down_until {
            return Turn::Failed;
        }
        let clock = self.database.clock(now);
        let holder = format!("replica {replica}");
        let in_tx = matches!(request, Request::Number(_) | Request::Commit(_));
        // Its connection is gone with whatever it had begun.
        if !in_tx && self.database.tx.as_ref().is_some_and(|tx| tx.replica == replica) {
            self.database.tx = None;
        }
        if !in_tx && self.database.is_busy(now, self.setup.idle_timeout) {
            return Turn::Failed;
        }
        let lease = self.database.data.lease.clone();
        match request {
            Request::Acquire => {
                let row = lease.acquired(&holder, clock, LEASE);
                let term = row.as_ref().map(|row| row.term);
                if let Some(row) = row {
                    self.database.data.lease = row;
                }
                Turn::Acquired(term)
            }
            Request::Renew(term) => Turn::Renewed(lease.renewed(term, &holder, clock, LEASE).map(|row| {
                self.database.data.lease = row;
                Box::new(self.database.data.set.clone())
            })),
            Request::Begin(term) => {
                let renewed = lease.renewed(term, &holder, clock, LEASE);
                let row = match (renewed, self.setup.plant) {
                    (None, Some(Plant::NoFencing)) => lease,
                    (None, _) => return Turn::Begun(None),
                    (Some(row), _) => row,
                };
                let set = self.database.data.set.clone();
                let Ok(reading) = issued::reading(clock, set.head_issued) else { return Turn::Failed };
                self.database.data.lease = row;
                let id = self.database.id();
                self.database.tx = Some(Tx { id, replica, heard: now });
                Turn::Begun(Some((id, Box::new(set), reading)))
            }
            Request::Number(id) => {
                let Some(tx) = self.database.tx.as_mut().filter(|tx| tx.id == id) else { return Turn::Failed };
                tx.heard = now;
                let limit = self.setup.max_changes;
                let data = &self.database.data;
                let mut rows: Vec<_> = data.changes.iter().filter(|row| row.version.is_none()).cloned().collect();
                rows.retain(|_| numbering::is_eligible(false, false));
                rows.sort_by_key(|row| row.seq);
                rows.truncate(limit as usize);
                let unnumbered = data.changes.iter().filter(|row| row.version.is_none());
                let mut waiting: Vec<_> = unnumbered.map(|row| (row.seq, row.created_at)).collect();
                let mut profiles: Vec<_> = data.profiles.iter().filter(|row| row.version.is_none()).copied().collect();
                waiting.extend(profiles.iter().map(|row| (row.seq, row.created_at)));
                profiles.sort_by_key(|row| row.seq);
                profiles.truncate(limit as usize);
                let rows = Rows { keys: rows, profiles };
                Turn::Numbered { tx: id, set: Box::new(data.set.clone()), clock, rows, waiting }
            }
            Request::Commit(signing) => {
                let alive = self.database.tx.as_ref().is_some_and(|tx| tx.id == signing.tx);
                if alive {
                    self.database.tx = None;
                    self.commit_signing(*signing);
                }
                Turn::Committed(alive)
            }
            _ => Turn::Failed,
        }
    }

    /// A process goes on.
    pub(crate) fn turn(&mut self, replica: usize, turn: Turn) {
        if matches!(turn, Turn::Failed) {
            // What is known may no longer be true.
            if let Some(tenure) = &mut self.replicas[replica].tenure {
                tenure.known = None;
                tenure.writes.clear();
            }
            let wait = self.replicas[replica].rng.random_range(50..500);
            return self.later(replica, wait, Turn::Look);
        }
        let Some(mut tenure) = self.replicas[replica].tenure.take() else {
            match turn {
                Turn::Acquired(Some(term)) => {
                    let writes = VecDeque::new();
                    let (known, signed_at, numbered_at, more) = (None, 0, 0, false);
                    self.replicas[replica].tenure = Some(Tenure { term, known, writes, signed_at, numbered_at, more });
                    self.ask(replica, Request::Renew(term));
                }
                Turn::Acquired(None) => self.later(replica, LEASE / 4, Turn::Look),
                _ => self.ask(replica, Request::Acquire),
            }
            return;
        };
        if let Some(tenure) = self.lead(replica, &mut tenure, turn).then_some(tenure) {
            self.replicas[replica].tenure = Some(tenure);
        } else {
            self.later(replica, LOOK, Turn::Look);
        }
    }

    /// One step of a leader. False where it is deposed.
    fn lead(&mut self, replica: usize, tenure: &mut Tenure, turn: Turn) -> bool {
        match turn {
            Turn::Renewed(None) | Turn::Begun(None) => return false,
            Turn::Renewed(Some(set)) => {
                tenure.known = Some(Known { set: *set, author: None, cutoff: 0, reading: 0 });
                self.ask(replica, Request::List);
            }
            Turn::Listed { deny: true, .. } if !self.import_denied() => {
                tenure.known = None;
                self.later(replica, LOOK, Turn::Look);
            }
            Turn::Listed { head, names, .. } => {
                if let Err(why) = self.find_out(tenure, head.as_ref(), &names) {
                    tenure.known = None;
                    self.replicas[replica].refuses = why == Standing::Ahead;
                    self.later(replica, REFUSED, Turn::Look);
                } else {
                    self.replicas[replica].refuses = false;
                    self.go_on(replica, tenure);
                }
            }
            Turn::Begun(Some((tx, set, reading))) => {
                let moved = tenure.known.as_ref().is_none_or(|known| {
                    let (ours, there) = (&known.set, &*set);
                    (ours.incarnation, ours.epoch, ours.version, ours.commitment)
                        != (there.incarnation, there.epoch, there.version, there.commitment)
                });
                if moved && self.setup.plant != Some(Plant::NoFencing) {
                    tenure.known = None;
                    self.later(replica, LOOK, Turn::Look);
                } else {
                    if let Some(known) = &mut tenure.known {
                        known.reading = reading;
                        known.set.validity = set.validity;
                        known.set.policy = set.policy;
                        (known.set.signer, known.set.trust) = (set.signer, set.trust);
                    }
                    self.ask(replica, Request::Number(tx));
                }
            }
            Turn::Numbered { tx, set, clock, rows, waiting } => {
                tenure.numbered_at = self.now;
                match self.sign(tenure, tx, &set, rows, &waiting, clock) {
                    Ok(Some(signing)) => self.ask(replica, Request::Commit(Box::new(signing))),
                    // Nothing to sign: the transaction ends with its renewal of the lease.
                    Ok(None) => {
                        self.database.tx = self.database.tx.take().filter(|open| open.id != tx);
                        self.later(replica, LOOK, Turn::Look);
                    }
                    Err(why) => {
                        self.fail(9, format!("the publisher cannot make the next version: {why}"));
                        return false;
                    }
                }
            }
            Turn::Committed(false) => {
                tenure.known = None;
                tenure.writes.clear();
                self.later(replica, LOOK, Turn::Look);
            }
            Turn::Committed(true) => {
                tenure.signed_at = self.now;
                self.go_on(replica, tenure);
            }
            Turn::Put => {
                tenure.writes.pop_front();
                self.go_on(replica, tenure);
            }
            Turn::HeadRead(held, tag) => {
                let Some(Write::Head(head, note)) = tenure.writes.front().cloned() else { return true };
                let held = held.and_then(|held| self.open(&held));
                if may_replace(&head, held.as_ref()) || self.setup.plant == Some(Plant::ReusedVersion) {
                    self.ask(replica, Request::PutHead(note, tag));
                } else {
                    tenure.known = None;
                    tenure.writes.clear();
                    self.later(replica, LOOK, Turn::Look);
                }
            }
            // Somebody was faster: look at what there is now.
            Turn::HeadPut(false) => self.ask(replica, Request::ReadHead),
            Turn::HeadPut(true) => {
                tenure.writes.pop_front();
                self.go_on(replica, tenure);
            }
            Turn::Look => self.go_on(replica, tenure),
            Turn::Failed | Turn::Acquired(_) => {}
        }
        true
    }

    /// Files first, in order, the head last; then what is due.
    fn go_on(&mut self, replica: usize, tenure: &mut Tenure) {
        match tenure.writes.front() {
            Some(Write::File(name, bytes)) => return self.ask(replica, Request::Put(*name, bytes.clone())),
            Some(Write::Trust(version, note)) => return self.ask(replica, Request::PutTrust(*version, note.clone())),
            Some(Write::Head(..)) => return self.ask(replica, Request::ReadHead),
            None => {}
        }
        let Some(known) = &tenure.known else { return self.ask(replica, Request::Renew(tenure.term)) };
        let now = self.now;
        let heartbeat = now >= tenure.signed_at + self.setup.heartbeat;
        let waiting = self.database.data.waits()
            || self.database.data.set.policy != known.set.policy
            || self.database.data.set.signer != known.set.signer
            || self.database.data.set.trust != known.set.trust;
        let renewal = now >= tenure.numbered_at + LEASE / 3;
        if heartbeat || waiting || renewal || tenure.more || known.author.is_none() {
            self.ask(replica, Request::Begin(tenure.term));
        } else {
            self.later(replica, LOOK, Turn::Look);
        }
    }
}
