//! Why a policy is refused.

use alloc::string::String;
use core::fmt;

use super::pattern::PatternError;
use super::{
    MAX_CONNECTION_AGE, MAX_METHOD_BYTES, MAX_PARAMETER_BYTES, MAX_POLICY_BYTES, MAX_REALM_BYTES, MAX_ROUTES,
    MAX_SCOPES, MAX_SOURCES, MAX_URL_BYTES,
};

/// A policy that cannot be used: where, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The route's index in the draft; `None` where the document itself is at fault.
    pub route: Option<usize>,
    /// What is wrong.
    pub flaw: Flaw,
}

/// What is wrong with a policy or one of its routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Empty, too long, or a character that cannot stand in a quoted string.
    Realm,
    /// Not an `https:` or `http:` URL, too long, or a character that cannot stand in a `Link` header.
    DeveloperUrl,
    /// More routes than a policy may have.
    TooManyRoutes,
    /// The encoded policy would be larger than it may be.
    TooLarge,
    /// Not a method in upper case, nor `*`.
    Method,
    /// The path pattern is not one.
    Path(PatternError),
    /// No environment is admitted.
    NoEnvironment,
    /// More scopes than a route may ask for.
    TooManyScopes,
    /// The text is not a scope.
    Scope(String),
    /// There is no place to read a key from.
    NoCredentialSource,
    /// More places to read a key from than a route may have.
    TooManyCredentialSources,
    /// A place to read a key from is listed twice.
    RepeatedCredentialSource,
    /// The name of a query parameter has another shape than `[A-Za-z0-9_-]{1,64}`.
    Parameter(String),
    /// The age of connections is out of range.
    ConnectionAge,
    /// Another route has the same shape and method: neither would be more specific.
    Tie {
        /// The other route's index in the draft.
        with: usize,
    },
}

impl Flaw {
    pub(super) const fn in_document(self) -> PolicyError {
        PolicyError { route: None, flaw: self }
    }

    pub(super) const fn in_route(self, index: usize) -> PolicyError {
        PolicyError { route: Some(index), flaw: self }
    }

    /// The field of the document or route that is at fault, as the JSON document names it.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Realm => "realm",
            Self::DeveloperUrl => "developer_url",
            Self::TooManyRoutes | Self::TooLarge => "routes",
            Self::Method => "method",
            Self::Path(_) | Self::Tie { .. } => "path",
            Self::NoEnvironment => "environments",
            Self::TooManyScopes | Self::Scope(_) => "scopes",
            Self::NoCredentialSource
            | Self::TooManyCredentialSources
            | Self::RepeatedCredentialSource
            | Self::Parameter(_) => "credentials",
            Self::ConnectionAge => "max_connection_age",
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Realm => {
                write!(f, "the realm must be 1 to {MAX_REALM_BYTES} printable ASCII characters without '\"' and '\\'")
            }
            Self::DeveloperUrl => {
                write!(f, "the developer URL must be an http or https URL of at most {MAX_URL_BYTES} characters")
            }
            Self::TooManyRoutes => write!(f, "there are more than {MAX_ROUTES} routes"),
            Self::TooLarge => write!(f, "the policy is larger than {MAX_POLICY_BYTES} bytes"),
            Self::Method => {
                write!(f, "the method must be '*' or an upper-case name of at most {MAX_METHOD_BYTES} letters")
            }
            Self::Path(error) => error.fmt(f),
            Self::NoEnvironment => f.write_str("no environment is listed, so no key could pass"),
            Self::TooManyScopes => write!(f, "there are more than {MAX_SCOPES} scopes"),
            Self::Scope(text) => write!(f, "'{text}' is not a scope ([A-Za-z][A-Za-z0-9_:.-]{{0,63}})"),
            Self::NoCredentialSource => f.write_str("no place to read a key from is listed, so no key could pass"),
            Self::TooManyCredentialSources => write!(f, "more than {MAX_SOURCES} places to read a key from are listed"),
            Self::RepeatedCredentialSource => f.write_str("a place to read a key from is listed twice"),
            Self::Parameter(name) => {
                write!(f, "'{name}' cannot name a query parameter ([A-Za-z0-9_-]{{1,{MAX_PARAMETER_BYTES}}})")
            }
            Self::ConnectionAge => {
                write!(
                    f,
                    "the age of connections must be 1 to {MAX_CONNECTION_AGE} seconds; without it they are not limited"
                )
            }
            Self::Tie { with } => write!(f, "route {with} has the same shape and method: neither is more specific"),
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.route {
            Some(route) => write!(f, "route {route}: {}", self.flaw),
            None => self.flaw.fmt(f),
        }
    }
}

impl core::error::Error for PolicyError {}
