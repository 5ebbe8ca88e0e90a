//! What the end-to-end tests run against: real programs, started, watched and stopped by the test that wants them.

pub mod caller;
pub mod clock;
pub mod control_plane;
pub mod crash;
pub mod fake_kv_api;
pub mod file;
pub mod follower;
pub mod import;
pub mod load;
pub mod moto;
pub mod nginx;
pub mod oidc_provider;
pub mod origin;
pub mod port;
pub mod postgres;
pub mod program;
pub mod published;
pub mod rotation;
pub mod seed;
pub mod set_source;
pub mod sidecar;
pub mod static_files;
pub mod ticker;
pub mod wait;
pub mod workerd;
pub mod world;
