//! Which pepper a set is made with, and which ones its edges hold.

use super::audit::{self, Draft, Target};
use super::tx::sql;
use super::{Context, Error, Read, Tx};
use crate::domain::SetId;

/// An edge and the peppers it has reported to hold.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Holder {
    /// `edge_…`
    pub edge: String,
    /// What people call it.
    pub name: String,
    /// Whether it is durable: one that cannot be replaced by a fresh start.
    pub durable: bool,
    /// The instance that reported; none where none has.
    pub instance: Option<String>,
    /// Ids, separated by blanks.
    peppers: Option<String>,
}

impl Holder {
    /// Whether it has reported to hold a pepper.
    pub fn holds(&self, pepper: &str) -> bool {
        self.peppers.iter().flat_map(|ids| ids.split_ascii_whitespace()).any(|id| id == pepper)
    }

    /// The ids of what it holds.
    pub fn peppers(&self) -> Vec<&str> {
        self.peppers.iter().flat_map(|ids| ids.split_ascii_whitespace()).collect()
    }
}

/// The edges of a set that have not been removed, with each of their instances, as it reported last.
///
/// A durable edge is one process at a time: an instance that has been silent since another of its edge began was ended by
/// a restart, and what it held counts no more.
///
/// # Errors
/// [`Error::Database`].
pub async fn holders(read: &mut Read, set: &SetId) -> Result<Vec<Holder>, Error> {
    Ok(sql!(
        read,
        "SELECT e.id AS edge, e.name, (e.class = 'durable') AS durable, i.instance, i.peppers FROM edges e \
         LEFT JOIN edge_instances i ON i.edge_id = e.id AND NOT EXISTS (SELECT 1 FROM edge_instances n \
         WHERE n.edge_id = i.edge_id AND ((n.instance = i.instance AND n.sequence > i.sequence) \
         OR (e.class = 'durable' AND n.instance <> i.instance AND n.first_reported_at > i.reported_at))) \
         WHERE e.set_id = $1 AND e.removed_at IS NULL \
         ORDER BY e.created_at, e.id, i.instance",
        set.as_str() => all Holder
    )?)
}

/// Makes the set with another pepper from the next epoch on.
///
/// # Errors
/// [`Error::Database`].
pub async fn switch(tx: &mut Tx, context: &Context, set: &SetId, pepper: &str) -> Result<(), Error> {
    let row = sql!(tx, "SELECT pepper_id FROM sets WHERE id = $1", set.as_str() => optional (String,))?;
    let (before,) = row.ok_or(Error::NotFound("set"))?;
    sql!(tx, "UPDATE sets SET pepper_id = $2 WHERE id = $1", set.as_str(), pepper => execute)?;
    tx.wake_publisher();
    let draft = Draft {
        action: "set.pepper_switched",
        target: Target::Other("set", set.as_str()),
        before: Some(serde_json::json!({ "pepper": before })),
        after: Some(serde_json::json!({ "pepper": pepper })),
        reason: None,
        personal: &[],
        about: None,
    };
    let now = tx.now().await?;
    audit::append(tx, context, &draft, now).await
}
