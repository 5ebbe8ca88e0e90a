//! Which keys a set's edges are to believe: the key that signs, and the notes that list such keys.

use super::audit::{self, Draft, Target};
use super::publication::{signed, unsigned};
use super::tx::sql;
use super::{Context, Error, Read, Tx};
use crate::domain::SetId;

/// A stored trust note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRow {
    /// Its version.
    pub version: u64,
    /// Its exact text.
    pub note: String,
}

/// Says which key signs the set's heads, where nobody has said so yet; returns the one that does.
///
/// # Errors
/// [`Error::NotFound`] where there is no such set.
pub async fn name_signer(tx: &mut Tx, set: &SetId, vkey: &str) -> Result<String, Error> {
    sql!(
        tx,
        "UPDATE sets SET signer = $2 WHERE id = $1 AND signer IS NULL",
        set.as_str(), vkey => execute
    )?;
    let row = sql!(tx, "SELECT signer FROM sets WHERE id = $1", set.as_str() => optional (Option<String>,))?;
    row.and_then(|(signer,)| signer).ok_or(Error::NotFound("set"))
}

/// Has another key sign from the next epoch on.
///
/// # Errors
/// [`Error::Database`].
pub async fn change_signer(tx: &mut Tx, set: &SetId, vkey: &str) -> Result<(), Error> {
    sql!(tx, "UPDATE sets SET signer = $2 WHERE id = $1", set.as_str(), vkey => execute)?;
    tx.wake_publisher();
    Ok(())
}

/// Notes which key signs from an epoch's first head on.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn signs_from_now(tx: &mut Tx, set: &SetId, vkey: &str, now: u64) -> Result<(), Error> {
    sql!(
        tx,
        "UPDATE sets SET signed_by = $2, signed_since = $3 WHERE id = $1 AND (signed_by IS NULL OR signed_by <> $2)",
        set.as_str(), vkey, signed(now)? => execute
    )?;
    Ok(())
}

/// Which key signs a set's heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    /// The verifier key of the one that is to sign; `None` before the first start has said so.
    pub signer: Option<String>,
    /// The one that signs the current epoch; `None` before the first.
    pub signed_by: Option<String>,
    /// Since when it does, unix milliseconds.
    pub since: u64,
    /// How long a head of any other key may be relied on at most, in milliseconds: the largest validity or open time ever
    /// signed, and the skew.
    pub relied_on_ms: u64,
}

/// Which key signs a set's heads.
///
/// # Errors
/// [`Error::NotFound`] where there is no such set.
pub async fn signing(read: &mut Read, set: &SetId) -> Result<Signing, Error> {
    let sql = "SELECT signer, signed_by, signed_since, \
               skew_ms + CASE WHEN largest_open_ms > largest_validity_ms THEN largest_open_ms ELSE largest_validity_ms END \
               FROM sets WHERE id = $1";
    let row = sql!(read, sql, set.as_str() => optional (Option<String>, Option<String>, i64, i64))?;
    let (signer, signed_by, since, relied_on) = row.ok_or(Error::NotFound("set"))?;
    Ok(Signing { signer, signed_by, since: unsigned(since)?, relied_on_ms: unsigned(relied_on)? })
}

/// A trust note by its version.
///
/// # Errors
/// [`Error::Database`].
pub async fn note(read: &mut Read, set: &SetId, version: u64) -> Result<Option<String>, Error> {
    let sql = "SELECT note FROM trust_notes WHERE set_id = $1 AND version = $2";
    let row = sql!(read, sql, set.as_str(), signed(version)? => optional (String,))?;
    Ok(row.map(|(note,)| note))
}

/// All trust notes, the first one first.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn notes(read: &mut Read, set: &SetId) -> Result<Vec<TrustRow>, Error> {
    let sql = "SELECT version, note FROM trust_notes WHERE set_id = $1 ORDER BY version";
    let rows = sql!(read, sql, set.as_str() => all (i64, String))?;
    rows.into_iter().map(|(version, note)| Ok(TrustRow { version: unsigned(version)?, note })).collect()
}

/// The trust note in force; `None` before the first.
///
/// # Errors
/// [`Error::Database`].
pub async fn latest(read: &mut Read, set: &SetId) -> Result<Option<TrustRow>, Error> {
    let sql = "SELECT version, note FROM trust_notes WHERE set_id = $1 ORDER BY version DESC LIMIT 1";
    let row = sql!(read, sql, set.as_str() => optional (i64, String))?;
    row.map(|(version, note)| Ok(TrustRow { version: unsigned(version)?, note })).transpose()
}

/// Stores a trust note, which is in force from then on. `says` is what the audit log keeps of it.
///
/// # Errors
/// [`Error::Database`], also where there is one of that version.
pub async fn insert(
    tx: &mut Tx,
    context: &Context,
    set: &SetId,
    row: &TrustRow,
    says: serde_json::Value,
    why: &str,
) -> Result<(), Error> {
    let now = tx.now().await?;
    sql!(
        tx,
        "INSERT INTO trust_notes (set_id, version, note, created_at) VALUES ($1, $2, $3, $4)",
        set.as_str(), signed(row.version)?, row.note.as_str(), now => execute
    )?;
    tx.wake_publisher();
    let target = Target::Other("set", set.as_str());
    let draft = Draft {
        action: "set.trust_changed",
        target,
        before: None,
        after: Some(says),
        reason: Some(why),
        personal: &[],
        about: None,
    };
    audit::append(tx, context, &draft, now).await
}

/// Lets routes that are open be answered for so long after a head was issued, in milliseconds; 0 takes it back.
///
/// # Errors
/// [`Error::Database`].
pub async fn open_routes_for(tx: &mut Tx, set: &SetId, open_ms: i64) -> Result<(), Error> {
    sql!(tx, "UPDATE sets SET open_ms = $2 WHERE id = $1", set.as_str(), open_ms => execute)?;
    Ok(())
}

/// Notes how long a head lets open routes be answered, in milliseconds: the largest counts.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn note_open(tx: &mut Tx, set: &SetId, open_ms: u64) -> Result<(), Error> {
    sql!(
        tx,
        "UPDATE sets SET largest_open_ms = $2 WHERE id = $1 AND largest_open_ms < $2",
        set.as_str(), signed(open_ms)? => execute
    )?;
    Ok(())
}
