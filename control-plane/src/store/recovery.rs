//! What a recovery reads of a restored database, and how it raises a set's incarnation.

use nightlatch_keyset::Commitment;
use serde_json::json;
use sqlx::FromRow;

use super::audit::{self, Draft, Target};
use super::publication::{self, signed};
use super::tx::sql;
use super::{Context, Error, Read, Tx, profile_rows};
use crate::domain::{SetId, WorkspaceId};

/// What the database says of a key, as far as it matters whether it is usable.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct KeyRow {
    pub(crate) number: i64,
    pub(crate) id: String,
    pub(crate) digest: Vec<u8>,
    state: String,
    disabled_by: String,
    deadline: Option<i64>,
    expires_at: Option<i64>,
    /// The first version that it was published with; none where it never was.
    pub(crate) version: Option<i64>,
}

impl KeyRow {
    /// Whether it would be let through at `now`, unix seconds, but for causes that disable it.
    pub(crate) fn lives(&self, now: i64) -> bool {
        self.state != "revoked" && self.end().is_none_or(|end| end > now)
    }

    pub(crate) fn is_disabled(&self) -> bool {
        !self.disabled_by.is_empty()
    }

    /// The nearer of its deadline and its expiry, unix seconds.
    pub(crate) fn end(&self) -> Option<i64> {
        self.deadline.into_iter().chain(self.expires_at).min()
    }
}

/// The workspace's next keys after a number, by number.
pub(crate) async fn keys_page(
    read: &mut Read,
    workspace: &WorkspaceId,
    set: &SetId,
    after: i64,
    limit: u32,
) -> Result<Vec<KeyRow>, Error> {
    Ok(sql!(
        read,
        "SELECT k.number, k.id, k.digest, k.state, k.disabled_by, k.deadline, k.expires_at, \
         (SELECT MIN(c.version) FROM changes c WHERE c.set_id = $2 AND c.key_number = k.number) AS version \
         FROM keys k WHERE k.workspace_id = $1 AND k.number > $3 ORDER BY k.number LIMIT $4",
        workspace.as_str(), set.as_str(), after, i64::from(limit) => all KeyRow
    )?)
}

/// How many keys the workspace has.
pub(crate) async fn count_keys(read: &mut Read, workspace: &WorkspaceId) -> Result<u64, Error> {
    let sql = "SELECT COUNT(*) FROM keys WHERE workspace_id = $1";
    let (count,) = sql!(read, sql, workspace.as_str() => one (i64,))?;
    publication::unsigned(count)
}

/// Whether the database has published this state itself, or was told of it: the version is on record with this commitment.
pub(crate) async fn has_published(
    read: &mut Read,
    set: &SetId,
    version: u64,
    commitment: &Commitment,
) -> Result<bool, Error> {
    let sql = "SELECT commitment FROM set_versions WHERE set_id = $1 AND version = $2";
    let row = sql!(read, sql, set.as_str(), signed(version)? => optional (Option<Vec<u8>>,))?;
    Ok(row.and_then(|(there,)| there).is_some_and(|there| there == commitment.0.0))
}

/// What the set was published as, and what has to be above it from now on.
#[derive(Clone, Debug)]
pub(crate) struct Above {
    pub(crate) incarnation: u64,
    pub(crate) epoch: u64,
    pub(crate) version: u64,
    pub(crate) issued: u64,
    pub(crate) validity_ms: u64,
    pub(crate) open_ms: u64,
    pub(crate) pepper: String,
    /// The verifier key of the key that is to go on signing; `None` leaves that as it is.
    pub(crate) signer: Option<String>,
    /// The highest key number and subject in use there.
    pub(crate) key_number: u32,
    pub(crate) subject: u32,
}

/// Gives everything that has none a version above what was published, and raises the incarnation: its first base is made
/// from the database, and no head is signed before. Numbers that the lost keys had are not given again.
///
/// Returns the incarnation and the version.
pub(crate) async fn raise(tx: &mut Tx, context: &Context, set: &SetId, above: &Above) -> Result<(u64, u64), Error> {
    let state = publication::state(tx, set).await?;
    let incarnation = state.incarnation.max(above.incarnation) + 1;
    let epoch = state.epoch.max(above.epoch);
    let version = state.version.max(above.version) + 1;
    publication::number_changes(tx, set, version, u32::MAX, true).await?;
    profile_rows::number(tx, set, version, u32::MAX).await?;
    sql!(
        tx,
        "UPDATE sets SET incarnation = $2, epoch = $3, version = $4, head = NULL, head_issued = $5, \
         largest_validity_ms = CASE WHEN largest_validity_ms < $6 THEN $6 ELSE largest_validity_ms END, \
         largest_open_ms = CASE WHEN largest_open_ms < $7 THEN $7 ELSE largest_open_ms END, pepper_id = $8, signer = COALESCE($9, signer) \
         WHERE id = $1",
        set.as_str(), signed(incarnation)?, signed(epoch)?, signed(version)?,
        signed(state.head_issued.max(above.issued))?, signed(above.validity_ms)?, signed(above.open_ms)?,
        above.pepper.as_str(), above.signer.as_deref() => execute
    )?;
    sql!(
        tx,
        "UPDATE workspaces SET next_key_number = CASE WHEN next_key_number <= $2 THEN $2 + 1 ELSE next_key_number END, \
         next_subject = CASE WHEN next_subject <= $3 THEN $3 + 1 ELSE next_subject END WHERE id = $1",
        context.workspace.as_str(), i64::from(above.key_number), i64::from(above.subject) => execute
    )?;
    let now = tx.now().await?;
    let draft = Draft {
        action: "set.recovered",
        target: Target::Other("set", set.as_str()),
        before: Some(json!({"incarnation": state.incarnation, "epoch": state.epoch, "version": state.version})),
        after: Some(json!({"incarnation": incarnation, "epoch": epoch, "version": version})),
        reason: Some("the published set was ahead of the database"),
        personal: &[],
        about: None,
    };
    audit::append(tx, context, &draft, now).await?;
    tx.wake_publisher();
    Ok((incarnation, version))
}
