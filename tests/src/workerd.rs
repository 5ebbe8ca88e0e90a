//! The built Worker, running in real workerd.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::wait::eventually;

/// How long workerd may take to start, or to carry out a call.
const PATIENCE: Duration = Duration::from_secs(60);

/// The runtime behaviour asked of workerd; the same date as in `wrangler.toml`.
pub const COMPATIBILITY_DATE: &str = "2026-04-01";

/// What a Worker is started with.
#[derive(Clone, Default)]
pub struct WorkerConfig {
    variables: BTreeMap<String, String>,
    buckets: Vec<String>,
    namespaces: Vec<String>,
    heads: bool,
    services: BTreeMap<String, SocketAddr>,
    isolates: usize,
    port: u16,
    sabotage: Vec<(String, String)>,
}

impl WorkerConfig {
    /// A Worker with no variables, one isolate, and a free port.
    #[must_use]
    pub fn new() -> Self {
        Self { isolates: 1, ..Self::default() }
    }

    /// Sets a variable or secret; the Worker cannot tell them apart.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    /// The variables and secrets.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// Takes a variable away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    /// Binds an empty R2 bucket under that name.
    #[must_use]
    pub fn bucket(mut self, binding: &str) -> Self {
        self.buckets.push(binding.to_owned());
        self
    }

    /// Binds an empty KV namespace under that name.
    #[must_use]
    pub fn namespace(mut self, binding: &str) -> Self {
        self.namespaces.push(binding.to_owned());
        self
    }

    /// Binds the object that heads are pushed to, one for all isolates.
    #[must_use]
    pub fn heads(mut self) -> Self {
        self.heads = true;
        self
    }

    /// Binds a running HTTP server as a service.
    #[must_use]
    pub fn service(mut self, binding: &str, address: SocketAddr) -> Self {
        self.services.insert(binding.to_owned(), address);
        self
    }

    /// Runs that many isolates side by side, each on a port of its own.
    #[must_use]
    pub fn isolates(mut self, count: usize) -> Self {
        self.isolates = count;
        self
    }

    /// Replaces a part of the built script, which must be there: a way to make fail what does not fail by itself.
    #[must_use]
    pub fn sabotage(mut self, part: &str, replacement: &str) -> Self {
        self.sabotage.push((part.to_owned(), replacement.to_owned()));
        self
    }

    /// Listens on that port; the first isolate only.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }
}

/// A running Worker. It stops when dropped, and also when the program that started it dies.
pub struct Worker {
    urls: Vec<String>,
    admin: String,
    log: Arc<Mutex<String>>,
    calls: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// Ends by itself once `calls` is closed; killing it would leave its workerd behind.
    _process: Child,
    _directory: TempDir,
}

impl Worker {
    /// Builds the Worker if need be, starts it and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be built or does not start; with what it printed.
    pub async fn start(config: &WorkerConfig) -> Result<Self> {
        let build = tokio::task::spawn_blocking(built_worker).await??;
        let directory = TempDir::with_prefix("nightlatch-worker-")?;
        let file = directory.path().join("worker.json");
        let text = json!({
            "build": build,
            "compatibility_date": COMPATIBILITY_DATE,
            "variables": config.variables,
            "buckets": config.buckets,
            "namespaces": config.namespaces,
            "heads": config.heads,
            "services": config.services.iter().map(|(name, at)| (name, at.to_string())).collect::<BTreeMap<_, _>>(),
            "isolates": config.isolates,
            "ports": [config.port],
            "sabotage": config.sabotage,
        });
        fs::write(&file, text.to_string())?;
        let mut process = Command::new("node")
            .arg(repository_root().join("tests/harness/worker.mjs"))
            .arg(&file)
            .env("NODE_NO_WARNINGS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("running node; version 20 or newer is needed")?;
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = process.stderr.take().context("standard error")?;
        tokio::spawn(collect(BufReader::new(stderr).lines(), Arc::clone(&log)));
        let calls = process.stdin.take().context("standard input")?;
        let stdout = process.stdout.take().context("standard output")?;
        let answers = BufReader::new(stdout).lines();
        let urls = Vec::new();
        let mut worker =
            Self { urls, admin: String::new(), log, calls, answers, _process: process, _directory: directory };
        let ready = worker.answer().await?;
        worker.urls = serde_json::from_value(ready["ready"]["urls"].clone()).context("the ready line")?;
        worker.admin = ready["ready"]["admin"].as_str().context("the ready line")?.to_owned();
        Ok(worker)
    }

    /// The first isolate's base URL, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.urls[0]
    }

    /// Every isolate's base URL.
    #[must_use]
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// The base URL at which other programs reach a KV namespace of the Worker, without a trailing slash: GET, PUT and DELETE
    /// of `{url}/{key}` for the bytes of a value, GET of `{url}?prefix=…` for `{"keys": […]}`.
    #[must_use]
    pub fn namespace_url(&self, binding: &str) -> String {
        format!("{}/kv/{binding}", self.admin)
    }

    /// Everything the Worker has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the Worker has logged a text, which reaches us a little after the answer it belongs to.
    ///
    /// # Errors
    /// With the whole log, when it has not in time.
    pub async fn logged(&self, text: &str) -> Result<()> {
        eventually("the Worker logs it", PATIENCE, async || {
            let log = self.log();
            ensure!(log.contains(text), "no {text:?} in:\n{log}");
            Ok(())
        })
        .await
    }

    /// Stores an object in one of the Worker's buckets.
    ///
    /// # Errors
    /// When the bucket does not exist.
    pub async fn put_object(&mut self, bucket: &str, key: &str, bytes: &[u8]) -> Result<()> {
        self.call(&json!({
            "call": "put", "bucket": bucket, "key": key, "base64": Base64::encode_string(bytes),
        }))
        .await
    }

    async fn call(&mut self, call: &Value) -> Result<()> {
        self.calls.write_all(format!("{call}\n").as_bytes()).await?;
        self.answer().await.map(drop)
    }

    async fn answer(&mut self) -> Result<Value> {
        let line = timeout(PATIENCE, self.answers.next_line()).await.context("the Worker's harness hangs")??;
        let Some(line) = line else {
            bail!("the Worker's harness ended:\n{}", self.log());
        };
        let answer: Value = serde_json::from_str(&line).context("the harness's answer")?;
        if let Some(failed) = answer["failed"].as_str() {
            bail!("{failed}\n{}", self.log());
        }
        Ok(answer)
    }
}

async fn collect(mut lines: Lines<BufReader<tokio::process::ChildStderr>>, log: Arc<Mutex<String>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push_str(&line);
        log.push('\n');
    }
}

/// The repository's root.
#[must_use]
pub fn repository_root() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().unwrap_or(crate_dir).to_path_buf()
}

/// The directory of the built Worker: what `NIGHTLATCH_WORKER_BUILD` names, else one built now, once per process and
/// by one process at a time.
///
/// # Errors
/// When it does not build.
pub fn built_worker() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("NIGHTLATCH_WORKER_BUILD") {
        return Ok(directory.into());
    }
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(directory) = &*built {
        return Ok(directory.clone());
    }
    let root = repository_root();
    let lock = File::create(std::env::temp_dir().join("nightlatch-worker-build.lock"))?;
    lock.lock().context("waiting for another build")?;
    let output = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["xtask", "build-worker"])
        .current_dir(&root)
        .output()
        .context("running cargo xtask build-worker")?;
    ensure!(output.status.success(), "the Worker does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(built.insert(root.join("edge/cloudflare/build")).clone())
}
