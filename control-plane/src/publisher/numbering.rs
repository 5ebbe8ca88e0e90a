//! The transaction in which committed changes get their version and the head is signed.

use std::sync::Arc;

use nightlatch_keyset::{Delta, DeltaBuilder, FileName, Hash, Head, MAX_DELTA_LEN, Pepper, ProfileTable, Replica};

use super::config::{PublisherConfig, Step, empty_policy, empty_policy_hash};
use super::epoch::Epoch;
use super::error::Error;
use super::image::Image;
use crate::domain::SetId;
use crate::store::lease::Lease;
use crate::store::publication::{self, Cut, DeltaRow, Published, SetState};
use crate::store::{self, Read, Tx};

/// The least bytes of a changed key in a delta.
const MIN_ROW_LEN: u64 = 32;

/// What came of a numbering transaction.
pub(super) enum Outcome {
    /// Nothing has changed, and no new head was due.
    Idle(Epoch),
    /// A head is signed and stored; these files are to be written before it.
    Signed { epoch: Epoch, delta: Option<(FileName, Vec<u8>)>, policy: Option<Vec<u8>> },
    /// The changes have a version that begins an epoch; its base is to be built.
    Cut(Cut),
}

/// Numbers all committed changes as one version and signs the head that includes them.
///
/// Without changes the head is signed anew where `resign` says so, or something else in it has changed.
pub(super) async fn number(
    tx: &mut Tx,
    config: Arc<PublisherConfig>,
    lease: Lease,
    epoch: Option<Epoch>,
    resign: bool,
) -> Result<Outcome, Error> {
    let set = &config.set;
    if !lease.renew(tx).await? {
        return Err(Error::Deposed);
    }
    // The clock first, then the changes: one committed after this instant may be missing, none before it is.
    let issued = u64::try_from(tx.now().await?).map_err(|_| store::Error::Corrupt("clock"))?;
    let state = publication::state(tx, set).await?;
    if issued < state.head_issued {
        return Err(Error::ClockBehind { by_ms: state.head_issued - issued });
    }
    let version = state.version + 1;
    let changes = publication::number_changes(tx, set, version).await?;
    config.reached(Step::Numbered)?;

    let begin = |reason: &str| Cut {
        incarnation: state.incarnation,
        epoch: state.epoch + 1,
        version,
        issued,
        cutoff: (issued / 1000).saturating_sub(config.limits.retention.as_secs()),
        changes,
        reason: reason.to_owned(),
    };
    let Some(mut epoch) = epoch else {
        return cut(tx, set, begin("first")).await;
    };
    check_state(&state, &epoch.head)?;
    if let Some(reason) = epoch.cut_reason(&config.limits, changes, &state.pepper_id) {
        return cut(tx, set, begin(reason)).await;
    }
    if changes > MAX_DELTA_LEN as u64 / MIN_ROW_LEN {
        return cut(tx, set, begin("batch")).await;
    }

    let policy = policy_in_force(&state);
    let said_anew = policy != epoch.head.policy || state.accepts_foreign != epoch.head.accepts_foreign;
    if changes == 0 && (!(resign || said_anew) || issued == state.head_issued) {
        return Ok(Outcome::Idle(epoch));
    }
    let delta = if changes > 0 {
        let pepper = config.pepper(&epoch.head.pepper)?;
        match encode(tx, &config, pepper, &epoch.replica, &mut epoch.profiles).await? {
            Some(delta) => Some(delta),
            None => return cut(tx, set, begin("batch")).await,
        }
    } else {
        None
    };
    let policy_bytes = if policy == epoch.head.policy { None } else { Some(policy_file(tx, set, &policy).await?) };

    let mut head = Head {
        accepts_foreign: state.accepts_foreign,
        policy,
        policy_len: policy_bytes.as_ref().map_or(epoch.head.policy_len, |bytes| bytes.len() as u64),
        issued,
        valid_until: issued.saturating_add(state.validity_ms),
        skew: state.skew_ms,
        ..epoch.head.clone()
    };
    if let Some(delta) = &delta {
        (head.version, head.commitment) = (version, *delta.opened.to_commitment());
        // What edges will do with the file, done here before anybody sees it.
        epoch.replica.advance(std::slice::from_ref(&delta.opened), &head)?;
        head.keys = epoch.replica.len() as u64;
        let row = DeltaRow {
            incarnation: head.incarnation,
            epoch: head.epoch,
            version,
            issued,
            link: delta.link,
            commitment: head.commitment,
            changes,
        };
        publication::insert_delta(tx, set, &row).await?;
    }
    let note = head.sign(&config.signer);
    save(tx, set, &head, &note, state.validity_ms).await?;
    (epoch.head, epoch.note) = (head, note);
    let delta = delta.map(|delta| (epoch.head.delta_name(version - 1), delta.bytes));
    Ok(Outcome::Signed { epoch, delta, policy: policy_bytes })
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
    Ok(publication::save_head(tx, set, &published).await?)
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

/// A delta's file, and the same read back.
pub(super) struct EncodedDelta {
    pub(super) bytes: Vec<u8>,
    pub(super) link: Hash,
    pub(super) opened: Delta,
}

/// Makes the delta that leads `replica` to the next version from that version's rows, and gives its new profiles their
/// numbers. `None` where it is longer than a delta may be.
pub(super) async fn encode(
    read: &mut Read,
    config: &PublisherConfig,
    pepper: &Pepper,
    replica: &Replica,
    profiles: &mut ProfileTable,
) -> Result<Option<EncodedDelta>, Error> {
    let mut builder = DeltaBuilder::new(replica.set(), replica.incarnation(), replica.epoch(), replica.version())?;
    for row in publication::changes_of(read, &config.set, replica.version() + 1).await? {
        builder.push(&Image::decode(&row, pepper)?.change())?;
    }
    let (bytes, link, _) = builder.finish(profiles, replica.commitment(), &config.signer)?;
    if bytes.len() > MAX_DELTA_LEN {
        return Ok(None);
    }
    let opened = Delta::open(&bytes, &config.verifiers())?;
    Ok(Some(EncodedDelta { bytes, link, opened }))
}

fn check_state(state: &SetState, head: &Head) -> Result<(), Error> {
    let stored = (state.incarnation, state.epoch, state.version, state.commitment);
    if stored == (head.incarnation, head.epoch, head.version, head.commitment) {
        Ok(())
    } else {
        Err(Error::contradiction("the database has moved on without this leader"))
    }
}

async fn cut(tx: &mut Tx, set: &SetId, cut: Cut) -> Result<Outcome, Error> {
    publication::begin_cut(tx, set, &cut).await?;
    Ok(Outcome::Cut(cut))
}
