//! Databases on the PostgreSQL server of the tests.

use anyhow::{Context as _, Result};
use sqlx::{Connection as _, Executor as _, PgConnection};

/// The variable that names the server: the URL of a role that may make databases. The tests' setup script sets it.
pub const SERVER: &str = "NIGHTLATCH_TEST_POSTGRES";

/// An empty database that nobody else uses. It is left behind: the server it is on lives no longer than the tests.
pub struct ScratchDatabase {
    url: String,
}

impl ScratchDatabase {
    /// Makes a database.
    ///
    /// # Errors
    /// When [`SERVER`] is not set or the server refuses.
    pub async fn create() -> Result<Self> {
        let server = std::env::var(SERVER).with_context(|| format!("{SERVER} names no PostgreSQL server"))?;
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
