//! What a publisher is told once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use nightlatch_gate::policy::{Draft, Policy};
use nightlatch_keyset::note::{Signer, Verifier};
use nightlatch_keyset::{Hash, Pepper};

use super::directory::SetDirectory;
use super::error::Error;
use crate::domain::SetId;
use crate::secrets::{Keyring, SecretsError};

/// Which set to publish, with what, and where to.
pub struct PublisherConfig {
    /// The set.
    pub set: SetId,
    /// This process's name as holder of the lease: the instance id of its locked data directory, so that there is one
    /// process of that name.
    pub holder: String,
    /// Signs heads and deltas: the key that the current epoch is signed with.
    pub signer: Arc<Signer>,
    /// All keys that this process holds; the set says which signs, and which pepper is in force.
    pub keys: Keyring,
    /// Where to look for keys that the set names and this process does not hold yet; `None` where there are no others.
    pub key_source: Option<KeySource>,
    /// Where the files go.
    pub directory: SetDirectory,
    /// When to cut, how often to look.
    pub limits: Limits,
    /// Called after every step; `None` outside tests.
    pub probe: Option<Probe>,
}

impl fmt::Debug for PublisherConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublisherConfig").field("set", &self.set).field("holder", &self.holder).finish_non_exhaustive()
    }
}

/// Reads the keys anew.
pub type KeySource = Arc<dyn Fn() -> BoxFuture<'static, Result<Keyring, SecretsError>> + Send + Sync>;

/// When a publisher does what.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long the lease lasts without being renewed: with a quarter of it, in which others look, the longest time
    /// without a leader.
    pub lease: Duration,
    /// The most change rows that one version takes; the rest follow in later ones, so that no transaction is long.
    pub max_changes: u32,
    /// How many keys beside the base are always fine. Beyond, an eighth of the keys is.
    pub min_overlay: u64,
    /// What the smallest edge holds, in bytes: where base and changes come to more, but the base alone would fit, an epoch
    /// begins earlier.
    pub edge_memory: u64,
    /// The most entries of the audit log that one transaction chains.
    pub max_audit: u32,
    /// How long somebody may hold the audit log's chain before a person should look.
    pub audit_held: Duration,
    /// How many bytes of deltas are always fine. Beyond, as many as the base has.
    pub min_delta_bytes: u64,
    /// The most versions of an epoch beside its base.
    pub max_versions: u64,
    /// After this an epoch with changes ends, so that keys leave which are past their retention.
    pub max_age: Duration,
    /// How long a key that has ended stays in the set.
    pub retention: Duration,
    /// The least time between two numberings under load.
    pub pace: Duration,
    /// How often to look for changes that other processes have committed.
    pub poll: Duration,
    /// How far behind an edge may be, within an epoch, and still find the deltas that lead on from where it is.
    pub catch_up: Duration,
    /// How long the files of the epoch before stay at least: an edge that is no further behind ends that epoch and makes
    /// the next base by itself.
    pub lag: Duration,
    /// How long old files stay, beyond the validity and skew of the heads that named them.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(6),
            max_changes: 32_768,
            max_audit: 2_048,
            audit_held: Duration::from_secs(30),
            min_overlay: 65_536,
            edge_memory: 100 << 20,
            min_delta_bytes: 4 << 20,
            max_versions: 1 << 16,
            max_age: Duration::from_secs(24 * 3600),
            retention: Duration::from_secs(400 * 24 * 3600),
            pace: Duration::from_millis(40),
            poll: Duration::from_millis(250),
            catch_up: Duration::from_secs(24 * 3600),
            lag: Duration::from_secs(3600),
            grace: Duration::from_secs(60),
        }
    }
}

/// A point that a publisher passes. What happens if it is killed there is tested at every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// The lease is held.
    Leading,
    /// The stored head's files have been checked.
    Loaded,
    /// Inside the transaction: changes have a number, nothing is committed.
    Numbered,
    /// Inside the transaction: entries of the audit log have a number, nothing is committed.
    Chained,
    /// The version and its head are committed; no file of it is written.
    Signed,
    /// The policy is written.
    PolicyWritten,
    /// The version's own delta is written.
    DeltaWritten,
    /// The deltas of higher levels that end at the version are written.
    LevelsWritten,
    /// The next base is made, in memory.
    BaseBuilt,
    /// In the background, another page of change rows has been read.
    PageRead,
    /// In the background, a base has been built from the database and brought to the current version.
    BackgroundBuilt,
    /// The new epoch's head is committed; no file of it is written.
    CutConcluded,
    /// The base's index is written.
    IndexWritten,
    /// The base's parts are written.
    PartsWritten,
    /// The rebase record is written, where there is one.
    RecordWritten,
    /// The head is written.
    HeadWritten,
    /// Superseded change rows have been deleted, perhaps not all.
    Pruned,
    /// Versions before the previous epoch have been forgotten.
    VersionsForgotten,
    /// Old files have been removed, perhaps not all.
    Swept,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 19] = [
        Self::Leading,
        Self::Loaded,
        Self::Numbered,
        Self::Chained,
        Self::Signed,
        Self::PolicyWritten,
        Self::DeltaWritten,
        Self::LevelsWritten,
        Self::BaseBuilt,
        Self::PageRead,
        Self::BackgroundBuilt,
        Self::CutConcluded,
        Self::IndexWritten,
        Self::PartsWritten,
        Self::RecordWritten,
        Self::HeadWritten,
        Self::Pruned,
        Self::VersionsForgotten,
        Self::Swept,
    ];
}

/// Says at a step whether to go on. A publisher that is told not to ends at once, as if killed.
pub type Probe = Arc<dyn Fn(Step) -> bool + Send + Sync>;

impl PublisherConfig {
    pub(super) fn reached(&self, step: Step) -> Result<(), Error> {
        match &self.probe {
            Some(probe) if !probe(step) => Err(Error::Probe(step)),
            _ => Ok(()),
        }
    }

    /// The same with other keys.
    pub(super) fn with_keys(&self, signer: Arc<Signer>, keys: Keyring) -> Self {
        Self {
            set: self.set.clone(),
            holder: self.holder.clone(),
            signer,
            keys,
            key_source: self.key_source.clone(),
            directory: self.directory.clone(),
            limits: self.limits,
            probe: self.probe.clone(),
        }
    }

    pub(super) fn pepper(&self, id: &str) -> Result<&Pepper, Error> {
        self.keys.peppers.iter().find(|p| p.id() == id).ok_or_else(|| Error::PepperMissing { id: id.to_owned() })
    }

    /// Those who may have signed what this process finds published.
    pub(super) fn verifiers(&self) -> Vec<Verifier> {
        let held = self.keys.signers.iter().filter(|signer| !Arc::ptr_eq(signer, &self.signer));
        std::iter::once(&self.signer).chain(held).map(|signer| signer.verifier()).collect()
    }
}

/// The policy that is in force before there is a route document: it has no routes, so everything is refused.
pub fn empty_policy() -> Vec<u8> {
    Policy::new(Draft::new("nightlatch")).map(|policy| policy.encode()).unwrap_or_default()
}

/// The hash of [`empty_policy`].
pub(super) fn empty_policy_hash() -> Hash {
    Hash::of(&empty_policy())
}
