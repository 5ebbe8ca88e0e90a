//! The local stack: control plane, origin and Worker.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};
use jiff::SignedDuration;
use nightlatch_api::client::Client;
use nightlatch_api::{CreateToken, RouteDocument, RouteRule, Secret, TokenKind};
use nightlatch_tests::control_plane::{ControlPlane, ControlPlaneConfig, Database, Timing};
use nightlatch_tests::origin::Origin;
use nightlatch_tests::program::nightlatch;
use nightlatch_tests::workerd::Worker;
use serde_json::json;

use super::{keys_file, now, say, tell};

/// Short enough that nobody waits long for a bound.
const TIMING: Timing = Timing { heartbeat: 1, validity: 5, skew: 1 };
const A_DAY: SignedDuration = SignedDuration::from_hours(24);

/// Everything that runs.
pub(super) struct Stack {
    control_plane: ControlPlane,
    origin: Origin,
    worker: Worker,
    token: Secret,
    directory: PathBuf,
}

impl Stack {
    /// Starts everything on free loopback ports, with `keys` imported keys and the demo's routes.
    pub(super) async fn start(root: &Path, keys: u32) -> Result<Self> {
        let directory = root.join("target/demo");
        let data = directory.join("data");
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        fs::create_dir_all(&directory)?;
        let endpoints = directory.join("endpoints.json");
        if endpoints.exists() {
            fs::remove_file(&endpoints)?;
        }

        say("Starting a control plane (SQLite) and enrolling with its one-time token");
        let config = ControlPlaneConfig::new(Database::Sqlite).timing(TIMING).data_dir(&data);
        let control_plane = ControlPlane::start(config).await?;
        let token = day_token(control_plane.client()).await?;
        tell(&format!("listening on {}, data in {}", control_plane.url(), data.display()));
        tell(&format!(
            "a head is valid for {} s, clocks may be {} s apart: the bound is {} s",
            TIMING.validity,
            TIMING.skew,
            TIMING.bound().as_secs()
        ));

        apply_routes(control_plane.client()).await?;
        if keys > 0 {
            import(&control_plane, &token, &directory.join("keys.ndjson"), keys)?;
        }

        say("Starting an origin, and the Worker in workerd in front of it");
        let origin = Origin::start().await?;
        let worker = Worker::start(&control_plane.worker(&origin.url()).await?).await?;
        tell(&format!("the Worker listens on {}", worker.url()));

        let stack = Self { control_plane, origin, worker, token, directory };
        stack.write_endpoints(&endpoints)?;
        Ok(stack)
    }

    pub(super) fn client(&self) -> &Client {
        self.control_plane.client()
    }

    pub(super) fn edge(&self) -> &str {
        self.worker.url()
    }

    /// Ends everything in the order in which nobody is missed.
    pub(super) async fn stop(self) -> Result<()> {
        let Self { mut control_plane, origin, worker, directory, .. } = self;
        let _ = fs::remove_file(directory.join("endpoints.json"));
        drop(worker);
        drop(origin);
        tokio::task::spawn_blocking(move || control_plane.stop()).await?
    }

    /// Says where everything is.
    pub(super) fn describe(&self) {
        say("Everything stays up until Ctrl-C");
        tell(&format!("control plane  {}", self.control_plane.url()));
        tell(&format!("edge           {}", self.worker.url()));
        tell(&format!("origin         {}", self.origin.url()));
        tell(&format!("set            {}", self.control_plane.set().id));
        tell(&format!("all of it, with a management token: {}", self.directory.join("endpoints.json").display()));
        tell("routes: GET /status (any key), GET /invoices (invoices:read), POST /invoices (invoices:write)");
    }

    /// Written whole or not at all, for programs that wait for it.
    fn write_endpoints(&self, path: &Path) -> Result<()> {
        let text = json!({
            "control_plane": self.control_plane.url(),
            "edge": self.worker.url(),
            "origin": self.origin.url(),
            "token": self.token.expose(),
            "set": self.control_plane.set().id,
        });
        nightlatch_tests::file::write_private(path, format!("{text:#}\n").as_bytes())
    }
}

async fn day_token(client: &Client) -> Result<Secret> {
    let request = CreateToken {
        name: "demo".into(),
        kind: TokenKind::Management,
        set: None,
        scopes: None,
        service_account: None,
        expires_at: Some(now() + A_DAY),
    };
    Ok(client.create_token(&request).await?.secret)
}

async fn apply_routes(client: &Client) -> Result<()> {
    let current = client.routes(None).await?;
    let document = RouteDocument {
        realm: Some("demo".into()),
        developer_url: None,
        routes: vec![
            RouteRule::new("GET", "/status"),
            RouteRule::new("GET", "/invoices").scopes(["invoices:read"]),
            RouteRule::new("POST", "/invoices").scopes(["invoices:write"]),
        ],
    };
    client.put_routes(None, &current.etag, &document).await?;
    Ok(())
}

/// Imports through the command line, as an admin would.
fn import(control_plane: &ControlPlane, token: &Secret, file: &Path, keys: u32) -> Result<()> {
    say(&format!("Importing {keys} keys of an earlier system, by digest, through the API"));
    keys_file::write(file, keys)?;
    let start = Instant::now();
    let status = nightlatch()?
        .args(["keys", "import"])
        .arg(file)
        .env("NIGHTLATCH_URL", control_plane.url())
        .env("NIGHTLATCH_TOKEN", token.expose())
        .status()?;
    ensure!(status.success(), "the import failed");
    tell(&format!("imported in {:.1} s", start.elapsed().as_secs_f64()));
    Ok(())
}
