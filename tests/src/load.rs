//! Paced traffic: consumers that hold a key each, swap it when they are told to, and remember every failure.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use jiff::Timestamp;
use nightlatch_api::Secret;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::caller::{Answer, Caller};
use crate::clock::{between, now};

/// A program that holds a key.
pub struct Consumer {
    path: String,
    hands: Mutex<Hands>,
}

struct Hands {
    /// A request on its way holds a clone: who else has one tells whether the key is still in use.
    key: Arc<Secret>,
    next: Option<(Timestamp, Arc<Secret>)>,
}

impl Consumer {
    /// A consumer that calls `path` with `key`.
    #[must_use]
    pub fn new(path: &str, key: &Arc<Secret>) -> Arc<Self> {
        let hands = Hands { key: Arc::clone(key), next: None };
        Arc::new(Self { path: path.to_owned(), hands: Mutex::new(hands) })
    }

    /// Has the consumer swap its key at that moment.
    pub fn swap_at(&self, moment: Timestamp, key: &Arc<Secret>) {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner).next = Some((moment, Arc::clone(key)));
    }

    /// The key in hand at that moment.
    fn key(&self, moment: Timestamp) -> Arc<Secret> {
        let mut hands = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = hands.next.take_if(|(at, _)| *at <= moment) {
            hands.key = key;
        }
        Arc::clone(&hands.key)
    }
}

/// A request that was not answered with 200.
#[derive(Debug)]
pub struct Failure {
    /// When it was sent.
    pub at: Timestamp,
    /// The start of the key, up to its secret part.
    pub key: String,
    /// Status and body, or what broke.
    pub what: String,
}

/// What the traffic met.
#[derive(Default)]
pub struct LoadReport {
    /// Requests that were answered with 200.
    pub succeeded: usize,
    /// The others.
    pub failures: Vec<Failure>,
    /// How long the answers took.
    pub latencies: Vec<Duration>,
}

impl LoadReport {
    /// Checks that every request was answered with 200.
    ///
    /// # Errors
    /// With every failure, and where nothing was sent at all.
    pub fn without_failure(&self) -> Result<()> {
        ensure!(self.failures.is_empty(), "{} of {} requests failed:\n{self}", self.failures.len(), self.sent());
        ensure!(self.succeeded > 0, "no request was sent");
        Ok(())
    }

    /// How many requests were answered at all.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.succeeded + self.failures.len()
    }

    /// The latency that this share of the answers did not exceed.
    #[must_use]
    pub fn latency(&self, share: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let rank = (share * sorted.len() as f64) as usize;
        sorted.get(rank.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    fn count(&mut self, key: &Secret, at: Timestamp, answer: Result<Answer>) {
        let what = match answer {
            Ok(answer) if answer.status == 200 => {
                self.succeeded += 1;
                self.latencies.push(between(answer.sent, answer.received));
                return;
            }
            Ok(answer) => format!("{answer:?}"),
            Err(error) => format!("{error:#}"),
        };
        // Brand, environment and id; never the secret part.
        let key = key.expose().chars().take(18).collect();
        self.failures.push(Failure { at, key, what });
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Failure { at, key, what } in &self.failures {
            writeln!(f, "  {at} {key}: {what}")?;
        }
        let (p50, p99) = (self.latency(0.5), self.latency(0.99));
        write!(f, "{} requests, {} failed, p50 {p50:?}, p99 {p99:?}", self.sent(), self.failures.len())
    }
}

/// Traffic on its way.
pub struct Load {
    stop: watch::Sender<()>,
    traffic: JoinHandle<LoadReport>,
}

impl Load {
    /// Starts that many requests a second, whether or not earlier ones have been answered; each comes from the next of
    /// the consumers in turn, who go to the next of the edges every time.
    ///
    /// # Errors
    /// Where there is no edge, no consumer or no pace.
    pub fn start(edges: &[Caller], consumers: Vec<Arc<Consumer>>, per_second: u32) -> Result<Self> {
        if edges.is_empty() || consumers.is_empty() || per_second == 0 {
            bail!("there is no traffic without edges, consumers and a pace");
        }
        let (stop, stopped) = watch::channel(());
        let pause = Duration::from_secs(1) / per_second;
        let traffic = tokio::spawn(drive(edges.to_vec(), consumers, pause, stopped));
        Ok(Self { stop, traffic })
    }

    /// Ends the traffic, waits for the answers that are still due, and says what it met.
    ///
    /// # Errors
    /// When it panicked.
    pub async fn finish(self) -> Result<LoadReport> {
        drop(self.stop);
        Ok(self.traffic.await?)
    }
}

async fn drive(
    edges: Vec<Caller>,
    consumers: Vec<Arc<Consumer>>,
    pause: Duration,
    mut stopped: watch::Receiver<()>,
) -> LoadReport {
    let report = Arc::new(Mutex::new(LoadReport::default()));
    let mut requests = JoinSet::new();
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for turn in 0_usize.. {
        let (consumer, edge) = (&consumers[turn % consumers.len()], &edges[turn / consumers.len() % edges.len()]);
        tokio::select! {
            _ = ticks.tick() => {}
            // Resolves when the sender is gone.
            _ = stopped.changed() => break,
        }
        let (caller, consumer, report) = (edge.clone(), Arc::clone(consumer), Arc::clone(&report));
        requests.spawn(async move {
            let at = now();
            let key = consumer.key(at);
            let answer = caller.get(&consumer.path, key.expose()).await;
            report.lock().unwrap_or_else(PoisonError::into_inner).count(&key, at, answer);
        });
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
    std::mem::take(&mut report.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Origin;

    #[tokio::test]
    async fn every_request_is_counted_and_every_failure_kept() {
        let origin = Origin::start().await.unwrap();
        let caller = Caller::new(&origin.url()).unwrap();
        let (first, second) = (Arc::new(Secret::from("first")), Arc::new(Secret::from("second")));
        let swapping = Consumer::new("/fine", &first);
        let failing = Consumer::new("/redirect", &second);
        swapping.swap_at(now(), &second);
        let load = Load::start(&[caller], vec![swapping, failing], 1000).unwrap();
        crate::wait::eventually("some requests", Duration::from_secs(10), async || {
            ensure!(origin.received().len() >= 40);
            Ok(())
        })
        .await
        .unwrap();
        let report = load.finish().await.unwrap();
        assert_eq!(report.sent(), origin.received().len());
        assert!(report.succeeded.abs_diff(report.failures.len()) <= 1);
        assert!(report.without_failure().is_err());
        // Only this test still holds the key that was swapped away.
        assert_eq!(Arc::strong_count(&first), 1);
        assert!(origin.received().iter().all(|received| received.header("authorization") == "Bearer second"));
    }
}
