//! The sync job: what arrives is what was signed, in the right order, and never older than what was there.

mod directory;
mod faults;
mod follow;
mod kv;
mod notes;
mod objects;
mod origin;
mod push;
mod world;
