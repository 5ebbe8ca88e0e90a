//! Changes of one key: issue, patch, disable, enable, revoke.

use nightlatch_key::{CLOCK_ORIGIN, Digest, Environment};
use nightlatch_keyset::PrincipalKind;

use super::key::{passed, to_ms};
use super::rotation::{End, Outcome};
use super::{
    Actor, Bound, Cause, Key, KeyId, Labels, LinkId, Name, Owner, Reason, Refusal, Rotation, Scopes, Stage, State,
    Tier, Warning, WorkspaceId,
};

/// The last second a published row can hold.
const LAST_SECOND: i64 = CLOCK_ORIGIN as i64 + u32::MAX as i64;

/// A request for a key.
#[derive(Clone, Debug)]
pub struct Issue {
    /// What it is for.
    pub name: Name,
    /// Live or test.
    pub environment: Environment,
    /// The principal; the workspace's default one where omitted.
    pub subject: Option<u32>,
    /// What it may do.
    pub scopes: Scopes,
    /// Its rate limit's name.
    pub tier: Option<Tier>,
    /// Who answers for it.
    pub owner: Option<Owner>,
    /// Free labels.
    pub labels: Labels,
    /// Unix seconds, in the future.
    pub expires_at: Option<i64>,
    /// Unix seconds.
    pub rotate_by: Option<i64>,
    /// The link it is bound to: of a partner's key only.
    pub link: Option<LinkId>,
}

/// What a new key is given beside what was asked for.
#[derive(Clone, Debug)]
pub struct Birth {
    /// `key_…`
    pub id: KeyId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// The next key number.
    pub number: u32,
    /// SHA-256 of its text.
    pub digest: Digest,
    /// Public.
    pub prefix: String,
    /// Its principal.
    pub subject: u32,
    /// That principal's kind.
    pub kind: PrincipalKind,
    /// Who issues it.
    pub by: Actor,
    /// The database clock, unix milliseconds.
    pub now: i64,
}

/// A change of a key's attributes. The outer `None` leaves a field, the inner `None` clears it.
#[derive(Clone, Debug, Default)]
pub struct KeyPatch {
    /// What it is for.
    pub name: Option<Name>,
    /// All labels, replaced whole.
    pub labels: Option<Labels>,
    /// Who answers for it.
    pub owner: Option<Option<Owner>>,
    /// Its rate limit's name.
    pub tier: Option<Option<Tier>>,
    /// Unix seconds, in the future.
    pub expires_at: Option<Option<i64>>,
    /// Unix seconds.
    pub rotate_by: Option<Option<i64>>,
}

/// A patched key.
#[derive(Clone, Debug)]
pub struct Patched {
    /// The key as it becomes.
    pub key: Key,
    /// Its open rotation, if its deadline moved.
    pub rotation: Option<Rotation>,
    /// What to tell the caller.
    pub warnings: Vec<Warning>,
}

/// A revoked key.
#[derive(Clone, Debug)]
pub struct Revoked {
    /// The key as it becomes; `None` where it was revoked already.
    pub key: Option<Key>,
    /// The rotation this completed.
    pub completed: Option<Rotation>,
    /// What to tell the caller.
    pub warnings: Vec<Warning>,
}

/// A new key.
///
/// # Errors
/// [`Refusal::ExpiryPast`], [`Refusal::Invalid`] for a time beyond 2156, [`Refusal::ScopesInherited`] for scopes or a tier
/// of a member's key.
pub fn issue(issue: Issue, birth: Birth) -> Result<Key, Refusal> {
    require_inherited(birth.kind, &issue.scopes, issue.tier.as_ref())?;
    check_times(issue.expires_at, issue.rotate_by, birth.now)?;
    Ok(Key {
        lineage: birth.id.clone(),
        id: birth.id,
        workspace: birth.workspace,
        number: birth.number,
        digest: birth.digest,
        prefix: birth.prefix,
        name: issue.name.into_string(),
        stage: Stage::Active,
        disabled_by: super::Causes::default(),
        environment: issue.environment,
        subject: birth.subject,
        kind: birth.kind,
        scopes: issue.scopes,
        tier: issue.tier,
        owner: issue.owner.map(Owner::into_string),
        labels: issue.labels,
        issued_by: birth.by,
        created_at: birth.now,
        expires_at: issue.expires_at,
        rotate_by: issue.rotate_by,
        last_used_at: None,
        link: issue.link,
        predecessor: None,
        successor: None,
        imported: false,
        weak: false,
        revision: 1,
    })
}

/// Changes a key's attributes. `open` is the open rotation it is predecessor of.
///
/// Name, labels and owner describe the record and can change for ever; tier, expiry and rotate-by cannot once the key is
/// final. An expiry nearer than the deadline of an overlap moves the deadline with it.
///
/// # Errors
/// [`Refusal::ScopesInherited`], [`Refusal::KeyRevoked`], [`Refusal::KeyExpired`], [`Refusal::ExpiryPast`], [`Refusal::Invalid`], and
/// [`Refusal::TooLate`] where a later expiry might not reach every edge in time.
pub fn patch(key: &Key, open: Option<&Rotation>, patch: KeyPatch, bound: Bound, now: i64) -> Result<Patched, Refusal> {
    let mut after = key.clone();
    let mut moved = None;
    let mut warnings = Vec::new();
    require_inherited(key.kind, &Scopes::default(), patch.tier.as_ref().and_then(Option::as_ref))?;
    if patch.tier.is_some() || patch.expires_at.is_some() || patch.rotate_by.is_some() {
        key.require_not_final(now)?;
    }
    if let Some(name) = patch.name {
        after.name = name.into_string();
    }
    if let Some(labels) = patch.labels {
        after.labels = labels;
    }
    if let Some(owner) = patch.owner {
        after.owner = owner.map(Owner::into_string);
    }
    if let Some(tier) = patch.tier {
        after.tier = tier;
    }
    if let Some(rotate_by) = patch.rotate_by {
        if rotate_by.is_none() && key.weak {
            return Err(Refusal::RotateByRequired);
        }
        check_times(None, rotate_by, now)?;
        after.rotate_by = rotate_by;
    }
    if let Some(expires_at) = patch.expires_at.filter(|expires_at| *expires_at != key.expires_at) {
        check_times(expires_at, None, now)?;
        let later = match (key.expires_at, expires_at) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(old), Some(new)) => new > old,
        };
        if later {
            require_time_to_spread(key, bound, now)?;
        }
        after.expires_at = expires_at;
        if let Some(expiry) = expires_at {
            if expiry_is_near(expiry, bound, now) {
                warnings.push(Warning::ExpiryBelowBound);
            }
            if let Stage::Retiring { deadline } = key.stage
                && expiry < deadline
            {
                after.stage = Stage::Retiring { deadline: expiry };
                moved = open.map(|rotation| rotation.with_deadline(expiry));
            }
        }
    }
    Ok(Patched { key: after, rotation: moved, warnings })
}

/// Adds a cause for which the key is refused. `None` where it was there already.
///
/// # Errors
/// [`Refusal::KeyRevoked`], [`Refusal::KeyExpired`].
pub fn disable(key: &Key, cause: Cause, now: i64) -> Result<Option<Key>, Refusal> {
    set_cause(key, cause, true, now)
}

/// Removes a cause. `None` where it was not there.
///
/// # Errors
/// [`Refusal::KeyRevoked`], [`Refusal::KeyExpired`].
pub fn enable(key: &Key, cause: Cause, now: i64) -> Result<Option<Key>, Refusal> {
    set_cause(key, cause, false, now)
}

fn set_cause(key: &Key, cause: Cause, holds: bool, now: i64) -> Result<Option<Key>, Refusal> {
    key.require_not_final(now)?;
    let disabled_by = key.disabled_by.with(cause, holds);
    Ok((disabled_by != key.disabled_by).then(|| Key { disabled_by, ..key.clone() }))
}

/// Revokes a key, finally. It always succeeds; repeating it changes nothing.
///
/// `as_predecessor` and `as_successor` are the open rotations the key is part of. The first is completed by this; the
/// second keeps its deadline, and the caller is warned that nothing will take the predecessor's place.
pub fn revoke(
    key: &Key,
    as_predecessor: Option<&Rotation>,
    as_successor: Option<&Rotation>,
    reason: Option<Reason>,
    by: &Actor,
    now: i64,
) -> Revoked {
    let mut warnings = Vec::new();
    if as_successor.is_some_and(|rotation| rotation.is_open(now)) {
        warnings.push(Warning::NoSuccessor);
    }
    if key.state(now) == State::Revoked {
        return Revoked { key: None, completed: None, warnings };
    }
    let stage = Stage::Revoked { at: now, reason: reason.map(Reason::into_string) };
    let end = End { outcome: Outcome::PredecessorRevoked, by: by.clone(), at: now };
    Revoked {
        key: Some(Key { stage, ..key.clone() }),
        completed: as_predecessor.map(|rotation| rotation.ended(end)),
        warnings,
    }
}

/// Refuses scopes and a tier for a member's key: it has the member's.
pub(crate) fn require_inherited(kind: PrincipalKind, scopes: &Scopes, tier: Option<&Tier>) -> Result<(), Refusal> {
    if kind == PrincipalKind::User && (!scopes.is_empty() || tier.is_some()) {
        return Err(Refusal::ScopesInherited);
    }
    Ok(())
}

/// Checks an expiry and a rotate-by time: representable, the expiry in the future.
pub(super) fn check_times(expires_at: Option<i64>, rotate_by: Option<i64>, now: i64) -> Result<(), Refusal> {
    if expires_at.is_some_and(|expiry| passed(expiry, now)) {
        return Err(Refusal::ExpiryPast);
    }
    if expires_at.is_some_and(|expiry| expiry > LAST_SECOND) {
        return Err(Refusal::Invalid { field: "expires_at" });
    }
    if rotate_by.is_some_and(|time| !(CLOCK_ORIGIN as i64..=LAST_SECOND).contains(&time)) {
        return Err(Refusal::Invalid { field: "rotate_by" });
    }
    Ok(())
}

/// Refuses where an edge that has not heard of a later time could already refuse the key: then a client would see a key
/// that stopped working work again.
pub(super) fn require_time_to_spread(key: &Key, bound: Bound, now: i64) -> Result<(), Refusal> {
    match key.valid_until() {
        Some(until) if now > to_ms(until).saturating_sub(bound.ms()) => Err(Refusal::TooLate),
        Some(_) | None => Ok(()),
    }
}

/// Whether the expiry may pass before every edge has heard of it.
fn expiry_is_near(expiry: i64, bound: Bound, now: i64) -> bool {
    to_ms(expiry) < now.saturating_add(bound.ms())
}
