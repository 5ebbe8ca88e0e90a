//! The control plane of Nightlatch: domain, database, publisher and API behind the `nightlatch` program.

pub mod domain;
pub mod store;
