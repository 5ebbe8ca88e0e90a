//! Scopes and tiers a workspace knows: a name enters on first use, and people may say more of it, or of a group of names.

use serde_json::{Value, json};
use sqlx::FromRow;

use super::audit::{self, Draft, Target};
pub use super::live_scopes::COUNTED_KEYS as LIVE_COUNTED_KEYS;
use super::live_scopes::LiveScopes;
use super::rows::unsigned;
use super::select::Select;
use super::tx::sql;
use super::{Context, Cursor, Error, Page, PageRequest, Read, Tx, dialect};
use crate::domain::authority;
use crate::domain::catalogue::{EntryName, Sensitivity, groups_of};
use crate::domain::{Action, Refusal, Scope, Scopes, Tier, WorkspaceId};

/// How many keys of a scope are looked at to count the usable ones, the newest: a list must not grow with the keys.
pub const COUNTED_KEYS: u32 = 100;
/// Most entries of which anything is said: every grant reads those that are flagged.
const MAX_SAID: i64 = 1_000;
/// Names in one statement.
const CHUNK: usize = 250;

/// The columns of [`ScopeRow`].
macro_rules! scope_columns {
    () => {
        "name, first_used_at, description, sensitive, updated_at"
    };
}

/// Whether a key `k` verifies at this second.
macro_rules! usable {
    ($second:literal) => {
        concat!("k.disabled_by = '' AND ", lasting!($second))
    };
}

/// Whether a key `k` verifies at this second, or would if nobody had disabled it.
macro_rules! lasting {
    ($second:literal) => {
        concat!(
            "k.state <> 'revoked' AND (k.deadline IS NULL OR k.deadline > ",
            $second,
            ") AND (k.expires_at IS NULL OR k.expires_at > ",
            $second,
            ")"
        )
    };
}

/// Members that are here, and what their roles bring; the workspace's number is to follow.
macro_rules! members {
    () => {
        "FROM members m LEFT JOIN role_scopes r ON r.workspace_id = m.workspace_id AND r.role = m.role \
         WHERE m.state <> 'removed' AND m.workspace_id = "
    };
}

/// What a member's keys may do, between blanks: its own scopes and its role's.
macro_rules! scope_words {
    () => {
        "' ' || m.scopes || ' ' || COALESCE(r.scopes, '') || ' '"
    };
}

/// A name in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct CatalogueEntry {
    /// The scope's or tier's name.
    pub name: String,
    /// Unix milliseconds.
    pub first_used_at: i64,
}

/// What a workspace knows of a scope, or of a group of scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeView {
    /// `invoices:read`, or a group: `READ_*`.
    pub name: String,
    /// What people say of it.
    pub description: Option<String>,
    /// What is said of this very name.
    pub marked: Option<bool>,
    /// Whether it is sensitive, by its own mark or by a group's.
    pub sensitive: bool,
    /// The groups it is in.
    pub groups: Vec<String>,
    /// Unix milliseconds; `None` where no key has ever carried it.
    pub first_used_at: Option<i64>,
    /// Unix milliseconds; `None` where nobody has said anything of it.
    pub updated_at: Option<i64>,
    /// Usable keys that carry it, of the newest [`COUNTED_KEYS`] and of members' newest [`LIVE_COUNTED_KEYS`]; and whether
    /// there may be more.
    pub usable: (u64, bool),
}

/// What people say of an entry, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// What it is.
    pub description: Option<String>,
    /// Whether it is sensitive; `None` leaves that to the groups it is in.
    pub sensitive: Option<bool>,
}

/// Scopes and groups by name.
///
/// # Errors
/// [`Error::Database`].
pub async fn scopes(read: &mut Read, workspace: &WorkspaceId, page: &PageRequest) -> Result<Page<ScopeView>, Error> {
    let mut select = Select::new(concat!("SELECT ", scope_columns!(), " FROM scopes WHERE workspace_id = "));
    select.value(workspace.as_str());
    if let Some(after) = &page.after {
        select.push(" AND name > ").value(after.id.as_str());
    }
    select.push(" ORDER BY name LIMIT ").value(i64::from(page.limit) + 1);
    let rows: Vec<ScopeRow> = select.fetch(read).await?;
    let page = Page::from_rows(rows, page.limit, |row: &ScopeRow| Cursor { at: 0, id: row.name.clone() });
    let known = Known::read(read, workspace).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for row in page.items {
        items.push(view(read, workspace, row, &known).await?);
    }
    Ok(Page { items, next: page.next })
}

/// Tiers by name.
///
/// # Errors
/// [`Error::Database`].
pub async fn tiers(read: &mut Read, workspace: &WorkspaceId) -> Result<Vec<CatalogueEntry>, Error> {
    let sql = "SELECT name, first_used_at FROM tiers WHERE workspace_id = $1 ORDER BY name";
    Ok(sql!(read, sql, workspace.as_str() => all CatalogueEntry)?)
}

/// Says something of a scope or of a group, in place of what was said before. A name that no key has carried yet enters
/// the catalogue.
///
/// # Errors
/// [`Refusal::CatalogueFull`].
pub async fn say(tx: &mut Tx, context: &Context, name: &EntryName, said: Said) -> Result<ScopeView, Error> {
    context.authority.require(Action::ScopesManage, &authority::Target::None)?;
    dialect::lock_scope(tx, context.workspace.as_str(), name.as_str()).await?;
    let before = find(tx, &context.workspace, name).await?;
    let known = before.as_ref().map(ScopeRow::said).unwrap_or_default();
    if before.as_ref().is_none_or(|row| row.updated_at.is_none()) {
        let sql = "SELECT COUNT(*) FROM scopes WHERE workspace_id = $1 AND updated_at IS NOT NULL";
        let (count,) = sql!(tx, sql, context.workspace.as_str() => one (i64,))?;
        if count >= MAX_SAID {
            return Err(Refusal::CatalogueFull.into());
        }
    }
    if before.is_none() || known != said {
        let now = tx.now().await?;
        sql!(
            tx,
            "INSERT INTO scopes (workspace_id, name, first_used_at, description, sensitive, updated_at) \
             VALUES ($1, $2, 0, $3, $4, $5) ON CONFLICT (workspace_id, name) \
             DO UPDATE SET description = $3, sensitive = $4, updated_at = $5",
            context.workspace.as_str(),
            name.as_str(),
            said.description.as_deref(),
            said.sensitive.map(i64::from),
            now
            => execute
        )?;
        append(tx, context, "scope.updated", name, before.is_some().then(|| show(&known)), Some(show(&said)), now)
            .await?;
    }
    let row = find(tx, &context.workspace, name).await?.ok_or(Error::Corrupt("scope"))?;
    let known = Known::read(tx, &context.workspace).await?;
    view(tx, &context.workspace, row, &known).await
}

/// Takes an entry out of the catalogue: a group, or a name that no key has which works or could be enabled again, no member
/// and no role.
///
/// # Errors
/// [`Refusal::ScopeInUse`]; [`Error::NotFound`].
pub async fn remove(tx: &mut Tx, context: &Context, name: &EntryName) -> Result<(), Error> {
    context.authority.require(Action::ScopesManage, &authority::Target::None)?;
    // Whoever gives a key this scope meanwhile is done, and the key is seen below, or waits and enters the name again.
    dialect::lock_scope(tx, context.workspace.as_str(), name.as_str()).await?;
    let known = find(tx, &context.workspace, name).await?.ok_or(Error::NotFound("scope"))?;
    let now = tx.now().await?;
    let second = now.div_euclid(1000);
    let sql = concat!(
        "SELECT k.id FROM key_scopes s CROSS JOIN keys k WHERE s.workspace_id = $1 AND s.scope = $2 AND k.id = s.key_id AND ",
        lasting!("$3"),
        " LIMIT 1"
    );
    if sql!(tx, sql, context.workspace.as_str(), name.as_str(), second => optional (String,))?.is_some() {
        return Err(Refusal::ScopeInUse.into());
    }
    let sql = "SELECT scopes FROM role_scopes WHERE workspace_id = $1";
    let roles = sql!(tx, sql, context.workspace.as_str() => all (String,))?;
    let of_role = roles.iter().any(|(scopes,)| scopes.split_ascii_whitespace().any(|word| word == name.as_str()));
    // A role's `*` is no scope, and a group is none either.
    let scope = !name.as_str().ends_with('*');
    if scope && (of_role || is_members(tx, &context.workspace, name.as_str()).await?) {
        return Err(Refusal::ScopeInUse.into());
    }
    let sql = "DELETE FROM scopes WHERE workspace_id = $1 AND name = $2";
    sql!(tx, sql, context.workspace.as_str(), name.as_str() => execute)?;
    append(tx, context, "scope.removed", name, Some(show(&known.said())), None, now).await
}

/// Whether any member has a scope, by itself or by its role.
async fn is_members(read: &mut Read, workspace: &WorkspaceId, scope: &str) -> Result<bool, Error> {
    Ok(!members_with(read, workspace, scope, 1).await?.is_empty())
}

/// The subjects of members that have a scope, by themselves or by their roles: some of them, at most `limit`.
pub(super) async fn members_with(
    read: &mut Read,
    workspace: &WorkspaceId,
    scope: &str,
    limit: u32,
) -> Result<Vec<u32>, Error> {
    let sql = "SELECT role, scopes FROM role_scopes WHERE workspace_id = $1";
    let mut roles = sql!(read, sql, workspace.as_str() => all (String, String))?;
    roles.retain(|(_, scopes)| scopes.split_ascii_whitespace().any(|word| word == scope));
    let mut select = Select::new("SELECT m.subject FROM members m WHERE m.workspace_id = ");
    select.value(workspace.as_str()).push(" AND m.state <> 'removed' AND (");
    // Most members have nothing like it: that is cheap to see, and all of them are looked at.
    select.push("(m.scopes <> replace(m.scopes, ").value(scope).push(", '') AND ' ' || m.scopes || ' ' <> replace(");
    select.push("' ' || m.scopes || ' ', ").value(format!(" {scope} ").as_str()).push(", ''))");
    if !roles.is_empty() {
        select.push(" OR m.role IN (").list(roles.iter().map(|(role, _)| role.as_str())).push(")");
    }
    select.push(")");
    select.limit(limit);
    let rows: Vec<(i64,)> = select.fetch(read).await?;
    rows.into_iter().map(|(subject,)| unsigned(subject)).collect()
}

/// The condition that the principal of a key `k` is a member that has a scope.
pub(super) fn carried_by_member(select: &mut Select, workspace: &WorkspaceId, scope: &str) {
    select.push(concat!("EXISTS (SELECT 1 ", members!())).value(workspace.as_str());
    select.push(" AND m.subject = k.subject AND ");
    // Not LIKE: on SQLite it takes capital letters for small ones.
    select.push(scope_words!()).push(" <> replace(").push(scope_words!()).push(", ");
    select.value(format!(" {scope} ").as_str()).push(", ''))");
}

/// Which scopes of the workspace are sensitive.
///
/// # Errors
/// [`Error::Database`].
pub async fn sensitivity(read: &mut Read, workspace: &WorkspaceId) -> Result<Sensitivity, Error> {
    let sql = "SELECT name, sensitive FROM scopes WHERE workspace_id = $1 AND sensitive IS NOT NULL ORDER BY name";
    let rows = sql!(read, sql, workspace.as_str() => all (String, i64))?;
    Ok(Sensitivity::new(rows.into_iter().map(|(name, sensitive)| (name, sensitive != 0)).collect()))
}

/// Those of the scopes about to be granted that are sensitive; to be named in the audit entry of the grant.
///
/// # Errors
/// [`Refusal::SensitiveUnacknowledged`] where there are any and whoever acts has not said that they are meant.
pub(super) async fn require_acknowledged(
    read: &mut Read,
    context: &Context,
    scopes: &Scopes,
) -> Result<Vec<Scope>, Error> {
    acknowledged_among(read, context, scopes.iter()).await
}

/// As [`require_acknowledged`], for as many scopes as there may be.
pub(super) async fn acknowledged_among<'s>(
    read: &mut Read,
    context: &Context,
    scopes: impl ExactSizeIterator<Item = &'s Scope>,
) -> Result<Vec<Scope>, Error> {
    if scopes.len() == 0 {
        return Ok(Vec::new());
    }
    let sensitive = sensitivity(read, &context.workspace).await?.among(scopes);
    if !sensitive.is_empty() && !context.acknowledged {
        return Err(Refusal::SensitiveUnacknowledged { scopes: sensitive }.into());
    }
    Ok(sensitive)
}

/// Enters a key's scopes and tier. Scopes come in ascending order, and before the workspace's counters, so that two
/// mutations cannot wait for each other.
pub(super) async fn enter<'s>(
    tx: &mut Tx,
    workspace: &WorkspaceId,
    scopes: impl Iterator<Item = &'s Scope>,
    tier: Option<&Tier>,
    now: i64,
) -> Result<(), Error> {
    let scopes: Vec<&Scope> = scopes.collect();
    for names in scopes.chunks(CHUNK) {
        let texts: Vec<&str> = names.iter().map(|scope| scope.as_str()).collect();
        dialect::keep_scopes(tx, workspace.as_str(), &texts).await?;
        let mut select = Select::new("SELECT name, first_used_at FROM scopes WHERE workspace_id = ");
        select.value(workspace.as_str()).push(" AND name IN (");
        select.list(texts).push(")");
        // Most scopes were used before; then there is nothing to write.
        let known: Vec<CatalogueEntry> = select.fetch(tx).await?;
        for scope in names {
            let used = known.iter().any(|entry| entry.name == scope.as_str() && entry.first_used_at != 0);
            if !used {
                first_use(tx, workspace, scope, now).await?;
            }
        }
    }
    match tier {
        Some(tier) => enter_tier(tx, workspace, tier, now).await,
        None => Ok(()),
    }
}

async fn first_use(tx: &mut Tx, workspace: &WorkspaceId, scope: &Scope, now: i64) -> Result<(), Error> {
    let sql = "INSERT INTO scopes (workspace_id, name, first_used_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let entered = sql!(tx, sql, workspace.as_str(), scope.as_str(), now => execute)?;
    if entered == 0 {
        // Somebody has said something of it before any key carried it.
        let sql = "UPDATE scopes SET first_used_at = $3 WHERE workspace_id = $1 AND name = $2 AND first_used_at = 0";
        sql!(tx, sql, workspace.as_str(), scope.as_str(), now => execute)?;
    }
    Ok(())
}

/// Enters a tier.
pub(super) async fn enter_tier(tx: &mut Tx, workspace: &WorkspaceId, tier: &Tier, now: i64) -> Result<(), Error> {
    let sql = "INSERT INTO tiers (workspace_id, name, first_used_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    sql!(tx, sql, workspace.as_str(), tier.as_str(), now => execute)?;
    Ok(())
}

async fn find(read: &mut Read, workspace: &WorkspaceId, name: &EntryName) -> Result<Option<ScopeRow>, Error> {
    let sql = concat!("SELECT ", scope_columns!(), " FROM scopes WHERE workspace_id = $1 AND name = $2");
    Ok(sql!(read, sql, workspace.as_str(), name.as_str() => optional ScopeRow)?)
}

/// The names of all groups.
async fn groups(read: &mut Read, workspace: &WorkspaceId) -> Result<Vec<String>, Error> {
    // Only what people have said something of can be a group.
    let sql =
        "SELECT name FROM scopes WHERE workspace_id = $1 AND updated_at IS NOT NULL AND name LIKE '%*' ORDER BY name";
    Ok(sql!(read, sql, workspace.as_str() => all (String,))?.into_iter().map(|(name,)| name).collect())
}

/// What is known of all scopes at once.
struct Known {
    sensitivity: Sensitivity,
    groups: Vec<String>,
    live: LiveScopes,
}

impl Known {
    async fn read(read: &mut Read, workspace: &WorkspaceId) -> Result<Self, Error> {
        Ok(Self {
            sensitivity: sensitivity(read, workspace).await?,
            groups: groups(read, workspace).await?,
            live: LiveScopes::read(read, workspace).await?,
        })
    }
}

async fn view(read: &mut Read, workspace: &WorkspaceId, row: ScopeRow, known: &Known) -> Result<ScopeView, Error> {
    let (own, more_own) = match row.first_used_at {
        0 => (0, false),
        _ => usable(read, workspace, &row.name).await?,
    };
    let (live, more_live) = known.live.of(&row.name);
    let said = row.said();
    Ok(ScopeView {
        description: said.description,
        marked: said.sensitive,
        sensitive: known.sensitivity.of(&row.name),
        groups: groups_of(known.groups.iter().map(String::as_str), &row.name),
        first_used_at: (row.first_used_at != 0).then_some(row.first_used_at),
        updated_at: row.updated_at,
        usable: (own + live, more_own || more_live),
        name: row.name,
    })
}

/// Usable keys among the newest that carry a scope, and whether there are more than were looked at.
async fn usable(read: &mut Read, workspace: &WorkspaceId, scope: &str) -> Result<(u64, bool), Error> {
    let second = read.now().await?.div_euclid(1000);
    let sql = concat!(
        "SELECT COUNT(*), COUNT(CASE WHEN ",
        usable!("$3"),
        " THEN 1 END) FROM (SELECT key_id FROM key_scopes WHERE workspace_id = $1 AND scope = $2 \
         ORDER BY created_at DESC, key_id DESC LIMIT $4) s JOIN keys k ON k.id = s.key_id"
    );
    let limit = i64::from(COUNTED_KEYS) + 1;
    let (seen, usable) = sql!(read, sql, workspace.as_str(), scope, second, limit => one (i64, i64))?;
    Ok((u64::try_from(usable).unwrap_or_default(), seen == limit))
}

async fn append(
    tx: &mut Tx,
    context: &Context,
    action: &'static str,
    name: &EntryName,
    before: Option<Value>,
    after: Option<Value>,
    now: i64,
) -> Result<(), Error> {
    let draft = Draft {
        action,
        target: Target::Other("scope", name.as_str()),
        before,
        after,
        reason: None,
        personal: &[],
        about: None,
    };
    audit::append(tx, context, &draft, now).await
}

fn show(said: &Said) -> Value {
    json!({ "description": said.description, "sensitive": said.sensitive })
}

#[derive(Debug, FromRow)]
struct ScopeRow {
    name: String,
    first_used_at: i64,
    description: Option<String>,
    sensitive: Option<i64>,
    updated_at: Option<i64>,
}

impl ScopeRow {
    fn said(&self) -> Said {
        Said { description: self.description.clone(), sensitive: self.sensitive.map(|flag| flag != 0) }
    }
}
