//! Who made a one-time code. Codes are shown to whoever makes them, so one is as good as its maker: it works while they could
//! make it again.

use super::tokens::{self, Token};
use super::{Context, Error, Read, Shown, members};
use crate::domain::{Authority, MemberId, TokenId, WorkspaceId};

/// Who made a code, and with what.
#[derive(Clone, Debug, Default)]
pub(super) struct Maker {
    /// The member who answers for it.
    member: Option<MemberId>,
    /// The management token by which.
    token: Option<TokenId>,
}

impl Maker {
    /// Whoever acts.
    pub(super) fn of(context: &Context) -> Self {
        let token = match &context.shown {
            Some(Shown::Token(token)) => Some(token.clone()),
            Some(Shown::Session(_)) | None => None,
        };
        Self { member: context.authority.answerable().cloned(), token }
    }

    /// As a row has it. One from before makers were kept has nothing.
    pub(super) fn from_stored(member: Option<String>, token: Option<String>) -> Self {
        Self { member: member.map(MemberId::from_stored), token: token.map(TokenId::from_stored) }
    }

    pub(super) fn member(&self) -> Option<&MemberId> {
        self.member.as_ref()
    }

    pub(super) fn token(&self) -> Option<&TokenId> {
        self.token.as_ref()
    }

    /// What they may do now; `None` where that is nothing. A token that has run out is no reason: codes have an end of their
    /// own.
    pub(super) async fn authority(&self, read: &mut Read, workspace: &WorkspaceId) -> Result<Option<Authority>, Error> {
        let standing = match (&self.token, &self.member) {
            (Some(token), _) => match tokens::get(read, workspace, token).await {
                Ok(Token { revoked_at: Some(_), .. }) | Err(Error::NotFound(_)) => None,
                found => tokens::standing(read, &found?).await?,
            },
            (None, Some(member)) => members::standing(read, workspace, member).await?,
            (None, None) => return Ok(Some(Authority::System)),
        };
        Ok(standing.map(Authority::of))
    }
}
