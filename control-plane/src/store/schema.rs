//! The database's schema: widened at a start, narrowed only when nobody runs who needs what goes.
//!
//! Several processes of different versions may use one database while they are upgraded one after the other. So a start
//! applies migrations that only add: an older process beside it goes on as if nothing had been, and one that starts later
//! ignores migrations that it does not know. A migration that takes something away is named `contract_…`; no start applies
//! it, but `nightlatch schema contract`, when every process that runs knows it. It raises the floor to its own number, and a
//! program that does not know that number refuses to start.

use sqlx::migrate::{Migrate as _, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use super::replicas::{self, ALIVE_MS, Replica};
use super::tx::sql;
use super::{Error, Read, Tx, dialect};

/// The advisory lock of those who announce themselves and those who narrow the schema.
const SLOT: i64 = 0x006e_6967_6874_6c63;
/// Where sqlx keeps what it has applied.
const APPLIED: &str = "_sqlx_migrations";
/// What the name of a migration begins with that takes something away, as sqlx reads `0042_contract_….sql`.
const CONTRACT: &str = "contract ";

/// The migrations that this program has for SQLite.
pub fn of_sqlite() -> Migrator {
    sqlx::migrate!("migrations/sqlite")
}

/// The migrations that this program has for PostgreSQL.
pub fn of_postgres() -> Migrator {
    sqlx::migrate!("migrations/postgres")
}

/// The newest schema that knows these migrations.
pub(super) fn newest(all: &Migrator) -> i64 {
    all.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// Those that only add. What a newer program has applied beside them is none of their business.
fn widening(all: &Migrator) -> Migrator {
    let only_add = all.iter().filter(|migration| !migration.description.starts_with(CONTRACT)).cloned();
    Migrator { migrations: only_add.collect::<Vec<_>>().into(), ignore_missing: true, ..Migrator::DEFAULT }
}

/// Brings a SQLite database up to date, in one transaction: of two processes that start at once, one does.
pub(super) async fn widen_sqlite(conn: &mut SqliteConnection, all: &Migrator) -> Result<(), Error> {
    let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
    let sql = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_floor'";
    let (exists,): (i64,) = sqlx::query_as(sql).fetch_one(&mut *transaction).await?;
    if exists > 0 {
        let (floor,): (i64,) = sqlx::query_as("SELECT version FROM schema_floor").fetch_one(&mut *transaction).await?;
        admit(floor, newest(all))?;
    }
    widening(all).run(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

/// Brings a PostgreSQL database up to date. sqlx holds an advisory lock meanwhile: of two processes that start at once, one
/// does and the other finds it done.
pub(super) async fn widen_postgres(conn: &mut PgConnection, all: &Migrator) -> Result<(), Error> {
    let sql = "SELECT to_regclass('schema_floor') IS NOT NULL";
    let (exists,): (bool,) = sqlx::query_as(sql).fetch_one(&mut *conn).await?;
    if exists {
        let (floor,): (i64,) = sqlx::query_as("SELECT version FROM schema_floor").fetch_one(&mut *conn).await?;
        admit(floor, newest(all))?;
    }
    Ok(widening(all).run(conn).await?)
}

fn admit(floor: i64, known: i64) -> Result<(), Error> {
    if floor > known { Err(Error::SchemaTooNew { floor, known }) } else { Ok(()) }
}

/// The oldest schema that a program may know and still use the database.
///
/// # Errors
/// [`Error::Database`].
pub async fn floor(read: &mut Read) -> Result<i64, Error> {
    Ok(sql!(read, "SELECT version FROM schema_floor" => one (i64,))?.0)
}

/// Makes sure that a program of this schema may use the database now.
///
/// # Errors
/// [`Error::SchemaTooNew`], [`Error::Database`].
pub(super) async fn fits(read: &mut Read, known: i64) -> Result<(), Error> {
    admit(floor(read).await?, known)
}

/// Makes sure that a program of this schema may use the database, and that this stays so until the mutation ends.
pub(super) async fn hold(tx: &mut Tx, known: i64) -> Result<(), Error> {
    dialect::lock_slot(tx, SLOT).await?;
    fits(tx, known).await
}

/// What is to be narrowed, and what is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Narrowing {
    /// The migrations that take something away and have not been applied: number and name.
    pub pending: Vec<(i64, String)>,
    /// Processes that run and would break.
    pub in_the_way: Vec<Replica>,
    /// Whether it was done.
    pub done: bool,
}

/// Applies the migrations that take something away, where nobody runs who does not know them; all of them or none.
///
/// # Errors
/// [`Error::Database`], [`Error::Migration`].
pub async fn narrow(url: &str, all: &Migrator, dry_run: bool) -> Result<Narrowing, Error> {
    macro_rules! narrow {
        ($connection:ty, $begin:expr, $lock:expr, $now:expr) => {{
            let mut conn = <$connection>::connect(url).await?;
            let mut transaction = conn.begin_with($begin).await?;
            sqlx::query($lock).execute(&mut *transaction).await?;
            let applied = transaction.list_applied_migrations(APPLIED).await?;
            let pending: Vec<_> = all
                .iter()
                .filter(|one| one.description.starts_with(CONTRACT))
                .filter(|one| applied.iter().all(|done| done.version != one.version))
                .collect();
            let to = pending.iter().map(|one| one.version).max().unwrap_or_default();
            let (now,): (i64,) = sqlx::query_as($now).fetch_one(&mut *transaction).await?;
            let in_the_way: Vec<Replica> = sqlx::query_as(replicas::IN_THE_WAY)
                .bind(to)
                .bind(now - ALIVE_MS)
                .bind(now)
                .fetch_all(&mut *transaction)
                .await?;
            let done = !dry_run && in_the_way.is_empty() && !pending.is_empty();
            if done {
                for one in &pending {
                    transaction.apply(APPLIED, one).await?;
                }
                let raise = "UPDATE schema_floor SET version = $1 WHERE version < $1";
                sqlx::query(raise).bind(to).execute(&mut *transaction).await?;
                transaction.commit().await?;
            } else {
                transaction.rollback().await?;
            }
            let pending = pending.iter().map(|one| (one.version, one.description.to_string())).collect();
            Ok(Narrowing { pending, in_the_way, done })
        }};
    }
    if url.starts_with("sqlite:") {
        let now = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)";
        // There is one writer: the transaction itself is the lock.
        narrow!(SqliteConnection, "BEGIN IMMEDIATE", "SELECT 1", now)
    } else {
        let now = "SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)";
        let lock = AssertSqlSafe(format!("SELECT pg_advisory_xact_lock({SLOT})"));
        narrow!(PgConnection, "BEGIN", lock, now)
    }
}
