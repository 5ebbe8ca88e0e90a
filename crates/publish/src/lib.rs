//! The publisher's rules: who may sign, what a version takes, when a head is issued, and what is never overwritten.
//!
//! Everything here is a function of its arguments: rows of a database, a head, the database clock. The control plane
//! brings the transactions and the disk; the simulated world brings its own. Both go by the same rules:
//!
//! - [`lease`]: one leader at a time, by a row with a term that only grows.
//! - [`numbering`]: which committed changes become the next version.
//! - [`issued`]: the instant that a head may claim.
//! - [`head`]: the next head, from the one before and the state that is signed.
//! - [`published`]: what the files that are out there say about a database, and which head may replace which.
//!
//! # The order of writing
//!
//! First the database: one transaction renews the lease, reads the clock, numbers changes, signs the head and stores both.
//! Then the files that the head implies, in any order. The head comes last. Whoever is killed in between leaves a
//! database that is ahead of the files, never files that are ahead of the database: the next leader makes the same bytes.
#![no_std]

extern crate alloc;

pub mod head;
pub mod issued;
pub mod lease;
pub mod numbering;
pub mod published;
