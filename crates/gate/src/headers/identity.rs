//! Who a request comes from, as the origin is told.

use alloc::string::{String, ToString};

use crate::decide::Accepted;

/// Carries the key's id.
pub const KEY_ID: &str = "x-nightlatch-key-id";
/// Carries the principal's id.
pub const PRINCIPAL: &str = "x-nightlatch-principal";
/// Carries the workspace's id.
pub const WORKSPACE: &str = "x-nightlatch-workspace";
/// Carries the key's scopes, with a space between.
pub const SCOPES: &str = "x-nightlatch-scopes";
/// Carries the [`signature`](super::signature) over the others.
pub const SIGNATURE: &str = "x-nightlatch-signature";

/// The headers that never reach the origin as the client sent them. `Authorization` is another matter: see
/// [`Forward::keep_authorization`](crate::Forward::keep_authorization). Runtimes that can go through all headers ask
/// [`is_removed`] instead, which also knows disguises.
pub const REMOVED: [&str; 6] = [KEY_ID, PRINCIPAL, WORKSPACE, SCOPES, SIGNATURE, "x-api-key"];

/// Whether a header must be removed from what a client sent. All of `X-Nightlatch-…` is, and spellings with `_` too:
/// CGI and its descendants make no difference between `-` and `_`.
#[must_use]
pub fn is_removed(name: &str) -> bool {
    const OURS: &[u8] = b"x-nightlatch-";
    let name = name.as_bytes();
    let same = |(a, b): (&u8, &u8)| a.to_ascii_lowercase() == *b || (*a == b'_' && *b == b'-');
    let begins = |with: &[u8]| name.len() >= with.len() && name.iter().zip(with).all(same);
    begins(OURS) || (name.len() == 9 && begins(b"x-api-key"))
}

/// The values of the four identity headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The value of [`KEY_ID`].
    pub key_id: String,
    /// The value of [`PRINCIPAL`].
    pub principal: String,
    /// The value of [`WORKSPACE`].
    pub workspace: String,
    /// The value of [`SCOPES`].
    pub scopes: String,
}

impl Identity {
    /// Headers with their values.
    #[must_use]
    pub fn headers(&self) -> [(&'static str, &str); 4] {
        [(KEY_ID, &self.key_id), (PRINCIPAL, &self.principal), (WORKSPACE, &self.workspace), (SCOPES, &self.scopes)]
    }
}

impl From<&Accepted<'_>> for Identity {
    fn from(accepted: &Accepted<'_>) -> Self {
        Self {
            key_id: accepted.key.to_string(),
            principal: accepted.principal.to_string(),
            workspace: accepted.workspace.into(),
            scopes: accepted.profile.scopes.join(" "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_headers_cannot_be_smuggled() {
        for name in REMOVED {
            assert!(is_removed(name), "{name}");
            assert!(is_removed(&name.to_ascii_uppercase()), "{name}");
            assert!(is_removed(&name.replace('-', "_")), "{name}");
        }
        assert!(is_removed("X-Nightlatch-Anything"));
        assert!(is_removed("X-nightlatch_Key-Id"));
        for name in ["x-nightlatch", "authorization", "x-api-key-id", "x-api-ke", "", "nightlatch-key-id"] {
            assert!(!is_removed(name), "{name}");
        }
    }
}
