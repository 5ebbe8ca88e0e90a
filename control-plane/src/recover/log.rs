//! What a restored database lost of the audit log.
//!
//! Entries stand in no published file: those that were chained after the backup are gone, and the log goes on from where the
//! backup ends. A head never carries a checkpoint that does not extend the last published one, so the recovery says, under a
//! key that signs heads, from where on it does not.

use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{AuditCheckpoint, AuditGap};

use crate::domain::SetId;
use crate::store::audit::{self, Gap};
use crate::store::{Context, Error, Tx};

/// What was published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Published {
    /// The head's checkpoint.
    pub(super) checkpoint: AuditCheckpoint,
    /// When that head was issued, unix milliseconds.
    pub(super) issued: u64,
    /// The database has gone on from another state than the published one: nobody knows since which entry.
    pub(super) forked: bool,
}

/// Records what is lost, signed, and in the log itself. Nothing where the database still has it all.
pub(super) async fn own_up(
    tx: &mut Tx,
    context: &Context,
    set: &SetId,
    incarnation: u64,
    published: &Published,
    signer: &Signer,
) -> Result<(), Error> {
    let workspace = context.workspace.as_str();
    let Published { checkpoint, issued, forked } = *published;
    let Some(there) = audit::lacks(tx, workspace, &checkpoint).await? else { return Ok(()) };
    // Another set of the workspace may have been recovered before, and entries been chained since.
    let before = audit::kept_since(tx, workspace, issued).await?.unwrap_or(u64::MAX);
    let kept = if forked { 0 } else { there.min(before) };
    let now = u64::try_from(tx.now().await?).map_err(|_| Error::Corrupt("clock"))?;
    let says = AuditGap { set: set.to_string(), incarnation, issued: now, published: checkpoint, kept };
    let note = says.sign(signer);
    audit::own_up(tx, context, &Gap { set, says: &says, note: &note }).await
}
