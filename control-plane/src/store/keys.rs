//! Keys: issue, read, list, change.

use nightlatch_key::{Digest, Environment, KeyText};

use super::{Context, Error, Page, PageRequest, Random, Read, Tx};
use crate::domain::{Bound, Issue, Key, KeyPatch, KeyRef, Reason, Rotation, Scope, State, Warning, WorkspaceId};

/// What a list of keys is narrowed to. All conditions hold at once.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Its state by the database clock.
    pub state: Option<State>,
    /// Exactly this owner.
    pub owner: Option<String>,
    /// Issued by the actor with this id.
    pub issued_by: Option<String>,
    /// Acting for this principal.
    pub subject: Option<u32>,
    /// Carrying this scope.
    pub scope: Option<Scope>,
    /// Live or test.
    pub environment: Option<Environment>,
    /// Not used since, unix milliseconds: last used before, or never used and created before.
    pub last_used_before: Option<i64>,
    /// Expiring before, unix seconds.
    pub expires_before: Option<i64>,
    /// To be rotated before, unix seconds.
    pub rotate_by_before: Option<i64>,
    /// A part of the name or prefix; letter case of ASCII does not matter.
    pub q: Option<String>,
}

/// A key with what the API shows beside its record.
#[derive(Clone, Debug)]
pub struct KeyView {
    /// The record.
    pub key: Key,
    /// Its open rotation as a predecessor, if there is one.
    pub rotation: Option<Rotation>,
    /// The database clock at which it was read, unix milliseconds: what its state is computed with.
    pub now: i64,
}

/// A key that was just issued.
#[derive(Debug)]
pub struct Issued {
    /// The record.
    pub key: Key,
    /// Its text: shown once.
    pub secret: KeyText,
    /// How long until it verifies everywhere.
    pub bound: Bound,
    /// The database clock, unix milliseconds.
    pub now: i64,
}

/// A key after a change.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The record as it is now.
    pub key: Key,
    /// The open rotation it is predecessor of, or the one this change ended.
    pub rotation: Option<Rotation>,
    /// Whether anything changed; repeating a change is no error.
    pub changed: bool,
    /// What to tell the caller.
    pub warnings: Vec<Warning>,
    /// How long until the change is in force everywhere.
    pub bound: Bound,
    /// The database clock, unix milliseconds.
    pub now: i64,
}

/// Issues a key: mints its text from `random`, under the workspace's brand.
///
/// # Errors
/// A refusal; [`Error::NoFreeId`], [`Error::NumbersExhausted`].
pub async fn issue(tx: &mut Tx, context: &Context, issue: Issue, random: Random<'_>) -> Result<Issued, Error> {
    todo!()
}

/// A key of the workspace, by id or number.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn get(read: &mut Read, workspace: &WorkspaceId, key: &KeyRef) -> Result<KeyView, Error> {
    todo!()
}

/// The key of the workspace with this digest, for `/v1/verify`.
///
/// # Errors
/// [`Error::Database`].
pub async fn by_digest(read: &mut Read, workspace: &WorkspaceId, digest: &Digest) -> Result<Option<KeyView>, Error> {
    todo!()
}

/// Keys of the workspace, newest first.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(
    read: &mut Read,
    workspace: &WorkspaceId,
    filter: &KeyFilter,
    page: &PageRequest,
) -> Result<Page<KeyView>, Error> {
    todo!()
}

/// Changes a key's attributes. `revision` is what the caller read (`If-Match`).
///
/// # Errors
/// A refusal; [`Error::Stale`] where the key has changed since; [`Error::NotFound`].
pub async fn patch(
    tx: &mut Tx,
    context: &Context,
    key: &KeyRef,
    revision: Option<i64>,
    patch: KeyPatch,
) -> Result<Changed, Error> {
    todo!()
}

/// Disables a key (cause `admin`).
///
/// # Errors
/// A refusal where it is revoked or expired; [`Error::NotFound`].
pub async fn disable(tx: &mut Tx, context: &Context, key: &KeyRef, reason: Option<Reason>) -> Result<Changed, Error> {
    todo!()
}

/// Lifts the cause `admin`. Other causes stay.
///
/// # Errors
/// A refusal where it is revoked or expired; [`Error::NotFound`].
pub async fn enable(tx: &mut Tx, context: &Context, key: &KeyRef, reason: Option<Reason>) -> Result<Changed, Error> {
    todo!()
}

/// Revokes a key, finally. Repeating it changes nothing. An open rotation it is predecessor of is completed.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn revoke(tx: &mut Tx, context: &Context, key: &KeyRef, reason: Option<Reason>) -> Result<Changed, Error> {
    todo!()
}
