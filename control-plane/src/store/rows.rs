//! Rows as the databases hold them, and the records they stand for.

use nightlatch_key::{Digest, Environment};
use sqlx::FromRow;

use super::key_list::Order as ListOrder;
use super::key_way::Placed;
use super::{Cursor, Error};
use crate::domain::rotation::{End, Order, Outcome};
use crate::domain::{
    Actor, Causes, Key, KeyId, Labels, LinkId, MemberId, PrincipalKind, Rotation, RotationId, Scopes, Stage, Tier,
    WorkspaceId,
};

/// The columns of [`KeyRow`], of a table `keys k`.
macro_rules! key_columns {
    () => {
        "k.id, k.workspace_id, k.number, k.digest, k.prefix, k.name, k.state, k.disabled_by, k.environment, k.subject, \
         k.kind, k.scopes, k.tier, k.owner, k.owner_member, k.labels, k.issued_by_type, k.issued_by_id, \
         k.issuer_member, k.created_at, k.expires_at, k.rotate_by, k.deadline, k.revoked_at, k.revoke_reason, k.last_used_at, k.lineage, k.predecessor, k.successor, \
         k.imported, k.weak, k.revision, k.link_id"
    };
}
pub(super) use key_columns;

/// The columns of [`RotationRow`].
macro_rules! rotation_columns {
    () => {
        "id, workspace_id, predecessor, successor, lineage, step_order, outcome, reason, overlap_seconds, deadline, \
         started_by_type, started_by_id, started_at, ended_by_type, ended_by_id, ended_at, revision"
    };
}
pub(super) use rotation_columns;

#[derive(Debug, FromRow)]
pub(super) struct KeyRow {
    id: String,
    workspace_id: String,
    number: i64,
    digest: Vec<u8>,
    prefix: String,
    name: String,
    state: String,
    disabled_by: String,
    environment: String,
    subject: i64,
    kind: String,
    scopes: String,
    tier: Option<String>,
    owner: Option<String>,
    owner_member: Option<String>,
    labels: String,
    issued_by_type: String,
    issued_by_id: String,
    issuer_member: Option<String>,
    created_at: i64,
    expires_at: Option<i64>,
    rotate_by: Option<i64>,
    deadline: Option<i64>,
    revoked_at: Option<i64>,
    revoke_reason: Option<String>,
    last_used_at: Option<i64>,
    lineage: String,
    predecessor: Option<String>,
    successor: Option<String>,
    imported: i64,
    weak: i64,
    revision: i64,
    link_id: Option<String>,
}

impl Placed for KeyRow {
    fn place(&self, order: ListOrder) -> Cursor {
        let at = order.at(self.created_at, self.last_used_at, self.expires_at, self.rotate_by);
        Cursor { at, id: self.id.clone() }
    }
}

impl TryFrom<KeyRow> for Key {
    type Error = Error;

    fn try_from(row: KeyRow) -> Result<Self, Error> {
        let stage = match (row.state.as_str(), row.deadline, row.revoked_at) {
            ("active", None, None) => Stage::Active,
            ("retiring", Some(deadline), None) => Stage::Retiring { deadline },
            ("revoked", None, Some(at)) => Stage::Revoked { at, reason: row.revoke_reason },
            _ => return Err(Error::Corrupt("key state")),
        };
        Ok(Self {
            id: KeyId::from_stored(row.id),
            workspace: WorkspaceId::from_stored(row.workspace_id),
            number: unsigned(row.number)?,
            digest: digest(&row.digest)?,
            prefix: row.prefix,
            name: row.name,
            stage,
            disabled_by: Causes::from_stored(&row.disabled_by),
            environment: Environment::from_name(&row.environment).ok_or(Error::Corrupt("environment"))?,
            subject: unsigned(row.subject)?,
            kind: PrincipalKind::from_name(&row.kind).ok_or(Error::Corrupt("principal kind"))?,
            scopes: Scopes::from_stored(&row.scopes),
            tier: row.tier.map(Tier::from_stored),
            owner: row.owner,
            owner_member: row.owner_member.map(MemberId::from_stored),
            labels: Labels::from_stored(serde_json::from_str(&row.labels).map_err(|_| Error::Corrupt("label map"))?),
            issued_by: Actor { kind: row.issued_by_type, id: row.issued_by_id },
            issuer_member: row.issuer_member.map(MemberId::from_stored),
            created_at: row.created_at,
            expires_at: row.expires_at,
            rotate_by: row.rotate_by,
            last_used_at: row.last_used_at,
            link: row.link_id.map(LinkId::from_stored),
            lineage: KeyId::from_stored(row.lineage),
            predecessor: row.predecessor.map(KeyId::from_stored),
            successor: row.successor.map(KeyId::from_stored),
            imported: row.imported != 0,
            weak: row.weak != 0,
            revision: row.revision,
        })
    }
}

/// The stored name of a stage.
pub(super) const fn stage_name(stage: &Stage) -> &'static str {
    match stage {
        Stage::Active => "active",
        Stage::Retiring { .. } => "retiring",
        Stage::Revoked { .. } => "revoked",
    }
}

/// The stored form of labels: a JSON object, its names ascending.
pub(super) fn labels_text(labels: &Labels) -> String {
    serde_json::Value::from_iter(labels.as_map().clone()).to_string()
}

#[derive(Debug, FromRow)]
pub(super) struct RotationRow {
    id: String,
    workspace_id: String,
    predecessor: String,
    successor: String,
    lineage: String,
    step_order: String,
    outcome: Option<String>,
    reason: String,
    overlap_seconds: i64,
    deadline: Option<i64>,
    started_by_type: String,
    started_by_id: String,
    started_at: i64,
    ended_by_type: Option<String>,
    ended_by_id: Option<String>,
    ended_at: Option<i64>,
    revision: i64,
}

impl TryFrom<RotationRow> for Rotation {
    type Error = Error;

    fn try_from(row: RotationRow) -> Result<Self, Error> {
        let end = match (row.outcome, row.ended_by_type, row.ended_by_id, row.ended_at) {
            (None, None, None, None) => None,
            (Some(outcome), Some(kind), Some(id), Some(at)) => {
                let outcome = Outcome::from_name(&outcome).ok_or(Error::Corrupt("rotation outcome"))?;
                Some(End { outcome, by: Actor { kind, id }, at })
            }
            _ => return Err(Error::Corrupt("rotation end")),
        };
        Ok(Self {
            id: RotationId::from_stored(row.id),
            workspace: WorkspaceId::from_stored(row.workspace_id),
            predecessor: KeyId::from_stored(row.predecessor),
            successor: KeyId::from_stored(row.successor),
            lineage: KeyId::from_stored(row.lineage),
            order: Order::from_name(&row.step_order).ok_or(Error::Corrupt("rotation order"))?,
            reason: row.reason,
            overlap_seconds: row.overlap_seconds,
            deadline: row.deadline,
            started_by: Actor { kind: row.started_by_type, id: row.started_by_id },
            started_at: row.started_at,
            end,
            revision: row.revision,
        })
    }
}

/// A number that this program stores as a u32.
pub(super) fn unsigned(value: i64) -> Result<u32, Error> {
    u32::try_from(value).map_err(|_| Error::Corrupt("number"))
}

/// A stored digest.
pub(super) fn digest(bytes: &[u8]) -> Result<Digest, Error> {
    bytes.try_into().map(Digest::from_bytes).map_err(|_| Error::Corrupt("digest"))
}
