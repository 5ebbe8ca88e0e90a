//! How far long work is, on standard error: a line that moves on a terminal, now and then a line of its own elsewhere.

use std::io::{IsTerminal as _, stderr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Between two lines where nothing moves.
const RARELY: Duration = Duration::from_secs(10);
/// Between two looks of a line that moves.
const OFTEN: Duration = Duration::from_millis(100);

/// Shows how far work is.
pub(super) struct Progress {
    terminal: bool,
    begun: Instant,
    shown: Mutex<(&'static str, Instant)>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { terminal: stderr().is_terminal(), begun: Instant::now(), shown: Mutex::new(("", Instant::now())) }
    }

    /// Takes note of how far the work is: `total` is 0 where nobody knows.
    pub(super) fn show(&self, what: &'static str, done: u64, total: u64) {
        let Ok(mut shown) = self.shown.lock() else { return };
        let pause = if self.terminal { OFTEN } else { RARELY };
        if shown.0 == what && shown.1.elapsed() < pause && done != total {
            return;
        }
        // Off a terminal a number that only grows says nothing about work that is soon done.
        if !self.terminal && total == 0 && self.begun.elapsed() < RARELY {
            return;
        }
        let of = if total == 0 { String::new() } else { format!(" of {total}") };
        match (self.terminal, shown.0 == what) {
            (true, true) => eprint!("\r{what}: {done}{of}\x1b[K"),
            (true, false) if shown.0.is_empty() => eprint!("{what}: {done}{of}"),
            (true, false) => eprint!("\n{what}: {done}{of}"),
            (false, _) => eprintln!("{what}: {done}{of}"),
        }
        *shown = (what, Instant::now());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal && self.shown.lock().is_ok_and(|shown| !shown.0.is_empty()) {
            eprintln!();
        }
    }
}
