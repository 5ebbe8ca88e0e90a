//! The audit log, exported and proven offline by the program itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use nightlatch_tests::control_plane::ControlPlane;
use nightlatch_tests::deployment::Deployment;
use nightlatch_tests::wait::eventually;
use nightlatch_tests::world::SOON;
use serde_json::Value;

/// Waits until everything that was done is chained and signed. Nothing may be written meanwhile.
pub(crate) async fn settled(all: &Deployment, at: &ControlPlane) -> Result<()> {
    eventually("everything is chained and signed", SOON, async || {
        let standing = all.send_to(&at.url(), &all.owner(), reqwest::Method::GET, "audit/checkpoint", |r| r).await?;
        let standing: Value = serde_json::from_str(&standing.allowed()?.body)?;
        ensure!(standing["unchained"] == 0 && standing["checkpoint"]["count"] == standing["chained"], "{standing}");
        Ok(())
    })
    .await
}

/// Keeps the newest signed checkpoint in a file.
pub(crate) fn checkpoint(at: &ControlPlane, keep: &Path) -> Result<()> {
    let output = at.command()?.args(["audit", "checkpoint", "--out"]).arg(keep).output()?;
    ensure!(output.status.success() && keep.exists(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Exports the whole log and has `nightlatch audit verify` prove it, against checkpoints that were kept. Returns the entries
/// in their order.
pub(crate) fn proven(all: &Deployment, at: &ControlPlane, file: &Path, kept: &[PathBuf]) -> Result<Vec<Value>> {
    let output = at.command()?.args(["audit", "export", "--out"]).arg(file).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = verify(all, at, file, kept)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "the log is not proven: {said}{}", String::from_utf8_lossy(&output.stdout));
    let told: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(told["proven"] == true && told["checkpoints"] == kept.len(), "{told}");
    // The first line says what the export is, and the last that it is whole.
    let lines = fs::read_to_string(file)?;
    let mut entries: Vec<Value> = lines.lines().skip(1).map(serde_json::from_str).collect::<Result<_, _>>()?;
    entries.pop();
    for (place, entry) in entries.iter().enumerate() {
        ensure!(entry["seq"] == place + 1, "entry {} stands at place {}", entry["seq"], place + 1);
    }
    Ok(entries)
}

/// What `nightlatch audit verify` says of an export.
pub(crate) fn verify(all: &Deployment, at: &ControlPlane, file: &Path, kept: &[PathBuf]) -> Result<Output> {
    let trust = all.published(&at.set().id).join("trust");
    let root = fs::read_to_string(&trust)?;
    let root = root.lines().find_map(|line| line.strip_prefix("root ")).context("a root")?;
    let mut command = at.command()?;
    command.args(["audit", "verify", "--json", "--root", root, "--trust"]).arg(&trust).arg(file);
    for checkpoint in kept {
        command.arg("--checkpoint").arg(checkpoint);
    }
    Ok(command.output()?)
}
