//! The built Worker in real workerd, reading sets that were published by hand.

mod configuration;
mod forwarding;
mod freshness;
mod gate;
mod loading;
mod paths;
mod reports;
mod stand;
mod traps;
