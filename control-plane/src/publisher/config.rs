//! What a publisher is told once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nightlatch_gate::policy::{Draft, Policy};
use nightlatch_keyset::note::{Signer, Verifier};
use nightlatch_keyset::{Hash, Pepper};

use super::directory::SetDirectory;
use super::error::Error;
use crate::domain::SetId;

/// Which set to publish, with what, and where to.
pub struct PublisherConfig {
    /// The set.
    pub set: SetId,
    /// This process's name as holder of the lease: the instance id of its locked data directory, so that there is one
    /// process of that name.
    pub holder: String,
    /// Signs heads and deltas.
    pub signer: Signer,
    /// The peppers this process holds; the set says which is in force.
    pub peppers: Vec<Pepper>,
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

/// When a publisher does what.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long the lease lasts without being renewed.
    pub lease: Duration,
    /// The most deltas of an epoch; one more begins the next.
    pub max_deltas: u64,
    /// How many keys beside the base are always fine. Beyond, a quarter of the keys is.
    pub min_overlay: u64,
    /// How long a key that has ended stays in the set.
    pub retention: Duration,
    /// The least time between two numberings under load: it bounds how fast epochs fill up.
    pub pace: Duration,
    /// How often to look for changes that other processes have committed.
    pub poll: Duration,
    /// How long old files stay, beyond the validity and skew of the heads that named them.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            max_deltas: 256,
            min_overlay: 8192,
            retention: Duration::from_secs(400 * 24 * 3600),
            pace: Duration::from_millis(40),
            poll: Duration::from_millis(250),
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
    /// The version and its head are committed; no file of it is written.
    Signed,
    /// The policy is written.
    PolicyWritten,
    /// The delta is written.
    DeltaWritten,
    /// The cut's version is committed.
    CutBegun,
    /// The base is built, in memory.
    BaseBuilt,
    /// The cut's head is committed; the base is not written.
    CutConcluded,
    /// The base is written.
    BaseWritten,
    /// The head is written.
    HeadWritten,
    /// Superseded change rows have been deleted, perhaps not all.
    Pruned,
    /// Versions before the previous epoch have been forgotten.
    VersionsForgotten,
    /// Old files have been removed.
    Swept,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 14] = [
        Self::Leading,
        Self::Loaded,
        Self::Numbered,
        Self::Signed,
        Self::PolicyWritten,
        Self::DeltaWritten,
        Self::CutBegun,
        Self::BaseBuilt,
        Self::CutConcluded,
        Self::BaseWritten,
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

    pub(super) fn pepper(&self, id: &str) -> Result<&Pepper, Error> {
        self.peppers.iter().find(|p| p.id() == id).ok_or_else(|| Error::PepperMissing { id: id.to_owned() })
    }

    pub(super) fn verifiers(&self) -> [Verifier; 1] {
        [self.signer.verifier()]
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
