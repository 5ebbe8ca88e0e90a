//! Workers in workerd itself, several in one process, without what a development harness would put in front.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nightlatch_tests::port::Port;
use nightlatch_tests::wait::eventually;
use nightlatch_tests::workerd::COMPATIBILITY_DATE;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// How long workerd may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a Worker is made of.
pub(super) enum Code<'a> {
    /// A module of JavaScript.
    Script(String),
    /// The built Worker of that directory, with its variables and secrets.
    Edge(&'a Path, BTreeMap<String, String>),
    /// The same with the object that heads are pushed to.
    PushedEdge(&'a Path, BTreeMap<String, String>),
}

/// A running workerd. It ends when dropped.
pub(super) struct Workerd {
    ports: BTreeMap<&'static str, Port>,
    _process: Child,
    _directory: TempDir,
}

impl Workerd {
    /// Runs these Workers, each on a port of its own. `words` is the command line up to workerd's own arguments.
    pub(super) async fn start(words: &[OsString], workers: Vec<(&'static str, Code<'_>)>) -> Result<Self> {
        let directory = TempDir::with_prefix("nightlatch-bench-workerd-")?;
        let mut ports = BTreeMap::new();
        let (mut services, mut sockets) = (String::new(), String::new());
        for (name, code) in workers {
            let port = Port::reserve()?;
            let address = format!("127.0.0.1:{}", port.number());
            ports.insert(name, port);
            let worker = write_worker(directory.path(), name, code)?;
            writeln!(services, "    (name = {name:?}, worker = ({worker})),")?;
            writeln!(sockets, "    (name = {name:?}, address = {address:?}, http = (), service = {name:?}),")?;
        }
        // Everything is on loopback, which workerd's default network refuses.
        let text = format!(
            "using Workerd = import \"/workerd/workerd.capnp\";\nconst config :Workerd.Config = (\n  services = [\n    \
             (name = \"internet\", network = (allow = [\"private\"])),\n{services}  ],\n  sockets = [\n{sockets}  ],\n);\n"
        );
        let config = directory.path().join("config.capnp");
        fs::write(&config, text)?;
        let log = directory.path().join("log");
        let process = Command::new(&words[0])
            .args(&words[1..])
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .context("running workerd")?;
        for port in ports.values() {
            let listens = async || TcpStream::connect(("127.0.0.1", port.number())).await.map(drop);
            let listening = eventually("workerd listens", PATIENCE, async || Ok(listens().await?)).await;
            listening.with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        }
        Ok(Self { ports, _process: process, _directory: directory })
    }

    /// The base URL of a Worker.
    pub(super) fn url(&self, name: &str) -> Result<String> {
        let port = self.ports.get(name).with_context(|| format!("there is no Worker named {name}"))?;
        Ok(format!("http://127.0.0.1:{}", port.number()))
    }
}

/// Puts the Worker's modules where the configuration may embed them, and describes it.
fn write_worker(directory: &Path, name: &str, code: Code<'_>) -> Result<String> {
    let home = directory.join(name);
    fs::create_dir(&home)?;
    let heads = matches!(code, Code::PushedEdge(..));
    let (modules, variables) = match code {
        Code::Script(text) => {
            fs::write(home.join("index.js"), text)?;
            (format!("(name = \"index.js\", esModule = embed \"{name}/index.js\")"), BTreeMap::new())
        }
        Code::Edge(build, variables) | Code::PushedEdge(build, variables) => {
            for file in ["index.js", "index_bg.wasm"] {
                fs::copy(build.join(file), home.join(file)).with_context(|| build.join(file).display().to_string())?;
            }
            let script = format!("(name = \"index.js\", esModule = embed \"{name}/index.js\")");
            let wasm = format!("(name = \"index_bg.wasm\", wasm = embed \"{name}/index_bg.wasm\")");
            (format!("{script}, {wasm}"), variables)
        }
    };
    let mut bindings = String::new();
    for (variable, value) in variables {
        ensure!(!value.contains(['"', '\\', '\n']), "{variable} cannot be written into a configuration");
        write!(bindings, "(name = \"{variable}\", text = \"{value}\"), ")?;
    }
    let mut more = String::new();
    if heads {
        bindings.push_str("(name = \"NIGHTLATCH_HEADS\", durableObjectNamespace = \"NightlatchHeads\")");
        more.push_str(
            ", durableObjectNamespaces = [(className = \"NightlatchHeads\", uniqueKey = \"heads\", enableSql = true)], \
             durableObjectStorage = (inMemory = void)",
        );
    }
    Ok(format!("modules = [{modules}], compatibilityDate = \"{COMPATIBILITY_DATE}\", bindings = [{bindings}]{more}"))
}
