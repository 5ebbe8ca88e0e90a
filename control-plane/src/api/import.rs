//! `/v1/keys/import`: keys that were minted elsewhere, a line of JSON each.

use std::collections::{HashMap, HashSet};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use nightlatch_api::{Code, ImportLine, ImportOptions, ImportReport, LineError, Problem};
use nightlatch_gate::shape;
use nightlatch_key::Brand;
use nightlatch_keyset::Pepper;
use sha2::{Digest as _, Sha256};

use super::App;
use super::body;
use super::caller::Caller;
use super::idempotency::{self, Create, Created, Done, Once, request_hash};
use super::keys::{subject, view};
use super::params::Query;
use super::refused::{Refused, code_of, shape_of};
use super::time::to_seconds;
use super::turns::PATIENCE;
use crate::domain::import::{ImportLine as Checked, Material, RawLine};
use crate::domain::{Labels, Name, Owner, Refusal, Scope, Scopes, Tier};
use crate::store::import::{self, Import, Imported};
use crate::store::{ended, os_random, workspaces};

/// Where it is called.
pub(super) const PATH: &str = "/v1/keys/import";
/// The media type of lines of JSON.
pub(super) const NDJSON: &str = "application/x-ndjson";
/// The largest import, in bytes.
pub(super) const MAX_BODY: usize = 8 << 20;
/// Most lines of one import.
const MAX_LINES: usize = 10_000;
/// Most different scopes of one import, and most different tiers: each enters the catalogue by itself, and while it does,
/// everybody waits.
const MAX_NAMES: usize = 1_000;
/// The longest text of a foreign key, in bytes.
const MAX_KEY_LEN: usize = 128;

/// Imports keys by digest or text. A line whose digest is known already counts as `existing` and changes nothing, so
/// repeating an import resumes it. Each request is atomic.
#[utoipa::path(
    post, path = "/v1/keys/import", tag = "keys", operation_id = "importKeys",
    params(
        ImportOptions,
        ("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body, the same report is answered."),
    ),
    request_body(content = ImportLine, content_type = "application/x-ndjson", description = "At most 10,000 lines and 8 MiB, with at most 1,000 different scopes and as many tiers."),
    responses(
        (status = 200, description = "What was done, or, with `dry_run`, would be.", body = ImportReport),
        (status = 503, description = "Others are importing; `Retry-After` says how long to wait.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn import(
    State(app): State<App>,
    caller: Caller,
    Query(options): Query<ImportOptions>,
    once: Once,
    request: Request,
) -> Result<Response, Refused> {
    let caller = caller.acknowledging(options.acknowledge_sensitive);
    body::require_type(request.headers(), NDJSON)?;
    let bytes = body::read(request, MAX_BODY).await?;
    let body_hash: [u8; 32] = Sha256::digest(&bytes).into();
    let turn = app.imports().next(PATIENCE).await?;
    let takes = takes(&app, &caller).await?;
    let peppers = peppers(&app, &caller).await?;
    // Ten thousand lines are milliseconds of work: not on a thread that serves others.
    let parsed = tokio::task::spawn_blocking(move || parse(&bytes, &takes)).await;
    let Parsed { lines, rejected, details } = parsed.map_err(|_| Refused::new(Code::Internal))??;
    let import = Import { lines, rejected, strict: options.strict, dry_run: options.dry_run, body_hash, peppers };
    let context = caller.context();
    let create = Create {
        route: "POST /v1/keys/import",
        secret: "secret",
        request_hash: request_hash(&[
            &body_hash,
            &[u8::from(options.strict), u8::from(options.dry_run), u8::from(options.acknowledge_sensitive)],
        ]),
        work: Box::new(move |tx| {
            Box::pin(async move {
                // The work's own: it goes on where its caller has gone away.
                let _turn = turn;
                Ok(report(import::run(tx, &context, import, &mut os_random).await?, &details))
            })
        }),
        answer: |report| Created { status: StatusCode::OK, ..Created::new(report) },
    };
    match idempotency::create(&app, &caller, once, create).await? {
        Done::Replayed(response) => Ok(response),
        Done::Fresh(report) => Ok(axum::Json(report).into_response()),
    }
}

/// What texts the workspace's edges would look up.
#[derive(Debug, Clone, Copy)]
struct Takes {
    brand: Brand,
    foreign: bool,
}

async fn takes(app: &App, caller: &Caller) -> Result<Takes, Refused> {
    let mut read = app.store().read().await?;
    let brand = workspaces::get(&mut read, caller.workspace()).await?.brand;
    let sets = workspaces::sets(&mut read, caller.workspace()).await?;
    let foreign = sets.iter().any(|set| set.accepts_foreign);
    Ok(Takes { brand, foreign })
}

/// What keys are found by that were lost with a database; nothing where there are no such keys.
async fn peppers(app: &App, caller: &Caller) -> Result<Vec<Pepper>, Refused> {
    let sets = {
        let mut read = app.store().read().await?;
        if !ended::has_tags(&mut read, caller.workspace()).await? {
            return Ok(Vec::new());
        }
        workspaces::sets(&mut read, caller.workspace()).await?
    };
    let mut peppers = Vec::new();
    for set in sets {
        peppers.extend(app.peppers(&set.id).await?);
    }
    Ok(peppers)
}

/// The lines of a body.
struct Parsed {
    lines: Vec<(u32, Checked)>,
    rejected: Vec<(u32, Refusal)>,
    /// What is wrong with lines that are not even lines of an import, and with which field of others.
    details: HashMap<u32, (Code, String)>,
}

fn parse(body: &[u8], takes: &Takes) -> Result<Parsed, Refused> {
    let mut parsed = Parsed { lines: Vec::new(), rejected: Vec::new(), details: HashMap::new() };
    let (mut count, mut names) = (0, Names::default());
    for (number, line) in (1u32..).zip(body.split(|byte| *byte == b'\n')) {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        count += 1;
        if count > MAX_LINES {
            return Err(Refused::new(Code::TooManyLines).with("limit_lines", MAX_LINES));
        }
        match parse_line(line, takes) {
            Ok(line) => {
                names.take(number, &line)?;
                parsed.lines.push((number, line));
            }
            Err(Fault::Malformed(detail)) => {
                parsed.rejected.push((number, Refusal::Invalid { field: "" }));
                parsed.details.insert(number, (Code::InvalidRequest, detail));
            }
            Err(Fault::Refused(refusal)) => parsed.rejected.push((number, refusal)),
        }
    }
    Ok(parsed)
}

/// The different names of an import so far.
#[derive(Default)]
struct Names {
    scopes: HashSet<Scope>,
    tiers: HashSet<Tier>,
}

impl Names {
    /// Takes those of a line.
    fn take(&mut self, number: u32, line: &Checked) -> Result<(), Refused> {
        for scope in line.scopes.iter() {
            // Nearly all are known, and cost no copy.
            if !self.scopes.contains(scope) {
                self.scopes.insert(scope.clone());
            }
        }
        self.tiers.extend(line.tier.clone());
        for (field, what, count) in [("scopes", "scopes", self.scopes.len()), ("tier", "tiers", self.tiers.len())] {
            if count > MAX_NAMES {
                let detail =
                    format!("with line {number} there are more than {MAX_NAMES} different {what}; split the import");
                return Err(Refused::value(field, detail));
            }
        }
        Ok(())
    }
}

/// What is wrong with a line.
enum Fault {
    /// It is not one.
    Malformed(String),
    /// A value cannot be used.
    Refused(Refusal),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn parse_line(text: &[u8], takes: &Takes) -> Result<Checked, Fault> {
    let line: ImportLine = body::parse_quietly(text).map_err(|(field, detail)| {
        // Its line is the import's and not the only one of this text.
        let detail = detail.replace(" at line 1 column ", " at column ");
        Fault::Malformed(if field.is_empty() { detail } else { format!("{field}: {detail}") })
    })?;
    let material = match (line.key, line.digest) {
        (Some(key), None) => {
            // What no edge would ever look up must not be taken in.
            let text = key.expose();
            if text.len() > MAX_KEY_LEN || shape(text.as_bytes(), takes.brand, takes.foreign).is_none() {
                return Err(Refusal::Invalid { field: "key" }.into());
            }
            Material::Text(text.into())
        }
        (None, Some(digest)) => Material::Digest(digest),
        (Some(_), Some(_)) => return Err(Fault::Malformed("has both `key` and `digest`; send one".to_owned())),
        (None, None) => return Err(Fault::Malformed("has neither `key` nor `digest`".to_owned())),
    };
    let raw = RawLine {
        material,
        name: Name::new(line.name)?,
        environment: view::environment_from(line.environment),
        subject: line.principal.as_deref().map(subject).transpose()?,
        scopes: Scopes::new(line.scopes)?,
        tier: line.tier.map(Tier::new).transpose()?,
        owner: line.owner.map(Owner::new).transpose()?,
        labels: Labels::new(line.labels)?,
        expires_at: line.expires_at.map(to_seconds),
        rotate_by: line.rotate_by.map(to_seconds),
        entropy_bits: line.entropy_bits,
    };
    Ok(raw.check()?)
}

fn report(done: Imported, details: &HashMap<u32, (Code, String)>) -> ImportReport {
    let error = |(line, refusal): (u32, Refusal)| {
        let (code, detail) = match (details.get(&line), &refusal) {
            (Some((code, detail)), _) => (*code, detail.clone()),
            (None, Refusal::Invalid { field }) => (code_of(&refusal), format!("`{field}` {}", shape_of(field))),
            (None, _) => (code_of(&refusal), refusal.to_string()),
        };
        LineError { line: u64::from(line), code: code.as_str().to_owned(), detail }
    };
    ImportReport {
        created: done.created,
        existing: done.existing,
        errors: done.errors.into_iter().map(error).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(foreign: bool) -> Takes {
        Takes { brand: Brand::new("nl").unwrap(), foreign }
    }

    fn parsed(body: &str, foreign: bool) -> Parsed {
        parse(body.as_bytes(), &takes(foreign)).unwrap_or_else(|_| panic!("too many lines"))
    }

    #[test]
    fn lines_are_counted_as_an_editor_counts_them() {
        let good = r#"{"key":"old-key","name":"a","environment":"live","entropy_bits":128}"#;
        let body = format!("{good}\n\n{{}}\r\n{good}x\n{good}\n");
        let Parsed { lines, rejected, details } = parsed(&body, true);
        assert_eq!(lines.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 5]);
        assert_eq!(rejected.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3, 4]);
        assert!(details[&4].1.contains("trailing"), "{details:?}");
    }

    #[test]
    fn s0_15_a_bad_line_does_not_repeat_its_key() {
        let body = r#"{"key":"secretsecret","name":"a","environment":"secretsecret"}"#;
        let Parsed { details, .. } = parsed(body, true);
        assert!(!details[&1].1.contains("secretsecret"), "{details:?}");
    }

    #[test]
    fn a_key_that_no_edge_would_look_up_is_refused() {
        for key in ["nl_live_almost", "old-key", ""] {
            let body = format!(r#"{{"key":"{key}","name":"a","environment":"live","entropy_bits":128}}"#);
            let Parsed { rejected, .. } = parsed(&body, false);
            assert_eq!(rejected, [(1, Refusal::Invalid { field: "key" })], "{key}");
        }
    }

    #[test]
    fn the_line_with_one_name_too_many_is_told() {
        // Of the scopes, one is on every line.
        for (field, names) in [("scopes", r#""scopes":["sN","all"]"#), ("tier", r#""tier":"tN","scopes":["all"]"#)] {
            let line = |number: usize| {
                let names = names.replace('N', &number.to_string());
                format!(r#"{{"key":"key {number}","name":"a","environment":"live","entropy_bits":128,{names}}}"#) + "\n"
            };
            let most = if field == "scopes" { MAX_NAMES - 1 } else { MAX_NAMES };
            let body: String = (0..most).map(line).collect();
            assert_eq!(parsed(&body, true).lines.len(), most);
            let told = format!("{:?}", parse((body + &line(most)).as_bytes(), &takes(true)).err().unwrap());
            assert!(told.contains(&format!("line {}", most + 1)) && told.contains(field), "{told}");
        }
    }

    #[test]
    fn the_ten_thousand_and_first_line_is_one_too_many() {
        assert!(parse("{}\n".repeat(MAX_LINES).as_bytes(), &takes(true)).is_ok());
        assert!(parse("{}\n".repeat(MAX_LINES + 1).as_bytes(), &takes(true)).is_err());
    }
}
