//! What edges report.

use super::tokens::Token;
use super::{Error, Read, Tx};
use crate::domain::{KeyRef, SetId, TokenId, WorkspaceId};

/// The state an edge has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The set's recovery count.
    pub incarnation: i64,
    /// The base's number.
    pub epoch: i64,
    /// The change counter.
    pub version: i64,
    /// The head's `issued`, unix milliseconds.
    pub issued: i64,
}

/// A report.
#[derive(Clone, Debug)]
pub struct Report {
    /// The set it is about.
    pub set: SetId,
    /// Which running instance, at most 64 characters.
    pub instance: String,
    /// Counts the instance's reports.
    pub sequence: i64,
    /// The runtime's name.
    pub runtime: String,
    /// The edge's program version.
    pub version: String,
    /// What it serves, if anything.
    pub applied: Option<Applied>,
    /// Keys seen, and when, unix milliseconds.
    pub seen: Vec<(KeyRef, i64)>,
}

/// An edge instance as last reported.
#[derive(Clone, Debug)]
pub struct EdgeInstance {
    /// The token it reports with.
    pub token: TokenId,
    /// Its own name.
    pub instance: String,
    /// The set it serves.
    pub set: SetId,
    /// The runtime's name.
    pub runtime: String,
    /// The edge's program version.
    pub version: String,
    /// Its last report's number.
    pub sequence: i64,
    /// What it serves, if anything.
    pub applied: Option<Applied>,
    /// Unix milliseconds.
    pub reported_at: i64,
}

/// Takes a report. `false` where this instance has already sent this sequence or a later one: nothing changes then.
///
/// `last_used_at` only moves forward, never beyond the database clock, and never for a revoked key. Unknown keys are
/// ignored.
///
/// # Errors
/// [`Error::NotFound`] where the set is not the token's.
pub async fn report(tx: &mut Tx, token: &Token, report: &Report) -> Result<bool, Error> {
    todo!()
}

/// Instances that reported, latest first, at most 1000.
///
/// # Errors
/// [`Error::Database`].
pub async fn instances(read: &mut Read, workspace: &WorkspaceId) -> Result<Vec<EdgeInstance>, Error> {
    todo!()
}
