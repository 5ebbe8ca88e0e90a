//! Answers kept for repeated creates.

use super::tx::sql;
use super::{Error, Tx, dialect};
use crate::domain::WorkspaceId;

/// How long a sealed secret is kept, milliseconds.
pub const SECRET_LIFETIME_MS: i64 = 15 * 60 * 1000;
/// How long an answer is kept, milliseconds.
pub const ANSWER_LIFETIME_MS: i64 = 24 * 60 * 60 * 1000;

/// One use of an `Idempotency-Key`: its scope is a token and a route.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The caller's workspace.
    pub workspace: WorkspaceId,
    /// The caller's token, or the member in whose session it calls.
    pub caller: String,
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
    /// The secret, if the answer had one.
    pub secret: Secret,
}

/// The secret of a kept answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The answer has none.
    None,
    /// Sealed under the raw key.
    Sealed(Vec<u8>),
    /// It had one, which is kept no longer.
    Erased,
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

/// Looks a slot up, inside the mutation that will fill it and before anything else in it. On PostgreSQL it makes another
/// mutation with the same slot wait.
///
/// # Errors
/// [`Error::Database`].
pub async fn find(tx: &mut Tx, slot: &Slot) -> Result<Found, Error> {
    let [a, b, c, d, e, f, g, h, ..] = slot.key_hash;
    // Two keys that share these bytes wait for each other and do not mix.
    dialect::lock_slot(tx, i64::from_le_bytes([a, b, c, d, e, f, g, h])).await?;
    let now = tx.now().await?;
    let sql = "SELECT request_hash, status, body, had_secret, sealed_secret, created_at FROM idempotency \
               WHERE token_id = $1 AND route = $2 AND key_hash = $3";
    type Row = (Vec<u8>, i64, String, i64, Option<Vec<u8>>, i64);
    let row = sql!(tx, sql, slot.caller.as_str(), slot.route, slot.key_hash.as_slice() => optional Row)?;
    let Some((request_hash, status, body, had_secret, sealed, created_at)) = row else {
        return Ok(Found::Nothing);
    };
    if created_at <= now - ANSWER_LIFETIME_MS {
        let sql = "DELETE FROM idempotency WHERE token_id = $1 AND route = $2 AND key_hash = $3";
        sql!(tx, sql, slot.caller.as_str(), slot.route, slot.key_hash.as_slice() => execute)?;
        return Ok(Found::Nothing);
    }
    if request_hash != slot.request_hash {
        return Ok(Found::Mismatch);
    }
    let fresh = created_at > now - SECRET_LIFETIME_MS;
    let secret = match (had_secret != 0, sealed) {
        (false, _) => Secret::None,
        (true, Some(sealed)) if fresh => Secret::Sealed(sealed),
        (true, _) => Secret::Erased,
    };
    let status = u16::try_from(status).map_err(|_| Error::Corrupt("status"))?;
    Ok(Found::Answer(Answer { status, body, secret }))
}

/// Keeps an answer, in the transaction of what it answers.
///
/// # Errors
/// [`Error::Database`].
pub async fn keep(tx: &mut Tx, slot: &Slot, answer: &Answer) -> Result<(), Error> {
    let now = tx.now().await?;
    let sealed = match &answer.secret {
        Secret::Sealed(sealed) => Some(sealed.as_slice()),
        Secret::None | Secret::Erased => None,
    };
    sql!(
        tx,
        "INSERT INTO idempotency (token_id, route, key_hash, workspace_id, request_hash, status, body, had_secret, \
         sealed_secret, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        slot.caller.as_str(),
        slot.route,
        slot.key_hash.as_slice(),
        slot.workspace.as_str(),
        slot.request_hash.as_slice(),
        i64::from(answer.status),
        answer.body.as_str(),
        i64::from(answer.secret != Secret::None),
        sealed,
        now
        => execute
    )?;
    Ok(())
}

/// Erases secrets after 15 minutes and answers after a day; returns how many rows it touched. To be called every minute
/// or so.
///
/// # Errors
/// [`Error::Database`].
pub async fn sweep(tx: &mut Tx) -> Result<u64, Error> {
    let now = tx.now().await?;
    let sql = "DELETE FROM idempotency WHERE created_at <= $1";
    let answers = sql!(tx, sql, now - ANSWER_LIFETIME_MS => execute)?;
    let sql = "UPDATE idempotency SET sealed_secret = NULL WHERE created_at <= $1 AND sealed_secret IS NOT NULL";
    let secrets = sql!(tx, sql, now - SECRET_LIFETIME_MS => execute)?;
    Ok(answers + secrets)
}
