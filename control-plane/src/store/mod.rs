//! The database: SQLite or PostgreSQL behind one set of functions.
//!
//! ```text
//! let mut read = store.read().await?;                       // a snapshot; dropping it ends it
//! let key = keys::get(&mut read, &workspace, &key_ref).await?;
//!
//! let issued = store.write(|tx| Box::pin(async move {       // one mutation: all of it or nothing
//!     keys::issue(tx, &context, issue, &mut os_random).await
//! })).await?;
//! ```
//!
//! Functions that only read take `&mut Read`, which a `&mut Tx` turns into by itself; functions that write take
//! `&mut Tx`, which only [`Store::write`] hands out. A mutation must do nothing but database work: on SQLite all others
//! wait for it.
//!
//! Whatever changes a key goes through one private step (`record`) that writes the row, its audit entry and, where edges
//! would see a difference, the change rows, in the same transaction.

pub mod account_reset;
pub mod accounts;
pub mod attempts;
pub mod audit;
pub mod catalogue;
mod dialect;
pub mod edges;
pub(crate) mod ended;
pub mod enrolment;
mod error;
mod forget;
pub mod gateways;
pub mod idempotency;
pub mod import;
mod key_list;
mod key_way;
pub mod keys;
mod keys_of;
pub(crate) mod lease;
pub mod links;
mod live_scopes;
mod makers;
mod management;
mod member_list;
mod member_notes;
pub mod members;
pub mod oidc_flows;
mod page;
pub mod peppers;
pub mod principals;
pub(crate) mod profile_rows;
pub mod profiles;
pub(crate) mod publication;
pub mod receipts;
mod record;
mod record_many;
pub(crate) mod recovery;
pub mod replicas;
pub mod revoke_many;
pub mod roles;
mod rotation_list;
pub mod rotations;
pub mod routes;
mod rows;
pub mod schema;
mod select;
pub mod sessions;
pub mod shared_secrets;
pub mod sign_in_guesses;
pub mod tenancy;
pub mod tokens;
pub mod touched;
pub mod trust;
pub(crate) mod tx;
pub(crate) mod versions;
pub mod walk;
pub mod workspaces;
mod writer;

use std::panic::resume_unwind;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Executor as _};
use tokio::sync::watch;

pub use error::Error;
pub use page::{Cursor, Page, PageRequest};
pub use tx::{Read, Tx};

use crate::domain::{Actor, Authority, SessionId, TokenId, WorkspaceId};
use tx::Held;
use writer::Writer;

/// How long a PostgreSQL transaction may do nothing before the server ends it.
const STALLED: Duration = Duration::from_secs(4);

/// Read connections of SQLite, and all connections of PostgreSQL.
const POOL_SIZE: u32 = 16;
/// How long a call waits for a connection, or SQLite for another process's lock.
const PATIENCE: Duration = Duration::from_secs(10);

/// One mutation: what [`Store::write`] runs.
type Work<T, E> = Box<dyn for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send>;

/// A source of random bytes: fills its argument. [`os_random`] outside tests.
pub type Random<'r> = &'r mut (dyn FnMut(&mut [u8]) + Send);

/// Fills the buffer from the operating system's random source.
///
/// # Panics
/// Where the operating system has no randomness: nothing safe can be done then.
pub fn os_random(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the operating system provides randomness");
}

/// On whose behalf a mutation happens; what its audit entry says beside the change itself.
#[derive(Clone, Debug)]
pub struct Context {
    /// The workspace everything happens in.
    pub workspace: WorkspaceId,
    /// Who acts.
    pub actor: Actor,
    /// By what they were identified, where that can be ended.
    pub shown: Option<Shown>,
    /// On whose authority: what a mutation may do is decided inside it, once it knows what it is done to.
    pub authority: Authority,
    /// Whether whoever acts has said that sensitive scopes are meant.
    pub acknowledged: bool,
    /// The request's id.
    pub request_id: String,
    /// Where the request came from: an address.
    pub source: Option<String>,
}

/// What somebody has shown to act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A management token.
    Token(TokenId),
    /// A session.
    Session(SessionId),
}

impl Context {
    /// The program itself. `request_id` says what made it act.
    pub fn system(workspace: WorkspaceId, request_id: impl Into<String>) -> Self {
        Self {
            workspace,
            actor: Actor::system(),
            shown: None,
            authority: Authority::System,
            acknowledged: false,
            request_id: request_id.into(),
            source: None,
        }
    }

    /// The member whose authority the actor has, where that is another than the actor.
    pub(crate) fn on_behalf_of(&self) -> Option<&str> {
        let member = self.authority.member()?.as_str();
        (self.actor.id != member).then_some(member)
    }

    /// The same actor in the reserved workspace. What it may do there was decided in its own.
    fn in_reserved(&self) -> Self {
        Self { workspace: WorkspaceId::reserved(), authority: Authority::System, ..self.clone() }
    }
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    backend: Backend,
    commits: watch::Sender<u64>,
    schema: i64,
}

#[derive(Clone, Debug)]
enum Backend {
    Sqlite { writer: Writer, readers: SqlitePool },
    Postgres(PgPool),
}

impl Store {
    /// Opens the database and brings its schema up to date.
    ///
    /// `url` is `sqlite:PATH` (created when missing) or `postgres://…`.
    ///
    /// # Errors
    /// [`Error::Scheme`], [`Error::Database`], [`Error::Migration`] or [`Error::SchemaTooNew`].
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::connect_with(url, &Self::migrations(url)?).await
    }

    /// As [`Store::connect`], with other migrations than this program's.
    ///
    /// # Errors
    /// As [`Store::connect`].
    pub async fn connect_with(url: &str, migrations: &Migrator) -> Result<Self, Error> {
        let commits = watch::Sender::new(0);
        let backend = if url.starts_with("sqlite:") {
            Self::open_sqlite(url, migrations, commits.clone()).await?
        } else {
            Self::open_postgres(url, migrations).await?
        };
        Ok(Self { backend, commits, schema: schema::newest(migrations) })
    }

    /// This program's migrations for a kind of database.
    ///
    /// # Errors
    /// [`Error::Scheme`] where it knows no such database.
    pub fn migrations(url: &str) -> Result<Migrator, Error> {
        if url.starts_with("sqlite:") {
            Ok(schema::of_sqlite())
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Ok(schema::of_postgres())
        } else {
            Err(Error::Scheme)
        }
    }

    /// Whether other processes may write to the database all the time; in a SQLite file only commands do, now and then.
    pub fn is_shared(&self) -> bool {
        matches!(self.backend, Backend::Postgres(_))
    }

    /// The number of the newest migration that this program knows.
    pub fn schema(&self) -> i64 {
        self.schema
    }

    /// Makes sure that the database still has what this program needs. Every mutation does.
    ///
    /// # Errors
    /// [`Error::SchemaTooNew`] where a newer version has taken it away, [`Error::Database`].
    pub async fn fits(&self) -> Result<(), Error> {
        schema::fits(&mut self.read().await?, self.schema).await
    }

    async fn open_sqlite(url: &str, migrations: &Migrator, commits: watch::Sender<u64>) -> Result<Backend, Error> {
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(PATIENCE)
            .statement_cache_capacity(256)
            .pragma("cache_size", "-65536")
            .pragma("wal_autocheckpoint", "4000");
        let mut conn = options.connect().await?;
        schema::widen_sqlite(&mut conn, migrations).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(POOL_SIZE)
            .acquire_timeout(PATIENCE)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Backend::Sqlite { writer: Writer::start(conn, commits, schema::newest(migrations)), readers })
    }

    async fn open_postgres(url: &str, migrations: &Migrator) -> Result<Backend, Error> {
        let options = PgConnectOptions::from_str(url)?
            .application_name("nightlatch")
            .statement_cache_capacity(256)
            // A process that stalls in the middle of a transaction, or is cut off from the database there, would keep its
            // locks, and with those of the lease keep every other process from leading.
            .options([("idle_in_transaction_session_timeout", STALLED.as_millis().to_string())]);
        let pool = PgPoolOptions::new()
            .max_connections(POOL_SIZE)
            .acquire_timeout(PATIENCE)
            .after_connect(|conn, _| {
                // An acknowledged mutation must survive a crash, whatever the server's default is.
                Box::pin(async move {
                    let raise = "SELECT set_config('synchronous_commit', 'on', false) \
                                 WHERE current_setting('synchronous_commit') = 'off'";
                    conn.execute(raise).await.map(drop)
                })
            })
            .connect_with(options)
            .await?;
        schema::widen_postgres(&mut *pool.acquire().await?, migrations).await?;
        Ok(Backend::Postgres(pool))
    }

    /// Opens a snapshot. On PostgreSQL it is read-only and repeatable; dropping it ends it. It holds one of a few
    /// connections: drop it before waiting for anything else.
    ///
    /// # Errors
    /// [`Error::Database`] where no connection is to be had.
    pub async fn read(&self) -> Result<Read, Error> {
        let held = match &self.backend {
            Backend::Sqlite { readers, .. } => Held::SqliteRead(readers.begin().await?),
            Backend::Postgres(pool) => {
                // In its own task: if a caller went away while its transaction begins, the pool would take the connection
                // back without knowing of it, and the next to write there would find it read-only.
                let pool = pool.clone();
                let begin = async move { pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await };
                Held::Postgres(tokio::spawn(begin).await.map_err(|_| Error::Closed)??)
            }
        };
        Ok(Read::new(held))
    }

    /// Runs one mutation: its writes are committed together if it returns `Ok`, and undone if it returns `Err` or
    /// panics. Returns after the commit. It runs to its end even if the caller stops waiting.
    ///
    /// On SQLite many mutations share a commit; on PostgreSQL each is its own transaction at READ COMMITTED, and takes row
    /// locks where two could race.
    ///
    /// # Errors
    /// Whatever `work` returns; [`Error::SchemaTooNew`] where a newer version has taken away what this program needs: it
    /// writes nothing then; [`Error::Commit`] where the commit failed; [`Error::Closed`] after [`Store::close`].
    ///
    /// # Panics
    /// Where `work` panics, in the caller.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        match &self.backend {
            Backend::Sqlite { writer, .. } => writer.write(Box::new(work)).await,
            Backend::Postgres(pool) => {
                // In its own task, so that a caller that goes away does not leave the outcome open.
                let (pool, commits) = (pool.clone(), self.commits.clone());
                match tokio::spawn(write_postgres(pool, commits, self.schema, Box::new(work))).await {
                    Ok(result) => result,
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => resume_unwind(panic),
                        Err(_) => Err(Error::Closed.into()),
                    },
                }
            }
        }
    }

    /// As [`Store::write`], for what must not get lost: where the database undoes it because it and another mutation waited
    /// for each other, it is tried again, twice at most.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn insist<T, F>(&self, work: F) -> Result<T, Error>
    where
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, Error>> + Send + Sync + 'static,
        T: Send + 'static,
    {
        let work = Arc::new(work);
        let mut again = 2;
        loop {
            let once = Arc::clone(&work);
            match self.write(move |tx| once(tx)).await {
                Err(error) if again > 0 && error.gave_way() => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "a mutation is tried again");
                    again -= 1;
                }
                other => return other,
            }
        }
    }

    /// Changes whenever a mutation that the publisher must act on has been committed by this process.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// The database clock, unix milliseconds.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn now(&self) -> Result<i64, Error> {
        self.read().await?.now().await
    }

    /// Waits for queued mutations and closes all connections, for all clones of this store.
    pub async fn close(&self) {
        match &self.backend {
            Backend::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Backend::Postgres(pool) => pool.close().await,
        }
    }
}

async fn write_postgres<T, E>(pool: PgPool, commits: watch::Sender<u64>, known: i64, work: Work<T, E>) -> Result<T, E>
where
    E: From<Error>,
{
    let transaction = pool.begin().await.map_err(Error::Database)?;
    let mut tx = Tx::new(Read::new(Held::Postgres(transaction)));
    // On an error or a panic the transaction is dropped, which rolls it back.
    schema::fits(&mut tx, known).await?;
    let value = work(&mut tx).await?;
    let publishes = tx.take_publishes();
    if let Held::Postgres(transaction) = tx.into_read().into_held() {
        transaction.commit().await.map_err(|error| Error::Commit(Arc::new(error)))?;
    }
    if publishes {
        commits.send_modify(|count| *count += 1);
    }
    Ok(value)
}
