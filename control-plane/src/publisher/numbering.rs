//! The transaction in which committed changes get their version and the head is signed.

use std::sync::Arc;

use nightlatch_keyset::{Author, Authored, FileName, Hash, Pepper, Profile};
use nightlatch_publish::head;
use nightlatch_publish::numbering::{Texts, batch};

use super::config::{PublisherConfig, Step};
use super::epoch::Epoch;
use super::error::Error;
use super::image::Image;
use super::signing::{check_state, clock, issued_without_some, policy_file, policy_in_force, save, terms};
use crate::domain::SetId;
use crate::store::audit::{Chained, chain};
use crate::store::lease::Lease;
use crate::store::profile_rows::{self, VersionRows};
use crate::store::publication;
use crate::store::versions::{self, DeltaRow};
use crate::store::{self, Tx};
use nightlatch_keyset::note::Signer;

/// What came of a numbering transaction.
pub(super) struct Numbered {
    pub(super) epoch: Epoch,
    /// What is to be written before the head; `None` where nothing has changed, and no new head was due.
    pub(super) signed: Option<Signed>,
    /// Committed changes were left for the next version.
    pub(super) more: bool,
    /// Changes of imported keys wait until rows have a column for their numbers.
    pub(super) imports_wait: bool,
    /// What came of chaining the audit log; `None` where no head was signed.
    pub(super) audit: Option<Chained>,
}

/// Files that the signed head implies.
pub(super) struct Signed {
    pub(super) delta: Option<(FileName, Vec<u8>)>,
    pub(super) policy: Option<Vec<u8>>,
}

/// Numbers committed changes as one version, those first that were written first, and signs the head that includes them, with
/// the checkpoint of the audit log that has been chained in the same transaction.
///
/// Without changes the head is signed anew where `resign` says so, or something else in it has changed.
pub(super) async fn number(
    tx: &mut Tx,
    config: Arc<PublisherConfig>,
    lease: Lease,
    mut epoch: Epoch,
    resign: bool,
) -> Result<Numbered, Error> {
    let set = &config.set;
    if !lease.renew(tx).await? {
        return Err(Error::Deposed);
    }
    let state = publication::state(tx, set).await?.named_by(&config.signer, &epoch.head);
    // The clock first, then the changes: one committed after this instant may be missing, none before it is.
    let now = clock(tx, &state).await?;
    let (version, limit, columns) = (state.version + 1, config.limits.max_changes, epoch.columns());
    // Keys first: what the profile of a key is was committed before the key or with it.
    let mut numbered = publication::number_changes(tx, set, version, limit, columns.number).await?;
    numbered += profile_rows::number(tx, set, version, limit).await?;
    config.reached(Step::Numbered)?;
    check_state(&state, &epoch.head)?;

    let (mut rows, mut more) = (None, false);
    if numbered > 0 {
        let (fitting, left) = fitting(tx, set, version, limit).await?;
        (rows, more) = (Some(fitting), left);
    }
    let imports_wait = !columns.number && publication::imports_wait(tx, set).await?;
    let issued = if more || imports_wait { issued_without_some(tx, set, now, &state).await? } else { now };

    let policy = policy_in_force(&state);
    let said_anew = !terms(&state, epoch.head.policy_len, columns.number, None).are_said_by(&epoch.head);
    if rows.is_none() && (!(resign || said_anew) || issued == state.head_issued) {
        return Ok(Numbered { epoch, signed: None, more, imports_wait, audit: None });
    }
    let policy_bytes = if policy == epoch.head.policy { None } else { Some(policy_file(tx, set, &policy).await?) };
    let policy_len = policy_bytes.as_ref().map_or(epoch.head.policy_len, |bytes| bytes.len() as u64);
    let audit = chain(tx, &state.workspace, epoch.head.audit, config.limits.max_audit).await?;
    config.reached(Step::Chained)?;
    let terms = terms(&state, policy_len, columns.number, audit.checkpoint);
    let mut head = head::resigned(&epoch.head, &terms, issued);
    let mut delta = None;
    if let Some(rows) = rows {
        let made = author_next(&mut epoch.author, config.pepper(&epoch.head.pepper)?, &rows, &config.signer)?;
        let keys = epoch.author.replica().len() as u64;
        head = head::next_version(&epoch.head, &terms, issued, made.commitment, keys);
        let row = DeltaRow {
            incarnation: head.incarnation,
            epoch: head.epoch,
            version,
            issued,
            link: made.link,
            commitment: made.commitment,
            changes: (rows.changes.len() + rows.profiles.len()) as u64,
        };
        versions::insert_delta(tx, set, &row).await?;
        delta = Some((made.name, made.bytes));
    }
    let note = head.sign(&config.signer);
    save(tx, set, &head, &note, state.validity_ms).await?;
    (epoch.head, epoch.note) = (head, note);
    Ok(Numbered { epoch, signed: Some(Signed { delta, policy: policy_bytes }), more, imports_wait, audit: Some(audit) })
}

/// Makes the delta of level 0 that leads to the next version, from that version's rows, and goes there.
pub(super) fn author_next(
    author: &mut Author,
    pepper: &Pepper,
    rows: &VersionRows,
    signer: &Signer,
) -> Result<Authored, Error> {
    let (images, live) = images(rows, pepper)?;
    let changes: Vec<_> = images.iter().map(Image::change).collect();
    Ok(author.next(&changes, &live, signer)?)
}

/// Makes that delta again, as it was signed, and goes there. `None` where the rows do not give what was signed.
pub(super) fn author_again(
    author: &mut Author,
    pepper: &Pepper,
    rows: &VersionRows,
    link: &Hash,
    signer: &Signer,
) -> Result<Option<Authored>, Error> {
    let (images, live) = images(rows, pepper)?;
    let changes: Vec<_> = images.iter().map(Image::change).collect();
    Ok(author.again(&changes, &live, link, signer)?)
}

/// What a version's rows say of keys, and of live profiles.
fn images(rows: &VersionRows, pepper: &Pepper) -> Result<(Vec<Image>, Vec<Profile>), store::Error> {
    let decode = |row| Image::decode(row, &rows.in_force, pepper);
    let images = rows.changes.iter().map(decode).collect::<Result<_, _>>()?;
    Ok((images, rows.in_force.iter().cloned().collect()))
}

/// The rows of a version that one delta certainly takes, and whether others may be left; those that have got the version
/// and do not fit lose it again.
async fn fitting(tx: &mut Tx, set: &SetId, version: u64, limit: u32) -> Result<(VersionRows, bool), Error> {
    let rows = profile_rows::of_version(tx, set, version).await?;
    let sizes = {
        let live = rows.changes.iter().map(|row| rows.in_force.of_row(row)).collect::<Result<Vec<_>, _>>()?;
        let of_keys = rows.changes.iter().zip(&live).map(|(row, live)| match live {
            Some(profile) => {
                Texts::Live { subject: row.subject, test: row.environment != "live", bytes: bytes(profile) }
            }
            None => Texts::Interned {
                kind: &row.kind,
                environment: &row.environment,
                tier: row.tier.as_deref().unwrap_or_default(),
                scopes: &row.scopes,
            },
        });
        let of_profiles = rows.profiles.iter().map(|row| Texts::Live {
            subject: row.subject,
            test: row.environment != "live",
            bytes: row.tier.as_ref().map_or(0, String::len) + row.scopes.len() + usize::from(!row.scopes.is_empty()),
        });
        batch(of_profiles, of_keys, limit)
    };
    let (changes, profiles) = (rows.changes.len(), rows.profiles.len());
    if sizes.keys < changes {
        let after = sizes.keys.checked_sub(1).map_or(i64::MIN, |last| rows.changes[last].position);
        publication::put_back(tx, set, version, after).await?;
    }
    if sizes.profiles < profiles {
        let after = sizes.profiles.checked_sub(1).map_or(i64::MIN, |last| rows.profiles[last].position);
        profile_rows::put_back(tx, set, version, after).await?;
    }
    if (sizes.keys, sizes.profiles) == (changes, profiles) {
        return Ok((rows, sizes.more));
    }
    Ok((profile_rows::of_version(tx, set, version).await?, sizes.more))
}

/// Characters of what a profile says.
fn bytes(profile: &Profile) -> usize {
    let scopes: usize = profile.scopes.iter().map(|scope| scope.len() + 1).sum();
    profile.tier.as_ref().map_or(0, String::len) + scopes
}
