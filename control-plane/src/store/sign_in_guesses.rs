//! How often somebody guessed: counted in the database, so that all replicas count together.

use super::tx::sql;
use super::{Error, Tx, dialect};
use crate::signin::limits::{Bucket, FORGET_MS, KNOWN_MS, Rule};

/// The name of a bucket: a keyed hash.
pub type Name = [u8; 32];

/// The buckets a guess is counted in.
#[derive(Clone, Debug)]
pub struct Buckets {
    /// Of the source address.
    pub address: (Name, Rule),
    /// Of the account at that address: used in place of the account's own where somebody signed in from there lately.
    pub known: (Name, Rule),
    /// Of the account.
    pub account: (Name, Rule),
}

/// A guess that was counted.
#[derive(Clone, Debug)]
pub struct Counted {
    /// The bucket of the account at that address.
    known: Name,
    address: Taken,
    /// In the bucket that stood for the account.
    account: Taken,
}

/// What counting a guess did to a bucket.
#[derive(Clone, Copy, Debug)]
struct Taken {
    name: Name,
    /// When the guess was counted, unix milliseconds.
    at: i64,
    /// The failure before it, unix milliseconds.
    before: i64,
}

/// What became of a guess.
#[derive(Clone, Debug)]
pub enum Asked {
    /// It is counted and may be tried.
    Counted(Counted),
    /// It may be made in so many milliseconds.
    Wait(i64),
}

/// Counts a guess before it is tried.
///
/// # Errors
/// [`Error::Database`].
pub async fn ask(tx: &mut Tx, buckets: Buckets) -> Result<Asked, Error> {
    // In the order of their names, so that two guesses cannot wait for each other.
    let mut names = [buckets.address.0, buckets.known.0, buckets.account.0];
    names.sort_unstable();
    for [a, b, c, d, e, f, g, h, ..] in names {
        dialect::lock_slot(tx, i64::from_le_bytes([a, b, c, d, e, f, g, h])).await?;
    }
    let now = tx.now().await?;
    let (address, _) = bucket(tx, &buckets.address.0).await?;
    let (known, known_until) = bucket(tx, &buckets.known.0).await?;
    let is_known = known_until.is_some_and(|until| now < until);
    let (name, rule) = if is_known { buckets.known } else { buckets.account };
    let account = if is_known { known } else { bucket(tx, &name).await?.0 };
    match (address.count(buckets.address.1, now), account.count(rule, now)) {
        (Ok(counted_address), Ok(counted_account)) => {
            keep(tx, &buckets.address.0, counted_address).await?;
            keep(tx, &name, counted_account).await?;
            let taken = |name, before: Bucket| Taken { name, at: now, before: before.last_at };
            let (address, account) = (taken(buckets.address.0, address), taken(name, account));
            Ok(Asked::Counted(Counted { known: buckets.known.0, address, account }))
        }
        (address, account) => Ok(Asked::Wait(address.err().unwrap_or_default().max(account.err().unwrap_or_default()))),
    }
}

/// Takes a guess back that was right: the account's bucket is empty again, and the account known at that address. What
/// others did from the address stays counted.
///
/// # Errors
/// [`Error::Database`].
pub async fn succeed(tx: &mut Tx, counted: &Counted) -> Result<(), Error> {
    let now = tx.now().await?;
    untake(tx, &counted.address).await?;
    let empty = Bucket { failures: 0, last_at: now };
    keep(tx, &counted.account.name, empty).await?;
    keep(tx, &counted.known, empty).await?;
    let sql = "UPDATE sign_in_guesses SET known_until = $2 WHERE bucket = $1";
    sql!(tx, sql, counted.known.as_slice(), now.saturating_add(KNOWN_MS) => execute)?;
    Ok(())
}

/// Takes a guess back that was right as far as it went: the counts are what they were before it. They are not emptied, or
/// whoever knows a password alone could guess at codes for ever.
///
/// # Errors
/// [`Error::Database`].
pub async fn give_back(tx: &mut Tx, counted: &Counted) -> Result<(), Error> {
    // The address first, as everywhere.
    untake(tx, &counted.address).await?;
    untake(tx, &counted.account).await
}

/// Makes a bucket what it would be without the guess. Its last failure is the one before, unless there was another since:
/// a right guess closes nothing, and lets failures be forgotten as if it had not been.
async fn untake(tx: &mut Tx, taken: &Taken) -> Result<(), Error> {
    let sql = "UPDATE sign_in_guesses SET failures = failures - 1, \
               last_at = CASE WHEN last_at = $2 THEN $3 ELSE last_at END WHERE bucket = $1 AND failures > 0";
    sql!(tx, sql, taken.name.as_slice(), taken.at, taken.before => execute)?;
    Ok(())
}

/// Forgets what says nothing any more; returns how many rows. To be called now and then.
///
/// # Errors
/// [`Error::Database`].
pub async fn sweep(tx: &mut Tx) -> Result<u64, Error> {
    let now = tx.now().await?;
    let sql = "DELETE FROM sign_in_guesses WHERE last_at <= $1 AND (known_until IS NULL OR known_until <= $2)";
    Ok(sql!(tx, sql, now - FORGET_MS, now => execute)?)
}

async fn bucket(tx: &mut Tx, name: &Name) -> Result<(Bucket, Option<i64>), Error> {
    let sql = "SELECT failures, last_at, known_until FROM sign_in_guesses WHERE bucket = $1";
    let row = sql!(tx, sql, name.as_slice() => optional (i64, i64, Option<i64>))?;
    Ok(row.map(|(failures, last_at, known)| (Bucket { failures, last_at }, known)).unwrap_or_default())
}

async fn keep(tx: &mut Tx, name: &Name, bucket: Bucket) -> Result<(), Error> {
    let sql = "INSERT INTO sign_in_guesses (bucket, failures, last_at) VALUES ($1, $2, $3) \
               ON CONFLICT (bucket) DO UPDATE SET failures = excluded.failures, last_at = excluded.last_at";
    sql!(tx, sql, name.as_slice(), bucket.failures, bucket.last_at => execute)?;
    Ok(())
}
