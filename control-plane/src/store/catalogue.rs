//! Scopes and tiers a workspace knows: a name enters on first use.

use super::{Error, Read};
use crate::domain::WorkspaceId;

/// A name in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    todo!()
}

/// Tiers by name.
///
/// # Errors
/// [`Error::Database`].
pub async fn tiers(read: &mut Read, workspace: &WorkspaceId) -> Result<Vec<CatalogueEntry>, Error> {
    todo!()
}
