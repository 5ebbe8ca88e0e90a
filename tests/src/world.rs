//! The whole path: control plane, Worker and origin, joined.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nightlatch_api::client::Client;
use nightlatch_api::{Environment, IssueKey, IssuedKey, RevokeKey, RevokedKey, RouteDocument, RouteRule};

use crate::caller::{Answer, Caller};
use crate::control_plane::{ControlPlane, ControlPlaneConfig, Database, Timing};
use crate::origin::Origin;
use crate::wait::eventually;
use crate::workerd::Worker;

/// How long anything in a test may take that is promised soon, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(30);

/// A control plane, a Worker that gates with its set, and the origin behind.
pub struct World {
    /// The control plane.
    pub control_plane: ControlPlane,
    /// The origin.
    pub origin: Origin,
    /// The Worker.
    pub worker: Worker,
    /// Calls the Worker's first isolate.
    pub caller: Caller,
    /// Calls each of the Worker's isolates. They share nothing: each polls, loads and decides for itself.
    pub callers: Vec<Caller>,
    /// How the set is timed.
    pub timing: Timing,
}

impl World {
    /// Starts everything, with the timing a test can wait for, and returns when the edge knows the routes:
    /// `GET /status` for any key, `GET /invoices` with `invoices:read`, `POST /invoices` with `invoices:write`.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start(database: Database) -> Result<Self> {
        Self::start_with(database, Timing::SHORT, 1).await
    }

    /// The same with another timing, or with several isolates of the Worker.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start_with(database: Database, timing: Timing, isolates: usize) -> Result<Self> {
        let control_plane = ControlPlane::start(ControlPlaneConfig::new(database).timing(timing)).await?;
        put_routes(control_plane.client(), &routes()).await?;
        let origin = Origin::start().await?;
        let worker = Worker::start(&control_plane.worker(&origin.url()).await?.isolates(isolates)).await?;
        let callers = worker.urls().iter().map(|url| Caller::new(url)).collect::<Result<Vec<_>>>()?;
        for caller in &callers {
            eventually("the edge serves the routes", SOON, async || {
                caller.send(reqwest::Method::GET, "/status", None).await?.refused("key_missing")
            })
            .await
            .with_context(|| format!("the Worker says:\n{}", worker.log()))?;
        }
        let caller = callers.first().context("a Worker has an isolate")?.clone();
        Ok(Self { control_plane, origin, worker, caller, callers, timing })
    }

    /// The control plane's client.
    #[must_use]
    pub fn api(&self) -> &Client {
        self.control_plane.client()
    }

    /// Issues a live key with these scopes.
    ///
    /// # Errors
    /// When the control plane refuses.
    pub async fn issue(&self, name: &str, scopes: &[&str]) -> Result<IssuedKey> {
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let request = IssueKey { scopes, ..IssueKey::new(name, Environment::Live) };
        Ok(self.api().issue_key(&request).await?)
    }

    /// Issues a key and waits until the edge lets it through.
    ///
    /// # Errors
    /// When it does not.
    pub async fn issue_and_use(&self, name: &str, scopes: &[&str]) -> Result<IssuedKey> {
        let issued = self.issue(name, scopes).await?;
        self.allowed_soon(issued.secret.expose()).await?;
        Ok(issued)
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// When the control plane refuses.
    pub async fn revoke(&self, id: &str) -> Result<RevokedKey> {
        Ok(self.api().revoke_key(id, &RevokeKey::new("the test says so")).await?)
    }

    /// Waits until the edge lets a key through on `GET /status`.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn allowed_soon(&self, key: &str) -> Result<Answer> {
        eventually("the key is let through", SOON, async || self.caller.get("/status", key).await?.allowed()).await
    }

    /// Waits until the edge refuses a key on `GET /status` with that code.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn refused_soon(&self, key: &str, code: &str) -> Result<Answer> {
        eventually("the key is refused", SOON, async || self.caller.get("/status", key).await?.refused(code)).await
    }
}

/// What the programs complained of. The runner shows it where a test fails.
impl Drop for World {
    fn drop(&mut self) {
        let log = self.control_plane.log();
        for line in log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")) {
            eprintln!("control plane: {line}");
        }
        for line in self.worker.log().lines() {
            eprintln!("Worker: {line}");
        }
    }
}

/// Replaces the routes, whatever they were.
///
/// # Errors
/// When the control plane refuses.
pub async fn put_routes(client: &Client, document: &RouteDocument) -> Result<()> {
    let etag = client.routes(None).await?.etag;
    client.put_routes(None, &etag, document).await.context("putting the routes")?;
    Ok(())
}

/// The routes of [`World`].
#[must_use]
pub fn routes() -> RouteDocument {
    RouteDocument {
        routes: vec![
            RouteRule::new("GET", "/status"),
            RouteRule::new("GET", "/invoices").scopes(["invoices:read"]),
            RouteRule::new("POST", "/invoices").scopes(["invoices:write"]),
        ],
        ..RouteDocument::default()
    }
}

/// Makes of each `async fn(Database) -> Result<()>` named a test on SQLite and one on PostgreSQL.
#[macro_export]
macro_rules! on_both_databases {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> anyhow::Result<()> {
                super::$name($crate::control_plane::Database::Sqlite).await
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> anyhow::Result<()> {
                super::$name($crate::control_plane::Database::Postgres).await
            })*
        }
    };
}
