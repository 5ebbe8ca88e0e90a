//! `/v1/audit`: what was done, by whom, when; and the proof of it.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use nightlatch_api::{
    AuditCheckpoint, AuditEntry, AuditExport, AuditFilter, AuditStanding, AuditTarget, EraseAudit, ErasedAudit, Page,
    Problem,
};
use nightlatch_audit::Commitments;

use super::App;
use super::body::Json;
use super::caller::Caller;
use super::cursor::List;
use super::keys::view;
use super::noted;
use super::params::Query;
use super::refused::Refused;
use super::time::from_ms;
use crate::domain::KeyRef;
use crate::domain::ids::principal_subject;
use crate::store::audit::{self, Entry, Exporter, Span};
use crate::store::{self, Error, members};

/// Lists the audit trail, newest first. Every filter given must hold. Entries without a `sequence` are not chained yet.
#[utoipa::path(
    get, path = "/v1/audit", tag = "audit", operation_id = "listAudit",
    params(AuditFilter),
    responses(
        (status = 200, description = "A page of the trail.", body = Page<AuditEntry>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<AuditFilter>,
) -> Result<axum::Json<Page<AuditEntry>>, Refused> {
    let filters = AuditFilter { limit: None, cursor: None, ..query.clone() };
    let list = List::new("audit", caller.workspace(), &filters);
    let page = app.cursors().page(&list, query.limit, query.cursor.as_deref())?;
    let Some(filter) = narrowed(filters) else {
        return Ok(axum::Json(Page { items: Vec::new(), next_cursor: None }));
    };
    let mut read = app.store().read().await?;
    let found = audit::list(&mut read, caller.workspace(), &filter, &page).await?;
    Ok(axum::Json(app.cursors().answer(&list, found, show)))
}

/// Exports the audit trail, oldest first, up to the checkpoint that was signed last.
///
/// Lines of JSON: a header with the signed head, the entries, a footer without which the export was cut off.
/// `nightlatch audit verify` proves it. That somebody exported is an entry of the trail. Where the caller's authority ends
/// before the export, it breaks off.
#[utoipa::path(
    get, path = "/v1/audit/export", tag = "audit", operation_id = "exportAudit",
    params(AuditExport),
    responses(
        (status = 200, description = "The export.", body = String, content_type = "application/x-ndjson"),
        (status = 404, description = "There is no such entry to begin after.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn export(
    State(app): State<App>,
    caller: Caller,
    Query(mut query): Query<AuditExport>,
) -> Result<Response, Refused> {
    // What an export was narrowed to is noted for ever, and stands in the export.
    let AuditExport { action, category, actor, actor_type, key, principal, target, .. } = &mut query;
    for text in [action, category, actor, actor_type, key, principal, target].into_iter().flatten() {
        *text = noted::without_secrets(text);
    }
    let after = query.after.unwrap_or_default();
    // Before it is noted that anything was exported.
    if i64::try_from(after).is_err() {
        return Err(Refused::invalid("after", "is beyond what an entry's number can be"));
    }
    let named = named(&AuditExport { after: None, ..query.clone() });
    let filters = AuditFilter {
        action: query.action,
        category: query.category,
        actor: query.actor,
        actor_type: query.actor_type,
        key: query.key,
        principal: query.principal,
        target: query.target,
        from: query.from,
        to: query.to,
        limit: None,
        cursor: None,
    };
    let filter = match (narrowed(filters), named.is_empty()) {
        (_, true) => None,
        (Some(filter), false) => Some(filter),
        (None, false) => {
            return Err(Refused::invalid("key", "is not the id of a key, or `principal` not of a principal"));
        }
    };
    let (context, said) = (caller.context(), named.clone());
    let noted = app
        .store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { audit::exported(tx, &context, after, &said).await }));
    noted.await?;
    let span = Span { after, filter, named: (!named.is_empty()).then_some(named) };
    let (exporter, header) = Exporter::begin(app.store().clone(), caller.workspace().clone(), span).await?;
    let first = line(&header)?;
    let (store, context) = (app.store().clone(), caller.context());
    let lines = futures::stream::try_unfold(Some((exporter, Some(first))), move |state| {
        let (store, context) = (store.clone(), context.clone());
        async move {
            let Some((mut exporter, first)) = state else { return Ok(None) };
            if let Some(first) = first {
                return Ok(Some((first, Some((exporter, None)))));
            }
            // It takes as long as the caller likes: whoever was let in may have been shown out meanwhile.
            members::confirm_reader(&mut store.read().await?, &context).await?;
            match exporter.next().await? {
                Some(entries) => {
                    let mut bytes = Vec::new();
                    for entry in &entries {
                        bytes.extend_from_slice(&line(entry)?);
                    }
                    Ok(Some((Bytes::from(bytes), Some((exporter, None)))))
                }
                None => {
                    let footer = exporter.end().await?;
                    Ok::<_, Error>(Some((line(&footer)?, None)))
                }
            }
        }
    });
    let headers = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(lines)).into_response())
}

/// Shows how far the audit trail is chained, and the head that signs it.
///
/// Who keeps such heads elsewhere can show later that nothing before them was changed.
#[utoipa::path(
    get, path = "/v1/audit/checkpoint", tag = "audit", operation_id = "auditCheckpoint",
    responses(
        (status = 200, description = "The checkpoint.", body = AuditStanding),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn checkpoint(State(app): State<App>, caller: Caller) -> Result<axum::Json<AuditStanding>, Refused> {
    let standing = audit::standing(&mut app.store().read().await?, caller.workspace()).await?;
    Ok(axum::Json(AuditStanding {
        chained: standing.chained,
        unchained: standing.unchained,
        checkpoint: standing.head.map(|head| AuditCheckpoint {
            count: head.checkpoint.count,
            root: head.checkpoint.root.to_hex(),
            set: head.set,
            head: head.note,
        }),
    }))
}

/// Erases what is personal about a member from the audit log: addresses it acted from, and values that entries keep about
/// it. Of a removed member its record, its sessions and an account that nobody else uses forget it, too.
///
/// What was done stays, and stays provable. Repeating it is 200.
#[utoipa::path(
    post, path = "/v1/audit/erase", tag = "audit", operation_id = "eraseAudit",
    request_body = EraseAudit,
    responses(
        (status = 200, description = "Erased, now or before.", body = ErasedAudit),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn erase(
    State(app): State<App>,
    caller: Caller,
    body: Json<EraseAudit>,
) -> Result<axum::Json<ErasedAudit>, Refused> {
    let about = body.value.about;
    let tail = about.strip_prefix("mem_").unwrap_or_default();
    if !(1..=32).contains(&tail.len()) || !tail.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Refused::invalid("about", "must be a member's id, `mem_…`"));
    }
    let (context, member) = (caller.context(), about.clone());
    let erased = app
        .store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { audit::erase(tx, &context, &member).await }))
        .await?;
    Ok(axum::Json(ErasedAudit { about, erased: erased.values, record_kept: erased.record_kept }))
}

/// A filter as the store takes it; `None` where nothing can fulfil it: a text that cannot be an id was never acted on.
fn narrowed(filters: AuditFilter) -> Option<audit::AuditFilter> {
    let key = match filters.key.as_deref().map(KeyRef::parse) {
        Some(key) => Some(key?),
        None => None,
    };
    if let Some(principal) = &filters.principal {
        principal_subject(principal)?;
    }
    Some(audit::AuditFilter {
        action: filters.action,
        category: filters.category,
        actor: filters.actor,
        actor_type: filters.actor_type,
        key,
        principal: filters.principal,
        target: filters.target,
        from: filters.from.map(jiff::Timestamp::as_millisecond),
        to: filters.to.map(jiff::Timestamp::as_millisecond),
    })
}

/// The filters that are set, as they were given.
fn named(query: &AuditExport) -> BTreeMap<String, String> {
    let fields = serde_json::to_value(query).ok().and_then(|value| value.as_object().cloned()).unwrap_or_default();
    fields.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect()
}

fn line(value: &impl serde::Serialize) -> Result<Bytes, store::Error> {
    let mut bytes = serde_json::to_vec(value).map_err(|_| store::Error::Corrupt("audit"))?;
    bytes.push(b'\n');
    Ok(bytes.into())
}

fn show(entry: Entry) -> AuditEntry {
    // What this program wrote as JSON reads as JSON; anything else is shown as the text it is.
    let json = |text: String| serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text));
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let committed = entry.commitments.as_deref().and_then(Commitments::parse).unwrap_or_default();
    let fields = committed.fields().filter(|field| *field != audit::SOURCE);
    let mut personal: BTreeMap<String, Option<String>> = fields.map(|field| (field.to_owned(), None)).collect();
    personal.extend(entry.personal.into_iter().map(|one| (one.field, Some(one.value))));
    AuditEntry {
        id: format!("aud_{}", entry.id),
        at: from_ms(entry.at),
        actor: view::actor(&entry.actor),
        on_behalf_of: entry.on_behalf_of,
        action: entry.action,
        category: entry.category,
        target: AuditTarget { kind: entry.target_type, id: entry.target_id },
        prefix: entry.prefix,
        short_prefix: entry.short_prefix,
        scopes: entry.scopes,
        before: entry.before.map(json),
        after: entry.after.map(json),
        reason: entry.reason,
        source: entry.source,
        personal,
        request_id: entry.request_id,
        sequence: entry.seq,
        previous_hash: entry.prev_hash.map(hex),
        hash: entry.hash.map(hex),
    }
}
