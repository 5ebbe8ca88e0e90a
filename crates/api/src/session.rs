//! Signing in, and what can be done with a session.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Secret;

/// Takes an invitation up: makes the invited person's account, or joins the one they have.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AcceptInvitation {
    /// The code of the invitation. It works once.
    pub code: Secret,
    /// What people call the new member; the invitation's name where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The new account's password: at least 12 characters and at most 1024 bytes. Where the invited address has an
    /// account, that account's password, or nothing from a session of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Where that account has an authenticator, its six digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totp: Option<Secret>,
}

/// The invitation is taken up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AcceptedInvitation {
    /// The new member.
    pub member: SessionMember,
    /// Where.
    pub workspace: SessionWorkspace,
}

/// Signs in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignIn {
    /// The account's address.
    pub email: String,
    /// Its password.
    pub password: Secret,
    /// The six digits of its authenticator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totp: Option<Secret>,
    /// In place of them, one of the account's recovery codes. It works once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_code: Option<Secret>,
    /// The workspace, `ws_…`; needed by members of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
}

/// A session, or what is missing for one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedIn {
    /// `ses_…`; null where there is no session yet.
    pub session: Option<String>,
    /// As whom.
    pub member: Option<SessionMember>,
    /// Where.
    pub workspace: Option<SessionWorkspace>,
    /// What to send in `X-Nightlatch-CSRF` with every call that changes something.
    pub csrf: Option<Secret>,
    /// When the session ends, however much it is used.
    pub expires_at: Option<Timestamp>,
    /// Until when calls that need a step-up are let through.
    pub elevated_until: Option<Timestamp>,
    /// What is missing.
    pub needs: Vec<SessionNeed>,
    /// The workspaces there are to choose from.
    pub workspaces: Vec<SessionWorkspace>,
}

/// What is missing for a session, or from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SessionNeed {
    /// There is no session yet: send `totp` or `recovery_code` along.
    Totp,
    /// There is no session yet: send `workspace` along.
    Workspace,
    /// There is a session; some calls need `POST /v1/session/step-up` first.
    StepUp,
}

/// The member a session is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionMember {
    /// `mem_…`.
    pub id: String,
    /// What people call them.
    pub name: Option<String>,
    /// Their role, as it is now.
    pub role: String,
}

/// The workspace a session is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionWorkspace {
    /// `ws_…`.
    pub id: String,
    /// What people call it.
    pub name: String,
}

/// Proves once more who holds the session: with one of the two.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StepUp {
    /// The account's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The six digits of its authenticator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totp: Option<Secret>,
}

/// Goes on in another workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SwitchWorkspace {
    /// `ws_…`.
    pub workspace: String,
}

/// Changes the account's password, and ends its other sessions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangePassword {
    /// The password so far; left out where the account has none, which needs a step-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Secret>,
    /// The password from now on: at least 12 characters and at most 1024 bytes.
    pub new: Secret,
}

/// An authenticator's secret, shown this once. It counts after a first code of it is confirmed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OfferedTotp {
    /// The secret in base 32, to type in.
    pub secret: Secret,
    /// The same as an `otpauth:` address, to scan.
    pub uri: Secret,
}

/// Confirms the authenticator with a code of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfirmTotp {
    /// Its six digits.
    pub code: Secret,
}

/// The authenticator counts from now on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfirmedTotp {
    /// Each signs in once without the authenticator. Shown this once.
    pub recovery_codes: Vec<Secret>,
}

/// A session of one's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    /// `ses_…`.
    pub id: String,
    /// Whether it is the one that asks.
    pub current: bool,
    /// Where it is.
    pub workspace: SessionWorkspace,
    /// How its holder signed in.
    pub method: SessionMethod,
    /// From which address.
    pub source: Option<String>,
    /// Whether it works now.
    pub state: SessionState,
    /// When its holder signed in.
    pub signed_in_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_seen_at: Timestamp,
    /// When it ends, however much it is used.
    pub expires_at: Timestamp,
    /// When it was ended.
    pub ended_at: Option<Timestamp>,
    /// Why it was ended.
    pub end_reason: Option<String>,
}

/// How somebody signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SessionMethod {
    /// With a password.
    Password,
    /// Through an identity provider.
    Oidc,
}

/// Whether a session works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SessionState {
    /// It works.
    Active,
    /// It ran out, or its member is no longer active.
    Expired,
    /// It was ended.
    Ended,
}

/// Where to go after signing in through an identity provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct StartOidc {
    /// A path of this server, such as `/keys`; `/` where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The workspace to sign in to, `ws_…`; needed by members of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// `true` has the holder of a session prove anew at the identity provider who they are: a step-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_up: Option<bool>,
}

/// What the identity provider sends a browser back with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct OidcAnswer {
    /// What the server trades for the person's identity.
    #[serde(default)]
    pub code: Option<Secret>,
    /// Which sign-in it belongs to.
    #[serde(default)]
    pub state: Option<Secret>,
    /// Who sends it (RFC 9207).
    #[serde(default)]
    pub iss: Option<String>,
    /// Why there is no code.
    #[serde(default)]
    pub error: Option<String>,
}
