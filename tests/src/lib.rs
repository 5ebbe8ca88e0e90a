//! What the end-to-end tests run against: real programs, started, watched and stopped by the test that wants them.

pub mod control_plane;
pub mod origin;
pub mod port;
pub mod postgres;
pub mod program;
pub mod workerd;
