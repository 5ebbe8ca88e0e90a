//! A set as its head signs it: every file read and checked, the deltas applied.

use nightlatch_gate::policy::Policy;
use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Base, Delta, FileName, Hash, Head, MAX_DELTA_LEN, Refused, Replica, levels};

use super::Failure;
use crate::sync_job::Source;

/// A published set.
pub(super) struct Opened {
    pub(super) head: Head,
    pub(super) replica: Replica,
    /// The base by itself: what the replica began with.
    pub(super) base: Base,
    pub(super) policy: Policy,
    /// Every file that was read, and its bytes.
    pub(super) files: Vec<(FileName, u64)>,
    /// Of each delta: from, to, bytes, keys it changes or adds.
    pub(super) deltas: Vec<DeltaFacts>,
}

/// What a delta says of itself.
pub(super) struct DeltaFacts {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) bytes: u64,
    pub(super) changes: u64,
    pub(super) additions: u64,
}

impl Opened {
    /// Reads and checks everything that the place's head implies.
    pub(super) async fn read(source: Source, verifiers: &[Verifier]) -> Result<Self, Failure> {
        let head = head(&source, verifiers).await?;
        let mut files = Files { source, read: Vec::new() };
        let policy = files.get(&head.policy_name(), head.policy_len).await?;
        if Hash::of(&policy) != head.policy {
            return Err(broken(&head.policy_name(), "is not the policy that was signed"));
        }
        let policy = Policy::decode(&policy).map_err(|error| broken(&head.policy_name(), error))?;

        let index = files.get(&head.base_name(), head.base_len).await?;
        let mut parts = Vec::with_capacity(head.base_parts.len());
        for (name, len) in head.part_names().zip(&head.base_parts) {
            parts.push(files.get(&name, *len).await?);
        }
        let mut replica =
            Replica::load(index.clone(), parts.clone(), &head).map_err(|e| broken(&head.base_name(), e))?;
        let base = Base::load(index, parts, &head.base_root).map_err(|error| broken(&head.base_name(), error))?;
        base.check().map_err(|error| broken(&head.base_name(), error))?;
        if let Some((hash, len)) = head.rebase {
            let name = head.rebase_name();
            // Replicas that have no use for it do without: it may be gone.
            if let Some(bytes) = files.find(&name, len).await?
                && Hash::of(&bytes) != hash
            {
                return Err(broken(&name, "is not the record that was signed"));
            }
        }

        let (mut opened, mut deltas) = (Vec::new(), Vec::new());
        let path = levels::path(0, head.version - head.base_version);
        for (from, to) in path.map(|(from, to)| (head.base_version + from, head.base_version + to)) {
            let name = head.delta_name(from, to);
            let bytes = files.get(&name, MAX_DELTA_LEN as u64).await?;
            let delta = Delta::open(&bytes, verifiers).map_err(|error| broken(&name, error))?;
            let (changes, additions) = (delta.len() as u64, delta.additions() as u64);
            deltas.push(DeltaFacts { from, to, bytes: bytes.len() as u64, changes, additions });
            opened.push(delta);
        }
        replica.advance(&opened, &head).map_err(|error: Refused| Failure::other(format!("the deltas: {error}")))?;
        if replica.len() as u64 != head.keys {
            return Err(Failure::other(format!("the head says {} keys, its files hold {}", head.keys, replica.len())));
        }
        Ok(Self { head, replica, base, policy, files: files.read, deltas })
    }
}

/// The head of a place.
pub(super) async fn head(source: &Source, verifiers: &[Verifier]) -> Result<Head, Failure> {
    let note = source.head().await?.ok_or_else(|| Failure::other("there is no head"))?;
    Head::open(&note, verifiers).map_err(|error| Failure::other(format!("the head: {error}")))
}

fn broken(name: &FileName, what: impl std::fmt::Display) -> Failure {
    Failure::other(format!("{name}: {what}"))
}

struct Files {
    source: Source,
    read: Vec<(FileName, u64)>,
}

impl Files {
    async fn find(&mut self, name: &FileName, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
        let bytes = self.source.file(name, limit, &|_| {}).await?;
        self.read.extend(bytes.as_ref().map(|bytes| (*name, bytes.len() as u64)));
        Ok(bytes)
    }

    async fn get(&mut self, name: &FileName, limit: u64) -> Result<Vec<u8>, Failure> {
        self.find(name, limit).await?.ok_or_else(|| broken(name, "is not there"))
    }
}
