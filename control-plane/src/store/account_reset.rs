//! What who has the server's machine does for a person who cannot sign in any more: one way to prove who they are is taken
//! away or replaced. The account stays, and what it is a member of.

use secrecy::SecretString;
use serde_json::json;

use super::accounts::{self, Account};
use super::audit::{self, Draft, Target};
use super::sessions::{self, Which};
use super::tx::sql;
use super::{Context, Error, Read, Tx};
use crate::domain::{MemberId, WorkspaceId};
use crate::signin::Email;

/// What is lost.
#[derive(Clone, Debug)]
pub enum Lost {
    /// The authenticator and its recovery codes: the account has none then.
    SecondFactor,
    /// The password: another one, hashed, takes its place.
    Password(SecretString),
    /// The identity provider knows the person as somebody else: the next to prove the address there is the person.
    Identity,
}

impl Lost {
    const fn action(&self) -> &'static str {
        match self {
            Self::SecondFactor => "admin.second_factor_reset",
            Self::Password(_) => "admin.password_reset",
            Self::Identity => "admin.identity_unlinked",
        }
    }

    const fn reason(&self) -> &'static str {
        match self {
            Self::SecondFactor => "the second factor was reset on the server's machine",
            Self::Password(_) => "the password was reset on the server's machine",
            Self::Identity => "the identity was unlinked on the server's machine",
        }
    }
}

/// What was, or would be, done.
#[derive(Clone, Debug)]
pub struct Reset {
    /// The account as it was before.
    pub account: Account,
    /// Where it is noted: the workspaces it is a member of, also where the member is suspended.
    pub workspaces: Vec<WorkspaceId>,
    /// How many sessions ended.
    pub sessions: u64,
}

/// What a reset would be of.
///
/// # Errors
/// [`Error::NotFound`] where the address has no account, or the account nothing that could be lost.
pub async fn look(read: &mut Read, email: &Email, lost: &Lost) -> Result<Reset, Error> {
    let account = accounts::by_email(read, email).await?.ok_or(Error::NotFound("account"))?;
    match lost {
        Lost::SecondFactor if account.totp.is_none() => return Err(Error::NotFound("second factor")),
        Lost::Identity if account.oidc.is_none() => return Err(Error::NotFound("identity")),
        _ => {}
    }
    let workspaces = places(read, &account).await?.into_iter().map(|(_, workspace)| workspace).collect();
    Ok(Reset { account, workspaces, sessions: 0 })
}

/// Does it, ends all sessions of the account, and notes it in every workspace that the account is a member of. Tokens and
/// keys stay: they prove themselves.
///
/// # Errors
/// As [`look`].
pub async fn reset(tx: &mut Tx, email: &Email, lost: Lost, request_id: &str) -> Result<Reset, Error> {
    let found = look(tx, email, &lost).await?;
    let id = accounts::lock(tx, &found.account.id).await?.id;
    let before = look(tx, email, &lost).await?;
    match &lost {
        Lost::SecondFactor => accounts::remove_totp(tx, &id).await?,
        Lost::Password(hash) => accounts::set_password(tx, &id, hash).await?,
        Lost::Identity => {
            let sql = "UPDATE accounts SET oidc_issuer = NULL, oidc_subject = NULL WHERE id = $1";
            sql!(tx, sql, id.as_str() => execute)?;
        }
    }
    let now = tx.now().await?;
    let mut sessions = 0;
    for (member, workspace) in places(tx, &before.account).await? {
        let context = Context::system(workspace, request_id);
        sessions += sessions::end(tx, &context, Which::OfMember(&member), lost.reason()).await?;
        let draft = Draft {
            action: lost.action(),
            target: Target::Other("member", member.as_str()),
            before: None,
            after: Some(json!({ "account": id.as_str() })),
            reason: None,
            personal: &[],
            about: None,
        };
        audit::append(tx, &context, &draft, now).await?;
    }
    Ok(Reset { sessions, ..before })
}

/// The members that an account is, in the order of their workspaces.
async fn places(read: &mut Read, account: &Account) -> Result<Vec<(MemberId, WorkspaceId)>, Error> {
    let sql =
        "SELECT id, workspace_id FROM members WHERE account_id = $1 AND state <> 'removed' ORDER BY workspace_id, id";
    let rows = sql!(read, sql, account.id.as_str() => all (String, String))?;
    let place = |(member, workspace)| (MemberId::from_stored(member), WorkspaceId::from_stored(workspace));
    Ok(rows.into_iter().map(place).collect())
}
