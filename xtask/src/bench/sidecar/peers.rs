//! What the sidecar is held against, and what is in front of it.

use std::ffi::OsString;
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nightlatch_tests::nginx::Nginx;
use nightlatch_tests::port::Port;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// How long a peer may take to load a million keys.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running HAProxy. It is killed when dropped.
pub(super) struct Haproxy {
    child: Child,
    port: Port,
    _directory: TempDir,
}

impl Haproxy {
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/status", self.port.number())
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts HAProxy with one thread and a map of digests: as little as it can do to tell a key, and who it is.
pub(super) async fn haproxy(words: &[OsString], map: PathBuf) -> Result<Haproxy> {
    let directory = TempDir::with_prefix("nightlatch-bench-haproxy-")?;
    let port = Port::reserve()?;
    let file = directory.path().join("haproxy.cfg");
    fs::write(
        &file,
        format!(
            "global\n    nbthread 1\n    maxconn 1000\ndefaults\n    mode http\n    timeout connect 5s\n    \
             timeout client 60s\n    timeout server 60s\nfrontend keys\n    bind 127.0.0.1:{}\n    \
             http-request set-var(txn.key) req.hdr(authorization),word(2,' '),sha2(256),hex,map_str({})\n    \
             http-request deny deny_status 401 unless {{ var(txn.key) -m found }}\n    \
             http-request return status 204 hdr x-key-id %[var(txn.key)]\n",
            port.number(),
            map.display()
        ),
    )?;
    let (first, rest) = words.split_first().context("a program")?;
    let child = Command::new(first).args(rest).arg("-db").arg("-f").arg(&file).stdin(Stdio::null()).spawn()?;
    let mut haproxy = Haproxy { child, port, _directory: directory };
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", haproxy.port.number())).is_err() {
        ensure!(haproxy.child.try_wait()?.is_none(), "HAProxy has ended");
        ensure!(Instant::now() < until, "HAProxy does not listen");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(haproxy)
}

/// A server that says yes to everything, and where it listens.
pub(super) struct Yes(Nginx);

impl Yes {
    pub(super) fn address(&self) -> String {
        self.0.url().trim_start_matches("http://").to_owned()
    }
}

/// Starts that server.
pub(super) async fn yes(words: &[OsString]) -> Result<Yes> {
    let port = Port::reserve()?;
    let server = format!("server {{ listen 127.0.0.1:{}; location / {{ return 204; }} }}\n", port.number());
    Ok(Yes(Nginx::start_with(&server, port, &prefix(words)).await?))
}

/// Starts an nginx that asks this address about every request, in the words of the sidecar's example, and answers what
/// passes itself.
pub(super) async fn nginx(words: &[OsString], asked: &str) -> Result<Nginx> {
    let port = Port::reserve()?;
    let server = format!(
        r#"upstream asked {{ server {asked}; keepalive 64; keepalive_requests 10000000; }}
server {{
    listen 127.0.0.1:{port};
    location / {{
        auth_request /_nightlatch/auth;
        auth_request_set $nl_key_id $upstream_http_x_nightlatch_key_id;
        auth_request_set $nl_principal $upstream_http_x_nightlatch_principal;
        add_header X-Key-Id $nl_key_id;
        empty_gif;
    }}
    location = /_nightlatch/auth {{
        internal;
        proxy_pass http://asked;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_set_header X-Original-Method $request_method;
        proxy_set_header X-Original-URI $request_uri;
    }}
}}
"#,
        port = port.number()
    );
    Nginx::start_with(&server, port, &prefix(words)).await
}

/// What stands before the program itself.
fn prefix(words: &[OsString]) -> Vec<String> {
    let before = words.split_last().map_or(&[][..], |(_, before)| before);
    before.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// The resident memory of a process, in millions of bytes.
pub(super) fn memory_of(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1_024.0 / 1e6)
}
