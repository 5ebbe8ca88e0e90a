//! Sign-ins that are at the identity provider. What is kept of one is sealed before it comes here.

use nightlatch_key::Digest;

use super::tx::sql;
use super::{Error, Tx};
use crate::signin::lifetime::FLOW_MS;

/// How many flows are kept; beyond, the oldest are forgotten. Nobody can fill the database with sign-ins they never finish,
/// and who does finish theirs is in time unless as many others begin meanwhile.
const MOST: i64 = 10_000;

/// Keeps a flow under the digest of its `state`.
///
/// # Errors
/// [`Error::Database`].
pub async fn open(tx: &mut Tx, state: &Digest, sealed: &[u8]) -> Result<(), Error> {
    let now = tx.now().await?;
    let most = "DELETE FROM oidc_flows WHERE created_at <= \
                (SELECT created_at FROM oidc_flows ORDER BY created_at DESC LIMIT 1 OFFSET $1)";
    sql!(tx, most, MOST - 1 => execute)?;
    let sql = "INSERT INTO oidc_flows (state, sealed, created_at) VALUES ($1, $2, $3)";
    sql!(tx, sql, state.as_bytes().as_slice(), sealed, now => execute)?;
    Ok(())
}

/// Takes a flow: it can be taken once, for ten minutes. With it, when it began, unix milliseconds.
///
/// # Errors
/// [`Error::Database`].
pub async fn take(tx: &mut Tx, state: &Digest) -> Result<Option<(Vec<u8>, i64)>, Error> {
    let now = tx.now().await?;
    let sql = "DELETE FROM oidc_flows WHERE state = $1 RETURNING sealed, created_at";
    let taken = sql!(tx, sql, state.as_bytes().as_slice() => optional (Vec<u8>, i64))?;
    Ok(taken.filter(|(_, at)| (0..FLOW_MS).contains(&now.saturating_sub(*at))))
}

/// Forgets flows that nobody came back from; returns how many. To be called now and then.
///
/// # Errors
/// [`Error::Database`].
pub async fn sweep(tx: &mut Tx) -> Result<u64, Error> {
    let now = tx.now().await?;
    Ok(sql!(tx, "DELETE FROM oidc_flows WHERE created_at <= $1", now - FLOW_MS => execute)?)
}
