//! The control plane that most measures share, its set as large as a real one.

use std::time::Instant;

use anyhow::{Result, ensure};
use nightlatch_api::client::Client;
use nightlatch_api::{Environment, ImportOptions, IssueKey, IssuedKey, RouteDocument, RouteRule};
use nightlatch_tests::caller::Caller;
use nightlatch_tests::control_plane::{ControlPlane, ControlPlaneConfig, Database};
use nightlatch_tests::import;
use nightlatch_tests::wait::eventually;
use nightlatch_tests::world::{SOON, put_routes};
use tempfile::TempDir;

use super::cores::Cores;
use super::programs::Programs;
use super::say;
use super::workerd::Code;

/// What every measured request asks for.
pub(super) const PATH: &str = "/status";
/// The most lines an import may have.
const BATCH: u32 = 10_000;
/// Owners the imported keys are spread over.
const OWNERS: u32 = 100;
/// What every key of a bench may do.
pub(super) const SCOPE: &str = "invoices:read";

/// A control plane with many keys, on the core of the load: what is measured against it has the other for itself.
pub(super) struct Scene<'a> {
    pub(super) programs: &'a Programs,
    pub(super) cores: Cores,
    pub(super) keys: u32,
    pub(super) control_plane: ControlPlane,
    // Dropped after the control plane that keeps its data there.
    _data: TempDir,
}

impl<'a> Scene<'a> {
    /// Starts a control plane on SQLite with the product's own timing, and imports that many keys.
    pub(super) async fn start(programs: &'a Programs, cores: Cores, keys: u32) -> Result<Self> {
        let data = TempDir::with_prefix_in("scene-", &programs.scratch)?;
        let config = ControlPlaneConfig::new(Database::Sqlite)
            .program(cores.load(&programs.nightlatch))
            .data_dir(data.path().join("data"));
        let control_plane = ControlPlane::start(config).await?;
        let routes = RouteDocument { routes: vec![RouteRule::new("GET", PATH)], ..RouteDocument::default() };
        put_routes(control_plane.client(), &routes).await?;
        let scene = Self { programs, cores, keys, control_plane, _data: data };
        scene.import().await?;
        Ok(scene)
    }

    pub(super) fn client(&self) -> &Client {
        self.control_plane.client()
    }

    /// Issues a key.
    pub(super) async fn issue(&self, name: &str) -> Result<IssuedKey> {
        issue(self.client(), name).await
    }

    /// Our Worker, which gates `origin` with this control plane's set.
    pub(super) async fn edge(&self, origin: &str) -> Result<Code<'_>> {
        let config = self.control_plane.worker(origin).await?;
        Ok(Code::Edge(&self.programs.worker, config.variables().clone()))
    }

    /// Waits until the Worker at this URL lets a key through.
    pub(super) async fn let_through(&self, edge: &str, key: &IssuedKey) -> Result<()> {
        let caller = Caller::new(edge)?;
        eventually("the edge lets the key through", SOON, async || {
            let answer = caller.get(PATH, key.secret.expose()).await?;
            ensure!(matches!(answer.status, 200 | 204), "{answer:?}");
            Ok(())
        })
        .await
    }

    async fn import(&self) -> Result<()> {
        say(&format!("importing {} keys", self.keys));
        let start = Instant::now();
        for first in (0..self.keys).step_by(BATCH as usize) {
            let numbers = first..self.keys.min(first + BATCH);
            let lines: Vec<_> = numbers
                .map(|number| nightlatch_api::ImportLine {
                    scopes: vec![SCOPE.into()],
                    owner: Some(format!("team {}", number % OWNERS)),
                    ..import::by_digest(&format!("imported {number}"), &format!("key {number} of the bench"))
                })
                .collect();
            let report = self.client().import_keys(ImportOptions::default(), import::lines(&lines)?).await?;
            ensure!(report.created == lines.len() as u64, "the import took {} of {}", report.created, lines.len());
        }
        let took = start.elapsed().as_secs_f64();
        say(&format!("imported in {took:.1} s, {:.0} keys/s", f64::from(self.keys) / took));
        Ok(())
    }
}

/// Issues a key with the scope of the bench.
pub(super) async fn issue(client: &Client, name: &str) -> Result<IssuedKey> {
    let request = IssueKey { scopes: vec![SCOPE.into()], ..IssueKey::new(name, Environment::Live) };
    Ok(client.issue_key(&request).await?)
}
