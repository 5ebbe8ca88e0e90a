//! A fresh database with a workspace in it, and the calls that cases are made of.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use nightlatch::domain::rotation::{Order, Start};
use nightlatch::domain::{Actor, ActorType, Issue, KeyId, KeyRef, Labels, Name, Reason, Scopes, SetId, WorkspaceId};
use nightlatch::store::keys::{Issued, KeyView};
use nightlatch::store::rotations::Started;
use nightlatch::store::workspaces::{self, Bootstrap};
use nightlatch::store::{Context, Error, Read, Store, Tx, keys, os_random, rotations};
use nightlatch_key::{Brand, Environment};
use nightlatch_tests::postgres::ScratchDatabase;
use sqlx::AssertSqlSafe;
use tempfile::TempDir;

/// Runs each case on both databases, as a test of its own.
macro_rules! on_both {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case($crate::arena::Arena::sqlite().await).await;
                }
            )+
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case($crate::arena::Arena::postgres().await).await;
                }
            )+
        }
    };
}
pub(crate) use on_both;

/// The bound of the arena's set, in milliseconds.
pub(crate) const BOUND_MS: i64 = 65_000;

/// A store on a fresh database, with its workspace.
pub(crate) struct Arena {
    pub(crate) store: Store,
    pub(crate) workspace: WorkspaceId,
    pub(crate) set: SetId,
    pub(crate) context: Context,
    pub(crate) url: String,
    /// SQLite's directory, kept until the case ends.
    directory: Option<TempDir>,
}

impl Arena {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("nightlatch.db").display());
        Self::open(url, Some(directory)).await
    }

    pub(crate) async fn postgres() -> Self {
        let database = ScratchDatabase::create().await.unwrap();
        Self::open(database.url().to_owned(), None).await
    }

    async fn open(url: String, directory: Option<TempDir>) -> Self {
        let store = Store::connect(&url).await.unwrap();
        let wanted = bootstrap();
        let (workspace, set) = store
            .write(move |tx| Box::pin(async move { workspaces::bootstrap(tx, &wanted, &mut os_random).await }))
            .await
            .unwrap();
        let context = Context {
            actor: Actor::new(ActorType::Token, "tok_admin"),
            source: Some("192.0.2.1".to_owned()),
            ..Context::system(workspace.id.clone(), "req_1")
        };
        Self { store, workspace: workspace.id, set: set.id, context, url, directory }
    }

    /// SQLite's directory.
    pub(crate) fn directory(&self) -> Option<&std::path::Path> {
        self.directory.as_ref().map(TempDir::path)
    }

    pub(crate) async fn read(&self) -> Read {
        self.store.read().await.unwrap()
    }

    /// Runs a mutation with the arena's context.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx, Context) -> BoxFuture<'t, Result<T, Error>> + Send + 'static,
    {
        let context = self.context.clone();
        self.store.write(move |tx| work(tx, context)).await
    }

    /// Runs SQL behind the store's back: where a case needs a past that cannot be waited for.
    pub(crate) async fn execute(&self, sql: impl Into<String>) {
        let sql = AssertSqlSafe(sql.into());
        if self.url.starts_with("sqlite:") {
            use sqlx::Connection as _;
            let mut conn = sqlx::SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
            conn.close().await.unwrap();
        } else {
            use sqlx::Connection as _;
            let mut conn = sqlx::PgConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
            conn.close().await.unwrap();
        }
    }

    /// Reads one number.
    pub(crate) async fn number(&self, sql: impl Into<String>) -> i64 {
        use sqlx::Connection as _;
        let sql = AssertSqlSafe(sql.into());
        if self.url.starts_with("sqlite:") {
            let mut conn = sqlx::SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap()
        } else {
            let mut conn = sqlx::PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap()
        }
    }

    pub(crate) async fn issue(&self, request: Issue) -> Result<Issued, Error> {
        self.write(|tx, context| Box::pin(async move { keys::issue(tx, &context, request, &mut os_random).await }))
            .await
    }

    pub(crate) async fn get(&self, key: &KeyId) -> KeyView {
        keys::get(&mut self.read().await, &self.workspace, &key.clone().into()).await.unwrap()
    }

    pub(crate) async fn revoke(&self, key: &KeyId) -> keys::Changed {
        let key = KeyRef::Id(key.clone());
        let reason = Reason::new("leaked").unwrap();
        self.write(|tx, context| Box::pin(async move { keys::revoke(tx, &context, &key, Some(reason)).await }))
            .await
            .unwrap()
    }

    pub(crate) async fn rotate(&self, key: &KeyId, start: Start) -> Result<Started, Error> {
        let key = KeyRef::Id(key.clone());
        self.write(|tx, context| {
            Box::pin(async move { rotations::start(tx, &context, &key, start, &mut os_random).await })
        })
        .await
    }

    /// The clock in whole seconds, rounded down.
    pub(crate) async fn second(&self) -> i64 {
        self.store.now().await.unwrap() / 1000
    }

    /// The actions in the audit log, oldest first.
    pub(crate) async fn actions(&self) -> Vec<String> {
        use nightlatch::store::{PageRequest, audit};
        let page = PageRequest { limit: 1000, after: None };
        let list = audit::list(&mut self.read().await, &self.workspace, &audit::AuditFilter::default(), &page).await;
        list.unwrap().items.into_iter().rev().map(|entry| entry.action).collect()
    }
}

pub(crate) fn bootstrap() -> Bootstrap {
    Bootstrap {
        name: "Acme".to_owned(),
        brand: Brand::new("nl").unwrap(),
        heartbeat_ms: 5_000,
        validity_ms: 60_000,
        skew_ms: BOUND_MS - 60_000,
        pepper_id: "p1".to_owned(),
        accepts_foreign: true,
    }
}

/// A request for an ordinary key.
pub(crate) fn request(name: &str) -> Issue {
    Issue {
        name: Name::new(name).unwrap(),
        environment: Environment::Live,
        subject: None,
        scopes: Scopes::new(["invoices:read", "invoices:write"]).unwrap(),
        tier: None,
        owner: None,
        owner_member: None,
        labels: Labels::new(BTreeMap::new()).unwrap(),
        expires_at: None,
        rotate_by: None,
        link: None,
    }
}

/// A request for an ordinary rotation with an overlap of so many seconds.
pub(crate) fn overlap(seconds: i64) -> Start {
    Start {
        order: Order::IssueFirst,
        overlap_seconds: seconds,
        reason: Reason::new("quarterly").unwrap(),
        name: None,
        scopes: None,
        expires_at: None,
    }
}

/// An emergency.
pub(crate) fn revoke_first() -> Start {
    Start { order: Order::RevokeFirst, overlap_seconds: 0, ..overlap(0) }
}

/// The code of a refusal.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    match result {
        Err(Error::Refused(refusal)) => refusal.code(),
        other => panic!("refused? {other:?}"),
    }
}
