//! The control plane is killed again and again while clients change things; nothing acknowledged may be lost and nothing
//! contradictory published.
//!
//! Each round: several clients mutate keys of their own, the control plane gets a SIGKILL at a random moment (at times
//! once more while it starts), and is started again. Then
//!
//! - every client finds its keys exactly as it was told, and what was cut off either done or not done, never half; it
//!   repeats that call under the same `Idempotency-Key`, and it takes effect once,
//! - two readers that have followed the head and its files through all restarts, one in the published directory and one
//!   over HTTP, have had nothing to refuse; no file has ever changed its bytes,
//! - what they answer from equals the database, key by key.

mod client;
mod follower;
mod model;
mod mutation;
mod replica;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use futures::future::try_join_all;
use nightlatch_api::{AuditFilter, Key, KeyFilter};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::control_plane::{ControlPlane, ControlPlaneConfig, Database, Timing};
use crate::wait::eventually;
use crate::world::{SOON, put_routes, routes};
use client::Client;
use follower::{Follower, Ledger, Source, follow};

/// Clients that mutate at the same time.
const CLIENTS: u64 = 6;
/// The longest time between the start of the mutations and the kill.
const LONGEST: Duration = Duration::from_millis(500);
/// The longest time between a start and the kill that interrupts it.
const LONGEST_START: Duration = Duration::from_millis(300);
/// One of that many rounds kills during the start too.
const START_KILLED: u32 = 4;
/// Rounds in which one client first imports so much that another epoch begins. Killing may take longer then, to fall into
/// the import, the building of the base, or the time after.
const BULK: [u32; 3] = [4, 24, 44];
/// See [`BULK`].
const LONGEST_BULK: Duration = Duration::from_secs(6);
/// More keys than these are not asked for one by one.
const FEW: usize = 500;
/// All keys are compared in every one of that many rounds, those of the round in each.
const THOROUGH: u32 = 10;
/// Validity is long, so that a slow machine's restart is no reason to refuse a head; the head is signed every second.
const TIMING: Timing = Timing { heartbeat: 1, validity: 120, skew: 5 };

/// What a crash run has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrashReport {
    /// Times the control plane was killed while clients mutated.
    pub rounds: u32,
    /// Times it was killed while starting.
    pub starts_killed: u32,
    /// Mutations that were acknowledged.
    pub acknowledged: u64,
    /// Mutations cut off by a kill.
    pub cut_off: u64,
    /// Of those, the ones that had been done.
    pub cut_off_but_done: u64,
    /// Keys at the end.
    pub keys: usize,
    /// The version at the end.
    pub version: u64,
    /// The epoch at the end.
    pub epoch: u64,
    /// Heads read.
    pub heads: u64,
    /// Different files seen.
    pub files: usize,
}

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, starts_killed, acknowledged, cut_off, cut_off_but_done, .. } = self;
        let Self { keys, version, epoch, heads, files, .. } = self;
        write!(
            f,
            "{rounds} kills and {starts_killed} during a start; {acknowledged} mutations acknowledged, {cut_off} cut off \
             ({cut_off_but_done} of them done); {keys} keys at version {version} of epoch {epoch}; {heads} heads and \
             {files} files read"
        )
    }
}

/// Runs that many rounds and calls `seen` after each.
///
/// # Errors
/// On the first thing lost or contradicted, with the round, the seed, and where the control plane's data and log are left.
pub async fn run(rounds: u32, seed: u64, database: Database, mut seen: impl FnMut(u32)) -> Result<CrashReport> {
    let control_plane = ControlPlane::start(ControlPlaneConfig::new(database).timing(TIMING)).await?;
    put_routes(control_plane.client(), &routes()).await?;
    let mut run = Run::new(control_plane, seed)?;
    for round in 1..=rounds {
        let outcome = run.round(round, round == rounds || round % THOROUGH == 0).await;
        outcome.with_context(|| {
            let directory = run.control_plane.keep();
            format!("round {round} of seed {seed} on {}; all data is left in {directory}", database.as_str())
        })?;
        seen(round);
    }
    run.finish().await.with_context(|| format!("after {rounds} rounds of seed {seed} on {}", database.as_str()))
}

struct Run {
    control_plane: ControlPlane,
    random: ChaCha8Rng,
    clients: Vec<Client>,
    ledger: Arc<Mutex<Ledger>>,
    readers: Vec<Follower>,
    report: CrashReport,
}

impl Run {
    fn new(control_plane: ControlPlane, seed: u64) -> Result<Self> {
        let clients = (0..CLIENTS).map(|number| {
            Client::new(number, control_plane.client().clone(), ChaCha8Rng::seed_from_u64(seed ^ (number + 1) << 32))
        });
        let clients = clients.collect();
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let sources = [
            Source::Directory(control_plane.published()),
            Source::Http { api: control_plane.client().clone(), set: control_plane.set().id.clone() },
        ];
        let readers = sources.map(|source| Follower::new(&control_plane, source, &ledger));
        let readers = readers.into_iter().collect::<Result<_>>()?;
        let random = ChaCha8Rng::seed_from_u64(seed);
        Ok(Self { control_plane, random, clients, ledger, readers, report: CrashReport::default() })
    }

    async fn round(&mut self, round: u32, thorough: bool) -> Result<()> {
        let bulk = BULK.contains(&round);
        let patience = if bulk { LONGEST_BULK } else { LONGEST }.mul_f64(self.random.random());
        let (stop, stopped) = watch::channel(());
        let readers = std::mem::take(&mut self.readers).into_iter().map(|reader| follow(reader, stopped.clone()));
        let readers = tokio::spawn(try_join_all(readers));

        let control_plane = &mut self.control_plane;
        let clients = self.clients.iter_mut().enumerate();
        let mutate =
            try_join_all(clients.map(|(place, client)| client.mutate(round, bulk && place == 0, stopped.clone())));
        let kill = async {
            sleep(patience).await;
            let killed = control_plane.kill();
            drop(stop);
            killed
        };
        let ((), _) = tokio::try_join!(kill, mutate)?;
        self.report.rounds += 1;
        if self.random.random_ratio(1, START_KILLED) {
            self.control_plane.launch()?;
            sleep(LONGEST_START.mul_f64(self.random.random())).await;
            self.control_plane.kill()?;
            self.report.starts_killed += 1;
        }
        self.readers = readers.await??;
        self.control_plane.restart().await?;

        for client in &mut self.clients {
            client.settle().await?;
        }
        let few = self.clients.iter().flat_map(Client::touched).take(FEW).count() < FEW;
        self.check(thorough || !few).await
    }

    /// At quiescence, everything that says anything about the keys says the same.
    async fn check(&mut self, thorough: bool) -> Result<()> {
        let api = self.control_plane.client().clone();
        let keys: Vec<Key> = if thorough {
            api.keys(KeyFilter { limit: Some(200), ..KeyFilter::default() }).try_collect().await?
        } else {
            let touched = self.clients.iter().flat_map(Client::touched);
            try_join_all(touched.map(async |id| api.key(&id).await.map(|key| key.value))).await?
        };
        for client in &mut self.clients {
            client.compare(&keys, thorough)?;
        }
        let told: usize = self.clients.iter().map(Client::len).sum();
        ensure!(!thorough || told == keys.len(), "{} keys are listed, {told} were acknowledged", keys.len());

        let digests: Vec<_> = self.clients.iter().flat_map(Client::digests).collect();
        // A reader that starts now finds everything it needs, too.
        let cold = Follower::new(&self.control_plane, Source::Directory(self.control_plane.published()), &self.ledger)?;
        for reader in self.readers.iter_mut().chain([&mut { cold }]) {
            eventually("the published set equals the database", SOON, async || {
                reader.look().await?;
                replica::compare(reader.edge(), &keys, &digests, thorough)
            })
            .await
            .with_context(|| format!("read from {}", reader.source()))?;
        }
        Follower::check_all_files(&self.control_plane.published(), &self.ledger)
    }

    /// Counts what was done once, and sums up.
    async fn finish(mut self) -> Result<CrashReport> {
        let api = self.control_plane.client();
        let rotated: u64 = self.clients.iter().map(|client| client.counts().rotated).sum();
        let issued: u64 = self.clients.iter().map(|client| client.counts().issued).sum();
        // A rotation issues its successor.
        for (action, expected) in [("key.issued", issued + rotated), ("rotation.started", rotated)] {
            let filter = AuditFilter { action: Some(action.into()), limit: Some(200), ..AuditFilter::default() };
            let rows: Vec<_> = api.audit(filter).try_collect().await?;
            ensure!(rows.len() as u64 == expected, "{} rows of {action}, {expected} acknowledged", rows.len());
        }
        let report = &mut self.report;
        for client in &self.clients {
            let counts = client.counts();
            report.acknowledged += counts.acknowledged;
            report.cut_off += counts.cut_off;
            report.cut_off_but_done += counts.cut_off_but_done;
            report.keys += client.len();
        }
        let head = self.readers[0].edge().loaded().context("a reader has a head")?.head();
        (report.version, report.epoch) = (head.version, head.epoch);
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        (report.heads, report.files) = (ledger.heads(), ledger.files());
        Ok(*report)
    }
}
