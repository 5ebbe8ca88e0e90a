//! Beginning an epoch: its base is built outside any write transaction, from rows that no longer change.

use std::sync::Arc;
use std::time::Duration;

use nightlatch_keyset::{BaseBuilder, BaseInfo, Hash, Head};
use tokio::time::Instant;

use super::blocking;
use super::config::PublisherConfig;
use super::error::Error;
use super::image::Image;
use super::numbering::{policy_file, policy_in_force, save};
use crate::store::lease::Lease;
use crate::store::publication::{self, ChangeRow, Cut, EpochRow, Place};
use crate::store::{self, Store, Tx};

/// Rows read at a time.
const PAGE: u32 = 4096;
/// How often a long build renews the lease.
const RENEWAL: Duration = Duration::from_secs(2);

/// A base that has been built.
pub(super) struct BuiltBase {
    pub(super) bytes: Vec<u8>,
    pub(super) root: Hash,
    pub(super) keys: u64,
}

/// Builds a base from the change rows up to its version: of every key the last, but for keys that had ended before the
/// cutoff. The same rows and the same `info` give the same bytes.
///
/// # Errors
/// [`Error::Deposed`] where `lease` is given and passes to another meanwhile.
pub(super) async fn build(
    store: &Store,
    config: &PublisherConfig,
    info: BaseInfo,
    lease: Option<&Lease>,
) -> Result<BuiltBase, Error> {
    let pepper = config.pepper(&info.pepper)?;
    let (through, cutoff) = (info.version, info.cutoff);
    let mut builder = BaseBuilder::new(info)?;
    let mut keys = 0;
    let mut push = |row: &ChangeRow| -> Result<(), Error> {
        let image = Image::decode(row, pepper)?;
        if !image.ended_before(cutoff) {
            builder.push(&image.change())?;
            keys += 1;
        }
        Ok(())
    };

    let mut renewed = Instant::now();
    let mut place = Place::default();
    // The last row read of the key that the pages have reached; a later row of the same key replaces it.
    let mut latest: Option<ChangeRow> = None;
    loop {
        // A snapshot per page: rows up to this version do not change, and a long snapshot would hold up the database.
        let page = publication::changes_page(&mut store.read().await?, &config.set, through, place, PAGE).await?;
        let Some(last) = page.last() else { break };
        place = last.place();
        for row in page {
            if let Some(before) = latest.replace(row)
                && latest.as_ref().is_some_and(|now| now.key_number != before.key_number)
            {
                push(&before)?;
            }
        }
        if let Some(lease) = lease
            && renewed.elapsed() >= RENEWAL
        {
            renew(store, lease).await?;
            renewed = Instant::now();
        }
    }
    if let Some(row) = &latest {
        push(row)?;
    }
    blocking(move || {
        let (bytes, _) = builder.finish()?;
        let root = Hash::of(&bytes);
        Ok(BuiltBase { bytes, root, keys })
    })
    .await
}

async fn renew(store: &Store, lease: &Lease) -> Result<(), Error> {
    let lease = lease.clone();
    let held = store.write(move |tx| Box::pin(async move { lease.renew(tx).await })).await?;
    if held { Ok(()) } else { Err(Error::Deposed) }
}

/// What the second transaction of a cut made.
pub(super) struct Concluded {
    pub(super) head: Head,
    pub(super) note: String,
    pub(super) policy: Vec<u8>,
}

/// The second transaction of a cut: the base is built, its head is signed with the first transaction's `issued`.
pub(super) async fn conclude(
    tx: &mut Tx,
    config: Arc<PublisherConfig>,
    lease: Lease,
    cut: Cut,
    pepper: String,
    base: BaseFacts,
) -> Result<Concluded, Error> {
    let set = &config.set;
    if !lease.renew(tx).await? {
        return Err(Error::Deposed);
    }
    let state = publication::state(tx, set).await?;
    if state.version + 1 != cut.version || publication::open_cut(tx, set).await?.as_ref() != Some(&cut) {
        return Err(Error::contradiction("the cut being built is no longer the database's"));
    }
    let policy = policy_in_force(&state);
    let policy_bytes = policy_file(tx, set, &policy).await?;
    let commitment = state.commitment.then(&base.root);
    let head = Head {
        set: set.as_str().to_owned(),
        workspace: state.workspace,
        brand: state.brand,
        incarnation: cut.incarnation,
        epoch: cut.epoch,
        version: cut.version,
        commitment,
        keys: base.keys,
        base_version: cut.version,
        base_commitment: commitment,
        base_root: base.root,
        base_len: base.len,
        pepper_check: config.pepper(&pepper)?.check(),
        pepper,
        accepts_foreign: state.accepts_foreign,
        policy,
        policy_len: policy_bytes.len() as u64,
        issued: cut.issued,
        valid_until: cut.issued.saturating_add(state.validity_ms),
        skew: state.skew_ms,
    };
    let row = EpochRow {
        incarnation: cut.incarnation,
        epoch: cut.epoch,
        version: cut.version,
        commitment,
        root: base.root,
        cutoff: cut.cutoff,
        keys: base.keys,
        pepper_id: head.pepper.clone(),
        created_at: u64::try_from(tx.now().await?).map_err(|_| store::Error::Corrupt("clock"))?,
    };
    publication::finish_cut(tx, set, &row, &cut.reason).await?;
    let note = head.sign(&config.signer);
    save(tx, set, &head, &note, state.validity_ms).await?;
    Ok(Concluded { head, note, policy: policy_bytes })
}

/// What a head says of a base.
#[derive(Clone, Copy)]
pub(super) struct BaseFacts {
    pub(super) root: Hash,
    pub(super) len: u64,
    pub(super) keys: u64,
}
