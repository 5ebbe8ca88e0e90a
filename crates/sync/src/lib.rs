//! What to fetch, what to believe and how long to rely on it: the decisions between a set's files and its users.
//!
//! Everything here is a function of its arguments. A runtime brings the clock and the bytes: it offers a head, fetches
//! what the plan names, hands the files back, and gives a rebase its slices of time.
//!
//! - [`Edge`] is a verifier's state: which head it relies on, how fresh that is, and which heads it refuses.
//! - [`Attempt`] is the way from what an edge has to a head: the files to fetch.
//! - [`plan_copy`] is the sync job's part: which files a target lacks before it may have a head.
#![no_std]

extern crate alloc;

mod clock;
mod copy;
mod denied;
mod edge;
mod mark;
mod plan;
mod refusal;
mod serving;
mod trusted;

pub use clock::Clock;
pub use copy::{CopyPlan, implied_files, plan_copy};
pub use edge::{Edge, EdgeConfig, Freshness, Offer, Outcome, Work};
pub use mark::Mark;
pub use plan::{Attempt, Fetch, MAX_FILES, OVERHEAD, REBASE_FROM};
pub use refusal::Refusal;
pub use serving::Serving;
