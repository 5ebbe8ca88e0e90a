//! Constant traffic with one key at a time, which can be switched while it runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Requests a second.
pub(super) const PACE: u32 = 100;

/// What was sent and what came back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    /// Requests answered with 200.
    pub(super) passed: u64,
    /// All others.
    pub(super) failed: u64,
}

/// Running traffic.
pub(super) struct Traffic {
    secret: Arc<Mutex<String>>,
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Result<Count>>,
}

impl Traffic {
    /// Begins to call `url` with `secret`, at [`PACE`].
    pub(super) fn start(url: String, secret: &str) -> Self {
        let secret = Arc::new(Mutex::new(secret.to_owned()));
        let stop = Arc::new(AtomicBool::new(false));
        let sender = tokio::spawn(send(url, Arc::clone(&secret), Arc::clone(&stop)));
        Self { secret, stop, sender }
    }

    /// From the next request on, uses another key: a client that was given its successor.
    pub(super) fn switch(&self, secret: &str) {
        secret.clone_into(&mut self.secret.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends the traffic and counts.
    pub(super) async fn stop(self) -> Result<Count> {
        self.stop.store(true, Ordering::Relaxed);
        self.sender.await?
    }
}

async fn send(url: String, secret: Arc<Mutex<String>>, stop: Arc<AtomicBool>) -> Result<Count> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    let mut tick = interval(Duration::from_secs(1) / PACE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = Count::default();
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let secret = secret.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = http.get(&url).bearer_auth(secret).send().await;
        if answer.is_ok_and(|answer| answer.status() == 200) {
            count.passed += 1;
        } else {
            count.failed += 1;
        }
    }
    Ok(count)
}
