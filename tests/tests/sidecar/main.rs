//! The real sidecar, alone and behind a real nginx, reading sets that were published by hand.

mod durability;
mod forwarding;
mod freshness;
mod holding;
mod nginx;
mod operations;
mod reports;
mod stand;
mod streams;
