//! `/v1/audit`: what was done, by whom, when.

use axum::extract::State;
use nightlatch_api::{AuditEntry, AuditFilter, AuditTarget, Page, Problem};

use super::App;
use super::caller::Caller;
use super::cursor::List;
use super::keys::view;
use super::params::Query;
use super::refused::Refused;
use super::time::from_ms;
use crate::domain::KeyRef;
use crate::store::audit::{self, Entry};

/// Lists the audit trail, newest first. Every filter given must hold.
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
    let key = match filters.key.as_deref().map(KeyRef::parse) {
        // A text that cannot be a key's id was never acted on.
        Some(None) => return Ok(axum::Json(Page { items: Vec::new(), next_cursor: None })),
        Some(key) => key,
        None => None,
    };
    let filter = audit::AuditFilter {
        action: filters.action,
        category: filters.category,
        actor: filters.actor,
        actor_type: filters.actor_type,
        key,
        from: filters.from.map(jiff::Timestamp::as_millisecond),
        to: filters.to.map(jiff::Timestamp::as_millisecond),
    };
    let mut read = app.store().read().await?;
    let found = audit::list(&mut read, caller.workspace(), &filter, &page).await?;
    Ok(axum::Json(app.cursors().answer(&list, found, show)))
}

fn show(entry: Entry) -> AuditEntry {
    // What this program wrote as JSON reads as JSON; anything else is shown as the text it is.
    let json = |text: String| serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text));
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    AuditEntry {
        id: format!("aud_{}", entry.id),
        at: from_ms(entry.at),
        actor: view::actor(&entry.actor),
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
        request_id: entry.request_id,
        sequence: entry.seq,
        previous_hash: entry.prev_hash.map(hex),
        hash: entry.hash.map(hex),
    }
}
