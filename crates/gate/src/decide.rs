//! The decision.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};

use nightlatch_key::{Brand, Digest, Parsed, parse};
use nightlatch_keyset::{Profile, Record, Status};

use crate::code::Code;
use crate::credential::{self, Credential, CredentialError};
use crate::denial::{Context, Denial, DeniedKey};
use crate::ids::{KeyId, PrincipalId};
use crate::keys::{Found, Keys, SetFacts, Unfit};
use crate::path::{PathError, canonicalize};
use crate::policy::{OptionsRule, Policy, Route};
use crate::request::Request;

/// The longest foreign key, in bytes.
pub const MAX_FOREIGN_BYTES: usize = 128;

/// How long before the set's `issued` a key may have been issued and still be in no published version, in seconds.
const RECENT_SECONDS: u64 = 10;

/// What is to be done with a request.
#[derive(Clone, Debug)]
pub enum Verdict<'a> {
    /// Forward it, with the identity of its key.
    Allow(Allow<'a>),
    /// Forward it without key and identity: a preflight on a route that lets them pass.
    Preflight(Forward<'a>),
    /// Answer it.
    Deny(Denial<'a>),
}

/// A request that may be forwarded.
#[derive(Clone, Debug)]
pub struct Allow<'a> {
    /// What to forward.
    pub forward: Forward<'a>,
    /// Whose key it carried.
    pub accepted: Accepted<'a>,
}

/// What the origin receives of a request. Besides, remove what [`crate::headers::is_removed`] names.
#[derive(Clone, Debug)]
pub struct Forward<'a> {
    /// The route that decided.
    pub route: &'a Route,
    /// Canonical path and query, without the parameters that carry keys.
    pub target: Cow<'a, str>,
    /// Whether `Authorization` is the origin's; otherwise it carried a key and must be removed.
    pub keep_authorization: bool,
}

/// A key that was accepted.
#[derive(Clone, Copy, Debug)]
pub struct Accepted<'a> {
    /// Its name in the API.
    pub key: KeyId,
    /// Whom it acts for.
    pub principal: PrincipalId,
    /// The workspace it belongs to.
    pub workspace: &'a str,
    /// What it may do.
    pub profile: &'a Profile,
    /// What is known of it.
    pub record: Record,
    /// Where it is retiring: the unix second from which it will not be valid any more.
    pub retiring: Option<u64>,
}

/// Decides about a request. `now` is the time in unix milliseconds, by the freshness rules of the set. Same arguments,
/// same verdict.
///
/// Whether the set is fresh enough is decided before: `keys` answers [`Unfit`](crate::Unfit) where it is not, and then
/// whatever can be said without it (no route, no key, a text that is no key) is still said.
#[must_use]
pub fn decide<'a, K: Keys + ?Sized>(
    request: &Request<'a>,
    policy: &'a Policy,
    set: &SetFacts<'_>,
    keys: &'a K,
    now: u64,
) -> Verdict<'a> {
    match judge(request, policy, set, keys, now) {
        Ok(verdict) => verdict,
        Err(denial) => Verdict::Deny(denial),
    }
}

/// The first failure decides.
fn judge<'a, K: Keys + ?Sized>(
    request: &Request<'a>,
    policy: &'a Policy,
    set: &SetFacts<'_>,
    keys: &'a K,
    now: u64,
) -> Result<Verdict<'a>, Denial<'a>> {
    let canonical = canonicalize(request.target).map_err(|error| {
        let code = if error == PathError::TooLong { Code::PathTooLong } else { Code::PathAmbiguous };
        Denial::new(code, Context::Path(error))
    })?;
    let (route, preflight) = match passing_preflight(request, policy, &canonical.path) {
        Some(route) => (Some(route), true),
        None => (policy.find(request.method, &canonical.path), false),
    };
    let route = route.ok_or_else(|| Denial::new(Code::RouteNotFound, Context::Nothing))?;
    if request.upgrade && (preflight || route.max_connection_age().is_none()) {
        return Err(Denial::new(Code::UpgradeUnsupported, Context::Nothing));
    }
    let forward = |text: &[u8]| Forward {
        route,
        target: credential::forwarded_target(route, request.target, canonical.path.clone(), canonical.query),
        keep_authorization: credential::keeps_authorization(route, request.authorization, text),
    };
    if preflight {
        return Ok(Verdict::Preflight(forward(&[])));
    }
    let text = read_credential(route, request, canonical.query)?;
    let accepted = check(&text, Some(route), set, keys, now)?;
    // Rate tier, then daily limit: their place is here, before the request is allowed.
    Ok(Verdict::Allow(Allow { forward: forward(&text), accepted }))
}

/// The route that lets this request pass as a preflight: that of the request it announces.
fn passing_preflight<'a>(request: &Request<'_>, policy: &'a Policy, path: &str) -> Option<&'a Route> {
    let announced = request.preflight.filter(|_| request.method == "OPTIONS")?;
    policy.find(announced, path).filter(|route| route.options() == OptionsRule::Pass)
}

fn read_credential<'a>(
    route: &'a Route,
    request: &Request<'a>,
    query: Option<&'a str>,
) -> Result<Credential<'a>, Denial<'a>> {
    credential::extract(route, request, query).map_err(|error| {
        let code = match error {
            CredentialError::Missing => Code::KeyMissing,
            CredentialError::Conflict => Code::KeyConflict,
            CredentialError::TooLarge => Code::CredentialTooLarge,
        };
        Denial::new(code, Context::Route(route))
    })
}

/// Decides about a key alone: its shape, whether it is known, whether it is valid now, and, where a route is given,
/// whether it may use that route. [`decide`] comes to this once it has found route and credential.
///
/// # Errors
/// The [`Denial`] of the first failure.
pub fn check<'a, K: Keys + ?Sized>(
    text: &[u8],
    route: Option<&'a Route>,
    set: &SetFacts<'_>,
    keys: &'a K,
    now: u64,
) -> Result<Accepted<'a>, Denial<'a>> {
    let invalid = || Denial::new(Code::KeyInvalid, Context::Nothing);
    let shape = shape(text, set.brand, set.accepts_foreign).ok_or_else(invalid)?;
    let parsed = match &shape {
        Shape::Minted(parsed) => Some(parsed),
        Shape::Foreign => None,
    };
    let stale = || Denial::unfit(Unfit::SetStale);
    if keys.only_open() && !route.is_some_and(Route::open) {
        return Err(stale());
    }
    let Some(found) = keys.find(&Digest::of(text)).map_err(Denial::unfit)? else {
        if keys.only_open() {
            return Err(stale());
        }
        let recently_issued = parsed.is_some_and(|parsed| is_recent(parsed, set, now));
        return Err(Denial { recently_issued, ..invalid() });
    };
    // Of other workspaces nothing is told, not even that the key exists.
    if found.workspace != set.workspace {
        return Err(invalid());
    }
    let Found { record, profile, workspace } = found;
    let principal = PrincipalId(record.subject);
    let key = KeyId::of(parsed, &record);
    judge_record(&found, route, now).map_err(|(code, context)| {
        let label = match (key, parsed) {
            (KeyId::Minted(_), Some(parsed)) => String::from(parsed.prefix()),
            _ => key.to_string(),
        };
        Denial { key: Some(DeniedKey { id: key, label, principal }), ..Denial::new(code, context) }
    })?;
    let retiring = record.deadline.filter(|_| record.status == Status::Retiring);
    Ok(Accepted { key, principal, workspace, profile, record, retiring })
}

/// What a found key is refused for. Its environment is the record's, whatever the text says.
fn judge_record<'a>(found: &Found<'a>, route: Option<&'a Route>, now: u64) -> Result<(), (Code, Context<'a>)> {
    let Found { record, profile, .. } = found;
    match record.status {
        Status::Revoked => return Err((Code::KeyRevoked, Context::Nothing)),
        Status::Disabled => return Err((Code::KeyDisabled, Context::Nothing)),
        // The member it belongs to is suspended or removed.
        Status::Active | Status::Retiring if profile.refused => return Err((Code::KeyDisabled, Context::Nothing)),
        Status::Active | Status::Retiring => {}
    }
    if let Some(deadline) = record.deadline
        && now >= deadline.saturating_mul(1_000)
    {
        let retired = record.status == Status::Retiring;
        let code = if retired { Code::KeyRetiredGraceOver } else { Code::KeyExpired };
        return Err((code, Context::Ended(deadline)));
    }
    let Some(route) = route else {
        return Ok(());
    };
    if !route.environments().contains(profile.environment) {
        return Err((Code::KeyEnvMismatch, Context::Environment(profile.environment, route)));
    }
    if !route.principals().admits(profile.kind) {
        return Err((Code::PrincipalNotAllowed, Context::Kind(profile.kind, route)));
    }
    if !route.scopes().iter().all(|scope| profile.has_scope(scope)) {
        return Err((Code::ScopeInsufficient, Context::Scopes { held: &profile.scopes, needed: route.scopes() }));
    }
    Ok(())
}

/// What a text may be, before anything is looked up.
#[derive(Clone, Copy, Debug)]
pub enum Shape<'t> {
    /// It has the shape and checksum of a key of the brand.
    Minted(Parsed<'t>),
    /// It may be a key of another shape.
    Foreign,
}

/// Tells what a text may be; `None` for what no set with these properties can hold. An import that asks the same never
/// takes a key in that would never be accepted.
#[must_use]
pub fn shape(text: &[u8], brand: Brand, accepts_foreign: bool) -> Option<Shape<'_>> {
    match parse(text) {
        Ok(parsed) if brand == parsed.brand() => Some(Shape::Minted(parsed)),
        Ok(_) => accepts_foreign.then_some(Shape::Foreign),
        Err(_) => {
            let foreign = accepts_foreign && (1..=MAX_FOREIGN_BYTES).contains(&text.len()) && !begins_as(text, brand);
            foreign.then_some(Shape::Foreign)
        }
    }
}

/// Whether a text begins as the keys of a brand do.
fn begins_as(text: &[u8], brand: Brand) -> bool {
    let rest = text.strip_prefix(brand.as_str().as_bytes());
    rest.is_some_and(|rest| rest.starts_with(b"_live_") || rest.starts_with(b"_test_"))
}

/// Whether a key's id says that the key may be newer than the set.
fn is_recent(parsed: &Parsed<'_>, set: &SetFacts<'_>, now: u64) -> bool {
    let earliest = (set.issued / 1_000).saturating_sub(RECENT_SECONDS);
    let latest = now.saturating_add(set.skew) / 1_000;
    (earliest..=latest).contains(&parsed.issued_at())
}
