//! The transaction that begins an epoch: its base is made, in memory; the head that names it is signed.

use std::sync::Arc;

use nightlatch_keyset::{AuditCheckpoint, BaseFiles, BaseInfo, Commitment, Hash, Head, Layout};

use super::config::PublisherConfig;
use super::error::Error;
use super::reason::CutReason;
use super::signing::{clock, issued_without_some, policy_file, policy_in_force, save};
use crate::store::Tx;
use crate::store::audit::{Chained, chain};
use crate::store::lease::Lease;
use crate::store::publication;
use crate::store::trust;
use crate::store::versions::{self, EpochRow};

/// A base that has been made and not been published.
pub(super) struct Made {
    pub(super) files: BaseFiles,
    /// Leads replicas of the epoch before to this base.
    pub(super) record: Option<Vec<u8>>,
    pub(super) facts: Facts,
}

/// What a head and the database say of a base.
#[derive(Clone)]
pub(super) struct Facts {
    pub(super) info: BaseInfo,
    pub(super) layout: Layout,
    pub(super) reason: CutReason,
    root: Hash,
    keys: u64,
    len: u64,
    parts: Vec<u64>,
    record: Option<(Hash, u64)>,
}

impl Made {
    pub(super) fn new(
        info: BaseInfo,
        layout: Layout,
        reason: CutReason,
        files: BaseFiles,
        record: Option<Vec<u8>>,
    ) -> Self {
        let facts = Facts {
            info,
            layout,
            reason,
            root: files.root,
            keys: files.keys,
            len: files.index.len() as u64,
            parts: files.parts.iter().map(|part| part.len() as u64).collect(),
            record: record.as_ref().map(|record| (Hash::of(record), record.len() as u64)),
        };
        Self { files, record, facts }
    }

    /// The same, for replicas to fetch whole.
    pub(super) fn without_record(self) -> Self {
        Self { record: None, facts: Facts { record: None, ..self.facts }, ..self }
    }
}

/// What a base follows on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// The commitment of the version before; `None` where the database's counts, whatever it is.
    pub(super) commitment: Option<Commitment>,
    /// The audit log's checkpoint in the last signed head.
    pub(super) audit: Option<AuditCheckpoint>,
}

/// What the transaction made.
pub(super) struct Concluded {
    pub(super) head: Head,
    pub(super) note: String,
    pub(super) policy: Vec<u8>,
    /// The database clock, unix milliseconds.
    pub(super) begun: u64,
    /// What came of chaining the audit log.
    pub(super) audit: Chained,
}

/// Makes a base the next version, and signs its head. It has no changes: those that are committed meanwhile come later.
///
/// # Errors
/// [`Error::SignerChanged`] where another key has been named to sign since this leader took its keys.
pub(super) async fn conclude(
    tx: &mut Tx,
    config: Arc<PublisherConfig>,
    lease: Lease,
    base: Facts,
    before: Before,
) -> Result<Concluded, Error> {
    let set = &config.set;
    if !lease.renew(tx).await? {
        return Err(Error::Deposed);
    }
    let state = publication::state(tx, set).await?;
    // The trust note in force lists the key that the set names. Another's base under that note would be believed by nobody.
    if state.signer.as_ref().is_some_and(|vkey| *vkey != config.signer.verifier().to_vkey()) {
        return Err(Error::SignerChanged);
    }
    let info = &base.info;
    let next = (state.incarnation, state.epoch + 1, state.version + 1);
    if next != (info.incarnation, info.epoch, info.version)
        || before.commitment.is_some_and(|before| before != state.commitment)
    {
        return Err(Error::contradiction("the database has moved on without this leader"));
    }
    let now = clock(tx, &state).await?;
    let issued = issued_without_some(tx, set, now, &state).await?;
    let policy = policy_in_force(&state);
    let policy_bytes = policy_file(tx, set, &policy).await?;
    let commitment = state.commitment.then(&base.root);
    let audit = chain(tx, &state.workspace, before.audit, config.limits.max_audit).await?;
    let head = Head {
        set: set.as_str().to_owned(),
        workspace: state.workspace,
        brand: state.brand,
        incarnation: info.incarnation,
        epoch: info.epoch,
        version: info.version,
        commitment,
        keys: base.keys,
        base_version: info.version,
        base_commitment: commitment,
        base_root: base.root,
        base_len: base.len,
        base_parts: base.parts,
        rebase: base.record,
        pepper_check: config.pepper(&info.pepper)?.check(),
        pepper: info.pepper.clone(),
        accepts_foreign: state.accepts_foreign && base.layout.columns().number,
        policy,
        policy_len: policy_bytes.len() as u64,
        issued,
        valid_until: issued.saturating_add(state.validity_ms),
        skew: state.skew_ms,
        open_until: (state.open_ms > 0).then(|| issued.saturating_add(state.open_ms)),
        trust: state.trust,
        audit: audit.checkpoint,
    };
    let row = EpochRow {
        incarnation: info.incarnation,
        epoch: info.epoch,
        version: info.version,
        commitment,
        root: base.root,
        cutoff: info.cutoff,
        keys: base.keys,
        pepper_id: info.pepper.clone(),
        bucket_bits: base.layout.bucket_bits(),
        columns: base.layout.columns(),
        rebase: base.record.map(|(hash, _)| hash),
        created_at: now,
    };
    versions::insert_epoch(tx, set, &row, issued, base.reason.as_str()).await?;
    let note = head.sign(&config.signer);
    save(tx, set, &head, &note, state.validity_ms).await?;
    trust::signs_from_now(tx, set, &config.signer.verifier().to_vkey(), now).await?;
    Ok(Concluded { head, note, policy: policy_bytes, begun: now, audit })
}
