//! Management and edge tokens.
//!
//! A management token is a key of the reserved workspace: it is issued, rotated and revoked as keys are. The row here says
//! which workspace it administers and whose authority it has.

use std::collections::BTreeSet;

use nightlatch_key::Digest;
use serde_json::json;
use sqlx::FromRow;

use super::audit::{self, Draft, Target};
use super::keys::{self, KeyView};
pub use super::management::{ALL_RIGHTS, NewManagement, adopt, create_management, rotate};
use super::select::{Direction, Select};
use super::tx::sql;
use super::{Context, Cursor, Error, Page, PageRequest, Read, Tx, dialect, members, principals, rows, workspaces};
use crate::domain::{
    Action, Actor, Authority, EdgeClass, EdgeId, KeyId, KeyRef, MemberId, Reason, Refusal, SetId, Standing, TokenId,
    WorkspaceId, authority,
};

/// `last_used_at` moves at most this often, milliseconds: a token is used by every call.
const TOUCH_EVERY_MS: i64 = 60_000;
/// Keys in one statement.
const CHUNK: usize = 250;

/// Selects [`Row`]s.
macro_rules! select_tokens {
    ($condition:literal) => {
        concat!(
            "SELECT t.id, t.workspace_id, t.kind, t.set_id, t.name, t.digest, t.prefix, t.scopes, t.created_by_type, \
         t.created_by_id, t.created_at, t.expires_at, t.revoked_at, t.last_used_at, t.edge_id, \
         t.key_id, t.member_id, t.subject, t.maker_id, e.class AS edge_class FROM tokens t LEFT JOIN edges e ON e.id = t.edge_id WHERE ",
            $condition
        )
    };
}

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
    /// The edge whose credential it is, and that edge's class.
    pub edge: Option<(EdgeId, EdgeClass)>,
    /// What people call it.
    pub name: String,
    /// SHA-256 of its text.
    pub digest: Digest,
    /// Public.
    pub prefix: String,
    /// What it may do: `*`, or named rights.
    pub scopes: Vec<String>,
    /// The key that a management token is; one from before tokens were keys has none until it is used.
    pub key: Option<KeyId>,
    /// The member whose authority it has.
    pub member: Option<MemberId>,
    /// The subject of the service account whose token it is.
    pub service_account: Option<u32>,
    /// The member who made that token, and may know its text.
    pub maker: Option<MemberId>,
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
    /// What of the table of authority it may use; `None` where all.
    pub fn rights(&self) -> Option<BTreeSet<Action>> {
        if self.scopes.iter().any(|scope| scope == "*") {
            return None;
        }
        Some(self.scopes.iter().filter_map(|scope| Action::from_name(scope)).collect())
    }

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
    if let Some(set) = &token.set {
        workspaces::set(tx, &context.workspace, set).await?;
    }
    let now = tx.now().await?;
    if token.expires_at.is_some_and(|expiry| expiry.saturating_mul(1000) <= now) {
        return Err(Refusal::ExpiryPast.into());
    }
    insert(tx, context, token, None, now).await?;
    let after = json!({
        "name": token.name,
        "kind": token.kind.as_str(),
        "set": token.set.as_ref().map(SetId::as_str),
        "prefix": token.prefix,
        "scopes": token.scopes,
        "expires_at": token.expires_at,
    });
    append(tx, context, "token.created", &token.id, after, None, now).await?;
    get(tx, &context.workspace, &token.id).await
}

/// Writes a token's row. Whoever calls this writes the audit entry.
pub(super) async fn insert(
    tx: &mut Tx,
    context: &Context,
    token: &NewToken,
    edge: Option<&EdgeId>,
    now: i64,
) -> Result<(), Error> {
    sql!(
        tx,
        "INSERT INTO tokens (id, workspace_id, kind, set_id, name, digest, prefix, scopes, created_by_type, \
         created_by_id, created_at, expires_at, edge_id) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        token.id.as_str(),
        context.workspace.as_str(),
        token.kind.as_str(),
        token.set.as_ref().map(SetId::as_str),
        token.name.as_str(),
        token.digest.as_bytes().as_slice(),
        token.prefix.as_str(),
        token.scopes.join(" "),
        context.actor.kind.as_str(),
        context.actor.id.as_str(),
        now,
        token.expires_at,
        edge.map(EdgeId::as_str)
        => execute
    )?;
    Ok(())
}

/// A token with what it can do.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The token.
    pub token: Token,
    /// The key that it is.
    pub key: Option<KeyView>,
    /// The authority of a management token; `None` where its member or service account has none now.
    pub standing: Option<Standing>,
}

/// Whether a token has not been revoked.
pub(super) async fn is_unrevoked(read: &mut Read, id: &TokenId) -> Result<bool, Error> {
    let sql = "SELECT id FROM tokens WHERE id = $1 AND revoked_at IS NULL";
    Ok(sql!(read, sql, id.as_str() => optional (String,))?.is_some())
}

/// The token with this digest, usable or not, and the database clock.
///
/// # Errors
/// [`Error::Database`].
pub async fn by_digest(read: &mut Read, digest: &Digest) -> Result<Option<(Holder, i64)>, Error> {
    let sql = select_tokens!("t.digest = $1");
    let Some(row) = sql!(read, sql, digest.as_bytes().as_slice() => optional Row)? else { return Ok(None) };
    let token = Token::try_from(row)?;
    let key = match token.kind {
        TokenKind::Management => keys::by_digest(read, &WorkspaceId::reserved(), digest).await?,
        TokenKind::Edge => None,
    };
    let standing = standing(read, &token).await?;
    Ok(Some((Holder { token, key, standing }, read.now().await?)))
}

/// The authority of a management token, usable or not; `None` where its member or service account has none now.
pub(super) async fn standing(read: &mut Read, token: &Token) -> Result<Option<Standing>, Error> {
    if token.kind == TokenKind::Edge {
        return Ok(None);
    }
    let rights = token.rights();
    let (standing, rights) = match (&token.member, token.service_account) {
        (None, None) => (Some(Standing::founder()), rights),
        (Some(member), None) => (members::standing(read, &token.workspace, member).await?, rights),
        // Exactly what is named: nothing where that is everything.
        (_, Some(subject)) => {
            (principals::standing(read, &token.workspace, subject).await?, Some(rights.unwrap_or_default()))
        }
    };
    let (maker, expires_at) = (token.maker.clone(), token.expires_at);
    Ok(standing.map(|standing| Standing { rights, maker, expires_at, ..standing }))
}

/// A token of the workspace.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn get(read: &mut Read, workspace: &WorkspaceId, id: &TokenId) -> Result<Token, Error> {
    let sql = select_tokens!("t.workspace_id = $1 AND t.id = $2");
    let row = sql!(read, sql, workspace.as_str(), id.as_str() => optional Row)?;
    row.ok_or(Error::NotFound("token"))?.try_into()
}

/// Those that somebody sees, newest first.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(
    read: &mut Read,
    workspace: &WorkspaceId,
    who: &Authority,
    maker: Option<&MemberId>,
    page: &PageRequest,
) -> Result<Page<Token>, Error> {
    let mut select = Select::new(select_tokens!("t.workspace_id = "));
    select.value(workspace.as_str());
    if let Some(maker) = maker {
        select.push(" AND t.maker_id = ").value(maker.as_str());
    }
    if !sees_all(who) {
        match (who.member(), who.account()) {
            (Some(member), _) => {
                select.push(" AND t.member_id = ").value(member.as_str());
            }
            (None, Some(subject)) => {
                select.push(" AND t.subject = ").value(i64::from(subject));
            }
            (None, None) => return Ok(Page { items: Vec::new(), next: None }),
        }
    }
    select.page("t.created_at", "t.id", Direction::Descending, page);
    let rows: Vec<Row> = select.fetch(read).await?;
    let tokens = rows.into_iter().map(Token::try_from).collect::<Result<Vec<_>, _>>()?;
    let place = |token: &Token| Cursor { at: token.created_at, id: token.id.as_str().to_owned() };
    Ok(Page::from_rows(tokens, page.limit, place))
}

/// Revokes a token, finally, and its key with it. Repeating it changes nothing.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn revoke(tx: &mut Tx, context: &Context, id: &TokenId) -> Result<Token, Error> {
    let token = held(tx, context, id).await?;
    end(tx, context, &token, None).await?;
    get(tx, &context.workspace, id).await
}

/// Ends all tokens of a member, in the transaction in which it goes.
pub(super) async fn end_of_member(
    tx: &mut Tx,
    context: &Context,
    member: &MemberId,
    reason: Option<&Reason>,
) -> Result<(), Error> {
    let sql = select_tokens!("t.workspace_id = $1 AND t.member_id = $2 AND t.revoked_at IS NULL ORDER BY t.id");
    let rows = sql!(tx, sql, context.workspace.as_str(), member.as_str() => all Row)?;
    end_all(tx, context, rows, reason).await
}

/// Ends many tokens. Their keys are all taken first, by number as everywhere.
async fn end_all(tx: &mut Tx, context: &Context, rows: Vec<Row>, reason: Option<&Reason>) -> Result<(), Error> {
    let tokens = rows.into_iter().map(Token::try_from).collect::<Result<Vec<_>, _>>()?;
    let keys: Vec<&str> = tokens.iter().filter_map(|token| token.key.as_ref()).map(KeyId::as_str).collect();
    let mut numbers = Vec::with_capacity(keys.len());
    for keys in keys.chunks(CHUNK) {
        let mut select = Select::new("SELECT number FROM keys WHERE id IN (");
        select.list(keys.iter().copied()).push(")");
        let found: Vec<(i64,)> = select.fetch(tx).await?;
        numbers.extend(found.into_iter().map(|(number,)| number));
    }
    dialect::lock_numbers(tx, WorkspaceId::reserved().as_str(), &numbers).await?;
    for token in &tokens {
        end(tx, context, token, reason).await?;
    }
    Ok(())
}

/// Ends all tokens of a service account, in the transaction in which it goes.
pub(super) async fn end_of_account(
    tx: &mut Tx,
    context: &Context,
    subject: u32,
    reason: Option<&Reason>,
) -> Result<(), Error> {
    let sql = select_tokens!("t.workspace_id = $1 AND t.subject = $2 AND t.revoked_at IS NULL ORDER BY t.id");
    let rows = sql!(tx, sql, context.workspace.as_str(), i64::from(subject) => all Row)?;
    end_all(tx, context, rows, reason).await
}

async fn end(tx: &mut Tx, context: &Context, token: &Token, reason: Option<&Reason>) -> Result<(), Error> {
    lock_key(tx, token).await?;
    let now = tx.now().await?;
    let sql = "UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    if sql!(tx, sql, token.id.as_str(), now => execute)? == 0 {
        return Ok(());
    }
    if let Some(key) = &token.key {
        keys::revoke(tx, &context.in_reserved(), &KeyRef::Id(key.clone()), reason.cloned()).await?;
    }
    append(tx, context, "token.revoked", &token.id, json!({ "revoked_at": now }), reason, now).await
}

/// Takes the key of a token, before its row: whoever replaces it holds them in this order.
async fn lock_key(tx: &mut Tx, token: &Token) -> Result<(), Error> {
    match &token.key {
        Some(key) => dialect::lock_key(tx, WorkspaceId::reserved().as_str(), key.as_str()).await,
        None => Ok(()),
    }
}

/// A token that the caller may change.
pub(super) async fn held(tx: &mut Tx, context: &Context, id: &TokenId) -> Result<Token, Error> {
    // Before anything: it may be the token that acts.
    members::confirm(tx, context).await?;
    let token = get(tx, &context.workspace, id).await?;
    let subject = match &token.member {
        Some(member) => members::subject_of(tx, &context.workspace, member).await?,
        None => token.service_account,
    };
    let target = subject.map_or(authority::Target::None, |subject| authority::Target::Principal { subject });
    match context.authority.require(Action::TokensManage, &target) {
        // Others' tokens are none of theirs to know of.
        Err(Refusal::Forbidden { .. }) if !sees_all(&context.authority) => Err(Error::NotFound("token")),
        other => Ok(other.map(|()| token)?),
    }
}

/// Whether somebody sees more than their own tokens.
pub fn sees_all(who: &Authority) -> bool {
    who.require(Action::TokensRead, &authority::Target::None).is_ok()
}

/// Whether [`touch`] would move `last_used_at`: asked first, it saves a mutation per call.
pub fn wants_touch(token: &Token, now: i64) -> bool {
    token.last_used_at.is_none_or(|seen| seen <= now - TOUCH_EVERY_MS)
}

/// Moves `last_used_at` forward, at most once a minute.
///
/// # Errors
/// [`Error::Database`].
pub async fn touch(tx: &mut Tx, token: &Token) -> Result<(), Error> {
    lock_key(tx, token).await?;
    let now = tx.now().await?;
    let sql = "UPDATE tokens SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)";
    sql!(tx, sql, token.id.as_str(), now, now - TOUCH_EVERY_MS => execute)?;
    if let Some(key) = &token.key {
        let sql = "UPDATE keys SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
        sql!(tx, sql, key.as_str(), now => execute)?;
    }
    Ok(())
}

/// Whether an owner of the workspace can get in: with a usable management token, or signed in to an account.
///
/// # Errors
/// [`Error::Database`].
pub async fn any_owner(read: &mut Read, workspace: &WorkspaceId) -> Result<bool, Error> {
    let second = read.now().await?.div_euclid(1000);
    // A token from before there were members is an owner's. One for named actions makes nobody an owner.
    let sql = "SELECT COUNT(*) FROM (SELECT m.id FROM members m WHERE m.workspace_id = $1 AND m.role = 'owner' \
               AND m.state = 'active' AND m.account_id IS NOT NULL \
               UNION ALL SELECT t.id FROM tokens t LEFT JOIN members m ON m.id = t.member_id \
               WHERE t.workspace_id = $1 AND t.kind = 'management' AND t.revoked_at IS NULL \
               AND t.scopes = '*' AND t.subject IS NULL AND (t.expires_at IS NULL OR t.expires_at > $2) \
               AND (t.member_id IS NULL OR m.role = 'owner' AND m.state = 'active')) AS ways";
    let (ways,) = sql!(read, sql, workspace.as_str(), second => one (i64,))?;
    Ok(ways > 0)
}

/// Writes an entry about a token.
pub(super) async fn append(
    tx: &mut Tx,
    context: &Context,
    action: &'static str,
    id: &TokenId,
    after: serde_json::Value,
    reason: Option<&Reason>,
    now: i64,
) -> Result<(), Error> {
    let (target, reason) = (Target::Other("token", id.as_str()), reason.map(Reason::as_str));
    audit::append(
        tx,
        context,
        &Draft { action, target, before: None, after: Some(after), reason, personal: &[], about: None },
        now,
    )
    .await
}

#[derive(Debug, FromRow)]
struct Row {
    id: String,
    workspace_id: String,
    kind: String,
    set_id: Option<String>,
    name: String,
    digest: Vec<u8>,
    prefix: String,
    scopes: String,
    created_by_type: String,
    created_by_id: String,
    created_at: i64,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    last_used_at: Option<i64>,
    edge_id: Option<String>,
    key_id: Option<String>,
    member_id: Option<String>,
    subject: Option<i64>,
    maker_id: Option<String>,
    edge_class: Option<String>,
}

impl TryFrom<Row> for Token {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            id: TokenId::from_stored(row.id),
            workspace: WorkspaceId::from_stored(row.workspace_id),
            kind: TokenKind::from_name(&row.kind).ok_or(Error::Corrupt("token kind"))?,
            set: row.set_id.map(SetId::from_stored),
            edge: match (row.edge_id, row.edge_class) {
                (None, None) => None,
                (Some(id), Some(class)) => {
                    let class = EdgeClass::from_name(&class).ok_or(Error::Corrupt("edge class"))?;
                    Some((EdgeId::from_stored(id), class))
                }
                _ => return Err(Error::Corrupt("edge of a token")),
            },
            name: row.name,
            digest: rows::digest(&row.digest)?,
            prefix: row.prefix,
            scopes: row.scopes.split_ascii_whitespace().map(str::to_owned).collect(),
            key: row.key_id.map(KeyId::from_stored),
            member: row.member_id.map(MemberId::from_stored),
            service_account: row.subject.map(rows::unsigned).transpose()?,
            maker: row.maker_id.map(MemberId::from_stored),
            created_by: Actor { kind: row.created_by_type, id: row.created_by_id },
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
        })
    }
}
