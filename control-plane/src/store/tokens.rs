//! Management and edge tokens.
//!
//! A management token is a key of the reserved workspace: it is issued, rotated and revoked as keys are. The row here says
//! which workspace it administers and whose authority it has.

use std::collections::BTreeSet;

use nightlatch_key::{Digest, Environment, KeyText};
use serde_json::json;
use sqlx::FromRow;

use super::audit::{self, Draft, Target};
use super::keys::{self, KeyView};
use super::select::{Direction, Select};
use super::tx::sql;
use super::{
    Context, Cursor, Error, Page, PageRequest, Random, Read, Tx, dialect, members, rotations, rows, workspaces,
};
use crate::domain::rotation::{Order, Start};
use crate::domain::{
    Action, Actor, Authority, EdgeClass, EdgeId, Issue, KeyId, KeyRef, Labels, MemberId, Name, Reason, Refusal, Scopes,
    SetId, Standing, TokenId, WorkspaceId, authority,
};

/// The scope of a management token that may do everything its holder may.
pub const ALL_RIGHTS: &str = "all";

/// `last_used_at` moves at most this often, milliseconds: a token is used by every call.
const TOUCH_EVERY_MS: i64 = 60_000;

/// Selects [`Row`]s.
macro_rules! select_tokens {
    ($condition:literal) => {
        concat!(
            "SELECT t.id, t.workspace_id, t.kind, t.set_id, t.name, t.digest, t.prefix, t.scopes, t.created_by_type, \
         t.created_by_id, t.created_at, t.expires_at, t.revoked_at, t.last_used_at, t.edge_id, \
         t.key_id, t.member_id, e.class AS edge_class FROM tokens t LEFT JOIN edges e ON e.id = t.edge_id WHERE ",
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
    append(tx, context, "token.created", &token.id, after, now).await?;
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

/// A management token to be made. Its text is minted with its key.
#[derive(Clone, Debug)]
pub struct NewManagement {
    /// What people call it.
    pub name: Name,
    /// What it may do; `None` is everything its member may.
    pub rights: Option<BTreeSet<Action>>,
    /// Unix seconds, in the future.
    pub expires_at: Option<i64>,
    /// The member whose authority it has.
    pub member: Option<MemberId>,
}

impl NewManagement {
    fn scopes(&self) -> Result<Scopes, Refusal> {
        match &self.rights {
            None => Scopes::new([ALL_RIGHTS]),
            Some(rights) => Scopes::new(rights.iter().map(|right| right.as_str())),
        }
    }

    fn stored_scopes(&self) -> Vec<String> {
        match &self.rights {
            None => vec!["*".to_owned()],
            Some(rights) => rights.iter().map(|right| right.as_str().to_owned()).collect(),
        }
    }
}

/// Makes a management token: a key of the reserved workspace.
///
/// # Errors
/// A refusal; as [`keys::issue`].
pub async fn create_management(
    tx: &mut Tx,
    context: &Context,
    new: NewManagement,
    random: Random<'_>,
) -> Result<(Token, KeyText), Error> {
    context.authority.require_rights(new.rights.as_ref())?;
    context.authority.require_end(new.expires_at)?;
    let issue = Issue {
        name: new.name.clone(),
        environment: Environment::Live,
        subject: None,
        scopes: new.scopes()?,
        tier: None,
        owner: None,
        owner_member: None,
        labels: Labels::default(),
        expires_at: new.expires_at,
        rotate_by: None,
        link: None,
    };
    let issued = keys::issue(tx, &context.in_reserved(), issue, random).await?;
    let row = NewToken {
        id: token_id(random),
        kind: TokenKind::Management,
        set: None,
        name: new.name.as_str().to_owned(),
        digest: issued.key.digest,
        prefix: issued.key.prefix.clone(),
        scopes: new.stored_scopes(),
        expires_at: new.expires_at,
    };
    let token = enter(tx, context, &row, &issued.key.id, new.member.as_ref(), issued.now).await?;
    Ok((token, issued.secret))
}

fn token_id(random: Random<'_>) -> TokenId {
    let mut bytes = [0; 10];
    random(&mut bytes);
    TokenId::generate(bytes)
}

/// Writes the row and the audit entry of a token whose key is there.
async fn enter(
    tx: &mut Tx,
    context: &Context,
    row: &NewToken,
    key: &KeyId,
    member: Option<&MemberId>,
    now: i64,
) -> Result<Token, Error> {
    insert(tx, context, row, None, now).await?;
    let sql = "UPDATE tokens SET key_id = $2, member_id = $3 WHERE id = $1";
    sql!(tx, sql, row.id.as_str(), key.as_str(), member.map(MemberId::as_str) => execute)?;
    let after = json!({
        "name": row.name,
        "kind": row.kind.as_str(),
        "prefix": row.prefix,
        "scopes": row.scopes,
        "expires_at": row.expires_at,
        "key": key.as_str(),
        "member": member.map(MemberId::as_str),
    });
    append(tx, context, "token.created", &row.id, after, now).await?;
    get(tx, &context.workspace, &row.id).await
}

/// Replaces a management token by another of the same rights and the same end, as keys are replaced: both work until the
/// deadline.
///
/// # Errors
/// A refusal, [`Refusal::TooLate`] where its end is nearer than the overlap; [`Error::NotFound`].
pub async fn rotate(
    tx: &mut Tx,
    context: &Context,
    id: &TokenId,
    overlap_seconds: i64,
    reason: Reason,
    random: Random<'_>,
) -> Result<(Token, KeyText), Error> {
    let token = held(tx, context, id).await?;
    context.authority.require_holder(token.member.as_ref())?;
    context.authority.require_rights(token.rights().as_ref())?;
    let key = match (&token.key, token.kind) {
        (Some(key), TokenKind::Management) => key.clone(),
        (None, TokenKind::Management) => adopt(tx, &token).await?,
        (_, TokenKind::Edge) => return Err(Error::NotFound("token")),
    };
    let key = KeyRef::Id(key);
    // Its row says the deadline while it is being replaced; its key says the end it was given, which never changes.
    let expires_at = keys::find(tx, &WorkspaceId::reserved(), &key).await?.expires_at;
    context.authority.require_end(expires_at)?;
    let second = tx.now().await?.div_euclid(1000);
    if expires_at.is_some_and(|expiry| expiry > second && expiry < second.saturating_add(overlap_seconds)) {
        return Err(Refusal::TooLate.into());
    }
    let start = Start { order: Order::IssueFirst, overlap_seconds, reason, name: None, scopes: None, expires_at };
    let started = rotations::start(tx, &context.in_reserved(), &key, start, random).await?;
    let successor = &started.successor;
    let sql = "UPDATE tokens SET expires_at = $2 WHERE id = $1";
    sql!(tx, sql, id.as_str(), started.predecessor.valid_until() => execute)?;
    let row = NewToken {
        id: token_id(random),
        kind: TokenKind::Management,
        set: None,
        name: successor.name.clone(),
        digest: successor.digest,
        prefix: successor.prefix.clone(),
        scopes: token.scopes.clone(),
        expires_at: successor.expires_at,
    };
    let made = enter(tx, context, &row, &successor.id, token.member.as_ref(), started.now).await?;
    Ok((made, started.secret))
}

/// Makes a token from before tokens were keys a key of the reserved workspace, and returns its id.
///
/// # Errors
/// [`Error::Corrupt`] where its prefix is none; [`Error::Database`].
pub async fn adopt(tx: &mut Tx, token: &Token) -> Result<KeyId, Error> {
    let context = Context::system(WorkspaceId::reserved(), "adopt");
    let tail = token.prefix.rsplit_once('_').map(|(_, id)| id).ok_or(Error::Corrupt("token prefix"))?;
    let (id, now) = (KeyId::of_text(tail), tx.now().await?);
    let rights =
        NewManagement { name: Name::new(token.name.clone())?, rights: token.rights(), expires_at: None, member: None };
    keys::adopt(tx, &context, id.clone(), token, rights.scopes()?, now).await?;
    let sql = "UPDATE tokens SET key_id = $2 WHERE id = $1 AND key_id IS NULL";
    sql!(tx, sql, token.id.as_str(), id.as_str() => execute)?;
    Ok(id)
}

/// A token with what it can do.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The token.
    pub token: Token,
    /// The key that it is.
    pub key: Option<KeyView>,
    /// The authority of a management token; `None` where its member has none now.
    pub standing: Option<Standing>,
}

/// The token with this digest, usable or not, and the database clock.
///
/// # Errors
/// [`Error::Database`].
pub async fn by_digest(read: &mut Read, digest: &Digest) -> Result<Option<(Holder, i64)>, Error> {
    let sql = select_tokens!("t.digest = $1");
    let Some(row) = sql!(read, sql, digest.as_bytes().as_slice() => optional Row)? else { return Ok(None) };
    let token = Token::try_from(row)?;
    let (mut key, mut standing) = (None, None);
    if token.kind == TokenKind::Management {
        key = keys::by_digest(read, &WorkspaceId::reserved(), digest).await?;
        standing = match &token.member {
            None => Some(Standing::founder()),
            Some(member) => members::standing(read, &token.workspace, member).await?,
        };
        if let Some(standing) = &mut standing {
            standing.rights = token.rights();
            standing.expires_at = token.expires_at;
        }
    }
    Ok(Some((Holder { token, key, standing }, read.now().await?)))
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

/// Newest first; those of one member where it is given.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(
    read: &mut Read,
    workspace: &WorkspaceId,
    member: Option<&MemberId>,
    page: &PageRequest,
) -> Result<Page<Token>, Error> {
    let mut select = Select::new(select_tokens!("t.workspace_id = "));
    select.value(workspace.as_str());
    if let Some(member) = member {
        select.push(" AND t.member_id = ").value(member.as_str());
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
    for row in rows {
        end(tx, context, &row.try_into()?, reason).await?;
    }
    Ok(())
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
    append(tx, context, "token.revoked", &token.id, json!({ "revoked_at": now }), now).await
}

/// Takes the key of a token, before its row: whoever replaces it holds them in this order.
async fn lock_key(tx: &mut Tx, token: &Token) -> Result<(), Error> {
    match &token.key {
        Some(key) => dialect::lock_key(tx, key.as_str()).await,
        None => Ok(()),
    }
}

/// A token that the caller may change.
async fn held(tx: &mut Tx, context: &Context, id: &TokenId) -> Result<Token, Error> {
    let token = get(tx, &context.workspace, id).await?;
    let subject = match &token.member {
        Some(member) => members::subject_of(tx, &context.workspace, member).await?,
        None => None,
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

/// Whether the workspace has a usable management token.
///
/// # Errors
/// [`Error::Database`].
pub async fn any_management(read: &mut Read, workspace: &WorkspaceId) -> Result<bool, Error> {
    let second = read.now().await?.div_euclid(1000);
    let sql = "SELECT COUNT(*) FROM tokens WHERE workspace_id = $1 AND kind = 'management' AND revoked_at IS NULL \
               AND (expires_at IS NULL OR expires_at > $2)";
    let (usable,) = sql!(read, sql, workspace.as_str(), second => one (i64,))?;
    Ok(usable > 0)
}

async fn append(
    tx: &mut Tx,
    context: &Context,
    action: &'static str,
    id: &TokenId,
    after: serde_json::Value,
    now: i64,
) -> Result<(), Error> {
    let target = Target::Other("token", id.as_str());
    audit::append(
        tx,
        context,
        &Draft { action, target, before: None, after: Some(after), reason: None, personal: &[], about: None },
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
            created_by: Actor { kind: row.created_by_type, id: row.created_by_id },
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
        })
    }
}
