//! What happens in a world, drawn up front from its seed: how it is set up, and a list of timed inputs. Leaving inputs out
//! gives another world that is as real, which is how a failing one is made small.

use std::fmt;

use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::Plant;
use crate::members::MEMBERS;

/// When every world begins, unix milliseconds.
pub(crate) const START: u64 = 1_800_000_000_000;

/// How a world is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) plant: Option<Plant>,
    /// Control-plane processes.
    pub(crate) replicas: usize,
    /// Milliseconds, as the set's row has them.
    pub(crate) validity: u64,
    pub(crate) heartbeat: u64,
    pub(crate) skew: u64,
    /// Milliseconds that routes marked open may be answered beyond `validity`, if any are.
    pub(crate) open: Option<u64>,
    /// The first is where the publisher writes; jobs copy from it to the others.
    pub(crate) stores: Vec<StoreKind>,
    /// Jobs per copy: a second one is a mistake that must do no harm.
    pub(crate) jobs: usize,
    pub(crate) edges: Vec<EdgeSpec>,
    /// Keys there are at the beginning.
    pub(crate) keys: u32,
    /// Versions after which an epoch ends.
    pub(crate) max_versions: u64,
    /// The most rows of a version.
    pub(crate) max_changes: u32,
    /// Seconds after which keys that have ended leave the set.
    pub(crate) retention: u64,
    /// Milliseconds after which the database ends a transaction whose client is silent; `None` for never.
    pub(crate) idle_timeout: Option<u64>,
    /// Milliseconds during which inputs come. Then all faults end and the world has time to settle.
    pub(crate) length: u64,
}

/// Where files lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// Reads see the last write. Without compare-and-swap, whoever writes the head last wins.
    Object { cas: bool },
    /// Each location sees a write, or an absence, up to a minute late.
    Kv,
}

/// How an edge gets at the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Asks once a second.
    Poll,
    /// Its question waits for news.
    LongPoll,
    /// Asks once a second, and is told when to ask at once.
    Push,
    /// Asks a cache once a second.
    Cdn,
    /// Reads a key-value store once a second.
    Kv,
}

impl Transport {
    pub(crate) const ALL: [Self; 5] = [Self::Poll, Self::LongPoll, Self::Push, Self::Cdn, Self::Kv];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::LongPoll => "long poll",
            Self::Push => "push",
            Self::Cdn => "cdn",
            Self::Kv => "kv",
        }
    }
}

/// One edge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EdgeSpec {
    pub(crate) transport: Transport,
    /// Which store it reads.
    pub(crate) store: usize,
    /// Caches are shared by edges of one location.
    pub(crate) location: u8,
    pub(crate) durable: bool,
    /// Whether its runtime can tell elapsed time.
    pub(crate) monotonic: bool,
    /// Folds new bases itself, however small.
    pub(crate) rebases: bool,
    /// Milliseconds that its wall clock is off at the start, and how it drifts.
    pub(crate) offset: i64,
    pub(crate) ppm: i64,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Input {
    /// Milliseconds after the start.
    pub(crate) at: u64,
    pub(crate) act: Act,
}

/// Who can be cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Replica(usize),
    Job(usize),
    Edge(usize),
}

/// What people do and what goes wrong. `pick`s choose among what is there when the moment comes. Times are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Issue,
    Rotate { pick: u32, overlap_s: u64 },
    Extend { pick: u32, by_s: u64 },
    Cancel { pick: u32 },
    Revoke { pick: u32 },
    RevokeMany { pick: u32, count: u32 },
    Disable { pick: u32 },
    Enable { pick: u32 },
    Member { member: usize, act: MemberAct },
    Policy { pick: u32 },
    Validity { ms: u64 },
    RotateSigner { urgent: bool, wait: u64 },
    Deny { pick: u32, ms: u64 },
    Backup,
    Restore { recover_after: u64 },

    Cut { node: Node, ms: u64 },
    Flaky { node: Node, drop: u32, twice: u32, delay: u64, ms: u64 },
    Failover { down: u64, clock: i64 },
    LoseAnswers { ms: u64 },
    Stall { replica: usize, ms: u64 },
    Kill { replica: usize, ms: u64 },
    StoreDown { store: usize, ms: u64 },
    CacheStuck { store: usize, ms: u64 },
    Freeze { edge: usize, ms: u64 },
    Die { edge: usize, ms: u64 },
    ClockStep { edge: usize, by: i64 },
    ClockStop { edge: usize, ms: u64 },
    ClockDrift { edge: usize, ppm: i64 },
    DiskFull { edge: usize, ms: u64 },
}

/// What is done to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberAct {
    /// Its scopes become those of the kit's profile with this number.
    Scopes(usize),
    Suspend,
    Resume,
}

impl Act {
    /// The edge that it happens to.
    pub(crate) fn edge(&self) -> Option<usize> {
        match *self {
            Self::Freeze { edge, .. }
            | Self::Die { edge, .. }
            | Self::ClockStep { edge, .. }
            | Self::ClockStop { edge, .. }
            | Self::ClockDrift { edge, .. }
            | Self::DiskFull { edge, .. } => Some(edge),
            Self::Cut { node: Node::Edge(edge), .. } | Self::Flaky { node: Node::Edge(edge), .. } => Some(edge),
            _ => None,
        }
    }

    /// What it is counted as; `None` for what people do.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        Some(match self {
            Self::Cut { .. } => "partition",
            Self::Flaky { .. } => "network drops, delays, repeats",
            Self::Failover { .. } => "database failover",
            Self::LoseAnswers { .. } => "database answers lost",
            Self::Stall { .. } => "control plane stalled",
            Self::Kill { .. } => "control plane killed",
            Self::StoreDown { .. } => "store down",
            Self::CacheStuck { .. } => "cache stuck on old bytes",
            Self::Freeze { .. } => "edge frozen",
            Self::Die { .. } => "edge died",
            Self::ClockStep { .. } => "clock stepped",
            Self::ClockStop { .. } => "clock stopped",
            Self::ClockDrift { .. } => "clock drifts",
            Self::DiskFull { .. } => "disk full",
            Self::Restore { .. } => "database restored from backup",
            Self::Deny { .. } => "control plane down when a key must die",
            _ => return None,
        })
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.3} s  {:?}", self.at as f64 / 1000.0, self.act)
    }
}

/// Draws a world.
pub(crate) fn draw(seed: u64, plant: Option<Plant>) -> (Setup, Vec<Input>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let large = plant.is_none() && seed % 1_000 == 999;
    let setup = set_up(&mut rng, seed, plant, large);
    let mut inputs = Vec::new();
    let people = if large { 16 } else { rng.random_range(6..28) };
    for _ in 0..people {
        inputs.push(Input { at: rng.random_range(0..setup.length), act: person(&mut rng, &setup) });
    }
    let faults = rng.random_range(0..if large { 6 } else { 18 });
    for _ in 0..faults {
        inputs.push(Input { at: rng.random_range(0..setup.length), act: fault(&mut rng, &setup) });
    }
    // A revocation, and an edge that is cut off just then: where the bound is tightest.
    for _ in 0..rng.random_range(0..3) {
        let at = rng.random_range(0..setup.length);
        inputs.push(Input { at, act: Act::Revoke { pick: rng.next_u32() } });
        let node = Node::Edge(rng.random_range(0..setup.edges.len()));
        let ms = rng.random_range(setup.validity..setup.validity * 3 / 2);
        let cut_at = (at + rng.random_range(0..500)).min(setup.length - 1);
        inputs.push(Input { at: cut_at, act: Act::Cut { node, ms } });
    }
    if rng.random_ratio(1, 4) {
        let at = rng.random_range(0..setup.length / 2);
        inputs.push(Input { at, act: Act::Backup });
        let later = rng.random_range(at..setup.length);
        inputs.push(Input { at: later, act: Act::Restore { recover_after: rng.random_range(1_000..20_000) } });
    }
    for _ in 0..rng.random_range(0..8) {
        let act = match rng.random_range(0..5) {
            0 | 1 => MemberAct::Suspend,
            2 | 3 => MemberAct::Resume,
            _ => MemberAct::Scopes(rng.random_range(0..3)),
        };
        let act = Act::Member { member: rng.random_range(0..MEMBERS), act };
        inputs.push(Input { at: rng.random_range(0..setup.length), act });
    }
    inputs.sort_by_key(|input| input.at);
    (setup, inputs)
}

/// A calm world of `edges` edges of all transports: for measuring delays.
pub(crate) fn calm(seed: u64, edges: usize) -> (Setup, Vec<Input>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut setup = set_up(&mut rng, seed, None, true);
    (setup.stores, setup.open) = (vec![StoreKind::Object { cas: true }, StoreKind::Kv], None);
    setup.jobs = 1;
    (setup.validity, setup.heartbeat, setup.length) = (180_000, 30_000, 120_000);
    setup.edges = (0..edges)
        .map(|number| {
            let transport = Transport::ALL[number % Transport::ALL.len()];
            let kv = transport == Transport::Kv;
            EdgeSpec { transport, store: usize::from(kv), offset: 0, ppm: 0, ..edge(&mut rng, &setup, false) }
        })
        .collect();
    let revoke = |at| Input { at, act: Act::Revoke { pick: rng.next_u32() } };
    let inputs = (1..10).map(|number| number * 12_000 + 371).map(revoke).collect();
    (setup, inputs)
}

fn set_up(rng: &mut ChaCha8Rng, seed: u64, plant: Option<Plant>, large: bool) -> Setup {
    let mut stores = vec![StoreKind::Object { cas: rng.random_ratio(2, 3) }];
    for _ in 0..rng.random_range(0..=2) {
        stores.push(if rng.random_ratio(2, 5) { StoreKind::Kv } else { StoreKind::Object { cas: rng.random() } });
    }
    let kv = stores.contains(&StoreKind::Kv);
    let (heartbeat, validity) =
        if kv { (30_000, 180_000) } else { (5_000, if rng.random() { 60_000 } else { 20_000 }) };
    let mut setup = Setup {
        seed,
        plant,
        replicas: rng.random_range(1..=3),
        validity,
        heartbeat,
        skew: 5_000,
        open: rng.random_ratio(1, 3).then_some(30_000),
        stores,
        jobs: if rng.random_ratio(1, 4) { 2 } else { 1 },
        edges: Vec::new(),
        keys: rng.random_range(3..24),
        max_versions: rng.random_range(3..14),
        max_changes: if rng.random_ratio(1, 3) { 3 } else { 100 },
        retention: if rng.random() { 30 } else { 400 * 24 * 3600 },
        idle_timeout: rng.random_ratio(2, 3).then_some(4_000),
        length: if large {
            40_000
        } else if kv {
            rng.random_range(120_000..300_000)
        } else {
            rng.random_range(60_000..180_000)
        },
    };
    let count = if large { rng.random_range(500..=5_000) } else { rng.random_range(1..=8) };
    for _ in 0..count {
        let wild = !large || rng.random_ratio(1, 20);
        setup.edges.push(edge(rng, &setup, wild));
    }
    setup
}

fn edge(rng: &mut ChaCha8Rng, setup: &Setup, wild: bool) -> EdgeSpec {
    let store = rng.random_range(0..setup.stores.len());
    let transport = match setup.stores[store] {
        StoreKind::Kv => Transport::Kv,
        StoreKind::Object { .. } => match rng.random_range(0..5) {
            0 => Transport::Cdn,
            1 if store == 0 => Transport::LongPoll,
            2 if store == 0 => Transport::Push,
            _ => Transport::Poll,
        },
    };
    let skew = setup.skew as i64;
    EdgeSpec {
        transport,
        store,
        location: rng.random_range(0..3),
        durable: rng.random(),
        monotonic: rng.random_ratio(2, 3),
        rebases: rng.random(),
        offset: if wild { rng.random_range(-skew + 500..skew - 500) } else { rng.random_range(-50..50) },
        ppm: if wild { rng.random_range(-100..100) } else { 0 },
    }
}

fn person(rng: &mut ChaCha8Rng, setup: &Setup) -> Act {
    let pick = rng.next_u32();
    let bound_s = (setup.validity + setup.skew) / 1000;
    match rng.random_range(0..20) {
        0..4 => Act::Issue,
        4..7 => Act::Rotate { pick, overlap_s: rng.random_range(bound_s..3 * bound_s) },
        7 => Act::Extend { pick, by_s: rng.random_range(10..200) },
        8 => Act::Cancel { pick },
        9..14 => Act::Revoke { pick },
        14 => Act::RevokeMany { pick, count: rng.random_range(2..6) },
        15 | 16 => Act::Disable { pick },
        17 => Act::Enable { pick },
        18 if rng.random() => {
            Act::RotateSigner { urgent: rng.random(), wait: bound_s * 1000 + rng.random_range(0..5_000) }
        }
        18 => Act::Policy { pick },
        _ => Act::Validity { ms: setup.validity * rng.random_range(2..4) / 2 },
    }
}

fn fault(rng: &mut ChaCha8Rng, setup: &Setup) -> Act {
    let replica = rng.random_range(0..setup.replicas);
    let edge = rng.random_range(0..setup.edges.len());
    let store = rng.random_range(0..setup.stores.len());
    let node = match rng.random_range(0..6) {
        0 | 1 => Node::Replica(replica),
        2 if setup.stores.len() > 1 => Node::Job(rng.random_range(0..setup.jobs * (setup.stores.len() - 1))),
        _ => Node::Edge(edge),
    };
    let long = setup.validity * 3 / 2;
    match rng.random_range(0..25) {
        24 => Act::Deny { pick: rng.next_u32(), ms: rng.random_range(5_000..long) },
        0..4 => Act::Cut { node, ms: rng.random_range(500..long) },
        4..7 => Act::Flaky {
            node,
            drop: rng.random_range(0..700),
            twice: rng.random_range(0..500),
            delay: rng.random_range(0..9_000),
            ms: rng.random_range(1_000..60_000),
        },
        7 => Act::Failover { down: rng.random_range(100..15_000), clock: rng.random_range(-3_000..1_000) },
        8 => Act::LoseAnswers { ms: rng.random_range(200..5_000) },
        9..12 => Act::Stall { replica, ms: rng.random_range(200..40_000) },
        12 | 13 => Act::Kill { replica, ms: rng.random_range(100..20_000) },
        14 => Act::StoreDown { store, ms: rng.random_range(500..20_000) },
        15 => Act::CacheStuck { store, ms: rng.random_range(5_000..long) },
        16 | 17 => Act::Freeze { edge, ms: rng.random_range(500..long) },
        18 | 19 => Act::Die { edge, ms: rng.random_range(10..10_000) },
        20 => Act::ClockStep { edge, by: rng.random_range(-90_000..90_000) },
        21 => Act::ClockStop { edge, ms: rng.random_range(1_000..long) },
        // Some so much that nobody could miss it, some just about what is allowed over a validity.
        22 if rng.random() => Act::ClockDrift { edge, ppm: rng.random_range(-300_000..300_000) },
        22 => Act::ClockDrift { edge, ppm: -(setup.skew as i64) * 1_000_000 / setup.validity as i64 },
        _ => Act::DiskFull { edge, ms: rng.random_range(1_000..30_000) },
    }
}
