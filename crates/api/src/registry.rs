//! Every problem this API answers: one registry for the server, its tests and its readers.

macro_rules! registry {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $title:literal, $next:literal;)*) => {
        /// A kind of problem. Codes are stable: they never change their meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable name, for programs.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status it is answered with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The kind of problem in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What the caller can do next.
            pub const fn next(self) -> &'static str {
                match self { $(Self::$name => $next,)* }
            }
        }
    };
}

registry! {
    /// Malformed JSON, an unknown field, a wrong type, a bad parameter or header.
    InvalidRequest = "invalid_request", 400, "The request is not well formed",
        "Correct the parts listed under `errors` and send it again.";
    /// No bearer token was sent.
    TokenMissing = "token_missing", 401, "No token was sent",
        "Send `Authorization: Bearer <token>` with a management or edge token.";
    /// The token is malformed, unknown, expired or revoked.
    TokenInvalid = "token_invalid", 401, "The token is not valid",
        "Use a token that is neither expired nor revoked; make one with `nightlatch tokens create`.";
    /// The enrolment token is malformed, unknown, used or expired.
    EnrolmentInvalid = "enrolment_invalid", 401, "The enrolment token is not valid",
        "Read the token from the file `enrolment-token` in the server's data directory; a restart makes a new one when it has expired and no management token exists.";
    /// The one-time code of an edge is malformed, unknown, used or expired, or its edge was removed.
    EdgeCodeInvalid = "edge_code_invalid", 401, "The edge's code is not valid",
        "Codes work once, for an hour, and while whoever made them may act. Make another with `nightlatch edge add`.";
    /// The pairing code of a gateway is malformed, unknown, used or expired, or its maker is gone.
    PairingCodeInvalid = "pairing_code_invalid", 401, "The pairing code is not valid",
        "Codes work once, for an hour, and while whoever made them may act. Make another with `nightlatch gateways code`.";
    /// The e-mail address, the password or the second factor is wrong, or there is no active member.
    SignInFailed = "sign_in_failed", 401, "Signing in failed",
        "Check the e-mail address, the password and the code of the authenticator; if they are right, ask an administrator whether you are an active member.";
    /// The session is unknown, has ended or has run out.
    SessionInvalid = "session_invalid", 401, "There is no such session",
        "Sign in.";
    /// The invitation's code is malformed, unknown, used or expired.
    InvitationInvalid = "invitation_invalid", 401, "The invitation is not valid",
        "Codes work once, for a limited time, and while whoever made them may act. Ask for another invitation.";
    /// The identity provider's answer cannot be used.
    OidcFailed = "oidc_failed", 401, "Signing in through the identity provider failed",
        "Start again at /v1/session/oidc/start; if it persists, look for the request id in the server's log.";
    /// A call from a browser does not prove that it is meant.
    CsrfInvalid = "csrf_invalid", 403, "The call does not come from this server's own pages",
        "Send the session's `csrf` in `X-Nightlatch-CSRF`, from a page of this server.";
    /// The token may not make this call.
    Forbidden = "forbidden", 403, "The token may not do this",
        "Ask an owner or admin for the role or the token's scope named in `action`; for a key of your own, name your own `principal` (`nightlatch members show`). Edges read their set's files only.";
    /// A session has to prove anew who it is.
    StepUpRequired = "step_up_required", 403, "This needs a fresh proof of who you are",
        "Call `POST /v1/session/step-up` with your password or a code, then send the request again.";
    /// Nobody grants scopes beyond their own.
    BeyondOwnScopes = "beyond_own_scopes", 403, "Scopes beyond your own cannot be granted",
        "Leave out the scopes listed under `scopes`, or ask somebody who has them.";
    /// Nothing of that id or path, or it belongs to someone else.
    NotFound = "not_found", 404, "There is no such thing",
        "Check the id and the path.";
    /// A receipt is asked for of a key that nobody has revoked.
    KeyNotRevoked = "key_not_revoked", 404, "The key is not revoked",
        "Only revoked keys have receipts; revoke it with `nightlatch keys revoke`.";
    /// The path exists, the method does not.
    MethodNotAllowed = "method_not_allowed", 405, "This path has no such method",
        "See the `Allow` header and /openapi.json.";
    /// The body did not arrive in time.
    RequestTimeout = "request_timeout", 408, "The body did not arrive in time",
        "Send it again over a better connection, or in smaller parts.";
    /// The key was revoked, which is final.
    KeyRevoked = "key_revoked", 409, "The key is revoked, for ever",
        "Issue a new key.";
    /// The key's expiry or deadline has passed, which is final.
    KeyExpired = "key_expired", 409, "The key has expired, for ever",
        "Issue a new key, or rotate with `order: revoke_first`.";
    /// The key is disabled.
    KeyDisabled = "key_disabled", 409, "The key is disabled",
        "Enable the key first.";
    /// The predecessor already has an open rotation.
    RotationOpen = "rotation_open", 409, "The key is already being rotated",
        "Complete or cancel the open rotation first; its id is in `rotation`.";
    /// The rotation has ended.
    RotationClosed = "rotation_closed", 409, "The rotation has ended",
        "Start another rotation.";
    /// The moment is so near that some edge might not learn of the change in time.
    TooLate = "too_late", 409, "It is too late for that",
        "Rotate the successor, or issue a new key.";
    /// There is no authenticator to confirm or remove.
    TotpMissing = "totp_missing", 409, "There is no such authenticator",
        "Begin with `POST /v1/session/totp`.";
    /// A usable key carries the scope.
    ScopeInUse = "scope_in_use", 409, "A usable key carries the scope",
        "Rotate or revoke the keys that carry it first: `nightlatch keys list --scope`.";
    /// The edge's code has not been used yet.
    EdgeNotEnrolled = "edge_not_enrolled", 409, "The edge has not enrolled yet",
        "Enrol it first: `nightlatch edge enrol` with the code that `nightlatch edge add` printed.";
    /// The edge was removed.
    EdgeRemoved = "edge_removed", 409, "The edge is removed, for ever",
        "Add another with `nightlatch edge add`.";
    /// The keys of an emergency are not those that were seen.
    PlanChanged = "plan_changed", 409, "The keys are not those of the plan",
        "Look at the new dry run, and send its `plan` as `expect`.";
    /// Another workspace has the brand.
    BrandTaken = "brand_taken", 409, "The brand is taken",
        "Choose another brand: each workspace of a deployment has its own, and those of the product's tokens are none's.";
    /// The principal that is always there.
    DefaultPrincipal = "default_principal", 409, "The default principal cannot be removed",
        "Suspend it, or revoke its keys.";
    /// The link is not accepted yet, or has ended.
    LinkNotActive = "link_not_active", 409, "The link is not active",
        "Have the client accept it first; where it has ended, make another link.";
    /// The client is linked to this partner already.
    LinkExists = "link_exists", 409, "The workspace is linked to this partner already",
        "Change that link's permissions, or end it first.";
    /// Keys of this kind of principal come and go by another call.
    NotRevocableHere = "not_revocable_here", 409, "Keys of this kind come and go by another call",
        "Use the call named in `call`.";
    /// The caller was removed, suspended or given another role while the call waited, or its token was revoked.
    AuthorityChanged = "authority_changed", 409, "What you may do was changed meanwhile",
        "Nothing was done. Find out what you may do now, and try again.";
    /// The workspace would be without an owner.
    LastOwner = "last_owner", 409, "The last owner cannot go",
        "Make another member an owner first.";
    /// The principal is suspended.
    PrincipalSuspended = "principal_suspended", 409, "The principal is suspended",
        "Resume it first.";
    /// The principal is removed, which is final.
    PrincipalRemoved = "principal_removed", 409, "The principal is removed, for ever",
        "Make another one.";
    /// Another member has the address.
    MemberExists = "member_exists", 409, "A member with this address is there already",
        "Change the present member, or remove it before inviting it anew.";
    /// The invitation was accepted already.
    InviteAccepted = "invite_accepted", 409, "The invitation was accepted already",
        "The member has an account and signs in with it. Where that is lost: `nightlatch admin` on the server's machine.";
    /// The predecessor was used within the last 120 seconds.
    PredecessorInUse = "predecessor_in_use", 409, "The predecessor is still in use",
        "Find who still uses it, wait, and try again; or send `force: true` with a `reason`.";
    /// A request with the same idempotency key has not ended.
    IdempotencyInProgress = "idempotency_in_progress", 409, "The same request is still being worked on",
        "Wait a moment and send it again.";
    /// The request was done, but its secret may no longer be shown.
    SecretNoLongerAvailable = "secret_no_longer_available", 409, "The secret can no longer be shown",
        "The key exists. Rotate it, or revoke it and issue another, to get a new secret.";
    /// The thing was changed meanwhile.
    EtagStale = "etag_stale", 412, "It was changed meanwhile",
        "Read it again and send the change with its new `ETag`.";
    /// `If-Match` is missing.
    IfMatchMissing = "if_match_missing", 428, "The call needs `If-Match`",
        "Read it and send the change with its `ETag` in `If-Match`.";
    /// The body is larger than the call accepts.
    BodyTooLarge = "body_too_large", 413, "The body is too large",
        "Send less; split an import into requests of at most 10,000 lines and 8 MiB.";
    /// The body's media type is not the call's.
    UnsupportedMediaType = "unsupported_media_type", 415, "The body is of the wrong media type",
        "Send `Content-Type: application/json`, or `application/x-ndjson` for an import.";
    /// A field is well formed and its value cannot be used.
    ValueInvalid = "value_invalid", 422, "A value cannot be used",
        "Correct the parts listed under `errors` and send it again.";
    /// Something is said of as many scopes as may be.
    CatalogueFull = "catalogue_full", 422, "The catalogue is full",
        "Remove entries that are not needed any more, or say it of a group: `READ_*`.";
    /// A sensitive scope was to be granted without saying so.
    SensitiveUnacknowledged = "sensitive_unacknowledged", 422, "Sensitive scopes are granted only knowingly",
        "Leave out the scopes listed under `scopes`, or send `acknowledge_sensitive: true`.";
    /// Partner roles need an organisation, others must have none.
    RoleUnfit = "role_unfit", 422, "The role does not fit",
        "Invite partner staff at `/v1/partners/{id}/staff`, members of the workspace at `/v1/members`.";
    /// Forcing without saying why.
    ReasonRequired = "reason_required", 422, "Forcing needs a reason",
        "Send `reason` along with `force`.";
    /// The idempotency key was used for another request.
    IdempotencyMismatch = "idempotency_mismatch", 422, "The idempotency key belongs to another request",
        "Use a new `Idempotency-Key` for each new request.";
    /// No such principal in the workspace.
    PrincipalUnknown = "principal_unknown", 422, "There is no such principal",
        "Name a `principal` that you see: `nightlatch members show`, `partners list` and `service-accounts list` print them. Without one it is the workspace's default service account, which is not there for a partner's staff.";
    /// The code of a link is malformed, unknown, used or expired.
    LinkCodeInvalid = "link_code_invalid", 422, "The link's code is not valid",
        "Codes work once and for seven days. Ask the partner for another.";
    /// A key of this principal may not carry these scopes.
    BeyondCeiling = "beyond_ceiling", 422, "The principal's keys may not carry these scopes",
        "Leave out the scopes listed in `scopes`, or widen the principal's ceiling first.";
    /// No such member in the workspace, or one that was removed.
    MemberUnknown = "member_unknown", 422, "There is no such member",
        "Name a member of this workspace, or leave `owner_member` out.";
    /// Scopes or a tier for a key of a member, which has the member's.
    ScopesInherited = "scopes_inherited", 422, "A user's key has the scopes and the tier of its member",
        "Leave `scopes` and `tier` out; change the member's, or its role's.";
    /// The expiry has to lie in the future.
    ExpiryInPast = "expiry_in_past", 422, "The expiry has passed",
        "Send an `expires_at` in the future, or leave it out.";
    /// The overlap is shorter than the time edges need to learn of the successor.
    OverlapBelowBound = "overlap_below_bound", 422, "The overlap is shorter than the bound",
        "Ask for at least `minimum_seconds`, or use `order: revoke_first` and accept an outage.";
    /// The new deadline is not later than the present one.
    DeadlineNotLater = "deadline_not_later", 422, "The deadline is not later",
        "Send a later deadline; to end sooner, complete the rotation.";
    /// The route document is contradictory.
    RoutesInvalid = "routes_invalid", 422, "The route document cannot be used",
        "Correct what `errors` lists; nothing was changed.";
    /// An import is of more lines than one request may hold.
    TooManyLines = "too_many_lines", 422, "The import has too many lines",
        "Send at most 10,000 lines a request; `nightlatch keys import` splits files.";
    /// A weak key has no date to rotate by.
    RotateByRequired = "rotate_by_required", 422, "A weak key needs a date to rotate by",
        "Declare at least 128 `entropy_bits`, or set `rotate_by`.";
    /// Too many calls.
    RateLimited = "rate_limited", 429, "Too many calls",
        "Wait as long as `Retry-After` says.";
    /// A fault of the server.
    Internal = "internal", 500, "The server failed",
        "Try again; if it persists, look for the request id in the server's log.";
    /// The server cannot answer now.
    Unavailable = "unavailable", 503, "The server cannot answer now",
        "Try again after `Retry-After` seconds; /readyz says what is missing.";
    /// A newer version has taken away what this server's version needs of the database.
    Outdated = "outdated", 503, "This server's version is outdated",
        "Send it to another control plane of this database, or start the version that the others run; this one changes nothing any more.";
    /// Nothing was published yet.
    NotPublished = "not_published", 503, "The set has no head yet",
        "Try again in a few seconds; /readyz says what is missing.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Code;

    #[test]
    fn codes_are_unique_and_well_formed() {
        let mut seen = HashSet::new();
        for code in Code::ALL {
            let text = code.as_str();
            assert!(seen.insert(text), "{text} occurs twice");
            assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            assert!((400..=599).contains(&code.status()), "{text}");
            assert!(!code.title().ends_with('.'), "{text}");
            assert!(code.next().ends_with('.'), "{text}");
        }
    }
}
