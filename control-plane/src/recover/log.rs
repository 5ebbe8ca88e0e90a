//! What a restored database lost of the audit log.
//!
//! Entries stand in no published file: those that were chained after the backup are gone, and the log goes on from where the
//! backup ends. A head never carries a checkpoint that does not extend the last published one, so the recovery says, under a
//! key that signs heads, from where on it does not.

use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{AuditCheckpoint, AuditGap, Head};

use crate::domain::SetId;
use crate::store::audit::{self, Gap};
use crate::store::{Context, Error, Tx};

/// What was published.
#[derive(Clone, Debug)]
pub(super) struct Published {
    /// In each of the copies.
    pub(super) logs: Vec<Signed>,
    /// The database has gone on from another state than the published one: nobody knows since which entry.
    pub(super) forked: bool,
}

/// What a head says of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed {
    checkpoint: AuditCheckpoint,
    /// When it was issued, unix milliseconds.
    issued: u64,
}

impl Signed {
    pub(super) fn by(head: &Head) -> Option<Self> {
        Some(Self { checkpoint: head.audit?, issued: head.issued })
    }
}

/// Records what is lost, signed, and in the log itself. Nothing where the database still has it all. It is asked for every
/// copy's: what one of them has is not in another that has more entries.
pub(super) async fn own_up(
    tx: &mut Tx,
    context: &Context,
    set: &SetId,
    incarnation: u64,
    published: &Published,
    signer: &Signer,
) -> Result<(), Error> {
    let workspace = context.workspace.as_str();
    let mut lost: Option<Signed> = None;
    let mut kept = if published.forked { 0 } else { u64::MAX };
    for one in &published.logs {
        let Some(there) = audit::lacks(tx, workspace, &one.checkpoint).await? else { continue };
        // Another set of the workspace may have been recovered before, and entries been chained since.
        let before = audit::kept_since(tx, workspace, one.issued).await?.unwrap_or(u64::MAX);
        // A log that is as long and another one has gone on from a state that nobody knows, either.
        kept = kept.min(if there < one.checkpoint.count { there.min(before) } else { 0 });
        // The note speaks of all up to there.
        lost = lost.filter(|more| more.checkpoint.count > one.checkpoint.count).or(Some(*one));
    }
    let Some(Signed { checkpoint, .. }) = lost else { return Ok(()) };
    let now = u64::try_from(tx.now().await?).map_err(|_| Error::Corrupt("clock"))?;
    let says = AuditGap { set: set.to_string(), incarnation, issued: now, published: checkpoint, kept };
    let note = says.sign(signer);
    audit::own_up(tx, context, &Gap { set, says: &says, note: &note }).await
}
