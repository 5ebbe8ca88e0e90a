//! Rotations: start, extend, cancel, complete.

use nightlatch_key::KeyText;

use super::keys::{self, KeyView};
use super::record::{self, Entry};
use super::rotation_list::find;
pub use super::rotation_list::{RotationFilter, get, list};
pub(super) use super::rotation_list::{open_of_successor, recorded_open, recorded_open_of};
use super::tx::sql;
use super::{Context, Error, Random, Read, Tx, catalogue, links, principals, profiles, workspaces};
use crate::domain::reach::{self, Reach};
use crate::domain::rotate::{self, Ending, Turned};
use crate::domain::rotation::{Order, Start, SuccessorFate};
use crate::domain::{
    Action, Bound, Cause, Key, KeyId, KeyRef, Reason, Refusal, Rotation, RotationId, Scope, Scopes, Stage, State,
    Warning, WorkspaceId,
};

/// A rotation that was just started.
#[derive(Debug)]
pub struct Started {
    /// The record.
    pub rotation: Rotation,
    /// The predecessor as it is now.
    pub predecessor: Key,
    /// The new key.
    pub successor: Key,
    /// The new key's text: shown once.
    pub secret: KeyText,
    /// What to tell the caller.
    pub warnings: Vec<Warning>,
    /// How long until the successor verifies everywhere.
    pub bound: Bound,
    /// The database clock, unix milliseconds.
    pub now: i64,
}

/// What a start would do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The predecessor as it is.
    pub predecessor: Key,
    /// The successor's name.
    pub name: String,
    /// The successor's scopes.
    pub scopes: Scopes,
    /// The predecessor's deadline, unix seconds; none for `revoke_first`.
    pub deadline: Option<i64>,
    /// What the start would warn of.
    pub warnings: Vec<Warning>,
    /// How long until the successor would verify everywhere.
    pub bound: Bound,
    /// The database clock, unix milliseconds.
    pub now: i64,
}

/// A rotation after a change.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The record as it is now.
    pub rotation: Rotation,
    /// The predecessor as it is now.
    pub predecessor: Key,
    /// The successor as it is now.
    pub successor: Key,
    /// Whether anything changed.
    pub changed: bool,
    /// What to tell the caller.
    pub warnings: Vec<Warning>,
    /// How long until the change is in force everywhere.
    pub bound: Bound,
    /// The database clock, unix milliseconds.
    pub now: i64,
}

/// Starts a rotation: issues the successor, and retires or revokes the predecessor.
///
/// # Errors
/// A refusal; [`Error::NotFound`].
pub async fn start(
    tx: &mut Tx,
    context: &Context,
    predecessor: &KeyRef,
    start: Start,
    random: Random<'_>,
) -> Result<Started, Error> {
    // Before the key is held. Neither of the two ever changes.
    let Key { subject, link, .. } = keys::find(tx, &context.workspace, predecessor).await?;
    if !context.authority.sees(subject) {
        return Err(Error::NotFound("key"));
    }
    let principal = principals::share(tx, &context.workspace, subject, link.as_ref()).await?;
    let held = keys::hold(tx, context, predecessor).await?;
    context.authority.require(Action::KeysRotate, &held.key.target())?;
    context.authority.require_grant(start.scopes.as_ref().unwrap_or(&held.key.scopes))?;
    require_not_braked(context, &held.key, &start)?;
    principal.admits(&Scopes::default())?;
    let (now, bound) = (held.now, held.bound);
    let ground = keys::ground(tx, &context.workspace, Some(held.key.subject)).await?;
    // A deadline that passed unrecorded still holds the place of the one open rotation.
    let recorded = recorded_open(tx, &held.key.id).await?;
    if let Some(lapsed) = recorded.as_ref().and_then(|rotation| rotate::lapse(rotation, now)) {
        close_lapsed(tx, &held.key, &lapsed, now).await?;
    }
    // Refused here, nothing is entered or counted.
    let mut plan = rotate::plan(&held.key, held.rotation.as_ref(), &start, bound, now)?;
    principal.admits(&plan.scopes)?;
    let acknowledged = gained(tx, context, &held.key, &plan.scopes, now).await?;
    name_lost_routes(tx, context, &held.key, &plan.scopes, &mut plan.warnings).await?;
    catalogue::enter(tx, &context.workspace, plan.scopes.iter(), held.key.tier.as_ref(), now).await?;
    let number = workspaces::next_number(tx, &context.workspace).await?;
    let id = RotationId::generate(random_bytes(random));
    let reason = start.reason.clone();
    for _ in 0..keys::ID_ATTEMPTS {
        let (birth, secret) = ground.birth(context, held.key.environment, number, now, random);
        let rotate::Started { predecessor, successor, rotation, ended, .. } =
            rotate::start(&held.key, held.rotation.as_ref(), start.clone(), id.clone(), birth, bound)?;
        let issued =
            Entry { acknowledged: &acknowledged, ..Entry::of_rotation("key.issued", Some(reason.as_str()), &rotation) };
        if !record::created(tx, context, &successor, issued, now).await? {
            continue;
        }
        if let Some(ended) = &ended {
            update(tx, ended).await?;
        }
        insert(tx, &rotation).await?;
        let mut entries = vec![Entry::of_rotation("rotation.started", Some(reason.as_str()), &rotation)];
        if predecessor.stage != held.key.stage && predecessor.deadline().is_none() {
            entries.push(Entry::of_rotation("key.revoked", Some(reason.as_str()), &rotation));
        }
        if let Some(ended) = &ended {
            entries.push(Entry::of_rotation("rotation.completed", Some(reason.as_str()), ended));
        }
        let mut predecessor = record::changed(tx, context, &held.key, predecessor, &entries, now).await?;
        let mut successor = successor;
        profiles::show(tx, &mut [&mut predecessor, &mut successor]).await?;
        let warnings = plan.warnings;
        return Ok(Started { rotation, predecessor, successor, secret, warnings, bound, now });
    }
    Err(Error::NoFreeId)
}

/// What [`start`] would do now, for a dry run.
///
/// # Errors
/// As [`start`].
pub async fn plan(read: &mut Read, context: &Context, predecessor: &KeyRef, start: &Start) -> Result<Plan, Error> {
    let KeyView { key, rotation, now } = keys::get(read, &context.workspace, predecessor).await?;
    let bound = workspaces::bound(read, &context.workspace).await?;
    let principal = principals::find(read, &context.workspace, key.subject).await?.ok_or(Refusal::PrincipalUnknown)?;
    require_not_braked(context, &key, start)?;
    principal.admits(&Scopes::default())?;
    if let Some(link) = &key.link {
        links::of_partner(read, &context.workspace, key.subject, link).await?.link.require_active()?;
    }
    let rotate::Plan { name, scopes, deadline, mut warnings } =
        rotate::plan(&key, rotation.as_ref(), start, bound, now)?;
    principal.admits(&scopes)?;
    gained(read, context, &key, &scopes, now).await?;
    name_lost_routes(read, context, &key, &scopes, &mut warnings).await?;
    Ok(Plan { predecessor: key, name: name.into_string(), scopes, deadline, warnings, bound, now })
}

/// Refuses another key in place of one that was disabled, to whoever may not enable it.
fn require_not_braked(context: &Context, key: &Key, start: &Start) -> Result<(), Refusal> {
    let braked = start.order == Order::RevokeFirst && key.disabled_by.iter().any(|cause| cause == Cause::Admin);
    if braked && context.authority.is_holder(Action::KeysDisable, &key.target()) {
        return Err(Refusal::KeyDisabled);
    }
    Ok(())
}

/// The sensitive scopes that a successor would have and its predecessor has not, where they are meant. One that has ended
/// has none.
async fn gained(
    read: &mut Read,
    context: &Context,
    predecessor: &Key,
    scopes: &Scopes,
    now: i64,
) -> Result<Vec<Scope>, Error> {
    let none = Scopes::default();
    let has_ended = matches!(predecessor.state(now), State::Revoked | State::Expired);
    let gained = scopes.missing_in(if has_ended { &none } else { &predecessor.scopes });
    let gained = Scopes::new(gained.iter().map(Scope::as_str))?;
    catalogue::require_acknowledged(read, context, &gained).await
}

/// Says which routes a successor of these scopes would not get through any more, where any scope is lost. A partner's
/// people do not see routes.
async fn name_lost_routes(
    read: &mut Read,
    context: &Context,
    predecessor: &Key,
    scopes: &Scopes,
    warnings: &mut [Warning],
) -> Result<(), Error> {
    if context.authority.sees_only().is_some() {
        return Ok(());
    }
    for warning in warnings {
        if let Warning::ScopesLost { routes, .. } = warning {
            let policies = super::routes::policies(read, &predecessor.workspace).await?;
            let before = Reach::of(predecessor);
            let after = Reach { scopes: scopes.clone(), ..before.clone() };
            *routes = reach::lost(&policies, &before, &after);
        }
    }
    Ok(())
}

/// Moves the deadline to `overlap_seconds` from now, or the predecessor's expiry where that is nearer.
///
/// # Errors
/// A refusal; [`Error::NotFound`].
pub async fn extend(
    tx: &mut Tx,
    context: &Context,
    id: &RotationId,
    overlap_seconds: i64,
    reason: Option<Reason>,
) -> Result<Changed, Error> {
    let held = hold(tx, context, id).await?;
    context.authority.require(Action::KeysRotate, &held.predecessor.target())?;
    let turned = rotate::extend(&held.rotation, &held.predecessor, overlap_seconds, held.bound, held.now)?;
    held.turn(tx, context, turned, "rotation.extended", reason).await
}

/// Returns the predecessor to service.
///
/// # Errors
/// A refusal; [`Error::NotFound`].
pub async fn cancel(
    tx: &mut Tx,
    context: &Context,
    id: &RotationId,
    successor: SuccessorFate,
    reason: Option<Reason>,
) -> Result<Changed, Error> {
    let held = hold(tx, context, id).await?;
    context.authority.require(Action::KeysRotate, &held.predecessor.target())?;
    let open = recorded_open(tx, &held.successor.id).await?.filter(|rotation| rotation.is_open(held.now));
    let ending = Ending { by: &context.actor, reason: reason.clone(), now: held.now };
    let Held { rotation, predecessor, successor: key, bound, .. } = &held;
    let turned = rotate::cancel(rotation, predecessor, key, open.as_ref(), ending, successor, *bound)?;
    held.turn(tx, context, turned, "rotation.cancelled", reason).await
}

/// Revokes the predecessor before its deadline. While it is in use this takes `force` and a reason.
///
/// # Errors
/// A refusal; [`Error::NotFound`].
pub async fn complete(
    tx: &mut Tx,
    context: &Context,
    id: &RotationId,
    force: bool,
    reason: Option<Reason>,
) -> Result<Changed, Error> {
    let held = hold(tx, context, id).await?;
    let action = if force { Action::KeysForce } else { Action::KeysRotate };
    context.authority.require(action, &held.predecessor.target())?;
    let ending = Ending { by: &context.actor, reason: reason.clone(), now: held.now };
    let turned = rotate::complete(&held.rotation, &held.predecessor, &held.successor, ending, force)?;
    held.turn(tx, context, turned, "rotation.completed", reason).await
}

/// Closes open rotations of one workspace whose deadline has passed, at most `limit`; returns how many. Of one workspace,
/// because somebody who goes holds keys of their own first and then those of the reserved one that are their tokens. Their predecessors are refused
/// since the deadline whether or not this runs: it only ends the record and writes the audit entry. To be called now and
/// then.
///
/// # Errors
/// [`Error::Database`].
pub async fn settle_lapsed(tx: &mut Tx, limit: u32) -> Result<u64, Error> {
    let second = tx.now().await?.div_euclid(1000);
    let sql = "SELECT workspace_id FROM rotations WHERE state = 'open' AND deadline <= $1 ORDER BY deadline LIMIT 1";
    let Some((workspace,)) = sql!(tx, sql, second => optional (String,))? else { return Ok(0) };
    let sql = "SELECT k.number, k.id FROM rotations r JOIN keys k ON k.id = r.predecessor \
               WHERE r.state = 'open' AND r.deadline <= $1 AND r.workspace_id = $2 ORDER BY r.deadline LIMIT $3";
    let mut due = sql!(tx, sql, second, workspace.as_str(), i64::from(limit) => all (i64, String))?;
    // In the order in which keys are always locked.
    due.sort_unstable();
    let workspace = WorkspaceId::from_stored(workspace);
    let mut closed = 0;
    for (_, predecessor) in due {
        let key = keys::hold_one(tx, &workspace, &KeyId::from_stored(predecessor)).await?;
        let now = tx.now().await?;
        let recorded = recorded_open(tx, &key.id).await?;
        if let Some(lapsed) = recorded.and_then(|rotation| rotate::lapse(&rotation, now)) {
            close_lapsed(tx, &key, &lapsed, now).await?;
            closed += 1;
        }
    }
    Ok(closed)
}

/// A rotation and both its keys, held for change.
struct Held {
    rotation: Rotation,
    predecessor: Key,
    successor: Key,
    bound: Bound,
    now: i64,
}

impl Held {
    /// Records what became of it.
    async fn turn(
        self,
        tx: &mut Tx,
        context: &Context,
        turned: Turned,
        action: &'static str,
        reason: Option<Reason>,
    ) -> Result<Changed, Error> {
        let Self { rotation, predecessor, successor, bound, now } = self;
        let reason = reason.as_ref().map(Reason::as_str);
        let changed = turned.rotation.is_some();
        let rotation = match turned.rotation {
            Some(after) => update(tx, &after).await?,
            None => rotation,
        };
        let mut predecessor = match turned.predecessor {
            Some(after) => {
                let mut entries = vec![Entry::of_rotation(action, reason, &rotation)];
                if matches!(after.stage, Stage::Revoked { .. }) {
                    entries.push(Entry::of_rotation("key.revoked", reason, &rotation));
                }
                record::changed(tx, context, &predecessor, after, &entries, now).await?
            }
            None => predecessor,
        };
        if let Some(completed) = &turned.successor_completed {
            update(tx, completed).await?;
        }
        let mut successor = match turned.successor {
            Some(after) => {
                let mut entries = vec![Entry::of_rotation("key.revoked", reason, &rotation)];
                if let Some(completed) = &turned.successor_completed {
                    entries.push(Entry::of_rotation("rotation.completed", reason, completed));
                }
                record::changed(tx, context, &successor, after, &entries, now).await?
            }
            None => successor,
        };
        profiles::show(tx, &mut [&mut predecessor, &mut successor]).await?;
        Ok(Changed { rotation, predecessor, successor, changed, warnings: turned.warnings, bound, now })
    }
}

/// Takes a rotation for change: its keys in their order, then its record.
async fn hold(tx: &mut Tx, context: &Context, id: &RotationId) -> Result<Held, Error> {
    let seen = find(tx, &context.workspace, id).await?;
    let predecessor = keys::hold_one(tx, &context.workspace, &seen.predecessor).await?;
    if !context.authority.sees(predecessor.subject) {
        return Err(Error::NotFound("rotation"));
    }
    let successor = keys::hold_one(tx, &context.workspace, &seen.successor).await?;
    // Whoever changes a rotation holds its predecessor: from here on it stands still.
    let rotation = find(tx, &context.workspace, id).await?;
    let bound = workspaces::bound(tx, &context.workspace).await?;
    let now = tx.now().await?;
    Ok(Held { rotation, predecessor, successor, bound, now })
}

/// Records that a deadline has passed.
async fn close_lapsed(tx: &mut Tx, predecessor: &Key, lapsed: &Rotation, now: i64) -> Result<(), Error> {
    update(tx, lapsed).await?;
    let context = Context::system(lapsed.workspace.clone(), lapsed.id.as_str());
    let entry = Entry::of_rotation("rotation.completed", None, lapsed);
    record::noted(tx, &context, predecessor, &entry, now).await
}

async fn insert(tx: &mut Tx, rotation: &Rotation) -> Result<(), Error> {
    let (outcome, ended_by_type, ended_by_id, ended_at) = end_columns(rotation);
    sql!(
        tx,
        "INSERT INTO rotations (id, workspace_id, predecessor, successor, lineage, step_order, state, outcome, reason, \
         overlap_seconds, deadline, started_by_type, started_by_id, started_at, ended_by_type, ended_by_id, ended_at, \
         revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
        rotation.id.as_str(),
        rotation.workspace.as_str(),
        rotation.predecessor.as_str(),
        rotation.successor.as_str(),
        rotation.lineage.as_str(),
        rotation.order.as_str(),
        state_column(rotation),
        outcome,
        rotation.reason.as_str(),
        rotation.overlap_seconds,
        rotation.deadline,
        rotation.started_by.kind.as_str(),
        rotation.started_by.id.as_str(),
        rotation.started_at,
        ended_by_type,
        ended_by_id,
        ended_at,
        rotation.revision
        => execute
    )?;
    Ok(())
}

/// Writes a changed rotation, and returns it with its new revision. Its predecessor is held.
pub(super) async fn update(tx: &mut Tx, rotation: &Rotation) -> Result<Rotation, Error> {
    let (outcome, ended_by_type, ended_by_id, ended_at) = end_columns(rotation);
    let updated = sql!(
        tx,
        "UPDATE rotations SET state = $3, outcome = $4, overlap_seconds = $5, deadline = $6, ended_by_type = $7, \
         ended_by_id = $8, ended_at = $9, revision = revision + 1 WHERE id = $1 AND revision = $2",
        rotation.id.as_str(),
        rotation.revision,
        state_column(rotation),
        outcome,
        rotation.overlap_seconds,
        rotation.deadline,
        ended_by_type,
        ended_by_id,
        ended_at
        => execute
    )?;
    if updated != 1 {
        return Err(Error::Corrupt("rotation revision"));
    }
    Ok(Rotation { revision: rotation.revision + 1, ..rotation.clone() })
}

const fn state_column(rotation: &Rotation) -> &'static str {
    match rotation.end {
        None => "open",
        Some(_) => "ended",
    }
}

/// The columns `outcome`, `ended_by_type`, `ended_by_id` and `ended_at`.
fn end_columns(rotation: &Rotation) -> (Option<&str>, Option<&str>, Option<&str>, Option<i64>) {
    match &rotation.end {
        None => (None, None, None, None),
        Some(end) => (Some(end.outcome.as_str()), Some(&end.by.kind), Some(&end.by.id), Some(end.at)),
    }
}

fn random_bytes(random: Random<'_>) -> [u8; 10] {
    let mut bytes = [0; 10];
    random(&mut bytes);
    bytes
}
