//! Edges and sync jobs against a publisher in a few lines.

#[path = "../../../keyset/tests/common/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod common;

mod copy;
mod edge;
mod rebase;
mod room;
mod source;
mod trust;
mod ways;
