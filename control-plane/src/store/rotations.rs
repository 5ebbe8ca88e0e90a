//! Rotations.

use nightlatch_key::KeyText;

use super::{Context, Error, Page, PageRequest, Random, Read, Tx};
use crate::domain::rotation::{Start, SuccessorFate};
use crate::domain::{Bound, Key, KeyRef, Reason, Rotation, RotationId, Warning, WorkspaceId};

/// What a list of rotations is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct RotationFilter {
    /// Open or ended.
    pub open: Option<bool>,
    /// With this key as predecessor or successor.
    pub key: Option<KeyRef>,
}

/// A rotation that was just started.
#[derive(Debug)]
pub struct Started {
    /// The record.
    pub rotation: Rotation,
    /// The predecessor as it is now.
    pub predecessor: Key,
    /// The new key.
    pub successor: Key,
    /// The new key's text: shown once.
    pub secret: KeyText,
    /// What to tell the caller.
    pub warnings: Vec<Warning>,
    /// How long until the successor verifies everywhere.
    pub bound: Bound,
    /// The database clock, unix milliseconds.
    pub now: i64,
}

/// What a start would do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The successor's name.
    pub name: String,
    /// The predecessor's deadline, unix seconds; none for `revoke_first`.
    pub deadline: Option<i64>,
    /// What the start would warn of.
    pub warnings: Vec<Warning>,
    /// How long until the successor would verify everywhere.
    pub bound: Bound,
    /// The database clock, unix milliseconds.
    pub now: i64,
}

/// A rotation after a change.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The record as it is now.
    pub rotation: Rotation,
    /// The predecessor as it is now.
    pub predecessor: Key,
    /// The successor as it is now.
    pub successor: Key,
    /// Whether anything changed.
    pub changed: bool,
    /// What to tell the caller.
    pub warnings: Vec<Warning>,
    /// How long until the change is in force everywhere.
    pub bound: Bound,
    /// The database clock, unix milliseconds.
    pub now: i64,
}

/// Starts a rotation: issues the successor, and retires or revokes the predecessor.
///
/// # Errors
/// A refusal; [`Error::NotFound`].
pub async fn start(
    tx: &mut Tx,
    context: &Context,
    predecessor: &KeyRef,
    start: Start,
    random: Random<'_>,
) -> Result<Started, Error> {
    todo!()
}

/// What [`start`] would do now, for a dry run.
///
/// # Errors
/// As [`start`].
pub async fn plan(
    read: &mut Read,
    workspace: &WorkspaceId,
    predecessor: &KeyRef,
    start: &Start,
) -> Result<Plan, Error> {
    todo!()
}

/// A rotation of the workspace.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn get(read: &mut Read, workspace: &WorkspaceId, id: &RotationId) -> Result<Rotation, Error> {
    todo!()
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
    todo!()
}

/// Moves the deadline to `overlap_seconds` from now, or the predecessor's expiry where that is nearer.
///
/// # Errors
/// A refusal; [`Error::NotFound`].
pub async fn extend(
    tx: &mut Tx,
    context: &Context,
    id: &RotationId,
    overlap_seconds: i64,
    reason: Option<Reason>,
) -> Result<Changed, Error> {
    todo!()
}

/// Returns the predecessor to service.
///
/// # Errors
/// A refusal; [`Error::NotFound`].
pub async fn cancel(
    tx: &mut Tx,
    context: &Context,
    id: &RotationId,
    successor: SuccessorFate,
    reason: Option<Reason>,
) -> Result<Changed, Error> {
    todo!()
}

/// Revokes the predecessor before its deadline. While it is in use this takes `force` and a reason.
///
/// # Errors
/// A refusal; [`Error::NotFound`].
pub async fn complete(
    tx: &mut Tx,
    context: &Context,
    id: &RotationId,
    force: bool,
    reason: Option<Reason>,
) -> Result<Changed, Error> {
    todo!()
}

/// Closes open rotations whose deadline has passed, at most `limit`; returns how many. Their predecessors are refused
/// since the deadline whether or not this runs: it only ends the record and writes the audit entry. To be called now and
/// then.
///
/// # Errors
/// [`Error::Database`].
pub async fn settle_lapsed(tx: &mut Tx, limit: u32) -> Result<u64, Error> {
    todo!()
}
