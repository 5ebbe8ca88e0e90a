//! Guarantee 9: nothing acknowledged is lost in a crash, and nothing contradictory published. `cargo xtask crash` runs
//! more of the same.

use anyhow::Result;
use nightlatch_tests::control_plane::Database;
use nightlatch_tests::seed::seed;
use nightlatch_tests::{crash, on_both_databases};

/// Kills in an ordinary run.
const ROUNDS: u32 = 20;

on_both_databases!(twenty_kills_lose_nothing_and_publish_no_contradiction);

async fn twenty_kills_lose_nothing_and_publish_no_contradiction(database: Database) -> Result<()> {
    let seed = seed()?;
    let report = crash::run(ROUNDS, seed, database, |_| ()).await?;
    println!("seed {seed}, {}: {report}", database.as_str());
    Ok(())
}
