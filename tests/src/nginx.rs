//! A real nginx in front of a sidecar, configured by the sidecar's own example.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::port::Port;
use crate::program::Running;
use crate::workerd::repository_root;

/// How long nginx may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running nginx. It is stopped when dropped.
pub struct Nginx {
    process: Running,
    port: Port,
    directory: TempDir,
}

impl Nginx {
    /// Starts nginx by the sidecar's example, between this sidecar and this origin (`address:port`), and waits until it
    /// listens.
    ///
    /// # Errors
    /// When nginx is not installed or does not start; with its log.
    pub async fn start(sidecar: &str, origin: &str) -> Result<Self> {
        let example = fs::read_to_string(repository_root().join("edge/sidecar/examples/nginx.conf"))?;
        let port = Port::reserve()?;
        let server = example
            .replace("127.0.0.1:8088", sidecar)
            .replace("127.0.0.1:3000", origin)
            .replace("listen 127.0.0.1:8080;", &format!("listen 127.0.0.1:{};", port.number()));
        Self::start_with(&server, port, &[]).await
    }

    /// Starts nginx on servers written by hand, which listen on that port; `prefix` runs it, as `["taskset", "-c", "0"]`.
    ///
    /// # Errors
    /// The same.
    pub async fn start_with(servers: &str, port: Port, prefix: &[String]) -> Result<Self> {
        let directory = TempDir::with_prefix("nightlatch-nginx-")?;
        let here = directory.path();
        fs::write(here.join("servers.conf"), servers)?;
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("    {kind}_temp_path {};\n", here.join(kind).display()))
            .collect();
        let file = here.join("nginx.conf");
        fs::write(
            &file,
            format!(
                "worker_processes 1;\ndaemon off;\nmaster_process off;\npid {0}/pid;\nerror_log stderr error;\n\
                 events {{ worker_connections 1024; }}\nhttp {{\n    access_log off;\n    keepalive_requests 1000000;\n\
                 {temporary}    include {0}/servers.conf;\n}}\n",
                here.display()
            ),
        )?;
        let words: Vec<PathBuf> = prefix.iter().map(PathBuf::from).chain([program()?]).collect();
        let (first, rest) = words.split_first().context("a program")?;
        let mut command = Command::new(first);
        command.args(rest).arg("-p").arg(here).arg("-c").arg(&file);
        let process = Running::start(&mut command, &here.join("log"))?;
        let mut nginx = Self { process, port, directory };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", nginx.port.number())).is_err() {
            if let Some(status) = nginx.process.ended()? {
                bail!("nginx ended with {status}:\n{}", nginx.log());
            }
            ensure!(Instant::now() < until, "nginx does not listen:\n{}", nginx.log());
            sleep(Duration::from_millis(10)).await;
        }
        Ok(nginx)
    }

    /// Its base URL, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// Everything it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.path().join("log")).unwrap_or_default()).into_owned()
    }
}

/// Where nginx is: on the path, or where Debian has it.
fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = places.map(|place| place.join("nginx")).find(|program| Path::is_file(program));
    found.context("nginx is not installed: `cargo xtask test` installs it, or Debian's package nginx-light")
}
