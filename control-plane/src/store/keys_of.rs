//! All keys of a principal at once: what happens to them when something happens to it.
//!
//! Keys are taken by number, as everywhere, some hundreds at a time. Whoever calls this holds the principal, so that no key
//! is added meanwhile.

use super::record::{self, Entry};
use super::rows::{KeyRow, key_columns};
use super::tx::sql;
use super::{Context, Error, Tx, dialect, rotations};
use crate::domain::{self, Cause, Key, PrincipalKind, Reason};

/// Keys taken in one go.
const CHUNK: i64 = 500;

/// Revokes every key that is not revoked, and completes the rotations they are predecessors of. Returns how many.
pub(super) async fn revoke(
    tx: &mut Tx,
    context: &Context,
    subject: u32,
    reason: Option<&Reason>,
) -> Result<u64, Error> {
    let text = reason.map(Reason::as_str);
    let (mut after, mut count) = (0, 0);
    loop {
        let Some((keys, last)) = hold(tx, context, subject, after).await? else { return Ok(count) };
        after = last;
        let now = tx.now().await?;
        let mut open = rotations::recorded_open_of(tx, keys.iter()).await?;
        for key in keys {
            let rotation = open.remove(&key.id).filter(|rotation| rotation.is_open(now));
            let revoked = domain::revoke(&key, rotation.as_ref(), None, reason.cloned(), &context.actor, now);
            let Some(ended) = revoked.key else { continue };
            let completed = match revoked.completed {
                Some(completed) => Some(rotations::update(tx, &completed).await?),
                None => None,
            };
            let mut entries = vec![Entry::new("key.revoked", text)];
            entries.extend(completed.iter().map(|rotation| Entry::of_rotation("rotation.completed", text, rotation)));
            write(tx, context, &key, ended, &entries, now).await?;
            count += 1;
        }
    }
}

/// Adds or lifts the cause that the principal is suspended, on every key that may still work. Returns how many changed.
pub(super) async fn set_suspended(
    tx: &mut Tx,
    context: &Context,
    subject: u32,
    suspended: bool,
    reason: Option<&Reason>,
) -> Result<u64, Error> {
    let action = if suspended { "key.disabled" } else { "key.enabled" };
    let entries = [Entry::new(action, reason.map(Reason::as_str))];
    let (mut after, mut count) = (0, 0);
    loop {
        let Some((keys, last)) = hold(tx, context, subject, after).await? else { return Ok(count) };
        after = last;
        let now = tx.now().await?;
        for key in keys {
            let turn = if suspended { domain::disable } else { domain::enable };
            // What has ended stays as it is.
            if let Ok(Some(turned)) = turn(&key, Cause::PrincipalSuspended, now) {
                write(tx, context, &key, turned, &entries, now).await?;
                count += 1;
            }
        }
    }
}

/// The next keys that are not revoked, held for change, and the number the walk has come to; `None` at its end.
async fn hold(tx: &mut Tx, context: &Context, subject: u32, after: i64) -> Result<Option<(Vec<Key>, i64)>, Error> {
    let workspace = context.workspace.as_str();
    let sql = "SELECT number FROM keys WHERE workspace_id = $1 AND subject = $2 AND number > $3 AND state <> 'revoked' \
               ORDER BY number LIMIT $4";
    let numbers = sql!(tx, sql, workspace, i64::from(subject), after, CHUNK => all (i64,))?;
    let numbers: Vec<_> = numbers.into_iter().map(|(number,)| number).collect();
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return Ok(None) };
    dialect::lock_numbers(tx, workspace, &numbers).await?;
    // Read again, now that they stand still.
    let sql = concat!(
        "SELECT ",
        key_columns!(),
        " FROM keys k WHERE k.workspace_id = $1 AND k.subject = $2 AND k.number BETWEEN $3 AND $4 \
         AND k.state <> 'revoked' ORDER BY k.number"
    );
    let rows = sql!(tx, sql, workspace, i64::from(subject), *first, *last => all KeyRow)?;
    Ok(Some((rows.into_iter().map(Key::try_from).collect::<Result<_, _>>()?, *last)))
}

/// Keys of members reach the edge with their member, in one change; all others each by its own.
async fn write(
    tx: &mut Tx,
    context: &Context,
    before: &Key,
    after: Key,
    entries: &[Entry<'_>],
    now: i64,
) -> Result<(), Error> {
    if before.kind == PrincipalKind::User {
        record::changed_untold(tx, context, before, after, entries, now).await?;
    } else {
        record::changed(tx, context, before, after, entries, now).await?;
    }
    Ok(())
}
