//! The codes of refusals: stable names for programs, with their status and title.

use core::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// Why a request was not let through.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code, in the order in which the gate can come to it.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$name => $status,)*
                }
            }

            /// The kind of problem in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)*
                }
            }
        }
    };
}

codes! {
    /// The target has no single reading.
    PathAmbiguous = "path_ambiguous", 400, "The path is ambiguous";
    /// The target is too long to be read.
    PathTooLong = "path_too_long", 414, "The path is too long";
    /// No route matches method and path.
    RouteNotFound = "route_not_found", 404, "There is no such route";
    /// The request asks for another protocol.
    UpgradeUnsupported = "upgrade_unsupported", 501, "Connections are not upgraded here";
    /// A credential is too long to be looked at.
    CredentialTooLarge = "credential_too_large", 431, "The credential is too large";
    /// No credential.
    KeyMissing = "key_missing", 401, "A key is needed";
    /// Two different keys.
    KeyConflict = "key_conflict", 401, "Two different keys were sent";
    /// Not a key, or one that matches no record.
    KeyInvalid = "key_invalid", 401, "The key is not valid";
    /// The replica is too old.
    SetStale = "set_stale", 503, "Keys cannot be checked right now";
    /// The replica is damaged.
    SetCorrupt = "set_corrupt", 503, "Keys cannot be checked right now";
    /// The set's pepper is missing.
    PepperMissing = "pepper_missing", 503, "Keys cannot be checked right now";
    /// A revoked key.
    KeyRevoked = "key_revoked", 401, "The key is revoked";
    /// A disabled key.
    KeyDisabled = "key_disabled", 401, "The key is disabled";
    /// A key past its expiry.
    KeyExpired = "key_expired", 401, "The key has expired";
    /// A predecessor past the end of its overlap.
    KeyRetiredGraceOver = "key_retired_grace_over", 401, "The key was replaced and its overlap is over";
    /// A key of an environment the route does not take.
    KeyEnvMismatch = "key_env_mismatch", 401, "The key belongs to another environment";
    /// A key of a kind of principal the route does not take.
    PrincipalNotAllowed = "principal_not_allowed", 403, "Keys of this kind may not do this";
    /// A key without a scope the route asks for.
    ScopeInsufficient = "scope_insufficient", 403, "The key's scopes do not allow this";
    /// The origin did not answer; said by runtimes that forward.
    OriginUnreachable = "origin_unreachable", 502, "The origin did not answer";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
