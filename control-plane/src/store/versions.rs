//! What has been published: the versions of a set, each with its link in the chain of commitments, and its bases.

use nightlatch_keyset::{Columns, Commitment, Hash};

use super::publication::{hash, signed, unsigned};
use super::tx::sql;
use super::{Error, Read, Tx};
use crate::domain::SetId;

/// A published base: with the change rows up to its version, everything that its bytes depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EpochRow {
    pub(crate) incarnation: u64,
    pub(crate) epoch: u64,
    pub(crate) version: u64,
    pub(crate) commitment: Commitment,
    pub(crate) root: Hash,
    /// Unix seconds: keys that had ended before are left out.
    pub(crate) cutoff: u64,
    pub(crate) keys: u64,
    pub(crate) pepper_id: String,
    pub(crate) bucket_bits: u8,
    pub(crate) columns: Columns,
    /// The hash of its rebase record; `None` where it was built anew.
    pub(crate) rebase: Option<Hash>,
    /// Unix milliseconds at which it was published.
    pub(crate) created_at: u64,
}

/// Records a base, and the version that it is.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn insert_epoch(
    tx: &mut Tx,
    set: &SetId,
    epoch: &EpochRow,
    issued: u64,
    reason: &str,
) -> Result<(), Error> {
    let columns = i64::from(epoch.columns.subject) | i64::from(epoch.columns.number) << 1;
    sql!(
        tx,
        "INSERT INTO set_epochs (set_id, incarnation, epoch, version, commitment, root, cutoff, key_count, pepper_id, \
         reason, created_at, bucket_bits, row_columns, rebase) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        set.as_str(), signed(epoch.incarnation)?, signed(epoch.epoch)?, signed(epoch.version)?,
        epoch.commitment.0.0.as_slice(), epoch.root.0.as_slice(), signed(epoch.cutoff)?, signed(epoch.keys)?,
        &epoch.pepper_id, reason, signed(epoch.created_at)?, i64::from(epoch.bucket_bits), columns,
        epoch.rebase.as_ref().map(|hash| hash.0.as_slice()) => execute
    )?;
    sql!(
        tx,
        "INSERT INTO set_versions (set_id, version, incarnation, epoch, kind, issued, cutoff, link, commitment, \
         change_count, reason) VALUES ($1, $2, $3, $4, 'base', $5, $6, $7, $8, 0, $9)",
        set.as_str(), signed(epoch.version)?, signed(epoch.incarnation)?, signed(epoch.epoch)?, signed(issued)?,
        signed(epoch.cutoff)?, epoch.root.0.as_slice(), epoch.commitment.0.0.as_slice(), reason => execute
    )?;
    Ok(())
}

/// The published bases, newest first.
///
/// # Errors
/// [`Error::Database`], [`Error::Corrupt`].
pub(crate) async fn epochs(read: &mut Read, set: &SetId) -> Result<Vec<EpochRow>, Error> {
    #[derive(sqlx::FromRow)]
    struct Row {
        incarnation: i64,
        epoch: i64,
        version: i64,
        commitment: Vec<u8>,
        root: Vec<u8>,
        cutoff: i64,
        key_count: i64,
        pepper_id: String,
        bucket_bits: i64,
        row_columns: i64,
        rebase: Option<Vec<u8>>,
        created_at: i64,
    }
    let rows = sql!(
        read,
        "SELECT incarnation, epoch, version, commitment, root, cutoff, key_count, pepper_id, bucket_bits, row_columns, \
         rebase, created_at FROM set_epochs WHERE set_id = $1 ORDER BY incarnation DESC, epoch DESC",
        set.as_str() => all Row
    )?;
    rows.into_iter()
        .map(|row| {
            Ok(EpochRow {
                incarnation: unsigned(row.incarnation)?,
                epoch: unsigned(row.epoch)?,
                version: unsigned(row.version)?,
                commitment: Commitment(hash(&row.commitment)?),
                root: hash(&row.root)?,
                cutoff: unsigned(row.cutoff)?,
                keys: unsigned(row.key_count)?,
                pepper_id: row.pepper_id,
                bucket_bits: u8::try_from(row.bucket_bits).map_err(|_| Error::Corrupt("bucket bits"))?,
                columns: Columns { subject: row.row_columns & 1 != 0, number: row.row_columns & 2 != 0 },
                rebase: row.rebase.as_deref().map(hash).transpose()?,
                created_at: unsigned(row.created_at)?,
            })
        })
        .collect()
}

/// A version whose file is a delta.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeltaRow {
    pub(crate) incarnation: u64,
    pub(crate) epoch: u64,
    pub(crate) version: u64,
    pub(crate) issued: u64,
    pub(crate) link: Hash,
    pub(crate) commitment: Commitment,
    pub(crate) changes: u64,
}

/// Records a delta.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn insert_delta(tx: &mut Tx, set: &SetId, delta: &DeltaRow) -> Result<(), Error> {
    sql!(
        tx,
        "INSERT INTO set_versions (set_id, version, incarnation, epoch, kind, issued, link, commitment, change_count, \
         reason) VALUES ($1, $2, $3, $4, 'delta', $5, $6, $7, $8, '')",
        set.as_str(), signed(delta.version)?, signed(delta.incarnation)?, signed(delta.epoch)?, signed(delta.issued)?,
        delta.link.0.as_slice(), delta.commitment.0.0.as_slice(), signed(delta.changes)? => execute
    )?;
    Ok(())
}

/// The links of the versions after `from`, up to `through`, in order.
///
/// # Errors
/// [`Error::Corrupt`] where one is missing.
pub(crate) async fn links(read: &mut Read, set: &SetId, from: u64, through: u64) -> Result<Vec<Hash>, Error> {
    let rows = sql!(
        read,
        "SELECT version, link FROM set_versions WHERE set_id = $1 AND version > $2 AND version <= $3 ORDER BY version",
        set.as_str(), signed(from)?, signed(through)? => all (i64, Option<Vec<u8>>)
    )?;
    let mut links = Vec::with_capacity(rows.len());
    for ((version, link), expected) in rows.into_iter().zip(from + 1..) {
        if unsigned(version)? != expected {
            return Err(Error::Corrupt("version"));
        }
        links.push(hash(&link.ok_or(Error::Corrupt("version"))?)?);
    }
    if links.len() as u64 == through.saturating_sub(from) { Ok(links) } else { Err(Error::Corrupt("version")) }
}

/// The newest version after `from` whose head was issued before an instant in unix milliseconds.
///
/// # Errors
/// [`Error::Database`], [`Error::Corrupt`].
pub(crate) async fn issued_before(read: &mut Read, set: &SetId, from: u64, at: u64) -> Result<Option<u64>, Error> {
    let row = sql!(
        read,
        "SELECT version FROM set_versions WHERE set_id = $1 AND version > $2 AND issued < $3 \
         ORDER BY version DESC LIMIT 1",
        set.as_str(), signed(from)?, signed(at)? => optional (i64,)
    )?;
    row.map(|(version,)| unsigned(version)).transpose()
}

/// Forgets versions before one: nothing of them is superseded any more that
/// [`superseded`](super::publication::superseded) would find.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn forget_versions(tx: &mut Tx, set: &SetId, before: u64) -> Result<(), Error> {
    sql!(
        tx,
        "DELETE FROM set_versions WHERE set_id = $1 AND version < $2",
        set.as_str(), signed(before)? => execute
    )?;
    Ok(())
}

/// Forgets an epoch whose files are gone.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn forget_epoch(tx: &mut Tx, set: &SetId, incarnation: u64, epoch: u64) -> Result<(), Error> {
    sql!(
        tx,
        "DELETE FROM set_epochs WHERE set_id = $1 AND incarnation = $2 AND epoch = $3",
        set.as_str(), signed(incarnation)?, signed(epoch)? => execute
    )?;
    Ok(())
}
