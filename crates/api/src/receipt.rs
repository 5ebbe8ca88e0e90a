//! Receipts: what is proven of when a revocation is in force.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is proven of a revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Receipt {
    /// Whether the revocation is in force.
    pub state: ReceiptState,
    /// The key, `key_…`.
    pub key: String,
    /// The set whose edges this is about.
    pub set: String,
    /// When this was found, by the database clock.
    pub at: Timestamp,
    /// When the key was revoked.
    pub revoked_at: Timestamp,
    /// A database clock read after the commit: the bound counts from here.
    pub committed_by: Timestamp,
    /// The version that contains the revocation; null while it is not numbered.
    pub published_version: Option<u64>,
    /// The bound that applied: the largest validity ever signed and the skew, in milliseconds.
    pub bound_ms: u64,
    /// From then on no edge inside the clock assumption accepts a new request with the key, whatever is lost.
    pub in_force_by: Timestamp,
    /// How many durable edges have to confirm.
    pub counted: u64,
    /// How many of them have.
    pub proven: u64,
    /// Ephemeral edges and plain edge tokens, which cannot be counted: for them only `in_force_by` speaks.
    pub uncounted: u64,
    /// Durable edges, those that have proven nothing first. Of many, a signed receipt names only some.
    pub edges: Vec<ReceiptEdge>,
    /// Routes that may be answered from an older head than others.
    pub open_routes: Vec<OpenRoute>,
    /// Routes whose connections may live on after the revocation.
    pub connection_routes: Vec<ConnectionRoute>,
    /// The signed text, `nightlatch.receipt/1`, once the state is not `pending`. It never changes again.
    pub note: Option<String>,
}

/// Whether a revocation is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ReceiptState {
    /// Not proven yet.
    Pending,
    /// Every durable edge has said so, before the bound.
    Confirmed,
    /// The bound has passed.
    BoundElapsed,
}

impl ReceiptState {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::BoundElapsed => "bound_elapsed",
        }
    }
}

/// What a receipt says of one durable edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReceiptEdge {
    /// `edge_…`.
    pub id: String,
    /// The label given by people.
    pub name: String,
    /// How far it has got.
    pub state: EdgeProof,
    /// When the report arrived that proves it.
    pub confirmed_at: Option<Timestamp>,
    /// Its clock minus the database's when it last reported, in milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// Whether its clock is within the assumption. The word of an edge with a bad one is no proof.
    pub clock: EdgeClock,
}

/// How far an edge has got with a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EdgeProof {
    /// It has applied it.
    Confirmed,
    /// It has not said so yet.
    Waiting,
    /// It has not reported for a whole bound.
    Silent,
    /// It was removed lately: it is not counted, and could still hold a head from before.
    Removed,
}

impl EdgeProof {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Waiting => "waiting",
            Self::Silent => "silent",
            Self::Removed => "removed",
        }
    }
}

/// Whether an edge's clock is within the assumption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EdgeClock {
    /// Within the skew.
    Ok,
    /// Beyond it, or the edge itself refused to answer because of it.
    Bad,
    /// The edge has not said what time it has.
    Unknown,
}

impl EdgeClock {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
        }
    }
}

/// A route that may be answered from an older head than others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OpenRoute {
    /// The method.
    pub method: String,
    /// The path pattern.
    pub pattern: String,
    /// From then on no edge answers it from a head without the revocation.
    pub open_until_bound: Timestamp,
}

/// A route whose connections may live on after the revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConnectionRoute {
    /// The method.
    pub method: String,
    /// The path pattern.
    pub pattern: String,
    /// How long a connection that was accepted before may live, in seconds.
    pub max_connection_age: u32,
}
