//! The credentials of an edge: one, or two while it changes over.
//!
//! A rotation makes a new credential and leaves the one in use for an overlap. The first use of the new one ends all
//! others. A credential that was made and never used is ended by the next rotation: whoever lost it rotates again, and the
//! edge goes on with the one it has.

use serde_json::json;

use super::{Context, EdgeView, Error, append, get};
use crate::domain::{EdgeId, Refusal, TokenId};
use crate::store::tokens::{self, NewToken, Token};
use crate::store::tx::sql;
use crate::store::{Tx, dialect};

/// An edge with a new credential.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The edge.
    pub view: EdgeView,
    /// When the credential before ends at the latest, unix seconds: an end that was set before is never put off.
    pub old_ends_by: i64,
}

/// Makes a new credential. The one in use works for `overlap_seconds` more, or until the new one is used.
///
/// # Errors
/// [`Refusal::EdgeRemoved`], [`Refusal::EdgeNotEnrolled`]; [`Error::NotFound`].
pub async fn rotate(
    tx: &mut Tx,
    context: &Context,
    id: &EdgeId,
    overlap_seconds: i64,
    mint: impl FnOnce(&super::Edge) -> NewToken + Send,
) -> Result<Rotated, Error> {
    dialect::lock_edge(tx, id.as_str()).await?;
    let view = get(tx, &context.workspace, id).await?;
    if view.edge.removed_at.is_some() {
        return Err(Refusal::EdgeRemoved.into());
    }
    if view.edge.enrolled_at.is_none() {
        return Err(Refusal::EdgeNotEnrolled.into());
    }
    let now = tx.now().await?;
    let mut old_ends_by = now.div_euclid(1000) + i64::from(now.rem_euclid(1000) != 0) + overlap_seconds;
    let sql = "SELECT id, last_used_at, expires_at FROM tokens WHERE edge_id = $1 AND revoked_at IS NULL \
               AND (expires_at IS NULL OR expires_at * 1000 > $2) ORDER BY created_at DESC, id DESC";
    let live = sql!(tx, sql, id.as_str(), now => all (String, Option<i64>, Option<i64>))?;
    let in_use = live.iter().position(|(_, used, _)| used.is_some()).unwrap_or_default();
    let (mut kept, mut ended) = (None, Vec::new());
    for (place, (token, _, expires_at)) in live.into_iter().enumerate() {
        if place == in_use && overlap_seconds > 0 {
            old_ends_by = expires_at.map_or(old_ends_by, |set| set.min(old_ends_by));
            sql!(tx, "UPDATE tokens SET expires_at = $2 WHERE id = $1", token.as_str(), old_ends_by => execute)?;
            kept = Some(token);
        } else {
            sql!(tx, "UPDATE tokens SET revoked_at = $2 WHERE id = $1", token.as_str(), now => execute)?;
            ended.push(token);
        }
    }
    let token = mint(&view.edge);
    tokens::insert(tx, context, &token, Some(id), now).await?;
    let after = json!({
        "token": token.id.as_str(),
        "prefix": token.prefix,
        "old_token": kept,
        "old_ends_by": old_ends_by,
        "ended": ended,
    });
    append(tx, context, "edge.credential_rotated", id, after, now).await?;
    Ok(Rotated { view, old_ends_by })
}

/// Whether [`first_use`] is due for a token that has just been presented.
pub(crate) fn is_first_use(token: &Token) -> bool {
    token.edge.is_some() && token.last_used_at.is_none()
}

/// Notes that an edge's credential is used for the first time: the others of its edge end with that.
///
/// # Errors
/// [`Error::Database`].
pub async fn first_use(tx: &mut Tx, context: &Context, edge: &EdgeId, token: &TokenId) -> Result<(), Error> {
    dialect::lock_edge(tx, edge.as_str()).await?;
    let now = tx.now().await?;
    let sql = "UPDATE tokens SET last_used_at = $2 WHERE id = $1 AND last_used_at IS NULL AND revoked_at IS NULL";
    // Of two first uses one is first; and one that was ended meanwhile ends nobody.
    if sql!(tx, sql, token.as_str(), now => execute)? == 0 {
        return Ok(());
    }
    let sql = "UPDATE tokens SET revoked_at = $3 WHERE edge_id = $1 AND id <> $2 AND revoked_at IS NULL RETURNING id";
    let mut ended = sql!(tx, sql, edge.as_str(), token.as_str(), now => all (String,))?;
    ended.sort();
    if ended.is_empty() {
        return Ok(());
    }
    let ended: Vec<_> = ended.into_iter().map(|(id,)| id).collect();
    let after = json!({ "token": token.as_str(), "ended": ended });
    append(tx, context, "edge.credential_taken_up", edge, after, now).await
}
