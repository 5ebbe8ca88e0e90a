//! What a run measures and measures with, built or installed first.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::say;
use crate::node_tools::{ensure_installed, repository_root};
use crate::tools::{ensure_program, ensure_wasm_target, run};
use crate::worker_build;

/// Where the programs are.
pub(super) struct Programs {
    /// The control plane: what `NIGHTLATCH_BIN` names, else a release build.
    pub(super) nightlatch: PathBuf,
    /// The directory of the built Worker: what `NIGHTLATCH_WORKER_BUILD` names, else one built now.
    pub(super) worker: PathBuf,
    /// The runtime's own program. The one in `.bin` is a script that would stand between us and it.
    pub(super) workerd: PathBuf,
    /// A directory of ours on the disk the repository is on.
    pub(super) scratch: PathBuf,
}

impl Programs {
    /// Builds and installs everything.
    pub(super) fn prepare() -> Result<Self> {
        let root = repository_root();
        ensure_program("wrk", "wrk")?;
        ensure_program("taskset", "util-linux")?;
        ensure_wasm_target()?;
        ensure_installed(&root)?;
        let worker = match std::env::var_os("NIGHTLATCH_WORKER_BUILD") {
            Some(path) => path.into(),
            None => {
                say("building the Worker");
                worker_build::build(&root)?
            }
        };
        let nightlatch = match std::env::var_os("NIGHTLATCH_BIN") {
            Some(path) => path.into(),
            None => control_plane(&root)?,
        };
        let scratch = root.join("target/bench");
        std::fs::create_dir_all(&scratch)?;
        Ok(Self { nightlatch, worker, workerd: workerd(&root)?, scratch })
    }
}

fn control_plane(root: &Path) -> Result<PathBuf> {
    say("building the control plane for release");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo).args(["build", "--quiet", "--release", "--package", "nightlatch"]).current_dir(root))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(root.join(target).join("release/nightlatch"))
}

pub(super) fn workerd(root: &Path) -> Result<PathBuf> {
    let output = Command::new("node")
        .args(["--print", "require('workerd').default"])
        .current_dir(root)
        .output()
        .context("running node")?;
    let path = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    ensure!(path.is_file(), "workerd is not installed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(path)
}
