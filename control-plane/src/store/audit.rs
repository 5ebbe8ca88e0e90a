//! The audit log: written with what it tells of, never changed.

use serde_json::{Map, Value, json};
use sqlx::FromRow;

use super::select::{Direction, Select};
use super::tx::sql;
use super::{Context, Cursor, Error, Page, PageRequest, Read, Tx, keys};
use crate::domain::{Actor, Key, KeyRef, Rotation, Scope, WorkspaceId};

/// An entry of the audit log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number in the deployment, in order of writing.
    pub id: i64,
    /// Unix milliseconds.
    pub at: i64,
    /// Who.
    pub actor: Actor,
    /// What: `key.issued`, `rotation.started`, …
    pub action: String,
    /// The general event older procedures file it under.
    pub category: String,
    /// What kind of record it was done to.
    pub target_type: String,
    /// Which.
    pub target_id: String,
    /// A key's public prefix.
    pub prefix: Option<String>,
    /// The first 8 characters of a key's id.
    pub short_prefix: Option<String>,
    /// The scopes a key carried.
    pub scopes: Option<Vec<String>>,
    /// What changed, before: a JSON object.
    pub before: Option<String>,
    /// What changed, after: a JSON object.
    pub after: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// From where.
    pub source: Option<String>,
    /// By which request.
    pub request_id: String,
    /// Its place in the workspace's chain; none until it is chained.
    pub seq: Option<i64>,
    /// The hash of the entry before it.
    pub prev_hash: Option<Vec<u8>>,
    /// Its own hash.
    pub hash: Option<Vec<u8>>,
}

/// What a list of entries is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Exactly this action.
    pub action: Option<String>,
    /// Exactly this category.
    pub category: Option<String>,
    /// The actor's id.
    pub actor: Option<String>,
    /// The actor's type.
    pub actor_type: Option<String>,
    /// A key, by id or number.
    pub key: Option<KeyRef>,
    /// Not before, unix milliseconds.
    pub from: Option<i64>,
    /// Before, unix milliseconds.
    pub to: Option<i64>,
}

/// Entries of the workspace, newest first.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(
    read: &mut Read,
    workspace: &WorkspaceId,
    filter: &AuditFilter,
    page: &PageRequest,
) -> Result<Page<Entry>, Error> {
    let mut select = Select::new(
        "SELECT id, at, actor_type, actor_id, action, category, target_type, target_id, prefix, short_prefix, scopes, \
         before, after, reason, source, request_id, seq, prev_hash, hash FROM audit WHERE workspace_id = ",
    );
    select.value(workspace.as_str());
    if let Some(key) = &filter.key {
        let Some(id) = keys::id_of(read, workspace, key).await? else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        select.push(" AND target_id = ").value(id.as_str());
    }
    let texts = [
        (" AND action = ", &filter.action),
        (" AND category = ", &filter.category),
        (" AND actor_id = ", &filter.actor),
        (" AND actor_type = ", &filter.actor_type),
    ];
    for (condition, text) in texts {
        if let Some(text) = text {
            select.push(condition).value(text.as_str());
        }
    }
    for (condition, time) in [(" AND at >= ", filter.from), (" AND at < ", filter.to)] {
        if let Some(time) = time {
            select.push(condition).value(time);
        }
    }
    select.page_by_number("at", "id", Direction::Descending, page);
    let rows: Vec<Row> = select.fetch(read).await?;
    let entries = rows.into_iter().map(Entry::from).collect();
    Ok(Page::from_rows(entries, page.limit, |entry: &Entry| Cursor { at: entry.at, id: entry.id.to_string() }))
}

/// An entry about to be written.
pub(super) struct Draft<'a> {
    /// `key.issued`, …
    pub(super) action: &'static str,
    /// What it was done to.
    pub(super) target: Target<'a>,
    /// What changed, before.
    pub(super) before: Option<Value>,
    /// What changed, after.
    pub(super) after: Option<Value>,
    /// Why.
    pub(super) reason: Option<&'a str>,
}

/// What something was done to.
pub(super) enum Target<'a> {
    /// A key, with what the entry shows of it.
    Key(&'a Key),
    /// Another record: its kind and id.
    Other(&'static str, &'a str),
}

/// Appends an entry, in the transaction of what it tells of.
pub(super) async fn append(tx: &mut Tx, context: &Context, draft: &Draft<'_>, now: i64) -> Result<(), Error> {
    let (target_type, target_id, key) = match draft.target {
        Target::Key(key) => ("key", key.id.as_str(), Some(key)),
        Target::Other(kind, id) => (kind, id, None),
    };
    // The general events under which older procedures file both kinds.
    let of_keys = draft.action.starts_with("key.") || draft.action.starts_with("rotation.");
    let category = if of_keys { "user.updated" } else { "workspace.updated" };
    sql!(
        tx,
        "INSERT INTO audit (workspace_id, at, actor_type, actor_id, action, category, target_type, target_id, prefix, \
         short_prefix, scopes, before, after, reason, source, request_id) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        context.workspace.as_str(),
        now,
        context.actor.kind.as_str(),
        context.actor.id.as_str(),
        draft.action,
        category,
        target_type,
        target_id,
        key.map(|key| key.prefix.as_str()),
        key.map(Key::short_prefix),
        key.map(|key| key.scopes.to_stored()),
        draft.before.as_ref().map(Value::to_string),
        draft.after.as_ref().map(Value::to_string),
        draft.reason,
        context.source.as_deref(),
        context.request_id.as_str()
        => execute
    )?;
    Ok(())
}

/// What of a key can change, and is worth an entry.
pub(super) fn view(key: &Key) -> Map<String, Value> {
    let disabled_by: Vec<_> = key.disabled_by.iter().map(|cause| cause.as_str()).collect();
    let fields = json!({
        "name": key.name,
        "state": super::rows::stage_name(&key.stage),
        "disabled_by": disabled_by,
        "environment": key.environment.as_str(),
        "subject": key.subject,
        "tier": key.tier.as_ref().map(|tier| tier.as_str()),
        "owner": key.owner,
        "owner_member": key.owner_member.as_ref().map(|id| id.as_str()),
        "labels": key.labels.as_map(),
        "expires_at": key.expires_at,
        "rotate_by": key.rotate_by,
        "deadline": key.deadline(),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// What an entry says of the rotation it belongs to.
pub(super) fn rotation_view(rotation: &Rotation) -> [(String, Value); 4] {
    [
        ("rotation".to_owned(), json!(rotation.id.as_str())),
        ("predecessor".to_owned(), json!(rotation.predecessor.as_str())),
        ("successor".to_owned(), json!(rotation.successor.as_str())),
        ("outcome".to_owned(), json!(rotation.end.as_ref().map(|end| end.outcome.as_str()))),
    ]
}

/// Says in an entry which sensitive scopes were granted knowingly.
pub(super) fn acknowledged(after: &mut Map<String, Value>, scopes: &[Scope]) {
    if !scopes.is_empty() {
        let scopes: Vec<_> = scopes.iter().map(Scope::as_str).collect();
        after.insert("acknowledged_sensitive".to_owned(), json!(scopes));
    }
}

/// The fields that differ, before and after; all fields that are set where there was nothing before.
pub(super) fn difference(
    before: Option<Map<String, Value>>,
    mut after: Map<String, Value>,
) -> (Option<Map<String, Value>>, Map<String, Value>) {
    match before {
        None => {
            after.retain(|_, value| !value.is_null());
            (None, after)
        }
        Some(mut before) => {
            before.retain(|field, value| after.get(field) != Some(value));
            after.retain(|field, _| before.contains_key(field));
            (Some(before), after)
        }
    }
}

#[derive(Debug, FromRow)]
struct Row {
    id: i64,
    at: i64,
    actor_type: String,
    actor_id: String,
    action: String,
    category: String,
    target_type: String,
    target_id: String,
    prefix: Option<String>,
    short_prefix: Option<String>,
    scopes: Option<String>,
    before: Option<String>,
    after: Option<String>,
    reason: Option<String>,
    source: Option<String>,
    request_id: String,
    seq: Option<i64>,
    prev_hash: Option<Vec<u8>>,
    hash: Option<Vec<u8>>,
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            at: row.at,
            actor: Actor { kind: row.actor_type, id: row.actor_id },
            action: row.action,
            category: row.category,
            target_type: row.target_type,
            target_id: row.target_id,
            prefix: row.prefix,
            short_prefix: row.short_prefix,
            scopes: row.scopes.map(|words| words.split_ascii_whitespace().map(str::to_owned).collect()),
            before: row.before,
            after: row.after,
            reason: row.reason,
            source: row.source,
            request_id: row.request_id,
            seq: row.seq,
            prev_hash: row.prev_hash,
            hash: row.hash,
        }
    }
}
