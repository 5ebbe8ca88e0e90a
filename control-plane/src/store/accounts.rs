//! Accounts: what people prove themselves with, in whichever workspaces they are members.

use nightlatch_key::Digest;
use secrecy::{ExposeSecret, SecretString};
use sqlx::FromRow;

use super::member_list::awaits_account;
use super::tx::sql;
use super::{Error, Random, Read, Tx, dialect, members, rows};
use crate::domain::{AccountId, MemberId, WorkspaceId};
use crate::signin::Email;

/// Selects [`Row`]s.
macro_rules! select_accounts {
    ($condition:literal) => {
        concat!(
            "SELECT id, email, password_hash, totp_sealed, totp_offered, totp_last_step, oidc_issuer, oidc_subject, \
             created_at FROM accounts WHERE ",
            $condition
        )
    };
}

/// A person's account.
#[derive(Clone, Debug)]
pub struct Account {
    /// `acc_…`
    pub id: AccountId,
    /// In lower case.
    pub email: String,
    /// A PHC text; none where the person signs in through an identity provider only.
    pub password_hash: Option<SecretString>,
    /// The secret of the authenticator, sealed.
    pub totp: Option<Vec<u8>>,
    /// The secret of the authenticator that is to be confirmed, sealed.
    pub totp_offered: Option<Vec<u8>>,
    /// The last step a code was taken of.
    pub totp_last_step: i64,
    /// Who the person is to the identity provider: issuer and subject.
    pub oidc: Option<(String, String)>,
    /// Unix milliseconds.
    pub created_at: i64,
}

/// An account's place in a workspace, as it is now.
#[derive(Clone, Debug)]
pub struct Membership {
    /// `mem_…`
    pub member: MemberId,
    /// Which workspace.
    pub workspace: WorkspaceId,
    /// What people call the workspace.
    pub workspace_name: String,
    /// What people call the member.
    pub name: Option<String>,
    /// The role's name.
    pub role: String,
}

/// The account of an address.
///
/// # Errors
/// [`Error::Database`].
pub async fn by_email(read: &mut Read, email: &Email) -> Result<Option<Account>, Error> {
    let row = sql!(read, select_accounts!("email = $1"), email.as_str() => optional Row)?;
    Ok(row.map(Account::from))
}

/// The account of somebody an identity provider knows.
///
/// # Errors
/// [`Error::Database`].
pub async fn by_subject(read: &mut Read, issuer: &str, subject: &str) -> Result<Option<Account>, Error> {
    let sql = select_accounts!("oidc_issuer = $1 AND oidc_subject = $2");
    Ok(sql!(read, sql, issuer, subject => optional Row)?.map(Account::from))
}

/// An account by id.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn get(read: &mut Read, id: &AccountId) -> Result<Account, Error> {
    let row = sql!(read, select_accounts!("id = $1"), id.as_str() => optional Row)?;
    row.map(Account::from).ok_or(Error::NotFound("account"))
}

/// As [`get`], and other mutations of the account wait until this one ends.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn lock(tx: &mut Tx, id: &AccountId) -> Result<Account, Error> {
    dialect::lock_account(tx, id.as_str()).await?;
    get(tx, id).await
}

/// Makes an account. It signs in with a password, or as somebody an identity provider knows. `None` where the address, or
/// that somebody, has one meanwhile.
///
/// # Errors
/// [`Error::Database`].
pub async fn create(
    tx: &mut Tx,
    email: &Email,
    password_hash: Option<&SecretString>,
    oidc: Option<(&str, &str)>,
    random: Random<'_>,
) -> Result<Option<AccountId>, Error> {
    let mut bytes = [0; 10];
    random(&mut bytes);
    let (id, now) = (AccountId::generate(bytes), tx.now().await?);
    let made = sql!(
        tx,
        "INSERT INTO accounts (id, email, password_hash, totp_last_step, oidc_issuer, oidc_subject, created_at, \
         password_changed_at) VALUES ($1, $2, $3, 0, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        id.as_str(),
        email.as_str(),
        password_hash.map(ExposeSecret::expose_secret),
        oidc.map(|(issuer, _)| issuer),
        oidc.map(|(_, subject)| subject),
        now,
        password_hash.map(|_| now)
        => execute
    )?;
    Ok((made > 0).then_some(id))
}

/// Gives an account another password.
///
/// # Errors
/// [`Error::Database`].
pub async fn set_password(tx: &mut Tx, id: &AccountId, hash: &SecretString) -> Result<(), Error> {
    let now = tx.now().await?;
    let sql = "UPDATE accounts SET password_hash = $2, password_changed_at = $3 WHERE id = $1";
    sql!(tx, sql, id.as_str(), hash.expose_secret(), now => execute)?;
    Ok(())
}

/// Says who the account's person is to the identity provider, where nobody has said so, and takes away everything else
/// the account could be signed in to with. Returns whether it did.
///
/// Until then nobody has proved that the address is theirs: the account is of whoever had an invitation's code first, who
/// may have been the inviter. From then on the link itself says that it was proved. Sessions are for the caller to end.
///
/// # Errors
/// [`Error::Database`].
pub async fn link(tx: &mut Tx, id: &AccountId, issuer: &str, subject: &str) -> Result<bool, Error> {
    let sql = "UPDATE accounts SET oidc_issuer = $2, oidc_subject = $3, password_hash = NULL, \
               password_changed_at = NULL WHERE id = $1 AND oidc_subject IS NULL";
    let linked = sql!(tx, sql, id.as_str(), issuer, subject => execute)? > 0;
    if linked {
        remove_totp(tx, id).await?;
    }
    Ok(linked)
}

/// Keeps the secret of an authenticator until it is confirmed.
///
/// # Errors
/// [`Error::Database`].
pub async fn offer_totp(tx: &mut Tx, id: &AccountId, sealed: &[u8]) -> Result<(), Error> {
    sql!(tx, "UPDATE accounts SET totp_offered = $2 WHERE id = $1", id.as_str(), sealed => execute)?;
    Ok(())
}

/// Makes the offered authenticator the account's, its first code taken, with these recovery codes in place of earlier
/// ones.
///
/// # Errors
/// [`Error::Database`].
pub async fn confirm_totp(tx: &mut Tx, id: &AccountId, step: i64, codes: &[[u8; 32]]) -> Result<(), Error> {
    let sql = "UPDATE accounts SET totp_sealed = totp_offered, totp_offered = NULL, totp_last_step = $2 WHERE id = $1";
    sql!(tx, sql, id.as_str(), step => execute)?;
    sql!(tx, "DELETE FROM recovery_codes WHERE account_id = $1", id.as_str() => execute)?;
    let now = tx.now().await?;
    for digest in codes {
        let sql = "INSERT INTO recovery_codes (account_id, digest, created_at) VALUES ($1, $2, $3)";
        sql!(tx, sql, id.as_str(), digest.as_slice(), now => execute)?;
    }
    Ok(())
}

/// Takes the authenticator and the recovery codes away.
///
/// # Errors
/// [`Error::Database`].
pub async fn remove_totp(tx: &mut Tx, id: &AccountId) -> Result<(), Error> {
    let sql = "UPDATE accounts SET totp_sealed = NULL, totp_offered = NULL WHERE id = $1";
    sql!(tx, sql, id.as_str() => execute)?;
    sql!(tx, "DELETE FROM recovery_codes WHERE account_id = $1", id.as_str() => execute)?;
    Ok(())
}

/// Takes the code of a step. Returns whether it was still to be had: of two that race, one gets it.
///
/// # Errors
/// [`Error::Database`].
pub async fn take_step(tx: &mut Tx, id: &AccountId, step: i64) -> Result<bool, Error> {
    let sql = "UPDATE accounts SET totp_last_step = $2 WHERE id = $1 AND totp_last_step < $2";
    Ok(sql!(tx, sql, id.as_str(), step => execute)? > 0)
}

/// Takes a recovery code. Returns whether it was still to be had.
///
/// # Errors
/// [`Error::Database`].
pub async fn take_recovery_code(tx: &mut Tx, id: &AccountId, digest: &[u8; 32]) -> Result<bool, Error> {
    let now = tx.now().await?;
    let sql = "UPDATE recovery_codes SET used_at = $3 WHERE account_id = $1 AND digest = $2 AND used_at IS NULL";
    Ok(sql!(tx, sql, id.as_str(), digest.as_slice(), now => execute)? > 0)
}

/// How many recovery codes are left.
///
/// # Errors
/// [`Error::Database`].
pub async fn recovery_codes_left(read: &mut Read, id: &AccountId) -> Result<i64, Error> {
    let sql = "SELECT COUNT(*) FROM recovery_codes WHERE account_id = $1 AND used_at IS NULL";
    Ok(sql!(read, sql, id.as_str() => one (i64,))?.0)
}

/// Where an account is an active member now, the workspaces in the order of their names.
///
/// # Errors
/// [`Error::Database`].
pub async fn memberships(read: &mut Read, id: &str) -> Result<Vec<Membership>, Error> {
    let sql = "SELECT m.id, m.workspace_id, w.name, m.name, m.role FROM members m \
               JOIN workspaces w ON w.id = m.workspace_id \
               WHERE m.account_id = $1 AND m.state = 'active' ORDER BY w.name, m.workspace_id";
    let rows = sql!(read, sql, id => all (String, String, String, Option<String>, String))?;
    let membership = |(member, workspace, workspace_name, name, role)| Membership {
        member: MemberId::from_stored(member),
        workspace: WorkspaceId::from_stored(workspace),
        workspace_name,
        name,
        role,
    };
    Ok(rows.into_iter().map(membership).collect())
}

/// An address's open invitations, in all workspaces: where to, and the codes' digests. Of use to who has proved that the
/// address is theirs.
///
/// # Errors
/// [`Error::Database`].
pub async fn open_invitations(read: &mut Read, email: &Email) -> Result<Vec<(WorkspaceId, Digest)>, Error> {
    let now = read.now().await?;
    let sql = concat!(
        "SELECT workspace_id, invite_digest FROM members WHERE email = $1 AND ",
        awaits_account!("$2"),
        " ORDER BY workspace_id, id"
    );
    let found = sql!(read, sql, email.as_str(), now => all (String, Vec<u8>))?;
    let mut invitations = Vec::new();
    for (workspace, bytes) in found {
        let code = rows::digest(&bytes)?;
        match members::by_code(read, &code).await {
            Ok(_) => invitations.push((WorkspaceId::from_stored(workspace), code)),
            // Whoever made it is gone.
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(invitations)
}

#[derive(FromRow)]
struct Row {
    id: String,
    email: String,
    password_hash: Option<String>,
    totp_sealed: Option<Vec<u8>>,
    totp_offered: Option<Vec<u8>>,
    totp_last_step: i64,
    oidc_issuer: Option<String>,
    oidc_subject: Option<String>,
    created_at: i64,
}

impl From<Row> for Account {
    fn from(row: Row) -> Self {
        Self {
            id: AccountId::from_stored(row.id),
            email: row.email,
            password_hash: row.password_hash.map(SecretString::from),
            totp: row.totp_sealed,
            totp_offered: row.totp_offered,
            totp_last_step: row.totp_last_step,
            oidc: row.oidc_issuer.zip(row.oidc_subject),
            created_at: row.created_at,
        }
    }
}
