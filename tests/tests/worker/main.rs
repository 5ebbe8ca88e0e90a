//! The built Worker in real workerd, reading sets that were published by hand.

mod configuration;
mod connections;
mod forwarding;
mod freshness;
mod gate;
mod kv;
mod loading;
mod open_routes;
mod paths;
mod push;
mod reports;
mod stand;
mod traps;
mod trust;
