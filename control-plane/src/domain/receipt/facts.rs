//! What is known of a revocation, of the set's terms and of its edges, and what of that counts.

/// A state of a set, as far as receipts are concerned. Ordered as edges order them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The recovery count.
    pub incarnation: i64,
    /// The change counter.
    pub version: i64,
}

/// How far a set has got: what its last signed head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedState {
    /// Recovery count and version.
    pub mark: Mark,
    /// The base's number.
    pub epoch: i64,
    /// The head's `issued`, unix milliseconds; `None` before the first.
    pub issued: Option<i64>,
}

/// A state that an edge says it has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Recovery count and version.
    pub mark: Mark,
    /// The base's number.
    pub epoch: i64,
    /// The `issued` of the head it relies on, unix milliseconds.
    pub issued: i64,
}

/// Whether an edge can have applied this, given what has been signed when its report arrives.
pub fn is_plausible(claim: &Claim, signed: &SignedState) -> bool {
    claim.mark.incarnation == signed.mark.incarnation
        && claim.mark.version <= signed.mark.version
        && claim.epoch <= signed.epoch
        && signed.issued.is_some_and(|issued| claim.issued <= issued)
}

/// A running instance of a durable edge. Times are database clocks at the arrival of its reports, unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its first report.
    pub first: i64,
    /// Its last report.
    pub last: i64,
    /// Its earliest report of a plausible state that contains the revocation.
    pub reached: Option<i64>,
}

/// When an edge confirmed, given all its instances: the last of those that have to, each at its earliest.
///
/// An instance has to unless it is superseded: another one first reported after its last report. A durable edge is one
/// process at a time, so that is a restart. Two that report in turns are two processes with one identity.
pub fn confirmed_at(instances: &[Instance]) -> Option<i64> {
    let newest = instances.iter().map(|instance| instance.first).max()?;
    let live = instances.iter().filter(|instance| instance.last >= newest);
    live.map(|instance| instance.reached).try_fold(i64::MIN, |latest, reached| Some(latest.max(reached?)))
}

/// Whether an edge's clock is within the assumption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Within the skew, when it last reported.
    Ok,
    /// Beyond it, or the edge itself has refused to answer because of its clock.
    Bad,
    /// It has not said what time it has.
    Unknown,
}

impl Clock {
    /// Judges what an edge last reported.
    pub fn judge(offset_ms: Option<i64>, refused: bool, skew_ms: i64) -> Self {
        match offset_ms {
            _ if refused => Self::Bad,
            Some(offset) if offset.unsigned_abs() > skew_ms.unsigned_abs() => Self::Bad,
            Some(_) => Self::Ok,
            None => Self::Unknown,
        }
    }

    /// The name used in the API and in notes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
        }
    }
}

/// What is known of a durable edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurableEdge {
    /// `edge_…`
    pub id: String,
    /// When it got its first credential, unix milliseconds.
    pub enrolled_at: i64,
    /// When it was removed, unix milliseconds.
    pub removed_at: Option<i64>,
    /// Its instances, as far as they are remembered.
    pub instances: Vec<Instance>,
    /// Its clock minus the database's, in milliseconds, when it last reported.
    pub clock_offset_ms: Option<i64>,
    /// It last reported that it refuses to answer because of its clock.
    pub clock_refused: bool,
}

/// A revocation of one key, as one set sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The set.
    pub set: String,
    /// The workspace.
    pub workspace: String,
    /// The key.
    pub key: String,
    /// What the record says, unix milliseconds: read before the commit.
    pub revoked_at: i64,
    /// A database clock read after the commit; `None` where none has been noted yet.
    pub committed_by: Option<i64>,
    /// The version that contains it, once it is numbered.
    pub published: Option<Mark>,
}

/// What a set allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The largest validity ever signed, milliseconds.
    pub largest_validity_ms: i64,
    /// How far clocks may be apart, milliseconds.
    pub skew_ms: i64,
    /// How long open routes may be answered after a head's `issued`, milliseconds; `None` where no head allows it.
    pub open_ms: Option<i64>,
    /// Routes that are or lately were open: method and pattern.
    pub open_routes: Vec<(String, String)>,
    /// Routes that let connections live on: method, pattern and seconds.
    pub connection_routes: Vec<(String, String, u32)>,
    /// Edges and plain tokens that cannot be counted.
    pub uncounted: u64,
}
