//! Keys issued a second, by a control plane that has one core.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nightlatch_tests::control_plane::{ControlPlane, ControlPlaneConfig, Database};
use nightlatch_tests::file::write_private;
use tempfile::TempDir;

use super::cores::Cores;
use super::numbers::median;
use super::programs::Programs;
use super::row::{Row, Target};
use super::scene::SCOPE;
use super::wrk::Load;
use super::{Effort, say};
use crate::node_tools::repository_root;
use crate::tools::ensure_postgres;

const CLIENTS: u32 = 64;
/// How long single flushes are counted.
const FLUSHING: Duration = Duration::from_millis(500);

/// Measures in rounds: flushes to the same disk one by one, issues on SQLite and, unless it is to be quick, on PostgreSQL.
pub(super) async fn measure(programs: &Programs, cores: Cores, effort: Effort) -> Result<Vec<Row>> {
    let data = TempDir::with_prefix_in("issuing-", &programs.scratch)?;
    let sqlite = Issuer::start(programs, cores, &data.path().join("sqlite"), None).await?;
    let postgres = match effort.quick {
        true => None,
        false => Some(Issuer::start(programs, cores, &data.path().join("postgres"), Some(postgres_server()?)).await?),
    };
    for issuer in [Some(&sqlite), postgres.as_ref()].into_iter().flatten() {
        issuer.pace(cores, effort.warm_up).await?;
    }
    let (mut flushes, mut on_sqlite, mut on_postgres) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=effort.rounds {
        flushes.push(flushes_per_second(data.path())?);
        on_sqlite.push(sqlite.pace(cores, effort.seconds).await?);
        if let Some(postgres) = &postgres {
            on_postgres.push(postgres.pace(cores, effort.seconds).await?);
        }
        let last = |values: &[f64]| values.last().copied().unwrap_or_default();
        say(&format!(
            "round {round}: {:.0} flushes/s, {:.0} issues/s on SQLite, {:.0} on PostgreSQL",
            last(&flushes),
            last(&on_sqlite),
            last(&on_postgres)
        ));
    }
    let flushes = median(&flushes);
    let mut rows = vec![
        Row::new(
            format!("keys issued, {CLIENTS} clients, one core, SQLite FULL / single flushes of the disk (per s)"),
            median(&on_sqlite),
        )
        .against(flushes)
        .target(Target::AtLeast(1_000.0)),
    ];
    if postgres.is_some() {
        rows.push(
            Row::new(
                format!("keys issued, {CLIENTS} clients, PostgreSQL on the load's core / single flushes (per s)"),
                median(&on_postgres),
            )
            .against(flushes),
        );
    }
    Ok(rows)
}

/// A control plane that issues keys.
pub(super) struct Issuer {
    control_plane: ControlPlane,
    script: std::path::PathBuf,
}

impl Issuer {
    pub(super) async fn start(
        programs: &Programs,
        cores: Cores,
        data: &Path,
        postgres: Option<String>,
    ) -> Result<Self> {
        fs::create_dir_all(data)?;
        // The database of the configuration decides only whether one is made for tests, which do not flush.
        let mut config = ControlPlaneConfig::new(Database::Sqlite)
            .program(cores.server(&programs.nightlatch))
            .data_dir(data.join("data"));
        if let Some(url) = postgres {
            config = config.environment("DATABASE_URL", url);
        }
        let control_plane = ControlPlane::start(config).await?;
        let script = data.join("issue.lua");
        let body = format!(r#"{{"name":"issued by the bench","environment":"live","scopes":["{SCOPE}"]}}"#);
        let text = format!(
            "wrk.method = 'POST'\nwrk.body = '{body}'\nwrk.headers['Content-Type'] = 'application/json'\n\
             wrk.headers['Authorization'] = 'Bearer {}'\n",
            control_plane.token()
        );
        write_private(&script, text.as_bytes())?;
        Ok(Self { control_plane, script })
    }

    /// Issues a second, over some seconds.
    pub(super) async fn pace(&self, cores: Cores, seconds: u32) -> Result<f64> {
        let load = Load {
            cores,
            url: format!("{}/v1/keys", self.control_plane.url()),
            connections: CLIENTS,
            headers: Vec::new(),
            script: Some(&self.script),
        };
        Ok(load.run(seconds).await?.per_second)
    }
}

/// A PostgreSQL server that flushes its log, unlike the one of the tests. It ends with this process.
pub(super) fn postgres_server() -> Result<String> {
    ensure_postgres()?;
    let output = Command::new(repository_root().join("tests/postgres.sh"))
        .arg(std::process::id().to_string())
        .env("NIGHTLATCH_POSTGRES_FLUSH", "on")
        .output()
        .context("running tests/postgres.sh")?;
    ensure!(output.status.success(), "tests/postgres.sh failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Pages written and flushed a second, one after the other: what a database without group commit could do at most.
fn flushes_per_second(directory: &Path) -> Result<f64> {
    let path = directory.join("flushes");
    let mut file = File::create(&path)?;
    let (page, start) = ([7; 4_096], Instant::now());
    let mut count = 0_u32;
    while start.elapsed() < FLUSHING {
        file.write_all(&page)?;
        file.sync_data()?;
        count += 1;
    }
    let per_second = f64::from(count) / start.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(per_second)
}
