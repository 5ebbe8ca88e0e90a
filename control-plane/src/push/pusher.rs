//! The task that keeps one address up to date.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::{PushError, PushTarget};

/// The wait after the first failure; it doubles with every further one.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait after failures.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// How often a quiet WebSocket is asked for a sign of life. One that gives none until the next time is given up.
const PING: Duration = Duration::from_secs(20);

/// Sends every head that appears to one address, in a task of its own that ends when this is dropped.
#[derive(Debug)]
pub struct Pusher {
    target: PushTarget,
    counts: Arc<Counts>,
    delivered: watch::Receiver<Option<Arc<str>>>,
    task: JoinHandle<()>,
}

/// How it has gone so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PushStatus {
    /// The address.
    pub to: String,
    /// Heads that were sent.
    pub sent: u64,
    /// Attempts that failed: connections that broke or were refused, and heads that were not taken.
    pub failures: u64,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    failures: AtomicU64,
}

/// What the task works with.
struct Work {
    target: PushTarget,
    heads: watch::Receiver<Option<Arc<str>>>,
    delivered: watch::Sender<Option<Arc<str>>>,
    counts: Arc<Counts>,
    random: fn(&mut [u8]),
    /// Failures since the last head that was sent.
    failures: u32,
}

/// Nobody makes heads any more.
struct Ended;

impl Pusher {
    /// Begins to send what appears in `heads`, the newest only. `random` fills a buffer with random bytes, for waits and
    /// WebSocket keys.
    pub fn start(target: PushTarget, heads: watch::Receiver<Option<Arc<str>>>, random: fn(&mut [u8])) -> Self {
        let counts = Arc::new(Counts::default());
        let (delivered, delivered_to) = watch::channel(None);
        let work = Work { target: target.clone(), heads, delivered, counts: Arc::clone(&counts), random, failures: 0 };
        Self { target, counts, delivered: delivered_to, task: tokio::spawn(work.run()) }
    }

    /// How it has gone so far.
    pub fn status(&self) -> PushStatus {
        PushStatus {
            to: self.target.address().to_owned(),
            sent: self.counts.sent.load(Ordering::Relaxed),
            failures: self.counts.failures.load(Ordering::Relaxed),
        }
    }

    /// Waits until this head has been sent, at most so long. False where it has not.
    pub async fn has_sent(&mut self, head: &str, patience: Duration) -> bool {
        let sent = self.delivered.wait_for(|sent| sent.as_deref() == Some(head));
        matches!(timeout(patience, sent).await, Ok(Ok(_)))
    }
}

impl Drop for Pusher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Work {
    async fn run(mut self) {
        loop {
            if self.heads.wait_for(Option::is_some).await.is_err() {
                return;
            }
            let result =
                if self.target.is_socket() { self.follow_by_socket().await } else { self.follow_by_posts().await };
            let error = match result {
                Ok(Ended) => return,
                Err(error) => error,
            };
            self.failures = self.failures.saturating_add(1);
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
            let wait = self.wait();
            tracing::warn!(
                to = self.target.address(),
                %error,
                again_in_ms = wait.as_millis(),
                "a head could not be pushed; edges find it when they ask"
            );
            sleep(wait).await;
        }
    }

    async fn follow_by_posts(&mut self) -> Result<Ended, PushError> {
        loop {
            let head = self.heads.borrow_and_update().clone();
            if let Some(head) = head {
                self.target.post(&head).await?;
                self.has_sent(head);
            }
            if self.heads.changed().await.is_err() {
                return Ok(Ended);
            }
        }
    }

    async fn follow_by_socket(&mut self) -> Result<Ended, PushError> {
        let mut socket = self.target.open(self.random).await?;
        let mut ticks = interval(PING);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut asked = false;
        loop {
            // What came while this one was on its way counts as seen only when it is taken here: never a queue.
            let head = self.heads.borrow_and_update().clone();
            if let Some(head) = head {
                socket.send(&head).await?;
                self.has_sent(head);
            }
            loop {
                tokio::select! {
                    changed = self.heads.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return Ok(Ended),
                    },
                    heard = socket.heard() => {
                        if let Some(refusal) = heard? {
                            // The connection is right, and the next head may be.
                            self.counts.failures.fetch_add(1, Ordering::Relaxed);
                            tracing::warn!(to = self.target.address(), refusal, "a pushed head was not taken");
                        }
                        asked = false;
                    }
                    _ = ticks.tick() => {
                        if asked {
                            return Err(PushError::Failed("it gives no sign of life".into()));
                        }
                        socket.ping().await?;
                        asked = true;
                    }
                }
            }
        }
    }

    fn has_sent(&mut self, head: Arc<str>) {
        self.failures = 0;
        self.counts.sent.fetch_add(1, Ordering::Relaxed);
        self.delivered.send_replace(Some(head));
    }

    /// Doubles with every failure up to a limit, and takes between half and all of that.
    fn wait(&self) -> Duration {
        let longest = FIRST_WAIT.saturating_mul(1 << self.failures.saturating_sub(1).min(10)).min(MAX_WAIT);
        let mut byte = [0];
        (self.random)(&mut byte);
        longest / 2 + longest / 2 * u32::from(byte[0]) / 255
    }
}
