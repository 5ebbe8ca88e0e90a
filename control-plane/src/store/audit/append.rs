//! Writing an entry, in the transaction of what it tells of.

use nightlatch_audit::{Commitments, SALT_LEN, Salt, commitment};
use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, Postgres, Sqlite};

use crate::domain::{Key, Rotation, Scope};
use crate::store::select::RowArguments;
use crate::store::tx::{Conn, sql};
use crate::store::{Context, Error, Tx, members, os_random, rows};

/// The personal field that an entry's row holds itself.
pub const SOURCE: &str = "source";

/// An entry about to be written.
pub(in crate::store) struct Draft<'a> {
    /// `key.issued`, …
    pub(in crate::store) action: &'static str,
    /// What it was done to.
    pub(in crate::store) target: Target<'a>,
    /// What changed, before.
    pub(in crate::store) before: Option<Value>,
    /// What changed, after.
    pub(in crate::store) after: Option<Value>,
    /// Why.
    pub(in crate::store) reason: Option<&'a str>,
    /// What is personal in what it tells, by field: shown with the entry until it is erased, and never a part of `before`,
    /// `after` or `reason`.
    pub(in crate::store) personal: &'a [(&'static str, String)],
    /// The member whom the personal values are about.
    pub(in crate::store) about: Option<&'a str>,
}

/// What something was done to.
pub(in crate::store) enum Target<'a> {
    /// A key, with what the entry shows of it.
    Key(&'a Key),
    /// Another record: its kind and id.
    Other(&'static str, &'a str),
}

/// Appends an entry to the log of what was done, where whoever did it may still do anything. The address that the request
/// came from is always taken as personal.
///
/// # Errors
/// [`Refusal::AuthorityChanged`](crate::domain::Refusal::AuthorityChanged); [`Error::Database`].
pub(in crate::store) async fn append(tx: &mut Tx, context: &Context, draft: &Draft<'_>, now: i64) -> Result<(), Error> {
    members::confirm(tx, context).await?;
    append_refused(tx, context, draft, now).await
}

/// Appends an entry of what was refused to whoever it was.
pub(in crate::store) async fn append_refused(
    tx: &mut Tx,
    context: &Context,
    draft: &Draft<'_>,
    now: i64,
) -> Result<(), Error> {
    let (target_type, target_id, key) = draft.target();
    let source = context.source.as_deref().map(|source| (salt(), source));
    let salts: Vec<Salt> = draft.personal.iter().map(|_| salt()).collect();
    let fields = draft.personal.iter().zip(&salts);
    let fields = fields.map(|((field, value), salt)| ((*field).to_owned(), commitment(field, salt, value)));
    let of_source = source.as_ref().map(|(salt, source)| (SOURCE.to_owned(), commitment(SOURCE, salt, source)));
    let commitments = Commitments::new(fields.chain(of_source).collect()).to_text();
    let sql = "INSERT INTO audit (workspace_id, at, actor_type, actor_id, action, category, target_type, target_id, prefix, \
               short_prefix, scopes, before, after, reason, source, request_id, on_behalf_of, source_salt, commitments) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) RETURNING id";
    let (id,) = sql!(
        tx,
        sql,
        context.workspace.as_str(),
        now,
        context.actor.kind.as_str(),
        context.actor.id.as_str(),
        draft.action,
        draft.category(),
        target_type,
        target_id,
        key.map(|key| key.prefix.as_str()),
        key.map(Key::short_prefix),
        key.map(|key| key.scopes.to_stored()),
        draft.before.as_ref().map(Value::to_string),
        draft.after.as_ref().map(Value::to_string),
        draft.reason,
        source.as_ref().map(|(_, source)| *source),
        context.request_id.as_str(),
        context.on_behalf_of(),
        source.as_ref().map(|(salt, _)| salt.as_slice()),
        commitments
        => one (i64,)
    )?;
    for ((field, value), salt) in draft.personal.iter().zip(&salts) {
        sql!(
            tx,
            "INSERT INTO audit_personal (workspace_id, audit_id, field, salt, value, about) VALUES ($1, $2, $3, $4, $5, $6)",
            context.workspace.as_str(), id, *field, salt.as_slice(), value.as_str(), draft.about => execute
        )?;
    }
    Ok(())
}

impl Draft<'_> {
    fn target(&self) -> (&'static str, &str, Option<&Key>) {
        match self.target {
            Target::Key(key) => ("key", key.id.as_str(), Some(key)),
            Target::Other(kind, id) => (kind, id, None),
        }
    }

    /// The general events under which older procedures file both kinds.
    fn category(&self) -> &'static str {
        let of_keys = self.action.starts_with("key.") || self.action.starts_with("rotation.");
        if of_keys { "user.updated" } else { "workspace.updated" }
    }
}

/// As [`append`], for entries that say nothing personal but where the request came from, a few hundred at most, in this order.
pub(in crate::store) async fn append_many(
    tx: &mut Tx,
    context: &Context,
    drafts: &[Draft<'_>],
    now: i64,
) -> Result<(), Error> {
    if drafts.is_empty() {
        return Ok(());
    }
    members::confirm(tx, context).await?;
    let arguments = RowArguments::new(tx, drafts.len(), 13);
    let text = AssertSqlSafe(format!(
        "INSERT INTO audit (workspace_id, at, actor_type, actor_id, action, category, target_type, target_id, prefix, \
         short_prefix, scopes, before, after, reason, source, request_id, on_behalf_of, source_salt, commitments) \
         SELECT {workspace}, {now}, {actor_type}, {actor}, column2, column3, column4, column5, column6, column7, column8, \
         column9, column10, column11, {source}, {request}, {behalf}, column12, column13 \
         FROM (VALUES {rows}) AS v ORDER BY column1",
        rows = arguments.rows(),
        workspace = arguments.fixed(1),
        now = arguments.fixed(2),
        actor_type = arguments.fixed(3),
        actor = arguments.fixed(4),
        source = arguments.fixed(5),
        request = arguments.fixed(6),
        behalf = arguments.fixed(7),
    ));
    macro_rules! run {
        ($database:ty, $conn:expr) => {{
            let mut query = sqlx::query::<$database>(text);
            for (place, draft) in (0_i64..).zip(drafts) {
                let (target_type, target_id, key) = draft.target();
                let source = context.source.as_deref().map(|source| (salt(), source));
                let commitments =
                    source.iter().map(|(salt, source)| (SOURCE.to_owned(), commitment(SOURCE, salt, source))).collect();
                query = query
                    .bind(place)
                    .bind(draft.action)
                    .bind(draft.category())
                    .bind(target_type)
                    .bind(target_id)
                    .bind(key.map(|key| key.prefix.as_str()))
                    .bind(key.map(Key::short_prefix))
                    .bind(key.map(|key| key.scopes.to_stored()))
                    .bind(draft.before.as_ref().map(Value::to_string))
                    .bind(draft.after.as_ref().map(Value::to_string))
                    .bind(draft.reason)
                    .bind(source.map(|(salt, _)| salt.to_vec()))
                    .bind(Commitments::new(commitments).to_text());
            }
            query
                .bind(context.workspace.as_str())
                .bind(now)
                .bind(context.actor.kind.as_str())
                .bind(context.actor.id.as_str())
                .bind(context.source.as_deref())
                .bind(context.request_id.as_str())
                .bind(context.on_behalf_of())
                .execute($conn)
                .await
                .map(drop)?
        }};
    }
    match tx.conn() {
        Conn::Sqlite(conn) => run!(Sqlite, conn),
        Conn::Postgres(conn) => run!(Postgres, conn),
    }
    Ok(())
}

/// Fresh random bytes.
pub(super) fn salt() -> Salt {
    let mut salt = [0; SALT_LEN];
    os_random(&mut salt);
    salt
}

/// What of a key can change, and is worth an entry.
pub(in crate::store) fn view(key: &Key) -> Map<String, Value> {
    let disabled_by: Vec<_> = key.disabled_by.iter().map(|cause| cause.as_str()).collect();
    let fields = json!({
        "name": key.name,
        "state": rows::stage_name(&key.stage),
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
        "link": key.link.as_ref().map(|link| link.as_str()),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// What an entry says of the rotation it belongs to.
pub(in crate::store) fn rotation_view(rotation: &Rotation) -> [(String, Value); 4] {
    [
        ("rotation".to_owned(), json!(rotation.id.as_str())),
        ("predecessor".to_owned(), json!(rotation.predecessor.as_str())),
        ("successor".to_owned(), json!(rotation.successor.as_str())),
        ("outcome".to_owned(), json!(rotation.end.as_ref().map(|end| end.outcome.as_str()))),
    ]
}

/// Says in an entry which sensitive scopes were granted knowingly.
pub(in crate::store) fn acknowledged(after: &mut Map<String, Value>, scopes: &[Scope]) {
    if !scopes.is_empty() {
        let scopes: Vec<_> = scopes.iter().map(Scope::as_str).collect();
        after.insert("acknowledged_sensitive".to_owned(), json!(scopes));
    }
}

/// The fields that differ, before and after; all fields that are set where there was nothing before.
pub(in crate::store) fn difference(
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
