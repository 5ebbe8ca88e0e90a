//! Receipts: what can be proven, at a moment, of when a revocation is in force.
//!
//! # The rule
//!
//! A revocation commits at some instant `t` of the database clock. Nobody knows `t` itself; `committed_by` is a reading of
//! that clock after the commit, so `t <= committed_by`. A head's `issued` is read before the snapshot of the changes that
//! the head includes, so a head that lacks the revocation was issued before `t`, and is relied on by nobody inside the
//! clock assumption after `issued + validity + skew`. Hence
//!
//! ```text
//! bound       = the largest validity ever signed + skew
//! in_force_by = committed_by + bound
//! ```
//!
//! and from `in_force_by` on, by the database clock, no edge inside the clock assumption accepts the key, whatever is
//! partitioned, stalled or lost. That needs nobody's word: it is the state `bound_elapsed`.
//!
//! Before, it needs the word of every edge that could still accept it. A *durable* edge writes its high-water mark to disk
//! before it reports it, and refuses less for ever after. So a report of a state that contains the revocation, (incarnation,
//! version) not below the published one, proves that this edge refuses the key from then on, also after restarts. The state
//! is `confirmed` when the revocation is published and, not later than `in_force_by`, every *counted* edge has confirmed it,
//! and there is at least one. Counted are the durable edges of the set that are enrolled and not removed. One that enrols
//! after the revocation is counted as well, until `in_force_by`: it may begin with a head from before. One that was removed
//! without having proven anything is not counted, and stands in the way of `confirmed` while it could still hold a head
//! from before the revocation: its credential has ended, but a question that was held open then is still answered
//! ([`HELD_MS`]), and it may serve what it has for a bound.
//!
//! What is not proof:
//!
//! - A claim that cannot be true: of another incarnation, or of a version or `issued` beyond what the set has signed when
//!   the report arrives ([`is_plausible`]). It moves no mark.
//! - The word of one process, while another speaks in the name of the same edge. An instance is superseded once another
//!   first reports after its last word; all others of an edge have to confirm ([`confirmed_at`]).
//! - The word of an edge with a bad clock: off by more than the skew, or having refused to answer because of its clock. Of
//!   such an edge the bound says nothing either, so it is named, and the receipt stays pending until the bound has passed
//!   for all the others.
//! - Ephemeral edges, and plain edge tokens. They have no memory and cannot be counted. `uncounted` says how many could
//!   not be; where it is not zero, `confirmed` speaks for the durable edges, and `in_force_by` for the others.
//! - What is not there yet. `confirmed` speaks of the edges that were enrolled when it was found; one that enrols later may
//!   hold an older head until `in_force_by`, like an ephemeral one.
//! - The silence of an edge. That it was removed, too, proves nothing: it is named while it could still matter, and the
//!   receipt stays pending until the bound has passed, unless the edge had confirmed before.
//!
//! Routes may be *open*: for them there is a second, larger validity, and so a time of their own. Connections that were
//! accepted before end by their route's `max_connection_age`.

mod facts;
mod text;

#[cfg(test)]
mod model;

pub use facts::{
    Claim, Clock, DurableEdge, Instance, Mark, Revocation, SignedState, Terms, confirmed_at, is_plausible,
};
pub use text::{MAX_TEXT_LEN, Malformed};

/// The longest time for which an edge's question for a head is held open, milliseconds. One that is removed meanwhile still
/// gets the answer.
pub const HELD_MS: i64 = 30_000;

/// Whether a revocation is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not proven yet.
    Pending,
    /// Every durable edge has said so, before the bound; those as well that were removed within it.
    Confirmed,
    /// The bound has passed.
    BoundElapsed,
}

impl State {
    /// The name used in the API and in notes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::BoundElapsed => "bound_elapsed",
        }
    }
}

/// How far an edge has got with a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineState {
    /// It has applied it.
    Confirmed,
    /// It has not said so yet.
    Waiting,
    /// It has not reported for a whole bound.
    Silent,
    /// It was removed, so lately that it could still hold a head from before.
    Removed,
}

impl LineState {
    /// The name used in the API and in notes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Waiting => "waiting",
            Self::Silent => "silent",
            Self::Removed => "removed",
        }
    }
}

/// What a receipt says of one edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `edge_…`
    pub edge: String,
    /// How far it has got.
    pub state: LineState,
    /// When the earliest report that proves it arrived, unix milliseconds.
    pub confirmed_at: Option<i64>,
    /// Its clock minus the database's, in milliseconds, when it last reported.
    pub clock_offset_ms: Option<i64>,
    /// What that means.
    pub clock: Clock,
}

impl Line {
    /// Whether it counts as proof by this instant.
    fn proves(&self, by: i64) -> bool {
        self.clock != Clock::Bad && self.confirmed_at.is_some_and(|at| at <= by)
    }
}

/// A route that may be answered with an older head than others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRoute {
    /// The method.
    pub method: String,
    /// The path pattern.
    pub pattern: String,
    /// From then on it is not, unix milliseconds.
    pub until: i64,
}

/// A route whose connections may outlive the revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRoute {
    /// The method.
    pub method: String,
    /// The path pattern.
    pub pattern: String,
    /// For so many seconds after they began.
    pub max_connection_age: u32,
}

/// A receipt: what was known at one moment. Times are unix milliseconds of the database clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The set.
    pub set: String,
    /// The workspace.
    pub workspace: String,
    /// The key.
    pub key: String,
    /// What is proven.
    pub state: State,
    /// When this was found.
    pub at: i64,
    /// What the record says: read before the commit.
    pub revoked_at: i64,
    /// A clock read after the commit.
    pub committed_by: i64,
    /// The version that contains it.
    pub published: Option<Mark>,
    /// The bound that applied, milliseconds.
    pub bound_ms: i64,
    /// How many durable edges are counted.
    pub counted: u64,
    /// How many of them have proven it.
    pub proven: u64,
    /// How many edges and plain tokens could not be counted.
    pub uncounted: u64,
    /// Durable edges, those that have proven nothing first. A signed receipt may leave out the last ones.
    pub edges: Vec<Line>,
    /// Routes with a later time of their own.
    pub open_routes: Vec<OpenRoute>,
    /// Routes whose connections may live on.
    pub connection_routes: Vec<ConnectionRoute>,
}

impl Receipt {
    /// From then on no edge inside the clock assumption accepts the key.
    pub const fn in_force_by(&self) -> i64 {
        self.committed_by.saturating_add(self.bound_ms)
    }
}

/// Applies the rule at `now`, a database clock that is not before any of the times given.
pub fn evaluate(revocation: &Revocation, terms: &Terms, edges: &[DurableEdge], now: i64) -> Receipt {
    let bound_ms = terms.largest_validity_ms.saturating_add(terms.skew_ms);
    // Whoever reads the revocation knows that it is committed by now.
    let committed_by = revocation.committed_by.unwrap_or(now);
    let in_force_by = committed_by.saturating_add(bound_ms);
    let mut lines = Vec::new();
    let (mut counted, mut proven) = (0, 0);
    // Edges that nobody counts any more, and that may accept the key all the same.
    let mut at_large = false;
    for edge in edges.iter().filter(|edge| edge.enrolled_at < in_force_by) {
        let confirmed_at = revocation.published.and_then(|_| confirmed_at(&edge.instances));
        let heard = edge.instances.iter().map(|instance| instance.last).fold(edge.enrolled_at, i64::max);
        let state = match (edge.removed_at, confirmed_at) {
            (Some(at), _) if at.saturating_add(HELD_MS) <= committed_by.saturating_sub(bound_ms) => continue,
            (Some(_), _) => LineState::Removed,
            (None, Some(_)) => LineState::Confirmed,
            (None, None) if now.saturating_sub(heard) > bound_ms => LineState::Silent,
            (None, None) => LineState::Waiting,
        };
        let clock = Clock::judge(edge.clock_offset_ms, edge.clock_refused, terms.skew_ms);
        let line = Line { edge: edge.id.clone(), state, confirmed_at, clock_offset_ms: edge.clock_offset_ms, clock };
        if state == LineState::Removed {
            at_large |= !line.proves(in_force_by);
        } else {
            counted += 1;
            proven += u64::from(line.proves(in_force_by));
        }
        lines.push(line);
    }
    lines.sort_by(|a, b| {
        let place = |line: &Line| (line.state != LineState::Removed && line.proves(in_force_by), line.confirmed_at);
        place(a).cmp(&place(b)).then_with(|| a.edge.cmp(&b.edge))
    });
    let state = if counted > 0 && counted == proven && !at_large {
        State::Confirmed
    } else if revocation.committed_by.is_some() && now >= in_force_by {
        State::BoundElapsed
    } else {
        State::Pending
    };
    let open_until = |open_ms: i64| committed_by.saturating_add(open_ms).saturating_add(terms.skew_ms).max(in_force_by);
    Receipt {
        set: revocation.set.clone(),
        workspace: revocation.workspace.clone(),
        key: revocation.key.clone(),
        state,
        at: now,
        revoked_at: revocation.revoked_at,
        committed_by,
        published: revocation.published,
        bound_ms,
        counted,
        proven,
        uncounted: terms.uncounted,
        edges: lines,
        open_routes: terms.open_ms.map_or_else(Vec::new, |open_ms| {
            let route = |(method, pattern): &(String, String)| OpenRoute {
                method: method.clone(),
                pattern: pattern.clone(),
                until: open_until(open_ms),
            };
            terms.open_routes.iter().map(route).collect()
        }),
        connection_routes: terms
            .connection_routes
            .iter()
            .map(|(method, pattern, seconds)| ConnectionRoute {
                method: method.clone(),
                pattern: pattern.clone(),
                max_connection_age: *seconds,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: i64 = 65_000;

    fn revocation() -> Revocation {
        Revocation {
            set: "set_a".into(),
            workspace: "ws_a".into(),
            key: "key_a".into(),
            revoked_at: 999_990,
            committed_by: Some(1_000_000),
            published: Some(Mark { incarnation: 0, version: 7 }),
        }
    }

    fn terms() -> Terms {
        Terms {
            largest_validity_ms: 60_000,
            skew_ms: 5_000,
            open_ms: None,
            open_routes: Vec::new(),
            connection_routes: Vec::new(),
            uncounted: 0,
        }
    }

    fn edge(id: &str, reached: Option<i64>) -> DurableEdge {
        DurableEdge {
            id: id.into(),
            enrolled_at: 1,
            removed_at: None,
            instances: vec![Instance { first: 2, last: reached.unwrap_or(999_000), reached }],
            clock_offset_ms: Some(10),
            clock_refused: false,
        }
    }

    fn state(edges: &[DurableEdge], now: i64) -> State {
        evaluate(&revocation(), &terms(), edges, now).state
    }

    #[test]
    fn every_durable_edge_has_to_confirm_or_the_bound_has_to_pass() {
        let one = edge("edge_1", Some(1_000_100));
        assert_eq!(state(&[], 1_000_200), State::Pending, "nobody to confirm");
        assert_eq!(state(std::slice::from_ref(&one), 1_000_200), State::Confirmed);
        let both = [one, edge("edge_2", None)];
        assert_eq!(state(&both, 1_000_000 + BOUND - 1), State::Pending);
        assert_eq!(state(&both, 1_000_000 + BOUND), State::BoundElapsed);
        let receipt = evaluate(&revocation(), &terms(), &both, 1_000_000 + BOUND);
        assert_eq!((receipt.counted, receipt.proven), (2, 1));
        assert_eq!(receipt.edges[0].edge, "edge_2", "what is missing comes first");
        assert_eq!(receipt.edges[0].state, LineState::Silent);
    }

    #[test]
    fn without_a_clock_read_after_the_commit_the_bound_never_passes() {
        let revocation = Revocation { committed_by: None, ..revocation() };
        let receipt = evaluate(&revocation, &terms(), &[edge("edge_1", None)], i64::MAX / 2);
        assert_eq!(receipt.state, State::Pending);
    }

    #[test]
    fn a_confirmation_after_the_bound_is_shown_and_changes_nothing() {
        let late = [edge("edge_1", Some(1_000_000 + BOUND + 1))];
        let receipt = evaluate(&revocation(), &terms(), &late, 1_000_000 + BOUND + 5);
        assert_eq!((receipt.state, receipt.edges[0].state), (State::BoundElapsed, LineState::Confirmed));
    }

    #[test]
    fn a_bad_clock_is_named_and_no_proof() {
        for bad in [
            DurableEdge { clock_offset_ms: Some(-5_001), ..edge("edge_1", Some(1_000_100)) },
            DurableEdge { clock_offset_ms: Some(i64::MIN), ..edge("edge_1", Some(1_000_100)) },
            DurableEdge { clock_refused: true, ..edge("edge_1", Some(1_000_100)) },
        ] {
            let receipt = evaluate(&revocation(), &terms(), &[bad], 1_000_200);
            assert_eq!((receipt.state, receipt.edges[0].clock), (State::Pending, Clock::Bad));
        }
    }

    #[test]
    fn a_removed_edge_is_not_counted_and_holds_the_receipt_up_while_it_could_matter() {
        let removed = |at, reached| DurableEdge { removed_at: Some(at), ..edge("edge_2", reached) };
        let one = edge("edge_1", Some(1_000_100));
        let unproven = [one.clone(), removed(1_000_150, None)];
        let receipt = evaluate(&revocation(), &terms(), &unproven, 1_000_200);
        assert_eq!((receipt.state, receipt.counted, receipt.proven), (State::Pending, 1, 1));
        assert_eq!(receipt.edges[0].state, LineState::Removed, "what is missing comes first");
        assert_eq!(state(&unproven, 1_000_000 + BOUND - 1), State::Pending);
        assert_eq!(state(&unproven, 1_000_000 + BOUND), State::BoundElapsed);
        // It had been removed before, and may still serve what it had.
        assert_eq!(state(&[one.clone(), removed(1_000_001 - BOUND, None)], 1_000_200), State::Pending);
        // It had confirmed before it was removed.
        let proven = [one.clone(), removed(1_000_150, Some(1_000_120))];
        assert_eq!(state(&proven, 1_000_200), State::Confirmed);
        // All that it held had run out by the revocation.
        let held = [one.clone(), removed(1_000_001 - BOUND - HELD_MS, None)];
        assert_eq!(state(&held, 1_000_200), State::Pending, "it may have been waiting for a head");
        let gone = [one, removed(1_000_000 - BOUND - HELD_MS, None)];
        let receipt = evaluate(&revocation(), &terms(), &gone, 1_000_200);
        assert_eq!((receipt.state, receipt.edges.len()), (State::Confirmed, 1));
    }

    #[test]
    fn an_edge_that_enrols_within_the_bound_has_to_confirm_too() {
        let late = |at| DurableEdge { enrolled_at: at, ..edge("edge_2", None) };
        let one = edge("edge_1", Some(1_000_100));
        assert_eq!(state(&[one.clone(), late(1_000_150)], 1_000_200), State::Pending);
        assert_eq!(state(&[one, late(1_000_000 + BOUND)], 1_000_000 + BOUND), State::Confirmed);
    }

    #[test]
    fn two_processes_of_one_edge_both_have_to_confirm() {
        let old = Instance { first: 1, last: 50, reached: None };
        let new = Instance { first: 60, last: 70, reached: Some(70) };
        assert_eq!(confirmed_at(&[old, new]), Some(70), "a restart");
        let speaks_again = Instance { last: 65, ..old };
        assert_eq!(confirmed_at(&[speaks_again, new]), None, "a copy");
        let follows = Instance { last: 90, reached: Some(90), ..old };
        assert_eq!(confirmed_at(&[follows, new]), Some(90));
        assert_eq!(confirmed_at(&[]), None);
    }

    #[test]
    fn open_routes_have_their_own_time() {
        let terms = Terms {
            open_ms: Some(600_000),
            open_routes: vec![("GET".into(), "/status".into())],
            connection_routes: vec![("GET".into(), "/stream".into(), 60)],
            ..terms()
        };
        let receipt = evaluate(&revocation(), &terms, &[], 1_000_000);
        assert_eq!(receipt.open_routes[0].until, 1_000_000 + 605_000);
        assert_eq!(receipt.connection_routes[0].max_connection_age, 60);
    }
}
