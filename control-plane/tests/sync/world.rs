//! A publisher of a set and jobs that copy it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nightlatch::domain::{Issue, Labels, Name, Scopes, SetId};
use nightlatch::publisher::{Limits, Publisher, PublisherConfig, SetDirectory};
use nightlatch::secrets::Keyring;
use nightlatch::store::workspaces::{self, Bootstrap};
use nightlatch::store::{Context, Store, keys, os_random};
use nightlatch::sync_job::{Source, SyncJob, SyncOptions, Target, TargetOptions};
use nightlatch_key::{Brand, Environment};
use nightlatch_keyset::note::{Signer, Verifier};
use nightlatch_keyset::{Delta, FileName, Hash, Head, MAX_DELTA_LEN, Pepper, Replica};
use nightlatch_sync::implied_files;
use tempfile::TempDir;

/// How long a test waits for what it has brought about.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A published set.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) directory: SetDirectory,
    pub(crate) temp: TempDir,
    pub(crate) set: SetId,
    context: Context,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_validity(60_000).await
    }

    pub(crate) async fn with_validity(validity_ms: i64) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::connect(&format!("sqlite:{}", temp.path().join("nightlatch.db").display())).await.unwrap();
        let wanted = Bootstrap {
            name: "tests".into(),
            brand: Brand::new("nl").unwrap(),
            heartbeat_ms: 5_000,
            validity_ms,
            skew_ms: 5_000,
            pepper_id: "p1".into(),
            accepts_foreign: true,
        };
        let made = store
            .write(move |tx| Box::pin(async move { workspaces::bootstrap(tx, &wanted, &mut os_random).await }))
            .await;
        let (workspace, set) = made.unwrap();
        let context = Context::system(workspace.id, "req");
        let directory = SetDirectory::new(temp.path().join("set"));
        Self { store, directory, temp, set: set.id, context }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    pub(crate) fn verifier() -> Verifier {
        Signer::new("nightlatch/tests", &[7; 32]).unwrap().verifier()
    }

    /// Publishes `versions` more versions of one key each, one by one.
    pub(crate) async fn publish(&self, versions: u32) -> Head {
        let publisher = self.publisher();
        publisher.flush().await.unwrap();
        for _ in 0..versions {
            let issue = Issue {
                name: Name::new("a key").unwrap(),
                environment: Environment::Live,
                subject: None,
                scopes: Scopes::new(["a:read"]).unwrap(),
                tier: None,
                owner: None,
                labels: Labels::default(),
                expires_at: None,
                rotate_by: None,
                link: None,
            };
            let context = self.context.clone();
            let issued = self
                .store
                .write(move |tx| Box::pin(async move { keys::issue(tx, &context, issue, &mut os_random).await }));
            issued.await.unwrap();
            publisher.flush().await.unwrap();
        }
        publisher.stop().await;
        self.head()
    }

    pub(crate) fn publisher(&self) -> Publisher {
        let limits = Limits { max_versions: 4, pace: Duration::ZERO, ..Limits::default() };
        let config = PublisherConfig {
            set: self.set.clone(),
            holder: "instance".into(),
            signer: Arc::new(Signer::new("nightlatch/tests", &[7; 32]).unwrap()),
            keys: Keyring {
                peppers: vec![Pepper::new("p1", self.set.as_str(), &[1; 32]).unwrap()],
                ..Keyring::default()
            },
            key_source: None,
            directory: self.directory.clone(),
            limits,
            probe: None,
        };
        Publisher::spawn(self.store.clone(), config)
    }

    pub(crate) fn head(&self) -> Head {
        Head::open(&self.directory.head().unwrap().unwrap(), &[Self::verifier()]).unwrap()
    }

    pub(crate) fn source(&self) -> Source {
        Source::open(self.path().to_str().unwrap(), None).unwrap()
    }

    /// A job from the publisher's directory to another.
    pub(crate) fn job(&self, target: &Path) -> SyncJob {
        SyncJob::new(self.source(), to_directory(target), options())
    }
}

pub(crate) fn to_directory(target: &Path) -> Target {
    Target::open(target.to_str().unwrap(), &TargetOptions::default(), true).unwrap()
}

pub(crate) fn options() -> SyncOptions {
    SyncOptions {
        roots: Vec::new(),
        verifiers: vec![World::verifier()],
        poll: Duration::from_millis(50),
        grace: None,
        check: false,
        dry_run: false,
        now: || 0,
    }
}

/// A directory holds a whole set at a head's state, and nothing half-written.
pub(crate) fn assert_holds(directory: &Path, head: &Head) {
    let directory = SetDirectory::new(directory);
    let held = Head::open(&directory.head().unwrap().expect("there is a head"), &[World::verifier()]).unwrap();
    assert_eq!(&held, head);
    let read = |name: &FileName, limit| directory.file(name, limit).unwrap().unwrap();
    assert_eq!(Hash::of(&read(&head.policy_name(), head.policy_len)), head.policy);
    let parts = head.part_names().zip(&head.base_parts).map(|(name, len)| read(&name, *len)).collect();
    let mut replica = Replica::load(read(&head.base_name(), head.base_len), parts, head).unwrap();
    let open = |name: FileName| Delta::open(&read(&name, MAX_DELTA_LEN as u64), &[World::verifier()]).unwrap();
    let deltas: Vec<_> = implied_files(head).filter(|name| matches!(name, FileName::Delta { .. })).map(open).collect();
    replica.advance(&deltas, head).unwrap();
    for (number, key) in replica.iter().enumerate() {
        key.unwrap_or_else(|error| panic!("key {number}: {error}"));
    }
    if let Some((hash, len)) = head.rebase {
        assert_eq!(Hash::of(&read(&head.rebase_name(), len)), hash);
    }
}

/// Names of the files that a head implies, as they are listed.
pub(crate) fn names_of(head: &Head) -> Vec<String> {
    let mut names: Vec<_> = implied_files(head).map(|name| name.to_text()).collect();
    names.sort();
    names
}
