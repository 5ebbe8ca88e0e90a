//! An S3-compatible store for tests: the server of the Python package `moto`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::{RequestBuilder, StatusCode};
use tempfile::TempDir;

use crate::port::Port;
use crate::program::Running;
use crate::wait::eventually;
use crate::workerd::repository_root;

/// The variable that names the program.
pub const PROGRAM: &str = "NIGHTLATCH_MOTO_SERVER";
/// It takes any credentials; these are as good as others.
pub const ACCESS_KEY: (&str, &str) = ("test-access", "test-secret");

/// A running store. It stops, and forgets everything, when dropped.
pub struct Moto {
    url: String,
    _program: Running,
    _port: Port,
    _log: TempDir,
}

impl Moto {
    /// Starts a store on a free loopback port.
    ///
    /// # Errors
    /// When the program is not installed or does not start.
    pub async fn start() -> Result<Self> {
        let port = Port::reserve()?;
        let log = tempfile::tempdir()?;
        let path = log.path().join("moto.log");
        let mut command = Command::new(program()?);
        command.args(["-H", "127.0.0.1", "-p", &port.number().to_string()]);
        let mut program = Running::start(&mut command, &path)?;
        let url = format!("http://127.0.0.1:{}", port.number());
        eventually("moto answers", Duration::from_secs(60), async || {
            if let Some(status) = program.ended()? {
                bail!("it has ended: {status}\n{}", std::fs::read_to_string(&path)?);
            }
            Ok(reqwest::get(&url).await?)
        })
        .await?;
        Ok(Self { url, _program: program, _port: port, _log: log })
    }

    /// Its address, as an S3 endpoint.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn create_bucket(&self, bucket: &str) -> Result<()> {
        let response = reqwest::Client::new().put(format!("{}/{bucket}", self.url)).send().await?;
        ensure!(response.status().is_success(), "making {bucket}: {}", response.status());
        Ok(())
    }

    /// The keys of a bucket, in order.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn keys(&self, bucket: &str) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut after = String::new();
        loop {
            let query = [("list-type", "2"), ("max-keys", "1000"), ("start-after", &after)];
            let request = reqwest::Client::new().get(format!("{}/{bucket}", self.url)).query(&query);
            let page = signed(request).send().await?.error_for_status()?.text().await?;
            // Names of sets' files need no unescaping, and a test may rely on that.
            let found: Vec<_> =
                page.split("<Key>").skip(1).filter_map(|rest| Some(rest.split_once("</Key>")?.0)).collect();
            let Some(last) = found.last() else { return Ok(keys) };
            after = (*last).to_owned();
            keys.extend(found.into_iter().map(str::to_owned));
        }
    }

    /// An object's bytes; `None` where it is not there.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>> {
        let response = signed(reqwest::Client::new().get(format!("{}/{bucket}/{key}", self.url))).send().await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(response.error_for_status()?.bytes().await?.into()))
    }

    /// Writes an object.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn put(&self, bucket: &str, key: &str, bytes: Vec<u8>) -> Result<()> {
        let request = reqwest::Client::new().put(format!("{}/{bucket}/{key}", self.url)).body(bytes);
        signed(request).send().await?.error_for_status()?;
        Ok(())
    }
}

/// The store wants to see a signature and does not check it.
fn signed(request: RequestBuilder) -> RequestBuilder {
    let scope = "20260101/us-east-1/s3/aws4_request";
    let (id, _) = ACCESS_KEY;
    request.header(
        "authorization",
        format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders=host, Signature={}", "0".repeat(64)),
    )
}

/// The program: what [`PROGRAM`] names, what `cargo xtask test` has installed, or one on the path.
fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(PROGRAM) {
        return Ok(path.into());
    }
    let installed = repository_root().join("target/moto/bin/moto_server");
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|directory| directory.join("moto_server")).find(|file| file.is_file())
    };
    [installed].into_iter().find(|file| file.is_file()).or_else(on_path).with_context(|| {
        format!(
            "no moto_server: run `cargo xtask test` once, or `python3 -m venv target/moto && target/moto/bin/pip install \
             'moto[server]'`, or set {PROGRAM}"
        )
    })
}
