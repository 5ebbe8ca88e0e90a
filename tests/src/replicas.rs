//! Several control planes on one PostgreSQL database: they share their secrets under one master key and publish into one
//! directory.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::control_plane::{ControlPlane, ControlPlaneConfig, Database, Timing};
use crate::wait::eventually;

/// What they seal their shared secrets under.
pub const MASTER_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
/// Validity is long, so that a slow machine's takeover is no reason for an edge to refuse a head.
pub const TIMING: Timing = Timing { heartbeat: 1, validity: 60, skew: 5 };
/// Far longer than a takeover takes.
const SOON: Duration = Duration::from_secs(60);

/// One of several that publish into that directory.
#[must_use]
pub fn config(sets: &Path) -> ControlPlaneConfig {
    let config = ControlPlaneConfig::new(Database::Postgres).timing(TIMING);
    config.environment("NIGHTLATCH_MASTER_KEY", MASTER_KEY).argument("--sets-dir").argument(sets.display().to_string())
}

/// Two control planes that share everything; the first leads.
///
/// # Errors
/// When one does not start.
pub async fn pair() -> Result<(ControlPlane, ControlPlane, TempDir)> {
    let sets = TempDir::with_prefix("nightlatch-sets-")?;
    let first = ControlPlane::start(config(sets.path())).await?;
    let second = ControlPlane::join(&first, config(sets.path())).await?;
    await_role(&first, "leading").await?;
    await_role(&second, "standby").await?;
    Ok((first, second, sets))
}

/// Its role and the lease's term.
///
/// # Errors
/// When it does not answer.
pub async fn role(control_plane: &ControlPlane) -> Result<(String, u64)> {
    let answer = reqwest::get(format!("{}/readyz", control_plane.url())).await?;
    let ready: Value = serde_json::from_slice(&answer.bytes().await?)?;
    let term = ready["lease_term"].as_u64().context("a term")?;
    Ok((ready["role"].as_str().context("a role")?.to_owned(), term))
}

/// Waits until it has that role, and returns the lease's term.
///
/// # Errors
/// When it does not come to it in time.
pub async fn await_role(control_plane: &ControlPlane, wanted: &str) -> Result<u64> {
    eventually("its role", SOON, async || {
        let (role, term) = role(control_plane).await?;
        ensure!(role == wanted, "it is {role}");
        Ok(term)
    })
    .await
}
