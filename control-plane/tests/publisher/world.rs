//! A store with a workspace and a set, and publishers of it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nightlatch::domain::import::ImportLine;
use nightlatch::domain::{Issue, Key, KeyPatch, KeyRef, Labels, Name, Scopes, SetId, Status, Tier, WorkspaceId};
use nightlatch::publisher::{KeySource, Limits, Probe, Publisher, PublisherConfig, SetDirectory, Step};
use nightlatch::secrets::Keyring;
use nightlatch::store::import::{self, Import, Imported};
use nightlatch::store::keys::KeyFilter;
use nightlatch::store::workspaces::{self, Bootstrap};
use nightlatch::store::{Context, Error, PageRequest, Store, Tx, keys, os_random};
use nightlatch_key::{Brand, Digest, Environment};
use nightlatch_keyset::Pepper;
use nightlatch_keyset::note::{Signer, Verifier};
use nightlatch_tests::postgres::ScratchDatabase;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngExt as _};
use rand_chacha::ChaCha8Rng;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

pub(crate) const HEARTBEAT_MS: i64 = 5_000;
pub(crate) const VALIDITY_MS: i64 = 60_000;
pub(crate) const SKEW_MS: i64 = 5_000;

/// Epochs end after a few versions here, so that tests see many of them.
pub(crate) fn small_limits() -> Limits {
    Limits { max_versions: 4, min_overlay: 8, pace: Duration::ZERO, ..Limits::default() }
}

/// Everything a publisher works on.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) url: String,
    pub(crate) workspace: WorkspaceId,
    pub(crate) set: SetId,
    pub(crate) directory: SetDirectory,
    pub(crate) limits: Limits,
    /// The keys that its processes hold.
    pub(crate) keys_held: Arc<Mutex<Keyring>>,
    pub(crate) temp: TempDir,
}

impl World {
    pub(crate) async fn sqlite() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", temp.path().join("nightlatch.db").display());
        Self::open(url, temp).await
    }

    pub(crate) async fn postgres() -> Self {
        let url = ScratchDatabase::create().await.unwrap().url().to_owned();
        Self::open(url, tempfile::tempdir().unwrap()).await
    }

    async fn open(url: String, temp: TempDir) -> Self {
        let store = Store::connect(&url).await.unwrap();
        let wanted = Bootstrap {
            name: "tests".into(),
            brand: Brand::new("nl").unwrap(),
            heartbeat_ms: HEARTBEAT_MS,
            validity_ms: VALIDITY_MS,
            skew_ms: SKEW_MS,
            pepper_id: "p1".into(),
            accepts_foreign: true,
        };
        let made = store
            .write(move |tx| Box::pin(async move { workspaces::bootstrap(tx, &wanted, &mut os_random).await }))
            .await;
        let (workspace, set) = made.unwrap();
        Self::with(store, url, workspace.id, set.id, temp)
    }

    /// On a database in which there is something.
    pub(crate) fn with(store: Store, url: String, workspace: WorkspaceId, set: SetId, temp: TempDir) -> Self {
        let directory = SetDirectory::new(temp.path().join("sets").join(set.as_str()));
        let pepper = |id: &str| Pepper::new(id, set.as_str(), &[id.as_bytes()[1]; 32]).unwrap();
        let keys_held = Keyring {
            signers: vec![Arc::new(Self::signer())],
            roots: Vec::new(),
            peppers: vec![pepper("p1"), pepper("p2")],
        };
        Self {
            store,
            url,
            workspace,
            set,
            directory,
            limits: small_limits(),
            keys_held: Arc::new(Mutex::new(keys_held)),
            temp,
        }
    }

    /// Copies the database as it is now. No publisher may run. Returns the copy's URL.
    pub(crate) async fn back_up(&mut self) -> String {
        if let Some(path) = self.url.strip_prefix("sqlite:") {
            let copy = format!("{path}.backup");
            self.execute(&format!("VACUUM INTO '{copy}'")).await;
            return format!("sqlite:{copy}");
        }
        // A template must not be in use.
        self.store.close().await;
        let name = self.url.rsplit('/').next().unwrap().to_owned();
        let copy = format!("{name}_backup");
        let server = format!("{}/postgres", self.url.strip_suffix(&format!("/{name}")).unwrap());
        let mut connection = PgConnection::connect(&server).await.unwrap();
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {copy} TEMPLATE {name}"))).await.unwrap();
        self.store = Store::connect(&self.url).await.unwrap();
        format!("{}/{copy}", self.url.strip_suffix(&format!("/{name}")).unwrap())
    }

    /// Goes on with that database in place of the one there was.
    pub(crate) async fn restore(&mut self, url: String) {
        self.store.close().await;
        self.store = Store::connect(&url).await.unwrap();
        self.url = url;
    }

    /// Where another process would keep its files.
    pub(crate) fn other_directory(&self) -> SetDirectory {
        SetDirectory::new(self.temp.path().join("other").join(self.set.as_str()))
    }

    /// A copy of the files as they are now.
    pub(crate) fn copy_of_files(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_files(self.directory.path(), copy.path());
        copy
    }

    pub(crate) fn signer() -> Signer {
        Signer::new("nightlatch/tests", &[7; 32]).unwrap()
    }

    pub(crate) fn verifiers() -> [Verifier; 1] {
        [Self::signer().verifier()]
    }

    pub(crate) fn pepper(&self, id: &str) -> Pepper {
        Pepper::new(id, self.set.as_str(), &[id.as_bytes()[1]; 32]).unwrap()
    }

    pub(crate) fn config(&self) -> PublisherConfig {
        PublisherConfig {
            set: self.set.clone(),
            holder: "instance-one".into(),
            signer: Arc::new(Self::signer()),
            keys: self.keys_held.lock().unwrap().clone(),
            key_source: Some(self.key_source()),
            directory: self.directory.clone(),
            limits: self.limits,
            probe: None,
        }
    }

    fn key_source(&self) -> KeySource {
        let held = Arc::clone(&self.keys_held);
        Arc::new(move || {
            let keys = held.lock().unwrap().clone();
            Box::pin(async move { Ok(keys) })
        })
    }

    /// Another process with its own files.
    pub(crate) fn other_config(&self) -> PublisherConfig {
        PublisherConfig { holder: "instance-two".into(), directory: self.other_directory(), ..self.config() }
    }

    /// Another process on the same files.
    pub(crate) fn other_config_in_place(&self) -> PublisherConfig {
        PublisherConfig { holder: "instance-two".into(), ..self.config() }
    }

    /// Another set of the same workspace and database.
    pub(crate) fn second_set(&self, id: &str) -> Self {
        let set = SetId::parse(id).unwrap();
        let pepper = |id: &str| Pepper::new(id, set.as_str(), &[id.as_bytes()[1]; 32]).unwrap();
        let keys_held = Keyring { peppers: vec![pepper("p1"), pepper("p2")], ..self.keys_held.lock().unwrap().clone() };
        let temp = tempfile::tempdir().unwrap();
        Self {
            store: self.store.clone(),
            url: self.url.clone(),
            workspace: self.workspace.clone(),
            directory: SetDirectory::new(temp.path().join(set.as_str())),
            set,
            limits: self.limits,
            keys_held: Arc::new(Mutex::new(keys_held)),
            temp,
        }
    }

    pub(crate) fn publisher(&self) -> Publisher {
        Publisher::spawn(self.store.clone(), self.config())
    }

    /// A publisher that is killed where `probe` says no.
    pub(crate) fn probed(&self, probe: impl Fn(Step) -> bool + Send + Sync + 'static) -> Publisher {
        let probe: Probe = Arc::new(probe);
        Publisher::spawn(self.store.clone(), PublisherConfig { probe: Some(probe), ..self.config() })
    }

    pub(crate) fn context(&self) -> Context {
        Context::system(self.workspace.clone(), "req")
    }

    pub(crate) async fn issue(&self, scopes: &[&str]) -> Key {
        let context = self.context();
        let issue = Issue {
            name: Name::new("a key").unwrap(),
            environment: Environment::Live,
            subject: None,
            scopes: Scopes::new(scopes.iter().copied()).unwrap(),
            tier: None,
            owner: None,
            owner_member: None,
            labels: Labels::default(),
            expires_at: None,
            rotate_by: None,
            link: None,
        };
        let issued =
            self.store.write(move |tx| Box::pin(async move { keys::issue(tx, &context, issue, &mut os_random).await }));
        issued.await.unwrap().key
    }

    pub(crate) async fn change(&self, key: &Key, how: Change) {
        let (context, key) = (self.context(), KeyRef::Id(key.id.clone()));
        self.store.write(move |tx| Box::pin(async move { how.apply(tx, &context, &key).await })).await.unwrap();
    }

    /// Imports `count` foreign keys, whose texts are `import-{number}`, in one transaction.
    pub(crate) async fn import(&self, first: u32, count: u32) {
        assert_eq!(self.try_import(first, count).await.created, u64::from(count));
    }

    /// As [`Self::import`], whatever comes of it.
    pub(crate) async fn try_import(&self, first: u32, count: u32) -> Imported {
        let lines = (first..first + count).map(|number| {
            let line = ImportLine {
                digest: Digest::of(format!("import-{number}").as_bytes()),
                name: Name::new("imported").unwrap(),
                environment: Environment::Live,
                subject: None,
                scopes: Scopes::new(["a:read"]).unwrap(),
                tier: None,
                owner: None,
                labels: Labels::default(),
                expires_at: None,
                rotate_by: None,
                weak: false,
            };
            (number - first + 1, line)
        });
        let (lines, context) = (lines.collect(), self.context());
        let peppers = self.keys_held.lock().unwrap().peppers.clone();
        let import = Import { lines, rejected: Vec::new(), strict: false, dry_run: false, body_hash: [0; 32], peppers };
        let done = self
            .store
            .write(move |tx| Box::pin(async move { import::run(tx, &context, import, &mut os_random).await }));
        done.await.unwrap()
    }

    /// Runs a statement beside the store, as an administrator or a fault might.
    pub(crate) async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.url.starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            connection.execute(sql).await.unwrap();
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            connection.execute(sql).await.unwrap();
        }
    }

    /// Bytes as a literal of the database's.
    pub(crate) fn blob(&self, hex: &str) -> String {
        if self.url.starts_with("sqlite:") { format!("x'{hex}'") } else { format!("'\\x{hex}'::bytea") }
    }

    /// The number that a query gives.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.url.starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
        }
    }

    /// All keys as the database has them.
    pub(crate) async fn keys(&self) -> Vec<Key> {
        let mut read = self.store.read().await.unwrap();
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let request = PageRequest { limit: 200, after };
            let page = keys::list(&mut read, &self.workspace, &KeyFilter::default(), &request).await.unwrap();
            all.extend(page.items.into_iter().map(|view| view.key));
            match page.next {
                Some(next) => after = Some(next),
                None => return all,
            }
        }
    }

    /// One to four random mutations, each its own transaction.
    pub(crate) async fn mutate(&self, rng: &mut ChaCha8Rng) {
        let known = self.keys().await;
        for _ in 0..rng.random_range(1..=4) {
            let usable: Vec<_> = known.iter().filter(|key| key.edge_image().status != Status::Revoked).collect();
            match (usable.choose(rng), rng.random_range(0..10)) {
                (Some(key), 0..6) => self.try_change(key, Change::random(rng)).await,
                _ => {
                    let scopes = [&["a:read"][..], &["a:read", "a:write"], &[], &["B_SENSITIVE"]];
                    self.issue(scopes.choose(rng).unwrap()).await;
                }
            }
        }
    }

    /// Changes a key, unless it refuses.
    pub(crate) async fn try_change(&self, key: &Key, how: Change) {
        let (context, key) = (self.context(), KeyRef::Id(key.id.clone()));
        // A key that an earlier mutation of the round revoked refuses others.
        drop(self.store.write(move |tx| Box::pin(async move { how.apply(tx, &context, &key).await })).await);
    }
}

/// What can be done to a key.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Disable,
    Enable,
    Revoke,
    Tier(&'static str),
    Expiry(i64),
}

impl Change {
    pub(crate) fn random(rng: &mut ChaCha8Rng) -> Self {
        match rng.random_range(0..10) {
            0..3 => Self::Disable,
            3..6 => Self::Enable,
            6 => Self::Revoke,
            7 => Self::Tier(["gold", "silver"][rng.random_range(0..2)]),
            _ => Self::Expiry(4_000_000_000 + i64::from(rng.next_u32() % 1000)),
        }
    }

    pub(crate) async fn apply(self, tx: &mut Tx, context: &Context, key: &KeyRef) -> Result<Key, Error> {
        let patch = match self {
            Self::Disable => return Ok(keys::disable(tx, context, key, None).await?.key),
            Self::Enable => return Ok(keys::enable(tx, context, key, None).await?.key),
            Self::Revoke => return Ok(keys::revoke(tx, context, key, None).await?.key),
            Self::Tier(name) => KeyPatch { tier: Some(Some(Tier::new(name)?)), ..KeyPatch::default() },
            Self::Expiry(at) => KeyPatch { expires_at: Some(Some(at)), ..KeyPatch::default() },
        };
        Ok(keys::patch(tx, context, key, None, patch).await?.key)
    }
}

/// Copies all files of a directory.
pub(crate) fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_files(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}
