//! The one step through which a key changes.
//!
//! It writes the row, the change rows that edges must learn of (and what a member's key may do, where edges do not know
//! it yet), the receipt of a revocation, and the audit entries: whoever changes a key cannot
//! forget one of them, because nothing else writes `keys` but imports (which do all three in bulk), `record_many` (which does
//! the same for many keys), sightings, and pairings, which say who answers for the key they made.

use super::audit::{self, Draft, Target};
use super::rows::{labels_text, stage_name};
use super::tx::sql;
use super::{Context, Error, Tx, catalogue, profiles, receipts};
use crate::domain::{EdgeImage, Key, PrincipalKind, Rotation, Scope, Stage};

/// What an audit entry says beside the key and the actor.
pub(super) struct Entry<'a> {
    /// `key.revoked`, `rotation.started`, …
    pub(super) action: &'static str,
    /// Why.
    pub(super) reason: Option<&'a str>,
    /// The rotation it belongs to.
    pub(super) rotation: Option<&'a Rotation>,
    /// The sensitive scopes that were granted knowingly.
    pub(super) acknowledged: &'a [Scope],
}

impl<'a> Entry<'a> {
    pub(super) fn new(action: &'static str, reason: Option<&'a str>) -> Self {
        Self { action, reason, rotation: None, acknowledged: &[] }
    }

    pub(super) fn of_rotation(action: &'static str, reason: Option<&'a str>, rotation: &'a Rotation) -> Self {
        Self { action, reason, rotation: Some(rotation), acknowledged: &[] }
    }
}

/// Writes a new key. `false` where its id is taken; then nothing was written.
pub(super) async fn created(
    tx: &mut Tx,
    context: &Context,
    key: &Key,
    entry: Entry<'_>,
    now: i64,
) -> Result<bool, Error> {
    let (deadline, revoked_at, revoke_reason) = stage_columns(&key.stage);
    let inserted = sql!(
        tx,
        "INSERT INTO keys (id, workspace_id, number, digest, prefix, name, state, disabled_by, environment, subject, \
         kind, scopes, tier, owner, labels, issued_by_type, issued_by_id, created_at, expires_at, rotate_by, deadline, \
         revoked_at, revoke_reason, last_used_at, lineage, predecessor, successor, imported, weak, revision, link_id, \
         owner_member, issuer_member) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, \
         $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33) ON CONFLICT (id) DO NOTHING",
        key.id.as_str(),
        key.workspace.as_str(),
        i64::from(key.number),
        key.digest.as_bytes().as_slice(),
        key.prefix.as_str(),
        key.name.as_str(),
        stage_name(&key.stage),
        key.disabled_by.to_stored(),
        key.environment.as_str(),
        i64::from(key.subject),
        key.kind.as_str(),
        key.scopes.to_stored(),
        key.tier.as_ref().map(|tier| tier.as_str()),
        key.owner.as_deref(),
        labels_text(&key.labels),
        key.issued_by.kind.as_str(),
        key.issued_by.id.as_str(),
        key.created_at,
        key.expires_at,
        key.rotate_by,
        deadline,
        revoked_at,
        revoke_reason,
        key.last_used_at,
        key.lineage.as_str(),
        key.predecessor.as_ref().map(|id| id.as_str()),
        key.successor.as_ref().map(|id| id.as_str()),
        i64::from(key.imported),
        i64::from(key.weak),
        key.revision,
        key.link.as_ref().map(|link| link.as_str()),
        key.owner_member.as_ref().map(|id| id.as_str()),
        key.issuer_member.as_ref().map(|id| id.as_str())
        => execute
    )?;
    if inserted == 0 {
        return Ok(false);
    }
    for scope in key.scopes.iter() {
        sql!(
            tx,
            "INSERT INTO key_scopes (workspace_id, scope, created_at, key_id) VALUES ($1, $2, $3, $4)",
            key.workspace.as_str(),
            scope.as_str(),
            key.created_at,
            key.id.as_str()
            => execute
        )?;
    }
    if key.kind == PrincipalKind::User {
        profiles::key_comes(tx, &key.workspace, key.subject, key.environment, now).await?;
    }
    publish(tx, key, &key.edge_image(), true, now).await?;
    audit_of(tx, context, None, key, &entry, now).await?;
    Ok(true)
}

/// Writes a changed key, and returns it with its new revision. Its scopes never change: they belong to the key.
pub(super) async fn changed(
    tx: &mut Tx,
    context: &Context,
    before: &Key,
    mut after: Key,
    entries: &[Entry<'_>],
    now: i64,
) -> Result<Key, Error> {
    after.revision = before.revision + 1;
    let (deadline, revoked_at, revoke_reason) = stage_columns(&after.stage);
    let updated = sql!(
        tx,
        "UPDATE keys SET name = $3, state = $4, disabled_by = $5, tier = $6, owner = $7, labels = $8, expires_at = $9, \
         rotate_by = $10, deadline = $11, revoked_at = $12, revoke_reason = $13, successor = $14, revision = $15, owner_member = $16 \
         WHERE id = $1 AND revision = $2",
        before.id.as_str(),
        before.revision,
        after.name.as_str(),
        stage_name(&after.stage),
        after.disabled_by.to_stored(),
        after.tier.as_ref().map(|tier| tier.as_str()),
        after.owner.as_deref(),
        labels_text(&after.labels),
        after.expires_at,
        after.rotate_by,
        deadline,
        revoked_at,
        revoke_reason,
        after.successor.as_ref().map(|id| id.as_str()),
        after.revision,
        after.owner_member.as_ref().map(|id| id.as_str())
        => execute
    )?;
    if updated != 1 {
        // The key was read under its lock, so this is a mutation that read it without.
        return Err(Error::Corrupt("key revision"));
    }
    if after.tier != before.tier
        && let Some(tier) = &after.tier
    {
        catalogue::enter_tier(tx, &after.workspace, tier, now).await?;
    }
    if let (Stage::Revoked { at, .. }, false) = (&after.stage, matches!(before.stage, Stage::Revoked { .. })) {
        receipts::open(tx, &after, *at).await?;
    }
    for entry in entries {
        audit_of(tx, context, Some(before), &after, entry, now).await?;
    }
    let image = after.edge_image();
    if image != before.edge_image() {
        publish(tx, &after, &image, false, now).await?;
    }
    Ok(after)
}

/// Writes the entry of something that happened to a key without changing its row.
pub(super) async fn noted(tx: &mut Tx, context: &Context, key: &Key, entry: &Entry<'_>, now: i64) -> Result<(), Error> {
    audit_of(tx, context, Some(key), key, entry, now).await
}

/// One unnumbered change row per set of the workspace.
async fn publish(tx: &mut Tx, key: &Key, image: &EdgeImage, is_new: bool, now: i64) -> Result<(), Error> {
    sql!(
        tx,
        "INSERT INTO changes (set_id, workspace_id, key_number, digest, status, imported, deadline, kind, environment, \
         tier, scopes, subject, is_new, created_at) \
         SELECT id, workspace_id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 FROM sets \
         WHERE workspace_id = $1 ORDER BY id",
        key.workspace.as_str(),
        i64::from(key.number),
        key.digest.as_bytes().as_slice(),
        i64::from(image.status.code()),
        i64::from(key.imported),
        image.deadline,
        image.kind.as_str(),
        image.environment.as_str(),
        image.tier.as_ref().map(|tier| tier.as_str()),
        image.scopes.to_stored(),
        i64::from(image.subject),
        i64::from(is_new),
        now
        => execute
    )?;
    tx.wake_publisher();
    Ok(())
}

async fn audit_of(
    tx: &mut Tx,
    context: &Context,
    before: Option<&Key>,
    key: &Key,
    entry: &Entry<'_>,
    now: i64,
) -> Result<(), Error> {
    if context.workspace.is_reserved() {
        // A token's key: noted as a token, in the workspace that it administers.
        return Ok(());
    }
    audit::append(tx, context, &draft_of(before, key, entry), now).await
}

/// The entry of what happened to a key.
pub(super) fn draft_of<'d>(before: Option<&Key>, key: &'d Key, entry: &Entry<'d>) -> Draft<'d> {
    let (before, mut after) = audit::difference(before.map(audit::view), audit::view(key));
    if let Some(rotation) = entry.rotation {
        after.extend(audit::rotation_view(rotation));
    }
    audit::acknowledged(&mut after, entry.acknowledged);
    Draft {
        action: entry.action,
        target: Target::Key(key),
        before: before.filter(|fields| !fields.is_empty()).map(serde_json::Value::Object),
        after: Some(serde_json::Value::Object(after)),
        reason: entry.reason,
        personal: &[],
        about: None,
    }
}

/// The columns `deadline`, `revoked_at` and `revoke_reason`.
pub(super) fn stage_columns(stage: &Stage) -> (Option<i64>, Option<i64>, Option<&str>) {
    match stage {
        Stage::Active => (None, None, None),
        Stage::Retiring { deadline } => (Some(*deadline), None, None),
        Stage::Revoked { at, reason } => (None, Some(*at), reason.as_deref()),
    }
}
