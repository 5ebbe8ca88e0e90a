//! Members: invite, change, suspend, remove.

use nightlatch_key::Digest;

use super::makers::Maker;
pub(super) use super::member_list::confirm;
pub use super::member_list::{MemberFilter, by_code, confirm_reader, get, list, of_subject, standing, subject_of};
use super::member_notes::{gained, note};
use super::sessions::Which;
use super::tx::sql;
use super::{
    Context, Error, Random, Tx, catalogue, dialect, keys, principals, profiles, roles, sessions, tokens, workspaces,
};
use crate::domain::{
    Actor, Member, MemberId, MemberPatch, MemberState, Name, PrincipalKind, PrincipalState, Reason, Refusal, Role,
    Scopes, Tier, TokenId, WorkspaceId,
};

/// Somebody to be invited.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// The address, lower case.
    pub email: String,
    /// What it is to be called.
    pub name: Option<Name>,
    /// What it is to be.
    pub role: Role,
    /// The subject of the partner organisation whose staff it is to be.
    pub partner: Option<u32>,
    /// What its own keys may do beside what its role brings.
    pub scopes: Scopes,
    /// The rate limit of its own keys.
    pub tier: Option<Tier>,
    /// SHA-256 of the one-time code.
    pub code: Digest,
    /// How long the code works, milliseconds.
    pub lifetime_ms: i64,
}

/// Invites somebody: makes the member and its principal. Whoever shows the code joins.
///
/// # Errors
/// A refusal.
pub async fn invite(
    tx: &mut Tx,
    context: &Context,
    invitation: Invitation,
    random: Random<'_>,
) -> Result<Member, Error> {
    context.authority.require_member(invitation.role, invitation.partner)?;
    context.authority.require_grant(&invitation.scopes)?;
    catalogue::require_acknowledged(tx, context, &invitation.scopes).await?;
    roles::require_grant(tx, context, invitation.role).await?;
    if invitation.role.is_partner() != invitation.partner.is_some() {
        return Err(Refusal::RoleUnfit.into());
    }
    let now = tx.now().await?;
    if let Some(partner) = invitation.partner {
        let kind = keys::kind_of(tx, &context.workspace, partner).await?;
        if kind != PrincipalKind::Partner {
            return Err(Refusal::PrincipalUnknown.into());
        }
    }
    let sql = "SELECT COUNT(*) FROM members WHERE workspace_id = $1 AND email = $2 AND state <> 'removed'";
    if sql!(tx, sql, context.workspace.as_str(), invitation.email.as_str() => one (i64,))?.0 > 0 {
        return Err(Refusal::MemberExists.into());
    }
    let member = Member {
        id: member_id(random),
        workspace: context.workspace.clone(),
        subject: new_subject(tx, &context.workspace, now).await?,
        role: invitation.role,
        partner: invitation.partner,
        email: Some(invitation.email),
        name: invitation.name.map(Name::into_string),
        state: MemberState::Invited,
        scopes: invitation.scopes,
        tier: invitation.tier,
        account: None,
        invite_expires_at: Some(now.saturating_add(invitation.lifetime_ms)),
        invited_by: context.actor.clone(),
        created_at: now,
        joined_at: None,
        suspended_at: None,
        removed_at: None,
        revision: 1,
    };
    insert(tx, &member, Some((&invitation.code, Maker::of(context)))).await?;
    note(tx, context, "member.invited", None, &member, None, now).await?;
    Ok(member)
}

/// The one-time code by which somebody gets a member an account.
#[derive(Clone, Copy, Debug)]
pub struct JoinCode {
    /// SHA-256 of it.
    pub digest: Digest,
    /// How long it works, milliseconds.
    pub lifetime_ms: i64,
}

/// Makes the first owner of a workspace, for whoever held its enrolment token. It is here at once; with an address, and by
/// the code, it may have an account.
///
/// # Errors
/// [`Error::Database`].
pub async fn found(
    tx: &mut Tx,
    context: &Context,
    name: Option<Name>,
    email: Option<String>,
    join: Option<JoinCode>,
    random: Random<'_>,
) -> Result<Member, Error> {
    let now = tx.now().await?;
    // Nobody proves to have an account at no address.
    let join = join.filter(|_| email.is_some());
    let member = Member {
        id: member_id(random),
        workspace: context.workspace.clone(),
        subject: new_subject(tx, &context.workspace, now).await?,
        role: Role::Owner,
        partner: None,
        email,
        name: name.map(Name::into_string),
        state: MemberState::Active,
        scopes: Scopes::default(),
        tier: None,
        account: None,
        invite_expires_at: join.map(|join| now.saturating_add(join.lifetime_ms)),
        invited_by: context.actor.clone(),
        created_at: now,
        joined_at: Some(now),
        suspended_at: None,
        removed_at: None,
        revision: 1,
    };
    insert(tx, &member, join.as_ref().map(|join| (&join.digest, Maker::default()))).await?;
    note(tx, context, "member.joined", None, &member, None, now).await?;
    Ok(member)
}

/// Makes another code for somebody who has no account yet; the one before works no longer. An address is given to a member
/// that has none, and never changed: whoever proves that it is theirs gets the account.
///
/// # Errors
/// A refusal; [`Error::NotFound`].
pub async fn reinvite(
    tx: &mut Tx,
    context: &Context,
    id: &MemberId,
    email: Option<String>,
    join: JoinCode,
) -> Result<Member, Error> {
    let before = hold(tx, context, id).await?;
    let awaits = match before.state {
        MemberState::Invited => true,
        // A founder, who came with an enrolment token.
        MemberState::Active => before.account.is_none(),
        MemberState::Suspended | MemberState::Removed => false,
    };
    if !awaits {
        return Err(Refusal::InviteAccepted.into());
    }
    let email = address(tx, &before, email).await?;
    // Whoever has the code joins with all of this.
    context.authority.require_grant(&before.scopes)?;
    // It was acknowledged when they were invited.
    let acknowledged = Context { acknowledged: true, ..context.clone() };
    roles::require_grant(tx, &acknowledged, before.role).await?;
    let now = tx.now().await?;
    let invite_expires_at = Some(now.saturating_add(join.lifetime_ms));
    let after = Member { email: Some(email.clone()), invite_expires_at, ..before.clone() };
    let maker = Maker::of(context);
    sql!(
        tx,
        "UPDATE members SET invite_digest = $2, email = $3, invite_member = $4, invite_token = $5 WHERE id = $1",
        id.as_str(),
        join.digest.as_bytes().as_slice(),
        email,
        maker.member().map(MemberId::as_str),
        maker.token().map(TokenId::as_str)
        => execute
    )
    .map_err(taken)?;
    update(tx, context, "member.invited", &before, after, None, now).await
}

/// Somebody else may have been invited with an address meanwhile.
fn taken(error: sqlx::Error) -> Error {
    match error.as_database_error() {
        Some(fault) if fault.is_unique_violation() => Refusal::MemberExists.into(),
        _ => error.into(),
    }
}

/// The address by which a member is to get an account.
async fn address(tx: &mut Tx, member: &Member, given: Option<String>) -> Result<String, Error> {
    let not_theirs = |rule| Error::from(Refusal::NotTheirs { field: "email", rule });
    match (&member.email, given) {
        (Some(email), None) => Ok(email.clone()),
        (Some(email), Some(given)) if *email == given => Ok(given),
        (Some(_), Some(_)) => Err(not_theirs("cannot be changed; remove the member and invite the other address")),
        (None, None) => Err(not_theirs("is missing: the member has no address yet")),
        (None, Some(given)) => {
            let sql = "SELECT COUNT(*) FROM members WHERE workspace_id = $1 AND email = $2 AND state <> 'removed'";
            match sql!(tx, sql, member.workspace.as_str(), given.as_str() => one (i64,))?.0 {
                0 => Ok(given),
                _ => Err(Refusal::MemberExists.into()),
            }
        }
    }
}

/// Lets somebody who shows the code of an invitation join, with an account; or a founder, who is here, have one.
///
/// # Errors
/// [`Error::NotFound`] where the code is unknown, used or expired.
pub async fn accept(
    tx: &mut Tx,
    code: &Digest,
    account: &str,
    name: Option<Name>,
    request_id: &str,
    source: Option<&str>,
) -> Result<Member, Error> {
    let found = by_code(tx, code).await?;
    dialect::lock_member(tx, found.workspace.as_str(), found.id.as_str()).await?;
    // Of two that race, the second finds it used.
    let before = by_code(tx, code).await?;
    let context = Context {
        actor: Actor::new(crate::domain::ActorType::Member, before.id.as_str()),
        source: source.map(str::to_owned),
        ..Context::system(before.workspace.clone(), request_id)
    };
    let now = tx.now().await?;
    let after = Member {
        state: MemberState::Active,
        account: Some(account.to_owned()),
        name: name.map(Name::into_string).or_else(|| before.name.clone()),
        invite_expires_at: None,
        joined_at: before.joined_at.or(Some(now)),
        ..before.clone()
    };
    let action = if before.state == MemberState::Active { "member.account_made" } else { "member.joined" };
    let sql = "UPDATE members SET invite_digest = NULL WHERE id = $1";
    sql!(tx, sql, before.id.as_str() => execute)?;
    update(tx, &context, action, &before, after, None, now).await
}

/// Changes a member. `revision` is what the caller read (`If-Match`).
///
/// # Errors
/// A refusal; [`Error::Stale`]; [`Error::NotFound`].
pub async fn patch(
    tx: &mut Tx,
    context: &Context,
    id: &MemberId,
    revision: Option<i64>,
    patch: MemberPatch,
) -> Result<Member, Error> {
    let before = hold(tx, context, id).await?;
    if revision.is_some_and(|revision| revision != before.revision) {
        return Err(Error::Stale(before.revision));
    }
    let mut after = before.clone();
    if let Some(role) = patch.role.filter(|role| *role != before.role) {
        context.authority.require_member(role, before.partner)?;
        if role.is_partner() != before.partner.is_some() {
            return Err(Refusal::RoleUnfit.into());
        }
        roles::require_grant(tx, context, role).await?;
        require_another_owner(tx, &before).await?;
        after.role = role;
    }
    if let Some(scopes) = patch.scopes {
        context.authority.require_grant(&scopes)?;
        catalogue::require_acknowledged(tx, context, &gained(&before.scopes, &scopes)?).await?;
        after.scopes = scopes;
    }
    if let Some(name) = patch.name {
        after.name = Some(name.into_string());
    }
    if let Some(tier) = patch.tier {
        after.tier = tier;
    }
    if after == before {
        return Ok(before);
    }
    if before.state == MemberState::Removed {
        return Err(Refusal::PrincipalRemoved.into());
    }
    let now = tx.now().await?;
    update(tx, context, "member.updated", &before, after, None, now).await
}

/// Suspends a member: it may do nothing, its tokens open nothing and its keys are refused, until it is resumed.
///
/// # Errors
/// A refusal; [`Error::NotFound`].
pub async fn suspend(tx: &mut Tx, context: &Context, id: &MemberId, reason: Option<&Reason>) -> Result<Member, Error> {
    let before = hold(tx, context, id).await?;
    match before.state {
        MemberState::Suspended => return Ok(before),
        MemberState::Removed => return Err(Refusal::PrincipalRemoved.into()),
        MemberState::Invited | MemberState::Active => {}
    }
    require_another_owner(tx, &before).await?;
    let now = tx.now().await?;
    sessions::end(tx, context, Which::OfMember(id), "the member was suspended").await?;
    principals::suspend_because(tx, context, before.subject, reason).await?;
    let after = Member { state: MemberState::Suspended, suspended_at: Some(now), ..before.clone() };
    update(tx, context, "member.suspended", &before, after, reason, now).await
}

/// Lets a suspended member work again, and its keys with it.
///
/// # Errors
/// A refusal; [`Error::NotFound`].
pub async fn resume(tx: &mut Tx, context: &Context, id: &MemberId, reason: Option<&Reason>) -> Result<Member, Error> {
    let before = hold(tx, context, id).await?;
    match before.state {
        MemberState::Invited | MemberState::Active => return Ok(before),
        MemberState::Removed => return Err(Refusal::PrincipalRemoved.into()),
        MemberState::Suspended => {}
    }
    let now = tx.now().await?;
    principals::resume_because(tx, context, before.subject, reason).await?;
    let state = if before.joined_at.is_some() { MemberState::Active } else { MemberState::Invited };
    let after = Member { state, suspended_at: None, ..before.clone() };
    update(tx, context, "member.resumed", &before, after, reason, now).await
}

/// Removes a member for ever: its keys and tokens are revoked in the same transaction.
///
/// # Errors
/// A refusal; [`Error::NotFound`].
pub async fn remove(tx: &mut Tx, context: &Context, id: &MemberId, reason: Option<&Reason>) -> Result<Member, Error> {
    let before = hold(tx, context, id).await?;
    if before.state == MemberState::Removed {
        return Ok(before);
    }
    require_another_owner(tx, &before).await?;
    let now = tx.now().await?;
    principals::remove_because(tx, context, before.subject, reason).await?;
    tokens::end_of_member(tx, context, id, reason).await?;
    sessions::end(tx, context, Which::OfMember(id), "the member was removed").await?;
    let sql = "UPDATE members SET invite_digest = NULL WHERE id = $1";
    sql!(tx, sql, id.as_str() => execute)?;
    let after =
        Member { state: MemberState::Removed, removed_at: Some(now), invite_expires_at: None, ..before.clone() };
    update(tx, context, "member.removed", &before, after, reason, now).await
}

/// Refuses where a workspace, or an organisation in it, would be without an owner. Who holds a member holds all owners, so
/// that two of them cannot go at once, each counting on the other.
async fn require_another_owner(tx: &mut Tx, member: &Member) -> Result<(), Error> {
    let counts = matches!(member.role, Role::Owner | Role::PartnerOwner) && member.state == MemberState::Active;
    if !counts {
        return Ok(());
    }
    if let Some(partner) = member.partner {
        // An organisation that does not work needs nobody.
        let principal = principals::find(tx, &member.workspace, partner).await?;
        if principal.is_none_or(|principal| principal.state == PrincipalState::Removed) {
            return Ok(());
        }
    }
    let sql = "SELECT COUNT(*) FROM members WHERE workspace_id = $1 AND role = $2 AND state = 'active' AND id <> $3 \
               AND COALESCE(partner, 0) = $4";
    let partner = member.partner.map_or(0, i64::from);
    let (others,) = sql!(
        tx, sql, member.workspace.as_str(), member.role.as_str(), member.id.as_str(), partner => one (i64,)
    )?;
    if others == 0 { Err(Refusal::LastOwner.into()) } else { Ok(()) }
}

/// Takes a member for change, where the caller may change it. Staff of other partner organisations are unknown to a
/// partner's people, and so are the workspace's own.
async fn hold(tx: &mut Tx, context: &Context, id: &MemberId) -> Result<Member, Error> {
    // Before the member: two owners that go at once, each locked by its own removal, would wait for each other.
    dialect::lock_owners(tx, context.workspace.as_str()).await?;
    dialect::lock_member(tx, context.workspace.as_str(), id.as_str()).await?;
    // What was waited for may have been the end of whoever acts here.
    confirm(tx, context).await?;
    let member = get(tx, &context.workspace, id).await?;
    if !context.authority.sees(member.partner.unwrap_or_default()) {
        return Err(Error::NotFound("member"));
    }
    context.authority.require_member(member.role, member.partner)?;
    Ok(member)
}

async fn new_subject(tx: &mut Tx, workspace: &WorkspaceId, now: i64) -> Result<u32, Error> {
    // The principal has no name of its own: a person's is the member's, and can be erased there.
    workspaces::add_principal(tx, workspace, PrincipalKind::User, "", now).await
}

fn member_id(random: Random<'_>) -> MemberId {
    let mut bytes = [0; 10];
    random(&mut bytes);
    MemberId::generate(bytes)
}

/// Writes a new member; with its code, and who made that.
async fn insert(tx: &mut Tx, member: &Member, code: Option<(&Digest, Maker)>) -> Result<(), Error> {
    let (code, maker) = code.unzip();
    let maker = maker.unwrap_or_default();
    let inserted = sql!(
        tx,
        "INSERT INTO members (id, workspace_id, subject, role, partner, email, name, state, scopes, tier, account_id, \
         invite_digest, invite_expires_at, invited_by_type, invited_by_id, created_at, joined_at, revision, \
         invite_member, invite_token) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
         $17, $18, $19, $20) \
         ON CONFLICT DO NOTHING",
        member.id.as_str(),
        member.workspace.as_str(),
        i64::from(member.subject),
        member.role.as_str(),
        member.partner.map(i64::from),
        member.email.as_deref(),
        member.name.as_deref(),
        member.state.as_str(),
        member.scopes.to_stored(),
        member.tier.as_ref().map(Tier::as_str),
        member.account.as_deref(),
        code.map(|code| code.as_bytes().as_slice()),
        member.invite_expires_at,
        member.invited_by.kind.as_str(),
        member.invited_by.id.as_str(),
        member.created_at,
        member.joined_at,
        member.revision,
        maker.member().map(MemberId::as_str),
        maker.token().map(TokenId::as_str)
        => execute
    )?;
    // Another mutation has invited the same address meanwhile.
    if inserted == 0 { Err(Refusal::MemberExists.into()) } else { Ok(()) }
}

/// Writes a changed member, tells edges what its keys may do now, and notes it.
async fn update(
    tx: &mut Tx,
    context: &Context,
    action: &'static str,
    before: &Member,
    mut after: Member,
    reason: Option<&Reason>,
    now: i64,
) -> Result<Member, Error> {
    after.revision = before.revision + 1;
    let updated = sql!(
        tx,
        "UPDATE members SET role = $3, name = $4, state = $5, scopes = $6, tier = $7, account_id = $8, \
         invite_expires_at = $9, joined_at = $10, suspended_at = $11, removed_at = $12, revision = $13 \
         WHERE id = $1 AND revision = $2",
        before.id.as_str(),
        before.revision,
        after.role.as_str(),
        after.name.as_deref(),
        after.state.as_str(),
        after.scopes.to_stored(),
        after.tier.as_ref().map(Tier::as_str),
        after.account.as_deref(),
        after.invite_expires_at,
        after.joined_at,
        after.suspended_at,
        after.removed_at,
        after.revision
        => execute
    )?;
    if updated != 1 {
        return Err(Error::Corrupt("member revision"));
    }
    profiles::changed(tx, &after.workspace, after.subject, now).await?;
    note(tx, context, action, Some(before), &after, reason, now).await?;
    Ok(after)
}
