//! Secrets that several processes share. They are sealed before they come here.

use super::tx::sql;
use super::{Error, Read, Tx, dialect};

/// The advisory lock of those who store secrets: the first process's are everybody's.
const SLOT: i64 = 0x006e_6967_6874_6c62;

/// A sealed secret.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Sealed {
    /// What it is: `head`, `pepper`, `server`.
    pub kind: String,
    /// Which of its kind.
    pub name: String,
    /// Its sealed bytes.
    pub sealed: Vec<u8>,
}

/// All of them, the earliest of each kind first.
///
/// # Errors
/// [`Error::Database`].
pub async fn all(read: &mut Read) -> Result<Vec<Sealed>, Error> {
    let sql = "SELECT kind, name, sealed FROM shared_secrets ORDER BY kind, created_at, name";
    Ok(sql!(read, sql => all Sealed)?)
}

/// Stores the first secrets, where there are none, and returns those that there are then.
///
/// # Errors
/// [`Error::Database`].
pub async fn found(tx: &mut Tx, secrets: Vec<Sealed>) -> Result<Vec<Sealed>, Error> {
    dialect::lock_slot(tx, SLOT).await?;
    let there = all(tx).await?;
    if !there.is_empty() {
        return Ok(there);
    }
    for secret in secrets {
        add(tx, &secret).await?;
    }
    all(tx).await
}

/// Stores one more.
///
/// # Errors
/// [`Error::Database`], also where its name is taken.
pub async fn add(tx: &mut Tx, secret: &Sealed) -> Result<(), Error> {
    let now = tx.now().await?;
    sql!(
        tx,
        "INSERT INTO shared_secrets (kind, name, sealed, created_at) VALUES ($1, $2, $3, $4)",
        secret.kind.as_str(), secret.name.as_str(), secret.sealed.as_slice(), now => execute
    )?;
    Ok(())
}
