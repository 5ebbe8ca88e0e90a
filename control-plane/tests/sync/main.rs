//! The sync job: what arrives is what was signed, in the right order, and never older than what was there.

mod directory;
mod faults;
mod objects;
mod origin;
mod world;
