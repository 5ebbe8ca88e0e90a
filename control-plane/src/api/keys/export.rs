//! `/v1/keys/export`: the inventory as a file, sent as it is read.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::stream;
use nightlatch_api as api;
use nightlatch_api::{ExportFormat, KeyFilter, Problem};

use super::{filter, view};
use crate::api::App;
use crate::api::caller::Caller;
use crate::api::params;
use crate::api::refused::Refused;
use crate::store::{Context, Cursor, Error, PageRequest, keys, members, workspaces};

/// Keys that are read, written out and forgotten in one go.
const STRIDE: u32 = 500;

/// What ends a cell, here or elsewhere.
const SEPARATORS: [char; 6] = [',', ';', '|', '\t', '\r', '\n'];

/// The columns of a CSV export.
const COLUMNS: [&str; 27] = [
    "id",
    "number",
    "prefix",
    "name",
    "state",
    "disabled_by",
    "principal",
    "kind",
    "environment",
    "scopes",
    "tier",
    "owner",
    "owner_member",
    "labels",
    "issued_by_type",
    "issued_by_id",
    "created_at",
    "expires_at",
    "rotate_by",
    "deadline",
    "revoked_at",
    "revoke_reason",
    "last_used_at",
    "lineage",
    "predecessor",
    "successor",
    "touched",
];

/// Exports all keys that pass the filters of `GET /v1/keys`. Pages are read one after the other as the caller takes them:
/// what changes meanwhile may be in it or not. An export that breaks off is not complete; it does where the caller's
/// authority ends before it.
#[utoipa::path(
    get, path = "/v1/keys/export", tag = "keys", operation_id = "exportKeys",
    params(
        ("format" = ExportFormat, Query, description = "`csv` or `ndjson`."),
        KeyFilter,
    ),
    responses(
        (status = 200, description = "The keys.", content((String = "text/csv"), (api::Key = "application/x-ndjson"))),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn export(
    State(app): State<App>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let (format, filters) = asked(query.as_deref().unwrap_or_default())?;
    let (context, what) = (caller.context(), serde_json::json!({ "format": format, "filter": filters }));
    let mut read = app.store().read().await?;
    let filter = filter::resolve(&mut read, &context, filters).await?;
    drop(read);
    // Not before it is known to be one: what is no filter is refused, and nothing is exported.
    let noted = context.clone();
    app.store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { keys::note_export(tx, &noted, what).await }))
        .await?;
    let head = match format {
        ExportFormat::Csv => csv_row(&COLUMNS.map(str::to_owned)),
        ExportFormat::Ndjson => Bytes::new(),
    };
    let place = match filter {
        Some(filter) => Place::At(Box::new(filter), None),
        None => Place::End,
    };
    let export = Export { app, context, format };
    let pages = stream::try_unfold((export, place), |(export, place)| async move {
        let Place::At(filter, after) = place else { return Ok(None) };
        let (bytes, next) = export.page(&filter, after).await?;
        let place = next.map_or(Place::End, |next| Place::At(filter, Some(next)));
        Ok::<_, Broken>(Some((bytes, (export, place))))
    });
    let head = stream::once(async move { Ok::<_, Infallible>(head) });
    let body = futures::StreamExt::chain(futures::TryStreamExt::err_into::<Broken>(head), pages);
    let (kind, name) = match format {
        ExportFormat::Csv => ("text/csv; charset=utf-8; header=present", "attachment; filename=\"keys.csv\""),
        ExportFormat::Ndjson => ("application/x-ndjson", "attachment; filename=\"keys.ndjson\""),
    };
    Ok(([(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, name)], Body::from_stream(body)).into_response())
}

/// Where an export stands.
enum Place {
    At(Box<keys::KeyFilter>, Option<Cursor>),
    End,
}

/// An export that cannot go on. The caller sees the connection break: half an inventory must not pass for one.
#[derive(Debug, thiserror::Error)]
#[error("the export broke off")]
struct Broken;

impl From<Infallible> for Broken {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

struct Export {
    app: App,
    context: Context,
    format: ExportFormat,
}

impl Export {
    /// Writes out the keys behind a place, and says where they end.
    async fn page(&self, filter: &keys::KeyFilter, after: Option<Cursor>) -> Result<(Bytes, Option<Cursor>), Broken> {
        let page = PageRequest { limit: STRIDE, after };
        let read = async {
            let mut read = self.app.store().read().await?;
            // It takes as long as the caller likes: whoever was let in may have been shown out meanwhile.
            members::confirm_reader(&mut read, &self.context).await?;
            let workspace = &self.context.workspace;
            let found = keys::list(&mut read, workspace, filter, &page).await?;
            Ok::<_, Error>((found, workspaces::bound(&mut read, workspace).await?))
        };
        let (found, bound) = read.await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "an export broke off");
            Broken
        })?;
        let mut bytes = Vec::new();
        for key in &found.items {
            let key = view::listed(key, filter.touched_by.as_ref(), bound);
            match self.format {
                ExportFormat::Csv => bytes.extend_from_slice(&csv_row(&cells(&key))),
                ExportFormat::Ndjson => {
                    serde_json::to_writer(&mut bytes, &key).map_err(|_| Broken)?;
                    bytes.push(b'\n');
                }
            }
        }
        Ok((bytes.into(), found.next))
    }
}

/// Reads the query: the format, and the filter.
fn asked(query: &str) -> Result<(ExportFormat, KeyFilter), Refused> {
    let (formats, filters): (Vec<_>, Vec<_>) =
        form_urlencoded::parse(query.as_bytes()).partition(|(name, _)| name == "format");
    let format = match formats.as_slice() {
        [(_, format)] => ExportFormat::from_name(format),
        _ => None,
    };
    let format = format.ok_or_else(|| Refused::invalid("format", "must be `csv` or `ndjson`, once"))?;
    let filters = form_urlencoded::Serializer::new(String::new()).extend_pairs(filters).finish();
    let filter: KeyFilter = params::read(&filters)?;
    for (name, there) in [("limit", filter.limit.is_some()), ("cursor", filter.cursor.is_some())] {
        if there {
            return Err(Refused::invalid(name, "an export is whole; leave it out"));
        }
    }
    Ok((format, filter::without_secrets(filter)))
}

fn cells(key: &api::Key) -> [String; COLUMNS.len()] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let time = |time: Option<jiff::Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    let labels: Vec<_> = key.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    [
        key.id.clone(),
        key.number.to_string(),
        key.prefix.clone(),
        key.name.clone(),
        key.state.as_str().to_owned(),
        key.disabled_by.join(" "),
        key.principal.clone(),
        key.kind.as_str().to_owned(),
        key.environment.as_str().to_owned(),
        key.scopes.join(" "),
        text(&key.tier),
        text(&key.owner),
        text(&key.owner_member),
        labels.join("; "),
        key.issued_by.kind.clone(),
        key.issued_by.id.clone(),
        key.created_at.to_string(),
        time(key.expires_at),
        time(key.rotate_by),
        time(key.deadline),
        time(key.revoked_at),
        text(&key.revoke_reason),
        time(key.last_used_at),
        key.lineage.clone(),
        text(&key.predecessor),
        text(&key.successor),
        key.touched.join(" "),
    ]
}

fn csv_row(cells: &[String; COLUMNS.len()]) -> Bytes {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    // Into memory, so that it cannot fail.
    let written = writer.write_record(cells.iter().map(|cell| harmless(cell)));
    written.ok().and_then(|()| writer.into_inner().ok()).unwrap_or_default().into()
}

/// A text that no spreadsheet takes for a formula: one that begins like one gets an apostrophe before it, and so does what
/// follows a separator within it. A spreadsheet whose list separator is another than this file's begins a cell there, in
/// spite of the quotes (OWASP, "CSV Injection").
fn harmless(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 1);
    for cell in text.split_inclusive(SEPARATORS) {
        if is_formula(cell) {
            safe.push('\'');
        }
        safe.push_str(cell);
    }
    if text.starts_with(['\t', '\r', '\n']) { format!("'{safe}") } else { safe }
}

/// Whether a cell begins like a formula, behind blanks and quotes.
fn is_formula(cell: &str) -> bool {
    let first = cell.trim_start_matches(|character: char| character.is_whitespace() || character == '"').chars().next();
    matches!(first, Some('=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_never_a_formula() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "＝1", "=cmd|' /C calc'!A0", "\"=1\""] {
            assert_eq!(harmless(formula), format!("'{formula}"));
        }
        // Where a cell begins for somebody else.
        for (formula, safe) in [
            ("x;=cmd|' /C calc'!A0", "x;'=cmd|' /C calc'!A0"),
            ("x,+1", "x,'+1"),
            ("x; @SUM(A1)", "x;' @SUM(A1)"),
            ("x\t-1", "x\t'-1"),
            ("x;\"=1\";\"\"=2", "x;'\"=1\";'\"\"=2"),
            ("x;;=1;y;＝2", "x;;'=1;y;'＝2"),
            ("x|=1\r\n=2", "x|'=1\r\n'=2"),
            ("\t=1", "'\t'=1"),
            ("=1;=2", "'=1;'=2"),
        ] {
            assert_eq!(harmless(formula), safe);
        }
        for plain in ["", "a=b", "1-2", "billing, east", "'quoted'", "team=pay; tier=a-b", "a - b", "x;y,z"] {
            assert_eq!(harmless(plain), plain);
        }
    }

    #[test]
    fn an_export_is_asked_for_by_format_and_filter() {
        let (format, filter) = asked("owner=a%26b&format=csv&never_used=true").unwrap();
        assert_eq!((format, filter.owner.as_deref(), filter.never_used), (ExportFormat::Csv, Some("a&b"), true));
        for bad in ["", "format=xls", "format=csv&format=csv", "format=csv&limit=5", "format=csv&nonsense=1"] {
            assert!(asked(bad).is_err(), "{bad}");
        }
    }
}
