//! A key as the API shows it.

use nightlatch_api as api;
use nightlatch_key::Environment;

use crate::api::time::{from_ms, from_seconds, surely_in_force};
use crate::domain::ids::principal_id;
use crate::domain::{Actor, Bound, Cause, Key, PrincipalKind, RotationId, Scope, State, Tier};

/// A key at the moment `now`, unix milliseconds.
pub(in crate::api) fn key(key: &Key, rotation: Option<&RotationId>, bound: Bound, now: i64) -> api::Key {
    api::Key {
        id: key.id.as_str().to_owned(),
        number: key.number,
        prefix: key.prefix.clone(),
        short_prefix: key.short_prefix().to_owned(),
        name: key.name.clone(),
        state: state(key.state(now)),
        disabled_by: key.disabled_by.iter().map(Cause::as_str).map(str::to_owned).collect(),
        principal: principal_id(key.subject),
        kind: kind(key.kind),
        environment: environment(key.environment),
        scopes: scopes(key),
        tier: key.tier.as_ref().map(Tier::as_str).map(str::to_owned),
        owner: key.owner.clone(),
        labels: key.labels.as_map().clone(),
        issued_by: actor(&key.issued_by),
        created_at: from_ms(key.created_at),
        expires_at: key.expires_at.map(from_seconds),
        rotate_by: key.rotate_by.map(from_seconds),
        deadline: key.deadline().map(from_seconds),
        revoked_at: key.revoked_at(now).map(from_ms),
        revoke_reason: key.revoke_reason().map(str::to_owned),
        last_used_at: key.last_used_at.map(from_ms),
        link: key.link.as_ref().map(ToString::to_string),
        lineage: key.lineage.as_str().to_owned(),
        predecessor: key.predecessor.as_ref().map(ToString::to_string),
        successor: key.successor.as_ref().map(ToString::to_string),
        rotation: rotation.map(ToString::to_string),
        imported: key.imported,
        weak: key.weak,
        usable_from: surely_in_force(key.created_at, bound),
    }
}

/// The scopes of a key.
pub(in crate::api) fn scopes(key: &Key) -> Vec<String> {
    key.scopes.iter().map(Scope::as_str).map(str::to_owned).collect()
}

/// An actor.
pub(in crate::api) fn actor(actor: &Actor) -> api::Actor {
    api::Actor { kind: actor.kind.clone(), id: actor.id.clone() }
}

/// A state.
pub(in crate::api) fn state(state: State) -> api::KeyState {
    match state {
        State::Active => api::KeyState::Active,
        State::Retiring => api::KeyState::Retiring,
        State::Disabled => api::KeyState::Disabled,
        State::Revoked => api::KeyState::Revoked,
        State::Expired => api::KeyState::Expired,
    }
}

/// A state, the other way.
pub(in crate::api) fn state_from(state: api::KeyState) -> State {
    match state {
        api::KeyState::Active => State::Active,
        api::KeyState::Retiring => State::Retiring,
        api::KeyState::Disabled => State::Disabled,
        api::KeyState::Revoked => State::Revoked,
        api::KeyState::Expired => State::Expired,
    }
}

/// A kind of principal.
pub(in crate::api) fn kind(kind: PrincipalKind) -> api::PrincipalKind {
    match kind {
        PrincipalKind::User => api::PrincipalKind::User,
        PrincipalKind::ServiceAccount => api::PrincipalKind::ServiceAccount,
        PrincipalKind::Partner => api::PrincipalKind::Partner,
        PrincipalKind::Gateway => api::PrincipalKind::Gateway,
    }
}

/// An environment.
pub(in crate::api) fn environment(environment: Environment) -> api::Environment {
    match environment {
        Environment::Live => api::Environment::Live,
        Environment::Test => api::Environment::Test,
    }
}

/// An environment, the other way.
pub(in crate::api) fn environment_from(environment: api::Environment) -> Environment {
    match environment {
        api::Environment::Live => Environment::Live,
        api::Environment::Test => Environment::Test,
    }
}
