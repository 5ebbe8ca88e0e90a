//! Signals to stop: the first asks, the second insists.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The system does not let this process listen for signals.
#[derive(Debug, thiserror::Error)]
#[error("signals cannot be listened for: {0}")]
pub struct SignalsError(#[from] std::io::Error);

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on: the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// [`SignalsError`] where the system refuses.
    pub fn listen() -> Result<Self, SignalsError> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
