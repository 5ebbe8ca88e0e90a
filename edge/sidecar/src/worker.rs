//! What each answering thread keeps for itself: what it has answered, and which keys it saw. Nobody else writes there, so
//! nobody waits.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use nightlatch_gate::{Code, KeyId};

/// Milliseconds for which a sighting of a key stands.
const WINDOW: u64 = 30_000;
/// Keys remembered in a window; when there are more, some are told of twice.
const MAX_REMEMBERED: usize = 50_000;
/// Sightings that wait to be sent.
const MAX_PENDING: usize = 50_000;

/// One thread's share.
#[derive(Default)]
pub(crate) struct Worker {
    allowed: AtomicU64,
    preflights: AtomicU64,
    denied: [AtomicU64; Code::ALL.len()],
    aged: AtomicU64,
    sightings: Mutex<Sightings>,
}

#[derive(Default)]
struct Sightings {
    window: u64,
    seen: HashSet<KeyId>,
    pending: Vec<(KeyId, u64)>,
}

impl Worker {
    /// Counts a request that was let through with a key, and notes the key.
    pub(crate) fn allowed(&self, key: KeyId, now: u64) {
        self.allowed.fetch_add(1, Ordering::Relaxed);
        let mut sightings = self.sightings.lock().unwrap_or_else(PoisonError::into_inner);
        let window = now / WINDOW;
        if window != sightings.window || sightings.seen.len() >= MAX_REMEMBERED {
            sightings.window = window;
            sightings.seen.clear();
        }
        if sightings.seen.insert(key) && sightings.pending.len() < MAX_PENDING {
            sightings.pending.push((key, now));
        }
    }

    /// Counts a preflight.
    pub(crate) fn preflight(&self) {
        self.preflights.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refusal.
    pub(crate) fn denied(&self, code: Code) {
        if let Some(count) = self.denied.get(code as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a connection that was ended by its route's `max_connection_age`.
    pub(crate) fn ended_by_age(&self, peer: SocketAddr) {
        self.aged.fetch_add(1, Ordering::Relaxed);
        tracing::info!("the connection of {peer} was ended by its route's max_connection_age");
    }

    /// How many those are.
    pub(crate) fn aged(&self) -> u64 {
        self.aged.load(Ordering::Relaxed)
    }

    /// Takes the sightings that wait to be sent.
    pub(crate) fn take_sightings(&self) -> Vec<(KeyId, u64)> {
        std::mem::take(&mut self.sightings.lock().unwrap_or_else(PoisonError::into_inner).pending)
    }

    /// What was answered so far: `allowed`, `preflight`, and the code of every refusal, with how often.
    pub(crate) fn verdicts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let denied = Code::ALL.iter().filter_map(|code| Some((code.as_str(), self.denied.get(*code as usize)?)));
        let all = [("allowed", &self.allowed), ("preflight", &self.preflights)].into_iter().chain(denied);
        all.map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_of_once_per_window() {
        let worker = Worker::default();
        for at in [60_000, 60_001, 89_999] {
            worker.allowed(KeyId::Number(1), at);
        }
        worker.allowed(KeyId::Number(2), 61_000);
        assert_eq!(worker.take_sightings(), [(KeyId::Number(1), 60_000), (KeyId::Number(2), 61_000)]);
        worker.allowed(KeyId::Number(1), 90_000);
        assert_eq!(worker.take_sightings().len(), 1);
        worker.denied(Code::KeyRevoked);
        let verdicts: Vec<_> = worker.verdicts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(verdicts, [("allowed", 5), ("key_revoked", 1)]);
    }

    #[test]
    fn memory_is_bounded() {
        let worker = Worker::default();
        for number in 0..2 * MAX_PENDING as u32 {
            worker.allowed(KeyId::Number(number), 1);
        }
        assert_eq!(worker.take_sightings().len(), MAX_PENDING);
    }
}
