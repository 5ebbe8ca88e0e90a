//! Published key sets.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A published key set: what edges need to know to read it, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Set {
    /// `set_…`.
    pub id: String,
    /// The set's name in its workspace.
    pub name: String,
    /// The workspace, `ws_…`.
    pub workspace: String,
    /// How often the head is signed anew, in milliseconds.
    pub heartbeat_ms: u64,
    /// How long a head may be relied on, in milliseconds.
    pub validity_ms: u64,
    /// How far clocks may be apart, in milliseconds.
    pub skew_ms: u64,
    /// After this long every edge has learnt a change, or refuses to answer, in milliseconds.
    pub bound_ms: u64,
    /// The recovery count.
    pub incarnation: u32,
    /// The base number.
    pub epoch: u32,
    /// The change counter.
    pub version: u64,
    /// Keys in the set.
    pub keys: u64,
    /// The public half of the head-signing key. Edges pin it (`NIGHTLATCH_VERIFIER`) only where the set has no trust note.
    pub verifier: String,
    /// The id of the pepper edges must hold. The pepper itself is in no answer.
    pub pepper: String,
    /// Whether the pepper's bytes are derived for this set alone, as those of every workspace but the first are.
    #[serde(default)]
    pub own_pepper: bool,
    /// Whether texts of other brands are looked up.
    pub accepts_foreign: bool,
    /// The last signed head; null before the first.
    pub published: Option<PublishedHead>,
}

/// The last signed head of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PublishedHead {
    /// The database clock it speaks for.
    pub issued: Timestamp,
    /// When it may no longer be relied on.
    pub valid_until: Timestamp,
    /// How long ago `issued` was when this answer was made, in milliseconds.
    pub age_ms: u64,
}
