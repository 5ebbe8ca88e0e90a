//! The leader's lease of a set: a row with a term that only grows.
//!
//! Whoever holds the lease may number and sign, in transactions that first [`renew`](Lease::renew) it. Renewing locks the
//! row, so a rival's takeover waits for the transaction or comes before it and makes it fail: there are never two who sign.

use super::tx::sql;
use super::{Error, Tx};
use crate::domain::SetId;

/// A lease that was acquired; whether it still holds, only [`Lease::renew`] can tell.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    set: SetId,
    holder: String,
    term: i64,
    ttl_ms: i64,
}

impl Lease {
    /// Takes the lease if it is free, has run out, or is this holder's own from before a restart. The term is then one
    /// higher. `None` where somebody else holds it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(crate) async fn acquire(tx: &mut Tx, set: &SetId, holder: &str, ttl_ms: i64) -> Result<Option<Self>, Error> {
        let now = tx.now().await?;
        let taken = sql!(
            tx,
            "INSERT INTO leases (set_id, term, holder, expires_at) VALUES ($1, 1, $2, $3) \
             ON CONFLICT (set_id) DO UPDATE SET term = leases.term + 1, holder = $2, expires_at = $3 \
             WHERE leases.expires_at <= $4 OR leases.holder = $2 RETURNING term",
            set.as_str(), holder, now.saturating_add(ttl_ms), now => optional (i64,)
        )?;
        Ok(taken.map(|(term,)| Self { set: set.clone(), holder: holder.to_owned(), term, ttl_ms }))
    }

    /// Counts the leaders there have been.
    pub(crate) fn term(&self) -> i64 {
        self.term
    }

    /// Prolongs the lease and keeps rivals out until the transaction ends. `false` where it has passed to another.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(crate) async fn renew(&self, tx: &mut Tx) -> Result<bool, Error> {
        let expires_at = tx.now().await?.saturating_add(self.ttl_ms);
        let renewed = sql!(
            tx,
            "UPDATE leases SET expires_at = $1 WHERE set_id = $2 AND term = $3 AND holder = $4",
            expires_at, self.set.as_str(), self.term, &self.holder => execute
        )?;
        Ok(renewed == 1)
    }

    /// Gives the lease up, so that another need not wait for it to run out.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(crate) async fn release(&self, tx: &mut Tx) -> Result<(), Error> {
        sql!(
            tx,
            "UPDATE leases SET expires_at = 0 WHERE set_id = $1 AND term = $2 AND holder = $3",
            self.set.as_str(), self.term, &self.holder => execute
        )?;
        Ok(())
    }
}
