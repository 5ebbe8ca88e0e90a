//! All keys of a principal or of a link at once: what happens to them when something happens to it.
//!
//! Keys are taken by number, as everywhere, some hundreds at a time. Whoever calls this holds the principal or the link, so
//! that no key is added meanwhile.

use super::record::Entry;
use super::record_many::{self, Turned};
use super::rows::{KeyRow, key_columns};
use super::select::Select;
use super::{Context, Error, Tx, dialect, rotations};
use crate::domain::{self, Cause, Key, LinkId, Reason};

/// Keys taken in one go.
const CHUNK: i64 = 500;

/// Whose keys.
#[derive(Clone, Copy)]
pub(super) enum Whose<'w> {
    /// A principal's.
    Principal(u32),
    /// Those bound to a link.
    Link(&'w LinkId),
}

/// Revokes every key that is not revoked, and completes the rotations they are predecessors of. Returns how many.
pub(super) async fn revoke(
    tx: &mut Tx,
    context: &Context,
    whose: Whose<'_>,
    reason: Option<&Reason>,
) -> Result<u64, Error> {
    let text = reason.map(Reason::as_str);
    let (mut after, mut count) = (0, 0);
    loop {
        let Some((keys, last)) = hold(tx, context, whose, after).await? else { return Ok(count) };
        after = last;
        let now = tx.now().await?;
        let mut open = rotations::recorded_open_of(tx, keys.iter()).await?;
        let mut ended = Vec::with_capacity(keys.len());
        for key in keys {
            let rotation = open.remove(&key.id).filter(|rotation| rotation.is_open(now));
            let revoked = domain::revoke(&key, rotation.as_ref(), None, reason.cloned(), &context.actor, now);
            let Some(after) = revoked.key else { continue };
            let completed = match revoked.completed {
                Some(completed) => Some(rotations::update(tx, &completed).await?),
                None => None,
            };
            ended.push((key, after, completed));
        }
        let mut turned: Vec<_> = ended
            .iter()
            .map(|(before, after, completed)| {
                let mut entries = vec![Entry::new("key.revoked", text)];
                entries
                    .extend(completed.iter().map(|rotation| Entry::of_rotation("rotation.completed", text, rotation)));
                Turned { before: before.clone(), after: after.clone(), entries }
            })
            .collect();
        record_many::changed(tx, context, &mut turned, now).await?;
        count += turned.len() as u64;
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
    let text = reason.map(Reason::as_str);
    let (mut after, mut count) = (0, 0);
    loop {
        let Some((keys, last)) = hold(tx, context, Whose::Principal(subject), after).await? else { return Ok(count) };
        after = last;
        let now = tx.now().await?;
        let turn = if suspended { domain::disable } else { domain::enable };
        let mut turned = Vec::with_capacity(keys.len());
        for before in keys {
            // What has ended stays as it is.
            if let Ok(Some(after)) = turn(&before, Cause::PrincipalSuspended, now) {
                turned.push(Turned { before, after, entries: vec![Entry::new(action, text)] });
            }
        }
        record_many::changed(tx, context, &mut turned, now).await?;
        count += turned.len() as u64;
    }
}

/// The next keys that are not revoked, held for change, and the number the walk has come to; `None` at its end.
async fn hold(tx: &mut Tx, context: &Context, whose: Whose<'_>, after: i64) -> Result<Option<(Vec<Key>, i64)>, Error> {
    let mut select = Select::new("SELECT k.number FROM keys k WHERE k.state <> 'revoked' AND k.workspace_id = ");
    narrow(select.value(context.workspace.as_str()), whose).push(" AND k.number > ").value(after);
    select.push(" ORDER BY k.number LIMIT ").value(CHUNK);
    let numbers: Vec<(i64,)> = select.fetch(tx).await?;
    let numbers: Vec<_> = numbers.into_iter().map(|(number,)| number).collect();
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return Ok(None) };
    dialect::lock_numbers(tx, context.workspace.as_str(), &numbers).await?;
    // Read again, now that they stand still.
    let mut select = Select::new(concat!(
        "SELECT ",
        key_columns!(),
        " FROM keys k WHERE k.state <> 'revoked' AND k.workspace_id = "
    ));
    narrow(select.value(context.workspace.as_str()), whose).push(" AND k.number BETWEEN ").value(*first);
    select.push(" AND ").value(*last).push(" ORDER BY k.number");
    let rows: Vec<KeyRow> = select.fetch(tx).await?;
    Ok(Some((rows.into_iter().map(Key::try_from).collect::<Result<_, _>>()?, *last)))
}

fn narrow<'s>(select: &'s mut Select, whose: Whose<'_>) -> &'s mut Select {
    match whose {
        Whose::Principal(subject) => select.push(" AND k.subject = ").value(i64::from(subject)),
        Whose::Link(link) => select.push(" AND k.link_id = ").value(link.as_str()),
    }
}
