//! Where the randomness of a test begins.

use anyhow::{Context as _, Result};

use crate::clock::now_ms;

/// The variable that repeats a run.
pub const SEED: &str = "NIGHTLATCH_TEST_SEED";

/// The seed of this run: what [`SEED`] says, else one of the moment.
///
/// # Errors
/// When the variable is not a number.
pub fn seed() -> Result<u64> {
    match std::env::var(SEED) {
        Ok(text) => text.parse().context(SEED),
        Err(_) => Ok(now_ms()),
    }
}
