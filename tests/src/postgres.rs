//! Databases on the PostgreSQL server of the tests.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use sqlx::{Connection as _, Executor as _, PgConnection};

/// The variable that names the server: the URL of a role that may make databases. The tests' setup script sets it; where
/// it is unset, a server of this process's own is started and lives as long as the process.
pub const SERVER: &str = "NIGHTLATCH_TEST_POSTGRES";

/// An empty database that nobody else uses. It is left behind: the server it is on lives no longer than the tests.
pub struct ScratchDatabase {
    url: String,
}

impl ScratchDatabase {
    /// Makes a database.
    ///
    /// # Errors
    /// When there is no server or it refuses.
    pub async fn create() -> Result<Self> {
        let server = tokio::task::spawn_blocking(server).await??;
        let mut connection = PgConnection::connect(&server).await.context("connecting to the tests' PostgreSQL")?;
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let name = format!("e2e_{:016x}", u64::from_le_bytes(random));
        connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
        connection.close().await?;
        let mut url = reqwest::Url::parse(&server)?;
        url.set_path(&name);
        Ok(Self { url: url.into() })
    }

    /// What `DATABASE_URL` is set to.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// The server's URL; starts a server where nobody did.
fn server() -> Result<String> {
    static OWN: Mutex<Option<String>> = Mutex::new(None);
    if let Ok(server) = std::env::var(SERVER) {
        return Ok(server);
    }
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = &*own {
        return Ok(server.clone());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres.sh");
    let output = Command::new(&script).arg(std::process::id().to_string()).output();
    let output = output.with_context(|| format!("running {}", script.display()))?;
    ensure!(output.status.success(), "{} failed: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    Ok(own.insert(String::from_utf8(output.stdout)?.trim().to_owned()).clone())
}
