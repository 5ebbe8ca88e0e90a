//! The transaction in which committed changes get their version and the head is signed.

use std::sync::Arc;

use nightlatch_keyset::{Author, Authored, FileName, Pepper};
use nightlatch_publish::head;
use nightlatch_publish::numbering::{ProfileTexts, batch};

use super::config::{PublisherConfig, Step};
use super::epoch::Epoch;
use super::error::Error;
use super::image::Image;
use super::signing::{check_state, clock, issued_without_some, policy_file, policy_in_force, save, terms};
use crate::store::audit::{Chained, chain};
use crate::store::lease::Lease;
use crate::store::publication::{self, ChangeRow};
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
    let numbered = publication::number_changes(tx, set, version, limit, columns.number).await?;
    config.reached(Step::Numbered)?;
    check_state(&state, &epoch.head)?;

    let mut rows = Vec::new();
    let mut more = false;
    if numbered > 0 {
        rows = publication::changes_of(tx, set, version).await?;
        let batch = batch(rows.iter().map(profile_texts), limit);
        if let Some(last) = batch.takes.checked_sub(1).filter(|_| batch.takes < rows.len()) {
            publication::put_back(tx, set, version, rows[last].position).await?;
            rows.truncate(batch.takes);
        }
        more = batch.more;
    }
    let imports_wait = !columns.number && publication::imports_wait(tx, set).await?;
    let issued = if more || imports_wait { issued_without_some(tx, set, now, &state).await? } else { now };

    let policy = policy_in_force(&state);
    let said_anew = !terms(&state, epoch.head.policy_len, columns.number, None).are_said_by(&epoch.head);
    if rows.is_empty() && (!(resign || said_anew) || issued == state.head_issued) {
        return Ok(Numbered { epoch, signed: None, more, imports_wait, audit: None });
    }
    let policy_bytes = if policy == epoch.head.policy { None } else { Some(policy_file(tx, set, &policy).await?) };
    let policy_len = policy_bytes.as_ref().map_or(epoch.head.policy_len, |bytes| bytes.len() as u64);
    let audit = chain(tx, &state.workspace, epoch.head.audit, config.limits.max_audit).await?;
    config.reached(Step::Chained)?;
    let terms = terms(&state, policy_len, columns.number, audit.checkpoint);
    let mut head = head::resigned(&epoch.head, &terms, issued);
    let mut delta = None;
    if !rows.is_empty() {
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
            changes: rows.len() as u64,
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
    rows: &[ChangeRow],
    signer: &Signer,
) -> Result<Authored, Error> {
    let images: Vec<_> = rows.iter().map(|row| Image::decode(row, pepper)).collect::<Result<_, store::Error>>()?;
    let changes: Vec<_> = images.iter().map(Image::change).collect();
    Ok(author.next(&changes, &[], signer)?)
}

/// What makes a row's profile.
fn profile_texts(row: &ChangeRow) -> ProfileTexts<'_> {
    ProfileTexts {
        kind: &row.kind,
        environment: &row.environment,
        tier: row.tier.as_deref().unwrap_or_default(),
        scopes: &row.scopes,
    }
}
