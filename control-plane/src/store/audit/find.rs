//! Finding entries.

use std::cmp::Ordering;

use super::way::{AuditWay, Named, place};
use super::{Entry, with_personal};
use crate::domain::{KeyRef, WorkspaceId};
use crate::store::tx::sql;
use crate::store::walk::{LOOKED_AT, merged, stretch};
use crate::store::{Cursor, Error, Page, PageRequest, Read};

/// What a list of entries is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Exactly this action.
    pub action: Option<String>,
    /// Exactly this category.
    pub category: Option<String>,
    /// The actor's id. Of a member, `mem_…`, also what was done on its behalf: with its tokens.
    pub actor: Option<String>,
    /// The actor's type.
    pub actor_type: Option<String>,
    /// A key, by id or number.
    pub key: Option<KeyRef>,
    /// A principal, `prn_…`: what was done to it and to its keys.
    pub principal: Option<String>,
    /// The id of whatever it was done to.
    pub target: Option<String>,
    /// Not before, unix milliseconds.
    pub from: Option<i64>,
    /// Before, unix milliseconds.
    pub to: Option<i64>,
}

/// Entries of the workspace, newest first. Where what passes is rare, a page is short, or empty, and others follow: it has
/// looked at enough entries.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(
    read: &mut Read,
    workspace: &WorkspaceId,
    filter: &AuditFilter,
    page: &PageRequest,
) -> Result<Page<Entry>, Error> {
    list_within(read, workspace, filter, page, LOOKED_AT).await
}

/// As [`list`], where a page looks at about so many entries.
///
/// # Errors
/// [`Error::Database`].
pub async fn list_within(
    read: &mut Read,
    workspace: &WorkspaceId,
    filter: &AuditFilter,
    page: &PageRequest,
    looks: u32,
) -> Result<Page<Entry>, Error> {
    let Some(named) = Named::find(read, workspace, filter).await? else {
        return Ok(Page { items: Vec::new(), next: None });
    };
    let mut parts = Vec::new();
    for part in named.parts() {
        let way = AuditWay::find(read, &named, *part, looks).await?;
        parts.push(stretch(read, &way, page, looks).await?);
    }
    let found = merged(parts, page.limit, newest_first, place);
    Ok(Page { items: with_personal(read, workspace, found.items).await?, next: found.next })
}

/// Which of two places comes first in the list.
fn newest_first(one: &Cursor, other: &Cursor) -> Ordering {
    let place = |cursor: &Cursor| (cursor.at, cursor.id.parse::<i64>().unwrap_or_default());
    place(other).cmp(&place(one))
}

/// When the oldest entry that nobody has chained yet was written, unix milliseconds: the first by number, whatever waits
/// behind it.
///
/// # Errors
/// [`Error::Database`].
pub async fn oldest_unchained(read: &mut Read, workspace: &WorkspaceId) -> Result<Option<i64>, Error> {
    let sql = "SELECT at FROM audit WHERE workspace_id = $1 AND seq IS NULL ORDER BY id LIMIT 1";
    Ok(sql!(read, sql, workspace.as_str() => optional (i64,))?.map(|(at,)| at))
}
