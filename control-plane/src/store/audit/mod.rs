//! The audit log: written with what it tells of, chained by the leader, never changed but for what is personal in it, which
//! can be erased.

mod append;
mod chain;
mod erase;
mod export;
mod find;
mod gaps;
mod way;

use std::collections::HashMap;

use sqlx::FromRow;

use super::select::Select;
use super::{Error, Read};
use crate::domain::{Actor, WorkspaceId};

pub use append::SOURCE;
pub(super) use append::{
    Draft, Target, acknowledged, append, append_many, append_refused, difference, rotation_view, view,
};
pub(crate) use chain::{Chained, chain};
pub use chain::{SignedHead, Standing, standing};
pub use erase::{Erased, erase};
pub use export::{Exporter, Span, exported};
pub use find::{AuditFilter, list, list_within, oldest_unchained};
pub(crate) use gaps::{Gap, kept_since, lacks, notes as gap_notes, own_up};

/// An entry of the audit log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number in the deployment, in order of writing.
    pub id: i64,
    /// Unix milliseconds.
    pub at: i64,
    /// Who.
    pub actor: Actor,
    /// The member whose authority the actor had.
    pub on_behalf_of: Option<String>,
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
    /// The same, as the row has it.
    stored_scopes: Option<String>,
    /// What changed, before: a JSON object.
    pub before: Option<String>,
    /// What changed, after: a JSON object.
    pub after: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// From where; none once that is erased.
    pub source: Option<String>,
    /// What keeps the source's commitment from being guessed; erased with it.
    pub source_salt: Option<Vec<u8>>,
    /// What stands in the chain for personal values, `field:hex`, separated by blanks.
    pub commitments: Option<String>,
    /// Personal values beside the source that have not been erased.
    pub personal: Vec<PersonalValue>,
    /// By which request.
    pub request_id: String,
    /// Its place in the workspace's chain; none until it is chained.
    pub seq: Option<i64>,
    /// The hash of the entry before it.
    pub prev_hash: Option<Vec<u8>>,
    /// Its own hash.
    pub hash: Option<Vec<u8>>,
}

/// A personal value and the salt of its commitment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonalValue {
    /// Which.
    pub field: String,
    /// Its salt.
    pub salt: Vec<u8>,
    /// The value.
    pub value: String,
}

/// The columns of [`Row`].
macro_rules! entry_columns {
    () => {
        "id, at, actor_type, actor_id, on_behalf_of, action, category, target_type, target_id, prefix, short_prefix, \
         scopes, before, after, reason, source, source_salt, commitments, request_id, seq, prev_hash, hash"
    };
}
use entry_columns;

/// Entries with the personal values that lie beside their rows.
async fn with_personal(read: &mut Read, workspace: &WorkspaceId, rows: Vec<Row>) -> Result<Vec<Entry>, Error> {
    let mut entries: Vec<Entry> = rows.into_iter().map(Entry::from).collect();
    // Most have a source and nothing else.
    let only_source = |text: &str| text.starts_with("source:") && !text.contains(' ');
    let more = |entry: &&Entry| entry.commitments.as_deref().is_some_and(|text| !only_source(text));
    let ids: Vec<i64> = entries.iter().filter(more).map(|entry| entry.id).collect();
    if ids.is_empty() {
        return Ok(entries);
    }
    let mut select = Select::new("SELECT audit_id, field, salt, value FROM audit_personal WHERE workspace_id = ");
    select.value(workspace.as_str()).push(" AND audit_id IN (").list(ids).push(") ORDER BY audit_id, field");
    let values: Vec<(i64, String, Vec<u8>, String)> = select.fetch(read).await?;
    let mut by_entry: HashMap<i64, Vec<PersonalValue>> = HashMap::new();
    for (id, field, salt, value) in values {
        by_entry.entry(id).or_default().push(PersonalValue { field, salt, value });
    }
    for entry in &mut entries {
        entry.personal = by_entry.remove(&entry.id).unwrap_or_default();
    }
    Ok(entries)
}

#[derive(Debug, FromRow)]
struct Row {
    id: i64,
    at: i64,
    actor_type: String,
    actor_id: String,
    on_behalf_of: Option<String>,
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
    source_salt: Option<Vec<u8>>,
    commitments: Option<String>,
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
            on_behalf_of: row.on_behalf_of,
            action: row.action,
            category: row.category,
            target_type: row.target_type,
            target_id: row.target_id,
            prefix: row.prefix,
            short_prefix: row.short_prefix,
            stored_scopes: row.scopes.clone(),
            scopes: row.scopes.map(|words| words.split_ascii_whitespace().map(str::to_owned).collect()),
            before: row.before,
            after: row.after,
            reason: row.reason,
            source: row.source,
            source_salt: row.source_salt,
            commitments: row.commitments,
            personal: Vec::new(),
            request_id: row.request_id,
            seq: row.seq,
            prev_hash: row.prev_hash,
            hash: row.hash,
        }
    }
}
