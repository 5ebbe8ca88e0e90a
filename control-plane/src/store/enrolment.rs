//! The one-time token of a workspace's first owner.

use nightlatch_key::{Digest, KeyText};
use serde_json::{Value, json};

use super::audit::{self, Draft, Target};
use super::members::JoinCode;
use super::tokens::{self, NewManagement, Token};
use super::tx::sql;
use super::{Context, Error, Random, Read, Tx, members};
use crate::domain::{Actor, ActorType, Authority, Member, Name, WorkspaceId};

/// What an enrolment token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A first start, or a management token that is lost.
    Enrolment,
    /// A workspace whose owners cannot get in. It is noted.
    Recovery,
}

/// Makes an enrolment token's digest valid for `lifetime_ms`. Unused ones made earlier end.
///
/// # Errors
/// [`Error::Database`].
pub async fn open(
    tx: &mut Tx,
    workspace: &WorkspaceId,
    digest: Digest,
    lifetime_ms: i64,
    why: Why,
) -> Result<(), Error> {
    let now = tx.now().await?;
    let sql = "UPDATE enrolments SET expires_at = $2 WHERE workspace_id = $1 AND used_at IS NULL AND expires_at > $2";
    sql!(tx, sql, workspace.as_str(), now => execute)?;
    let sql = "UPDATE enrolments SET email = NULL WHERE workspace_id = $1 AND used_at IS NULL AND email IS NOT NULL";
    sql!(tx, sql, workspace.as_str() => execute)?;
    sql!(
        tx,
        "INSERT INTO enrolments (digest, workspace_id, created_at, expires_at, recovery) VALUES ($1, $2, $3, $4, $5)",
        digest.as_bytes().as_slice(),
        workspace.as_str(),
        now,
        now.saturating_add(lifetime_ms),
        i64::from(why == Why::Recovery)
        => execute
    )?;
    if why == Why::Recovery {
        let context = Context::system(workspace.clone(), "nightlatch admin recover");
        note(tx, &context, "admin.recovery_opened", json!({ "expires_at": now.saturating_add(lifetime_ms) })).await?;
    }
    Ok(())
}

/// Notes whom an enrolment token is for.
///
/// # Errors
/// [`Error::Database`].
pub async fn say_whose(tx: &mut Tx, digest: &Digest, email: Option<&str>) -> Result<(), Error> {
    let sql = "UPDATE enrolments SET email = $2 WHERE digest = $1";
    sql!(tx, sql, digest.as_bytes().as_slice(), email => execute)?;
    Ok(())
}

/// Whether there is an enrolment token that could still be used.
///
/// # Errors
/// [`Error::Database`].
pub async fn is_open(read: &mut Read, workspace: &WorkspaceId) -> Result<bool, Error> {
    let now = read.now().await?;
    let sql = "SELECT COUNT(*) FROM enrolments WHERE workspace_id = $1 AND used_at IS NULL AND expires_at > $2";
    let (open,) = sql!(read, sql, workspace.as_str(), now => one (i64,))?;
    Ok(open > 0)
}

/// Whether this one could be exchanged now: asked first, it keeps those who guess from the one place where all write.
///
/// # Errors
/// [`Error::Database`].
pub async fn awaits(read: &mut Read, digest: &Digest) -> Result<bool, Error> {
    let now = read.now().await?;
    let sql = "SELECT COUNT(*) FROM enrolments WHERE digest = $1 AND used_at IS NULL AND expires_at > $2";
    Ok(sql!(read, sql, digest.as_bytes().as_slice(), now => one (i64,))?.0 > 0)
}

/// Who becomes the owner of a workspace by its enrolment token.
#[derive(Clone, Debug, Default)]
pub struct Founder {
    /// What it is called.
    pub name: Option<Name>,
    /// Its address, lower case; the one the token was made for when absent.
    pub email: Option<String>,
    /// By which it gets an account at that address.
    pub join: Option<JoinCode>,
}

/// What an enrolment makes.
#[derive(Debug)]
pub struct Enrolled {
    /// The new owner.
    pub member: Member,
    /// Its token.
    pub token: Token,
    /// The token's text: shown once.
    pub secret: KeyText,
}

/// Exchanges an enrolment token, once, for an owner and a token of its. The workspace is the enrolment's own.
///
/// # Errors
/// [`Error::NotFound`] where the digest is unknown, used or expired.
pub async fn exchange(
    tx: &mut Tx,
    digest: Digest,
    founder: Founder,
    request_id: &str,
    source: Option<&str>,
    random: Random<'_>,
) -> Result<Enrolled, Error> {
    let now = tx.now().await?;
    // One statement decides: of two that race, the second finds it used.
    let sql = "UPDATE enrolments SET used_at = $2 WHERE digest = $1 AND used_at IS NULL AND expires_at > $2 \
               RETURNING workspace_id, email, recovery";
    let row = sql!(tx, sql, digest.as_bytes().as_slice(), now => optional (String, Option<String>, i64))?;
    let (workspace, whose, recovery) = row.ok_or(Error::NotFound("enrolment"))?;
    // From here on the owner's record says whose it is.
    sql!(tx, "UPDATE enrolments SET email = NULL WHERE digest = $1", digest.as_bytes().as_slice() => execute)?;
    let workspace = WorkspaceId::from_stored(workspace);
    let context = Context {
        actor: Actor::new(ActorType::Enrolment, workspace.as_str()),
        source: source.map(str::to_owned),
        ..Context::system(workspace, request_id)
    };
    let member = members::found(tx, &context, founder.name, founder.email.or(whose), founder.join, random).await?;
    let name = Name::new("enrolment")?;
    // From here on it is done for the new owner: the address it came from can be erased with it.
    let standing = members::standing(tx, &context.workspace, &member.id).await?.ok_or(Error::Corrupt("member"))?;
    let context = Context { authority: Authority::of(standing), ..context };
    let new =
        NewManagement { name, rights: None, expires_at: None, member: Some(member.id.clone()), service_account: None };
    let (token, secret) = tokens::create_management(tx, &context, new, random).await?;
    let action = if recovery == 0 { "workspace.enrolled" } else { "admin.recovery_used" };
    note(tx, &context, action, json!({ "token": token.id.as_str(), "member": member.id.as_str() })).await?;
    Ok(Enrolled { member, token, secret })
}

async fn note(tx: &mut Tx, context: &Context, action: &'static str, after: Value) -> Result<(), Error> {
    let now = tx.now().await?;
    let target = Target::Other("workspace", context.workspace.as_str());
    let draft = Draft { action, target, before: None, after: Some(after), reason: None, personal: &[], about: None };
    audit::append(tx, context, &draft, now).await
}
