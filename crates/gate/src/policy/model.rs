//! The policy as the gate holds it: checked, in order, read-only.

use alloc::string::String;
use alloc::vec::Vec;

use nightlatch_key::Environment;
use nightlatch_keyset::PrincipalKind;

use super::MAX_METHOD_BYTES;
use super::pattern::Pattern;

/// A checked route policy. Made by [`Policy::new`] or [`Policy::decode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(super) realm: String,
    pub(super) developer_url: Option<String>,
    /// The most specific first; see [`super::matcher`].
    pub(super) routes: Vec<Route>,
}

impl Policy {
    /// What `WWW-Authenticate` names.
    #[must_use]
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Where developers read about the successor of a retiring key.
    #[must_use]
    pub fn developer_url(&self) -> Option<&str> {
        self.developer_url.as_deref()
    }

    /// The routes, in the order of the encoded policy.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }
}

/// One route: what it matches, and what it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub(super) method: Method,
    pub(super) pattern: Pattern,
    pub(super) environments: Environments,
    /// Sorted, without repetition.
    pub(super) scopes: Vec<String>,
    pub(super) principals: PrincipalKinds,
    pub(super) credentials: Vec<CredentialSource>,
    pub(super) options: OptionsRule,
    pub(super) cache: Cache,
    pub(super) max_connection_age: Option<u32>,
    pub(super) open: bool,
}

impl Route {
    /// The method it matches.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The paths it matches.
    #[must_use]
    pub const fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// The environments whose keys it admits.
    #[must_use]
    pub const fn environments(&self) -> Environments {
        self.environments
    }

    /// The scopes a key must have, all of them; sorted.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// The kinds of principal it admits; empty stands for all.
    #[must_use]
    pub const fn principals(&self) -> PrincipalKinds {
        self.principals
    }

    /// Where a key is read from, in order.
    #[must_use]
    pub fn credentials(&self) -> &[CredentialSource] {
        &self.credentials
    }

    /// Whether preflight requests pass without a key.
    #[must_use]
    pub const fn options(&self) -> OptionsRule {
        self.options
    }

    /// What shared caches may do with answers.
    #[must_use]
    pub const fn cache(&self) -> Cache {
        self.cache
    }

    /// How long a connection may go on after its request was let through, in seconds: then its bodies, and what it was
    /// upgraded to, are ended. `None` leaves bodies alone and lets nothing be upgraded.
    #[must_use]
    pub const fn max_connection_age(&self) -> Option<u32> {
        self.max_connection_age
    }

    /// Whether keys known good pass while the head is not valid any more, as long as it says so.
    #[must_use]
    pub const fn open(&self) -> bool {
        self.open
    }

    /// Whether a key is read from `Authorization: Bearer`.
    pub(crate) fn reads_bearer(&self) -> bool {
        self.credentials.contains(&CredentialSource::Bearer)
    }

    /// The query parameters a key is read from.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.credentials.iter().filter_map(|source| match source {
            CredentialSource::Query(name) => Some(name.as_str()),
            CredentialSource::Bearer | CredentialSource::ApiKey => None,
        })
    }
}

/// The methods a route matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// This one; `GET` also matches `HEAD`.
    Exact(String),
    /// All of them (`*`).
    Any,
}

impl Method {
    /// Reads `*` or an upper-case method name: `[A-Z][A-Z_-]{0,31}`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let shape = text.len() <= MAX_METHOD_BYTES
            && text.as_bytes().first().is_some_and(u8::is_ascii_uppercase)
            && text.bytes().all(|b| b.is_ascii_uppercase() || matches!(b, b'_' | b'-'));
        shape.then(|| Self::Exact(text.into()))
    }

    /// The name, or `*`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(name) => name,
            Self::Any => "*",
        }
    }

    pub(super) fn matches(&self, method: &str) -> bool {
        match self {
            Self::Exact(name) => name == method || (name == "GET" && method == "HEAD"),
            Self::Any => true,
        }
    }

    /// Sorts as matching prefers: exact names, `GET` (which stands in for `HEAD`), `*`.
    pub(super) fn rank(&self) -> (u8, &str) {
        match self {
            Self::Exact(name) if name == "GET" => (1, name),
            Self::Exact(name) => (0, name),
            Self::Any => (2, ""),
        }
    }
}

/// Where a key is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// `Authorization: Bearer …`; written `authorization`.
    Bearer,
    /// `X-API-Key: …`; written `x-api-key`.
    ApiKey,
    /// The query parameter of this name; written `query:NAME`.
    Query(String),
}

impl CredentialSource {
    /// Reads `authorization`, `x-api-key` or `query:NAME`. Whether the name can be used is checked with the route.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "authorization" => Some(Self::Bearer),
            "x-api-key" => Some(Self::ApiKey),
            _ => text.strip_prefix("query:").map(|name| Self::Query(name.into())),
        }
    }
}

/// What happens to an `OPTIONS` request that asks whether a cross-origin request may be made (a preflight).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OptionsRule {
    /// It needs a key and a route like any other.
    #[default]
    Key,
    /// It is forwarded without one, as browsers send none.
    Pass,
}

impl OptionsRule {
    /// Reads `key` or `pass`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "key" => Some(Self::Key),
            "pass" => Some(Self::Pass),
            _ => None,
        }
    }
}

/// What shared caches may do with answers to forwarded requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// They are bypassed.
    #[default]
    Bypass,
    /// They may keep answers, under a key that holds the subject.
    BySubject,
}

impl Cache {
    /// Reads `bypass` or `by_subject`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "bypass" => Some(Self::Bypass),
            "by_subject" => Some(Self::BySubject),
            _ => None,
        }
    }
}

/// A set of environments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Environments(u8);

impl Environments {
    const ALL: u8 = 0b11;

    /// Whether the environment is in the set.
    #[must_use]
    pub const fn contains(self, environment: Environment) -> bool {
        self.0 & Self::bit(environment) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The environments in the set.
    pub fn iter(self) -> impl Iterator<Item = Environment> {
        [Environment::Live, Environment::Test].into_iter().filter(move |&environment| self.contains(environment))
    }

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    /// `None` for bits that stand for nothing.
    pub(super) fn from_bits(bits: u8) -> Option<Self> {
        (bits & !Self::ALL == 0).then_some(Self(bits))
    }

    const fn bit(environment: Environment) -> u8 {
        match environment {
            Environment::Live => 1,
            Environment::Test => 2,
        }
    }
}

impl FromIterator<Environment> for Environments {
    fn from_iter<I: IntoIterator<Item = Environment>>(items: I) -> Self {
        Self(items.into_iter().fold(0, |bits, environment| bits | Self::bit(environment)))
    }
}

/// A set of principal kinds. Empty stands for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrincipalKinds(u8);

impl PrincipalKinds {
    const ALL: u8 = 0b1111;

    /// Whether a route with this set admits the kind.
    #[must_use]
    pub const fn admits(self, kind: PrincipalKind) -> bool {
        self.0 == 0 || self.0 & Self::bit(kind) != 0
    }

    /// The kinds that are named; none where all are admitted.
    pub fn iter(self) -> impl Iterator<Item = PrincipalKind> {
        PrincipalKind::ALL.into_iter().filter(move |&kind| self.0 & Self::bit(kind) != 0)
    }

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    /// `None` for bits that stand for nothing.
    pub(super) fn from_bits(bits: u8) -> Option<Self> {
        (bits & !Self::ALL == 0).then_some(Self(bits))
    }

    const fn bit(kind: PrincipalKind) -> u8 {
        1 << kind.code()
    }
}

impl FromIterator<PrincipalKind> for PrincipalKinds {
    fn from_iter<I: IntoIterator<Item = PrincipalKind>>(items: I) -> Self {
        Self(items.into_iter().fold(0, |bits, kind| bits | Self::bit(kind)))
    }
}
