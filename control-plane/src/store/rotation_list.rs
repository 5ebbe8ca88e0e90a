//! Reading rotations.

use std::collections::HashMap;

use super::rows::{RotationRow, rotation_columns};
use super::select::{Direction, Select};
use super::tx::sql;
use super::{Cursor, Error, Page, PageRequest, Read, keys};
use crate::domain::rotation::Outcome;
use crate::domain::{Key, KeyId, KeyRef, Rotation, RotationId, WorkspaceId, rotate};

/// What a list of rotations is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct RotationFilter {
    /// Open or ended.
    pub open: Option<bool>,
    /// Ended by being cancelled, or not so.
    pub cancelled: Option<bool>,
    /// With this key as predecessor or successor.
    pub key: Option<KeyRef>,
    /// Of keys of this principal.
    pub subject: Option<u32>,
}

/// A rotation of the workspace. One whose deadline has passed is shown as ended, whether or not that is recorded yet.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn get(read: &mut Read, workspace: &WorkspaceId, id: &RotationId) -> Result<Rotation, Error> {
    let rotation = find(read, workspace, id).await?;
    let now = read.now().await?;
    Ok(as_of(rotation, now))
}

/// Rotations of the workspace, newest first.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(
    read: &mut Read,
    workspace: &WorkspaceId,
    filter: &RotationFilter,
    page: &PageRequest,
) -> Result<Page<Rotation>, Error> {
    let now = read.now().await?;
    let second = now.div_euclid(1000);
    let mut select = Select::new(concat!("SELECT ", rotation_columns!(), " FROM rotations WHERE workspace_id = "));
    select.value(workspace.as_str());
    match filter.open {
        None => {}
        Some(true) => {
            select.push(" AND state = 'open' AND deadline > ").value(second);
        }
        Some(false) => {
            select.push(" AND (state <> 'open' OR deadline <= ").value(second).push(")");
        }
    }
    match filter.cancelled {
        None => {}
        Some(true) => {
            select.push(" AND outcome IN (").list(cancelled_outcomes()).push(")");
        }
        Some(false) => {
            select.push(" AND (outcome IS NULL OR outcome NOT IN (").list(cancelled_outcomes()).push("))");
        }
    }
    if let Some(key) = &filter.key {
        let Some(id) = keys::id_of(read, workspace, key).await? else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        select.push(" AND (predecessor = ").value(id.as_str()).push(" OR successor = ").value(id.as_str()).push(")");
    }
    if let Some(subject) = filter.subject {
        select.push(" AND EXISTS (SELECT 1 FROM keys k WHERE k.id = predecessor AND k.subject = ");
        select.value(i64::from(subject)).push(")");
    }
    select.page("started_at", "id", Direction::Descending, page);
    let rows: Vec<RotationRow> = select.fetch(read).await?;
    let rotations = rows.into_iter().map(|row| Rotation::try_from(row).map(|rotation| as_of(rotation, now)));
    let rotations = rotations.collect::<Result<Vec<_>, _>>()?;
    let place = |rotation: &Rotation| Cursor { at: rotation.started_at, id: rotation.id.as_str().to_owned() };
    Ok(Page::from_rows(rotations, page.limit, place))
}

/// The names of outcomes after which the predecessor is in service.
fn cancelled_outcomes() -> impl Iterator<Item = &'static str> {
    Outcome::ALL.into_iter().filter(|outcome| outcome.is_cancelled()).map(Outcome::as_str)
}

/// A rotation as recorded.
pub(super) async fn find(read: &mut Read, workspace: &WorkspaceId, id: &RotationId) -> Result<Rotation, Error> {
    let sql = concat!("SELECT ", rotation_columns!(), " FROM rotations WHERE workspace_id = $1 AND id = $2");
    let row = sql!(read, sql, workspace.as_str(), id.as_str() => optional RotationRow)?;
    row.ok_or(Error::NotFound("rotation"))?.try_into()
}

/// The rotation recorded as open whose predecessor this key is. Its deadline may have passed.
pub(super) async fn recorded_open(read: &mut Read, predecessor: &KeyId) -> Result<Option<Rotation>, Error> {
    let sql = concat!("SELECT ", rotation_columns!(), " FROM rotations WHERE predecessor = $1 AND state = 'open'");
    sql!(read, sql, predecessor.as_str() => optional RotationRow)?.map(Rotation::try_from).transpose()
}

/// As [`recorded_open`], for many keys.
pub(super) async fn recorded_open_of(
    read: &mut Read,
    predecessors: impl Iterator<Item = &Key>,
) -> Result<HashMap<KeyId, Rotation>, Error> {
    let ids: Vec<_> = predecessors.map(|key| key.id.as_str()).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let mut select = Select::new(concat!(
        "SELECT ",
        rotation_columns!(),
        " FROM rotations WHERE state = 'open' AND predecessor IN ("
    ));
    select.list(ids).push(")");
    let rows: Vec<RotationRow> = select.fetch(read).await?;
    rows.into_iter()
        .map(|row| Rotation::try_from(row).map(|rotation| (rotation.predecessor.clone(), rotation)))
        .collect()
}

/// The open rotation whose successor this key is.
pub(super) async fn open_of_successor(read: &mut Read, successor: &Key, now: i64) -> Result<Option<Rotation>, Error> {
    if successor.predecessor.is_none() {
        return Ok(None);
    }
    let sql = concat!(
        "SELECT ",
        rotation_columns!(),
        " FROM rotations WHERE workspace_id = $1 AND successor = $2 AND state = 'open'"
    );
    let row = sql!(read, sql, successor.workspace.as_str(), successor.id.as_str() => optional RotationRow)?;
    Ok(row.map(Rotation::try_from).transpose()?.filter(|rotation| rotation.is_open(now)))
}

fn as_of(rotation: Rotation, now: i64) -> Rotation {
    rotate::lapse(&rotation, now).unwrap_or(rotation)
}
