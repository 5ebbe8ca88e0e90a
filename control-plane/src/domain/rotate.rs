//! What may happen to a rotation: start, extend, cancel, complete, lapse.

use super::change::{self, check_times, require_inherited, require_time_to_spread};
use super::key::to_ms;
use super::rotation::{End, IN_USE_MS, Order, Outcome, Start, SuccessorFate};
use super::{
    Actor, Birth, Bound, Issue, Key, Name, PrincipalKind, Reason, Refusal, Revoked, Rotation, RotationId, Scopes,
    Stage, State, Warning,
};

/// The longest overlap, in seconds: a leap year.
const MAX_OVERLAP_SECONDS: i64 = 366 * 24 * 60 * 60;

/// What a start would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The successor's name.
    pub name: Name,
    /// The successor's scopes.
    pub scopes: Scopes,
    /// The predecessor's deadline, unix seconds; none for `revoke_first`.
    pub deadline: Option<i64>,
    /// What the start warns of.
    pub warnings: Vec<Warning>,
}

/// A started rotation.
#[derive(Clone, Debug)]
pub struct Started {
    /// The predecessor as it becomes.
    pub predecessor: Key,
    /// The new key.
    pub successor: Key,
    /// The new rotation.
    pub rotation: Rotation,
    /// The open rotation that `revoke_first` ended.
    pub ended: Option<Rotation>,
    /// What to tell the caller.
    pub warnings: Vec<Warning>,
}

/// A changed rotation. What is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Turned {
    /// The rotation as it becomes.
    pub rotation: Option<Rotation>,
    /// The predecessor as it becomes.
    pub predecessor: Option<Key>,
    /// The successor as it becomes.
    pub successor: Option<Key>,
    /// The successor's own rotation, which its revocation completed.
    pub successor_completed: Option<Rotation>,
    /// What to tell the caller.
    pub warnings: Vec<Warning>,
}

/// Decides what [`start`] would do. `open` is the predecessor's open rotation.
///
/// # Errors
/// For `issue_first`: [`Refusal::RotationOpen`], [`Refusal::KeyRevoked`], [`Refusal::KeyExpired`],
/// [`Refusal::KeyDisabled`] (a successor would undo it), [`Refusal::OverlapBelowBound`], [`Refusal::Invalid`].
/// `revoke_first` is never refused for what the predecessor is.
pub fn plan(
    predecessor: &Key,
    open: Option<&Rotation>,
    start: &Start,
    bound: Bound,
    now: i64,
) -> Result<Plan, Refusal> {
    let mut warnings = Vec::new();
    let deadline = match start.order {
        Order::RevokeFirst => None,
        Order::IssueFirst => {
            predecessor.require_not_final(now)?;
            if let Some(rotation) = open {
                return Err(Refusal::RotationOpen { rotation: rotation.id.clone() });
            }
            if predecessor.state(now) == State::Disabled {
                return Err(Refusal::KeyDisabled);
            }
            if start.overlap_seconds < bound.seconds() {
                return Err(Refusal::OverlapBelowBound { minimum_seconds: bound.seconds() });
            }
            let asked = deadline_after(start.overlap_seconds, now)?;
            let deadline = predecessor.expires_at.map_or(asked, |expiry| expiry.min(asked));
            if to_ms(deadline) < now.saturating_add(bound.ms()) {
                warnings.push(Warning::OverlapBelowBound);
            }
            Some(deadline)
        }
    };
    change::check_times(start.expires_at, None, now)?;
    if predecessor.expires_at.is_some() && start.expires_at.is_none() {
        warnings.push(Warning::ExpiryNotInherited);
    }
    let name = start.name.clone().unwrap_or_else(|| next_name(&predecessor.name));
    if name.as_str() == predecessor.name {
        warnings.push(Warning::SameName);
    }
    if let Some(scopes) = &start.scopes {
        require_inherited(predecessor.kind, scopes, None)?;
    }
    let own = start.scopes.clone().filter(|_| predecessor.kind != PrincipalKind::User);
    let scopes = own.unwrap_or_else(|| predecessor.scopes.clone());
    let lost = predecessor.scopes.missing_in(&scopes);
    if !lost.is_empty() {
        // Which routes that concerns, the store knows.
        warnings.push(Warning::ScopesLost { scopes: lost, routes: Vec::new() });
    }
    Ok(Plan { name, scopes, deadline, warnings })
}

/// Starts a rotation. The successor takes over scopes, tier, owner, labels, environment, principal, link and lineage, and
/// the time between creation and rotate-by; not the expiry, which was the predecessor's own, unless one is asked for.
///
/// # Errors
/// As [`plan`].
pub fn start(
    predecessor: &Key,
    open: Option<&Rotation>,
    start: Start,
    id: RotationId,
    birth: Birth,
    bound: Bound,
) -> Result<Started, Refusal> {
    let now = birth.now;
    let by = birth.by.clone();
    let plan = plan(predecessor, open, &start, bound, now)?;
    let request = Issue {
        name: plan.name,
        environment: predecessor.environment,
        subject: Some(predecessor.subject),
        scopes: plan.scopes,
        tier: predecessor.tier.clone(),
        owner: None,
        owner_member: predecessor.owner_member.clone(),
        labels: predecessor.labels.clone(),
        expires_at: start.expires_at,
        rotate_by: None,
        link: predecessor.link.clone(),
    };
    let successor = Key {
        owner: predecessor.owner.clone(),
        lineage: predecessor.lineage.clone(),
        predecessor: Some(predecessor.id.clone()),
        rotate_by: next_rotate_by(predecessor, now),
        ..change::issue(request, birth)?
    };
    let mut rotation = Rotation {
        id,
        workspace: predecessor.workspace.clone(),
        predecessor: predecessor.id.clone(),
        successor: successor.id.clone(),
        lineage: predecessor.lineage.clone(),
        order: start.order,
        reason: start.reason.as_str().to_owned(),
        overlap_seconds: start.overlap_seconds,
        deadline: plan.deadline,
        started_by: by.clone(),
        started_at: now,
        end: None,
        revision: 1,
    };
    let mut after = Key { successor: Some(successor.id.clone()), ..predecessor.clone() };
    let mut ended = None;
    match plan.deadline {
        Some(deadline) => after.stage = Stage::Retiring { deadline },
        None => {
            let Revoked { key, completed, .. } = change::revoke(predecessor, open, None, Some(start.reason), &by, now);
            if let Some(key) = key {
                after.stage = key.stage;
            }
            ended = completed.or_else(|| open.and_then(|rotation| lapse(rotation, now)));
            rotation.overlap_seconds = 0;
            rotation.end = Some(End { outcome: Outcome::PredecessorRevoked, by, at: now });
        }
    }
    Ok(Started { predecessor: after, successor, rotation, ended, warnings: plan.warnings })
}

/// Moves the deadline to `overlap_seconds` from now, or the predecessor's expiry where that is nearer.
///
/// # Errors
/// [`Refusal::RotationClosed`], [`Refusal::TooLate`], [`Refusal::DeadlineNotLater`], [`Refusal::Invalid`].
pub fn extend(
    rotation: &Rotation,
    predecessor: &Key,
    overlap_seconds: i64,
    bound: Bound,
    now: i64,
) -> Result<Turned, Refusal> {
    let deadline = require_turnable(rotation, predecessor, bound, now)?;
    let asked = deadline_after(overlap_seconds, now)?;
    let new = predecessor.expires_at.map_or(asked, |expiry| expiry.min(asked));
    if new <= deadline {
        return Err(Refusal::DeadlineNotLater);
    }
    Ok(Turned {
        rotation: Some(Rotation { overlap_seconds, ..rotation.with_deadline(new) }),
        predecessor: Some(Key { stage: Stage::Retiring { deadline: new }, ..predecessor.clone() }),
        ..Turned::default()
    })
}

/// Returns the predecessor to service and keeps or revokes the successor. `open` is the open rotation the successor is
/// itself predecessor of.
///
/// # Errors
/// [`Refusal::RotationClosed`], [`Refusal::TooLate`].
pub fn cancel(
    rotation: &Rotation,
    predecessor: &Key,
    successor: &Key,
    open: Option<&Rotation>,
    ending: Ending<'_>,
    fate: SuccessorFate,
    bound: Bound,
) -> Result<Turned, Refusal> {
    let now = ending.now;
    require_turnable(rotation, predecessor, bound, now)?;
    let mut turned = Turned {
        predecessor: Some(Key { stage: Stage::Active, successor: None, ..predecessor.clone() }),
        ..Turned::default()
    };
    let outcome = match fate {
        SuccessorFate::Keep => Outcome::SuccessorKept,
        SuccessorFate::Revoke => {
            let revoked = change::revoke(successor, open, None, ending.reason, ending.by, now);
            turned.successor = revoked.key;
            turned.successor_completed = revoked.completed;
            Outcome::SuccessorRevoked
        }
    };
    turned.rotation = Some(rotation.ended(End { outcome, by: ending.by.clone(), at: now }));
    Ok(turned)
}

/// Who ends a rotation, why, and when.
#[derive(Clone, Debug)]
pub struct Ending<'a> {
    /// Who.
    pub by: &'a Actor,
    /// Why.
    pub reason: Option<Reason>,
    /// The database clock, unix milliseconds.
    pub now: i64,
}

/// Revokes the predecessor before its deadline. Completing what is complete changes nothing.
///
/// # Errors
/// [`Refusal::RotationClosed`] where it was cancelled; [`Refusal::PredecessorInUse`] and [`Refusal::ReasonRequired`]
/// while the predecessor was seen within [`IN_USE_MS`].
pub fn complete(
    rotation: &Rotation,
    predecessor: &Key,
    successor: &Key,
    ending: Ending<'_>,
    force: bool,
) -> Result<Turned, Refusal> {
    let now = ending.now;
    if rotation.end.as_ref().is_some_and(|end| end.outcome.is_cancelled()) {
        return Err(Refusal::RotationClosed);
    }
    if !rotation.is_open(now) {
        return Ok(Turned::default());
    }
    let in_use = predecessor.last_used_at.filter(|&seen| seen > now - IN_USE_MS);
    let outcome = match in_use {
        None => Outcome::Completed,
        Some(_) if force && ending.reason.is_some() => Outcome::Forced,
        Some(_) if force => return Err(Refusal::ReasonRequired),
        Some(last_used_at) => return Err(Refusal::PredecessorInUse { last_used_at }),
    };
    let mut turned = Turned::default();
    if !successor.is_usable(now) {
        turned.warnings.push(Warning::NoSuccessor);
    }
    turned.predecessor = change::revoke(predecessor, None, None, ending.reason, ending.by, now).key;
    turned.rotation = Some(rotation.ended(End { outcome, by: ending.by.clone(), at: now }));
    Ok(turned)
}

/// The record of a rotation whose deadline has passed; `None` where it is not open or has not reached it. The predecessor
/// needs no change: its own deadline refuses it.
pub fn lapse(rotation: &Rotation, now: i64) -> Option<Rotation> {
    if rotation.end.is_some() || rotation.is_open(now) {
        return None;
    }
    let at = rotation.deadline.map_or(now, to_ms);
    Some(rotation.ended(End { outcome: Outcome::Lapsed, by: Actor::system(), at }))
}

/// The deadline of a rotation that can still be turned around in time.
fn require_turnable(rotation: &Rotation, predecessor: &Key, bound: Bound, now: i64) -> Result<i64, Refusal> {
    match (&rotation.end, rotation.deadline) {
        (None, Some(deadline)) => require_time_to_spread(predecessor, bound, now).map(|()| deadline),
        // Whether the record of a passed deadline has been closed yet makes no difference.
        (Some(End { outcome: Outcome::Lapsed, .. }), _) => Err(Refusal::TooLate),
        (Some(_), _) | (None, None) => Err(Refusal::RotationClosed),
    }
}

/// At least `overlap_seconds` from now, in whole unix seconds.
fn deadline_after(overlap_seconds: i64, now: i64) -> Result<i64, Refusal> {
    if !(0..=MAX_OVERLAP_SECONDS).contains(&overlap_seconds) {
        return Err(Refusal::Invalid { field: "overlap_seconds" });
    }
    let deadline = now.saturating_add(999).div_euclid(1000).saturating_add(overlap_seconds);
    check_times(Some(deadline), None, now).map_err(|_| Refusal::Invalid { field: "overlap_seconds" })?;
    Ok(deadline)
}

/// The predecessor's time between creation and rotate-by, from now.
fn next_rotate_by(predecessor: &Key, now: i64) -> Option<i64> {
    let created = predecessor.created_at.div_euclid(1000);
    let span = predecessor.rotate_by?.checked_sub(created).filter(|&span| span > 0)?;
    let next = now.div_euclid(1000).saturating_add(span);
    check_times(None, Some(next), now).is_ok().then_some(next)
}

/// "x" becomes "x (v2)", "x (v2)" becomes "x (v3)". A name too long for the suffix is cut.
fn next_name(name: &str) -> Name {
    let counted = name.strip_suffix(')').and_then(|rest| rest.rsplit_once(" (v")).and_then(|(stem, digits)| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse::<u32>().ok()).flatten().map(|count| (stem, count))
    });
    let (stem, count) = counted.unwrap_or((name, 1));
    let suffix = format!(" (v{})", count.saturating_add(1));
    let room = Name::MAX_CHARS.saturating_sub(suffix.len());
    let stem: String = stem.chars().take(room).collect();
    Name::from_checked(format!("{}{suffix}", stem.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s2_03_an_omitted_name_shows_succession() {
        assert_eq!(next_name("billing").as_str(), "billing (v2)");
        assert_eq!(next_name("billing (v2)").as_str(), "billing (v3)");
        assert_eq!(next_name("billing (v9)").as_str(), "billing (v10)");
        assert_eq!(next_name("billing (vx)").as_str(), "billing (vx) (v2)");
        assert_eq!(next_name("billing (v99999999999)").as_str(), "billing (v99999999999) (v2)");
        let long = "ü".repeat(200);
        let next = next_name(&long);
        assert_eq!(next.as_str().chars().count(), 200);
        assert!(Name::new(next.as_str()).is_ok());
    }
}
