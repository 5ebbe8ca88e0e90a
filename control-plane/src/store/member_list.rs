//! Reading members.

use std::collections::BTreeSet;

use nightlatch_key::Digest;
use sqlx::FromRow;

use super::makers::Maker;
use super::rows::unsigned;
use super::select::{Direction, Select};
use super::tx::sql;
use super::{Context, Cursor, Error, Page, PageRequest, Read, Shown, Tx, principals, roles, sessions, tokens};
use crate::domain::authority::Seat;
use crate::domain::{
    Actor, Authority, Member, MemberId, MemberState, PrincipalState, Refusal, Role, Scopes, Standing, Tier, WorkspaceId,
};

/// Selects [`Row`]s.
macro_rules! select_members {
    ($condition:literal) => {
        concat!(
            "SELECT id, workspace_id, subject, role, partner, email, name, state, scopes, tier, account_id, \
             invite_expires_at, invited_by_type, invited_by_id, created_at, joined_at, suspended_at, removed_at, \
             revision FROM members WHERE ",
            $condition
        )
    };
}

/// A condition: the member has a code by which somebody may get it an account. $time: the place of the database clock.
macro_rules! awaits_account {
    ($time:literal) => {
        concat!(
            "(state = 'invited' OR state = 'active' AND account_id IS NULL) AND invite_digest IS NOT NULL \
             AND invite_expires_at > ",
            $time
        )
    };
}
pub(super) use awaits_account;

/// What a list of members is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct MemberFilter {
    /// Its state.
    pub state: Option<MemberState>,
    /// Its role.
    pub role: Option<Role>,
    /// Staff of this partner organisation.
    pub partner: Option<u32>,
    /// Exactly this address.
    pub email: Option<String>,
}

/// A member of the workspace.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn get(read: &mut Read, workspace: &WorkspaceId, id: &MemberId) -> Result<Member, Error> {
    let sql = select_members!("workspace_id = $1 AND id = $2");
    let row = sql!(read, sql, workspace.as_str(), id.as_str() => optional Row)?;
    row.ok_or(Error::NotFound("member"))?.try_into()
}

/// Members of the workspace, newest first.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(
    read: &mut Read,
    workspace: &WorkspaceId,
    filter: &MemberFilter,
    page: &PageRequest,
) -> Result<Page<Member>, Error> {
    let mut select = Select::new(select_members!("workspace_id = "));
    select.value(workspace.as_str());
    let words = [
        (" AND state = ", filter.state.map(MemberState::as_str)),
        (" AND role = ", filter.role.map(Role::as_str)),
        (" AND email = ", filter.email.as_deref()),
    ];
    for (condition, word) in words {
        if let Some(word) = word {
            select.push(condition).value(word);
        }
    }
    if let Some(partner) = filter.partner {
        select.push(" AND partner = ").value(i64::from(partner));
    }
    select.page("created_at", "id", Direction::Descending, page);
    let rows: Vec<Row> = select.fetch(read).await?;
    let members = rows.into_iter().map(Member::try_from).collect::<Result<Vec<_>, _>>()?;
    let place = |member: &Member| Cursor { at: member.created_at, id: member.id.as_str().to_owned() };
    Ok(Page::from_rows(members, page.limit, place))
}

/// The subject of a member.
///
/// # Errors
/// [`Error::Database`].
pub async fn subject_of(read: &mut Read, workspace: &WorkspaceId, id: &MemberId) -> Result<Option<u32>, Error> {
    let sql = "SELECT subject FROM members WHERE workspace_id = $1 AND id = $2";
    let row = sql!(read, sql, workspace.as_str(), id.as_str() => optional (i64,))?;
    row.map(|(subject,)| unsigned(subject)).transpose()
}

/// The member of a subject, if it is one's.
///
/// # Errors
/// [`Error::Database`].
pub async fn of_subject(read: &mut Read, workspace: &WorkspaceId, subject: u32) -> Result<Option<MemberId>, Error> {
    let sql = "SELECT id FROM members WHERE workspace_id = $1 AND subject = $2";
    let row = sql!(read, sql, workspace.as_str(), i64::from(subject) => optional (String,))?;
    row.map(|(id,)| MemberId::parse(&id).ok_or(Error::Corrupt("member"))).transpose()
}

/// The authority that a member has now; `None` where it has none: it is not here yet, suspended or gone, or its partner
/// organisation is.
///
/// # Errors
/// [`Error::Database`].
pub async fn standing(read: &mut Read, workspace: &WorkspaceId, id: &MemberId) -> Result<Option<Standing>, Error> {
    let sql = "SELECT m.subject, m.role, m.partner, m.scopes, m.state, r.scopes AS role_scopes, p.state AS partner_state, \
               p.scopes AS partner_scopes FROM members m \
               LEFT JOIN role_scopes r ON r.workspace_id = m.workspace_id AND r.role = m.role \
               LEFT JOIN principals p ON p.workspace_id = m.workspace_id AND p.subject = m.partner \
               WHERE m.workspace_id = $1 AND m.id = $2";
    let Some(row) = sql!(read, sql, workspace.as_str(), id.as_str() => optional StandingRow)? else { return Ok(None) };
    let partner_works = row.partner.is_none() || row.partner_state.as_deref() == Some("active");
    if row.state != MemberState::Active.as_str() || !partner_works {
        return Ok(None);
    }
    let role = Role::from_name(&row.role).ok_or(Error::Corrupt("role"))?;
    let ceiling = if role.is_partner() {
        // What the workspace lets the organisation's keys carry; where nobody has said, anything.
        row.partner_scopes.as_deref().map(|scopes| Scopes::from_stored(scopes).iter().cloned().collect())
    } else {
        let granted = roles::Granted::of(role, row.role_scopes.as_deref())?;
        let own = Scopes::from_stored(&row.scopes);
        (!granted.everything).then(|| granted.scopes.iter().chain(own.iter()).cloned().collect::<BTreeSet<_>>())
    };
    Ok(Some(Standing {
        seat: Seat::Role(role),
        member: Some(id.clone()),
        subject: Some(unsigned(row.subject)?),
        maker: None,
        partner: row.partner.map(unsigned).transpose()?,
        rights: None,
        elevated: true,
        ceiling,
        expires_at: None,
    }))
}

/// Refuses who was removed, suspended or given another role since they were identified, or whose token or session was ended: a
/// mutation may have waited for just that. Asked again in the same mutation it says nothing, so that who ends themselves can note it.
///
/// # Errors
/// [`Refusal::AuthorityChanged`]; [`Error::Database`].
pub(super) async fn confirm(tx: &mut Tx, context: &Context) -> Result<(), Error> {
    let Authority::Of(standing) = &context.authority else { return Ok(()) };
    if !tx.first_confirmation()
        || is_good(tx, context.shown.as_ref()).await? && is_present(tx, context, standing).await?
    {
        return Ok(());
    }
    Err(Refusal::AuthorityChanged.into())
}

/// As [`confirm`], for whoever reads on: an answer that is sent in parts takes as long as its reader likes. A token that has
/// expired meanwhile is good no more.
///
/// # Errors
/// [`Refusal::AuthorityChanged`]; [`Error::Database`].
pub async fn confirm_reader(read: &mut Read, context: &Context) -> Result<(), Error> {
    let Authority::Of(standing) = &context.authority else { return Ok(()) };
    let second = read.now().await?.div_euclid(1000);
    if standing.expires_at.is_none_or(|end| end > second)
        && is_good(read, context.shown.as_ref()).await?
        && is_present(read, context, standing).await?
    {
        return Ok(());
    }
    Err(Refusal::AuthorityChanged.into())
}

/// Whether what was shown has not been ended.
async fn is_good(read: &mut Read, shown: Option<&Shown>) -> Result<bool, Error> {
    match shown {
        None => Ok(true),
        Some(Shown::Token(token)) => tokens::is_unrevoked(read, token).await,
        Some(Shown::Session(session)) => sessions::is_open(read, session).await,
    }
}

/// Whether whoever it was is still there, in the same role.
async fn is_present(read: &mut Read, context: &Context, standing: &Standing) -> Result<bool, Error> {
    if let Some(subject) = context.authority.account() {
        return Ok(principals::standing(read, &context.workspace, subject).await?.is_some());
    }
    let Some(member) = &standing.member else { return Ok(true) };
    let sql = "SELECT m.role, m.partner, m.state, p.state AS partner_state FROM members m \
               LEFT JOIN principals p ON p.workspace_id = m.workspace_id AND p.subject = m.partner WHERE m.id = $1";
    let row = sql!(read, sql, member.as_str() => optional PresentRow)?;
    Ok(row.is_some_and(|row| {
        row.state == MemberState::Active.as_str()
            && Role::from_name(&row.role).map(Seat::Role) == Some(standing.seat)
            && row.partner == standing.partner.map(i64::from)
            && (row.partner.is_none() || row.partner_state.as_deref() == Some(PrincipalState::Active.as_str()))
    }))
}

#[derive(Debug, FromRow)]
struct PresentRow {
    role: String,
    partner: Option<i64>,
    state: String,
    partner_state: Option<String>,
}

/// Whether a code could be used now: asked first, it keeps those who guess from the one place where all write.
///
/// # Errors
/// [`Error::NotFound`] where it is unknown, used or expired, or whoever made it could not make it again.
pub async fn by_code(read: &mut Read, code: &Digest) -> Result<Member, Error> {
    let now = read.now().await?;
    let sql = concat!(select_members!("invite_digest = $1 AND "), awaits_account!("$2"));
    let row = sql!(read, sql, code.as_bytes().as_slice(), now => optional Row)?;
    let member = row.ok_or(Error::NotFound("invitation"))?.try_into()?;
    match require_maker(read, &member).await {
        Err(Error::Refused(_)) => Err(Error::NotFound("invitation")),
        other => other.map(|()| member),
    }
}

/// Refuses where whoever made a member's code could not make it again.
async fn require_maker(read: &mut Read, member: &Member) -> Result<(), Error> {
    let sql = "SELECT invite_member, invite_token FROM members WHERE id = $1";
    let (maker, token) = sql!(read, sql, member.id.as_str() => one (Option<String>, Option<String>))?;
    let authority = Maker::from_stored(maker, token).authority(read, &member.workspace).await?;
    let authority = authority.ok_or(Refusal::AuthorityChanged)?;
    authority.require_member(member.role, member.partner)?;
    authority.require_grant(&member.scopes)?;
    // It was acknowledged when they were invited.
    let context = Context { authority, acknowledged: true, ..Context::system(member.workspace.clone(), "") };
    roles::require_grant(read, &context, member.role).await
}

#[derive(Debug, FromRow)]
struct StandingRow {
    subject: i64,
    role: String,
    partner: Option<i64>,
    scopes: String,
    state: String,
    role_scopes: Option<String>,
    partner_state: Option<String>,
    partner_scopes: Option<String>,
}

#[derive(Debug, FromRow)]
struct Row {
    id: String,
    workspace_id: String,
    subject: i64,
    role: String,
    partner: Option<i64>,
    email: Option<String>,
    name: Option<String>,
    state: String,
    scopes: String,
    tier: Option<String>,
    account_id: Option<String>,
    invite_expires_at: Option<i64>,
    invited_by_type: String,
    invited_by_id: String,
    created_at: i64,
    joined_at: Option<i64>,
    suspended_at: Option<i64>,
    removed_at: Option<i64>,
    revision: i64,
}

impl TryFrom<Row> for Member {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            id: MemberId::from_stored(row.id),
            workspace: WorkspaceId::from_stored(row.workspace_id),
            subject: unsigned(row.subject)?,
            role: Role::from_name(&row.role).ok_or(Error::Corrupt("role"))?,
            partner: row.partner.map(unsigned).transpose()?,
            email: row.email,
            name: row.name,
            state: MemberState::from_name(&row.state).ok_or(Error::Corrupt("member state"))?,
            scopes: Scopes::from_stored(&row.scopes),
            tier: row.tier.map(Tier::new).transpose().map_err(|_| Error::Corrupt("tier"))?,
            account: row.account_id,
            invite_expires_at: row.invite_expires_at,
            invited_by: Actor { kind: row.invited_by_type, id: row.invited_by_id },
            created_at: row.created_at,
            joined_at: row.joined_at,
            suspended_at: row.suspended_at,
            removed_at: row.removed_at,
            revision: row.revision,
        })
    }
}
