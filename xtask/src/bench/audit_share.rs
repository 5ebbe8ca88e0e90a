//! What the audit log adds to the cost of issuing a key.

use anyhow::{Context as _, Result};
use sqlx::{Connection as _, Executor as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

use super::cores::Cores;
use super::issuing::{Issuer, postgres_server};
use super::numbers::median;
use super::programs::Programs;
use super::row::{Row, Target};
use super::{Effort, say};

/// Keeps SQLite from storing what is appended: the log is a view from then on, and what is inserted there goes nowhere. The
/// statement still runs and returns a row, so what its text and its way cost is in both.
const OFF_SQLITE: &str = "ALTER TABLE audit RENAME TO audit_kept; CREATE VIEW audit AS SELECT * FROM audit_kept; \
                          CREATE TRIGGER audit_off INSTEAD OF INSERT ON audit BEGIN SELECT 1; END";
/// The same in PostgreSQL.
const OFF_POSTGRES: &str = "ALTER TABLE audit RENAME TO audit_kept; CREATE VIEW audit AS SELECT * FROM audit_kept; \
                            CREATE FUNCTION audit_off() RETURNS trigger LANGUAGE plpgsql AS \
                            'BEGIN NEW.id := 0; RETURN NEW; END'; \
                            CREATE TRIGGER audit_off INSTEAD OF INSERT ON audit FOR EACH ROW EXECUTE FUNCTION audit_off()";

/// Measures in rounds: a control plane that stores its audit rows, and one whose database drops them.
pub(super) async fn measure(programs: &Programs, cores: Cores, effort: Effort) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for postgres in if effort.quick { vec![false] } else { vec![false, true] } {
        let name = if postgres { "PostgreSQL" } else { "SQLite FULL" };
        let data = TempDir::with_prefix_in("audit-", &programs.scratch)?;
        let start = async |place: &str| -> Result<(Issuer, String)> {
            let url = if postgres { Some(postgres_server()?) } else { None };
            let home = data.path().join(place);
            let sqlite = format!("sqlite:{}", home.join("data/nightlatch.db").display());
            Ok((Issuer::start(programs, cores, &home, url.clone()).await?, url.unwrap_or(sqlite)))
        };
        let ((with, _), (without, url)) = (start("with").await?, start("without").await?);
        switch_off(&url).await.context("switching the audit log off")?;
        for issuer in [&with, &without] {
            issuer.pace(cores, effort.warm_up).await?;
        }
        let (mut paces_with, mut paces_without) = (Vec::new(), Vec::new());
        for round in 1..=effort.rounds {
            paces_with.push(with.pace(cores, effort.seconds).await?);
            paces_without.push(without.pace(cores, effort.seconds).await?);
            let last = |paces: &[f64]| paces.last().copied().unwrap_or_default();
            say(&format!(
                "round {round}: {:.0} issues/s with audit rows, {:.0} without",
                last(&paces_with),
                last(&paces_without)
            ));
        }
        let micros = |paces: &[f64]| 1_000_000.0 / median(paces);
        rows.push(
            Row::new(
                format!("a key issued, {name}: with its audit row / with that row dropped (µs)"),
                micros(&paces_with),
            )
            .against(micros(&paces_without))
            .target(Target::RatioAtMost(1.1)),
        );
    }
    Ok(rows)
}

async fn switch_off(url: &str) -> Result<()> {
    if url.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(url).await?;
        connection.execute(OFF_SQLITE).await?;
    } else {
        let mut connection = PgConnection::connect(url).await?;
        connection.execute(OFF_POSTGRES).await?;
    }
    Ok(())
}
