//! Our programs: where they are, and one running copy of each.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::workerd::repository_root;

/// The `nightlatch` program: what `NIGHTLATCH_BIN` names, else one built now into the directory of the running
/// program's own build, once per process and by one process at a time.
///
/// # Errors
/// When it does not build.
pub fn nightlatch_program() -> Result<PathBuf> {
    named_or_built("NIGHTLATCH_BIN", "nightlatch")
}

/// The same of the sidecar, `NIGHTLATCH_SIDECAR_BIN` and `nightlatch-sidecar`.
///
/// # Errors
/// When it does not build.
pub fn sidecar_program() -> Result<PathBuf> {
    named_or_built("NIGHTLATCH_SIDECAR_BIN", "nightlatch-sidecar")
}

fn named_or_built(variable: &str, package: &'static str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    static BUILT: Mutex<BTreeMap<&'static str, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = built.get(package) {
        return Ok(path.clone());
    }
    let (target, profile) = own_build(variable)?;
    let lock = File::create(target.join("nightlatch-build.lock"))?;
    lock.lock().context("waiting for another build")?;
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--package", package, "--profile"])
        .arg(if profile == "debug" { OsString::from("dev") } else { profile.clone() })
        .arg("--target-dir")
        .arg(&target)
        .current_dir(repository_root())
        .output()
        .context("running cargo build")?;
    ensure!(output.status.success(), "{package} does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    let path = target.join(profile).join(package);
    built.insert(package, path.clone());
    Ok(path)
}

/// The target directory and the profile's directory in it that the running program comes from:
/// `{target}/{profile}/xtask` or `{target}/{profile}/deps/test-0123456789abcdef`.
fn own_build(variable: &str) -> Result<(PathBuf, OsString)> {
    let program = std::env::current_exe()?;
    let mut directory = program.parent().context("the running program has no directory")?;
    if directory.ends_with("deps") {
        directory = directory.parent().context("deps has no parent")?;
    }
    let (Some(target), Some(profile)) = (directory.parent(), directory.file_name()) else {
        bail!("{} does not lie in a target directory; set {variable}", program.display());
    };
    Ok((target.to_owned(), profile.to_owned()))
}

/// A `nightlatch` command that inherits no setting of ours from the environment.
///
/// # Errors
/// When the program does not build.
pub fn nightlatch() -> Result<Command> {
    Ok(unconfigured(Command::new(nightlatch_program()?)))
}

/// The command, inheriting no setting of ours from the environment.
pub(crate) fn unconfigured(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NIGHTLATCH_") {
            command.env_remove(name);
        }
    }
    command.env_remove("DATABASE_URL");
    command
}

/// A running program of ours. It is asked to stop when dropped, and killed if it does not.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts a command whose output is appended to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        Ok(Self { child: child.with_context(|| format!("running {}", command.get_program().display()))? })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Ends it at once, as a power cut would, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Stops it where it is, or lets it go on.
    pub(crate) fn pause(&self, paused: bool) -> Result<()> {
        let signal = if paused { Signal::STOP } else { Signal::CONT };
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Asks it to stop and waits for it to do so.
    ///
    /// # Errors
    /// When it has not ended within `patience`; it runs on.
    pub(crate) fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)?;
        // A descriptor of the process becomes readable when it ends.
        let descriptor = pidfd_open(pid, PidfdFlags::empty())?;
        let ready = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&Timespec::try_from(patience)?))?;
        ensure!(ready == 1, "it has not stopped within {} s", patience.as_secs());
        Ok(self.child.wait()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.stop(Duration::from_secs(10)).is_err() {
            // Nobody is left to hear of an error.
            let _ = self.kill();
        }
    }
}
