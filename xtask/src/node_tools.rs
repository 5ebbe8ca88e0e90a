//! Node programs the build and the tests need, installed from `package-lock.json`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The repository's root, from where this crate was compiled.
pub(crate) fn repository_root() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().unwrap_or(crate_dir).to_path_buf()
}

/// Makes `node_modules` match `package-lock.json`, running `npm ci` only when it does not.
///
/// Install scripts are off: every tool used here ships its binary inside its package.
///
/// # Errors
/// When `npm` is missing or the install fails.
pub(crate) fn ensure_installed(root: &Path) -> Result<()> {
    let lock = fs::read(root.join("package-lock.json")).context("reading package-lock.json")?;
    let stamp = root.join("node_modules/.nightlatch-lock");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    eprintln!("installing Node packages");
    let status = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(root)
        .status()
        .context("running npm; Node 20 or newer is needed")?;
    if !status.success() {
        bail!("npm ci failed");
    }
    fs::write(&stamp, lock).context("recording what was installed")
}

/// The path of an installed Node program.
///
/// # Errors
/// When it is not installed.
pub(crate) fn program(root: &Path, name: &str) -> Result<PathBuf> {
    let path = root.join("node_modules/.bin").join(name);
    if !path.exists() {
        bail!("{name} is not installed: run npm ci");
    }
    Ok(path)
}
