//! From a mutation to the published head that names it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use nightlatch_api::client::Client;
use nightlatch_api::{IssuedKey, UpdateKey};
use nightlatch_tests::clock::now;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::numbers::quantile;
use super::row::{Row, Target};
use super::scene::Scene;
use super::{Effort, say};

/// How often the head is looked at: what is measured may be this much too long.
const LOOK: Duration = Duration::from_micros(500);
/// How long a head may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two mutations that are measured.
const PAUSE: Duration = Duration::from_millis(40);

/// Issues keys one after the other, while other keys change, and waits each time for the head that counts one key more.
///
/// The time begins at the key's `created_at`: the database's clock within the transaction, before its commit and well
/// before its answer. So what is measured holds the commit itself, and is never flattered by a slow answer.
pub(super) async fn measure(scene: &Scene<'_>, effort: Effort) -> Result<Vec<Row>> {
    let samples = if effort.quick { 50 } else { 300 };
    let changed = scene.issue("changed meanwhile").await?;
    // Settled: what was issued before is in the head.
    sleep(Duration::from_millis(500)).await;
    let mut watched = Watched::start(scene.control_plane.published().join("head"))?;
    let traffic = Traffic::start(scene.client().clone(), changed);

    let mut keys = watched.keys();
    let (mut since_written, mut since_answer) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        let issued = scene.issue("published").await?;
        let answered = now();
        keys += 1;
        let seen = watched.wait_for(keys).await?;
        since_written.push(milliseconds(issued.key.created_at, seen));
        since_answer.push(milliseconds(answered, seen).max(0.0));
        sleep(PAUSE).await;
    }
    traffic.stop().await?;
    say(&format!(
        "answer → head published: p50 {:.1} ms, p99 {:.1} ms",
        quantile(&since_answer, 0.5),
        quantile(&since_answer, 0.99)
    ));
    Ok(vec![
        Row::new("commit → head published (p50, ms)", quantile(&since_written, 0.5)),
        Row::new("commit → head published (p99, ms)", quantile(&since_written, 0.99)).target(Target::AtMost(100.0)),
    ])
}

fn milliseconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1_000.0
}

/// The head file, looked at by a thread of its own.
struct Watched {
    /// The key count of the newest head, and when it was first seen.
    newest: watch::Receiver<(u64, Timestamp)>,
}

impl Watched {
    fn start(path: PathBuf) -> Result<Self> {
        let keys = read_keys(&path)?;
        let (sender, newest) = watch::channel((keys, now()));
        std::thread::spawn(move || {
            let mut last = keys;
            // Ends when nobody listens any more.
            while !sender.is_closed() {
                if let Ok(keys) = read_keys(&path)
                    && keys != last
                {
                    last = keys;
                    sender.send_replace((keys, now()));
                }
                std::thread::sleep(LOOK);
            }
        });
        Ok(Self { newest })
    }

    fn keys(&self) -> u64 {
        self.newest.borrow().0
    }

    /// When a head that counts at least so many keys was first seen.
    async fn wait_for(&mut self, keys: u64) -> Result<Timestamp> {
        let seen = timeout(PATIENCE, self.newest.wait_for(|(newest, _)| *newest >= keys)).await;
        Ok(seen.with_context(|| format!("no head counts {keys} keys"))??.1)
    }
}

/// The key count a head states.
fn read_keys(path: &PathBuf) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let keys = text.lines().find_map(|line| line.strip_prefix("keys ")).context("the head counts no keys")?;
    Ok(keys.parse()?)
}

/// Ten changes of another key a second.
struct Traffic(JoinHandle<Result<()>>);

impl Traffic {
    fn start(client: Client, key: IssuedKey) -> Self {
        Self(tokio::spawn(async move {
            let mut ticks = interval(Duration::from_millis(100));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for turn in 0_u64.. {
                ticks.tick().await;
                let tier = if turn % 2 == 0 { "gold" } else { "silver" };
                let change = UpdateKey { tier: Some(Some(tier.into())), ..UpdateKey::default() };
                let etag = client.key(&key.key.id).await?.etag;
                client.update_key(&key.key.id, &etag, &change).await?;
            }
            Ok(())
        }))
    }

    async fn stop(self) -> Result<()> {
        if self.0.is_finished() {
            self.0.await??;
            bail!("the traffic ended by itself");
        }
        self.0.abort();
        Ok(())
    }
}
