//! An independent reader of the published set: the state machine of every edge, and a memory for what it has read.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use base64ct::{Base64, Encoding as _};
use nightlatch_api::Code;
use nightlatch_api::client::{Client, ClientError};
use nightlatch_gate::policy::Policy;
use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Commitment, FileName, Hash, Head, Pepper};
use nightlatch_sync::{Edge, EdgeConfig, Offer};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::clock::now_ms;
use crate::control_plane::ControlPlane;

/// Between two looks at the head.
const PAUSE: Duration = Duration::from_millis(3);

/// What has been read so far, by all readers: the same name must always have the same bytes, and the same version the
/// same history.
#[derive(Default)]
pub(super) struct Ledger {
    files: BTreeMap<FileName, Hash>,
    histories: BTreeMap<u64, Commitment>,
    heads: u64,
}

impl Ledger {
    /// Heads read.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// Different files seen.
    pub(super) fn files(&self) -> usize {
        self.files.len()
    }

    fn saw_head(&mut self, head: &Head) -> Result<()> {
        self.heads += 1;
        for (version, commitment) in [(head.version, head.commitment), (head.base_version, head.base_commitment)] {
            let known = self.histories.entry(version).or_insert(commitment);
            ensure!(*known == commitment, "version {version} has two histories: {known} and {commitment}");
        }
        Ok(())
    }

    fn saw_file(&mut self, name: FileName, bytes: &[u8]) -> Result<()> {
        let hash = Hash::of(bytes);
        match self.files.entry(name) {
            Entry::Occupied(known) => ensure!(*known.get() == hash, "{name} has changed its bytes"),
            Entry::Vacant(place) => {
                place.insert(hash);
            }
        }
        Ok(())
    }
}

/// Where a reader reads.
pub(super) enum Source {
    /// In the control plane's data directory, which is there while the control plane is not.
    Directory(PathBuf),
    /// From the control plane.
    Http {
        /// Its client.
        api: Client,
        /// The set.
        set: String,
    },
}

impl Source {
    /// The head's text; `None` where there is none or nobody answers.
    async fn head(&self) -> Result<Option<String>> {
        let bytes = match self {
            Self::Directory(root) => read(&root.join("head"))?,
            Self::Http { api, set } => answered(api.head(set, None).await)?.flatten().map(|head| head.value),
        };
        bytes.map(|bytes| String::from_utf8(bytes).context("the head is text")).transpose()
    }

    async fn file(&self, name: &FileName) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Directory(root) => read(&root.join("files").join(name.to_text())),
            Self::Http { api, set } => answered(api.file(set, &name.to_text()).await),
        }
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Nothing is the right answer of a control plane that is down, just up, or has no such file any more.
fn answered<T>(answer: Result<T, ClientError>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(ClientError::Transport { .. }) => Ok(None),
        Err(error) if error.is(Code::NotFound) || error.is(Code::NotPublished) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A reader.
pub(super) struct Follower {
    source: Source,
    edge: Edge<Policy>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Follower {
    /// A reader that has read nothing.
    pub(super) fn new(control_plane: &ControlPlane, source: Source, ledger: &Arc<Mutex<Ledger>>) -> Result<Self> {
        let set = control_plane.set();
        let verifier = Verifier::from_vkey(&set.verifier).map_err(|error| anyhow!("the verifier: {error:?}"))?;
        let text = control_plane.pepper()?;
        let (id, encoded) = text.split_once(':').context("a pepper is id:base64")?;
        let mut secret = [0; Pepper::LEN];
        Base64::decode(encoded, &mut secret).map_err(|error| anyhow!("the pepper: {error}"))?;
        let pepper = Pepper::new(id, &set.id, &secret).map_err(|error| anyhow!("the pepper: {error:?}"))?;
        let config = EdgeConfig {
            set: set.id.clone(),
            roots: Vec::new(),
            verifiers: vec![verifier],
            peppers: vec![pepper],
            poll_ms: 0,
            room: u64::MAX,
            // However small: sets of a test hold few keys.
            rebase_from: 0,
        };
        Ok(Self { source, edge: Edge::new(config, None), ledger: Arc::clone(ledger) })
    }

    /// What it would answer from.
    pub(super) fn edge(&self) -> &Edge<Policy> {
        &self.edge
    }

    /// Where it reads.
    pub(super) fn source(&self) -> &'static str {
        match self.source {
            Source::Directory(_) => "the published directory",
            Source::Http { .. } => "the control plane",
        }
    }

    /// Reads the head and, where it is news, its files. Whatever is refused is a contradiction.
    pub(super) async fn look(&mut self) -> Result<()> {
        let Some(note) = self.source.head().await? else {
            return Ok(());
        };
        let now = self.edge.now(now_ms(), None);
        let offer = self.edge.offer(&note, now).map_err(|refusal| anyhow!("a head is refused: {refusal}\n{note}"))?;
        let Offer::News(mut attempt) = offer else {
            return Ok(());
        };
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).saw_head(attempt.head())?;
        let mut files = Vec::new();
        let mut next = 0;
        while let Some(fetch) = attempt.fetches().get(next).copied() {
            let Some(bytes) = self.source.file(&fetch.name).await? else {
                // What leads on from an older state may be gone; what the head implies may not.
                match self.edge.by_base(attempt, &fetch.name).map_err(|refusal| anyhow!("{refusal}\n{note}"))? {
                    Some(other) => (attempt, next) = (other, 0),
                    None => return self.explain_missing(&note, &fetch.name).await,
                }
                files.clear();
                continue;
            };
            next += 1;
            self.ledger.lock().unwrap_or_else(PoisonError::into_inner).saw_file(fetch.name, &bytes)?;
            files.push(bytes);
        }
        let now = self.edge.now(now_ms(), None);
        let finished = self.edge.finish(attempt, files, now, Policy::decode);
        finished.map_err(|refusal| anyhow!("files are refused: {refusal}\n{note}"))?;
        // A rebase goes on while nobody waits for it here.
        while self.edge.is_working() {
            let now = self.edge.now(now_ms(), None);
            self.edge.work(now).map_err(|refusal| anyhow!("a rebase is refused: {refusal}\n{note}"))?;
        }
        Ok(())
    }

    /// A file may be missing only where nobody answers, or where the head has gone on to another epoch meanwhile.
    async fn explain_missing(&self, note: &str, name: &FileName) -> Result<()> {
        match self.source.head().await? {
            Some(now) if now == note => {
                // The control plane may have been back by the second question.
                let again = self.source.file(name).await?;
                ensure!(again.is_some(), "the head implies {name}, which is not there\n{note}");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Reads every file there is, also those that no reader had a reason to fetch.
    pub(super) fn check_all_files(published: &Path, ledger: &Mutex<Ledger>) -> Result<()> {
        for entry in fs::read_dir(published.join("files"))? {
            let entry = entry?;
            let Ok(name) = FileName::parse(&entry.file_name().to_string_lossy()) else {
                continue;
            };
            // Removed between listing and reading: an old epoch's.
            if let Some(bytes) = read(&entry.path())? {
                ledger.lock().unwrap_or_else(PoisonError::into_inner).saw_file(name, &bytes)?;
            }
        }
        Ok(())
    }
}

/// Follows the head until `stopped`, as closely as it can.
pub(super) async fn follow(mut reader: Follower, mut stopped: watch::Receiver<()>) -> Result<Follower> {
    loop {
        reader.look().await.with_context(|| format!("read from {}", reader.source()))?;
        tokio::select! {
            () = sleep(PAUSE) => {}
            // Resolves when the sender is gone.
            _ = stopped.changed() => return Ok(reader),
        }
    }
}
