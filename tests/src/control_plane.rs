//! A real control plane: started, spoken to, killed and started again.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nightlatch_api::client::Client;
use nightlatch_api::{Secret, Set};
use nightlatch_keyset::Trust;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::port::Port;
use crate::postgres::ScratchDatabase;
use crate::program::{Running, nightlatch, unconfigured};
use crate::workerd::WorkerConfig;

/// How long a control plane may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Which database a control plane keeps its truth in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file in the data directory.
    Sqlite,
    /// A database of its own on the server that [`crate::postgres`] names.
    Postgres,
}

impl Database {
    /// The name on command lines and in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// How a set of a control plane is timed, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often its head is signed anew.
    pub heartbeat: u64,
    /// How long a head may be relied on.
    pub validity: u64,
    /// How far clocks may be apart.
    pub skew: u64,
}

impl Timing {
    /// The product's own: made for the world, where a bound of 65 seconds is a good one.
    pub const DEFAULT: Self = Self { heartbeat: 5, validity: 60, skew: 5 };
    /// A bound of 5 seconds, so that a test can wait for it.
    pub const SHORT: Self = Self { heartbeat: 1, validity: 4, skew: 1 };

    /// After this long every edge has learnt a change, or refuses to answer.
    #[must_use]
    pub fn bound(self) -> Duration {
        Duration::from_secs(self.validity + self.skew)
    }
}

/// What a control plane is started with.
#[derive(Clone, Debug)]
pub struct ControlPlaneConfig {
    database: Database,
    timing: Timing,
    data_dir: Option<PathBuf>,
    port: Option<u16>,
    program: Vec<OsString>,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl ControlPlaneConfig {
    /// A control plane with the product's own timing, a data directory that vanishes with it, and a free port.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self {
            database,
            timing: Timing::DEFAULT,
            data_dir: None,
            port: None,
            program: Vec::new(),
            environment: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// Times the set otherwise. Counts at the first start on a data directory only.
    #[must_use]
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Keeps its data there, and leaves them there.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Listens on that loopback port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Runs that program in place of the one built for tests: its path, after whatever runs it, such as
    /// `["taskset", "-c", "0", "target/release/nightlatch"]`.
    #[must_use]
    pub fn program<S: Into<OsString>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.program = words.into_iter().map(Into::into).collect();
        self
    }

    /// Sets an environment variable of the program.
    #[must_use]
    pub fn environment(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Adds an argument to `nightlatch serve`.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }
}

/// A control plane and a management token for it. It is stopped when dropped.
pub struct ControlPlane {
    config: ControlPlaneConfig,
    port: u16,
    data_dir: PathBuf,
    token: Secret,
    client: Client,
    set: Set,
    process: Option<Running>,
    // Dropped after the process that uses them.
    database: Option<ScratchDatabase>,
    scratch: TempDir,
    _port: Option<Port>,
}

impl ControlPlane {
    /// Starts a control plane on an empty data directory, waits until it listens, and enrols.
    ///
    /// # Errors
    /// When it cannot be built or does not start; with its log.
    pub async fn start(config: ControlPlaneConfig) -> Result<Self> {
        let scratch = TempDir::with_prefix("nightlatch-control-plane-")?;
        let data_dir = config.data_dir.clone().unwrap_or_else(|| scratch.path().join("data"));
        let database = match config.database {
            Database::Sqlite => None,
            Database::Postgres => Some(ScratchDatabase::create().await?),
        };
        let reserved = if config.port.is_none() { Some(Port::reserve()?) } else { None };
        let port = config.port.or_else(|| reserved.as_ref().map(Port::number)).context("a port")?;
        let url = format!("http://127.0.0.1:{port}");
        let mut process = launch(&config, &data_dir, scratch.path(), port, database.as_ref())?;
        wait_until_ready(&mut process, scratch.path()).await?;
        let (token, client) = enrol(&url, &data_dir).await?;
        let set = client.list_sets().await?.items.into_iter().next().context("a new workspace has one set")?;
        let process = Some(process);
        Ok(Self { config, port, data_dir, token, client, set, process, database, scratch, _port: reserved })
    }

    /// Starts another control plane on the database of one that runs, with a data directory of its own.
    ///
    /// # Errors
    /// When it does not start; with its log.
    pub async fn join(first: &Self, config: ControlPlaneConfig) -> Result<Self> {
        let database = first.database.as_ref().context("only PostgreSQL can be shared")?;
        let config = config.environment("DATABASE_URL", database.url());
        let scratch = TempDir::with_prefix("nightlatch-control-plane-")?;
        let data_dir = scratch.path().join("data");
        let reserved = Port::reserve()?;
        let port = reserved.number();
        let mut process = launch(&config, &data_dir, scratch.path(), port, None)?;
        wait_until_ready(&mut process, scratch.path()).await?;
        let token = first.token.clone();
        let client = Client::new(&format!("http://127.0.0.1:{port}"))?.with_token(token.expose().to_owned());
        let (set, process, reserved) = (first.set.clone(), Some(process), Some(reserved));
        Ok(Self { config, port, data_dir, token, client, set, process, database: None, scratch, _port: reserved })
    }

    /// Its database's URL; `None` for a file in the data directory.
    #[must_use]
    pub fn database_url(&self) -> Option<&str> {
        self.database.as_ref().map(ScratchDatabase::url)
    }

    /// Makes a `nightlatch` command that works on this control plane's database, secrets and files, beside it.
    ///
    /// # Errors
    /// When the program does not build.
    pub fn host_command(&self) -> Result<Command> {
        let mut command = nightlatch()?;
        command.env("NIGHTLATCH_DATA_DIR", &self.data_dir);
        command.envs(self.config.environment.iter().map(|(name, value)| (name, value)));
        if let Some(url) = self.database_url() {
            command.env("DATABASE_URL", url);
        }
        Ok(command)
    }

    /// Stops the process where it is, or lets it go on.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pause(&self, paused: bool) -> Result<()> {
        self.process.as_ref().context("the control plane is not running")?.pause(paused)
    }

    /// Its base URL, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A client with the management token. It goes on working across restarts.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The text of the management token.
    #[must_use]
    pub fn token(&self) -> &str {
        self.token.expose()
    }

    /// The workspace's set, as it was at the start.
    #[must_use]
    pub fn set(&self) -> &Set {
        &self.set
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The directory of the set's published files.
    #[must_use]
    pub fn published(&self) -> PathBuf {
        self.data_dir.join("sets").join(&self.set.id)
    }

    /// The set's pepper, `id:base64`, as edges take it.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn pepper(&self) -> Result<String> {
        let path = self.data_dir.join("secrets/pepper");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(text.trim_end().to_owned())
    }

    /// The set's root key, as edges pin it.
    ///
    /// # Errors
    /// When the trust note is not published, or lists other than one.
    pub fn root(&self) -> Result<String> {
        let path = self.published().join("trust");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let (statement, _) = text.rsplit_once("\n\n").context("a note")?;
        let trust = Trust::parse(&format!("{statement}\n")).map_err(|error| anyhow!("the trust note: {error}"))?;
        let [root] = trust.roots.as_slice() else { bail!("the trust note lists {} roots", trust.roots.len()) };
        Ok(root.to_vkey())
    }

    /// Everything it has logged so far, over all restarts.
    #[must_use]
    pub fn log(&self) -> String {
        read_log(self.scratch.path())
    }

    /// Makes a `nightlatch` command that speaks to this control plane with the management token.
    ///
    /// # Errors
    /// When the program does not build.
    pub fn command(&self) -> Result<Command> {
        let mut command = nightlatch()?;
        command.env("NIGHTLATCH_URL", self.url()).env("NIGHTLATCH_TOKEN", self.token());
        Ok(command)
    }

    /// What a Worker needs to gate `origin` with this control plane's set, as `nightlatch edge config` prints it, a new
    /// edge token included.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn worker(&self, origin: &str) -> Result<WorkerConfig> {
        self.worker_as(self.token(), origin).await
    }

    /// The same with the set of the workspace that another management token is of.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn worker_as(&self, token: &str, origin: &str) -> Result<WorkerConfig> {
        let mut command = tokio::process::Command::from(self.command()?);
        command.env("NIGHTLATCH_TOKEN", token);
        command.args(["edge", "config", "--json", "--runtime", "cloudflare", "--mint-token", "edge"]);
        let output = command.args(["--origin", origin]).arg("--data-dir").arg(&self.data_dir).output().await?;
        ensure!(output.status.success(), "edge config failed: {}", String::from_utf8_lossy(&output.stderr));
        let printed: Value = serde_json::from_slice(&output.stdout).context("what edge config printed")?;
        let mut config = WorkerConfig::new();
        for (name, value) in
            [&printed["variables"], &printed["secrets"]].into_iter().flat_map(Value::as_object).flatten()
        {
            config = config.variable(name, value.as_str().with_context(|| format!("{name} is no text"))?);
        }
        Ok(config)
    }

    /// The process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Running::pid)
    }

    /// Ends it at once, as a power cut would.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the control plane is not running")?.kill()
    }

    /// The same while others still call it; [`Self::kill`] waits until it is gone.
    ///
    /// # Errors
    /// When it is not running.
    pub fn cut_power(&self) -> Result<()> {
        self.process.as_ref().context("the control plane is not running")?.signal(Signal::KILL)
    }

    /// Asks it to stop, and waits for it to do so.
    ///
    /// # Errors
    /// When it is not running, does not stop, or ends with an error.
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the control plane is not running")?;
        let status = process.stop(PATIENCE)?;
        if !status.success() {
            bail!("the control plane ended with {status}:\n{}", self.log());
        }
        Ok(())
    }

    /// Starts it again on the same data and the same port, and waits until it listens.
    ///
    /// # Errors
    /// When it runs already or does not start; with its log.
    pub async fn restart(&mut self) -> Result<()> {
        self.launch()?;
        let process = self.process.as_mut().context("it was just launched")?;
        wait_until_ready(process, self.scratch.path()).await
    }

    /// Starts it again on the same data and the same port, and does not wait.
    ///
    /// # Errors
    /// When it runs already.
    pub fn launch(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("the control plane is still running");
        }
        let scratch = self.scratch.path();
        self.process = Some(launch(&self.config, &self.data_dir, scratch, self.port, self.database.as_ref())?);
        Ok(())
    }

    /// Leaves data and log where they are when dropped, for whoever looks into a failure.
    pub fn keep(&mut self) -> String {
        self.scratch.disable_cleanup(true);
        self.scratch.path().display().to_string()
    }
}

fn launch(
    config: &ControlPlaneConfig,
    data_dir: &Path,
    scratch: &Path,
    port: u16,
    database: Option<&ScratchDatabase>,
) -> Result<Running> {
    let ready = scratch.join("ready.json");
    if ready.exists() {
        fs::remove_file(&ready)?;
    }
    let Timing { heartbeat, validity, skew } = config.timing;
    let mut command = match config.program.split_first() {
        Some((first, rest)) => {
            let mut command = unconfigured(Command::new(first));
            command.args(rest);
            command
        }
        None => nightlatch()?,
    };
    command
        .envs(config.environment.iter().map(|(name, value)| (name, value)))
        .arg("serve")
        .arg("--data-dir")
        .arg(data_dir)
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .arg("--ready-file")
        .arg(&ready)
        .args(["--set-heartbeat-seconds", &heartbeat.to_string()])
        .args(["--set-validity-seconds", &validity.to_string()])
        .args(["--set-skew-seconds", &skew.to_string()])
        .args(&config.arguments);
    if let Some(database) = database {
        command.env("DATABASE_URL", database.url());
    }
    Running::start(&mut command, &scratch.join("log"))
}

async fn wait_until_ready(process: &mut Running, scratch: &Path) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Ok(text) = fs::read(scratch.join("ready.json")) {
            serde_json::from_slice::<Value>(&text).context("the ready file is written whole")?;
            return Ok(());
        }
        if let Some(status) = process.ended()? {
            bail!("the control plane ended with {status}:\n{}", read_log(scratch));
        }
        if Instant::now() > until {
            bail!("the control plane does not become ready:\n{}", read_log(scratch));
        }
        sleep(LOOK).await;
    }
}

async fn enrol(url: &str, data_dir: &Path) -> Result<(Secret, Client)> {
    let path = data_dir.join("enrolment-token");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let client = Client::new(url)?;
    let token = client.enrol(Secret::from(text.trim_end())).await?.secret;
    let client = client.with_token(token.expose().to_owned());
    Ok((token, client))
}

fn read_log(scratch: &Path) -> String {
    let bytes = fs::read(scratch.join("log")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
