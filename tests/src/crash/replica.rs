//! Does what is published equal what the database says?

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use nightlatch_api::{Key, KeyState};
use nightlatch_gate::policy::Policy;
use nightlatch_key::Digest;
use nightlatch_keyset::Status;
use nightlatch_sync::Edge;

/// Compares each of `keys` with the published row of its digest; where those are `all` keys, their number too.
///
/// # Errors
/// With the first difference.
pub(super) fn compare(edge: &Edge<Policy>, keys: &[Key], digests: &[(String, Digest)], all: bool) -> Result<()> {
    let serving = edge.loaded().context("nothing is published")?;
    let digests: HashMap<&str, &Digest> = digests.iter().map(|(id, digest)| (id.as_str(), digest)).collect();
    for key in keys {
        let digest = digests.get(key.id.as_str()).with_context(|| format!("nobody knows {key:?}"))?;
        let found = serving.find(digest).ok().context("the replica holds nonsense")?;
        let (record, profile) = found.with_context(|| format!("{} is not published", key.id))?;
        let status = match key.state {
            KeyState::Active => Status::Active,
            KeyState::Retiring => Status::Retiring,
            KeyState::Disabled => Status::Disabled,
            KeyState::Revoked => Status::Revoked,
            // None of this run's keys lives that long.
            KeyState::Expired => anyhow::bail!("{key:?}"),
        };
        let ends = [key.expires_at, key.deadline].into_iter().flatten().min().map(|at| at.as_second() as u64);
        ensure!(
            (record.status, record.deadline, record.number, record.foreign) == (status, ends, key.number, key.imported),
            "published {record:?} of {key:?}"
        );
        ensure!(
            (&profile.scopes, &profile.tier) == (&key.scopes, &key.tier)
                && profile.environment.as_str() == key.environment.as_str()
                && profile.kind.as_str() == key.kind.as_str()
                && format!("prn_{}", record.subject) == key.principal,
            "published {profile:?} of {key:?}"
        );
    }
    let published = serving.head().keys;
    ensure!(!all || published == keys.len() as u64, "{published} keys are published, {} exist", keys.len());
    ensure!(serving.replica().len() as u64 == published, "the head counts other keys than its files hold");
    Ok(())
}
