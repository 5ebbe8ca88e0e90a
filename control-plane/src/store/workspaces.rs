//! Workspaces, their principals and sets; first start; enrolment.

use nightlatch_key::Digest;

use super::tokens::{NewToken, Token};
use super::{Context, Error, Random, Read, Tx};
use crate::domain::{Bound, PrincipalKind, SetId, WorkspaceId};

/// A tenant.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// `ws_…`
    pub id: WorkspaceId,
    /// What people call it.
    pub name: String,
    /// The brand its keys begin with.
    pub brand: nightlatch_key::Brand,
    /// Unix milliseconds.
    pub created_at: i64,
}

/// A published key set, without the publisher's state.
#[derive(Clone, Debug)]
pub struct Set {
    /// `set_…`
    pub id: SetId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// What people call it.
    pub name: String,
    /// How often its head is signed anew, milliseconds.
    pub heartbeat_ms: i64,
    /// How long a head may be relied on, milliseconds.
    pub validity_ms: i64,
    /// How far clocks may be apart, milliseconds.
    pub skew_ms: i64,
    /// The largest validity ever signed, milliseconds.
    pub largest_validity_ms: i64,
    /// The pepper's id.
    pub pepper_id: String,
    /// Whether texts not of the brand are looked up.
    pub accepts_foreign: bool,
    /// How often the set was recovered.
    pub incarnation: i64,
    /// The base's number.
    pub epoch: i64,
    /// The change counter.
    pub version: i64,
    /// The commitment at that version; 32 bytes.
    pub commitment: Vec<u8>,
    /// Keys at that version.
    pub key_count: i64,
    /// The route document's revision; 0 before the first.
    pub routes_revision: i64,
    /// The exact text of the last signed head.
    pub head: Option<String>,
    /// The database clock it was signed over, unix milliseconds.
    pub head_issued: Option<i64>,
}

/// For whom a key acts.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Its number in the workspace.
    pub subject: u32,
    /// What it is.
    pub kind: PrincipalKind,
    /// What people call it.
    pub name: String,
}

/// What the first start needs to know.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// The workspace's name.
    pub name: String,
    /// The brand of its keys.
    pub brand: nightlatch_key::Brand,
    /// Milliseconds.
    pub heartbeat_ms: i64,
    /// Milliseconds.
    pub validity_ms: i64,
    /// Milliseconds.
    pub skew_ms: i64,
    /// The pepper's id.
    pub pepper_id: String,
    /// Whether texts not of the brand are looked up.
    pub accepts_foreign: bool,
}

/// Creates the workspace, its default principal (subject 1) and its default set in one transaction, or returns those
/// that exist: the arguments then change nothing.
///
/// # Errors
/// [`Error::Database`].
pub async fn bootstrap(tx: &mut Tx, first: &Bootstrap, random: Random<'_>) -> Result<(Workspace, Set), Error> {
    todo!()
}

/// The only workspace there is, and its set; `None` before the first start.
///
/// # Errors
/// [`Error::Database`].
pub async fn first(read: &mut Read) -> Result<Option<(Workspace, Set)>, Error> {
    todo!()
}

/// A workspace by id.
///
/// # Errors
/// [`Error::NotFound`] where there is none.
pub async fn get(read: &mut Read, id: &WorkspaceId) -> Result<Workspace, Error> {
    todo!()
}

/// All sets of all workspaces: what the publisher serves.
///
/// # Errors
/// [`Error::Database`].
pub async fn all_sets(read: &mut Read) -> Result<Vec<Set>, Error> {
    todo!()
}

/// A set of the workspace.
///
/// # Errors
/// [`Error::NotFound`] where there is none.
pub async fn set(read: &mut Read, workspace: &WorkspaceId, id: &SetId) -> Result<Set, Error> {
    todo!()
}

/// How long a change may take to be in force: the largest bound of the workspace's sets.
///
/// # Errors
/// [`Error::Database`].
pub async fn bound(read: &mut Read, workspace: &WorkspaceId) -> Result<Bound, Error> {
    todo!()
}

/// A principal of the workspace.
///
/// # Errors
/// [`Error::Database`].
pub async fn principal(read: &mut Read, workspace: &WorkspaceId, subject: u32) -> Result<Option<Principal>, Error> {
    todo!()
}

/// Makes an enrolment token's digest valid until `expires_at` (unix milliseconds). Unused ones made earlier end.
///
/// # Errors
/// [`Error::Database`].
pub async fn open_enrolment(tx: &mut Tx, workspace: &WorkspaceId, digest: Digest, lifetime_ms: i64) -> Result<(), Error> {
    todo!()
}

/// Whether there is an enrolment token that could still be used.
///
/// # Errors
/// [`Error::Database`].
pub async fn enrolment_is_open(read: &mut Read, workspace: &WorkspaceId) -> Result<bool, Error> {
    todo!()
}

/// Exchanges an enrolment token, once, for a management token. The workspace and actor are the enrolment's own.
///
/// # Errors
/// [`Error::NotFound`] where the digest is unknown, used or expired.
pub async fn enrol(
    tx: &mut Tx,
    digest: Digest,
    token: &NewToken,
    request_id: &str,
    source: Option<&str>,
) -> Result<Token, Error> {
    todo!()
}

#[expect(unused_imports, reason = "used once the bodies are in")]
use Context as _Context;
