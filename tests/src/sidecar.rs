//! A real sidecar: started, spoken to, told to read its configuration again, killed and started again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nightlatch_api::{EnrolledEdge, EnrolledEdgeConfig};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::caller::Caller;
use crate::file::write_private;
use crate::port::Port;
use crate::program::{Running, sidecar_program, unconfigured};
use crate::wait::eventually;
use crate::workerd::WorkerConfig;

/// How long a sidecar may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What a sidecar is started with: its TOML file, and the secrets that the file names.
#[derive(Clone, Debug, Default)]
pub struct SidecarConfig {
    settings: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    program: Vec<OsString>,
}

impl SidecarConfig {
    /// Nothing but free ports and a state directory that vanishes with it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same place as a Worker of this configuration: set, source, reports, keys and secrets.
    ///
    /// # Errors
    /// When the Worker lacks a variable.
    pub fn beside(worker: &WorkerConfig) -> Result<Self> {
        let variable = |name: &str| worker.variables().get(name).with_context(|| format!("{name} is not set"));
        let mut config = Self::new()
            .setting("set", variable("NIGHTLATCH_SET")?)
            .setting("source", variable("NIGHTLATCH_SOURCE")?)
            .secret("peppers_file", variable("NIGHTLATCH_PEPPERS")?);
        config = match worker.variables().get("NIGHTLATCH_ROOT") {
            Some(root) => config.root(root),
            None => config.verifier(variable("NIGHTLATCH_VERIFIER")?),
        };
        for (variable, setting) in [("NIGHTLATCH_REPORT_URL", "report_url"), ("NIGHTLATCH_ORIGIN", "origin")] {
            if let Some(value) = worker.variables().get(variable).filter(|value| value.as_str() != "verdict") {
                config = config.setting(setting, value);
            }
        }
        for (variable, file) in [("NIGHTLATCH_TOKEN", "credential_file"), ("NIGHTLATCH_ORIGIN_KEY", "origin_key_file")]
        {
            if let Some(value) = worker.variables().get(variable) {
                config = config.secret(file, value);
            }
        }
        Ok(config)
    }

    /// Sets a text of the TOML file.
    #[must_use]
    pub fn setting(self, name: &str, value: impl AsRef<str>) -> Self {
        let value = format!("{:?}", value.as_ref());
        self.raw(name, value)
    }

    /// Sets a number of the TOML file.
    #[must_use]
    pub fn number(self, name: &str, value: u64) -> Self {
        self.raw(name, value.to_string())
    }

    /// Pins the one key that signs heads.
    #[must_use]
    pub fn verifier(self, vkey: impl AsRef<str>) -> Self {
        let value = format!("[{:?}]", vkey.as_ref());
        self.raw("verifiers", value)
    }

    /// Pins the one root key.
    #[must_use]
    pub fn root(self, vkey: impl AsRef<str>) -> Self {
        let value = format!("[{:?}]", vkey.as_ref());
        self.raw("roots", value)
    }

    /// What an enrolled edge needs: what the control plane at `url` told it, its credential and the set's pepper.
    ///
    /// # Errors
    /// When it was not told exactly one root key.
    pub fn enrolled(url: &str, enrolled: &EnrolledEdge, pepper: impl Into<String>) -> Result<Self> {
        let EnrolledEdgeConfig { set, roots, source, report_url, .. } = &enrolled.config;
        let [root] = roots.as_slice() else { bail!("not one root: {roots:?}") };
        Ok(Self::new()
            .setting("set", set)
            .setting("source", format!("{url}{source}"))
            .setting("report_url", format!("{url}{report_url}"))
            .root(root)
            .secret("credential_file", enrolled.credential.expose())
            .secret("peppers_file", pepper))
    }

    /// Takes a setting away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.settings.remove(name);
        self.secrets.remove(name);
        self
    }

    /// Puts a secret into a file of mode 0600 that this setting names.
    #[must_use]
    pub fn secret(mut self, setting: &str, value: impl Into<String>) -> Self {
        self.secrets.insert(setting.to_owned(), value.into());
        self
    }

    /// Runs that program in place of the one built for tests: its path, after whatever runs it.
    #[must_use]
    pub fn program<S: Into<OsString>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.program = words.into_iter().map(Into::into).collect();
        self
    }

    fn raw(mut self, name: &str, value: String) -> Self {
        self.settings.insert(name.to_owned(), value);
        self
    }

    /// Writes the TOML file and the secrets into a directory.
    fn write(&self, directory: &Path, listen: u16, admin: u16) -> Result<PathBuf> {
        let mut text = format!("listen = \"127.0.0.1:{listen}\"\nadmin_listen = \"127.0.0.1:{admin}\"\n");
        if !self.settings.contains_key("state_dir") {
            text.push_str(&format!("state_dir = {:?}\n", directory.join("state").display().to_string()));
        }
        for (name, value) in &self.settings {
            text.push_str(&format!("{name} = {value}\n"));
        }
        for (name, value) in &self.secrets {
            let path = directory.join(name);
            write_private(&path, value.as_bytes())?;
            text.push_str(&format!("{name} = {:?}\n", path.display().to_string()));
        }
        let path = directory.join("sidecar.toml");
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// A running sidecar. It is stopped when dropped.
pub struct Sidecar {
    config: SidecarConfig,
    process: Option<Running>,
    scratch: TempDir,
    ports: [Port; 2],
}

impl Sidecar {
    /// Starts a sidecar and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be built or does not start; with its log.
    pub async fn start(config: SidecarConfig) -> Result<Self> {
        let scratch = TempDir::with_prefix("nightlatch-sidecar-")?;
        let mut sidecar = Self { config, process: None, scratch, ports: [Port::reserve()?, Port::reserve()?] };
        sidecar.restart().await?;
        Ok(sidecar)
    }

    /// Its base URL, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0].number())
    }

    /// The base URL of what operators ask.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[1].number())
    }

    /// Its state directory, unless it was given another.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// Its TOML file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.scratch.path().join("sidecar.toml")
    }

    /// The id of its process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Running::pid)
    }

    /// Everything it has logged so far, over all restarts.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.scratch.path().join("log")).unwrap_or_default()).into_owned()
    }

    /// Waits until it has logged a text.
    ///
    /// # Errors
    /// With the whole log, when it has not in time.
    pub async fn logged(&self, text: &str) -> Result<()> {
        eventually("the sidecar logs it", PATIENCE, async || {
            let log = self.log();
            ensure!(log.contains(text), "no {text:?} in:\n{log}");
            Ok(())
        })
        .await
    }

    /// A page of the admin listener: its status and its text.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn admin(&self, path: &str) -> Result<(u16, String)> {
        let answer = Caller::new(&self.admin_url())?.send(reqwest::Method::GET, path, None).await?;
        Ok((answer.status, answer.body))
    }

    /// A number of its metrics.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let (_, text) = self.admin("/metrics").await?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.with_context(|| format!("no {name} in:\n{text}"))?.parse().context("a metric is a number")
    }

    /// Ends it at once, as a power cut would.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the sidecar is not running")?.kill()
    }

    /// Stops the process where it is, or lets it go on.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pause(&self, paused: bool) -> Result<()> {
        self.process.as_ref().context("the sidecar is not running")?.pause(paused)
    }

    /// Asks it to stop, and waits for it to do so.
    ///
    /// # Errors
    /// When it is not running, does not stop, or ends with an error.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.process.take().context("the sidecar is not running")?.stop(PATIENCE)?;
        ensure!(status.success(), "the sidecar ended with {status}:\n{}", self.log());
        Ok(())
    }

    /// Asks it to stop, and does not wait.
    ///
    /// # Errors
    /// When it is not running.
    pub fn terminate(&self) -> Result<()> {
        self.process.as_ref().context("the sidecar is not running")?.signal(Signal::TERM)
    }

    /// Starts it again on the same ports and state, and waits until it listens.
    ///
    /// # Errors
    /// When it runs already or does not start; with its log.
    pub async fn restart(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the sidecar is still running");
        let directory = self.scratch.path();
        let ready = directory.join("ready.json");
        if ready.exists() {
            fs::remove_file(&ready)?;
        }
        let file = self.config.write(directory, self.ports[0].number(), self.ports[1].number())?;
        let mut command = match self.config.program.split_first() {
            Some((first, rest)) => {
                let mut command = unconfigured(Command::new(first));
                command.args(rest);
                command
            }
            None => unconfigured(Command::new(tokio::task::spawn_blocking(sidecar_program).await??)),
        };
        command.arg("--config").arg(file).arg("--ready-file").arg(&ready);
        let process = self.process.insert(Running::start(&mut command, &directory.join("log"))?);
        let until = Instant::now() + PATIENCE;
        while !ready.exists() {
            if let Some(status) = process.ended()? {
                self.process = None;
                bail!("the sidecar ended with {status}:\n{}", self.log());
            }
            ensure!(Instant::now() < until, "the sidecar does not become ready:\n{}", self.log());
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Changes what it is started with; counts from the next [`Self::restart`] or [`Self::reload`] on.
    pub fn configure(&mut self, change: impl FnOnce(SidecarConfig) -> SidecarConfig) {
        self.config = change(std::mem::take(&mut self.config));
    }

    /// Writes its configuration again and has it read.
    ///
    /// # Errors
    /// When it is not running.
    pub fn reload(&self) -> Result<()> {
        self.config.write(self.scratch.path(), self.ports[0].number(), self.ports[1].number())?;
        self.process.as_ref().context("the sidecar is not running")?.signal(Signal::HUP)
    }
}
