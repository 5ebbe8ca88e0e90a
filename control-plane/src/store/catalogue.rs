//! Scopes and tiers a workspace knows: a name enters on first use.

use sqlx::FromRow;

use super::tx::sql;
use super::{Error, Read, Tx};
use crate::domain::{Scope, Tier, WorkspaceId};

/// A name in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct CatalogueEntry {
    /// The scope's or tier's name.
    pub name: String,
    /// Unix milliseconds.
    pub first_used_at: i64,
}

/// Scopes by name.
///
/// # Errors
/// [`Error::Database`].
pub async fn scopes(read: &mut Read, workspace: &WorkspaceId) -> Result<Vec<CatalogueEntry>, Error> {
    let sql = "SELECT name, first_used_at FROM scopes WHERE workspace_id = $1 ORDER BY name";
    Ok(sql!(read, sql, workspace.as_str() => all CatalogueEntry)?)
}

/// Tiers by name.
///
/// # Errors
/// [`Error::Database`].
pub async fn tiers(read: &mut Read, workspace: &WorkspaceId) -> Result<Vec<CatalogueEntry>, Error> {
    let sql = "SELECT name, first_used_at FROM tiers WHERE workspace_id = $1 ORDER BY name";
    Ok(sql!(read, sql, workspace.as_str() => all CatalogueEntry)?)
}

/// Enters a key's scopes and tier. Scopes come in ascending order, and before the workspace's counters, so that two
/// mutations cannot wait for each other.
pub(super) async fn enter<'s>(
    tx: &mut Tx,
    workspace: &WorkspaceId,
    scopes: impl Iterator<Item = &'s Scope>,
    tier: Option<&Tier>,
    now: i64,
) -> Result<(), Error> {
    for scope in scopes {
        let sql = "INSERT INTO scopes (workspace_id, name, first_used_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        sql!(tx, sql, workspace.as_str(), scope.as_str(), now => execute)?;
    }
    match tier {
        Some(tier) => enter_tier(tx, workspace, tier, now).await,
        None => Ok(()),
    }
}

/// Enters a tier.
pub(super) async fn enter_tier(tx: &mut Tx, workspace: &WorkspaceId, tier: &Tier, now: i64) -> Result<(), Error> {
    let sql = "INSERT INTO tiers (workspace_id, name, first_used_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    sql!(tx, sql, workspace.as_str(), tier.as_str(), now => execute)?;
    Ok(())
}
