//! The bytes of a published policy.
//!
//! Integers are little-endian. `text8` and `text16` are a length of one or two bytes and that many bytes of ASCII.
//!
//! ```text
//! policy   = "nlpolicy" version:u16 realm:text8 developer_url:text16 count:u16 route{count}
//! route    = method:text8 path:text16 environments:u8 principals:u8 options:u8 cache:u8 open:u8 max_connection_age:u32
//!            scopes:u8 scope:text8{scopes} sources:u8 source{sources}
//! source   = 0 | 1 | 2 name:text8
//! ```
//!
//! An empty `developer_url` stands for none. `environments` is a sum of 1 (live) and 2 (test), `principals` of 1
//! (user), 2 (service account), 4 (partner) and 8 (gateway), 0 standing for all; `options` is 0 (key) or 1 (pass),
//! `cache` 0 (bypass) or 1 (by subject). `open` is 0 (closed) or 1, `max_connection_age` seconds, 0 standing
//! for none. Sources are 0 (`Authorization: Bearer`), 1 (`X-API-Key`) and 2 (a query parameter).
//!
//! The encoding is canonical: routes stand in the order in which they are searched, scopes are sorted, and a reader
//! refuses anything that it would write otherwise. So a policy has one hash.

use alloc::vec::Vec;
use core::fmt;

use super::draft::{Draft, RouteDraft};
use super::error::PolicyError;
use super::model::{Cache, CredentialSource, Environments, OptionsRule, Policy, PrincipalKinds, Route};
use super::{MAX_ROUTES, MAX_SCOPES, MAX_SOURCES};

const MAGIC: &[u8; 8] = b"nlpolicy";

/// The format this crate writes and reads.
pub const VERSION: u16 = 1;

/// The largest encoded policy.
pub const MAX_POLICY_BYTES: usize = 1 << 20;

/// The least a route takes.
const MIN_ROUTE_BYTES: usize = 17;

/// Why bytes are not a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// They do not begin as one.
    NotAPolicy,
    /// A format this crate does not read.
    UnsupportedVersion(u16),
    /// More than [`MAX_POLICY_BYTES`].
    TooLarge,
    /// They end early.
    Truncated,
    /// Something follows the last route.
    Trailing,
    /// A value that stands for nothing.
    Value,
    /// A text that is not UTF-8.
    Text,
    /// They say what an encoder would have written in another way.
    NotCanonical,
    /// They hold a policy that could not have been written.
    Invalid(PolicyError),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPolicy => f.write_str("the file is not a route policy"),
            Self::UnsupportedVersion(version) => {
                write!(f, "route policy format {version} is not supported; this program reads format {VERSION}")
            }
            Self::TooLarge => write!(f, "the route policy is larger than {MAX_POLICY_BYTES} bytes"),
            Self::Truncated => f.write_str("the route policy ends early"),
            Self::Trailing => f.write_str("something follows the end of the route policy"),
            Self::Value => f.write_str("the route policy has a value that stands for nothing"),
            Self::Text => f.write_str("the route policy has a text that is not UTF-8"),
            Self::NotCanonical => f.write_str("the route policy is not in canonical form"),
            Self::Invalid(error) => write!(f, "the route policy is not valid: {error}"),
        }
    }
}

impl core::error::Error for DecodeError {}

impl Policy {
    /// The policy's bytes, always the same ones. Their SHA-256 ([`Hash::of`](nightlatch_keyset::Hash::of)) is what the
    /// head carries and the file is named by.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + 64 * self.routes.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        text8(&mut out, &self.realm);
        text16(&mut out, self.developer_url.as_deref().unwrap_or_default());
        out.extend_from_slice(&(self.routes.len() as u16).to_le_bytes());
        for route in &self.routes {
            encode_route(&mut out, route);
        }
        out
    }

    /// Reads an encoded policy. The caller has compared its hash with the head's.
    ///
    /// # Errors
    /// [`DecodeError`] for anything but the exact bytes [`Policy::encode`] writes for some policy.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_POLICY_BYTES {
            return Err(DecodeError::TooLarge);
        }
        let rest = bytes.strip_prefix(MAGIC).ok_or(DecodeError::NotAPolicy)?;
        let mut input = Input { rest };
        let version = input.u16()?;
        if version != VERSION {
            return Err(DecodeError::UnsupportedVersion(version));
        }
        let mut draft = Draft::new(input.text8()?);
        let url = input.text16()?;
        draft.developer_url = (!url.is_empty()).then(|| url.into());
        let count = usize::from(input.u16()?);
        if count > MAX_ROUTES {
            return Err(DecodeError::Value);
        }
        if input.rest.len() < count * MIN_ROUTE_BYTES {
            return Err(DecodeError::Truncated);
        }
        draft.routes.reserve_exact(count);
        for _ in 0..count {
            draft.routes.push(decode_route(&mut input)?);
        }
        if !input.rest.is_empty() {
            return Err(DecodeError::Trailing);
        }
        let policy = Self::new(draft).map_err(DecodeError::Invalid)?;
        if policy.encode() == bytes { Ok(policy) } else { Err(DecodeError::NotCanonical) }
    }
}

/// Writes one route. Every length fits: [`Policy::new`] has checked them.
fn encode_route(out: &mut Vec<u8>, route: &Route) {
    text8(out, route.method.as_str());
    text16(out, route.pattern.as_str());
    let options = match route.options {
        OptionsRule::Key => 0,
        OptionsRule::Pass => 1,
    };
    let cache = match route.cache {
        Cache::Bypass => 0,
        Cache::BySubject => 1,
    };
    let open = u8::from(route.open);
    out.extend_from_slice(&[route.environments.bits(), route.principals.bits(), options, cache, open]);
    out.extend_from_slice(&route.max_connection_age.unwrap_or_default().to_le_bytes());
    out.push(route.scopes.len() as u8);
    for scope in &route.scopes {
        text8(out, scope);
    }
    out.push(route.credentials.len() as u8);
    for source in &route.credentials {
        match source {
            CredentialSource::Bearer => out.push(0),
            CredentialSource::ApiKey => out.push(1),
            CredentialSource::Query(name) => {
                out.push(2);
                text8(out, name);
            }
        }
    }
}

fn decode_route(input: &mut Input<'_>) -> Result<RouteDraft, DecodeError> {
    let method = input.text8()?;
    let path = input.text16()?;
    let mut route = RouteDraft::new(method, path);
    let environments = Environments::from_bits(input.u8()?).ok_or(DecodeError::Value)?;
    route.environments.clear();
    route.environments.extend(environments.iter());
    let principals = PrincipalKinds::from_bits(input.u8()?).ok_or(DecodeError::Value)?;
    route.principals.extend(principals.iter());
    route.options = match input.u8()? {
        0 => OptionsRule::Key,
        1 => OptionsRule::Pass,
        _ => return Err(DecodeError::Value),
    };
    route.cache = match input.u8()? {
        0 => Cache::Bypass,
        1 => Cache::BySubject,
        _ => return Err(DecodeError::Value),
    };
    route.open = match input.u8()? {
        0 => false,
        1 => true,
        _ => return Err(DecodeError::Value),
    };
    let age = input.u32()?;
    route.max_connection_age = (age != 0).then_some(age);
    let scopes = usize::from(input.u8()?);
    if scopes > MAX_SCOPES {
        return Err(DecodeError::Value);
    }
    for _ in 0..scopes {
        route.scopes.push(input.text8()?.into());
    }
    let sources = usize::from(input.u8()?);
    if sources > MAX_SOURCES {
        return Err(DecodeError::Value);
    }
    route.credentials.clear();
    for _ in 0..sources {
        route.credentials.push(match input.u8()? {
            0 => CredentialSource::Bearer,
            1 => CredentialSource::ApiKey,
            2 => CredentialSource::Query(input.text8()?.into()),
            _ => return Err(DecodeError::Value),
        });
    }
    Ok(route)
}

fn text8(out: &mut Vec<u8>, text: &str) {
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn text16(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// What is left to read.
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    fn text8(&mut self) -> Result<&'a str, DecodeError> {
        let length = self.u8()?;
        self.text(usize::from(length))
    }

    fn text16(&mut self) -> Result<&'a str, DecodeError> {
        let length = self.u16()?;
        self.text(usize::from(length))
    }

    fn text(&mut self, length: usize) -> Result<&'a str, DecodeError> {
        core::str::from_utf8(self.take(length)?).map_err(|_| DecodeError::Text)
    }
}
