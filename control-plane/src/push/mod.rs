//! Telling edges of a new head at once.
//!
//! Push is an accelerator: whoever is not told asks, as if there were no push, and nothing waits for a push to arrive.
//! So a [`Pusher`] knows only the newest head. Whatever it could not deliver in time is forgotten when a newer one comes.
//!
//! ```text
//! wss://WORKER/.well-known/nightlatch/push/SET     a WebSocket, one text message for each head
//! https://WORKER/.well-known/nightlatch/push/SET   a POST for each head
//! ```

mod pusher;
mod socket;
mod target;

pub use pusher::{PushStatus, Pusher};
pub use target::PushTarget;

/// Why heads do not arrive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The address or the token is wrong.
    #[error("{0}")]
    Usage(String),
    /// The other side cannot be reached, or refuses.
    #[error("{0}")]
    Failed(String),
}
