//! Sessions: what is left of a sign-in. Who its holder is and what they may do is read from the member at every request.

use nightlatch_key::Digest;
use serde_json::json;
use sqlx::FromRow;

use super::accounts::Membership;
use super::audit::{self, Draft, Target};
use super::select::{Direction, Select};
use super::tx::sql;
use super::{Context, Cursor, Error, Page, PageRequest, Random, Read, Tx, dialect};
use crate::domain::{AccountId, Actor, ActorType, MemberId, Refusal, SessionId, WorkspaceId};
use crate::signin::lifetime::{ABSOLUTE_MS, IDLE_MS, TOUCH_MS, Times};

/// How long an ended session is still listed, milliseconds.
const KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// Selects [`Row`]s of sessions whose member is active in the workspace still.
macro_rules! select_sessions {
    ($condition:literal) => {
        concat!(
            "SELECT s.id, s.workspace_id, s.member_id, s.account_id, s.method, s.source, s.signed_in_at, \
             s.last_seen_at, s.elevated_until, s.ended_at, s.end_reason, w.name AS workspace_name, \
             m.name AS member_name, m.role, m.state, m.account_id AS holder FROM sessions s \
             JOIN workspaces w ON w.id = s.workspace_id \
             JOIN members m ON m.workspace_id = s.workspace_id AND m.id = s.member_id WHERE ",
            $condition
        )
    };
}

/// How somebody signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// With a password, and a second factor where the account has one.
    Password,
    /// Through an identity provider.
    Oidc,
}

impl Method {
    /// The name used in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Oidc => "oidc",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Password, Self::Oidc].into_iter().find(|method| method.as_str() == name)
    }
}

/// A sign-in.
#[derive(Clone, Debug)]
pub struct Session {
    /// `ses_…`, public: the cookie holds something else.
    pub id: SessionId,
    /// Whose it is.
    pub account: AccountId,
    /// As whom, and where.
    pub membership: Membership,
    /// Whether that member is active and still the account's.
    pub member_active: bool,
    /// How its holder signed in.
    pub method: Method,
    /// From which address.
    pub source: Option<String>,
    /// What decides how long it lives.
    pub times: Times,
    /// When it was ended before its time, unix milliseconds, and why.
    pub ended: Option<(i64, String)>,
}

impl Session {
    /// Whether it opens anything at `now`, unix milliseconds.
    pub fn is_live(&self, now: i64) -> bool {
        self.ended.is_none() && self.member_active && self.times.is_live(now)
    }
}

/// A session to be started.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Whose.
    pub account: AccountId,
    /// As which member of the context's workspace.
    pub member: MemberId,
    /// How its holder signed in.
    pub method: Method,
    /// SHA-256 of what the cookie will hold.
    pub digest: Digest,
    /// When the holder signed in: now, or for a session that goes on in another workspace, then. Unix milliseconds.
    pub signed_in_at: i64,
    /// Until when a step-up counts, unix milliseconds.
    pub elevated_until: Option<i64>,
}

/// Starts a session.
///
/// # Errors
/// [`Error::Database`].
pub async fn start(
    tx: &mut Tx,
    context: &Context,
    new: &NewSession,
    now: i64,
    random: Random<'_>,
) -> Result<SessionId, Error> {
    let mut bytes = [0; 10];
    random(&mut bytes);
    let id = SessionId::generate(bytes);
    sql!(
        tx,
        "INSERT INTO sessions (id, workspace_id, member_id, account_id, digest, method, source, signed_in_at, \
         last_seen_at, elevated_until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        id.as_str(),
        context.workspace.as_str(),
        new.member.as_str(),
        new.account.as_str(),
        new.digest.as_bytes().as_slice(),
        new.method.as_str(),
        context.source.as_deref(),
        new.signed_in_at,
        now,
        new.elevated_until
        => execute
    )?;
    append(tx, context, "session.started", &id, json!({ "method": new.method.as_str() }), None, now).await?;
    Ok(id)
}

/// The session with this digest, good or not, and the database clock.
///
/// # Errors
/// [`Error::Database`].
pub async fn by_digest(read: &mut Read, digest: &Digest) -> Result<Option<(Session, i64)>, Error> {
    let row = sql!(read, select_sessions!("s.digest = $1"), digest.as_bytes().as_slice() => optional Row)?;
    match row {
        Some(row) => Ok(Some((row.try_into()?, read.now().await?))),
        None => Ok(None),
    }
}

/// Whether a session has not been ended.
pub(super) async fn is_open(read: &mut Read, id: &SessionId) -> Result<bool, Error> {
    let sql = "SELECT id FROM sessions WHERE id = $1 AND digest IS NOT NULL";
    Ok(sql!(read, sql, id.as_str() => optional (String,))?.is_some())
}

/// Refuses whose session was ended since they were identified, once the account is held: who changes their own account may
/// have waited for just that.
///
/// # Errors
/// [`Refusal::AuthorityChanged`]; [`Error::Database`].
pub async fn confirm(tx: &mut Tx, id: &SessionId) -> Result<(), Error> {
    if is_open(tx, id).await? { Ok(()) } else { Err(Refusal::AuthorityChanged.into()) }
}

/// Gives a session another digest, and a step-up where there was one. Returns whether it still had the old digest.
///
/// # Errors
/// [`Error::Database`].
pub async fn renew(
    tx: &mut Tx,
    id: &SessionId,
    old: &Digest,
    new: &Digest,
    elevated_until: Option<i64>,
) -> Result<bool, Error> {
    let sql = "UPDATE sessions SET digest = $3, elevated_until = COALESCE($4, elevated_until) \
               WHERE id = $1 AND digest = $2";
    let (old, new) = (old.as_bytes().as_slice(), new.as_bytes().as_slice());
    Ok(sql!(tx, sql, id.as_str(), old, new, elevated_until => execute)? > 0)
}

/// Notes that a session stepped up.
///
/// # Errors
/// [`Error::Database`].
pub async fn stepped_up(tx: &mut Tx, context: &Context, id: &SessionId, how: &'static str) -> Result<(), Error> {
    let now = tx.now().await?;
    append(tx, context, "session.stepped_up", id, json!({ "with": how }), None, now).await
}

/// Moves `last_seen_at` forward, at most once a minute.
///
/// # Errors
/// [`Error::Database`].
pub async fn touch(tx: &mut Tx, id: &SessionId) -> Result<(), Error> {
    let now = tx.now().await?;
    let sql = "UPDATE sessions SET last_seen_at = $2 WHERE id = $1 AND digest IS NOT NULL AND last_seen_at <= $3";
    sql!(tx, sql, id.as_str(), now, now - TOUCH_MS => execute)?;
    Ok(())
}

/// The sessions of an account, newest first, those that ended among them.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(read: &mut Read, account: &AccountId, page: &PageRequest) -> Result<Page<Session>, Error> {
    let mut select = Select::new(select_sessions!("s.account_id = "));
    select.value(account.as_str());
    select.page("s.signed_in_at", "s.id", Direction::Descending, page);
    let rows: Vec<Row> = select.fetch(read).await?;
    let sessions = rows.into_iter().map(Session::try_from).collect::<Result<Vec<_>, _>>()?;
    let place = |session: &Session| Cursor { at: session.times.signed_in_at, id: session.id.as_str().to_owned() };
    Ok(Page::from_rows(sessions, page.limit, place))
}

/// A session of the account.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn get(read: &mut Read, account: &AccountId, id: &SessionId) -> Result<Session, Error> {
    let sql = select_sessions!("s.account_id = $1 AND s.id = $2");
    let row = sql!(read, sql, account.as_str(), id.as_str() => optional Row)?;
    row.ok_or(Error::NotFound("session"))?.try_into()
}

/// Which sessions to end.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// This one of the account's.
    One(&'a AccountId, &'a SessionId),
    /// All of the account's but this one.
    Others(&'a AccountId, &'a SessionId),
    /// All of a member of the context's workspace.
    OfMember(&'a MemberId),
}

/// Takes all sessions of an account that is held: for who changes one of them, then others.
///
/// # Errors
/// [`Error::Database`].
pub async fn hold(tx: &mut Tx, account: &AccountId) -> Result<(), Error> {
    dialect::lock_sessions(tx, account.as_str()).await
}

/// Ends sessions for ever, each noted in the workspace it was in; returns how many. Repeating it changes nothing.
///
/// # Errors
/// [`Error::Database`].
pub async fn end(tx: &mut Tx, context: &Context, which: Which<'_>, reason: &'static str) -> Result<u64, Error> {
    let now = tx.now().await?;
    let mut select = Select::new("SELECT id, workspace_id, member_id FROM sessions WHERE digest IS NOT NULL AND ");
    match which {
        Which::One(account, id) => {
            select.push("account_id = ").value(account.as_str()).push(" AND id = ").value(id.as_str())
        }
        Which::Others(account, id) => {
            select.push("account_id = ").value(account.as_str()).push(" AND id <> ").value(id.as_str())
        }
        Which::OfMember(member) => {
            select.push("workspace_id = ").value(context.workspace.as_str());
            select.push(" AND member_id = ").value(member.as_str())
        }
    };
    select.push(" ORDER BY id");
    let found: Vec<(String, String, String)> = select.fetch(tx).await?;
    let mut count = 0;
    for (id, workspace, member) in found {
        let sql = "UPDATE sessions SET digest = NULL, elevated_until = NULL, ended_at = $2, end_reason = $3 \
                   WHERE id = $1 AND digest IS NOT NULL";
        if sql!(tx, sql, id.as_str(), now, reason => execute)? == 0 {
            continue;
        }
        count += 1;
        let id = SessionId::from_stored(id);
        // In the log of the workspace it was in, which need not be the one from where it was ended.
        let context = seen_from(context, WorkspaceId::from_stored(workspace), member);
        append(tx, &context, "session.ended", &id, json!({ "ended_at": now }), Some(reason), now).await?;
    }
    Ok(count)
}

/// The context as the log of a session's workspace may show it: another workspace than the context's learns that its own
/// member did it, and neither who that is elsewhere nor where the call came from.
fn seen_from(context: &Context, workspace: WorkspaceId, member: String) -> Context {
    if workspace == context.workspace {
        return context.clone();
    }
    Context { actor: Actor::new(ActorType::Member, member), ..Context::system(workspace, "") }
}

/// Forgets sessions that have ended or run out a month ago; returns how many. To be called now and then.
///
/// # Errors
/// [`Error::Database`].
pub async fn sweep(tx: &mut Tx) -> Result<u64, Error> {
    let now = tx.now().await?;
    let sql = "DELETE FROM sessions WHERE signed_in_at <= $1 OR ended_at <= $2 OR last_seen_at <= $3";
    let (old, ended, idle) = (now - ABSOLUTE_MS - KEPT_MS, now - KEPT_MS, now - IDLE_MS - KEPT_MS);
    Ok(sql!(tx, sql, old, ended, idle => execute)?)
}

async fn append(
    tx: &mut Tx,
    context: &Context,
    action: &'static str,
    id: &SessionId,
    after: serde_json::Value,
    reason: Option<&str>,
    now: i64,
) -> Result<(), Error> {
    let target = Target::Other("session", id.as_str());
    audit::append(
        tx,
        context,
        &Draft { action, target, before: None, after: Some(after), reason, personal: &[], about: None },
        now,
    )
    .await
}

/// Notes that somebody did not get in as a member of the workspace, and what was missing or not good.
///
/// # Errors
/// [`Error::Database`].
pub async fn note_refused(
    tx: &mut Tx,
    context: &Context,
    member: &MemberId,
    action: &'static str,
    failed: &'static str,
) -> Result<(), Error> {
    let now = tx.now().await?;
    let target = Target::Other("member", member.as_str());
    let draft = Draft {
        action,
        target,
        before: None,
        after: Some(json!({ "failed": failed })),
        reason: None,
        personal: &[],
        about: None,
    };
    audit::append(tx, context, &draft, now).await
}

/// Notes what somebody did to their own account, in the log of the workspace they are in.
///
/// # Errors
/// [`Error::Database`].
pub async fn note_account(
    tx: &mut Tx,
    context: &Context,
    account: &AccountId,
    action: &'static str,
) -> Result<(), Error> {
    let now = tx.now().await?;
    let target = Target::Other("account", account.as_str());
    audit::append(
        tx,
        context,
        &Draft { action, target, before: None, after: None, reason: None, personal: &[], about: None },
        now,
    )
    .await
}

#[derive(Debug, FromRow)]
struct Row {
    id: String,
    workspace_id: String,
    member_id: String,
    account_id: String,
    method: String,
    source: Option<String>,
    signed_in_at: i64,
    last_seen_at: i64,
    elevated_until: Option<i64>,
    ended_at: Option<i64>,
    end_reason: Option<String>,
    workspace_name: String,
    member_name: Option<String>,
    role: String,
    state: String,
    holder: Option<String>,
}

impl TryFrom<Row> for Session {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            member_active: row.state == "active" && row.holder.as_ref() == Some(&row.account_id),
            id: SessionId::from_stored(row.id),
            account: AccountId::from_stored(row.account_id),
            membership: Membership {
                member: MemberId::from_stored(row.member_id),
                workspace: WorkspaceId::from_stored(row.workspace_id),
                workspace_name: row.workspace_name,
                name: row.member_name,
                role: row.role,
            },
            method: Method::from_name(&row.method).ok_or(Error::Corrupt("sign-in method"))?,
            source: row.source,
            times: Times {
                signed_in_at: row.signed_in_at,
                last_seen_at: row.last_seen_at,
                elevated_until: row.elevated_until,
            },
            ended: row.ended_at.map(|at| (at, row.end_reason.unwrap_or_default())),
        })
    }
}
