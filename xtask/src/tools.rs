//! Programs beyond cargo and node that tests and benches run against, installed where that is possible.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// Makes sure that the WebAssembly target is there.
///
/// # Errors
/// When it cannot be added.
pub(crate) fn ensure_wasm_target() -> Result<()> {
    let listed =
        Command::new("rustc").args(["--print", "target-libdir", "--target", "wasm32-unknown-unknown"]).output();
    let there = listed.is_ok_and(|out| {
        let path = String::from_utf8_lossy(&out.stdout);
        out.status.success() && Path::new(path.trim()).is_dir()
    });
    if there {
        return Ok(());
    }
    run(Command::new("rustup").args(["target", "add", "wasm32-unknown-unknown"]))
        .context("adding the wasm32-unknown-unknown target")
}

/// Makes sure that `cargo nextest` is there.
///
/// # Errors
/// When it cannot be installed.
pub(crate) fn ensure_nextest() -> Result<()> {
    let there = quiet(Command::new("cargo").args(["nextest", "--version"]));
    if there {
        return Ok(());
    }
    run(Command::new("cargo").args(["install", "--locked", "cargo-nextest"])).context("installing cargo-nextest")
}

/// Makes sure that the nightly compiler is there.
///
/// # Errors
/// When it cannot be installed.
pub(crate) fn ensure_nightly() -> Result<()> {
    if quiet(Command::new("rustup").args(["run", "nightly", "rustc", "--version"])) {
        return Ok(());
    }
    run(Command::new("rustup").args(["toolchain", "install", "nightly", "--profile", "minimal"]))
        .context("installing the nightly compiler")
}

/// Makes sure that PostgreSQL's server programs are there.
///
/// # Errors
/// When they are missing and Debian's package cannot be installed.
pub(crate) fn ensure_postgres() -> Result<()> {
    let installed = || {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        versions.into_iter().any(|version| version.path().join("bin/initdb").exists())
    };
    if installed() {
        return Ok(());
    }
    install_debian_package("postgresql").context("PostgreSQL's server programs are needed")?;
    ensure!(installed(), "PostgreSQL's server programs were not found under /usr/lib/postgresql after installing them");
    Ok(())
}

/// Makes sure that a Debian program is on the path.
///
/// # Errors
/// When it is missing and its package cannot be installed.
pub(crate) fn ensure_program(program: &str, package: &str) -> Result<()> {
    if std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|dir| dir.join(program).exists()) {
        return Ok(());
    }
    install_debian_package(package).with_context(|| format!("{program} is needed"))
}

/// Makes sure that nginx is there. Debian has it where only root's path leads.
///
/// # Errors
/// When it is missing and Debian's package cannot be installed.
pub(crate) fn ensure_nginx() -> Result<()> {
    if Path::new("/usr/sbin/nginx").exists() {
        return Ok(());
    }
    ensure_program("nginx", "nginx-light")
}

/// The S3 server of the Python package `moto`, in a virtual environment under `target/`.
///
/// # Errors
/// When it cannot be installed.
pub(crate) fn ensure_moto(root: &Path) -> Result<PathBuf> {
    let directory = root.join("target/moto");
    let server = directory.join("bin/moto_server");
    if quiet(Command::new(&server).arg("--help")) {
        return Ok(server);
    }
    eprintln!("installing moto, an S3 server for the tests");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory))
        .context("making a Python environment")?;
    run(Command::new(directory.join("bin/pip")).args(["install", "--quiet", "moto[server]==5.2.5"]))
        .context("installing moto")?;
    Ok(server)
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started or fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{} failed ({status})", command.get_program().display());
    }
    Ok(())
}

fn quiet(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn install_debian_package(package: &str) -> Result<()> {
    eprintln!("installing Debian's package {package}");
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
    let install = ["install", "--yes", "--no-install-recommends", package];
    if run(apt.args(install)).is_ok() {
        return Ok(());
    }
    // A machine that has never asked for Debian's lists knows no packages.
    run(Command::new("apt-get").arg("update").stdout(Stdio::null())).context("refreshing Debian's package lists")?;
    run(apt.args(["--quiet"])).with_context(|| format!("install Debian's package {package}, as root, and try again"))
}
