//! A key's record, and what follows from it at a moment.

use nightlatch_key::{Digest, Environment};
use nightlatch_keyset::{PrincipalKind, Status};

use super::{Actor, KeyId, Labels, LinkId, MemberId, Refusal, Scopes, Target, Tier, WorkspaceId};

/// Where a key is on its one-way road.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// In service.
    Active,
    /// In its overlap: valid until the deadline.
    Retiring {
        /// Unix seconds.
        deadline: i64,
    },
    /// Final.
    Revoked {
        /// Unix milliseconds.
        at: i64,
        /// Why.
        reason: Option<String>,
    },
}

/// Why a key is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Someone with the right to do so disabled it.
    Admin,
    /// Whose key it is disabled it.
    Holder,
    /// Its principal is suspended.
    PrincipalSuspended,
}

impl Cause {
    /// The name used in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Holder => "holder",
            Self::PrincipalSuspended => "principal_suspended",
        }
    }
}

/// The causes for which a key is disabled; usable when none remains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    admin: bool,
    holder: bool,
    principal_suspended: bool,
}

impl Causes {
    /// Whether none remains.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// In a fixed order.
    pub fn iter(self) -> impl Iterator<Item = Cause> {
        let admin = self.admin.then_some(Cause::Admin);
        let holder = self.holder.then_some(Cause::Holder);
        let suspended = self.principal_suspended.then_some(Cause::PrincipalSuspended);
        admin.into_iter().chain(holder).chain(suspended)
    }

    /// With or without one cause.
    #[must_use]
    pub fn with(mut self, cause: Cause, holds: bool) -> Self {
        match cause {
            Cause::Admin => self.admin = holds,
            Cause::Holder => self.holder = holds,
            Cause::PrincipalSuspended => self.principal_suspended = holds,
        }
        self
    }

    /// As stored: names separated by single blanks.
    pub fn to_stored(self) -> String {
        let names: Vec<_> = self.iter().map(Cause::as_str).collect();
        names.join(" ")
    }

    /// Reads what [`Causes::to_stored`] wrote.
    pub(crate) fn from_stored(text: &str) -> Self {
        [Cause::Admin, Cause::Holder, Cause::PrincipalSuspended]
            .into_iter()
            .filter(|cause| text.split_ascii_whitespace().any(|name| name == cause.as_str()))
            .fold(Self::default(), |causes, cause| causes.with(cause, true))
    }
}

/// A key's state at some moment, as the API shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Usable.
    Active,
    /// Usable until its deadline.
    Retiring,
    /// Refused until every cause is lifted.
    Disabled,
    /// Refused for ever.
    Revoked,
    /// Past its expiry: refused for ever.
    Expired,
}

impl State {
    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::Retiring, Self::Disabled, Self::Revoked, Self::Expired]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// A key's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// `key_…`
    pub id: KeyId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// The key number: unique in the workspace, never reused.
    pub number: u32,
    /// SHA-256 of the text.
    pub digest: Digest,
    /// Public: `{brand}_{env}_{id}`, of an imported key its id's 10 characters.
    pub prefix: String,
    /// What it is for.
    pub name: String,
    /// How far it has gone.
    pub stage: Stage,
    /// Why it is disabled, if it is.
    pub disabled_by: Causes,
    /// Live or test.
    pub environment: Environment,
    /// The principal it acts for.
    pub subject: u32,
    /// That principal's kind.
    pub kind: PrincipalKind,
    /// What it may do.
    pub scopes: Scopes,
    /// Its rate limit's name.
    pub tier: Option<Tier>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// The member who looks after it.
    pub owner_member: Option<MemberId>,
    /// Free labels.
    pub labels: Labels,
    /// Who issued it.
    pub issued_by: Actor,
    /// The member who answers for that: who did it, by hand or with a token, made the token with which a service account did,
    /// or the code with which a gateway paired.
    pub issuer_member: Option<MemberId>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix seconds.
    pub expires_at: Option<i64>,
    /// Unix seconds.
    pub rotate_by: Option<i64>,
    /// Unix milliseconds.
    pub last_used_at: Option<i64>,
    /// The link it is bound to: it ends with that.
    pub link: Option<LinkId>,
    /// The id of the first key of its line of successors.
    pub lineage: KeyId,
    /// The key it replaces.
    pub predecessor: Option<KeyId>,
    /// The key that replaces it: of several rotations, the last.
    pub successor: Option<KeyId>,
    /// Made elsewhere.
    pub imported: bool,
    /// Declared with less than 128 bits of entropy, or undeclared.
    pub weak: bool,
    /// Counts the changes of the record; what `ETag` is made of.
    pub revision: i64,
}

/// What edges are told of a key: a row of `changes` without its bookkeeping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeImage {
    /// Active, retiring, disabled or revoked.
    pub status: Status,
    /// The nearer of expiry and retiring deadline, unix seconds.
    pub deadline: Option<i64>,
    /// Its rate limit's name; none of a member's key, whose live profile says it.
    pub tier: Option<Tier>,
    /// What it may do; nothing of a member's key, likewise.
    pub scopes: Scopes,
    /// The principal.
    pub subject: u32,
    /// That principal's kind.
    pub kind: PrincipalKind,
    /// Live or test.
    pub environment: Environment,
}

impl Key {
    /// As what somebody does something to it.
    pub const fn target(&self) -> Target {
        Target::Key { kind: self.kind, subject: self.subject }
    }

    /// Its state at `now` (unix milliseconds), in the order in which the gate refuses.
    pub fn state(&self, now: i64) -> State {
        match self.stage {
            Stage::Revoked { .. } => State::Revoked,
            Stage::Retiring { deadline } if passed(deadline, now) => State::Revoked,
            _ if self.expires_at.is_some_and(|expiry| passed(expiry, now)) => State::Expired,
            _ if !self.disabled_by.is_empty() => State::Disabled,
            Stage::Retiring { .. } => State::Retiring,
            Stage::Active => State::Active,
        }
    }

    /// Whether it verifies at `now`.
    pub fn is_usable(&self, now: i64) -> bool {
        matches!(self.state(now), State::Active | State::Retiring)
    }

    /// The end of its overlap, unix seconds, while it is retiring and ever after.
    pub fn deadline(&self) -> Option<i64> {
        match self.stage {
            Stage::Retiring { deadline } => Some(deadline),
            Stage::Active | Stage::Revoked { .. } => None,
        }
    }

    /// When it was revoked, unix milliseconds: by a call, or by its deadline passing.
    pub fn revoked_at(&self, now: i64) -> Option<i64> {
        match self.stage {
            Stage::Revoked { at, .. } => Some(at),
            Stage::Retiring { deadline } if passed(deadline, now) => Some(to_ms(deadline)),
            Stage::Retiring { .. } | Stage::Active => None,
        }
    }

    /// Why it was revoked, where someone said so.
    pub fn revoke_reason(&self) -> Option<&str> {
        match &self.stage {
            Stage::Revoked { reason, .. } => reason.as_deref(),
            Stage::Retiring { .. } | Stage::Active => None,
        }
    }

    /// From when it is refused, unix seconds: the nearer of expiry and deadline.
    pub fn valid_until(&self) -> Option<i64> {
        [self.expires_at, self.deadline()].into_iter().flatten().min()
    }

    /// The first 8 characters of its id.
    pub fn short_prefix(&self) -> &str {
        let tail = self.id.tail();
        tail.get(..8).unwrap_or(tail)
    }

    /// What edges are told of it.
    pub fn edge_image(&self) -> EdgeImage {
        // What is said of a member is said by its live profile, once for all its keys.
        let inherits = self.kind == PrincipalKind::User;
        let disabled_by =
            if inherits { self.disabled_by.with(Cause::PrincipalSuspended, false) } else { self.disabled_by };
        let status = match self.stage {
            Stage::Revoked { .. } => Status::Revoked,
            _ if !disabled_by.is_empty() => Status::Disabled,
            Stage::Retiring { .. } => Status::Retiring,
            Stage::Active => Status::Active,
        };
        EdgeImage {
            status,
            deadline: self.valid_until(),
            tier: self.tier.clone().filter(|_| !inherits),
            scopes: if inherits { Scopes::default() } else { self.scopes.clone() },
            subject: self.subject,
            kind: self.kind,
            environment: self.environment,
        }
    }

    /// Refuses where no later change can make the key verify again.
    pub(super) fn require_not_final(&self, now: i64) -> Result<(), Refusal> {
        match self.state(now) {
            State::Revoked => Err(Refusal::KeyRevoked),
            State::Expired => Err(Refusal::KeyExpired),
            State::Active | State::Retiring | State::Disabled => Ok(()),
        }
    }
}

/// Whether a deadline or expiry (unix seconds) has passed at `now` (unix milliseconds).
pub(super) const fn passed(deadline: i64, now: i64) -> bool {
    now >= to_ms(deadline)
}

/// Seconds as milliseconds.
pub(super) const fn to_ms(seconds: i64) -> i64 {
    seconds.saturating_mul(1000)
}
