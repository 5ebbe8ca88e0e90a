//! The route document of a set.

use sqlx::FromRow;

use super::audit::{self, Draft, Target};
use super::tx::sql;
use super::{Context, Error, Read, Tx, workspaces};
use crate::domain::{Actor, SetId, WorkspaceId};

/// A revision of a set's route document.
#[derive(Clone, Debug)]
pub struct Routes {
    /// Its revision, from 1.
    pub revision: i64,
    /// The document as written, JSON.
    pub document: String,
    /// The policy file's bytes.
    pub policy: Vec<u8>,
    /// SHA-256 of the policy file.
    pub policy_hash: Vec<u8>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// By whom.
    pub created_by: Actor,
}

/// The current document; `None` before the first.
///
/// # Errors
/// [`Error::NotFound`] where the set is not the workspace's.
pub async fn current(read: &mut Read, workspace: &WorkspaceId, set: &SetId) -> Result<Option<Routes>, Error> {
    let revision = workspaces::set(read, workspace, set).await?.routes_revision;
    let sql = "SELECT revision, document, policy, policy_hash, created_at, created_by_type, created_by_id FROM routes \
               WHERE set_id = $1 AND revision = $2";
    Ok(sql!(read, sql, set.as_str(), revision => optional Row)?.map(Routes::from))
}

/// Replaces the document whole. `revision` is what the caller read (`If-Match`): 0 before the first.
///
/// # Errors
/// [`Error::Stale`] where it has been replaced meanwhile; [`Error::NotFound`].
pub async fn replace(
    tx: &mut Tx,
    context: &Context,
    set: &SetId,
    revision: i64,
    document: &str,
    policy: &[u8],
    policy_hash: [u8; 32],
) -> Result<Routes, Error> {
    let next = revision.saturating_add(1);
    let sql = "UPDATE sets SET routes_revision = $4 WHERE workspace_id = $1 AND id = $2 AND routes_revision = $3";
    let moved = sql!(tx, sql, context.workspace.as_str(), set.as_str(), revision, next => execute)?;
    if moved == 0 {
        return Err(Error::Stale(workspaces::set(tx, &context.workspace, set).await?.routes_revision));
    }
    let now = tx.now().await?;
    sql!(
        tx,
        "INSERT INTO routes (set_id, workspace_id, revision, document, policy, policy_hash, created_at, \
         created_by_type, created_by_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        set.as_str(),
        context.workspace.as_str(),
        next,
        document,
        policy,
        policy_hash.as_slice(),
        now,
        context.actor.kind.as_str(),
        context.actor.id.as_str()
        => execute
    )?;
    let draft = Draft {
        action: "routes.replaced",
        target: Target::Other("set", set.as_str()),
        before: Some(serde_json::json!({ "revision": revision })),
        after: Some(serde_json::json!({ "revision": next })),
        reason: None,
        personal: &[],
        about: None,
    };
    audit::append(tx, context, &draft, now).await?;
    tx.wake_publisher();
    current(tx, &context.workspace, set).await?.ok_or(Error::Corrupt("route revision"))
}

#[derive(Debug, FromRow)]
struct Row {
    revision: i64,
    document: String,
    policy: Vec<u8>,
    policy_hash: Vec<u8>,
    created_at: i64,
    created_by_type: String,
    created_by_id: String,
}

impl From<Row> for Routes {
    fn from(row: Row) -> Self {
        Self {
            revision: row.revision,
            document: row.document,
            policy: row.policy,
            policy_hash: row.policy_hash,
            created_at: row.created_at,
            created_by: Actor { kind: row.created_by_type, id: row.created_by_id },
        }
    }
}
