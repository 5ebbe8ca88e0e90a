//! A refusal and its answer: status, headers, problem document.
//!
//! Who presents the secret of a key is told what is wrong with that key, by its public name. Everybody else is told
//! `key_invalid` and nothing more. No text of an answer holds anything that the request brought.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use nightlatch_key::Environment;
use nightlatch_keyset::PrincipalKind;

use crate::code::Code;
use crate::headers::date::Rfc3339;
use crate::ids::{KeyId, PrincipalId};
use crate::keys::Unfit;
use crate::path::PathError;
use crate::policy::{CredentialSource, Route};
use crate::problem;

/// Seconds after which a refusal for want of data may be tried again.
const RETRY_SOON: u32 = 2;
/// Seconds after which a refusal that somebody has to act on may be tried again.
const RETRY_LATER: u32 = 30;

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial<'a> {
    /// Why.
    pub code: Code,
    /// The key whose secret was presented, where there is one.
    pub key: Option<DeniedKey>,
    /// The key is unknown, but its id says that it was issued so recently that it may be in no set yet: a newer head
    /// may know it. The runtime may look for one, within its own budget, and ask the gate again.
    pub recently_issued: bool,
    pub(crate) context: Context<'a>,
}

/// A key that was found and refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedKey {
    /// Its name in the API.
    pub id: KeyId,
    /// Its prefix, where its text carries one, or its id: public.
    pub label: String,
    /// Whom it acts for.
    pub principal: PrincipalId,
}

/// What a code's detail speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Context<'a> {
    Nothing,
    Path(PathError),
    Route(&'a Route),
    /// Unix seconds.
    Ended(u64),
    Environment(Environment, &'a Route),
    Kind(PrincipalKind, &'a Route),
    Scopes {
        held: &'a [String],
        needed: &'a [String],
    },
}

impl<'a> Denial<'a> {
    pub(crate) const fn new(code: Code, context: Context<'a>) -> Self {
        Self { code, key: None, recently_issued: false, context }
    }

    /// The refusal of a runtime that has nothing to ask the gate with, or whose data may no longer be relied on.
    #[must_use]
    pub const fn unfit(reason: Unfit) -> Self {
        let code = match reason {
            Unfit::SetStale => Code::SetStale,
            Unfit::SetCorrupt => Code::SetCorrupt,
            Unfit::PepperMissing => Code::PepperMissing,
        };
        Self::new(code, Context::Nothing)
    }

    /// The answer of a runtime that let a request through to an origin that did not answer.
    #[must_use]
    pub const fn origin_unreachable() -> Self {
        Self::new(Code::OriginUnreachable, Context::Nothing)
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.code.status()
    }

    /// The value of `WWW-Authenticate`, where the answer has one. `realm` is the policy's.
    #[must_use]
    pub fn www_authenticate(&self, realm: &str) -> Option<String> {
        let mut value = String::from("Bearer realm=\"");
        // A policy's realm needs no escaping.
        value.push_str(realm);
        value.push('"');
        match (&self.context, self.code) {
            (_, Code::KeyMissing) => {}
            (Context::Scopes { needed, .. }, _) => {
                value.push_str(", error=\"insufficient_scope\", scope=\"");
                for (index, scope) in needed.iter().enumerate() {
                    value.push_str(if index == 0 { "" } else { " " });
                    value.push_str(scope);
                }
                value.push('"');
            }
            (_, code) if code.status() == 401 => value.push_str(", error=\"invalid_token\""),
            _ => return None,
        }
        Some(value)
    }

    /// Seconds until another attempt makes sense: `Retry-After`, where the answer has one.
    #[must_use]
    pub const fn retry_after(&self) -> Option<u32> {
        match self.code {
            Code::SetStale | Code::SetCorrupt => Some(RETRY_SOON),
            Code::PepperMissing => Some(RETRY_LATER),
            _ => None,
        }
    }

    /// Every header of the answer, with lower-case names.
    #[must_use]
    pub fn headers(&self, realm: &str) -> Vec<(&'static str, String)> {
        let mut headers = Vec::with_capacity(4);
        headers.push(("content-type", problem::CONTENT_TYPE.into()));
        headers.push(("cache-control", "no-store".into()));
        if let Some(value) = self.www_authenticate(realm) {
            headers.push(("www-authenticate", value));
        }
        if let Some(seconds) = self.retry_after() {
            headers.push(("retry-after", seconds.to_string()));
        }
        headers
    }

    /// What happened and what to do next.
    #[must_use]
    pub fn detail(&self) -> String {
        let mut text = String::with_capacity(160);
        // Writing to a string cannot fail.
        let _ = self.write_detail(&mut text);
        text
    }

    /// The body of the answer.
    #[must_use]
    pub fn problem(&self, request_id: &str) -> String {
        problem::write(self.code, &self.detail(), request_id)
    }

    fn write_detail(&self, out: &mut String) -> fmt::Result {
        if let Some(key) = &self.key {
            return self.write_key_detail(out, &key.label);
        }
        match (&self.context, self.code) {
            (Context::Path(error), _) => write!(out, "{error}"),
            (Context::Route(route), Code::KeyMissing) => write_sources(out, route),
            (_, code) => out.write_str(match code {
                Code::RouteNotFound => "No route of the policy matches this method and path; paths are case-sensitive.",
                Code::UpgradeUnsupported => "This route does not upgrade connections. Send the request without Upgrade.",
                Code::CredentialTooLarge => "No key is this long. Send the key alone.",
                Code::KeyConflict => "The request carries two keys that differ. Send one.",
                Code::KeyInvalid => {
                    "The credential is not a key that is valid here. Check that it was copied whole and is meant for this API."
                }
                Code::SetStale => {
                    "The data keys are checked against is out of date, so nothing is said about the key. Try again shortly."
                }
                Code::SetCorrupt => {
                    "The data keys are checked against is damaged and is being fetched again, so nothing is said about the key. Try again shortly."
                }
                Code::PepperMissing => {
                    "This edge lacks a secret it needs to check keys, so nothing is said about the key. Its operators have to act."
                }
                Code::OriginUnreachable => "The key was accepted, but the server behind this edge did not answer.",
                code => code.title(),
            }),
        }
    }

    fn write_key_detail(&self, out: &mut String, label: &str) -> fmt::Result {
        write!(out, "Key {label} ")?;
        match (&self.context, self.code) {
            (_, Code::KeyRevoked) => out.write_str("is revoked, for good. Use its successor, or ask for a new key."),
            (_, Code::KeyDisabled) => {
                out.write_str("is disabled. Ask an administrator of its workspace to enable it, or use another key.")
            }
            (Context::Ended(at), Code::KeyRetiredGraceOver) => {
                write!(out, "was replaced and stopped working at {}. Use its successor.", Rfc3339(*at))
            }
            (Context::Ended(at), _) => write!(out, "expired at {}. Ask for a new key.", Rfc3339(*at)),
            (Context::Environment(environment, route), _) => {
                write!(out, "is a {environment} key, and this route takes ")?;
                write_list(out, route.environments().iter().map(Environment::as_str))?;
                write!(out, " keys. Use a key of that environment.")
            }
            (Context::Kind(kind, route), _) => {
                write!(out, "acts for a {}, and this route takes keys of kind ", kind.as_str())?;
                write_list(out, route.principals().iter().map(PrincipalKind::as_str))?;
                out.write_str(" only.")
            }
            (Context::Scopes { held, needed }, _) => {
                out.write_str("lacks ")?;
                let lacks = needed.iter().filter(|scope| held.binary_search(scope).is_err());
                write_list(out, lacks.map(String::as_str))?;
                out.write_str(". Ask for a key that has what the route needs.")
            }
            (_, code) => out.write_str(code.title()),
        }
    }
}

fn write_sources(out: &mut String, route: &Route) -> fmt::Result {
    out.write_str("Send a key as ")?;
    for (index, source) in route.credentials().iter().enumerate() {
        out.write_str(if index == 0 { "" } else { ", or as " })?;
        match source {
            CredentialSource::Bearer => out.write_str("'Authorization: Bearer <key>'")?,
            CredentialSource::ApiKey => out.write_str("'X-API-Key: <key>'")?,
            CredentialSource::Query(name) => write!(out, "query parameter '{name}'")?,
        }
    }
    out.write_char('.')
}

fn write_list<'t>(out: &mut String, items: impl Iterator<Item = &'t str>) -> fmt::Result {
    for (index, item) in items.enumerate() {
        out.write_str(if index == 0 { "" } else { ", " })?;
        out.write_str(item)?;
    }
    Ok(())
}
