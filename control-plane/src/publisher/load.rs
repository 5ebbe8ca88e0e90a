//! Finding the published state again, and mending its files.
//!
//! The database decides. Every file that the stored head implies is checked against the hashes that were signed; one that
//! is missing or damaged is made again from the change rows, byte for byte, and checked likewise. Files that are ahead of
//! the database, or a history other than the database's, are never overwritten; what strangers have put there is.

use nightlatch_audit::Earlier;
use nightlatch_keyset::{AuditCheckpoint, AuditGap, Author, FileName, Hash, Head, MAX_DELTA_LEN, Replica};
use nightlatch_publish::published::{Standing, is_ahead, standing};

use super::believed::Believed;
use super::blocking;
use super::build::Watch;
use super::config::PublisherConfig;
use super::epoch::Epoch;
use super::error::Error;
use super::mend::Mender;
use super::notes::{Put, put_trust};
use super::signing::policy_file;
use crate::store::publication::{self, SetState};
use crate::store::versions::{self, EpochRow};
use crate::store::{self, Store, audit, trust};

/// What was found.
pub(super) struct Loaded {
    /// The published state; `None` before the first base.
    pub(super) epoch: Option<Epoch>,
    /// Files that had to be written again.
    pub(super) mended: Vec<String>,
    /// The audit log's checkpoint in the last signed head.
    pub(super) audit: Option<AuditCheckpoint>,
}

/// Checks the directory against the database and mends it.
pub(super) async fn load(store: &Store, config: &PublisherConfig, watch: &Watch<'_>) -> Result<Loaded, Error> {
    let (state, epochs) = {
        let mut read = store.read().await?;
        (publication::state(&mut read, &config.set).await?, versions::epochs(&mut read, &config.set).await?)
    };
    let directory = config.directory.clone();
    blocking(move || Ok(directory.create()?)).await?;
    let stored = stored_head(&state, config)?;
    let published = refuse_if_ahead(store, config, &state, stored.as_ref().map(|(head, _)| head)).await?;
    let Some((head, note)) = stored else {
        let audit = match published {
            Some(earlier) if !is_given_up(store, config, &state, &earlier).await? => Some(earlier.checkpoint),
            _ => None,
        };
        return Ok(Loaded { epoch: None, mended: Vec::new(), audit });
    };
    let (row, previous) = rows_of(&head, &epochs)?;

    let mut mender = Mender::new(store, config, watch);
    policy(&mut mender, &head).await?;
    let (index, parts) = mender.base(&head, row).await?;
    mender.record(&head, row, previous).await?;
    let for_load = head.clone();
    let author =
        blocking(move || Ok(Author::new(Replica::load(index, parts, &for_load).map_err(Error::Inapplicable)?)?))
            .await?;
    let author = mender.deltas(&head, author).await?;
    if *author.replica().commitment() != head.commitment {
        return Err(Error::contradiction("the stored versions do not lead to the stored head's commitment"));
    }
    let epoch = Epoch::new(head, note, author, row.cutoff, row.created_at)?;
    trust_file(&mut mender, epoch.head.trust).await?;
    head_file(&mut mender, &epoch.note).await?;
    let audit = epoch.head.audit;
    Ok(Loaded { epoch: Some(epoch), mended: mender.mended, audit })
}

/// Whether a recovery has said, in a signed note, that the audit log does not extend a published checkpoint. The database's
/// word that there was a recovery is not enough: who can write to it could have history forgotten that way. Nor does a note
/// speak of what was signed after the recovery that made it, however few entries that has.
async fn is_given_up(
    store: &Store,
    config: &PublisherConfig,
    state: &SetState,
    published: &Earlier,
) -> Result<bool, Error> {
    let AuditCheckpoint { count, .. } = published.checkpoint;
    let notes = audit::gap_notes(&mut store.read().await?, config.set.as_str()).await?;
    let gaps = notes.iter().filter_map(|note| AuditGap::open(note, &config.verifiers()).ok());
    // The recovery may have read another copy, of a later or an earlier head than this one: what it says of one checkpoint it
    // says of all between, as to whoever verifies an export.
    let said = |gap: AuditGap| {
        let of_this = (gap.set.as_str(), gap.incarnation) == (config.set.as_str(), state.incarnation);
        of_this && published.incarnation < gap.incarnation && gap.kept < count && count <= gap.published.count
    };
    Ok(gaps.into_iter().any(said))
}

fn stored_head(state: &SetState, config: &PublisherConfig) -> Result<Option<(Head, String)>, Error> {
    let Some(note) = &state.head else {
        // A recovery has taken the head away and raised the incarnation: the base is to be made anew.
        if state.version != 0 && state.incarnation == 0 {
            return Err(store::Error::Corrupt("head").into());
        }
        return Ok(None);
    };
    let head = Head::open(note, &config.verifiers()).map_err(Error::StoredHead)?;
    let stored = (state.incarnation, state.epoch, state.version, state.commitment);
    if head.set != config.set.as_str() || stored != (head.incarnation, head.epoch, head.version, head.commitment) {
        return Err(Error::contradiction("the stored head is not of the stored state"));
    }
    Ok(Some((head, note.clone())))
}

/// The head's epoch, and the one before.
fn rows_of<'a>(head: &Head, epochs: &'a [EpochRow]) -> Result<(&'a EpochRow, Option<&'a EpochRow>), Error> {
    let of_head = |row: &&EpochRow| (row.incarnation, row.epoch) == (head.incarnation, head.epoch);
    let at = epochs.iter().position(|row| of_head(&row)).ok_or(store::Error::Corrupt("epoch"))?;
    let row = &epochs[at];
    let stored = (row.version, row.root, row.commitment, row.rebase);
    if stored != (head.base_version, head.base_root, head.base_commitment, head.rebase.map(|(hash, _)| hash)) {
        return Err(Error::contradiction("the stored head names another base than the stored epoch"));
    }
    Ok((row, epochs.get(at + 1)))
}

/// Refuses to go on from a database that is older than what has been published. A file is written only after the
/// transaction it belongs to is committed, so any file of a later state says so, where it is not a stranger's. Returns what
/// the published head says of the audit log.
async fn refuse_if_ahead(
    store: &Store,
    config: &PublisherConfig,
    state: &SetState,
    stored: Option<&Head>,
) -> Result<Option<Earlier>, Error> {
    let directory = config.directory.clone();
    let (note, files) = blocking(move || Ok((directory.head()?, directory.list()?))).await?;
    let believed = Believed::read(store, config, state.head.as_deref()).await?;
    let published = note.as_ref().and_then(|note| believed.head(note));
    let state = (state.incarnation, state.epoch, state.version);
    match (&published, stored) {
        (Some(published), None) if (published.incarnation, published.epoch, published.version) > state => {
            return Err(Error::Ahead { what: describe(published) });
        }
        (Some(published), Some(stored)) => compare_heads(published, stored)?,
        // What the recovery was made from: the first head of the new incarnation takes its place.
        (Some(_), None) => {}
        (None, _) if note.is_some() => {
            tracing::warn!(
                "the published head is damaged, or of a key that does not sign this set, and is written again"
            );
        }
        (None, _) => {}
    }
    for name in files.into_iter().filter(|name| is_ahead(name, state)) {
        // A delta is signed. Nothing else is, beside the head that names it: as long as that is in place and does not,
        // no edge has been led there.
        let counts = match name {
            FileName::Delta { .. } => is_of_set(config, &believed, name, state).await?,
            _ => published.is_none(),
        };
        if counts {
            return Err(Error::Ahead { what: name.to_text() });
        }
        tracing::warn!(file = name.to_text(), "a file is there that no head of this set leads to, and is passed over");
    }
    Ok(note.and_then(|note| believed.checkpoint(&note)))
}

/// Whether a delta has been made for this set, for a later state than the database's.
async fn is_of_set(
    config: &PublisherConfig,
    believed: &Believed,
    name: FileName,
    state: (u64, u64, u64),
) -> Result<bool, Error> {
    let directory = config.directory.clone();
    // What cannot be read as a file is none.
    let bytes = blocking(move || Ok(directory.file(&name, MAX_DELTA_LEN as u64).ok().flatten())).await?;
    let delta = bytes.and_then(|bytes| believed.delta(&bytes));
    let info = delta.as_ref().map(|delta| delta.info());
    Ok(info.is_some_and(|info| info.set == config.set.as_str() && (info.incarnation, info.epoch, info.to) > state))
}

fn compare_heads(published: &Head, stored: &Head) -> Result<(), Error> {
    match standing(published, Some(stored)) {
        Standing::Fine => Ok(()),
        Standing::Ahead => Err(Error::Ahead { what: describe(published) }),
        Standing::OtherSet => Err(Error::contradiction("the directory holds another set")),
        Standing::OtherHistory => {
            Err(Error::contradiction("the published head has another history at the database's version"))
        }
    }
}

pub(super) fn describe(head: &Head) -> String {
    format!(
        "the published head (incarnation {}, epoch {}, version {}, issued {})",
        head.incarnation, head.epoch, head.version, head.issued
    )
}

async fn policy(mender: &mut Mender<'_>, head: &Head) -> Result<(), Error> {
    let name = head.policy_name();
    let there = mender.read(&name, head.policy_len).await?;
    if there.is_none_or(|bytes| Hash::of(&bytes) != head.policy) {
        let bytes = policy_file(&mut mender.store.read().await?, &mender.config.set, &head.policy).await?;
        mender.write(&name, bytes).await?;
    }
    Ok(())
}

/// The note that the head names comes before it.
async fn trust_file(mender: &mut Mender<'_>, version: Option<u64>) -> Result<(), Error> {
    let Some(version) = version else { return Ok(()) };
    let note = trust::note(&mut mender.store.read().await?, &mender.config.set, version).await?;
    let note = note.ok_or(store::Error::Corrupt("trust note"))?;
    if put_trust(mender.store, mender.config, version, &note).await? == Put::Written {
        mender.mended.push(super::directory::TRUST.to_owned());
    }
    Ok(())
}

async fn head_file(mender: &mut Mender<'_>, note: &str) -> Result<(), Error> {
    let (directory, note) = (mender.config.directory.clone(), note.to_owned());
    let written = blocking(move || {
        let stale = directory.head()?.as_ref() != Some(&note);
        if stale {
            directory.put_head(&note)?;
        }
        Ok(stale)
    })
    .await?;
    if written {
        mender.mended.push(super::directory::HEAD.to_owned());
    }
    Ok(())
}
