//! What a person had to do with a key: whether they may know its secret, or answer for it.

use super::select::Select;
use super::tx::sql;
use super::{Error, Read};
use crate::domain::{ActorType, Key, MemberId, PrincipalKind, WorkspaceId};

/// A member whose keys are looked for.
#[derive(Clone, Debug)]
pub struct Person {
    member: MemberId,
    /// The subject of their own keys; `None` where the workspace has no such member.
    subject: Option<u32>,
}

/// Why a key is one of a person's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// They issued it, by hand or with a token, and were shown its secret.
    Issued,
    /// They rotated its predecessor, and were shown its secret.
    Rotated,
    /// A service account issued or rotated it with a token that they had made, and whose text they were shown.
    ServiceAccount,
    /// A gateway got it with a pairing code that they had made, and were shown.
    Paired,
    /// They look after it.
    Owner,
    /// It acts for them.
    OwnKey,
}

impl Touch {
    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Rotated => "rotated",
            Self::ServiceAccount => "service_account",
            Self::Paired => "paired",
            Self::Owner => "owner",
            Self::OwnKey => "own_key",
        }
    }
}

impl Person {
    /// A member of the workspace, of now or of before. One that it does not know has to do with no key.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn find(read: &mut Read, workspace: &WorkspaceId, member: MemberId) -> Result<Self, Error> {
        let sql = "SELECT subject FROM members WHERE workspace_id = $1 AND id = $2";
        let row = sql!(read, sql, workspace.as_str(), member.as_str() => optional (i64,))?;
        let subject = row.map(|(subject,)| super::rows::unsigned(subject)).transpose()?;
        Ok(Self { member, subject })
    }

    /// Why a key is theirs; nothing where it is not.
    pub fn touches(&self, key: &Key) -> Vec<Touch> {
        let issued = key.issuer_member.as_ref() == Some(&self.member);
        let own = key.kind == PrincipalKind::User && self.subject == Some(key.subject);
        let paired = issued && key.kind == PrincipalKind::Gateway;
        let by_account = issued && key.issued_by.kind == ActorType::ServiceAccount.as_str();
        let itself = issued && !paired && !by_account;
        let touches = [
            (itself && key.predecessor.is_none(), Touch::Issued),
            (itself && key.predecessor.is_some(), Touch::Rotated),
            (by_account, Touch::ServiceAccount),
            (paired, Touch::Paired),
            (key.owner_member.as_ref() == Some(&self.member), Touch::Owner),
            (own, Touch::OwnKey),
        ];
        touches.into_iter().filter_map(|(holds, touch)| holds.then_some(touch)).collect()
    }

    /// The ways to have to do with a key, each with an index of its own.
    pub(super) fn sources(&self) -> Vec<Source<'_>> {
        let own = self.subject.map(Source::Acting);
        [Source::Issued(&self.member), Source::Owned(&self.member)].into_iter().chain(own).collect()
    }
}

/// Which keys a part of a list is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'p> {
    /// All.
    Any,
    /// Those issued on this member's authority.
    Issued(&'p MemberId),
    /// Those this member looks after.
    Owned(&'p MemberId),
    /// Those that act for the member with this subject.
    Acting(u32),
}

impl Source<'_> {
    pub(super) fn narrow(self, select: &mut Select) {
        match self {
            Self::Any => {}
            Self::Issued(member) => {
                select.push(" AND k.issuer_member = ").value(member.as_str());
            }
            Self::Owned(member) => {
                select.push(" AND k.owner_member = ").value(member.as_str());
            }
            Self::Acting(subject) => {
                select.push(" AND k.kind = 'user' AND k.subject = ").value(i64::from(subject));
            }
        }
    }
}
