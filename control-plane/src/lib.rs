//! The control plane of Nightlatch: domain, database, publisher and API behind the `nightlatch` program.

pub mod api;
pub mod cli;
pub mod config;
pub mod domain;
pub mod metrics;
pub mod oidc;
pub mod publisher;
pub mod push;
pub mod recover;
pub mod secrets;
pub mod serve;
pub mod signin;
pub mod store;
pub mod sync_job;
pub mod telemetry;
pub mod trust;
