//! The world: one queue of events, one after the other, each at its time. Nothing here knows the machine's clock or its
//! randomness, and nothing depends on the order of a hash table, so a seed and a list of inputs are the whole story.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use nightlatch_keyset::{Commitment, FileName, Hash, Head};
use nightlatch_publish::lease::LeaseRow;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::database::{Data, Database, SetRow};
use crate::edges::{EdgeNode, EdgeStep};
use crate::jobs::{Job, JobStep};
use crate::kit::{Key, Kit};
use crate::leader::{Replica, Request, Turn};
use crate::measure::Counts;
use crate::members::{Contents, MEMBERS, ProfileRow};
use crate::people::SignerStep;
use crate::plan::{Act, Input, Node, START, Setup};
use crate::store::{Bytes, Store};
use crate::truth::Truth;

/// More events than any world takes: one that has this many runs in circles.
const MOST_EVENTS: u64 = 20_000_000;

/// A guarantee that was broken.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Violation {
    /// Milliseconds after the world began.
    pub at: u64,
    /// Its number in DESIGN §7.
    pub guarantee: u8,
    /// What happened.
    pub what: String,
}

/// Something that is due.
pub(crate) enum Event {
    Input(usize),
    Commit(u64),
    Arrive(usize, u32, u64, Box<Request>),
    Turn(usize, u32, Box<Turn>),
    Revive(usize),
    Recover,
    Job(usize, Box<JobStep>),
    Edge(usize, u32, Box<EdgeStep>),
    StartEdge(usize, u32),
    StartClock(usize),
    Signer(SignerStep),
    /// Looks at what some edges answer.
    Look(u64),
    Heal,
    End,
}

struct Due(u64, u64, Event);

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.0, other.1).cmp(&(self.0, self.1))
    }
}

/// What is wrong with somebody's network.
pub(crate) struct Link {
    rng: ChaCha8Rng,
    cut_until: u64,
    flaky_until: u64,
    drop: u32,
    twice: u32,
    delay: u64,
}

/// See the module.
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) kit: Kit,
    pub(crate) now: u64,
    queue: BinaryHeap<Due>,
    pushed: u64,
    pub(crate) rng: ChaCha8Rng,
    links: [Vec<Link>; 3],
    pub(crate) keys: Vec<Key>,
    pub(crate) truth: Truth,
    pub(crate) database: Database,
    pub(crate) restored_at: u64,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) stores: Vec<Store>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) edges: Vec<EdgeNode>,
    /// What bytes have been published under each name, and which history each state has.
    pub(crate) ledger: BTreeMap<FileName, Hash>,
    pub(crate) states: BTreeMap<(u64, u64, u64), Commitment>,
    pub(crate) opened: BTreeMap<Bytes, Option<Head>>,
    /// The furthest head of each epoch that was written where the publisher writes.
    pub(crate) heads_published: BTreeMap<(u64, u64), Head>,
    pub(crate) counts: Counts,
    pub(crate) violation: Option<Violation>,
    /// Keys that have been revoked, in the order of their revocations.
    pub(crate) revoked: Vec<u32>,
    /// The trust notes that the root has signed, from version 1 on.
    pub(crate) trust_notes: Vec<Bytes>,
    /// The key that signed the furthest head that was written, and the trust note it named.
    pub(crate) signed_last: (usize, u64),
    /// A change of the key that signs is under way until then.
    pub(crate) rotating_until: u64,
    /// Keys that deny notes name, in order.
    pub(crate) denied: Vec<u32>,
    /// Milliseconds that the database clock has been ahead at most.
    pub(crate) ahead: i64,
    inputs: Vec<Input>,
}

/// A stream of randomness of its own for each part of a world, so that leaving an input out changes little else.
pub(crate) fn stream(seed: u64, part: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(part);
    rng
}

impl World {
    pub(crate) fn new(setup: Setup, inputs: &[Input]) -> Self {
        let (kit, seed) = (Kit::new(), setup.seed);
        let trust = kit.trust(1, &[0], [0; 3]);
        let set = SetRow {
            incarnation: 0,
            epoch: 0,
            version: 0,
            commitment: Commitment::START,
            head: None,
            note: None,
            head_issued: 0,
            signer: 0,
            trust: 1,
            validity: setup.validity,
            policy: 0,
        };
        let data = Data {
            lease: LeaseRow::vacant(),
            set,
            keys: BTreeMap::new(),
            changes: Vec::new(),
            members: BTreeMap::new(),
            profiles: Vec::new(),
            epochs: Vec::new(),
            links: BTreeMap::new(),
            next_seq: 1,
        };
        let link = |part| Link { rng: stream(seed, part), cut_until: 0, flaky_until: 0, drop: 0, twice: 0, delay: 0 };
        let jobs = setup.jobs * (setup.stores.len() - 1);
        let links = [
            (0..setup.replicas as u64).map(|n| link(100 + n)).collect(),
            (0..jobs as u64).map(|n| link(200 + n)).collect(),
            (0..setup.edges.len() as u64).map(|n| link(100_000 + n)).collect(),
        ];
        let truth = Truth { largest_validity: setup.validity, ..Truth::default() };
        let mut world = Self {
            kit,
            now: START,
            queue: BinaryHeap::new(),
            pushed: 0,
            rng: stream(seed, 1),
            links,
            keys: Vec::new(),
            truth,
            database: Database::new(data),
            restored_at: 0,
            replicas: (0..setup.replicas as u64).map(|n| Replica::new(stream(seed, 300 + n))).collect(),
            stores: setup.stores.iter().map(|kind| Store::new(*kind)).collect(),
            jobs: (0..jobs).map(|n| Job::new(1 + n / setup.jobs)).collect(),
            edges: Vec::new(),
            ledger: BTreeMap::new(),
            states: BTreeMap::new(),
            opened: BTreeMap::new(),
            heads_published: BTreeMap::new(),
            counts: Counts::default(),
            violation: None,
            revoked: Vec::new(),
            trust_notes: vec![std::rc::Rc::new(trust)],
            signed_last: (0, 1),
            rotating_until: 0,
            denied: Vec::new(),
            ahead: 0,
            inputs: inputs.to_vec(),
            setup,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for member in 0..MEMBERS {
            let seq = self.database.data.next_seq;
            self.database.data.next_seq += 1;
            let contents = Contents { scopes: member % self.kit.profiles.len(), refused: false };
            self.commit_member(ProfileRow {
                seq,
                member,
                contents,
                created_at: START,
                committed_clock: START,
                version: None,
            });
        }
        for _ in 0..self.setup.keys {
            let (key, row) = self.new_key(START, 0);
            let (image, seq) = (row.image(), self.database.data.next_seq);
            self.database.data.next_seq += 1;
            self.database.data.keys.insert(key, row);
            let row = crate::database::ChangeRow {
                seq,
                key,
                image,
                created_at: START,
                committed_clock: START,
                version: None,
            };
            self.database.data.changes.push(row);
            self.truth.committed(key, image, false, START, true);
        }
        for replica in 0..self.replicas.len() {
            let wait = self.rng.random_range(0..2_000);
            self.push(START + wait, Event::Turn(replica, 0, Box::new(Turn::Look)));
        }
        for job in 0..self.jobs.len() {
            self.push(START + 1_000 + job as u64 * 333, Event::Job(job, Box::new(JobStep::Look)));
        }
        for edge in 0..self.setup.edges.len() {
            let spec = self.setup.edges[edge];
            self.edges.push(EdgeNode::new(spec, stream(self.setup.seed, 1_000_000 + edge as u64), START));
            let wait = self.rng.random_range(1_500..6_000);
            self.push(START + wait, Event::StartEdge(edge, 0));
        }
        for index in 0..self.inputs.len() {
            self.push(START + self.inputs[index].at, Event::Input(index));
        }
        let end = START + self.setup.length;
        self.push(end, Event::Heal);
        // A minute for a key-value store's locations, twice over, and what is under way.
        let settle = if self.setup.stores.len() > 1 { 200_000 } else { 60_000 };
        let settle = if self.setup.edges.len() > 100 { 30_000.max(settle / 2) } else { settle };
        self.push(end + settle, Event::End);
    }

    pub(crate) fn push(&mut self, at: u64, event: Event) {
        self.pushed += 1;
        self.queue.push(Due(at, self.pushed, event));
    }

    /// When what was to last until an instant is over: all faults end when the inputs do.
    pub(crate) fn thaws(&self, until: u64) -> u64 {
        let end = START + self.setup.length;
        if self.now < end { until.min(end) } else { until }
    }

    /// Lives to the end, or to the first guarantee that is broken.
    pub(crate) fn run(&mut self) {
        while let Some(Due(at, _, event)) = self.queue.pop() {
            self.now = at;
            self.counts.events += 1;
            if matches!(event, Event::End) {
                self.check_end();
                return;
            }
            self.happen(event);
            if self.violation.is_some() {
                return;
            }
            if self.counts.events > MOST_EVENTS {
                self.fail(0, "the world runs in circles".into());
                return;
            }
        }
    }

    /// Takes note of a broken guarantee.
    pub(crate) fn fail(&mut self, guarantee: u8, what: String) {
        let at = self.now - START;
        self.violation.get_or_insert(Violation { at, guarantee, what });
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(index) => self.input(self.inputs[index].act),
            Event::Commit(id) => self.commit(id),
            Event::Arrive(replica, generation, sent, request) => {
                // Nothing that the old database's processes sent outlives its restoring.
                if sent >= self.restored_at {
                    self.arrive(replica, generation, *request);
                }
            }
            Event::Turn(replica, generation, turn) => {
                let node = &self.replicas[replica];
                if node.generation != generation || !node.up {
                    return;
                }
                if self.now < node.stalled_until {
                    self.push(self.thaws(node.stalled_until), Event::Turn(replica, generation, turn));
                } else {
                    self.turn(replica, *turn);
                }
            }
            Event::Revive(replica) => {
                if !std::mem::replace(&mut self.replicas[replica].up, true) {
                    let generation = self.replicas[replica].generation;
                    self.push(self.now, Event::Turn(replica, generation, Box::new(Turn::Look)));
                }
            }
            Event::Recover => self.recover(),
            Event::Job(job, step) => self.job(job, *step),
            Event::Edge(edge, generation, step) => self.edge(edge, generation, *step),
            Event::StartEdge(edge, generation) => self.start_edge(edge, generation),
            Event::StartClock(edge) => {
                let now = self.now;
                self.edges[edge].clocks.stop(now, false);
            }
            // What is half done when the world comes to rest stays so.
            Event::Signer(step) if self.now < START + self.setup.length => self.change_signer(step),
            Event::Signer(_) => {}
            Event::Look(sample) => self.look(sample),
            Event::Heal => self.heal(),
            Event::End => {}
        }
    }

    fn link(&mut self, node: Node) -> &mut Link {
        match node {
            Node::Replica(number) => &mut self.links[0][number],
            Node::Job(number) => &mut self.links[1][number],
            Node::Edge(number) => &mut self.links[2][number],
        }
    }

    /// How long a message of somebody takes; `None` where it does not arrive.
    pub(crate) fn travel(&mut self, node: Node) -> Option<u64> {
        let now = self.now;
        let link = self.link(node);
        let wait = link.rng.random_range(1..25);
        if now < link.cut_until {
            return None;
        }
        if now < link.flaky_until {
            if link.rng.random_ratio(link.drop, 1_000) {
                return None;
            }
            return Some(wait + link.rng.random_range(0..=link.delay));
        }
        Some(wait)
    }

    /// Whether a message of somebody arrives a second time.
    pub(crate) fn arrives_twice(&mut self, node: Node) -> bool {
        let now = self.now;
        let link = self.link(node);
        now < link.flaky_until && link.rng.random_ratio(link.twice, 1_000)
    }

    fn input(&mut self, act: Act) {
        if let Some(fault) = act.fault() {
            *self.counts.faults.entry(fault).or_default() += 1;
        } else {
            self.counts.acts += 1;
        }
        let now = self.now;
        match act {
            Act::Cut { node, ms } => self.link(node).cut_until = now + ms,
            Act::Flaky { node, drop, twice, delay, ms } => {
                let link = self.link(node);
                (link.flaky_until, link.drop, link.twice, link.delay) = (now + ms, drop, twice, delay);
            }
            Act::Failover { down, clock } => {
                self.ahead = self.ahead.max(clock);
                self.database.fail_over(now, down, clock);
            }
            Act::LoseAnswers { ms } => self.database.mute_until = now + ms,
            Act::Stall { replica, ms } => self.replicas[replica].stalled_until = now + ms,
            Act::Kill { replica, ms } => {
                self.replicas[replica].kill();
                if self.database.tx.as_ref().is_some_and(|tx| tx.replica == replica) {
                    self.database.tx = None;
                }
                self.push(now + ms, Event::Revive(replica));
            }
            Act::StoreDown { store, ms } => self.stores[store].down_until = now + ms,
            Act::CacheStuck { store, ms } => self.stores[store].stuck_until = now + ms,
            Act::Freeze { edge, ms } => self.edges[edge].frozen_until = now + ms,
            Act::Die { edge, ms } => self.kill_edge(edge, ms),
            Act::ClockStep { edge, by } => self.edges[edge].clocks.step(now, by),
            Act::ClockStop { edge, ms } => {
                self.edges[edge].clocks.stop(now, true);
                self.push(now + ms, Event::StartClock(edge));
            }
            Act::ClockDrift { edge, ppm } => self.edges[edge].clocks.drift(now, ppm),
            Act::DiskFull { edge, ms } => self.edges[edge].disk_full_until = now + ms,
            Act::Backup => self.database.backup = Some(self.database.data.clone()),
            Act::Restore { recover_after } => self.restore(recover_after),
            Act::RotateSigner { urgent, wait } => self.rotate_signer(urgent, wait),
            Act::Deny { pick, ms } => self.emergency_deny(pick, ms),
            _ => self.person(act),
        }
    }

    /// All faults end. Clocks that somebody has meddled with are put right, and those edges start anew.
    fn heal(&mut self) {
        let now = self.now;
        for link in self.links.iter_mut().flatten() {
            (link.cut_until, link.flaky_until) = (0, 0);
        }
        for store in &mut self.stores {
            (store.down_until, store.stuck_until) = (0, 0);
        }
        (self.database.mute_until, self.database.down_until) = (0, self.database.down_until.min(now));
        for replica in &mut self.replicas {
            replica.stalled_until = replica.stalled_until.min(now);
        }
        for replica in 0..self.replicas.len() {
            self.push(now, Event::Revive(replica));
        }
        for edge in 0..self.edges.len() {
            let node = &mut self.edges[edge];
            (node.frozen_until, node.disk_full_until) = (node.frozen_until.min(now), 0);
            if node.clocks.touched {
                node.clocks.mend(now);
                self.kill_edge(edge, 10);
            }
        }
    }
}
