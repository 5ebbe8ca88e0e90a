//! What every transaction that signs a head has in common: the instant it is issued, the policy it names, and where it is
//! kept.

use nightlatch_keyset::{AuditCheckpoint, Hash, Head};
use nightlatch_publish::head::Terms;
use nightlatch_publish::issued;

use super::config::{empty_policy, empty_policy_hash};
use super::error::Error;
use crate::domain::SetId;
use crate::store::publication::{self, Published, SetState};
use crate::store::{self, Read, Tx, trust};

/// The database clock, to be read before the snapshot of the changes that a head is to include.
///
/// # Errors
/// [`Error::ClockBehind`] where it is behind the last head.
pub(super) async fn clock(read: &mut Read, state: &SetState) -> Result<u64, Error> {
    let now = u64::try_from(read.now().await?).map_err(|_| store::Error::Corrupt("clock"))?;
    issued::reading(now, state.head_issued).map_err(|behind| Error::ClockBehind { by_ms: behind.by_ms })
}

/// When a head is issued that leaves out committed changes: every change committed before is in it.
pub(super) async fn issued_without_some(
    read: &mut Read,
    set: &SetId,
    now: u64,
    state: &SetState,
) -> Result<u64, Error> {
    let since = publication::waiting_since(read, set).await?;
    Ok(issued::without_some(now, since, state.head_issued))
}

/// Refuses where the database's state is not the one that this leader knows.
pub(super) fn check_state(state: &SetState, head: &Head) -> Result<(), Error> {
    let stored = (state.incarnation, state.epoch, state.version, state.commitment);
    if stored == (head.incarnation, head.epoch, head.version, head.commitment) {
        Ok(())
    } else {
        Err(Error::contradiction("the database has moved on without this leader"))
    }
}

/// Stores a head and the state it signs.
pub(super) async fn save(tx: &mut Tx, set: &SetId, head: &Head, note: &str, validity_ms: u64) -> Result<(), Error> {
    let published = Published {
        incarnation: head.incarnation,
        epoch: head.epoch,
        version: head.version,
        commitment: head.commitment,
        keys: head.keys,
        note,
        issued: head.issued,
        validity_ms,
    };
    trust::note_open(tx, set, head.open_until.map_or(0, |until| until - head.issued)).await?;
    Ok(publication::save_head(tx, set, &published).await?)
}

/// What the next head says beside its state. `policy_len` is the length of the policy in force; `numbers` says whether rows
/// have a column for the numbers of imported keys; `audit` is how far the audit log is chained.
pub(super) fn terms(state: &SetState, policy_len: u64, numbers: bool, audit: Option<AuditCheckpoint>) -> Terms {
    Terms {
        validity_ms: state.validity_ms,
        skew_ms: state.skew_ms,
        policy: policy_in_force(state),
        policy_len,
        accepts_foreign: state.accepts_foreign && numbers,
        open_ms: (state.open_ms > 0).then_some(state.open_ms),
        trust: state.trust,
        audit,
    }
}

/// The policy that the next head is to name.
pub(super) fn policy_in_force(state: &SetState) -> Hash {
    state.policy.unwrap_or_else(empty_policy_hash)
}

/// The bytes of a policy, checked against its hash.
pub(super) async fn policy_file(read: &mut Read, set: &SetId, hash: &Hash) -> Result<Vec<u8>, Error> {
    let bytes = if *hash == empty_policy_hash() {
        empty_policy()
    } else {
        publication::policy(read, set, hash).await?.ok_or(store::Error::Corrupt("route policy"))?
    };
    if Hash::of(&bytes) != *hash {
        return Err(store::Error::Corrupt("route policy").into());
    }
    Ok(bytes)
}
