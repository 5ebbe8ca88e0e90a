//! What to fetch, what to believe and how long to rely on it: the decisions between a set's files and its users.
//!
//! Everything here is a function of its arguments. A runtime brings the clock and the bytes: it offers a head, fetches
//! what the plan names, and hands the files back.
//!
//! - [`Edge`] is a verifier's state: which head it relies on, how fresh that is, and which heads it refuses.
//! - [`plan_copy`] is the sync job's part: which files a target lacks before it may have a head.
#![no_std]

extern crate alloc;

mod clock;
mod copy;
mod edge;
mod mark;
mod refusal;

pub use clock::Clock;
pub use copy::{CopyPlan, implied_files, plan_copy};
pub use edge::{Attempt, Edge, EdgeConfig, Fetch, Freshness, Offer, Outcome, Serving};
pub use mark::Mark;
pub use refusal::Refusal;
