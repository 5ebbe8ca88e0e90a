//! The leader's lease of a set, as a row of the database. The rules are [`nightlatch_publish::lease`]'s.
//!
//! Whoever holds the lease may number and sign, in transactions that first [`renew`](Lease::renew) it. Reading the row
//! locks it until the transaction ends, so a rival's takeover waits for the transaction or comes before it and makes it
//! fail: there are never two who sign.

use nightlatch_publish::lease::LeaseRow;

use super::publication::{signed, unsigned};
use super::tx::sql;
use super::{Error, Tx, dialect};
use crate::domain::SetId;

/// A lease that was acquired; whether it still holds, only [`Lease::renew`] can tell.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    set: SetId,
    holder: String,
    term: u64,
    ttl_ms: u64,
}

impl Lease {
    /// Takes the lease if it is free, has run out, or is this holder's own from before a restart. The term is then one
    /// higher. `None` where somebody else holds it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(crate) async fn acquire(tx: &mut Tx, set: &SetId, holder: &str, ttl_ms: u64) -> Result<Option<Self>, Error> {
        let vacant = LeaseRow::vacant();
        sql!(
            tx,
            "INSERT INTO leases (set_id, term, holder, expires_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            set.as_str(), signed(vacant.term)?, &vacant.holder, signed(vacant.expires_at)? => execute
        )?;
        let row = locked(tx, set).await?;
        let Some(row) = row.acquired(holder, clock(tx).await?, ttl_ms) else { return Ok(None) };
        save(tx, set, &row).await?;
        Ok(Some(Self { set: set.clone(), holder: row.holder, term: row.term, ttl_ms }))
    }

    /// Counts the leaders there have been.
    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    /// Prolongs the lease and keeps rivals out until the transaction ends. `false` where it has passed to another.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(crate) async fn renew(&self, tx: &mut Tx) -> Result<bool, Error> {
        let row = locked(tx, &self.set).await?;
        let renewed = row.renewed(self.term, &self.holder, clock(tx).await?, self.ttl_ms);
        match &renewed {
            Some(row) => save(tx, &self.set, row).await?,
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Gives the lease up, so that another need not wait for it to run out.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(crate) async fn release(&self, tx: &mut Tx) -> Result<(), Error> {
        match locked(tx, &self.set).await?.released(self.term, &self.holder) {
            Some(row) => save(tx, &self.set, &row).await,
            None => Ok(()),
        }
    }
}

/// The row, which nobody else reads here until the transaction ends.
async fn locked(tx: &mut Tx, set: &SetId) -> Result<LeaseRow, Error> {
    dialect::lock_lease(tx, set.as_str()).await?;
    let row = sql!(
        tx,
        "SELECT term, holder, expires_at FROM leases WHERE set_id = $1",
        set.as_str() => optional (i64, String, i64)
    )?;
    let Some((term, holder, expires_at)) = row else { return Ok(LeaseRow::vacant()) };
    Ok(LeaseRow { term: unsigned(term)?, holder, expires_at: unsigned(expires_at)? })
}

/// Read after the lock: it may have been waited for.
async fn clock(tx: &mut Tx) -> Result<u64, Error> {
    unsigned(tx.now().await?)
}

async fn save(tx: &mut Tx, set: &SetId, row: &LeaseRow) -> Result<(), Error> {
    sql!(
        tx,
        "UPDATE leases SET term = $1, holder = $2, expires_at = $3 WHERE set_id = $4",
        signed(row.term)?, &row.holder, signed(row.expires_at)?, set.as_str() => execute
    )?;
    Ok(())
}
