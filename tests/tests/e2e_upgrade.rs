//! Control planes that are upgraded one after the other, as processes: one starts on a schema that was widened while
//! another serves, and both go on.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nightlatch_api::{Environment, IssueKey, RevokeKey};
use nightlatch_tests::control_plane::{ControlPlane, ControlPlaneConfig, Database, Timing};
use nightlatch_tests::wait::eventually;
use serde_json::Value;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;

const MASTER_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const TIMING: Timing = Timing { heartbeat: 1, validity: 60, skew: 5 };
const SOON: Duration = Duration::from_secs(60);

fn config(sets: &Path) -> ControlPlaneConfig {
    let config = ControlPlaneConfig::new(Database::Postgres).timing(TIMING);
    config.environment("NIGHTLATCH_MASTER_KEY", MASTER_KEY).argument("--sets-dir").argument(sets.display().to_string())
}

/// What a later program does when it starts.
async fn widen(url: &str) -> Result<()> {
    let directory = TempDir::with_prefix("nightlatch-migrations-")?;
    for entry in std::fs::read_dir("../control-plane/migrations/postgres")? {
        let path = entry?.path();
        std::fs::copy(&path, directory.path().join(path.file_name().context("a name")?))?;
    }
    let wider = "ALTER TABLE keys ADD COLUMN of_later BIGINT NOT NULL DEFAULT 7; \
                 ALTER TABLE members ADD COLUMN of_later TEXT; CREATE TABLE of_later (id BIGINT);";
    std::fs::write(directory.path().join("9001_wider.sql"), wider)?;
    let later = Migrator::new(directory.path()).await?;
    Ok(later.run(&mut PgConnection::connect(url).await?).await?)
}

async fn number(url: &str, sql: &str) -> Result<i64> {
    let mut connection = PgConnection::connect(url).await?;
    Ok(sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await?)
}

/// Issues a key, reads it at the other, and revokes another one there.
async fn works(at: &ControlPlane, beside: &ControlPlane, name: &str) -> Result<()> {
    for doomed in [false, true] {
        let issued = at.client().issue_key(&IssueKey::new(name, Environment::Live)).await.context("issuing")?;
        let there = beside.client().key(&issued.key.id).await.context("reading at the other")?;
        ensure!(there.value.name == name, "{there:?}");
        if doomed {
            let revoked =
                beside.client().revoke_key(&issued.key.id, &RevokeKey::new("test")).await.context("revoking")?;
            ensure!(revoked.key.id == issued.key.id, "{revoked:?}");
        }
    }
    Ok(())
}

async fn is_ready(control_plane: &ControlPlane) -> Result<()> {
    eventually("it is ready", SOON, async || {
        let answer = reqwest::get(format!("{}/readyz", control_plane.url())).await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{status} {text}");
        let ready: Value = serde_json::from_str(&text)?;
        ensure!(["leading", "standby"].contains(&ready["role"].as_str().unwrap_or_default()), "{ready}");
        Ok(())
    })
    .await
}

/// Nothing that is committed waits for a version for ever.
async fn is_published(url: &str) -> Result<()> {
    eventually("everything is published", SOON, async || {
        let waiting = number(url, "SELECT COUNT(*) FROM changes WHERE version IS NULL").await?;
        ensure!(waiting == 0, "{waiting} changes wait");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_starts_on_a_wider_schema_while_another_serves() -> Result<()> {
    let sets = TempDir::with_prefix("nightlatch-sets-")?;
    let mut first = ControlPlane::start(config(sets.path())).await?;
    let url = first.database_url().context("a database")?.to_owned();
    is_ready(&first).await?;
    works(&first, &first, "before").await?;

    // The first serves while the schema is widened, and while the second starts on it.
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let client = first.client().clone();
    let writing = tokio::spawn(async move {
        let mut written = 0;
        while !*stopped.borrow() || written < 20 {
            client.issue_key(&IssueKey::new("meanwhile", Environment::Live)).await.context("while it is upgraded")?;
            written += 1;
        }
        anyhow::Ok(written)
    });
    widen(&url).await?;
    let second = ControlPlane::join(&first, config(sets.path())).await?;
    is_ready(&second).await?;
    stop.send(true)?;
    let written = writing.await??;
    works(&first, &second, "at the first").await?;
    works(&second, &first, "at the second").await?;
    is_published(&url).await?;
    let keys = "SELECT COUNT(*) FROM keys WHERE of_later = 7 AND workspace_id <> 'ws_management'";
    ensure!(number(&url, keys).await? == written + 6, "every key has what the later program expects of it");

    // And the first may be stopped and started again beside the second, which serves alone meanwhile.
    first.stop()?;
    works(&second, &second, "alone").await?;
    first.restart().await?;
    is_ready(&first).await?;
    works(&first, &second, "again").await?;
    works(&second, &first, "again").await?;
    is_published(&url).await?;
    Ok(())
}
