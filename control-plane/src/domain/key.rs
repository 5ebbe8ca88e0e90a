//! A key and what may happen to it.

use nightlatch_key::{Digest, Environment};

use super::{Actor, Bound, KeyId, Labels, Name, Owner, Reason, Refusal, Scopes, Tier, Warning, WorkspaceId};

/// For whom a key acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// A member.
    User,
    /// A program of the workspace.
    ServiceAccount,
    /// An organisation inside the workspace.
    Partner,
    /// A paired device.
    Gateway,
}

impl PrincipalKind {
    /// The name used in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::ServiceAccount => "service_account",
            Self::Partner => "partner",
            Self::Gateway => "gateway",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::User, Self::ServiceAccount, Self::Partner, Self::Gateway].into_iter().find(|kind| kind.as_str() == name)
    }
}

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
    /// Its principal is suspended.
    PrincipalSuspended,
}

impl Cause {
    /// The name used in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::PrincipalSuspended => "principal_suspended",
        }
    }
}

/// The causes for which a key is disabled; usable when none remains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    admin: bool,
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
        let suspended = self.principal_suspended.then_some(Cause::PrincipalSuspended);
        admin.into_iter().chain(suspended)
    }

    /// With or without one cause.
    #[must_use]
    pub fn with(mut self, cause: Cause, holds: bool) -> Self {
        match cause {
            Cause::Admin => self.admin = holds,
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
        [Cause::Admin, Cause::PrincipalSuspended]
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

/// A key's status in a published set. The numbers are the set format's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Valid.
    Active = 0,
    /// Valid until its deadline.
    Retiring = 1,
    /// Refused for now.
    Disabled = 2,
    /// Refused for ever.
    Revoked = 3,
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
    /// Free labels.
    pub labels: Labels,
    /// Who issued it.
    pub issued_by: Actor,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix seconds.
    pub expires_at: Option<i64>,
    /// Unix seconds.
    pub rotate_by: Option<i64>,
    /// Unix milliseconds.
    pub last_used_at: Option<i64>,
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

/// What edges are told of a key: a row of `changes` without its bookkeeping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeImage {
    /// Active, retiring, disabled or revoked.
    pub status: Status,
    /// The nearer of expiry and retiring deadline, unix seconds.
    pub deadline: Option<i64>,
    /// Its rate limit's name.
    pub tier: Option<Tier>,
    /// What it may do.
    pub scopes: Scopes,
    /// The principal.
    pub subject: u32,
    /// That principal's kind.
    pub kind: PrincipalKind,
    /// Live or test.
    pub environment: Environment,
}
