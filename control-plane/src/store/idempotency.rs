//! Answers kept for repeated creates.

use super::{Error, Tx};
use crate::domain::{TokenId, WorkspaceId};

/// How long a sealed secret is kept, milliseconds.
pub const SECRET_LIFETIME_MS: i64 = 15 * 60 * 1000;
/// How long an answer is kept, milliseconds.
pub const ANSWER_LIFETIME_MS: i64 = 24 * 60 * 60 * 1000;

/// One use of an `Idempotency-Key`: its scope is a token and a route.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The caller's workspace.
    pub workspace: WorkspaceId,
    /// The caller's token.
    pub token: TokenId,
    /// The route's name.
    pub route: &'static str,
    /// A hash of the key: the key itself is never kept.
    pub key_hash: [u8; 32],
    /// A hash of the request body.
    pub request_hash: [u8; 32],
}

/// A kept answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body without the secret.
    pub body: String,
    /// The secret, sealed under the raw key.
    pub sealed_secret: Option<Vec<u8>>,
}

/// What a slot holds.
#[derive(Clone, Debug)]
pub enum Found {
    /// Nothing: this request is the first.
    Nothing,
    /// The answer to the same request; its secret is gone after 15 minutes.
    Answer(Answer),
    /// Another request used the key.
    Mismatch,
}

/// Looks a slot up, inside the mutation that will fill it. On PostgreSQL it makes another mutation with the same slot wait.
///
/// # Errors
/// [`Error::Database`].
pub async fn find(tx: &mut Tx, slot: &Slot) -> Result<Found, Error> {
    todo!()
}

/// Keeps an answer, in the transaction of what it answers.
///
/// # Errors
/// [`Error::Database`].
pub async fn keep(tx: &mut Tx, slot: &Slot, answer: &Answer) -> Result<(), Error> {
    todo!()
}

/// Erases secrets after 15 minutes and answers after a day; returns how many rows it touched. To be called every minute
/// or so.
///
/// # Errors
/// [`Error::Database`].
pub async fn sweep(tx: &mut Tx) -> Result<u64, Error> {
    todo!()
}
