//! A real OpenID Connect provider: node-oidc-provider, run by node.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use crate::workerd::repository_root;

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// What this server is called there.
pub const CLIENT_ID: &str = "nightlatch";
/// What it proves that with.
pub const CLIENT_SECRET: &str = "a-client-secret";

/// A running provider. It stops when dropped, and also when the program that started it dies.
pub struct OidcProvider {
    issuer: String,
    _alive: ChildStdin,
    _process: Child,
}

impl OidcProvider {
    /// Starts a provider that sends browsers back to `redirect`.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(redirect: &str) -> Result<Self> {
        let mut process = Command::new("node")
            .arg(repository_root().join("tests/harness/oidc.mjs"))
            .arg(json!({ "redirect": redirect }).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("running node; version 20 or newer is needed")?;
        let alive = process.stdin.take().context("standard input")?;
        let mut lines = BufReader::new(process.stdout.take().context("standard output")?).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.context("the provider does not start")??;
        let line = line.context("the provider has ended; is oidc-provider installed (npm ci)?")?;
        let ready: Value = serde_json::from_str(&line)?;
        let issuer = ready["issuer"].as_str().context("the ready line")?.to_owned();
        Ok(Self { issuer, _alive: alive, _process: process })
    }

    /// Its address.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Says who sits before it: `{sub, email, email_verified, in_token}`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn user(&self, user: &Value) -> Result<()> {
        self.tell("user", user).await
    }

    /// Says what goes wrong with the ID tokens from now on: `{claims, key}`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn tamper(&self, how: &Value) -> Result<()> {
        self.tell("tamper", how).await
    }

    async fn tell(&self, what: &str, body: &Value) -> Result<()> {
        let request = reqwest::Client::new().post(format!("{}/test/{what}", self.issuer)).json(body);
        let status = request.send().await?.status();
        ensure!(status.is_success(), "{what}: {status}");
        Ok(())
    }
}
