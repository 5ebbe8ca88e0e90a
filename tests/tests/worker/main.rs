//! The built Worker in real workerd, reading sets that were published by hand.

mod freshness;
mod forwarding;
mod gate;
mod stand;
