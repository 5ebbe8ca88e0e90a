//! Management and edge tokens.

use nightlatch_key::Digest;

use super::{Context, Error, Page, PageRequest, Read, Tx};
use crate::domain::{Actor, SetId, TokenId, WorkspaceId};

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Administers the workspace.
    Management,
    /// Reads one set and reports on it.
    Edge,
}

impl TokenKind {
    /// The name used in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Management => "management",
            Self::Edge => "edge",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Management, Self::Edge].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A token's record.
#[derive(Clone, Debug)]
pub struct Token {
    /// `tok_…`
    pub id: TokenId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// What it is for.
    pub kind: TokenKind,
    /// The set an edge token reads.
    pub set: Option<SetId>,
    /// What people call it.
    pub name: String,
    /// SHA-256 of its text.
    pub digest: Digest,
    /// Public.
    pub prefix: String,
    /// What it may do: `*`, or named rights.
    pub scopes: Vec<String>,
    /// By whom it was made.
    pub created_by: Actor,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix seconds.
    pub expires_at: Option<i64>,
    /// Unix milliseconds.
    pub revoked_at: Option<i64>,
    /// Unix milliseconds, to the minute.
    pub last_used_at: Option<i64>,
}

impl Token {
    /// Whether the token opens anything at this moment (unix milliseconds).
    pub fn is_usable(&self, now: i64) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expiry| now < expiry.saturating_mul(1000))
    }
}

/// A token to be created. The caller minted the text.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// `tok_…`
    pub id: TokenId,
    /// What it is for.
    pub kind: TokenKind,
    /// The set an edge token reads.
    pub set: Option<SetId>,
    /// What people call it.
    pub name: String,
    /// SHA-256 of its text.
    pub digest: Digest,
    /// Public.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Unix seconds, in the future.
    pub expires_at: Option<i64>,
}

/// Creates a token.
///
/// # Errors
/// [`Error::NotFound`] where its set is not the workspace's; a refusal where its expiry is not in the future.
pub async fn create(tx: &mut Tx, context: &Context, token: &NewToken) -> Result<Token, Error> {
    todo!()
}

/// The token with this digest, usable or not, and the database clock.
///
/// # Errors
/// [`Error::Database`].
pub async fn by_digest(read: &mut Read, digest: &Digest) -> Result<Option<(Token, i64)>, Error> {
    todo!()
}

/// A token of the workspace.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn get(read: &mut Read, workspace: &WorkspaceId, id: &TokenId) -> Result<Token, Error> {
    todo!()
}

/// Newest first.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(read: &mut Read, workspace: &WorkspaceId, page: &PageRequest) -> Result<Page<Token>, Error> {
    todo!()
}

/// Revokes a token, finally. Repeating it changes nothing.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn revoke(tx: &mut Tx, context: &Context, id: &TokenId) -> Result<Token, Error> {
    todo!()
}

/// Moves `last_used_at` forward, at most once a minute.
///
/// # Errors
/// [`Error::Database`].
pub async fn touch(tx: &mut Tx, id: &TokenId) -> Result<(), Error> {
    todo!()
}

/// Whether the workspace has a usable management token.
///
/// # Errors
/// [`Error::Database`].
pub async fn any_management(read: &mut Read, workspace: &WorkspaceId) -> Result<bool, Error> {
    todo!()
}
