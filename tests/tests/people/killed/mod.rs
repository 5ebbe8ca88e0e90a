//! A replica is killed in the middle of writes about people; nothing acknowledged may be lost, and nothing may be half.
//!
//! Each round: writers invite, join, sign in, issue, rotate, revoke, change roles, suspend, resume, remove, link and unlink,
//! half of them at each replica. One replica gets a SIGKILL: the leader in one round, whoever stands by in the next. On
//! SQLite it is the one process, which is started again. Then, at the survivor,
//!
//! - what was cut off is there wholly or not at all; made again, under the same `Idempotency-Key` where the call takes one,
//!   it has one effect,
//! - every member, account, link and key is as its writer was told; who is suspended or gone comes in with nothing,
//! - the log has, for every request, exactly the entries of what it did, and is proven whole by `nightlatch audit verify`,
//!   from before the kill as well,
//! - an edge that has followed the files throughout, and one that starts now, answer for every key as the database does.

mod call;
mod thing;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use futures::future::try_join_all;
use nightlatch_api::AuditFilter;
use nightlatch_api::client::Client;
use nightlatch_tests::control_plane::Database;
use nightlatch_tests::deployment::{Deployment, Gate, Login, text};
use nightlatch_tests::on_both_databases;
use nightlatch_tests::replicas::{await_role, role};
use nightlatch_tests::seed::seed;
use nightlatch_tests::wait::eventually;
use nightlatch_tests::world::SOON;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::proof;
use thing::{Cast, Kind};
use writer::Writer;

/// Kills in an ordinary run.
const ROUNDS: usize = 4;
/// What the writers make, each at the replica of its place.
const WRITERS: [Kind; 8] =
    [Kind::Member, Kind::Member, Kind::Account, Kind::Account, Kind::Link, Kind::Link, Kind::Member, Kind::Member];
/// The longest time between the start of the writes and the kill.
const LONGEST: Duration = Duration::from_millis(1_500);
/// Between two looks of the edge at the head.
const PAUSE: Duration = Duration::from_millis(10);
/// How long those at the survivor go on after the kill, while nobody leads.
const GO_ON: Duration = Duration::from_millis(300);

on_both_databases!(s1_09_s3_10_a_kill_in_the_middle_of_writes_about_people_leaves_nothing_half);

async fn s1_09_s3_10_a_kill_in_the_middle_of_writes_about_people_leaves_nothing_half(database: Database) -> Result<()> {
    let seed = seed()?;
    let mut run = Run::start(database, seed).await?;
    for round in 0..ROUNDS {
        let outcome = run.round(round).await;
        outcome.with_context(|| format!("round {round} of seed {seed} on {}", database.as_str()))?;
    }
    let counts: Vec<_> = run.writers.iter().map(|writer| writer.counts).collect();
    let sum = |of: fn(&writer::Counts) -> u64| counts.iter().map(of).sum::<u64>();
    println!(
        "seed {seed}, {}: {ROUNDS} kills; {} calls acknowledged, {} cut off ({} of them done), {} entries in the log",
        database.as_str(),
        sum(|counts| counts.acknowledged),
        sum(|counts| counts.cut_off),
        sum(|counts| counts.cut_off_but_done),
        run.entries
    );
    Ok(())
}

struct Run {
    all: Deployment,
    random: ChaCha8Rng,
    writers: Vec<Writer>,
    edge: Gate,
    scratch: TempDir,
    kept: Vec<PathBuf>,
    entries: usize,
}

impl Run {
    async fn start(database: Database, seed: u64) -> Result<Self> {
        let all = Deployment::start(database).await?;
        let owner = all.owner();
        let partner = text(&all.post(&owner, "partners", json!({ "name": "agency" })).await?["id"])?;
        let partner_owner = all.join_partner(&owner, &partner, "partner_owner", "paula").await?.token;
        let mut writers = Vec::new();
        for (number, kind) in WRITERS.into_iter().enumerate() {
            let mut cast = Cast {
                owner: owner.clone(),
                partner: partner.clone(),
                partner_owner: partner_owner.clone(),
                client: Login::Nobody,
            };
            if kind == Kind::Link {
                let brand = format!("client{number}");
                let made = all.post(&owner, "workspaces", json!({ "name": brand, "brand": brand })).await?;
                let enrol = json!({ "token": made["enrolment_token"] });
                let enrolled = all.post(&Login::Nobody, "enrol", enrol).await?;
                cast.client = Login::Token(text(&enrolled["secret"])?);
            }
            let random = ChaCha8Rng::seed_from_u64(seed ^ (number as u64 + 1) << 32);
            writers.push(Writer::new(number, kind, cast, random));
        }
        let edge = all.gate()?;
        let scratch = TempDir::with_prefix("nightlatch-killed-")?;
        let random = ChaCha8Rng::seed_from_u64(seed);
        Ok(Self { all, random, writers, edge, scratch, kept: Vec::new(), entries: 0 })
    }

    async fn round(&mut self, round: usize) -> Result<()> {
        let first: Vec<usize> = self.writers.iter().map(|writer| writer.things.len().saturating_sub(1)).collect();
        let victim = self.victim(round).await?;
        let head = self.scratch.path().join(format!("head-{round}"));
        proof::checkpoint(&self.all.replicas()[victim], &head)?;
        self.kept.push(head);

        let patience = LONGEST.mul_f64(self.random.random());
        self.write_and_kill(round, victim, patience).await?;
        let replicas = self.all.replicas().len();
        let survivor = (victim + 1) % replicas;
        if replicas == 1 {
            self.all.replicas_mut()[0].restart().await?;
        } else {
            await_role(&self.all.replicas()[survivor], "leading").await?;
        }
        let url = self.all.replicas()[survivor].url();
        for writer in &mut self.writers {
            writer.settle(&self.all, &url).await?;
        }
        for (writer, first) in self.writers.iter().zip(first) {
            // At the end, all of them.
            let first = if round + 1 == ROUNDS { 0 } else { first };
            writer.compare(&self.all, &url, first).await?;
        }
        self.compare_log(survivor, round).await?;
        self.compare_edges(survivor).await?;
        if replicas > 1 {
            self.all.replicas_mut()[victim].restart().await?;
            await_role(&self.all.replicas()[victim], "standby").await?;
        }
        Ok(())
    }

    /// The leader in one round, whoever stands by in the next.
    async fn victim(&self, round: usize) -> Result<usize> {
        let replicas = self.all.replicas();
        let (first, _) = role(&replicas[0]).await?;
        let leader = usize::from(replicas.len() > 1 && first != "leading");
        Ok((leader + round % 2) % replicas.len())
    }

    /// Lets everybody write until one replica is killed, and those at the other a little longer.
    async fn write_and_kill(&mut self, round: usize, victim: usize, patience: Duration) -> Result<()> {
        let (stop, stopped) = watch::channel(());
        let all = &self.all;
        let urls: Vec<String> = all.replicas().iter().map(|replica| replica.url()).collect();
        let writers = self.writers.iter_mut().enumerate().map(|(place, writer)| {
            let url = urls[(place + round) % urls.len()].clone();
            let stopped = stopped.clone();
            async move { writer.write(all, &url, stopped).await }
        });
        let kill = async {
            sleep(patience).await;
            all.replicas()[victim].cut_power()?;
            sleep(GO_ON).await;
            drop(stop);
            anyhow::Ok(())
        };
        let (edge, mut stopped) = (&mut self.edge, stopped.clone());
        let follow = async {
            // Whatever it refuses is a contradiction.
            while stopped.has_changed().is_ok() {
                edge.poll()?;
                tokio::select! {
                    () = sleep(PAUSE) => {}
                    // Resolves when the sender is gone.
                    _ = stopped.changed() => {}
                }
            }
            anyhow::Ok(())
        };
        tokio::try_join!(kill, try_join_all(writers), follow)?;
        self.all.replicas_mut()[victim].kill()
    }

    /// The log is whole, proven, and has what was done and nothing else.
    async fn compare_log(&mut self, survivor: usize, round: usize) -> Result<()> {
        let at = &self.all.replicas()[survivor];
        proof::settled(&self.all, at).await?;
        let file = self.scratch.path().join(format!("log-{round}.ndjson"));
        let entries = proof::proven(&self.all, at, &file, &self.kept)?;
        self.entries = entries.len();
        let mut log: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in entries {
            log.entry(text(&entry["request_id"])?).or_default().push(text(&entry["action"])?);
        }
        for client in self.writers.iter().filter_map(Writer::client) {
            let client = Client::new(&at.url())?.with_token(client.to_owned());
            let filter = AuditFilter { limit: Some(200), ..AuditFilter::default() };
            let entries: Vec<_> = client.audit(filter).try_collect().await?;
            for entry in entries {
                log.entry(entry.request_id).or_default().push(entry.action);
            }
        }
        log.values_mut().for_each(|actions| actions.sort_unstable());
        for writer in &self.writers {
            writer.told.compare(&log, |request| writer.made(request))?;
        }
        Ok(())
    }

    /// Edges say of every key what the database says.
    async fn compare_edges(&mut self, survivor: usize) -> Result<()> {
        let mut fresh = self.all.gate_beside(&self.all.replicas()[survivor])?;
        for edge in [&mut self.edge, &mut fresh] {
            eventually("the edge says what the database says", SOON, async || {
                edge.poll()?;
                ensure!(edge.follower.edge.loaded().is_some(), "nothing is published");
                for thing in self.writers.iter().flat_map(|writer| &writer.things) {
                    for key in &thing.keys {
                        let answer = edge.follower.verdict("GET", "/status", &key.secret, 0);
                        let fits = match thing.state_of(key) {
                            "active" => answer == (200, ""),
                            "disabled" => answer == (401, "key_disabled"),
                            // With its member, see `Gate::refuses_with_its_member`.
                            _ if thing.kind == Kind::Member => answer.0 == 401,
                            _ => answer == (401, "key_revoked"),
                        };
                        ensure!(fits, "{} is {} and answered {answer:?}", key.name, thing.state_of(key));
                    }
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}
